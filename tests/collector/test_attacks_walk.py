"""A walk over all ports of every secured Collector: nobody without credentials gets in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel._collector.resources import SHIPPED_CONFIGS, config_path
from tests.collector.attacks.target import Door, Target, start
from tests.collector.attacks.walk import listening, open_to_anybody, readable_by_anybody
from tests.collector.sink import changed
from tests.collector.test_configs import combinations, telling

if TYPE_CHECKING:
    from pathlib import Path

    from tests.collector.openid import OpenIdProvider

BIND = "127.0.0.2"
AUTHENTICATING = {
    "mtls",
    *(prefix + name for prefix in ("", "audit-") for name in ("bearer", "basic", "oidc")),
}


def secured() -> list[tuple[str, ...]]:
    """Each config with each way to close it: with the other overlays that fit, and without."""
    found: list[tuple[str, ...]] = []
    for config in SHIPPED_CONFIGS:
        ways: dict[frozenset[str], list[tuple[str, ...]]] = {}
        for names in combinations(config):
            way = AUTHENTICATING & set(names)
            if way:
                ways.setdefault(frozenset(way), []).append(names)
        for sets in ways.values():
            # Overlays that exclude each other, as those of an agent, make several largest sets.
            chosen = dict.fromkeys([min(sets, key=len), *telling(sets)])
            found += [(config, *names) for names in chosen]
    return found


def prepared(
    binary: Path,
    folder: Path,
    configs: tuple[str | Path, ...],
    certificates: Path,
    provider: OpenIdProvider,
) -> Target:
    return start(
        binary,
        folder,
        configs,
        certificates,
        KAIZEN_OTEL_BIND=BIND,
        KAIZEN_OTEL_OIDC_ISSUER=provider.issuer,
        KAIZEN_OTEL_GATEWAY_BASIC="dmFsdWU=",
        KAIZEN_OTEL_GATEWAY_AUDIT_BASIC="dmFsdWU=",
        KAIZEN_OTEL_GATEWAY_CLIENT_ID="agent-collector",
        KAIZEN_OTEL_GATEWAY_TOKEN_URL=f"{provider.issuer}/token",
    )


@pytest.mark.parametrize("configs", secured(), ids="+".join)
def test_nobody_without_credentials_gets_in_on_any_port(
    gateway_binary: Path,
    certificates: Path,
    provider: OpenIdProvider,
    tmp_path: Path,
    configs: tuple[str, ...],
) -> None:
    target = prepared(gateway_binary, tmp_path, configs, certificates, provider)
    with target.process:
        ports = {target.number(door) for door in ("audit", "health", "metrics")}
        if configs[0] != "audit":
            ports |= {target.number("gRPC"), target.number("HTTP")}
        assert listening(target.pid) == {(BIND, port) for port in ports}
        assert open_to_anybody(target) == set()
        public = {(BIND, target.number("health")), (BIND, target.number("metrics"))}
        assert readable_by_anybody(target) == public


def test_the_walk_finds_the_open_ports_of_a_gateway_without_overlays(
    gateway_binary: Path, certificates: Path, provider: OpenIdProvider, tmp_path: Path
) -> None:
    """The saboteur of the walk."""
    target = prepared(gateway_binary, tmp_path, ("gateway",), certificates, provider)
    with target.process:
        expected = {(BIND, target.number(door)) for door in ("gRPC", "HTTP", "audit")}
        assert open_to_anybody(target) == expected
        target.process.kill()  # it would try to deliver what came in


@pytest.mark.parametrize(
    ("receiver", "protocol", "door"),
    [("otlp", "grpc", "gRPC"), ("otlp", "http", "HTTP"), ("otlp/audit", "http", "audit")],
)
def test_the_walk_finds_the_one_port_whose_authentication_was_taken_out(
    gateway_binary: Path,
    certificates: Path,
    provider: OpenIdProvider,
    tmp_path: Path,
    receiver: str,
    protocol: str,
    door: Door,
) -> None:
    def forget(overlay: dict[str, Any]) -> None:
        del overlay["receivers"][receiver]["protocols"][protocol]["auth"]

    overlay = changed(config_path("bearer"), tmp_path / "bearer.yaml", forget)
    configs = ("gateway", "tls", overlay)
    target = prepared(gateway_binary, tmp_path, configs, certificates, provider)
    with target.process:
        assert open_to_anybody(target) == {(BIND, target.number(door))}
        target.process.kill()


def test_the_walk_finds_a_port_beyond_the_address_that_was_given(
    gateway_binary: Path, certificates: Path, provider: OpenIdProvider, tmp_path: Path
) -> None:
    beyond = tmp_path / "beyond.yaml"
    beyond.write_text(
        "receivers: {otlp/audit: {protocols: {http: "
        '{endpoint: "127.0.0.3:${env:KAIZEN_OTEL_AUDIT_PORT}"}}}}\n'
    )
    configs = ("audit", "tls", "audit-bearer", beyond)
    target = prepared(gateway_binary, tmp_path, configs, certificates, provider)
    with target.process:
        others = {address for address in listening(target.pid) if address[0] != BIND}
        assert others == {("127.0.0.3", target.number("audit"))}
