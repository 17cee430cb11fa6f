"""The writing end of a stream: one active segment, rolled when it is full or has failed.

Used by one thread.  What the disk refuses comes out as ``OSError``; the spool decides whether to
try once more, into another file.
"""

from __future__ import annotations

import errno
import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._spool.files import SEGMENT_SUFFIX, remove_if_there
from kaizen_otel._spool.reader import SegmentFile
from kaizen_otel._spool.segment import (
    ENTRY_OVERHEAD,
    RESOURCES_MAX,
    Header,
    encode_entry,
    encode_header,
    encode_records,
)
from kaizen_otel._spool.stream import Stream

if TYPE_CHECKING:
    from kaizen_otel._edges import Clock, Filesystem, Ids

# Another file on the same disk would be refused as well.
DISK_IS_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class Finished(NamedTuple):
    """One record ready to be written: final bytes, its Resource, its number in the stream."""

    payload: bytes
    resource: bytes
    sequence: int


@dataclass(slots=True, kw_only=True, eq=False)
class _Active:
    """The segment being written; ``size`` counts the bytes that are known to be good."""

    handle: int
    file: SegmentFile
    size: int
    has_entries: bool = False
    resources: dict[bytes, int] = field(default_factory=dict[bytes, int])


class SegmentWriter:
    """Writes group commits to the segments of one stream, which it makes at the first one."""

    def __init__(
        self,
        directory: str,
        *,
        resource: bytes,
        filesystem: Filesystem,
        clock: Clock,
        ids: Ids,
        segment_bytes_max: int,
        is_durable: bool,
    ) -> None:
        self.stream: Stream | None = None
        self.sequence_next = 1
        self.bytes_written = 0
        self._directory = directory
        self._resource = resource
        self._filesystem = filesystem
        self._clock = clock
        self._ids = ids
        self._segment_bytes_max = segment_bytes_max
        self._is_durable = is_durable
        self._segment_number = 0
        self._active: _Active | None = None

    def open(self) -> Stream:
        """Return the stream, making its directory if it is not there yet; raises ``OSError``."""
        if self.stream is None:
            self.stream = Stream.create(
                self._directory, self._ids.uuid7(), filesystem=self._filesystem
            )
        return self.stream

    def write(self, records: list[Finished]) -> None:
        """Append records to the active segment and sync it.

        Raises ``OSError``.  Then the segment is given up, except when its disk is full: after a
        failed sync the kernel may have dropped the bytes and marked them clean, so that another
        sync of the same file says yes and means nothing (fsyncgate, PostgreSQL 2018).
        """
        stream = self.open()
        active = self._active
        if active is None or self._must_roll(active, records):
            if active is not None:
                self._give_up(stream, active)
            active = self._roll(stream, records[0].sequence)
        resources = dict(active.resources)
        block = _encode_block(records, resources, is_durable=self._is_durable)
        # Whatever happens next, a power loss may show these bytes: the numbers are used up.
        self.sequence_next = records[-1].sequence + 1
        try:
            self._write(active.handle, block)
        except OSError as error:
            if error.errno not in DISK_IS_FULL or not self._cut_back(active):
                self._give_up(stream, active)
            raise
        try:
            if self._is_durable:
                self._filesystem.sync(active.handle)
        except OSError:
            self._give_up(stream, active)
            raise
        active.size += len(block)
        active.has_entries = True
        active.resources = resources
        self.bytes_written += len(block)
        stream.extend(active.file, active.size)

    def close(self) -> None:
        """Close the active segment; raises ``OSError``, with which nothing is lost."""
        active, self._active = self._active, None
        if active is not None:
            self._filesystem.close(active.handle)

    def _must_roll(self, active: _Active, records: list[Finished]) -> bool:
        size = sum(len(record.payload) + ENTRY_OVERHEAD for record in records)
        is_over = active.has_entries and active.size + size > self._segment_bytes_max
        return is_over or len(active.resources) + len(records) > RESOURCES_MAX

    def _roll(self, stream: Stream, first_sequence: int) -> _Active:
        """Start a new segment whose name and header are durable before any record is in it."""
        self._segment_number += 1
        number, filesystem = self._segment_number, self._filesystem
        path = posixpath.join(stream.path, f"{number:08d}{SEGMENT_SUFFIX}")
        header = encode_header(
            Header(
                stream_id=bytes.fromhex(stream.stream_id.replace("-", "")),
                segment_number=number,
                first_sequence=first_sequence,
                created_ns=self._clock.time_ns(),
                resource=self._resource,
            )
        )
        handle = filesystem.create(path)
        try:
            self._write(handle, header)
            if self._is_durable:
                filesystem.sync(handle)
                # The file can be synced and still vanish: its name lives in the directory.
                filesystem.sync_directory(stream.path)
        except OSError:
            self._discard(handle, path)
            raise
        file = SegmentFile(number=number, path=path, size=len(header))
        self._active = _Active(
            handle=handle, file=file, size=len(header), resources={self._resource: 0}
        )
        stream.add_segment(file)
        self.bytes_written += len(header)
        return self._active

    def _write(self, handle: int, data: bytes) -> None:
        """Write all bytes: a disk that is filling takes a part first and then says so."""
        written = 0
        while written < len(data):
            count = self._filesystem.write(handle, data[written:] if written else data)
            if count <= 0:
                raise OSError(errno.EIO, "the disk took no bytes")
            written += count

    def _cut_back(self, active: _Active) -> bool:
        """Cut a half-written block off, so that the next one follows the last good entry."""
        try:
            self._filesystem.truncate(active.handle, active.size)
        except OSError:
            return False
        return True

    def _give_up(self, stream: Stream, active: _Active) -> None:
        """Never write to this file again; what is durable in it stays readable."""
        self._active = None
        stream.seal(active.file)
        try:
            self._filesystem.close(active.handle)
        except OSError:
            # Everything acknowledged is synced: a failing close has nothing left to lose.
            return

    def _discard(self, handle: int, path: str) -> None:
        """Remove a segment that never came to be; what the disk keeps of it holds no record."""
        try:
            self._filesystem.close(handle)
            remove_if_there(self._filesystem, path)
        except OSError:
            return


def _encode_block(
    records: list[Finished], resources: dict[bytes, int], *, is_durable: bool
) -> bytes:
    """Encode the entries of one group commit, announcing Resources that are new in the segment.

    The first entry promises that all before it is durable, unless nothing is ever synced.
    """
    parts: list[bytes] = []
    for _, resource, _ in records:
        if resource not in resources:
            index = resources[resource] = len(resources)
            parts.append(
                encode_entry(
                    resource,
                    sequence=0,
                    resource_index=index,
                    begins_commit=is_durable and not parts,
                    is_resource=True,
                )
            )
    items = [(payload, sequence, resources[resource]) for payload, resource, sequence in records]
    return b"".join(parts + encode_records(items, begins_commit=is_durable and not parts))
