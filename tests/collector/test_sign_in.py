"""Jaeger's page behind oauth2-proxy with the shipped configuration: for one group's people only."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import secrets
import socket
import time
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from kaizen_otel._stack import StackPorts, jaeger
from kaizen_otel.errors import SetupError
from tests.collector.background import BackgroundServer
from tests.collector.clients import listening_ports
from tests.collector.identity import kit
from tests.collector.store import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.collector.identity.kit import Identity

SHIPPED = Path(__file__).parents[2] / "collector" / "compose" / "oauth2-proxy.cfg"
COOKIE = "__Host-kaizen-otel"
JAEGER_ANSWER = "/api/services"
OK, FOUND, UNAUTHORIZED, FORBIDDEN = 200, 302, 401, 403


@dataclass(frozen=True, kw_only=True)
class Page:
    """Jaeger behind the proxy."""

    identity: Identity
    port: int
    pid: int
    cookie_secret: str

    @property
    def url(self) -> str:
        return kit.page_url(self.port)

    def signed_in(self, browser: httpx.Client, person: str, password: str = "") -> httpx.Response:
        """What somebody is shown at last who asks for Jaeger's answer and has to sign in."""
        form = browser.get(self.url + JAEGER_ANSWER)
        assert str(form.url).startswith(f"{self.identity.issuer}/login/")
        password = password or self.identity.passwords[person]
        return kit.sign_in(browser, form, person, password)

    def cookie_of(self, person: str) -> str:
        """The cookie that a browser holds after signing in."""
        with self.identity.http() as browser:
            assert self.signed_in(browser, person).status_code == OK
            return browser.cookies[COOKIE]

    def shown_for(self, cookie: str) -> httpx.Response:
        """What a cookie opens."""
        with self.identity.http() as browser:
            headers = {"Cookie": f"{COOKIE}={cookie}"}
            return browser.get(self.url + JAEGER_ANSWER, headers=headers, follow_redirects=False)


