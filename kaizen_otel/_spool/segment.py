"""Segment bytes: encode an entry, scan a file, find the torn tail.  Pure: no disk, no clock.

The format is drawn in the docstring of the package.
"""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

FORMAT_VERSION: Final = 1
MAGIC: Final = b"kzspool\n"
MARKER: Final = b"\xa5\x4b"
PAYLOAD_BYTES_MAX: Final = 1 << 20
RESOURCES_MAX: Final = 65_535

_HEADER: Final = struct.Struct("<8sHH16sQQQI")
_ENTRY: Final = struct.Struct("<II2sBxHQ")
_CHECKED: Final = struct.Struct("<I2sBxHQ")
_CHECKSUM: Final = struct.Struct("<I")
ENTRY_OVERHEAD: Final = _ENTRY.size

_BEGINS_COMMIT: Final = 1
_IS_RESOURCE: Final = 2
_MARKER_OFFSET: Final = 8

_Crc = Callable[[int, bytes], int]
_crc: _Crc | None = None


class SegmentFormatError(ValueError):
    """The bytes do not begin with a segment header that this version can read."""


class NewerFormatError(SegmentFormatError):
    """A newer version of this package wrote the segment; it must be left as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a segment says about itself.

    ``stream_id`` is a UUID's 16 bytes, ``created_ns`` nanoseconds since the Unix epoch and
    ``resource`` the encoded OTLP Resource of the process, with which another process ships the
    records if this one dies.
    """

    stream_id: bytes
    segment_number: int
    first_sequence: int
    created_ns: int
    resource: bytes


class Entry(NamedTuple):
    """One item of a segment and where it stands: ``offset`` to ``end``.

    ``begins_commit`` promises that all bytes before this entry were durable when it was written.
    """

    offset: int
    end: int
    sequence: int
    resource_index: int
    begins_commit: bool
    is_resource: bool
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes in the middle of a segment that once were durable and now are not readable."""

    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """Records of a stream that are missing from the trail, and why; 0: number not known."""

    reason: str
    stream_id: str
    first_sequence: int = 0
    last_sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """Everything that can be read from one segment file.

    ``torn_at`` is where a write stopped that was never acknowledged, ``damages`` are ranges that
    had been; ``header`` is None if the file was torn before its header was complete.
    """

    header: Header | None
    entries: list[Entry] = field(default_factory=list[Entry])
    damages: list[Damage] = field(default_factory=list[Damage])
    torn_at: int | None = None


def crc32c(data: bytes, crc: int = 0) -> int:
    """CRC-32C (Castagnoli, RFC 3720 appendix B.4) of ``data``, going on from ``crc``."""
    global _crc  # noqa: PLW0603 - the implementation is looked for once, at the first record
    if _crc is None:
        _crc = _find_crc()
    return _crc(crc, data)


def encode_header(header: Header) -> bytes:
    """Encode the start of a segment file."""
    assert len(header.stream_id) == 16, "a stream id is a UUID"  # noqa: PLR2004
    head = _HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        0,
        header.stream_id,
        header.segment_number,
        header.first_sequence,
        header.created_ns,
        len(header.resource),
    )
    data = head + header.resource
    return data + _CHECKSUM.pack(crc32c(data))


def decode_header(data: bytes) -> tuple[Header, int]:
    """Read a segment's header and say where its entries begin.

    Raises ``NewerFormatError`` for a later format version and ``SegmentFormatError`` if the
    header is incomplete or its checksum does not match.
    """
    if len(data) < _HEADER.size or not data.startswith(MAGIC):
        message = "no segment header"
        raise SegmentFormatError(message)
    _, version, _, stream_id, number, first, created, resource_size = _HEADER.unpack_from(data)
    if version > FORMAT_VERSION:
        message = f"segment format {version} is newer than {FORMAT_VERSION}: upgrade kaizen-otel"
        raise NewerFormatError(message)
    end = _HEADER.size + resource_size
    checksum = data[end : end + _CHECKSUM.size]
    if checksum != _CHECKSUM.pack(crc32c(data[:end])):
        message = "segment header is torn or damaged"
        raise SegmentFormatError(message)
    header = Header(
        stream_id=stream_id,
        segment_number=number,
        first_sequence=first,
        created_ns=created,
        resource=data[_HEADER.size : end],
    )
    return header, end + _CHECKSUM.size


def encode_entry(
    payload: bytes,
    *,
    sequence: int,
    resource_index: int = 0,
    begins_commit: bool = False,
    is_resource: bool = False,
) -> bytes:
    """Encode one entry: a record, or a Resource that later entries refer to by its index."""
    assert 0 < len(payload) <= PAYLOAD_BYTES_MAX, "the caller refuses what is empty or too large"
    assert 0 <= resource_index <= RESOURCES_MAX, "the caller rolls before the indices run out"
    flags = (_BEGINS_COMMIT if begins_commit else 0) | (_IS_RESOURCE if is_resource else 0)
    size = len(payload)
    crc = crc32c(payload, crc32c(_CHECKED.pack(size, MARKER, flags, resource_index, sequence)))
    return _ENTRY.pack(size, crc, MARKER, flags, resource_index, sequence) + payload


def encode_records(
    records: Iterable[tuple[bytes, int, int]], *, begins_commit: bool
) -> list[bytes]:
    """Encode records of (payload, number, index of the Resource); the first may begin a commit.

    What ``encode_entry`` does, for a whole group commit.  Benchmark: ``benchmarks/audit.py``.
    """
    parts: list[bytes] = []
    append, pack, pack_checked = parts.append, _ENTRY.pack, _CHECKED.pack
    flags = _BEGINS_COMMIT if begins_commit else 0
    for payload, sequence, index in records:
        size = len(payload)
        assert 0 < size <= PAYLOAD_BYTES_MAX, "the caller refuses what is empty or too large"
        crc = crc32c(pack_checked(size, MARKER, flags, index, sequence) + payload)
        append(pack(size, crc, MARKER, flags, index, sequence))
        append(payload)
        flags = 0
    return parts


def decode_entry(data: bytes, offset: int, *, base: int = 0) -> Entry | None:
    """Read the entry at ``offset`` of ``data``; None if there is no whole, sound entry.

    ``base`` is the place of ``data`` in its file and is added to the entry's offsets.
    """
    start = offset + _ENTRY.size
    if start > len(data):
        return None
    size, crc, marker, flags, resource_index, sequence = _ENTRY.unpack_from(data, offset)
    end = start + size
    if marker != MARKER or not 0 < size <= PAYLOAD_BYTES_MAX or end > len(data):
        return None
    payload = data[start:end]
    if crc != crc32c(payload, crc32c(_CHECKED.pack(size, marker, flags, resource_index, sequence))):
        return None
    return Entry(
        base + offset,
        base + end,
        sequence,
        resource_index,
        bool(flags & _BEGINS_COMMIT),
        bool(flags & _IS_RESOURCE),
        payload,
    )


def iter_entries(data: bytes, offset: int, *, base: int = 0) -> Iterator[Entry]:
    """Read entries one after the other until one is not whole or not sound."""
    while (entry := decode_entry(data, offset, base=base)) is not None:
        yield entry
        offset = entry.end - base


def find_entry(data: bytes, offset: int, *, base: int = 0) -> Entry | None:
    """Look for the next sound entry at or after ``offset``, wherever it begins."""
    place = data.find(MARKER, offset + _MARKER_OFFSET)
    while place >= 0:
        entry = decode_entry(data, place - _MARKER_OFFSET, base=base)
        if entry is not None:
            return entry
        place = data.find(MARKER, place + 1)
    return None


def scan(data: bytes) -> Scan:
    """Read a whole segment file and judge what is not readable.

    Raises ``NewerFormatError``.
    """
    try:
        header, offset = decode_header(data)
    except NewerFormatError:
        raise
    except SegmentFormatError:
        return scan_entries(data, 0)
    return replace(scan_entries(data, offset), header=header)


def scan_entries(data: bytes, offset: int) -> Scan:
    """Read all entries from ``offset``, also those behind unreadable bytes, and judge the latter.

    An unreadable range is damage if a later entry promises that everything before it was
    durable.  Otherwise it belongs to a write that was never acknowledged: a torn tail, of which
    the disk may have kept any part.
    """
    entries: list[Entry] = []
    holes: list[Damage] = []
    while offset < len(data):
        for entry in iter_entries(data, offset):
            entries.append(entry)
            offset = entry.end
        if offset == len(data):
            break
        found = find_entry(data, offset)
        following = len(data) if found is None else found.offset
        holes.append(Damage(offset=offset, size=following - offset))
        offset = following
    promised = max((entry.offset for entry in entries if entry.begins_commit), default=0)
    torn = [hole.offset for hole in holes if hole.offset >= promised]
    return Scan(
        header=None,
        entries=entries,
        damages=[hole for hole in holes if hole.offset < promised],
        torn_at=min(torn, default=None),
    )


def _find_crc() -> _Crc:
    """Take the C implementation if it is installed, else a table in Python (100 times slower)."""
    try:
        extend: _Crc = importlib.import_module("google_crc32c").extend
    except ImportError:
        return table_crc32c
    return extend


def table_crc32c(crc: int, data: bytes) -> int:
    """CRC-32C byte by byte, for installations without ``google-crc32c``."""
    table = _table()
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


_TABLE: list[int] = []


def _table() -> list[int]:
    if not _TABLE:
        rows: list[int] = []
        for number in range(256):
            value = number
            for _ in range(8):
                value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
            rows.append(value)
        _TABLE.extend(rows)
    return _TABLE
