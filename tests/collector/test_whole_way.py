"""Every set of overlays that goes together: each signal is where it belongs, and nowhere else.

What is sent to the gateway comes directly and through an agent Collector with the overlays that
this gateway asks for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.collector.attacks.target import (
    AUDIT_BASIC,
    TELEMETRY_BASIC,
    clients_of,
    start,
)
from tests.collector.clients import Client, basic
from tests.collector.destination import Destination
from tests.collector.openid import CLIENT_ID, OpenIdProvider
from tests.collector.otlp_json import REQUESTS, bodies_in, logs
from tests.collector.store import wait_until
from tests.collector.test_configs import combinations

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._collector.run import CollectorProcess
    from tests.collector.attacks.target import Door, Target

Overlays = tuple[str, ...]
AUTHENTICATION = ("bearer", "basic", "oidc")
#: Which tail sampling would keep waiting, or drop.
EVERY_TRACE_SOON = {
    "KAIZEN_OTEL_SAMPLING_PERCENTAGE": "100",
    "KAIZEN_OTEL_SAMPLING_WAIT": "200ms",
}


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who sends: telemetry and audit have credentials of their own."""

    telemetry: Client
    audit: Client


def identity(overlays: Overlays, certificates: Path, provider: OpenIdProvider) -> Identity:
    """What somebody needs who sends to a Collector with these overlays."""
    authority = certificates / "ca.crt" if "tls" in overlays else None
    ways = [way for way in AUTHENTICATION if {way, f"audit-{way}"} & set(overlays)]

    def client(door: Door, certificate: str) -> Client:
        own = certificates / certificate if "mtls" in overlays else None
        headers = [clients_of(way, certificates, provider)[door].headers for way in ways]
        return Client(authority=authority, certificate=own, headers=dict(*headers))

    return Identity(
        telemetry=client("HTTP", "agent.crt"), audit=client("audit", "audit/client.crt")
    )


def send(process: CollectorProcess, who: Identity, name: str) -> dict[str, str]:
    """One item of each signal by each protocol; what was sent, and of which signal it is."""
    sent: dict[str, str] = {}
    for signal, request in REQUESTS.items():
        for protocol, port, post in (
            ("http", process.http_port, who.telemetry.post),
            ("grpc", process.grpc_port, who.telemetry.call),
        ):
            item = f"{name}_{protocol}_{signal}"
            assert post(port, signal, request(item)), f"{item}\n{process.log_tail()}"
            sent[item] = signal
    assert who.audit.post(process.audit_port, "logs", logs(f"{name} audit")), process.log_tail()
    return sent


def agent_overlays(gateway: Overlays) -> Overlays:
    """The overlays of an agent Collector before such a gateway, its own receivers as closed."""
    upstream = [f"upstream-{way}" for way in AUTHENTICATION if way in gateway]
    own = [name for name in ("tls", "mtls") if name in gateway]
    smallest = len(gateway) == 2 and upstream
    return tuple(upstream if smallest else [*own, *upstream])


def agent(
    binary: Path,
    folder: Path,
    gateway: Target,
    overlays: Overlays,
    certificates: Path,
    provider: OpenIdProvider,
) -> Target:
    """An agent Collector that gives on to a gateway with these overlays."""
    process = gateway.process
    scheme = "https" if "tls" in overlays else "http"
    environment = {
        "KAIZEN_OTEL_GATEWAY_ENDPOINT": f"127.0.0.1:{process.grpc_port}",
        "KAIZEN_OTEL_GATEWAY_AUDIT_ENDPOINT": f"{scheme}://127.0.0.1:{process.audit_port}",
        "KAIZEN_OTEL_GATEWAY_INSECURE": "false" if "tls" in overlays else "true",
        "KAIZEN_OTEL_GATEWAY_CA_FILE": str(certificates / "ca.crt") if "tls" in overlays else "",
        "KAIZEN_OTEL_GATEWAY_BASIC": basic(TELEMETRY_BASIC)["Authorization"].split()[1],
        "KAIZEN_OTEL_GATEWAY_AUDIT_BASIC": basic(AUDIT_BASIC)["Authorization"].split()[1],
        "KAIZEN_OTEL_GATEWAY_CLIENT_ID": CLIENT_ID,
        "KAIZEN_OTEL_GATEWAY_TOKEN_URL": f"{provider.issuer}/token",
    }
    if "mtls" in overlays:
        for what, name in (("", "agent"), ("AUDIT_", "audit/client")):
            environment[f"KAIZEN_OTEL_GATEWAY_{what}CERT_FILE"] = str(certificates / f"{name}.crt")
            environment[f"KAIZEN_OTEL_GATEWAY_{what}KEY_FILE"] = str(certificates / f"{name}.key")
    configs = ["agent", *agent_overlays(overlays)]
    return start(binary, folder, configs, certificates, **environment)


