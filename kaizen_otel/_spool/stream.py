"""One stream's directory: its lock, its segment files, its cursor; read, advance, retire.

The spool adds to its own stream while the shipper reads it; the shipper also reads the streams
that dead processes left behind.  ``_lock`` guards the list of segments and their sizes, all else
belongs to the shipper's thread.
"""

from __future__ import annotations

import errno
import posixpath
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._spool.cursor import MARKS_MAX, Cursor, Mark, decode_cursor, encode_cursor
from kaizen_otel._spool.files import (
    CURSOR_NAME,
    LOCK_NAME,
    NEW_SUFFIX,
    SEGMENT_SUFFIX,
    ensure_directory,
    remove_directory_if_there,
    remove_if_there,
    replace_file,
)
from kaizen_otel._spool.segment import (
    Damage,
    NewerFormatError,
    SegmentFormatError,
    decode_header,
    iter_entries,
    scan_entries,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._edges import Filesystem

REPLAY_NS: Final = 60 * 10**9
_MARK_INTERVAL_NS: Final = 10**9
_READ_BYTES: Final = 256 * 1024
_HEADER_BYTES_MAX: Final = 128 * 1024


class Position(NamedTuple):
    """A place to go on reading: entries below ``sequence_next`` are passed over."""

    segment_number: int
    offset: int
    sequence_next: int


class Record(NamedTuple):
    """One record to deliver, the Resource it belongs to, and the position behind it."""

    sequence: int
    resource: bytes
    payload: bytes
    after: Position


@dataclass(slots=True, kw_only=True, eq=False)
class SegmentFile:
    """One segment file as far as it may be read.

    ``size`` counts readable (durable) bytes; a sealed segment gets no more of them.  ``resources``
    maps the indices of this segment to encoded Resource messages.
    """

    number: int
    path: str
    size: int = 0
    sealed: bool = False
    resources: dict[int, bytes] = field(default_factory=dict[int, bytes])
    delivered_at_ns: int | None = None


class Stream:
    """The directory of one process epoch, held by a lock."""

    def __init__(self, path: str, *, lock: int, filesystem: Filesystem, is_own: bool) -> None:
        """Use ``create`` or ``adopt``, which take the lock."""
        self.path = path
        self.is_own = is_own
        self.damages: list[Damage] = []
        self.exhausted = False
        self.delivered_count = 0
        self._filesystem = filesystem
        self._lock_handle: int | None = lock
        self._lock = threading.Lock()
        self._segments: deque[SegmentFile] = deque()
        self._boot_id = filesystem.boot_id()
        self._cursor = Cursor()
        self._marks: deque[Mark] = deque(maxlen=MARKS_MAX)
        self._position = Position(0, 0, 0)
        self._replay_end = 0
        self._cursor_is_stale = False
        self._known_damages: set[tuple[int, int]] = set()

    @classmethod
    def create(cls, root: str, stream_id: str, *, filesystem: Filesystem) -> Stream:
        """Make the directory of a new stream, locked before anyone can see it.

        Raises ``OSError`` if the disk refuses; a directory that may be left then is empty and is
        removed by a later process.
        """
        ensure_directory(filesystem, root)
        hidden, path = posixpath.join(root, f".{stream_id}"), posixpath.join(root, stream_id)
        filesystem.make_directory(hidden)
        lock = filesystem.try_lock(posixpath.join(hidden, LOCK_NAME))
        if lock is None:
            raise OSError(errno.EAGAIN, "a new stream's lock is held by another process", hidden)
        try:
            # A visible directory with a free lock belongs to a dead process and may be taken
            # over, so the name appears only once the lock is held.
            filesystem.rename(hidden, path)
            filesystem.sync_directory(root)
        except OSError:
            for directory in (hidden, path):
                remove_directory_if_there(filesystem, directory, (LOCK_NAME,))
            filesystem.unlock(lock)
            raise
        return cls(path, lock=lock, filesystem=filesystem, is_own=True)

    @classmethod
    def adopt(cls, root: str, stream_id: str, *, filesystem: Filesystem) -> Stream | None:
        """Take over the stream of a dead process; None if its owner lives or it is gone."""
        path = posixpath.join(root, stream_id)
        try:
            lock = filesystem.try_lock(posixpath.join(path, LOCK_NAME))
        except FileNotFoundError:
            return None
        if lock is None:
            return None
        stream = cls(path, lock=lock, filesystem=filesystem, is_own=False)
        try:
            stream._load()
        except (OSError, SegmentFormatError):
            filesystem.unlock(lock)
            raise
        return stream

    @property
    def stream_id(self) -> str:
        """The stream's UUID, which is its directory's name."""
        return posixpath.basename(self.path)

    @property
    def bytes_used(self) -> int:
        """Bytes of all segment files."""
        with self._lock:
            return sum(segment.size for segment in self._segments)

    @property
    def cursor(self) -> Cursor:
        """How far this stream was delivered."""
        return self._cursor

    @property
    def is_cursor_stale(self) -> bool:
        """Whether the cursor moved since its file was written."""
        return self._cursor_is_stale

    def add_segment(self, segment: SegmentFile) -> None:
        """Let the shipper see a segment that the spool has made."""
        with self._lock:
            self._segments.append(segment)

    def extend(self, segment: SegmentFile, size: int) -> None:
        """Let the shipper read up to ``size`` bytes, now that they are durable."""
        with self._lock:
            segment.size = size
            self.exhausted = False

    def seal(self, segment: SegmentFile) -> None:
        """Say that a segment gets no more bytes."""
        with self._lock:
            segment.sealed = True

    def take(self, *, count_max: int, bytes_max: int) -> list[Record]:
        """Return the next records to deliver, in order, without moving the cursor.

        At most ``count_max`` records and, beyond the first, ``bytes_max`` bytes.  Raises
        ``OSError`` if the disk cannot be read.
        """
        records: list[Record] = []
        size = 0
        with self._lock:
            self.exhausted = True
        is_read = False
        try:
            for step in self._walk(self._position):
                if isinstance(step, Record):
                    size += len(step.payload)
                    if records and size > bytes_max:
                        break
                    records.append(step)
                    if len(records) == count_max:
                        break
                elif not records:
                    self._position = step
            is_read = not records
        finally:
            with self._lock:
                self.exhausted = self.exhausted and is_read
        return records

    def advance(self, records: list[Record], *, now_ns: int, replay_since_ns: int) -> None:
        """Move the cursor behind records that were delivered (or quarantined).

        Positions are remembered so that ``rewind`` can go back to ``replay_since_ns``; both are
        times of the Unix epoch.
        """
        after = records[-1].after
        before = self._cursor.sequence_next
        self._position = after
        self.delivered_count += sum(record.sequence >= before for record in records)
        if after.sequence_next > before:
            if not self._marks or now_ns - self._marks[-1].time_ns >= _MARK_INTERVAL_NS:
                self._marks.append(Mark(now_ns, self._cursor.segment_number, before))
            while len(self._marks) > 1 and self._marks[1].time_ns < replay_since_ns:
                self._marks.popleft()
            self._move_cursor(after, now_ns)
        elif after.sequence_next >= self._replay_end:
            self._move_cursor(after, self._cursor.delivered_at_ns)
        with self._lock:
            for segment in self._segments:
                # Not while it may grow: its last record counts, not its first.
                is_whole = segment.sealed and self._is_behind(segment)
                if is_whole and segment.delivered_at_ns is None:
                    segment.delivered_at_ns = now_ns

    def rewind(self, since_ns: int) -> None:
        """Deliver once more what was delivered after ``since_ns`` (time of the Unix epoch)."""
        mark = Mark(0, 0, 0)
        for candidate in self._marks:
            if candidate.time_ns > since_ns and mark.time_ns:
                break
            mark = candidate
        if not mark.time_ns:
            return
        self._replay_end = self._cursor.sequence_next
        self._position = Position(mark.segment_number, 0, mark.sequence_next)
        self.exhausted = False

    def save_cursor(self) -> None:
        """Write the cursor file if the cursor has moved since; raises ``OSError``."""
        if self._cursor_is_stale:
            path = posixpath.join(self.path, CURSOR_NAME)
            replace_file(self._filesystem, path, encode_cursor(self._cursor))
            self._cursor_is_stale = False

    def retire(self, delivered_before_ns: int) -> int:
        """Remove sealed segments that were delivered before an instant; return the bytes freed."""
        freed = 0
        while True:
            with self._lock:
                oldest = self._segments[0] if self._segments else None
                if oldest is None or not oldest.sealed or not self._is_behind(oldest):
                    return freed
                delivered_at_ns = oldest.delivered_at_ns or self._cursor.delivered_at_ns
                if delivered_at_ns > delivered_before_ns:
                    return freed
                self._segments.popleft()
            remove_if_there(self._filesystem, oldest.path)
            freed += oldest.size

    def remove(self) -> None:
        """Remove the directory of an adopted stream whose segments are all retired."""
        assert not self.is_own, "a process keeps its own directory while it runs"
        assert not self._segments, "segments are retired first"
        names = (CURSOR_NAME, CURSOR_NAME + NEW_SUFFIX, LOCK_NAME)
        remove_directory_if_there(self._filesystem, self.path, names)
        self.close()

    @property
    def is_empty(self) -> bool:
        """True if no segment is left."""
        return not self._segments

    def close(self) -> None:
        """Give up the lock: the next process takes the stream over."""
        if self._lock_handle is not None:
            handle, self._lock_handle = self._lock_handle, None
            self._filesystem.unlock(handle)

    def abandon(self) -> None:
        """Forget the lock in a forked child, where it still is the parent's."""
        if self._lock_handle is not None:
            handle, self._lock_handle = self._lock_handle, None
            self._filesystem.close(handle)

    def _load(self) -> None:
        filesystem = self._filesystem
        for name in filesystem.names(self.path):
            if name.endswith(SEGMENT_SUFFIX) and name.removesuffix(SEGMENT_SUFFIX).isdigit():
                path = posixpath.join(self.path, name)
                number = int(name.removesuffix(SEGMENT_SUFFIX))
                segment = SegmentFile(
                    number=number, path=path, size=filesystem.size(path), sealed=True
                )
                self._read_header(segment)
                self._segments.append(segment)
        try:
            data = filesystem.read(posixpath.join(self.path, CURSOR_NAME), 0, _READ_BYTES)
        except FileNotFoundError:
            data = b""
        saved = decode_cursor(data)
        if saved is None:
            return
        self._cursor = saved
        self._marks.extend(saved.marks)
        self._position = Position(saved.segment_number, 0, saved.sequence_next)
        # After another boot a receiver on this machine may have lost what it had not yet synced.
        if saved.boot_id != self._boot_id:
            self.rewind(saved.delivered_at_ns - REPLAY_NS)

    def _walk(self, position: Position) -> Iterator[Position | Record]:
        """Step through the stream: records, and positions up to which nothing was missed."""
        while (segment := self._segment_from(position.segment_number)) is not None:
            number, offset, sequence_next = position
            # Asked before the size is read: a segment that is sealed now will not grow any more.
            sealed, limit = segment.sealed, segment.size
            offset = offset if number == segment.number else 0
            if offset == 0:
                offset = self._read_header(segment)
            for step in self._walk_segment(segment, offset, limit, sequence_next):
                sequence_next = (
                    step.after.sequence_next if isinstance(step, Record) else step.sequence_next
                )
                yield step
            if not sealed or self._segment_from(segment.number + 1) is None:
                return
            position = Position(segment.number + 1, 0, sequence_next)

    def _walk_segment(
        self, segment: SegmentFile, offset: int, limit: int, sequence_next: int
    ) -> Iterator[Position | Record]:
        reach = _READ_BYTES
        while offset < limit:
            start = offset
            chunk = self._filesystem.read(segment.path, start, min(limit - start, reach))
            for entry in iter_entries(chunk, 0, base=start):
                offset = entry.end
                if entry.is_resource:
                    segment.resources[entry.resource_index] = entry.payload
                elif entry.sequence >= sequence_next:
                    sequence_next = entry.sequence + 1
                    resource = segment.resources.get(entry.resource_index, b"")
                    after = Position(segment.number, offset, sequence_next)
                    yield Record(entry.sequence, resource, entry.payload, after)
            if offset == start:
                if len(chunk) < limit - start and reach < limit - start:
                    reach = limit - start
                    continue
                offset = self._pass_unreadable(segment.number, chunk, start, limit)
        yield Position(segment.number, limit, sequence_next)

    def _pass_unreadable(self, number: int, chunk: bytes, start: int, limit: int) -> int:
        """Find where reading can go on behind bytes that are no entry."""
        rest = scan_entries(chunk, 0)
        following = rest.entries[0].offset if rest.entries else len(chunk)
        if (self.is_own or rest.damages) and (number, start) not in self._known_damages:
            self._known_damages.add((number, start))
            self.damages.append(Damage(offset=start, size=following))
        return start + following if rest.entries else limit

    def _read_header(self, segment: SegmentFile) -> int:
        """Learn the segment's own Resource; return where its entries begin."""
        data = self._filesystem.read(segment.path, 0, min(segment.size, _HEADER_BYTES_MAX))
        try:
            header, end = decode_header(data)
        except NewerFormatError:
            raise
        except SegmentFormatError:
            return 0
        segment.resources[0] = header.resource
        return end

    def _segment_from(self, number: int) -> SegmentFile | None:
        with self._lock:
            return next((s for s in self._segments if s.number >= number), None)

    def _is_behind(self, segment: SegmentFile) -> bool:
        """Whether reading is past all records of a segment, replays included."""
        number, offset, _ = self._position
        return segment.number < number or (segment.number == number and offset >= segment.size)

    def _move_cursor(self, after: Position, now_ns: int) -> None:
        self._cursor = Cursor(
            segment_number=after.segment_number,
            sequence_next=after.sequence_next,
            delivered_at_ns=now_ns,
            boot_id=self._boot_id,
            marks=tuple(self._marks),
        )
        self._cursor_is_stale = True
