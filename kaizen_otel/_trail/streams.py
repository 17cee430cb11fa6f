"""What is in a spool root, stream by stream: stored, delivered, waiting."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel._spool.cursor import Cursor, decode_cursor
from kaizen_otel._spool.files import (
    CURSOR_NAME,
    LOCK_NAME,
    QUARANTINE_NAME,
    SEGMENT_SUFFIX,
    segment_paths,
    stream_ids,
)
from kaizen_otel.audit._stored import Report, read_segment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._edges import Filesystem

_CURSOR_BYTES_MAX: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamStatus:
    """One stream: ``is_alive`` if a process holds it, ``waiting`` records are not delivered."""

    stream_id: str
    is_alive: bool
    stored: int
    waiting: int
    bytes_used: int
    delivered_at_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolStatus:
    """A whole spool root; ``problems`` are (path, what) that could not be read."""

    directory: str
    streams: list[StreamStatus]
    quarantined: int
    problems: list[tuple[str, str]]

    @property
    def waiting(self) -> int:
        """Records that no receiver has taken yet."""
        return sum(stream.waiting for stream in self.streams)


def read_cursor(filesystem: Filesystem, directory: str) -> Cursor:
    """Return how far a stream was delivered, as far as that is known."""
    try:
        data = filesystem.read(posixpath.join(directory, CURSOR_NAME), 0, _CURSOR_BYTES_MAX)
    except FileNotFoundError:
        return Cursor()
    return decode_cursor(data) or Cursor()


def spool_status(filesystem: Filesystem, root: str) -> SpoolStatus:
    """Look at every stream of a spool root; raises ``OSError`` if the root cannot be read."""
    report = Report()
    streams = list(_streams(filesystem, root, report))
    quarantined = segment_paths(filesystem, posixpath.join(root, QUARANTINE_NAME))
    return SpoolStatus(
        directory=root,
        streams=streams,
        quarantined=len(quarantined),
        problems=report.problems,
    )


def waiting_records(filesystem: Filesystem, root: str) -> int:
    """Count the records of a spool root that are not delivered, reading no more than needed.

    Raises ``OSError`` if the root cannot be read.
    """
    count = 0
    for stream_id in stream_ids(filesystem, root):
        directory = posixpath.join(root, stream_id)
        cursor = read_cursor(filesystem, directory)
        sequences: set[int] = set()
        for path in segment_paths(filesystem, directory):
            if int(posixpath.basename(path).removesuffix(SEGMENT_SUFFIX)) < cursor.segment_number:
                continue
            found = read_segment(filesystem, path, report=Report())
            entries = [] if found is None else found.entries
            sequences |= {entry.sequence for entry in entries if not entry.is_resource}
        count += sum(sequence >= cursor.sequence_next for sequence in sequences)
    return count


def _streams(filesystem: Filesystem, root: str, report: Report) -> Iterator[StreamStatus]:
    for stream_id in stream_ids(filesystem, root):
        directory = posixpath.join(root, stream_id)
        # The cursor first: what is delivered meanwhile counts as waiting, never the other way.
        cursor = read_cursor(filesystem, directory)
        sequences: set[int] = set()
        size = 0
        for path in segment_paths(filesystem, directory):
            found = read_segment(filesystem, path, report=report)
            if found is not None:
                sequences |= {e.sequence for e in found.entries if not e.is_resource}
                size += found.entries[-1].end if found.entries else 0
        yield StreamStatus(
            stream_id=stream_id,
            is_alive=_is_alive(filesystem, directory),
            stored=len(sequences),
            waiting=sum(sequence >= cursor.sequence_next for sequence in sequences),
            bytes_used=size,
            delivered_at_ns=cursor.delivered_at_ns,
        )


def _is_alive(filesystem: Filesystem, directory: str) -> bool:
    try:
        lock = filesystem.try_lock(posixpath.join(directory, LOCK_NAME))
    except FileNotFoundError:
        return False
    if lock is None:
        return True
    filesystem.unlock(lock)
    return False
