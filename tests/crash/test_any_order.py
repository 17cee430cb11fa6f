"""Faults in any order and number: hypothesis looks for a story in which a record is lost."""

from __future__ import annotations

import errno
import random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from kaizen_otel._export import Delivered, Outcome, Rejected, Retryable
from kaizen_otel._otlp.decode import decode_log_record
from kaizen_otel._spool.files import QUARANTINE_NAME, segment_paths
from kaizen_otel._spool.segment import scan
from kaizen_otel._spool.shipper import Shipper
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
    text_of,
)

_OUTCOMES: list[Outcome] = [
    Delivered(),
    Delivered(rejected_count=1, message="no room"),
    Retryable(reason="unavailable", message="503"),
    Retryable(reason="timeout", message="hung"),
    Retryable(reason="unreachable", message="refused"),
    Rejected(reason="bad_request", message="400"),
    Rejected(reason="server_error", message="500"),
]


class Life(RuleBasedStateMachine):
    """An agent machine, a receiver, and everything that can happen to them."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnedClock()
        self.filesystem = MemoryFilesystem()
        self.acknowledged: list[str] = []
        self.taken: list[str] = []
        self.number = 0
        self.spool: Spool
        self.shipper: Shipper
        self.receiver: Receiver

    @initialize()
    def start(self) -> None:
        self.receiver = Receiver()
        self.receiver.taken = self.taken
        self.spool = Spool(
            ROOT,
            resource=RESOURCE,
            filesystem=self.filesystem,
            clock=self.clock,
            ids=CountedIds(self.clock),
            segment_bytes_max=600,
        )
        self.shipper = make_shipper(self.filesystem, self.spool, self.receiver, self.clock)

    @rule(count=st.integers(1, 8))
    def append(self, count: int) -> None:
        futures = []
        for _ in range(count):
            self.number += 1
            text = f"r{self.number}"
            futures.append((text, self.spool.append(payload(text, 40))))
        for text, future in futures:
            try:
                future.result(20)
            except SpoolError:
                continue
            self.acknowledged.append(text)

    @rule(outcomes=st.lists(st.sampled_from(_OUTCOMES), max_size=3))
    def ship(self, outcomes: list[Outcome]) -> None:
        self.receiver.script = list(outcomes)
        run_until_idle(self.shipper)
        self.receiver.script = []

    @rule(seconds=st.sampled_from([0.3, 2, 15, 70, 1000]))
    def turn(self, seconds: float) -> None:
        self.clock.turn(seconds)

    @rule(
        operation=st.sampled_from(
            ["write", "sync", "create", "sync_directory", "rename", "truncate", "remove", "close"]
        ),
        error=st.sampled_from([errno.EIO, errno.ENOSPC]),
        effect=st.sampled_from(["none", "full", "short"]),
        count=st.integers(1, 4),
    )
    def break_disk(self, operation: str, error: int, effect: str, count: int) -> None:
        left = count

        def plan(call: Call) -> Fault | None:
            nonlocal left
            if call.operation != operation or left == 0:
                return None
            left -= 1
            return Fault(error=error, effect=effect)  # type: ignore[arg-type]

        self.filesystem.fault = plan

    @rule()
    def mend_disk(self) -> None:
        self.filesystem.fault = None

    @rule()
    def kill(self) -> None:
        self.filesystem = self.filesystem.kill_process()
        self.start()

    @rule(seed=st.one_of(st.none(), st.integers(0, 1000)))
    def lose_power(self, seed: int | None) -> None:
        torn = None if seed is None else random.Random(seed)
        self.filesystem = self.filesystem.lose_power(torn)
        self.start()

    @rule()
    def end_and_start_again(self) -> None:
        self.filesystem.fault = None
        assert self.spool.close(10_000)
        assert self.shipper.stop(10_000)
        self.spool.release()
        self.start()

    @rule()
    def another_process_looks_around(self) -> None:
        other = make_shipper(self.filesystem, None, self.receiver, self.clock)
        run_until_idle(other)
        self.clock.turn(1000)
        run_until_idle(other)
        self.filesystem.fault = None
        assert other.stop(10_000)

    @rule(forgets=st.integers(0, 5))
    def receiver_loses_power(self, forgets: int) -> None:
        """It had said yes to records of this moment, and lost them; then it is back."""
        self.filesystem.fault = None
        self.append(forgets + 1)
        run_until_idle(self.shipper)
        before = list(self.taken)
        self.append(forgets + 1)
        run_until_idle(self.shipper)
        self.taken[:] = before
        self.append(1)
        self.receiver.script = [Retryable(reason="unreachable", message="refused")]
        for _ in range(3):
            run_until_idle(self.shipper)
            self.clock.turn(61)
        run_until_idle(self.shipper)

    @rule(idle_s=st.sampled_from([1, 20, 44]), probes=st.booleans())
    def receiver_loses_power_unnoticed(self, idle_s: int, probes: bool) -> None:
        """As above, but it is back before anything was sent to it: only the connection knows."""
        self.filesystem.fault = None
        self.clock.turn(130)
        run_until_idle(self.shipper)
        before = list(self.taken)
        self.append(3)
        run_until_idle(self.shipper)
        self.taken[:] = before
        self.clock.turn(idle_s)
        self.receiver.script = [Delivered(is_reconnected=True)]
        if not probes:
            self.append(1)
        for _ in range(4):
            self.clock.turn(46)
            run_until_idle(self.shipper)

    def teardown(self) -> None:
        self.filesystem.fault = None
        after = Receiver()
        for disk in (self.filesystem.lose_power(), self.filesystem.kill_process()):
            after.taken = []
            shipper = make_shipper(disk, None, after, self.clock)
            for _ in range(3):
                run_until_idle(shipper)
                self.clock.turn(11)
            have = {*self.taken, *after.taken, *_quarantined(disk)}
            assert [text for text in self.acknowledged if text not in have] == []
        assert self.clock.now_ns > SECOND_NS


def _quarantined(disk: MemoryFilesystem) -> list[str]:
    """Texts of records that the receiver refused and that are kept in files."""
    return [
        text_of(decode_log_record(entry.payload))
        for path in segment_paths(disk, f"{ROOT}/{QUARANTINE_NAME}")
        for entry in scan(disk.read(path, 0, 1 << 20)).entries
    ]


Life.TestCase.settings = settings(max_examples=120, stateful_step_count=25, deadline=None)
TestLife = Life.TestCase
