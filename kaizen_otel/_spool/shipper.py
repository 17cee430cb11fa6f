"""Deliver what the spool holds: read after the cursor, send, read the answer, then move on.

A record counts as delivered when the receiver answered 2xx and rejected nothing.  Everything
else is tried again for ever, with two exceptions: a request that is refused as malformed or too
large is sent again in halves, and a single record that is still refused while the receiver
takes other requests is set aside in a file (quarantine) with a gap record in its place.

A receiver syncs nothing before it answers, so its machine may lose power and with it what it had
taken in the last half minute.  The connection does not survive that: when a new one has to be
made, the last minute before the last answer is delivered again.  So that it is noticed in time,
one empty request goes out when nothing was sent for 45 s.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, assert_never

from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._spool.alarm import Alarm
from kaizen_otel._spool.orphans import Orphans
from kaizen_otel._spool.outage import CONNECTION_FAILED, Outage, ShipperStatus
from kaizen_otel._spool.reader import encode_batch
from kaizen_otel._spool.refusals import MALFORMED, Refusals
from kaizen_otel._spool.segment import Gap
from kaizen_otel._spool.stream import REPLAY_NS
from kaizen_otel._spool.waiting import Deliveries

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._export import Outcome, Transport
    from kaizen_otel._spool.reader import Record
    from kaizen_otel._spool.spool import Spool
    from kaizen_otel._spool.stream import Stream

_SECOND_NS: Final = 10**9
RECORDS_MAX: Final = 64
REQUEST_BYTES_MAX: Final = 1024 * 1024
KEEP_NS: Final = 15 * 60 * _SECOND_NS
_ADOPT_INTERVAL_NS: Final = 30 * _SECOND_NS
_RETIRE_INTERVAL_NS: Final = 10 * _SECOND_NS
_CURSOR_INTERVAL_NS: Final = _SECOND_NS // 5
_MILLISECOND_NS: Final = 10**6
# Linux writes dirty pages back after 30 s, looking every 5 s (vm.dirty_expire_centisecs); servers
# close idle connections after 60 s or more (the Collector's idle_timeout).
CONFIRM_NS: Final = 45 * _SECOND_NS


class Shipper:
    """One daemon thread that delivers this process's stream and those of dead processes.

    ``spool`` is None for a process that only empties what others left behind.  ``warn`` tells the
    operator, ``on_gap`` takes a gap to be recorded, ``on_step`` is called again and again and says
    after how many nanoseconds it wants to be called next.
    """

    def __init__(
        self,
        directory: str,
        *,
        spool: Spool | None,
        transport: Transport,
        filesystem: Filesystem,
        clock: Clock,
        random_fraction: Callable[[], float],
        warn: Callable[[str], None],
        scope: bytes = b"",
        timeout_ms: int = 10_000,
        on_gap: Callable[[Gap], None] | None = None,
        on_step: Callable[[], int] | None = None,
    ) -> None:
        self.orphans = Orphans(directory, filesystem=filesystem, clock=clock, warn=warn)
        self._spool = spool
        self._transport = transport
        self._clock = clock
        self._warn = warn
        self._scope = scope
        self._timeout_ms = timeout_ms
        self._on_gap = on_gap
        self._on_step = on_step
        self._lock = threading.Lock()
        self._alarm = Alarm(clock)
        self._is_stopping = False
        self._thread: threading.Thread | None = None
        self._flushes: list[threading.Event] = []
        self._deliveries = Deliveries()
        self._count_max = RECORDS_MAX
        self._outage = Outage(
            where=f"{transport.description} (spool {directory})",
            clock=clock,
            random_fraction=random_fraction,
            warn=warn,
        )
        self._refusals = Refusals(directory, filesystem=filesystem, clock=clock)
        self._turn = self._quarantined = 0
        self._confirm_at_ns: int | None = None
        self._adopt_at_ns = self._retire_at_ns = self._cursor_at_ns = 0

    def start(self) -> None:
        """Start the thread, once."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._run, name="kaizen-otel-shipper", daemon=True
            )
            self._thread.start()

    def wake(self) -> None:
        """Have the next step done now."""
        self._alarm.ring()

    def notice_stored(self) -> None:
        """Wake, unless nothing may be sent now anyway: a spool that fills keeps its speed."""
        if self._clock.monotonic_ns() >= self._outage.retry_at_ns:
            self._alarm.ring()

    def flush(self, timeout_ms: int) -> bool:
        """Wait until everything stored so far is delivered or quarantined; False if time was up.

        Tries at once, without waiting for the back-off.  Without a spool it is the adopted
        streams that are waited for.
        """
        done = threading.Event()
        with self._lock:
            self._flushes.append(done)
            self._outage.is_hurried = True
            self._outage.retry_at_ns = 0
            if self._spool is None:
                # A process that ended a moment ago is to be waited for as well.
                self._adopt_at_ns = 0
            self._alarm.hurry()
        try:
            return self._clock.wait(done, timeout_ms * _MILLISECOND_NS)
        finally:
            with self._lock:
                self._flushes.remove(done)
                self._outage.is_hurried = bool(self._flushes)
                if not self._flushes:
                    self._alarm.relax()

    def when_delivered(self, sequence: int) -> Future[bool]:
        """Return a future: True when the own record is delivered, False if it is quarantined.

        Called with rising sequence numbers.
        """
        self._alarm.hurry(is_for_good=True)
        stream = self._own_stream()
        return self._deliveries.wait_for(
            sequence, lambda: 0 if stream is None else stream.cursor.sequence_next
        )

    def stop(self, timeout_ms: int) -> bool:
        """End the thread, save the cursors, give adopted streams back; False if time was up."""
        self._is_stopping = True
        self._alarm.hurry()
        if self._thread is not None:
            self._thread.join(timeout_ms / 1000)
            if self._thread.is_alive():
                return False
        self._save_cursors()
        self.orphans.close()
        self._transport.close()
        return True

    def abandon(self) -> None:
        """Let go of everything in a forked child."""
        self.orphans.abandon()

    def status(self) -> ShipperStatus:
        """Say how delivery stands."""
        stream = self._own_stream()
        return ShipperStatus(
            delivered=0 if stream is None else stream.delivered_count - self._quarantined,
            quarantined=self._quarantined,
            adopted_streams=len(self.orphans.streams),
            failing_ns=self._outage.failing_ns,
            failure=self._outage.failure,
        )

    def step(self) -> int:
        """Do one piece of work; return after how many nanoseconds the next one is due."""
        now_ns = self._clock.monotonic_ns()
        pause_ns = self._keep_house(now_ns)
        if now_ns < self._outage.retry_at_ns:
            return min(pause_ns, self._outage.retry_at_ns - now_ns)
        flushes = self._flushes[:]  # in one step
        for stream in self._sources():
            records = self._take(stream)
            if records:
                self._deliver(stream, records)
                return min(pause_ns, max(0, self._outage.retry_at_ns - now_ns))
        if self._is_delivered():
            for done in flushes:
                done.set()
        return min(pause_ns, self._confirm(now_ns, pause_ns))

    def _run(self) -> None:
        while not self._is_stopping:
            self._alarm.clear()
            try:
                pause_ns = self.step()
            except Exception as unexpected:  # noqa: BLE001 - the thread must outlive our mistakes
                self._outage.fail("fault", f"a fault of kaizen-otel: {unexpected!r}")
                pause_ns = _SECOND_NS
            if not self._is_stopping:
                self._alarm.wait(pause_ns)

    def _own_stream(self) -> Stream | None:
        return None if self._spool is None else self._spool.stream

    def _sources(self) -> list[Stream]:
        """Return all streams, each time beginning with the next one."""
        own = self._own_stream()
        streams = ([] if own is None else [own]) + self.orphans.streams
        start = self._turn % len(streams) if streams else 0
        return streams[start:] + streams[:start]

    def _is_delivered(self) -> bool:
        if self._spool is None:
            return all(stream.exhausted for stream in self.orphans.streams)
        own = self._own_stream()
        return own is None or own.exhausted

    def _take(self, stream: Stream) -> list[Record]:
        try:
            records = stream.take(count_max=self._count_max, bytes_max=REQUEST_BYTES_MAX)
        except OSError as error:
            self._outage.fail("spool", f"the spool cannot be read: {error}")
            return []
        for damage in stream.take_damages():
            self._warn(
                f"{damage.size} bytes of stored audit records in {stream.path} are damaged and "
                "cannot be delivered: check the disk"
            )
            self._report(Gap(reason="damaged", stream_id=stream.stream_id))
        return records

    def _deliver(self, stream: Stream, records: list[Record]) -> None:
        """Send records and do what the answer asks for."""
        outcome = self._send(encode_batch(records, self._scope))
        match outcome:
            case Delivered(is_otlp=False, message=message):
                # Telemetry may take it for a yes; here what another program got would be lost.
                message = message or "the answer has no length, a part of it may be missing"
                self._outage.fail("wrong_protocol", message)
            case Delivered(rejected_count=0):
                # Nobody adds to a dead process's stream.
                if (spool := self._spool) is not None and stream.is_own:
                    has_more = len(records) >= self._count_max
                    self._alarm.note_sent(
                        has_more=has_more, commits=spool.commits, is_behind=spool.is_behind
                    )
                self._advance(stream, records)
                self._refusals.note_taken()
                self._confirm_at_ns = self._clock.monotonic_ns() + CONFIRM_NS
                self._recover()
            case Delivered(rejected_count=count, message=message):
                self._count_max = max(1, len(records) // 2)
                self._outage.fail(
                    "partial", f"{count} of {len(records)} records were rejected: {message}"
                )
            case Rejected(reason=reason) if reason in MALFORMED:
                if len(records) > 1:
                    self._count_max = max(1, len(records) // 2)
                else:
                    self._judge(stream, records, outcome)
            case Rejected(reason=reason, message=message):
                self._outage.fail(reason, message)
            case Retryable(reason=reason, message=message, retry_after_ms=retry_after_ms):
                self._outage.fail(reason, message, retry_after_ms or 0)
            case _:
                assert_never(outcome)

    def _send(self, body: bytes) -> Outcome:
        """Send, and note if what was delivered before may have to be delivered again."""
        deadline_ns = self._clock.monotonic_ns() + self._timeout_ms * _MILLISECOND_NS
        outcome = self._transport.send("logs", body, deadline_ns=deadline_ns)
        if (
            outcome.is_reconnected
            if isinstance(outcome, Delivered)
            else outcome.reason in CONNECTION_FAILED
        ):
            self._outage.disconnect()
            for stream in self._sources():
                stream.note_disconnect()
        return outcome

    def _confirm(self, now_ns: int, pause_ns: int) -> int:
        """Ask whether the receiver that took the last records is still there; when to ask next."""
        if self._confirm_at_ns is None or now_ns < self._confirm_at_ns:
            return pause_ns if self._confirm_at_ns is None else self._confirm_at_ns - now_ns
        outcome = self._send(b"")
        if isinstance(outcome, Delivered):
            self._recover()
        elif outcome.reason in CONNECTION_FAILED or self._outage.failing_ns:
            self._outage.fail(outcome.reason, outcome.message)
            return max(0, self._outage.retry_at_ns - now_ns)
        # Any answer over the old connection says that the machine behind it has kept its memory.
        self._confirm_at_ns = None
        return 0

    def _judge(self, stream: Stream, records: list[Record], refusal: Rejected) -> None:
        """Set one refused record aside, if the receiver takes an empty request.

        If it refuses that as well, it is no audit receiver and the record is not to blame.
        """
        record, message = records[0], refusal.message
        is_certain = self._refusals.is_certain(record, stream.stream_id, refusal.reason)
        empty = self._send(b"") if is_certain else refusal
        if not isinstance(empty, Delivered) or not empty.is_otlp:
            self._outage.fail("refused", message)
            return
        try:
            path = self._refusals.set_aside(record, stream.stream_id)
        except OSError as error:
            self._outage.fail("quarantine", f"a refused record cannot be set aside: {error}")
            return
        self._quarantined += stream.is_own
        self._warn(f"an audit record was refused and is kept in {path}: {message}")
        number = record.sequence
        self._report(
            Gap(
                reason="quarantined",
                stream_id=stream.stream_id,
                first_sequence=number,
                last_sequence=number,
            )
        )
        self._advance(stream, records, is_delivered=False)
        self._recover()

    def _advance(self, stream: Stream, records: list[Record], *, is_delivered: bool = True) -> None:
        now_ns = self._clock.time_ns()
        lost_ns = self._outage.replay_since_ns
        since_ns = now_ns if lost_ns is None else lost_ns
        stream.advance(records, now_ns=now_ns, replay_since_ns=since_ns - REPLAY_NS)
        self._turn += 1
        if stream.is_own:
            self._deliveries.answer(stream.cursor.sequence_next, is_delivered=is_delivered)

    def _recover(self) -> None:
        self._count_max = min(RECORDS_MAX, self._count_max * 2)
        self._outage.recover()
        self._replay()

    def _replay(self) -> None:
        """After a lost connection, deliver the last minute before it once more.

        The receiver's machine may have lost power with those records in its memory.
        """
        since_ns = self._outage.take_replay()
        if since_ns is not None:
            for stream in self._sources():
                stream.rewind(since_ns - REPLAY_NS)

    def _report(self, gap: Gap) -> None:
        if self._on_gap is not None:
            self._on_gap(gap)

    def _keep_house(self, now_ns: int) -> int:
        """Adopt, retire, save cursors when they are due; return when the next is."""
        own, spool = self._own_stream(), self._spool
        if now_ns >= self._adopt_at_ns:
            self._adopt_at_ns = now_ns + _ADOPT_INTERVAL_NS
            self.orphans.adopt(None if own is None else own.stream_id)
        is_pressed = spool is not None and spool.is_under_pressure
        if is_pressed or now_ns >= self._retire_at_ns:
            self._retire_at_ns = now_ns + _RETIRE_INTERVAL_NS
            before_ns = self._clock.time_ns() - (0 if is_pressed else KEEP_NS)
            disconnected_ns = self._outage.replay_since_ns
            if disconnected_ns is not None and not is_pressed:
                # What is to be delivered again stays, however long the outage lasts.
                before_ns = min(before_ns, disconnected_ns - REPLAY_NS)
            for stream in self._sources():
                stream.reconciled_before_ns = self._clock.time_ns() - REPLAY_NS
            self.orphans.retire(before_ns)
            if spool is not None:
                spool.adopted_bytes = self.orphans.bytes_used
                spool.retire(before_ns)
        if now_ns >= self._cursor_at_ns:
            self._cursor_at_ns = now_ns + _CURSOR_INTERVAL_NS
            self._save_cursors()
        self._replay()
        pause_ns = min(self._adopt_at_ns, self._retire_at_ns) - now_ns
        if any(stream.is_cursor_stale for stream in self._sources()):
            pause_ns = min(pause_ns, self._cursor_at_ns - now_ns)
        if self._on_step is not None:
            pause_ns = min(pause_ns, self._on_step())
        return max(0, pause_ns)

    def _save_cursors(self) -> None:
        for stream in self._sources():
            try:
                stream.save_cursor()
            except OSError as error:
                self._outage.warn_at_most(
                    "cursor", f"records of {stream.path} may be delivered twice: {error}"
                )
