"""What a Collector took is kept through faults: the short form of ``make campaign-collector``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.campaigns.blocked import small_disk
from tests.campaigns.kit import Unavailable
from tests.collector import faults
from tests.collector.destination import Destination
from tests.collector.faults import BOUNDED, IN_MEMORY, OFFICIAL, ROUTES, Outcome, Rig

if TYPE_CHECKING:
    from collections.abc import Callable


def outcome(
    binary: Path,
    folder: Path,
    route: str,
    fault: Callable[[Rig], None],
    *sabotage: str,
    patience_s: float = 60,
    disk: Path | None = None,
) -> Outcome:
    with Destination() as destination:
        rig = Rig(ROUTES[route], binary, folder, destination, sabotage=sabotage, disk=disk)
        try:
            fault(rig)
            return rig.settle(patience_s=patience_s)
        finally:
            if rig.process is not None:
                rig.process.kill()


@pytest.mark.parametrize("route", ["traces", "logs"])
def test_a_destination_that_is_away_beyond_every_official_limit_gets_everything_later(
    gateway_binary: Path, tmp_path: Path, route: str
) -> None:
    found = outcome(gateway_binary, tmp_path, route, faults.outage)
    assert (found.lost, found.duplicated) == (0, 0)


def test_with_the_official_limit_the_same_outage_loses_spans(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """The saboteur (rule R09): its five minutes are one second here."""
    found = outcome(gateway_binary, tmp_path, "traces", faults.outage, OFFICIAL, patience_s=3)
    assert found.lost


def test_kills_while_spans_come_and_jaeger_goes_lose_none(
    gateway_binary: Path, tmp_path: Path
) -> None:
    assert outcome(gateway_binary, tmp_path, "traces", faults.kills).lost == 0


def test_without_a_queue_on_disk_the_same_kills_lose_spans(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """The saboteur (rule R14)."""
    assert outcome(
        gateway_binary, tmp_path, "traces", faults.kills, IN_MEMORY, patience_s=3
    ).lost  # fmt: skip


@pytest.mark.parametrize("route", ["traces", "logs", "audit"])
def test_a_reload_loses_nothing_that_was_acknowledged(
    gateway_binary: Path, tmp_path: Path, route: str
) -> None:
    found = outcome(gateway_binary, tmp_path, route, lambda rig: faults.reloads(rig, times=2))
    assert found.lost == 0


@pytest.mark.parametrize("route", ["traces", "logs", "audit"])
def test_what_does_not_fit_is_refused_and_what_was_acknowledged_is_kept(
    gateway_binary: Path, tmp_path: Path, route: str
) -> None:
    found = on_a_small_disk(gateway_binary, tmp_path, route, BOUNDED * (route != "audit"))
    assert found.refused
    assert found.acknowledged
    assert found.lost == 0


def test_a_queue_that_may_grow_larger_than_its_disk_loses_what_it_took(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """The saboteur: the stock queue passes over what it cannot note as being on its way."""
    assert on_a_small_disk(gateway_binary, tmp_path, "logs", patience_s=5, size="2m").lost


def on_a_small_disk(
    binary: Path, folder: Path, route: str, *sabotage: str, patience_s: float = 60, size: str = "6m"
) -> Outcome:
    texts = [text for text in sabotage if text]
    try:
        with small_disk(size) as disk:
            return outcome(
                binary, folder, route, faults.disk_full, *texts, patience_s=patience_s, disk=disk
            )
    except Unavailable as reason:
        pytest.skip(str(reason))


def test_a_kill_while_a_queue_starts_costs_what_was_on_its_way_and_no_more(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """At most ten requests that were being sent and one that waited for its turn, for each kill."""
    found = outcome(
        gateway_binary,
        tmp_path,
        "traces",
        lambda rig: faults.kills_while_starting(rig, times=3),
        patience_s=4,
    )
    assert found.lost <= 3 * (faults.CONSUMERS + 1)
