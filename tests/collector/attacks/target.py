"""A secured gateway under attack: its doors, who may come in, and what came in."""

from __future__ import annotations

import re
import ssl
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from tests.collector.clients import Client, basic, bearer
from tests.collector.openid import OpenIdProvider
from tests.collector.processes import collector
from tests.collector.store import Store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kaizen_otel._collector.run import CollectorProcess

Door = Literal["gRPC", "HTTP", "audit", "health", "metrics"]
Gateway = Literal["bearer", "basic", "oidc", "mtls", "hasty"]
"""Which overlay; `hasty` is `bearer` with short times for who is slow."""

RECEIVERS: Final[tuple[Door, ...]] = ("gRPC", "HTTP", "audit")
OTLP_HTTP: Final[tuple[Door, ...]] = ("HTTP", "audit")
TELEMETRY_TOKEN: Final = "telemetry-token"
AUDIT_TOKEN: Final = "audit-token"
TELEMETRY_BASIC: Final = "agent:telemetry-password"
AUDIT_BASIC: Final = "auditor:audit-password"
CLIENT_SECRET: Final = "client-secret"
# bcrypt, cost 5, of the two above.
TELEMETRY_USER: Final = "agent:$2a$05$0BruHtSznRyJtnOEA2t.i.MeCJz/.ZEPsptPcdP50XYpVQSoiznNi"
AUDIT_USER: Final = "auditor:$2a$05$Ov2JWStE2bJ1c.DbEnMmSOEW4RwsnPs1su9/ocIJmssp66jUmSJ3K"
_ACCEPTED: Final = re.compile(rb"^otelcol_receiver_accepted_\S+ (\S+)$", re.MULTILINE)


@dataclass
class Target:
    """One running Collector and the credentials that open it."""

    process: CollectorProcess
    certificates: Path
    clients: Mapping[Door, Client] = field(default_factory=dict[Door, Client])
    """Who has the right credentials, for each receiver."""
    provider: OpenIdProvider | None = None
    store: Store | None = None
    data: Path = Path()
    marks: int = 0

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    @property
    def authority(self) -> Path:
        return self.certificates / "ca.crt"

    def number(self, door: Door) -> int:
        """The port number of a door."""
        process = self.process
        return {
            "gRPC": process.grpc_port,
            "HTTP": process.http_port,
            "audit": process.audit_port,
            "health": process.health_port,
            "metrics": process.metrics_port,
        }[door]

    def nobody(self) -> Client:
        """Who trusts the server and has no credentials."""
        return Client(authority=self.authority)

    def headers_of(self, door: Door) -> str:
        """The right credentials as header lines."""
        lines = (f"{name}: {value}\r\n" for name, value in self.clients[door].headers.items())
        return "".join(lines)

    def tls(self, door: Door, *, protocols: Sequence[str] = ("http/1.1",)) -> ssl.SSLContext | None:
        """What is needed to reach a door by TLS with the right certificate; None if it has none."""
        if door in {"health", "metrics"}:
            return None
        context = ssl.create_default_context(cafile=self.authority)
        context.set_alpn_protocols(list(protocols))
        certificate = self.clients[door].certificate
        if certificate is not None:
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        return context

    def own_metrics(self) -> bytes:
        """What the Collector says of itself."""
        return get(self.number("metrics"), "/metrics", host=self.process.bind)

    def accepted(self) -> int:
        """How many spans, data points and log records the receivers let in until now."""
        return sum(int(float(value)) for value in _ACCEPTED.findall(self.own_metrics()))

    def trail_lines(self) -> int:
        """How many lines the audit file has: one for each request."""
        path = self.data / "audit" / "audit.jsonl"
        return sum(len(line) > 1 for line in path.read_bytes().split(b"\n")) if path.exists() else 0

    def serves_others(self) -> bool:
        """Whether everybody with the right credentials is served now, at every receiver."""
        self.marks += 1
        text = f"canary {self.marks}"
        return (
            self.clients["gRPC"].by_grpc(self.number("gRPC"), text)
            and self.clients["HTTP"].by_http(self.number("HTTP"), text)
            and self.clients["audit"].by_http(self.number("audit"), text)
        )


