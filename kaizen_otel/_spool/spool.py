"""Append with group commit, roll, byte limit, and what happens when the disk says no.

One thread writes.  Appends from any thread wait in a queue while it syncs, and go to the disk
together with one ``fdatasync``: that is the group commit.  Letting the appending thread write
itself was measured and is within the noise of a queue (234 against 259 microseconds for one
producer), but then a hung disk breaks the caller's deadline.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections import Counter
from concurrent.futures import Future, wait
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._spool.answer import Answer, answer_all
from kaizen_otel._spool.framing import FINISH_BYTES_MAX, as_they_are
from kaizen_otel._spool.segment import ENTRY_OVERHEAD
from kaizen_otel._spool.writer import DISK_IS_FULL, Finished, SegmentWriter
from kaizen_otel.errors import RecordTooLargeError, SpoolFailedError, SpoolFullError

if TYPE_CHECKING:
    from collections.abc import Callable, Sized

    from kaizen_otel._edges import Clock, Filesystem, Ids
    from kaizen_otel._spool.framing import Finish, Framing, OnAnswer
    from kaizen_otel._spool.stream import Stream
    from kaizen_otel.errors import SpoolError

BYTES_MAX: Final = 1024 * 1024 * 1024
SEGMENT_BYTES_MAX: Final = 16 * 1024 * 1024
RECORD_BYTES_MAX: Final = 64 * 1024
QUEUED_BYTES_MAX: Final = 32 * 1024 * 1024
_COMMIT_COUNT_MAX: Final = 1024
_COMMIT_BYTES_MAX: Final = 4 * 1024 * 1024
_RESERVE_BYTES: Final = 256 * 1024
_RESERVE_FRACTION: Final = 16
_WARN_PERCENT: Final = 80
# The most that is added to a record and its Resource when they are stored.
_ADDED_BYTES: Final = 2 * ENTRY_OVERHEAD + FINISH_BYTES_MAX
# A twentieth of the bytes that the spool may hold, or so.
_BACKLOG_MAX: Final = 50_000
# What one of the stream's own items may take up.
_OWN_BYTES: Final = 4 * 1024


class _Item(NamedTuple):
    data: Sized
    resource: bytes
    answer: Answer[int]
    on_answer: OnAnswer | None
    size: int


class Spool:
    """Append-only files of one process epoch.  Knows bytes, not audit records.

    ``directory`` is the spool root, shared by processes; each takes a directory of its own in it
    at its first append.  ``resource`` is the encoded OTLP Resource of records that bring none.
    """

    def __init__(
        self,
        directory: str,
        *,
        resource: bytes,
        filesystem: Filesystem,
        clock: Clock,
        ids: Ids,
        bytes_max: int = BYTES_MAX,
        segment_bytes_max: int = SEGMENT_BYTES_MAX,
        is_durable: bool = True,
        finish: Finish | None = None,
        framing: Framing | None = None,
        on_stored: Callable[[], None] | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> None:
        self.adopted_bytes = 0
        self.commits = 0
        """How often something was stored: whether producers are at work."""
        self._directory = directory
        self._resource = resource
        self._clock = clock
        self._bytes_max = bytes_max
        self._reserve_bytes = min(_RESERVE_BYTES, bytes_max // _RESERVE_FRACTION)
        self._finish = finish
        self._framing = framing
        self._has_stored = False
        self._on_stored = on_stored
        self._warn = warn
        self._writer = SegmentWriter(
            directory,
            resource=resource,
            filesystem=filesystem,
            clock=clock,
            ids=ids,
            segment_bytes_max=segment_bytes_max,
            is_durable=is_durable,
        )
        self._queue: queue.SimpleQueue[_Item | Future[None] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._is_closed = False
        self._bytes_queued = 0
        self._bytes_retired = 0
        self._has_warned = False
        self._burned: list[tuple[int, int]] = []

    def append(
        self,
        data: Sized,
        *,
        resource: bytes = b"",
        is_reserved: bool = False,
        on_answer: OnAnswer | None = None,
    ) -> Future[int]:
        """Hand one record over; the future gives its sequence number once it is durable.

        ``data`` is the record's bytes, or what ``finish`` makes them of; its length is theirs.
        Never blocks on the disk and never raises.  The future raises ``RecordTooLargeError``,
        ``SpoolFullError`` or ``SpoolFailedError`` if the record was NOT stored.  With
        ``is_reserved`` the record may use the bytes that are kept free for gap records.
        ``on_answer`` is called with the refusal, or None, just before futures are answered, so
        that whoever waits for one finds counts up to date; once for all records of a commit that
        bring the same one, with their number.
        """
        answer: Answer[int] = Answer()
        size = len(data) + len(resource) + _ADDED_BYTES
        assert size > _ADDED_BYTES, "an empty record says nothing"
        item = _Item(data, resource, answer, on_answer, size)
        error: SpoolError | None
        if size > RECORD_BYTES_MAX:
            error = RecordTooLargeError(size, RECORD_BYTES_MAX)
        else:
            error = self._enqueue(item, is_reserved=is_reserved)
            if isinstance(error, SpoolFullError):
                self.retire(self._clock.time_ns())
                error = self._enqueue(item, is_reserved=is_reserved)
        if error is not None:
            if on_answer is not None:
                on_answer(error, 1)
            answer.set_exception(error)
        return answer

    def flush(self, timeout_ms: int) -> bool:
        """Wait until every record appended before is stored or refused; False if time was up."""
        marker: Future[None] = Future()
        with self._lock:
            if self._thread is None or self._is_closed:
                return self._bytes_queued == 0
            self._queue.put(marker)
        return bool(wait([marker], timeout=timeout_ms / 1000).done)

    @property
    def bytes_used(self) -> int:
        """Bytes stored and waiting, with those of adopted streams."""
        stored = self._writer.bytes_written - self._bytes_retired
        return stored + self._bytes_queued + self.adopted_bytes

    @property
    def is_behind(self) -> bool:
        """Whether so much waits for delivery that producers must not slow the shipper down."""
        stream = self.stream
        count = 0 if stream is None else self._writer.sequence_next - stream.cursor.sequence_next
        return count > _BACKLOG_MAX or self.is_under_pressure

    @property
    def stream(self) -> Stream | None:
        """This process's stream; None until something is stored."""
        return self._writer.stream

    @property
    def is_under_pressure(self) -> bool:
        """True if delivered segments should give way now rather than in 15 minutes."""
        return self.bytes_used * 100 > self._bytes_max * _WARN_PERCENT

    def retire(self, delivered_before_ns: int) -> None:
        """Remove own sealed segments that were delivered before an instant of the Unix epoch.

        A segment that the disk does not let go stays for the next process.
        """
        if self.stream is None:
            return
        try:
            freed = self.stream.retire(delivered_before_ns)
        except OSError:
            freed = 0
        with self._lock:
            self._bytes_retired += freed

    def take_burned(self) -> list[tuple[int, int]]:
        """Return ranges of sequence numbers that no stored record has, and forget them.

        They were given to records whose write failed; their bytes may or may not be on the disk,
        so the numbers are not used again.
        """
        with self._lock:
            burned, self._burned = self._burned, []
        return burned

    def close(self, timeout_ms: int) -> bool:
        """Store what waits and take nothing more; False if the disk took longer than that."""
        with self._lock:
            thread, was_closed = self._thread, self._is_closed
            self._is_closed = True
            if thread is not None and not was_closed:
                self._queue.put(None)
        if thread is not None:
            thread.join(timeout_ms / 1000)
        return thread is None or not thread.is_alive()

    def release(self) -> None:
        """Give the directory to the next process; only after ``close`` has returned True."""
        if self.stream is not None:
            self.stream.close()

    def abandon(self) -> None:
        """Let go of everything in a forked child: all of it is still the parent's."""
        self._is_closed = True
        if self.stream is not None:
            self.stream.abandon()
        self._close_segment()

    def _enqueue(self, item: _Item, *, is_reserved: bool) -> SpoolError | None:
        with self._lock:
            error = self._refusal(item.size, is_reserved=is_reserved)
            if error is None and self._thread is None:
                error = self._start()
            if error is None:
                self._bytes_queued += item.size
                self._queue.put(item)
        return error

    def _is_full(self, size: int, *, is_reserved: bool) -> bool:
        limit = self._bytes_max - (0 if is_reserved else self._reserve_bytes)
        return self.bytes_used + size > limit

    def _refusal(self, size: int, *, is_reserved: bool) -> SpoolError | None:
        if self._is_closed:
            return SpoolFailedError("the audit trail is shut down, record NOT stored")
        if self._is_full(size, is_reserved=is_reserved):
            return SpoolFullError(self.bytes_used, self._bytes_max)
        if self._bytes_queued + size > QUEUED_BYTES_MAX:
            return SpoolFailedError(
                f"{self._bytes_queued} bytes wait for the disk under {self._directory}, record "
                "NOT stored: it is slower than the records come; set KAIZEN_OTEL_SPOOL_DIR to a "
                "faster one"
            )
        return None

    def _start(self) -> SpoolError | None:
        """Start the writer with the first record: who never audits has no thread."""
        thread = threading.Thread(target=self._run, name="kaizen-otel-spool", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            return SpoolFailedError(f"{error}, record NOT stored: the process is ending")
        self._thread = thread
        return None

    def _run(self) -> None:
        while True:
            batch, then = self._gather()
            own_count = 0 if self._framing is None else self._frame(batch, is_end=then is None)
            if batch:
                self._commit(batch, own_count)
            if then is None:
                break
            if isinstance(then, Future):
                then.set_result(None)
        self._close_segment()

    def _gather(self) -> tuple[list[_Item], _Item | Future[None] | None]:
        """Return the next commit's items and what ended it: a marker, None for the end, or more."""
        batch: list[_Item] = []
        size = 0
        pause_s = None if self._framing is None else self._framing.pause_s()
        try:
            item = self._queue.get(timeout=pause_s)
        except queue.Empty:
            return batch, _SILENCE
        while isinstance(item, _Item):
            batch.append(item)
            size += len(item.data)
            if len(batch) == _COMMIT_COUNT_MAX or size > _COMMIT_BYTES_MAX:
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        return batch, item

    def _frame(self, batch: list[_Item], *, is_end: bool) -> int:
        """Put the stream's own items around a commit; return how many there are."""
        framing = self._framing
        if framing is None or not (batch or self._has_stored):
            return 0
        has_room = not self._is_full(_OWN_BYTES, is_reserved=True)
        try:
            before = () if self._has_stored else framing.before()
            count = len(before) + len(batch)
            after = framing.after(count, is_end=is_end, has_room=has_room)
        except Exception as unexpected:  # noqa: BLE001 - the only writer must outlive our mistakes
            self._say(f"the audit stream says nothing of itself, a fault: {unexpected!r}")
            return 0
        batch[:0] = [_own_item(data) for data in before]
        batch += [_own_item(data) for data in after]
        with self._lock:
            self._bytes_queued += sum(len(data) + _ADDED_BYTES for data in (*before, *after))
        return len(before) + len(after)

    def _close_segment(self) -> None:
        try:
            self._writer.close()
        except OSError as error:
            self._say(f"closing the audit spool: {error}; every acknowledged record is stored")

    def _commit(self, batch: list[_Item], own_count: int) -> None:
        """Make a batch durable and tell each appender what became of its record."""
        first = self._writer.sequence_next
        try:
            error = self._store(batch)
        except Exception as unexpected:  # noqa: BLE001 - the only writer must outlive our mistakes
            error = SpoolFailedError(f"record NOT stored, a fault of kaizen-otel: {unexpected!r}")
        with self._lock:
            self._bytes_queued -= sum([item.size for item in batch])
            if error is not None and self._writer.sequence_next > first:
                _add_range(self._burned, first, self._writer.sequence_next - 1)
        if error is None:
            self._has_stored = True
            self.commits += 1
        if self._framing is not None:
            self._framing.committed(own_count, error)
        for on_answer, count in Counter([item.on_answer for item in batch]).items():
            if on_answer is not None:
                on_answer(error, count)
        answer_all(zip([item.answer for item in batch], itertools.count(first)), error)
        if error is None and self._on_stored is not None:
            self._on_stored()
        self._warn_if_filling()

    def _store(self, batch: list[_Item]) -> SpoolError | None:
        """Write and sync a batch; on a fault once more, into a new segment."""
        records: list[Finished] = []
        failure: OSError | None = None
        for _ in range(2):
            try:
                stream = self._writer.open()
                records = records or self._finish_batch(batch, stream.stream_id)
                self._writer.write(records)
            except OSError as error:
                failure = failure or error
                if error.errno in DISK_IS_FULL:
                    break
            else:
                return None
        return SpoolFailedError(
            f"{failure}, record NOT stored: make room or mend the disk under {self._directory}, "
            "or set KAIZEN_OTEL_SPOOL_DIR to another one"
        )

    def _finish_batch(self, batch: list[_Item], stream_id: str) -> list[Finished]:
        first = self._writer.sequence_next
        items = [item.data for item in batch]
        finish = self._finish or as_they_are
        payloads = finish(items, stream_id=stream_id, first_sequence=first)
        assert max(map(len, payloads)) <= RECORD_BYTES_MAX, "finish keeps to FINISH_BYTES_MAX"
        resources = [item.resource or self._resource for item in batch]
        return list(map(Finished, payloads, resources, itertools.count(first)))

    def _warn_if_filling(self) -> None:
        if not self.is_under_pressure:
            self._has_warned = False
        elif not self._has_warned:
            self._has_warned = True
            self._say(
                f"the audit spool holds {self.bytes_used} of {self._bytes_max} bytes: restore the "
                "Collector that empties it (KAIZEN_OTEL_AUDIT_ENDPOINT) or raise "
                "KAIZEN_OTEL_SPOOL_BYTES_MAX; when it is full, records are refused"
            )

    def _say(self, message: str) -> None:
        if self._warn is not None:
            self._warn(message)


def _own_item(data: Sized) -> _Item:
    return _Item(data, b"", Answer(), None, len(data) + _ADDED_BYTES)


_SILENCE: Final = _own_item(b"")


def _add_range(ranges: list[tuple[int, int]], first: int, last: int) -> None:
    if ranges and ranges[-1][1] + 1 == first:
        ranges[-1] = (ranges[-1][0], last)
    else:
        ranges.append((first, last))
