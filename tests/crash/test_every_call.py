"""Every call of the disk fails once, and the machine stops before every call: nothing is lost.

Each zero is only worth something if the same test finds a loss when a safety is missing; so each
safety is taken out in turn, and then a loss must be found.
"""

from __future__ import annotations

import errno
import random

import pytest

from kaizen_otel.testing.memory_filesystem import Call, Fault, MemoryFilesystem, fail_call
from tests.crash import scenario
from tests.crash.scenario import Sabotage, Story, endings, tell

SOUND = Sabotage()
SABOTEURS = {
    "no fdatasync": Sabotage(filesystem=scenario.NoSync),
    "no directory fsync": Sabotage(filesystem=scenario.NoDirectorySync),
    "no flock": Sabotage(filesystem=scenario.NoLock),
    "acknowledged before write": Sabotage(spool=scenario.AcknowledgesFirst),
    "cursor before answer": Sabotage(shipper=scenario.MovesFirst),
    "partial success ignored": Sabotage(receiver=scenario.IgnoresPartialSuccess),
}


def losses_when_stopped_anywhere(sabotage: Sabotage) -> list[str]:
    """Stop the machine before each call of the story; what was lost, and how."""
    losses: list[str] = []
    moments: list[tuple[Call, Story, dict[str, MemoryFilesystem]]] = []

    def stop(call: Call, story: Story) -> None:
        now = Story(
            filesystem=story.filesystem,
            clock=story.clock,
            acknowledged=list(story.acknowledged),
            taken=list(story.taken),
        )
        moments.append((call, now, endings(story.filesystem, random.Random(call.number))))

    filesystem = sabotage.filesystem()
    end = tell(filesystem, sabotage, at_call=stop)
    assert end.acknowledged
    filesystem.fault = None
    moments.append((Call(0, "the end", ""), end, endings(filesystem, random.Random(0))))
    for call, moment, disks in moments:
        for how, disk in disks.items():
            if lost := moment.missing(disk):
                losses.append(f"{how} before {call.operation} {call.number}: {lost}")
    return losses


def losses_when_a_call_fails(sabotage: Sabotage, fault: Fault, calls: range) -> list[str]:
    """Let each of the calls fail once; what was lost in the end, and how."""
    losses: list[str] = []
    for number in calls:
        filesystem = sabotage.filesystem(fault=fail_call(number, fault))
        story = tell(filesystem, sabotage)
        filesystem.fault = None
        assert len(story.acknowledged) + story.refused == 15
        for how, disk in endings(filesystem, random.Random(number)).items():
            if lost := story.missing(disk):
                losses.append(f"{how} after call {number} failed: {lost}")
    return losses


def _number_of_calls() -> int:
    filesystem = MemoryFilesystem()
    story = tell(filesystem, SOUND)
    assert story.refused == 0
    assert len(story.acknowledged) == 15
    return len(filesystem.calls)


def test_nothing_is_lost_wherever_the_machine_stops() -> None:
    assert losses_when_stopped_anywhere(SOUND) == []


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize("effect", ["none", "full", "short"])
def test_nothing_is_lost_whichever_call_fails(effect: str, error: int) -> None:
    fault = Fault(error=error, effect=effect)  # type: ignore[arg-type]
    assert losses_when_a_call_fails(SOUND, fault, range(1, _number_of_calls() + 1)) == []


@pytest.mark.parametrize("name", SABOTEURS)
def test_the_same_test_finds_the_loss_when_a_safety_is_taken_out(name: str) -> None:
    assert losses_when_stopped_anywhere(SABOTEURS[name])


def test_a_failed_sync_that_is_simply_tried_again_loses_records() -> None:
    """The kernel marked the dropped bytes clean: the second sync says yes and they are gone."""
    calls = range(1, _number_of_calls() + 1)
    retries = Sabotage(filesystem=scenario.RetriesSync)
    assert losses_when_a_call_fails(retries, Fault(effect="none"), calls)
