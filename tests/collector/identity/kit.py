"""An LDAP server and an OpenID provider whose people are those of the server, both real."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import ssl
import subprocess
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from kaizen_otel._collector.certs import LOCAL_HOSTS, Authority
from kaizen_otel._collector.run import free_ports
from kaizen_otel._edges import OsFilesystem, SystemClock
from tests.collector.identity.programs import HERE
from tests.collector.store import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.collector.identity.programs import Programs

TIMEOUT_S = 20
BASE = "dc=kaizen,dc=test"
READER = f"cn=reader,{BASE}"
ADMINISTRATOR = f"cn=administrator,{BASE}"
GROUP = "kaizen-otel"
#: Who is known, and the group of each.
PEOPLE = {"alice": GROUP, "bob": "sales", "carol": GROUP}
#: What the provider knows clients by; each has a secret.
AGENT_COLLECTOR, ELSEWHERE, PAGES, DEVICE = "agent-collector", "elsewhere", "pages", "device"
DEVICE_URL = "https://device.test/callback"
SCOPE = "otlp.write"
#: Resource indicator (RFC 8707) -> audience, lifetime in seconds, who may ask.
RESOURCES = {
    "urn:kaizen:otlp": ("kaizen-otlp", 600, [AGENT_COLLECTOR]),
    "urn:kaizen:audit": ("kaizen-audit", 600, [AGENT_COLLECTOR]),
    "urn:kaizen:otlp:hasty": ("kaizen-otlp", 1, [AGENT_COLLECTOR]),
    "urn:kaizen:audit:hasty": ("kaizen-audit", 1, [AGENT_COLLECTOR]),
    "urn:elsewhere": ("elsewhere", 600, [AGENT_COLLECTOR, ELSEWHERE]),
}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Where the provider answers, and what its people and clients know."""

    programs: Programs
    folder: Path
    issuer: str
    other_issuer: str
    """A second provider: the same people and clients, other keys."""
    ldap_url: str
    page_ports: tuple[int, ...]
    """Where pages may be that the provider sends people back to."""
    passwords: Mapping[str, str]
    client_secrets: Mapping[str, str]

    @property
    def authority(self) -> Path:
        """Who signed the certificates of everything here."""
        return self.folder / "ca.crt"

    def http(self) -> httpx.Client:
        """Somebody's browser: it keeps cookies and follows redirects."""
        context = ssl.create_default_context(cafile=str(self.authority))
        return httpx.Client(
            verify=context, follow_redirects=True, trust_env=False, timeout=TIMEOUT_S
        )

    def token(self, resource: str, *, issuer: str | None = None) -> str:
        """An access token for client credentials."""
        form = {"grant_type": "client_credentials", "resource": resource, "scope": SCOPE}
        answer = self._post_token(AGENT_COLLECTOR, form, issuer or self.issuer)
        return str(answer["access_token"])

    def tokens_of(self, person: str) -> dict[str, str]:
        """What a person's own client gets when they sign in: ID, access and refresh token."""
        form = {
            "client_id": DEVICE,
            "redirect_uri": DEVICE_URL,
            "response_type": "code",
            "scope": "openid email groups",
        }
        with self.http() as browser:
            page = browser.get(f"{self.issuer}/auth", params=form)
            answer = sign_in(browser, page, person, self.passwords[person], until=DEVICE_URL)
        code = httpx.URL(answer.headers["Location"]).params["code"]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": DEVICE_URL}
        found = self._post_token(DEVICE, form, self.issuer)
        return {name: str(found[name]) for name in ("id_token", "access_token", "refresh_token")}

    def _post_token(self, client: str, form: Mapping[str, str], issuer: str) -> dict[str, Any]:
        with self.http() as browser:
            credentials = (client, self.client_secrets[client])
            answer = browser.post(f"{issuer}/token", data=dict(form), auth=credentials)
        assert answer.status_code == httpx.codes.OK, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def remove_from_group(self, person: str, group: str) -> None:
        """As an administrator of the LDAP server would."""
        change = (
            f"dn: cn={group},ou=groups,{BASE}\nchangetype: modify\n"
            f"delete: member\nmember: {distinguished(person)}\n"
        )
        command = [str(self.programs.ldapmodify), "-x", "-H", self.ldap_url, "-D", ADMINISTRATOR]
        done = subprocess.run(
            [*command, "-y", str(self.folder / "administrator")],
            input=change,
            env={"LDAPTLS_CACERT": str(self.authority)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def sign_in(
    browser: httpx.Client, page: httpx.Response, person: str, password: str, *, until: str = ""
) -> httpx.Response:
    """Send the provider's form; with ``until``, the redirect that leads there is not followed."""
    form = {"name": person, "password": password}
    answer = browser.post(page.url, data=form, follow_redirects=not until)
    while until and answer.has_redirect_location:
        if answer.headers["Location"].startswith(until):
            return answer
        assert answer.next_request is not None
        answer = browser.send(answer.next_request, follow_redirects=False)
    return answer


def page_url(port: int) -> str:
    return f"https://127.0.0.1:{port}"


def distinguished(person: str) -> str:
    return f"uid={person},ou=people,{BASE}"


@contextmanager
def identity(programs: Programs, folder: Path) -> Iterator[Identity]:
    """Start both."""
    authority = Authority.make(folder, filesystem=OsFilesystem(), clock=SystemClock())
    authority.issue("server", "server", hosts=LOCAL_HOSTS)
    names = (*PEOPLE, READER, ADMINISTRATOR)
    passwords = {name: secrets.token_urlsafe(16) for name in names}
    keep(folder / "administrator", passwords[ADMINISTRATOR])
    clients = (AGENT_COLLECTOR, ELSEWHERE, PAGES, DEVICE)
    client_secrets = {name: secrets.token_urlsafe(32) for name in clients}
    port, *page_ports = map(int, free_ports().values())
    url = f"ldaps://127.0.0.1:{port}"
    told = {
        "certificate": str(folder / "server.crt"),
        "key": str(folder / "server.key"),
        "authority": str(folder / "ca.crt"),
        "ldap": {"url": url, "base": BASE, "reader": READER, "password": passwords[READER]},
        "resources": {
            resource: {"audience": audience, "seconds": seconds, "clients": who, "scope": SCOPE}
            for resource, (audience, seconds, who) in RESOURCES.items()
        },
        "clients": _clients(client_secrets, page_ports),
    }
    with ExitStack() as stack:
        stack.enter_context(_ldap(programs, folder / "ldap", folder, url, passwords))
        issuers = stack.enter_context(_provider(programs, folder / "provider", told))
        assert wait_until(lambda: _answers(port))
        yield Identity(
            programs=programs,
            folder=folder,
            issuer=issuers["issuer"],
            other_issuer=issuers["other"],
            ldap_url=url,
            page_ports=tuple(page_ports),
            passwords=passwords,
            client_secrets=client_secrets,
        )


def _clients(client_secrets: Mapping[str, str], page_ports: Sequence[int]) -> list[dict[str, Any]]:
    people = {
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
    }
    machine: dict[str, Any] = {
        "grant_types": ["client_credentials"],
        "response_types": [],
        "redirect_uris": [],
    }
    kinds = {
        AGENT_COLLECTOR: machine,
        ELSEWHERE: machine,
        PAGES: {
            **people,
            "redirect_uris": [page_url(port) + "/oauth2/callback" for port in page_ports],
        },
        DEVICE: {**people, "redirect_uris": [DEVICE_URL]},
    }
    return [
        {"client_id": name, "client_secret": client_secrets[name], **kind}
        for name, kind in kinds.items()
    ]


def _entries(passwords: Mapping[str, str]) -> str:
    groups = sorted(set(PEOPLE.values()))
    lines = [
        f"dn: {BASE}\nobjectClass: dcObject\nobjectClass: organization\ndc: kaizen\no: kaizen\n"
    ]
    lines += [
        f"dn: ou={name},{BASE}\nobjectClass: organizationalUnit\n" for name in ("people", "groups")
    ]
    lines.append(
        f"dn: {READER}\nobjectClass: organizationalRole\nobjectClass: simpleSecurityObject\n"
        f"userPassword: {passwords[READER]}\n"
    )
    lines += [
        f"dn: {distinguished(name)}\nobjectClass: inetOrgPerson\ncn: {name}\nsn: {name}\n"
        f"mail: {name}@kaizen.test\nuserPassword: {passwords[name]}\n"
        for name in PEOPLE
    ]
    for group in groups:
        members = [
            f"member: {distinguished(name)}\n" for name, its in PEOPLE.items() if its == group
        ]
        lines.append(
            f"dn: cn={group},ou=groups,{BASE}\nobjectClass: groupOfNames\n" + "".join(members)
        )
    return "\n".join(lines)


@contextmanager
def _ldap(
    programs: Programs, folder: Path, tls: Path, url: str, passwords: Mapping[str, str]
) -> Iterator[None]:
    """Debian's slapd with our people; only the reader may look, and everybody may bind."""
    (folder / "database").mkdir(parents=True)
    config = folder / "slapd.conf"
    lines = [
        f"include /etc/ldap/schema/{name}.schema" for name in ("core", "cosine", "inetorgperson")
    ]
    lines += [
        f"pidfile {folder / 'slapd.pid'}",
        f"TLSCACertificateFile {tls / 'ca.crt'}",
        f"TLSCertificateFile {tls / 'server.crt'}",
        f"TLSCertificateKeyFile {tls / 'server.key'}",
        "modulepath /usr/lib/ldap",
        "moduleload back_mdb",
        "access to attrs=userPassword by anonymous auth by * none",
        f'access to * by dn.exact="{READER}" read by * none',
        "database mdb",
        f'suffix "{BASE}"',
        f'rootdn "{ADMINISTRATOR}"',
        f"rootpw {passwords[ADMINISTRATOR]}",
        f"directory {folder / 'database'}",
        "maxsize 16777216",
    ]
    keep(config, "\n".join(lines) + "\n")
    keep(folder / "people.ldif", _entries(passwords))
    subprocess.run(
        [str(programs.slapadd), "-q", "-f", str(config), "-l", str(folder / "people.ldif")],
        check=True,
        capture_output=True,
    )
    # With -d it stays our child.
    command = [str(programs.slapd), "-d", "0", "-f", str(config), "-h", url]
    with running(command, folder / "slapd.log"):
        yield


@contextmanager
def _provider(
    programs: Programs, folder: Path, told: Mapping[str, Any]
) -> Iterator[dict[str, str]]:
    folder.mkdir()
    shutil.copyfile(HERE / "provider.mjs", folder / "provider.mjs")
    (folder / "node_modules").symlink_to(programs.node_modules)  # where Node.js looks
    keep(folder / "told.json", json.dumps(told))
    command = [str(programs.node), str(folder / "provider.mjs"), str(folder / "told.json")]
    log_path = folder / "provider.log"
    with running(command, log_path, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log_path.read_text(encoding="utf-8")
        yield json.loads(line)


@contextmanager
def running(
    command: Sequence[str],
    log_path: Path,
    *,
    environment: Mapping[str, str] | None = None,
    stdout: int | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended at the end, whatever happens; what it says is in its log."""
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=stdout or log,
            stderr=log,
            env=environment,
        )
    with process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def _answers(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    return False


def keep(path: Path, text: str) -> None:
    """Write what nobody else may read."""
    path.touch(mode=0o600)
    path.write_text(text, encoding="utf-8")