@pytest.fixture(scope="module")
def jaeger_url(identity: Identity, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Jaeger."""
    try:
        program = jaeger.obtain(progress=print)
    except SetupError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("jaeger")
    ports = StackPorts.free()
    while not set(astuple(ports)).isdisjoint(identity.page_ports):
        ports = StackPorts.free()
    launch = jaeger.launch(program, ports=ports, directory=folder)
    with kit.running(launch.command, folder / "jaeger.log"):
        assert launch.url is not None
        url = launch.url
        assert wait_until(lambda: answers(url + JAEGER_ANSWER))
        yield url


def answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == OK
    except httpx.TransportError:
        return False


@contextmanager
def page(
    identity: Identity, jaeger_url: str, folder: Path, number: int, config: Path, **environment: str
) -> Iterator[Page]:
    """oauth2-proxy as somebody would start it: the shipped file, and what is theirs."""
    port = identity.page_ports[number]
    cookie_secret = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    kit.keep(folder / "client-secret", identity.client_secrets[kit.PAGES])
    kit.keep(folder / "cookie-secret", cookie_secret)
    given = {
        "OIDC_ISSUER_URL": identity.issuer,
        "PROVIDER_CA_FILES": str(identity.authority),
        "CLIENT_ID": kit.PAGES,
        "CLIENT_SECRET_FILE": str(folder / "client-secret"),
        "COOKIE_SECRET_FILE": str(folder / "cookie-secret"),
        "REDIRECT_URL": f"{kit.page_url(port)}/oauth2/callback",
        "HTTPS_ADDRESS": f"127.0.0.1:{port}",
        "TLS_CERT_FILE": str(identity.folder / "server.crt"),
        "TLS_KEY_FILE": str(identity.folder / "server.key"),
        "UPSTREAMS": jaeger_url,
        **environment,
    }
    command = [str(identity.programs.oauth2_proxy), "--config", str(config)]
    variables = {f"OAUTH2_PROXY_{name}": value for name, value in given.items()}
    log_path = folder / "oauth2-proxy.log"
    with kit.running(command, log_path, environment=variables) as process, identity.http() as http:

        def ready() -> bool:
            assert process.poll() is None, log_path.read_text(encoding="utf-8")
            try:
                return http.get(f"{kit.page_url(port)}/ready").status_code == OK
            except httpx.TransportError:
                return False

        assert wait_until(ready), log_path.read_text(encoding="utf-8")
        yield Page(identity=identity, port=port, pid=process.pid, cookie_secret=cookie_secret)


@pytest.fixture(scope="module")
def shipped(
    identity: Identity, jaeger_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """The file as it stands, which names the group itself."""
    with page(identity, jaeger_url, tmp_path_factory.mktemp("shipped"), 0, SHIPPED) as started:
        yield started


@pytest.mark.parametrize("path", ["/", JAEGER_ANSWER, "/api/traces", "/static/x.js", "/%2e%2e/api"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-User": "alice", "X-Forwarded-Groups": kit.GROUP},
        {"Authorization": "Basic YWxpY2U6"},
        {"X-Forwarded-Uri": "/ping"},
    ],
    ids=["nobody", "who says so", "an empty password", "another address"],
)
def test_nobody_is_shown_anything_but_the_way_to_the_provider(
    shipped: Page, path: str, headers: dict[str, str]
) -> None:
    with shipped.identity.http() as browser:
        answer = browser.get(shipped.url + path, headers=headers, follow_redirects=False)
    assert answer.status_code == FOUND
    way = httpx.URL(answer.headers["Location"])
    assert str(way).startswith(f"{shipped.identity.issuer}/auth?")
    assert way.params["code_challenge_method"] == "S256"
    assert way.params["redirect_uri"] == f"{shipped.url}/oauth2/callback"


def test_a_token_of_the_provider_is_no_way_in(shipped: Page) -> None:
    """Neither a machine's nor a person's own: only who signed in at the form."""
    identity = shipped.identity
    with identity.http() as browser:
        for token in (identity.token("urn:kaizen:otlp"), *identity.tokens_of("alice").values()):
            answer = browser.get(
                shipped.url + JAEGER_ANSWER,
                headers={"Authorization": f"Bearer {token}"},
                follow_redirects=False,
            )
            assert answer.status_code == FOUND


@pytest.mark.parametrize(
    ("person", "password"),
    [("alice", "guessed"), ("alice", " "), ("nobody", "guessed"), ("*", "guessed")],
)
def test_who_the_ldap_server_does_not_let_in_is_refused(
    shipped: Page, person: str, password: str
) -> None:
    with shipped.identity.http() as browser:
        assert shipped.signed_in(browser, person, password).status_code == UNAUTHORIZED
        answer = browser.get(shipped.url + JAEGER_ANSWER, follow_redirects=False)
    assert answer.status_code == FOUND


def test_a_member_of_the_group_is_shown_what_jaeger_answers(shipped: Page, jaeger_url: str) -> None:
    with shipped.identity.http() as browser:
        answer = shipped.signed_in(browser, "alice")
        assert str(answer.url) == shipped.url + JAEGER_ANSWER, "where they wanted to go"
        assert answer.json() == httpx.get(jaeger_url + JAEGER_ANSWER, trust_env=False).json()
        (cookie,) = (each for each in browser.cookies.jar if each.name == COOKIE)
        assert cookie.secure
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert browser.get(f"{shipped.url}/oauth2/sign_out", follow_redirects=False).is_redirect
        answer = browser.get(shipped.url + JAEGER_ANSWER, follow_redirects=False)
    assert answer.status_code == FOUND, "signed out"


def test_a_person_outside_of_the_group_is_refused(shipped: Page) -> None:
    with shipped.identity.http() as browser:
        assert shipped.signed_in(browser, "bob").status_code == FORBIDDEN
        assert COOKIE not in browser.cookies
        answer = browser.get(shipped.url + JAEGER_ANSWER, follow_redirects=False)
    assert answer.status_code == FOUND


def test_without_the_rule_that_person_gets_in(
    identity: Identity, jaeger_url: str, tmp_path: Path
) -> None:
    """The saboteur: nothing but the rule kept them out."""
    lines = SHIPPED.read_text(encoding="utf-8").splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith("allowed_groups")]
    assert len(kept) == len(lines) - 1
    config = tmp_path / "oauth2-proxy.cfg"
    config.write_text("".join(kept), encoding="utf-8")
    with page(identity, jaeger_url, tmp_path, 1, config) as open_to_all, identity.http() as browser:
        answer = open_to_all.signed_in(browser, "bob")
    assert answer.status_code == OK
    assert answer.json() == httpx.get(jaeger_url + JAEGER_ANSWER, trust_env=False).json()


def test_an_empty_name_of_the_group_opens_nothing(
    identity: Identity, jaeger_url: str, tmp_path: Path
) -> None:
    """A variable that somebody forgot to fill leaves the file's own group."""
    with (
        page(identity, jaeger_url, tmp_path, 2, SHIPPED, ALLOWED_GROUPS="") as forgotten,
        identity.http() as browser,
    ):
        assert forgotten.signed_in(browser, "bob").status_code == FORBIDDEN


def signed_again(cookie: str, secret: str, *, age_s: int = 0) -> str:
    """The cookie with another time, signed with a secret, as oauth2-proxy signs."""
    value = cookie.partition("|")[0]
    now = str(int(time.time()) - age_s)
    text = f"{COOKIE}{value}{now}".encode()
    signature = hmac.new(secret.encode(), text, hashlib.sha256).digest()
    return f"{value}|{now}|{base64.urlsafe_b64encode(signature).decode()}"


def test_a_cookie_that_is_forged_or_too_old_opens_nothing(shipped: Page) -> None:
    cookie = shipped.cookie_of("alice")
    assert shipped.shown_for(cookie).status_code == OK
    value, then, signature = cookie.split("|")
    eight_hours = 8 * 3600
    # Our own signing is right, so it is the time and the secret that decide below.
    assert shipped.shown_for(signed_again(cookie, shipped.cookie_secret)).status_code == OK
    refused = {
        "too old": signed_again(cookie, shipped.cookie_secret, age_s=eight_hours + 60),
        "another secret": signed_again(cookie, "x" * 32),
        "another time": f"{value}|{int(then) + 1}|{signature}",
        "another value": f"{value[:-8]}AAAAAAAA|{then}|{signature}",
        "no signature": f"{value}|{then}|",
        "nothing": "",
    }
    for name, forged in refused.items():
        assert shipped.shown_for(forged).status_code == FOUND, name


def test_who_signed_in_is_sent_nowhere_else(shipped: Page) -> None:
    with shipped.identity.http() as browser:
        start = f"{shipped.url}/oauth2/start"
        form = browser.get(start, params={"rd": "https://elsewhere.test/"})
        password = shipped.identity.passwords["alice"]
        answer = kit.sign_in(
            browser, form, "alice", password, until=f"{shipped.url}/oauth2/callback"
        )
        assert answer.next_request is not None
        answer = browser.send(answer.next_request, follow_redirects=False)
    assert answer.headers["Location"] == "/"


def test_who_left_the_group_is_out_when_the_provider_is_asked_again(
    shipped: Page, identity: Identity, jaeger_url: str, tmp_path: Path
) -> None:
    """After five minutes as shipped, so that in the file's own page she is in; here each second."""
    before = shipped.cookie_of("carol")
    with page(identity, jaeger_url, tmp_path, 3, SHIPPED, COOKIE_REFRESH="1s") as often:
        cookie = often.cookie_of("carol")
        assert often.shown_for(cookie).status_code == OK
        identity.remove_from_group("carol", kit.GROUP)
        assert wait_until(lambda: often.shown_for(cookie).status_code != OK, seconds=20)
        assert shipped.shown_for(before).status_code == OK


def test_it_listens_on_one_port_by_tls_only(shipped: Page) -> None:
    assert listening_ports(shipped.pid) == {shipped.port}
    with socket.create_connection(("127.0.0.1", shipped.port), timeout=10) as plain:
        plain.sendall(b"GET /api/services HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(100).startswith(b"HTTP/1.0 400 ")


@pytest.mark.parametrize(
    "environment", [{}, {"PASS_USER_HEADERS": "true"}], ids=["shipped", "told"]
)
def test_the_page_behind_learns_nobody_s_name_unless_it_is_told(
    identity: Identity, tmp_path: Path, environment: dict[str, str]
) -> None:
    """What it is told it may log; here a server that keeps what it was sent."""
    with (
        Kept() as behind,
        page(identity, behind.url, tmp_path, 3, SHIPPED, **environment) as before_it,
        identity.http() as browser,
    ):
        assert before_it.signed_in(browser, "alice").status_code == OK
    assert JAEGER_ANSWER in behind.text
    assert ("alice" in behind.text) == bool(environment)


class Kept(BackgroundServer):
    """Keeps the head of each request."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Keeper)
        self.text = ""
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Keeper(http.server.BaseHTTPRequestHandler):
    server: Kept

    def do_GET(self) -> None:
        self.server.text += f"{self.path}\n{self.headers}"
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass
