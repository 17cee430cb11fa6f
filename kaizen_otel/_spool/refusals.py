"""Records that the receiver refuses one by one: when the record is to blame, where it is kept.

Setting a record aside is no loss, but it is work for a person, so it must not happen because a
receiver is wrong or unwell: it has to take other requests.
"""

from __future__ import annotations

import posixpath
import uuid
from typing import TYPE_CHECKING, Final

from kaizen_otel._spool.files import (
    QUARANTINE_NAME,
    SEGMENT_SUFFIX,
    ensure_directory,
    replace_file,
)
from kaizen_otel._spool.segment import Header, encode_entry, encode_header

if TYPE_CHECKING:
    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._spool.reader import Record

# What is said about a request itself, so that a part of it may be taken.
MALFORMED: Final = frozenset({"bad_request", "too_large", "internal"})
_INTERNAL: Final = "internal"
_INTERNAL_NS: Final = 60 * 10**9
IN_A_ROW_MAX: Final = 64


class Refusals:
    """Judges single records that were refused, and keeps those that are to blame."""

    def __init__(self, root: str, *, filesystem: Filesystem, clock: Clock) -> None:
        self._root = root
        self._filesystem = filesystem
        self._clock = clock
        self._in_a_row = 0
        self._suspect = ("", 0)
        self._suspected_at_ns = 0

    def note_taken(self) -> None:
        """Say that the receiver took records."""
        self._in_a_row = 0

    def is_certain(self, record: Record, stream_id: str, reason: str) -> bool:
        """Whether the record may be set aside, if the receiver takes an empty request.

        Not after ``IN_A_ROW_MAX`` others of which none was taken: then it is the receiver that
        takes nothing.  An internal error may pass, so it has to last for a minute.
        """
        if self._in_a_row >= IN_A_ROW_MAX:
            return False
        if reason != _INTERNAL:
            return True
        now_ns, suspect = self._clock.monotonic_ns(), (stream_id, record.sequence)
        if suspect != self._suspect:
            self._suspect, self._suspected_at_ns = suspect, now_ns
        return now_ns - self._suspected_at_ns >= _INTERNAL_NS

    def set_aside(self, record: Record, stream_id: str) -> str:
        """Keep the record in a durable file of its own; return its path.

        The file is a segment with one entry.  Raises ``OSError``.
        """
        directory = posixpath.join(self._root, QUARANTINE_NAME)
        ensure_directory(self._filesystem, directory)
        path = posixpath.join(directory, f"{stream_id}-{record.sequence}{SEGMENT_SUFFIX}")
        header = Header(
            stream_id=uuid.UUID(stream_id).bytes,
            segment_number=0,
            first_sequence=record.sequence,
            created_ns=self._clock.time_ns(),
            resource=record.resource,
        )
        entry = encode_entry(record.payload, sequence=record.sequence)
        replace_file(self._filesystem, path, encode_header(header) + entry, is_durable=True)
        self._in_a_row += 1
        return path
