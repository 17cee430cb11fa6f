"""The stack with compose.security.yaml: nothing is reached without TLS and credentials."""

from __future__ import annotations

import base64
import http.client
import os
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._stack import StackPorts
from kaizen_otel._stack.compose_layout import PORT_VARIABLES
from kaizen_otel._stack.secrets import make_secrets, owner_of
from tests.containers import official
from tests.containers.conftest import compose_program

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Every page has its port of the proxy, also those whose part does not run here.
PAGES = ("jaeger_query", "prometheus", "elasticsearch", "grafana", "kibana")
RUNNING = {"jaeger_query": "/", "prometheus": "/-/ready"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Secured:
    """A secured stack without the backends that these tests do not need."""

    ports: dict[str, int]
    secrets: Path

    def status(self, port: str, path: str = "/", **headers: str) -> int:
        """The answer to a GET, or to a POST of an empty request for OTLP."""
        context = ssl.create_default_context(cafile=str(self.secrets / "tls" / "ca.crt"))
        handler = urllib.request.HTTPSHandler(context=context)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), handler)
        is_otlp = port in {"otlp_http", "audit"}
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.ports[port]}{path}",
            data=b"{}" if is_otlp else None,
            headers={**headers, **({"Content-Type": "application/json"} if is_otlp else {})},
        )
        try:
            with opener.open(request, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    def secret(self, name: str) -> str:
        return (self.secrets / "secrets" / name).read_text(encoding="utf-8").split()[0]


@pytest.fixture(scope="module")
def secured(official_images: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("secured")
    secrets = folder / "secrets"
    make_secrets(secrets, ["observe.example"])
    ports = asdict(StackPorts.free())
    command = [
        *(str(compose_program()), "--project-name", f"kaizen-secured-{os.getpid()}"),
        *("--file", str(official.COMPOSE / "compose.yaml"), "--file", str(official.SECURITY)),
        *("--file", str(official.override(folder))),
    ]
    environment = {
        **os.environ,
        "DOCKER_HOST": official_images,
        "KAIZEN_OTEL_SECRETS": str(secrets),
        "KAIZEN_OTEL_USER": owner_of(secrets),
        **{variable: str(ports[name]) for name, variable in PORT_VARIABLES.items()},
    }

    def compose(*arguments: str) -> None:
        done = subprocess.run(
            [*command, *arguments], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    try:
        compose("up", "--no-deps", "prepare")
        wanted = ("proxy", "prometheus", "jaeger", "collector", "collector-health")
        compose("up", "--detach", "--no-deps", "--wait", "--wait-timeout", "60", *wanted)
        yield Secured(ports=ports, secrets=secrets)
    finally:
        compose("down", "--volumes", "--remove-orphans")


def basic(password: str) -> dict[str, str]:
    text = base64.b64encode(f"agents:{password}".encode()).decode()
    return {"Authorization": f"Basic {text}"}


@pytest.mark.parametrize("page", PAGES)
def test_no_page_is_shown_without_the_password(secured: Secured, page: str) -> None:
    assert secured.status(page) == 401
    assert secured.status(page, **basic("guessed")) == 401
    password = basic(secured.secret("pages.password"))
    right = secured.status(page, RUNNING.get(page, "/"), **password)
    assert right == (200 if page in RUNNING else 502), "502: not running"


@pytest.mark.parametrize("port", [*PAGES, "otlp_http", "audit"])
def test_nothing_is_answered_in_plain_text(secured: Secured, port: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", secured.ports[port], timeout=10)
    connection.request("GET", "/")
    try:
        assert connection.getresponse().status == 400
    except (ConnectionError, http.client.HTTPException):
        pass
    finally:
        connection.close()


def test_the_collector_takes_telemetry_and_audit_with_the_token_of_each_only(
    secured: Secured,
) -> None:
    telemetry, audit = secured.secret("telemetry.tokens"), secured.secret("audit.tokens")
    for port, path, right, wrong in (
        ("otlp_http", "/v1/traces", telemetry, audit),
        ("audit", "/v1/logs", audit, telemetry),
    ):
        assert secured.status(port, path) == 401
        assert secured.status(port, path, Authorization=f"Bearer {wrong}") == 401
        assert secured.status(port, path, Authorization=f"Bearer {right}") == 200


def test_the_page_s_password_is_not_passed_on_to_the_part_behind(secured: Secured) -> None:
    """Jaeger and Prometheus ask for none; what they are shown they may log."""
    text = (official.COMPOSE / "proxy.conf").read_text(encoding="utf-8")
    assert 'proxy_set_header Authorization "";' in text


def test_secrets_that_only_root_may_read_are_refused_with_the_remedy(
    official_images: str, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("platform: only root owns such a folder")
    done = subprocess.run(
        [
            *(sys.executable, "-c", "from kaizen_otel._cli import main; main()", "stack", "up"),
            *("--secrets", str(tmp_path)),
        ],
        env={
            **os.environ,
            "PATH": f"{compose_program().parent}{os.pathsep}{os.environ['PATH']}",
            "XDG_STATE_HOME": str(tmp_path),
            "DOCKER_HOST": official_images,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "chown -R" in done.stderr
