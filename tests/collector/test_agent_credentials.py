"""Agents before a secured gateway: tokens in files and certificates that change while they run."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

import kaizen_otel
from kaizen_otel._collector.certs import LOCAL_HOSTS, Authority
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel.audit._stored import read_trail
from tests.collector.destination import Destination
from tests.collector.processes import collector
from tests.collector.store import wait_until
from tests.kaizen.agents import tool_agent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kaizen_otel._collector.run import CollectorProcess
    from kaizen_otel.observability import ObservabilityManager

WAYS = pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
#: Long enough for a refusal, and for a busy machine to deliver.
REFUSED_S, DELIVERED_S = 1, 60


def put(path: Path, content: str | bytes) -> None:
    """Replace a file at once, as whoever exchanges secrets should."""
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(content.encode() if isinstance(content, str) else content)
    new.replace(path)


def authority_in(folder: Path) -> Authority:
    """An authority with the certificate of a server and of a client."""
    authority = Authority.make(folder, filesystem=OsFilesystem(), clock=SystemClock())
    authority.issue("server", "server", hosts=LOCAL_HOSTS)
    authority.issue("client", "client")
    return authority


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls")
    authority_in(folder)
    return folder


@dataclass
class Place:
    """A secured gateway with its destinations, and an agent that works."""

    folder: Path
    gateway: CollectorProcess
    destination: Destination
    tools: list[str] = field(default_factory=list[str])

    def work(self, observed: ObservabilityManager, count: int = 10) -> None:
        """Run tools, each with a name of its own."""
        for _ in range(count):
            number = len(self.tools)
            self.tools.append(f"execute_tool tool-{number}")
            observed.operations.begin("execute_tool", number, name=f"tool-{number}")
            observed.operations.end(number)

    def audit_records(self) -> int:
        """How many of the tools' records are in the trail, each counted once."""
        trail = read_trail(OsFilesystem(), str(self.folder / "audit"))
        return len({one.record_id for one in trail if one.event_name == "kaizen.tool.execute"})

    def is_shut(self, observed: ObservabilityManager) -> bool:
        """Work a little more; whether neither spans nor audit records of it get in."""
        self.work(observed, 1)
        observed.flush(timeout=REFUSED_S)
        traces = observed.ledger().signals["traces"]
        return traces.delivered < traces.offered and self.audit_records() < 2 * len(self.tools)

    def check(self, observed: ObservabilityManager, *, timeout_s: float = DELIVERED_S) -> None:
        """Everything has arrived, and the ledger says so."""
        assert observed.flush(timeout=timeout_s), self.gateway.log_tail()
        ledger = observed.ledger()
        assert ledger.reconciles()
        assert not any(signal.dropped for signal in ledger.signals.values())
        assert ledger.signals["traces"].buffered == 0
        assert self.audit_records() == 2 * len(self.tools), "an intent and an outcome each"
        assert wait_until(lambda: set(self.tools) <= set(self.destination.found))


@contextmanager
def secured(
    binary: Path,
    folder: Path,
    certificates: Path,
    overlays: list[str],
    environment: Mapping[str, str],
) -> Iterator[Place]:
    with Destination() as destination:
        gateway = collector(
            binary,
            folder,
            ["gateway", "tls", *overlays],
            **destination.environment(),
            KAIZEN_OTEL_TLS_CERT_FILE=str(certificates / "server.crt"),
            KAIZEN_OTEL_TLS_KEY_FILE=str(certificates / "server.key"),
            **environment,
        )
        with gateway:
            yield Place(folder, gateway, destination)


def trusting(certificates: Path) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_CERTIFICATE": str(certificates / "ca.crt")}


@contextmanager
def environment_of(place: Place, protocol: str, **environment: str) -> Iterator[None]:
    """What an agent's process is given."""
    gateway = place.gateway
    port = gateway.grpc_port if protocol == "grpc" else gateway.http_port
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://127.0.0.1:{port}",
            "KAIZEN_OTEL_AUDIT_ENDPOINT": f"https://127.0.0.1:{gateway.audit_port}",
            "KAIZEN_OTEL_SPOOL_DIR": str(place.folder / "spool"),
            **environment,
        }.items():
            patch.setenv(name, value)
        yield


