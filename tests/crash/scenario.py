"""One life of an audit spool, told step by step, with a receiver that misbehaves in between.

The same story is run with every call of the disk failing, with the machine stopping before every
call, and with one safety taken out ("saboteurs").  What must hold is always the same: every
record that was acknowledged is taken by the receiver in the end.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kaizen_otel._export import Delivered, Outcome, Rejected, Retryable, Signal
from kaizen_otel._spool.shipper import KEEP_NS, Shipper
from kaizen_otel._spool.spool import Spool
from kaizen_otel.errors import SpoolError
from kaizen_otel.testing.memory_filesystem import Call, Fault, MemoryFilesystem
from tests.unit._spool.spool_kit import (
    RESOURCE,
    ROOT,
    SECOND_NS,
    CountedIds,
    Receiver,
    TurnedClock,
    make_shipper,
    payload,
    run_until_idle,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sized

    from kaizen_otel._spool.framing import OnAnswer
    from kaizen_otel._spool.reader import Record
    from kaizen_otel._spool.stream import Stream


@dataclass
class Sabotage:
    """Which parts are replaced by ones without their safety."""

    filesystem: type[MemoryFilesystem] = MemoryFilesystem
    spool: type[Spool] = Spool
    shipper: type[Shipper] = Shipper
    receiver: type[Receiver] = Receiver


class NoSync(MemoryFilesystem):
    """fdatasync removed."""

    def sync(self, handle: int) -> None:
        """Say yes and do nothing."""


class NoDirectorySync(MemoryFilesystem):
    """Directory fsync removed."""

    def sync_directory(self, path: str) -> None:
        """Say yes and do nothing."""


class NoLock(MemoryFilesystem):
    """flock removed: everybody gets every lock."""

    def try_lock(self, path: str) -> int | None:
        handle = super().try_lock(path)
        if handle is None:
            handle = self._open(path, self._file(path))
        return handle


class AcknowledgesFirst(Spool):
    """The record is acknowledged before it is written."""

    def append(
        self,
        data: Sized,
        *,
        resource: bytes = b"",
        is_reserved: bool = False,
        on_answer: OnAnswer | None = None,
    ) -> Future[int]:
        super().append(data, resource=resource, is_reserved=is_reserved, on_answer=on_answer)
        early: Future[int] = Future()
        early.set_result(0)
        return early


class MovesFirst(Shipper):
    """The cursor moves before the answer is read."""

    def _deliver(self, stream: Stream, records: list[Record]) -> None:
        self._advance(stream, records)
        super()._deliver(stream, records)


class RetriesSync(MemoryFilesystem):
    """A failed sync is tried once more on the same file, as if that meant anything."""

    def sync(self, handle: int) -> None:
        try:
            super().sync(handle)
        except OSError:
            super().sync(handle)


class IgnoresPartialSuccess(Receiver):
    """The rejected count of an answer is not looked at."""

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        outcome = super().send(signal, body, deadline_ns=deadline_ns)
        return Delivered() if isinstance(outcome, Delivered) else outcome


@dataclass
class Story:
    """What happened: acknowledged texts, the disk, the receiver."""

    filesystem: MemoryFilesystem
    clock: TurnedClock = field(default_factory=TurnedClock)
    acknowledged: list[str] = field(default_factory=list)
    refused: int = 0
    taken: list[str] = field(default_factory=list)

    def missing(self, filesystem: MemoryFilesystem) -> list[str]:
        """Let a next process ship what is on the disk; what was acknowledged and never taken."""
        receiver = Receiver()
        shipper = make_shipper(filesystem, None, receiver, self.clock)
        run_until_idle(shipper)
        have = {*self.taken, *receiver.taken}
        return [text for text in self.acknowledged if text not in have]


_SCRIPT: list[Outcome] = [
    Retryable(reason="unavailable", message="503"),
    Delivered(rejected_count=1, message="no room"),
    Retryable(reason="timeout", message="hung"),
    Rejected(reason="unauthenticated", message="401"),
    Delivered(),
    Retryable(reason="unreachable", message="refused"),
]


def tell(
    filesystem: MemoryFilesystem,
    sabotage: Sabotage,
    *,
    at_call: Callable[[Call, Story], None] | None = None,
) -> Story:
    """Run the story once on a disk, to its end whatever fails."""
    story = Story(filesystem)
    if at_call is not None:
        plan = filesystem.fault

        def watched(call: Call) -> Fault | None:
            at_call(call, story)
            return None if plan is None else plan(call)

        filesystem.fault = watched
    receiver = sabotage.receiver(_SCRIPT)
    receiver.taken = story.taken
    spool = sabotage.spool(
        ROOT,
        resource=RESOURCE,
        filesystem=filesystem,
        clock=story.clock,
        ids=CountedIds(story.clock),
        segment_bytes_max=700,
    )
    shipper = make_shipper(filesystem, spool, receiver, story.clock, kind=sabotage.shipper)
    _append(spool, story, 1, 7)
    for _ in range(3):
        run_until_idle(shipper)
        story.clock.turn(1)
    # Another process starts on this machine and looks for orphans; time passes.
    other = make_shipper(filesystem, None, receiver, story.clock, kind=sabotage.shipper)
    for _ in range(3):
        run_until_idle(other)
        story.clock.turn(KEEP_NS / SECOND_NS + 1)
    _append(spool, story, 8, 12)
    for _ in range(2):
        story.clock.turn(11)
        run_until_idle(shipper)
    _append(spool, story, 13, 15)
    spool.flush(10_000)
    return story


def _append(spool: Spool, story: Story, first: int, last: int) -> None:
    for number in range(first, last + 1):
        text = f"r{number}"
        try:
            spool.append(payload(text, 60)).result(10)
        except SpoolError:
            story.refused += 1
        else:
            story.acknowledged.append(text)


def endings(filesystem: MemoryFilesystem, chance: random.Random) -> dict[str, MemoryFilesystem]:
    """The disks that a next process may find."""
    return {
        "killed": filesystem.kill_process(),
        "power lost": filesystem.lose_power(),
        "power lost, some of the rest kept": filesystem.lose_power(chance),
    }
