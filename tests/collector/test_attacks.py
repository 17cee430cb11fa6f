"""Attacks on the shipped, secured gateway: each class at each door, and a walk over all ports.

What must happen is said by the attacks themselves, and docs/guarantees/security.md shows that
table: KAIZEN_OTEL_UPDATE_CAPTURE=1 writes it anew.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from kaizen_otel._collector.resources import SHIPPED_CONFIGS, config_path
from tests.collector.attacks import page
from tests.collector.attacks.content import CONTENT
from tests.collector.attacks.entry import ENTRY, send, with_certificate
from tests.collector.attacks.flood import FLOODS
from tests.collector.attacks.malformed import MALFORMED
from tests.collector.attacks.reading import READING
from tests.collector.attacks.slow import HASTY, SLOW
from tests.collector.attacks.target import (
    CANARIES,
    RECEIVERS,
    Target,
    clients_of,
    forget_peak,
    memory_mib,
    start,
)
from tests.collector.openid import OpenIdProvider
from tests.collector.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.collector.attacks.attack import Attack
from tests.collector.attacks.target import Door

GROUPS = {
    "Getting in": ENTRY,
    "Reading": READING,
    "Malformed": MALFORMED,
    "Content": CONTENT,
    "Flooding": FLOODS,
    "Slowness": SLOW,
}
ATTACKS = [attack for group in GROUPS.values() for attack in group]
# Slow attackers are waited for: the shipped times are 10 s and 2 min.
OVERLAYS = {"hasty": ("bearer", HASTY)}
# One attack may cost that much memory for a moment.
GROWTH_MIB = 200


@pytest.fixture(scope="module")
def gateways(
    gateway_binary: Path, certificates: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], Target]]:
    """The gateway behind each of the overlays, started when it is wanted."""
    running: dict[str, Target] = {}
    with ExitStack() as stack:
        provider = stack.enter_context(OpenIdProvider("client-secret"))

        def gateway(name: str) -> Target:
            if name not in running:
                store = stack.enter_context(Store())
                target = start(
                    gateway_binary,
                    tmp_path_factory.mktemp(name),
                    ["gateway", "tls", *OVERLAYS.get(name, (name,))],
                    certificates,
                    ELASTICSEARCH_ENDPOINT=store.url,
                    KAIZEN_OTEL_OIDC_ISSUER=provider.issuer,
                )
                target.clients = clients_of(name, certificates, provider)
                target.provider, target.store = provider, store
                stack.enter_context(target.process)
                assert target.serves_others(), target.process.log_tail()
                running[name] = target
            return running[name]

        yield gateway


def cases() -> list[object]:
    return [
        pytest.param(attack, door, id=f"{attack.gateway}, {attack.name}, {door}")
        for attack in ATTACKS
        for door in attack.expected
    ]


@pytest.mark.parametrize(("attack", "door"), cases())
def test_an_attack_ends_as_the_page_says_and_others_are_served(
    gateways: Callable[[str], Target], attack: Attack, door: Door
) -> None:
    target = gateways(attack.gateway)
    accepted, trail, before = target.accepted(), target.trail_lines(), memory_mib(target.pid)
    marks = target.marks
    forget_peak(target.pid)
    assert attack.run(target, door) == attack.expected[door]
    assert target.serves_others(), target.process.log_tail()
    assert memory_mib(target.pid) < before + GROWTH_MIB
    marks = target.marks - marks
    assert target.accepted() == accepted + CANARIES * marks + attack.comes_in
    assert target.trail_lines() == trail + marks + (attack.comes_in if door == "audit" else 0)


def test_the_page_shows_these_attacks() -> None:
    table = page.table(GROUPS)
    if os.environ.get("KAIZEN_OTEL_UPDATE_CAPTURE"):
        page.write(table)
    assert page.shown() == table, "run with KAIZEN_OTEL_UPDATE_CAPTURE=1"


def test_there_are_at_least_sixty_and_each_is_counted_once() -> None:
    """An attack is a class at a door; the same class behind another overlay counts no more."""
    named = {(attack.name, door) for attack in ATTACKS for door in attack.expected}
    assert len(named) == len(cases()) >= 60


def test_the_same_requests_with_the_right_credentials_do_get_in(
    gateways: Callable[[str], Target],
) -> None:
    """The saboteur of the refusals: the tools of the attackers work."""
    for name in ("bearer", "basic", "oidc"):
        target = gateways(name)
        accepted = target.accepted()
        answers = [send(target, door, dict(target.clients[door].headers)) for door in RECEIVERS]
        assert answers == ["OK", "200", "200"]
        assert target.accepted() == accepted + len(RECEIVERS)
    target = gateways("mtls")
    assert with_certificate("agent")(target, "gRPC") == "connected"
    assert with_certificate("agent")(target, "HTTP") == "connected"
    assert with_certificate("audit/client")(target, "audit") == "connected"


@pytest.mark.parametrize("name", SHIPPED_CONFIGS)
def test_every_shipped_receiver_has_limits_for_size_and_time(name: str) -> None:
    """The times are not waited for above; a new receiver must not forget them."""
    config = yaml.safe_load(config_path(name).read_text(encoding="utf-8"))
    for receiver in config["receivers"].values():
        for protocol, settings in receiver["protocols"].items():
            if protocol == "grpc":
                assert settings["max_recv_msg_size_mib"] <= 8
                assert settings["max_concurrent_streams"] <= 32
            else:
                assert settings["max_request_body_size"] <= 8 * 1024 * 1024
                assert settings["read_header_timeout"] == "10s"
                assert settings["read_timeout"] == "2m"
