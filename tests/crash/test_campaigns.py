"""The fault campaigns (``tests/campaigns``) in small, and that each of them can find a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.campaigns import audit, blocked, disk, kills, network, power
from tests.campaigns.kit import Tally, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable

_RECORDS = 50_000


def _loses_nothing(run: Callable[[], Tally]) -> Tally:
    try:
        tally = run()
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert (tally.lost, tally.losses) == (0, [])
    return tally


def test_no_acknowledged_record_of_50_000_is_lost_by_sigkill() -> None:
    tally = _loses_nothing(lambda: kills.kill_agents(kills=12, records=_RECORDS))
    assert tally.counts["acknowledged"] >= _RECORDS


def test_another_process_leaves_a_living_agents_stream_alone() -> None:
    assert _loses_nothing(lambda: kills.look_around(rounds=1)).counts["acknowledged"]


@pytest.mark.parametrize("kind", power.MAKERS)
def test_no_acknowledged_record_is_lost_by_a_power_cut(kind: str) -> None:
    tally = _loses_nothing(lambda: power.cut(kind, cuts=5))
    assert tally.counts["acknowledged"]


def test_no_acknowledged_record_is_lost_when_calls_of_a_real_disk_fail() -> None:
    assert _loses_nothing(lambda: disk.fail_real_calls(runs=5)).counts["acknowledged"]


def test_no_acknowledged_record_is_lost_when_fdatasync_itself_fails() -> None:
    assert _loses_nothing(lambda: disk.fail_system_calls(runs=2)).counts["acknowledged"]


def test_a_file_system_that_fills_loses_nothing_and_the_refused_are_declared() -> None:
    assert _loses_nothing(lambda: disk.fill(rounds=1)).counts["gap records"]


def test_a_receiver_that_misbehaves_in_every_way_has_every_record_in_the_end() -> None:
    tally = _loses_nothing(lambda: network.misbehave(rounds=0, records=16, bad=2))
    assert tally.counts["acknowledged"]


def test_a_receiver_that_loses_its_memory_gets_the_records_again() -> None:
    assert _loses_nothing(lambda: network.forget(times=1, records=100)).counts["forgotten"]


def test_six_minutes_without_a_receiver_cost_one_warning_and_no_record() -> None:
    tally = _loses_nothing(lambda: network.hour(seconds=360, per_second=20))
    assert tally.counts["acknowledged"] == 7_200


def test_a_partitioned_receiver_has_every_record_in_the_end() -> None:
    assert _loses_nothing(lambda: network.partition(times=2)).counts["acknowledged"]


def test_no_traced_tool_runs_without_a_durable_intent_when_the_agent_is_killed() -> None:
    assert _loses_nothing(lambda: blocked.block_when_killed(kills=3)).counts["side effects"]


def test_no_tool_of_a_real_agent_runs_without_a_durable_intent_when_it_is_killed() -> None:
    tally = _loses_nothing(lambda: blocked.block_when_killed(kills=1, agent=True, seed=1))
    assert tally.counts["side effects"]


def test_no_traced_tool_runs_without_a_durable_intent_when_the_disk_fails() -> None:
    tally = _loses_nothing(lambda: blocked.block_when_the_disk_fails(rounds=1, seconds=1))
    assert tally.counts["side effects"]


def test_no_traced_tool_runs_without_a_durable_intent_when_the_disk_is_full() -> None:
    tally = _loses_nothing(lambda: blocked.block_when_the_disk_is_full(rounds=1, seconds=0.5))
    assert tally.counts["refused"]


def test_no_traced_tool_runs_without_a_durable_intent_when_power_is_cut() -> None:
    assert _loses_nothing(lambda: blocked.block_when_power_is_cut(cuts=2)).counts["side effects"]


@pytest.mark.parametrize(
    ("safety", "test"),
    [
        ("acknowledged before write", "SIGKILL"),
        ("no fdatasync", "power cuts"),
        ("no flock", "another process"),
        ("no block_action", "failing disk"),
    ],
)
def test_without_its_safety_the_same_test_finds_a_loss(safety: str, test: str) -> None:
    try:
        tally = audit.SABOTEURS[safety, test]()
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert tally.lost
