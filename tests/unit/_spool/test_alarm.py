"""When the shipper goes on: with more to take along, but never late for whoever waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._spool.alarm import GATHER_NS, Alarm

if TYPE_CHECKING:
    from collections.abc import Callable

SECOND_NS = 10**9


class ListeningClock:
    """Notes for how long somebody wants to wait, and does not."""

    def __init__(self) -> None:
        self.waits: list[tuple[bool, int]] = []

    def time_ns(self) -> int:
        return 0

    def monotonic_ns(self) -> int:
        return 0

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        self.waits.append((event.is_set(), timeout_ns))
        return event.is_set()


def test_after_a_request_that_was_not_full_it_gathers_a_moment_whoever_rings() -> None:
    clock = ListeningClock()
    alarm = Alarm(clock)
    alarm.note_sent(has_more=False, commits=0, is_behind=False)
    alarm.ring()
    alarm.wait(0)
    assert clock.waits == [(False, GATHER_NS)]
    alarm.wait(0)
    assert len(clock.waits) == 1, "once for each request"


def test_nothing_is_gathered_while_more_is_there_already() -> None:
    clock = ListeningClock()
    alarm = Alarm(clock)
    alarm.note_sent(has_more=True, commits=0, is_behind=False)
    alarm.wait(0)
    assert not clock.waits


@pytest.mark.parametrize(
    "hurry", [lambda alarm: alarm.hurry(), lambda alarm: alarm.hurry(is_for_good=True)]
)
def test_nothing_is_gathered_while_somebody_waits(hurry: Callable[[Alarm], None]) -> None:
    clock = ListeningClock()
    alarm = Alarm(clock)
    hurry(alarm)
    alarm.clear()
    alarm.note_sent(has_more=False, commits=0, is_behind=False)
    alarm.wait(0)
    assert clock.waits == [(True, GATHER_NS)]


def test_it_gathers_again_when_nobody_waits_any_more_except_for_good() -> None:
    clock = ListeningClock()
    alarm = Alarm(clock)
    for is_for_good in (False, True):
        alarm.hurry(is_for_good=is_for_good)
        alarm.relax()
        alarm.note_sent(has_more=False, commits=0, is_behind=False)
        alarm.wait(0)
    assert clock.waits == [(False, GATHER_NS), (True, GATHER_NS)]


def test_a_pause_ends_with_a_ring_and_a_ring_before_it_is_not_lost() -> None:
    clock = ListeningClock()
    alarm = Alarm(clock)
    alarm.clear()
    alarm.ring()
    alarm.wait(SECOND_NS)
    alarm.clear()
    alarm.wait(SECOND_NS)
    assert clock.waits == [(True, SECOND_NS), (False, SECOND_NS)]


def test_a_full_request_gives_way_to_producers_who_are_at_work() -> None:
    """Each request takes the interpreter from them; what they make can go out a moment later."""
    clock = ListeningClock()
    alarm = Alarm(clock)
    for commits in (1, 2, 2):
        alarm.note_sent(has_more=True, commits=commits, is_behind=False)
        alarm.wait(0)
    assert len(clock.waits) == 2, "and to nobody once they have stopped"


def test_a_shipper_that_is_far_behind_gives_way_to_nobody() -> None:
    clock = ListeningClock()
    alarm = Alarm(clock)
    for commits in (1, 2):
        alarm.note_sent(has_more=True, commits=commits, is_behind=True)
        alarm.wait(0)
    assert not clock.waits