@pytest.mark.parametrize("overlays", combinations("gateway"), ids="+".join)
def test_each_signal_goes_its_way_through_the_gateway_directly_and_from_an_agent_collector(
    gateway_binary: Path,
    certificates: Path,
    provider: OpenIdProvider,
    tmp_path: Path,
    overlays: Overlays,
) -> None:
    who = identity(overlays, certificates, provider)
    with Destination() as destination:
        places = destination.environment()
        gateway = start(
            gateway_binary,
            tmp_path,
            ["gateway", *overlays],
            certificates,
            KAIZEN_OTEL_OIDC_ISSUER=provider.issuer,
            **EVERY_TRACE_SOON,
            **{name: places[name] for name in places if "GATEWAY" not in name},
        )
        with gateway.process:
            sent = send(gateway.process, who, "direct")
            beside = agent(
                gateway_binary, tmp_path / "agent", gateway, overlays, certificates, provider
            )
            with beside.process:
                own = identity(agent_overlays(overlays), certificates, provider)
                sent |= send(beside.process, own, "through")
                assert wait_until(lambda: sent.keys() <= destination.found.keys(), seconds=30), (
                    sent.keys() - destination.found.keys(),
                    gateway.process.log_tail(),
                )
    door = {
        "traces": "gRPC traces",
        "metrics": "OTLP metrics" if "metrics-otlp" in overlays else "remote write",
        "logs": "bulk",
    }
    assert {item: destination.doors[item] for item in sent} == {
        item: door[signal] for item, signal in sent.items()
    }
    trail = bodies_in(tmp_path / "audit" / "audit.jsonl")
    assert trail == ["direct audit", "through audit"]


def test_the_agent_collectors_of_these_gateways_have_every_set_of_an_agents_overlays() -> None:
    tried = {frozenset(agent_overlays(overlays)) for overlays in combinations("gateway")}
    assert tried >= {frozenset(overlays) for overlays in combinations("agent")}


@pytest.mark.parametrize("overlays", combinations("dev"), ids="+".join)
def test_each_signal_is_in_its_file_with_dev(
    dev_binary: Path,
    certificates: Path,
    provider: OpenIdProvider,
    tmp_path: Path,
    overlays: Overlays,
) -> None:
    target = start(dev_binary, tmp_path, ["dev", *overlays], certificates)
    with target.process:
        sent = send(target.process, identity(overlays, certificates, provider), "direct")
        texts = {
            signal: (tmp_path / "data" / f"{signal}.jsonl").read_text("utf-8")
            for signal in REQUESTS
        }
    for signal, text in texts.items():
        assert {item for item in sent if item in text} == {
            item for item, other in sent.items() if other == signal
        }
    assert bodies_in(tmp_path / "data" / "audit" / "audit.jsonl") == ["direct audit"]


@pytest.mark.parametrize("overlays", combinations("audit"), ids="+".join)
def test_an_audit_record_is_in_the_file_of_the_audit_collector_and_telemetry_nowhere(
    gateway_binary: Path,
    certificates: Path,
    provider: OpenIdProvider,
    tmp_path: Path,
    overlays: Overlays,
) -> None:
    target = start(
        gateway_binary,
        tmp_path,
        ["audit", *overlays],
        certificates,
        KAIZEN_OTEL_OIDC_ISSUER=provider.issuer,
    )
    client = identity(overlays, certificates, provider).audit
    with target.process:
        assert client.post(target.process.audit_port, "logs", logs("record"))
        for signal in ("traces", "metrics"):
            assert not client.post(target.process.audit_port, signal, REQUESTS[signal](signal))
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["record"]