CANARIES: Final = 3
"""How many records ``serves_others`` brings in."""


def start(
    binary: Path,
    folder: Path,
    configs: Sequence[str | Path],
    certificates: Path,
    **environment: str,
) -> Target:
    """A shipped config with overlays, not started, with the secrets that the overlays want."""
    folder.mkdir(parents=True, exist_ok=True)
    secrets = {
        "KAIZEN_OTEL_TOKENS_FILE": f"{TELEMETRY_TOKEN} a remark\n",
        "KAIZEN_OTEL_AUDIT_TOKENS_FILE": f"{AUDIT_TOKEN}\n",
        "KAIZEN_OTEL_HTPASSWD_FILE": f"{TELEMETRY_USER}\n",
        "KAIZEN_OTEL_AUDIT_HTPASSWD_FILE": f"{AUDIT_USER}\n",
        "KAIZEN_OTEL_GATEWAY_TOKEN_FILE": f"{TELEMETRY_TOKEN}\n",
        "KAIZEN_OTEL_GATEWAY_AUDIT_TOKEN_FILE": f"{AUDIT_TOKEN}\n",
        "KAIZEN_OTEL_GATEWAY_CLIENT_SECRET_FILE": CLIENT_SECRET,
    }
    files: dict[str, str] = {}
    for name, content in secrets.items():
        path = folder / name.lower()
        path.write_text(content)
        files[name] = str(path)
    process = collector(
        binary,
        folder,
        configs,
        KAIZEN_OTEL_TLS_CERT_FILE=str(certificates / "server.crt"),
        KAIZEN_OTEL_TLS_KEY_FILE=str(certificates / "server.key"),
        KAIZEN_OTEL_TLS_CLIENT_CA_FILE=str(certificates / "ca.crt"),
        KAIZEN_OTEL_TLS_AUDIT_CLIENT_CA_FILE=str(certificates / "audit" / "ca.crt"),
        **files,
        **environment,
    )
    return Target(process=process, certificates=certificates, data=folder)


def clients_of(gateway: str, folder: Path, provider: OpenIdProvider) -> dict[Door, Client]:
    """The right credentials for each receiver of a gateway."""
    authority = folder / "ca.crt"
    telemetry, audit = {
        "bearer": (
            Client(authority=authority, headers=bearer(TELEMETRY_TOKEN)),
            Client(authority=authority, headers=bearer(AUDIT_TOKEN)),
        ),
        "basic": (
            Client(authority=authority, headers=basic(TELEMETRY_BASIC)),
            Client(authority=authority, headers=basic(AUDIT_BASIC)),
        ),
        "oidc": (
            Client(authority=authority, headers=bearer(provider.token("kaizen-otlp"))),
            Client(authority=authority, headers=bearer(provider.token("kaizen-audit"))),
        ),
        "mtls": (
            Client(authority=authority, certificate=folder / "agent.crt"),
            Client(authority=authority, certificate=folder / "audit" / "client.crt"),
        ),
    }["bearer" if gateway == "hasty" else gateway]
    return {"gRPC": telemetry, "HTTP": telemetry, "audit": audit}


def get(port: int, path: str, *, host: str = "127.0.0.1") -> bytes:
    """The body of a page, by plain HTTP."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://{host}:{port}{path}", timeout=10) as answer:
        return bytes(answer.read())


def memory_mib(pid: int, *, peak: bool = True) -> int:
    """Resident memory of a process now, or at most since ``forget_peak`` (proc(5))."""
    key = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) // 1024
    raise AssertionError(f"no {key} in /proc/{pid}/status")


def forget_peak(pid: int) -> None:
    """Measure the peak of memory from here on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")