@contextmanager
def agent(place: Place, protocol: str, **environment: str) -> Iterator[ObservabilityManager]:
    """An agent of that environment; it ends before the gateway."""
    with environment_of(place, protocol, **environment):
        observed = kaizen_otel.observe("credentials")
        try:
            yield observed
        finally:
            observed.shutdown(timeout=1)


@dataclass
class Tokens:
    """The token files of both sides, of telemetry and of audit."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.of_gateway("first")
        self.of_agent("first")

    def of_gateway(self, name: str) -> None:
        put(self.folder / "telemetry.tokens", f"telemetry-{name}\n")
        put(self.folder / "audit.tokens", f"audit-{name}\n")

    def of_agent(self, name: str) -> None:
        put(self.folder / "telemetry", f"telemetry-{name}\n")
        put(self.folder / "audit", f"audit-{name}\n")

    @property
    def gateway(self) -> dict[str, str]:
        return {
            "KAIZEN_OTEL_TOKENS_FILE": str(self.folder / "telemetry.tokens"),
            "KAIZEN_OTEL_AUDIT_TOKENS_FILE": str(self.folder / "audit.tokens"),
        }

    @property
    def agent(self) -> dict[str, str]:
        return {
            "KAIZEN_OTEL_TOKEN_FILE": str(self.folder / "telemetry"),
            "KAIZEN_OTEL_AUDIT_TOKEN_FILE": str(self.folder / "audit"),
        }


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens")


def exchange(
    place: Place, observed: ObservabilityManager, tokens: Tokens, *, timeout_s: float
) -> None:
    """Both sides get new tokens, twice: the gateway first, then the agent first."""
    place.work(observed)
    place.check(observed, timeout_s=timeout_s)
    for name, first, second in (
        ("second", tokens.of_gateway, tokens.of_agent),
        ("third", tokens.of_agent, tokens.of_gateway),
    ):
        first(name)
        assert wait_until(lambda: place.is_shut(observed), seconds=DELIVERED_S)
        second(name)
        place.work(observed)
        place.check(observed, timeout_s=timeout_s)


@WAYS
def test_tokens_that_are_exchanged_on_both_sides_lose_nothing(
    gateway_binary: Path, certificates: Path, tmp_path: Path, tokens: Tokens, protocol: str
) -> None:
    """Whoever comes first: what the other side does not know yet waits."""
    with (
        secured(gateway_binary, tmp_path, certificates, ["bearer"], tokens.gateway) as place,
        agent(place, protocol, **tokens.agent, **trusting(certificates)) as observed,
    ):
        exchange(place, observed, tokens, timeout_s=DELIVERED_S)


@WAYS
def test_tokens_that_are_read_once_lose_what_was_sent_after_the_exchange(
    gateway_binary: Path, certificates: Path, tmp_path: Path, tokens: Tokens, protocol: str
) -> None:
    """The saboteur: the same exchange, with the tokens in headers."""
    headers = {
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer telemetry-first",
        "KAIZEN_OTEL_AUDIT_HEADERS": "authorization=Bearer audit-first",
    }
    with (
        secured(gateway_binary, tmp_path, certificates, ["bearer"], tokens.gateway) as place,
        agent(place, protocol, **headers, **trusting(certificates)) as observed,
    ):
        with pytest.raises(AssertionError):
            exchange(place, observed, tokens, timeout_s=3)
        dropped = observed.ledger().signals["traces"].dropped
        assert set(dropped) == {"unauthenticated"}
        assert 0 < place.audit_records() < 2 * len(place.tools)
        tokens.of_gateway("first")
        assert observed.flush(timeout=DELIVERED_S)
        assert place.audit_records() == 2 * len(place.tools), "they waited in the spool"


def test_a_wrong_token_for_audit_keeps_its_records_and_holds_up_nothing_else(
    gateway_binary: Path,
    certificates: Path,
    tmp_path: Path,
    tokens: Tokens,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(tokens.folder / "audit", "telemetry-first")
    with (
        secured(gateway_binary, tmp_path, certificates, ["bearer"], tokens.gateway) as place,
        agent(place, "http/protobuf", **tokens.agent, **trusting(certificates)) as observed,
        caplog.at_level(logging.WARNING, logger="kaizen_otel"),
    ):
        place.work(observed)
        assert not observed.flush(timeout=REFUSED_S)
        assert wait_until(lambda: set(place.tools) <= set(place.destination.found))
        traces = observed.ledger().signals["traces"]
        assert (traces.offered, traces.dropped) == (traces.delivered, {})
        assert place.audit_records() == 0
        (warning,) = [text for text in caplog.messages if "audit records wait" in text]
        assert "answered 401" in warning
        assert "KAIZEN_OTEL_AUDIT_TOKEN_FILE" in warning
        assert "-first" not in warning, "no token is said"
        tokens.of_agent("first")
        place.check(observed)


@WAYS
def test_certificates_that_are_exchanged_on_both_sides_lose_nothing(
    gateway_binary: Path, tmp_path: Path, protocol: str
) -> None:
    """Other authorities, and certificates by them: the gateway first, with its next start.

    Those of the auditors are others, so that the trail takes nothing from who only has telemetry's.
    """
    old, new, ours, theirs = (tmp_path / name for name in ("old", "new", "ours", "theirs"))
    for folder in (old, new):
        authority_in(folder)
        authority_in(folder / "audit")
    for folder in (ours, theirs):
        (folder / "audit").mkdir(parents=True)
        copy(old, folder)
    environment = {
        "KAIZEN_OTEL_TLS_CLIENT_CA_FILE": str(theirs / "ca.crt"),
        "KAIZEN_OTEL_TLS_AUDIT_CLIENT_CA_FILE": str(theirs / "audit" / "ca.crt"),
    }
    client = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": str(ours / "client.crt"),
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": str(ours / "client.key"),
        "KAIZEN_OTEL_AUDIT_CLIENT_CERTIFICATE": str(ours / "audit" / "client.crt"),
        "KAIZEN_OTEL_AUDIT_CLIENT_KEY": str(ours / "audit" / "client.key"),
    }
    with (
        secured(gateway_binary, tmp_path, theirs, ["mtls"], environment) as place,
        agent(place, protocol, **client, **trusting(ours)) as observed,
    ):
        place.work(observed)
        place.check(observed)
        place.gateway.stop()
        copy(new, theirs)
        place.gateway.start()
        assert wait_until(lambda: place.is_shut(observed), seconds=DELIVERED_S)
        copy(new, ours)
        place.work(observed)
        place.check(observed)


def copy(source: Path, target: Path) -> None:
    """Exchange a folder's certificates and keys, one file after the other."""
    for name in ("ca.crt", "server.crt", "server.key", "client.crt", "client.key"):
        put(target / name, (source / name).read_bytes())
    for name in ("ca.crt", "client.crt", "client.key"):
        put(target / "audit" / name, (source / "audit" / name).read_bytes())


def test_a_real_agent_is_let_in_with_the_token_of_a_file(
    gateway_binary: Path, certificates: Path, tmp_path: Path, tokens: Tokens
) -> None:
    with (
        secured(gateway_binary, tmp_path, certificates, ["bearer"], tokens.gateway) as place,
        environment_of(place, "grpc", **tokens.agent, **trusting(certificates)),
    ):
        real = tool_agent()
        observed = kaizen_otel.enable_observability(real)
        real.run(question="hi?", session_id="s1")
        place.tools.append("execute_tool search")
        place.check(observed)
        observed.shutdown(timeout=5)
        real.cleanup()
