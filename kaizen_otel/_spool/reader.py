"""Read a stream's segments in order: records, and what is unreadable between them.

The spool adds to the segments while the shipper reads them, so a reader asks for the list each
time and reads no further than what is durable.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._otlp.common import encode_request
from kaizen_otel._spool.segment import (
    Damage,
    NewerFormatError,
    SegmentFormatError,
    decode_header,
    iter_entries,
    scan_entries,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel._edges import Filesystem

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
    maps the indices of this segment to encoded Resource messages.  ``first_sequence`` is 0 until
    the header was read.
    """

    number: int
    path: str
    size: int = 0
    sealed: bool = False
    resources: dict[int, bytes] = field(default_factory=dict[int, bytes])
    delivered_at_ns: int | None = None
    first_sequence: int = 0


class SegmentReader:
    """Walks through the segments that ``segment_from`` finds.

    ``segment_from(number)`` returns the first segment with at least that number.  In a stream
    that ``is_own`` everything readable was durable, so every unreadable byte is damage.
    """

    def __init__(
        self,
        filesystem: Filesystem,
        segment_from: Callable[[int], SegmentFile | None],
        *,
        is_own: bool,
    ) -> None:
        self.damages: list[Damage] = []
        self._filesystem = filesystem
        self._segment_from = segment_from
        self._is_own = is_own
        self._known_damages: set[tuple[int, int]] = set()

    def walk(self, position: Position) -> Iterator[Position | Record]:
        """Step through the stream: records, and positions up to which nothing was missed."""
        while (segment := self._segment_from(position.segment_number)) is not None:
            number, offset, sequence_next = position
            # Asked before the size is read: a segment that is sealed now will not grow any more.
            sealed, limit = segment.sealed, segment.size
            offset = offset if number == segment.number else 0
            if offset == 0:
                offset = self.read_header(segment)
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
        if (self._is_own or rest.damages) and (number, start) not in self._known_damages:
            self._known_damages.add((number, start))
            self.damages.append(Damage(offset=start, size=following))
        return start + following if rest.entries else limit

    def read_header(self, segment: SegmentFile) -> int:
        """Learn the segment's own Resource; return where its entries begin."""
        data = self._filesystem.read(segment.path, 0, min(segment.size, _HEADER_BYTES_MAX))
        try:
            header, end = decode_header(data)
        except NewerFormatError:
            raise
        except SegmentFormatError:
            return 0
        segment.resources[0] = header.resource
        segment.first_sequence = header.first_sequence
        return end


def encode_batch(records: list[Record], scope: bytes) -> bytes:
    """Encode one export request; records keep their order, each under its own Resource."""
    return encode_request(
        (resource, scope, "", [record.payload for record in group])
        for resource, group in groupby(records, key=lambda record: record.resource)
    )
