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
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kaizen_otel._spool.cursor import (
    MARKS_MAX,
    Cursor,
    Mark,
    decode_cursor,
    encode_cursor,
    read_reconciled,
)
from kaizen_otel._spool.files import (
    CURSOR_NAME,
    LOCK_NAME,
    NEW_SUFFIX,
    RECONCILED_NAME,
    SEGMENT_SUFFIX,
    ensure_directory,
    remove_directory_if_there,
    remove_if_there,
    replace_file,
)
from kaizen_otel._spool.reader import Position, Record, SegmentFile, SegmentReader
from kaizen_otel._spool.segment import SegmentFormatError

if TYPE_CHECKING:
    from kaizen_otel._edges import Filesystem
    from kaizen_otel._spool.segment import Damage

REPLAY_NS: Final = 60 * 10**9
_MARK_INTERVAL_NS: Final = 10**9
_CURSOR_BYTES_MAX: Final = 64 * 1024


class Stream:
    """The directory of one process epoch, held by a lock."""

    def __init__(self, path: str, *, lock: int, filesystem: Filesystem, is_own: bool) -> None:
        """Use ``create`` or ``adopt``, which take the lock."""
        self.path = path
        self.is_own = is_own
        self.exhausted = False
        self.delivered_count = 0
        self.reconciled_before_ns = 0
        """Reconciled segments that were delivered before this instant are retired as well."""
        self._filesystem = filesystem
        self._lock_handle: int | None = lock
        self._lock = threading.Lock()
        self._segments: deque[SegmentFile] = deque()
        self._boot_id = filesystem.boot_id()
        self._cursor = Cursor()
        self._marks: deque[Mark] = deque(maxlen=MARKS_MAX)
        self._position = Position(0, 0, 0)
        self._disconnected_next: int | None = None
        self._replay_stop = 0
        self._resume: Position | None = None
        self._cursor_is_stale = False
        self._reader = SegmentReader(filesystem, self._segment_from, is_own=is_own)

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
        records = self._take(count_max, bytes_max)
        if not records and self._resume is not None:
            self._end_replay(self._resume)
            records = self._take(count_max, bytes_max)
        return records

    def take_damages(self) -> list[Damage]:
        """Return damages found since the last call, each of them once."""
        found, self._reader.damages = self._reader.damages, []
        return found

    def advance(self, records: list[Record], *, now_ns: int, replay_since_ns: int) -> None:
        """Move the cursor behind records that were delivered (or quarantined).

        Positions are remembered so that ``rewind`` can go back to ``replay_since_ns``; both are
        times of the Unix epoch.
        """
        after, before = records[-1].after, self._cursor.sequence_next
        self._position = after
        self.delivered_count += sum(record.sequence >= before for record in records)
        if after.sequence_next > before:
            if not self._marks or now_ns - self._marks[-1].time_ns >= _MARK_INTERVAL_NS:
                self._marks.append(Mark(now_ns, self._cursor.segment_number, before))
            while self._marks[0].time_ns <= replay_since_ns - _MARK_INTERVAL_NS:
                self._marks.popleft()
            self._cursor = Cursor(
                segment_number=after.segment_number,
                sequence_next=after.sequence_next,
                delivered_at_ns=now_ns,
                boot_id=self._boot_id,
                is_disconnected=self._cursor.is_disconnected,
                marks=tuple(self._marks),
            )
            self._cursor_is_stale = True
        with self._lock:
            for segment in self._segments:
                # Not while it may grow: its last record counts, not its first.
                is_whole = segment.sealed and self._is_behind(segment)
                if is_whole and segment.delivered_at_ns is None:
                    segment.delivered_at_ns = now_ns

    def note_disconnect(self) -> None:
        """Remember what had been delivered when the connection last failed.

        The cursor says so too: if this process ends before all is made good, the next one does it.
        """
        self._disconnected_next = self._cursor.sequence_next
        if self._marks and not self._cursor.is_disconnected:
            self._cursor = replace(self._cursor, is_disconnected=True)
            self._cursor_is_stale = True

    def rewind(self, since_ns: int) -> None:
        """Deliver once more what was delivered from ``since_ns`` until the noted disconnect."""
        stop, self._disconnected_next = self._disconnected_next, None
        # What follows a mark without another was delivered within one interval of it.
        first_ns = since_ns - _MARK_INTERVAL_NS
        mark = next((mark for mark in self._marks if mark.time_ns > first_ns), None)
        if stop is None or mark is None or mark.sequence_next >= stop:
            if self._resume is None:
                self._settle()
            return
        self._resume = self._resume or self._position
        self._replay_stop = stop
        self._position = Position(mark.segment_number, 0, mark.sequence_next)
        self.exhausted = False

    def save_cursor(self) -> None:
        """Write the cursor file if the cursor has moved since; raises ``OSError``."""
        if self._cursor_is_stale:
            path = posixpath.join(self.path, CURSOR_NAME)
            replace_file(self._filesystem, path, encode_cursor(self._cursor))
            self._cursor_is_stale = False

    def retire(self, delivered_before_ns: int) -> int:
        """Remove sealed segments that were delivered before an instant; return the bytes freed.

        Those that are known to be in the trail go earlier, see ``reconciled_before_ns``.
        """
        freed = 0
        reconciled_next = read_reconciled(self._filesystem, self.path) if self._segments else 0
        while True:
            with self._lock:
                oldest = self._segments[0] if self._segments else None
                if oldest is None or not oldest.sealed or not self._is_behind(oldest):
                    return freed
                delivered_at_ns = oldest.delivered_at_ns or self._cursor.delivered_at_ns
                is_reconciled = self._end_of_oldest() <= reconciled_next
                before_ns = self.reconciled_before_ns if is_reconciled else 0
                if delivered_at_ns > max(delivered_before_ns, before_ns):
                    return freed
                self._segments.popleft()
            remove_if_there(self._filesystem, oldest.path)
            freed += oldest.size

    def remove(self) -> None:
        """Remove the directory of an adopted stream whose segments are all retired."""
        assert not self.is_own, "a process keeps its own directory while it runs"
        assert not self._segments, "segments are retired first"
        files = (CURSOR_NAME, RECONCILED_NAME)
        names = (*files, *(name + NEW_SUFFIX for name in files), LOCK_NAME)
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
                self._reader.read_header(segment)
                self._segments.append(segment)
        try:
            data = filesystem.read(posixpath.join(self.path, CURSOR_NAME), 0, _CURSOR_BYTES_MAX)
        except FileNotFoundError:
            data = b""
        saved = decode_cursor(data)
        if saved is None:
            return
        self._cursor = saved
        self._marks.extend(saved.marks)
        self._position = Position(saved.segment_number, 0, saved.sequence_next)
        # After another boot a receiver on this machine may have lost what it had not yet synced.
        if saved.boot_id != self._boot_id or saved.is_disconnected:
            self.note_disconnect()
            self.rewind(saved.delivered_at_ns - REPLAY_NS)

    def _take(self, count_max: int, bytes_max: int) -> list[Record]:
        records: list[Record] = []
        size = 0
        stop = None if self._resume is None else self._replay_stop
        with self._lock:
            self.exhausted = True
        is_read = False
        try:
            for step in self._reader.walk(self._position):
                if isinstance(step, Record):
                    size += len(step.payload)
                    is_beyond = stop is not None and step.sequence >= stop
                    if is_beyond or (records and size > bytes_max):
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

    def _end_replay(self, resume: Position) -> None:
        """Go on where delivery was; only now is what an earlier boot left made good for."""
        self._position, self._resume = resume, None
        self._settle()

    def _settle(self) -> None:
        """Let the cursor say that everything was made good for, except what was noted since."""
        is_disconnected = self._cursor.is_disconnected and self._disconnected_next is not None
        settled = replace(self._cursor, boot_id=self._boot_id, is_disconnected=is_disconnected)
        if settled != self._cursor:
            self._cursor = settled
            self._cursor_is_stale = True

    def _end_of_oldest(self) -> int:
        """Return the sequence number behind the oldest segment's last record."""
        if len(self._segments) == 1:
            return self._cursor.sequence_next
        # Unknown until the next one's header was read: then nothing is known to be reconciled.
        return self._segments[1].first_sequence or self._cursor.sequence_next + 1

    def _segment_from(self, number: int) -> SegmentFile | None:
        with self._lock:
            return next((s for s in self._segments if s.number >= number), None)

    def _is_behind(self, segment: SegmentFile) -> bool:
        """Whether reading is past all records of a segment, replays included."""
        number, offset, _ = self._position
        return segment.number < number or (segment.number == number and offset >= segment.size)
