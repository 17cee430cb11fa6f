"""The shipper's position in a stream, and its file; how far a stream was reconciled.

A cursor that is lost or torn costs duplicates, never records: shipping then starts at the first
record that is still there, and readers drop duplicates by record id.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel._spool.files import RECONCILED_NAME, replace_file
from kaizen_otel._spool.segment import crc32c

if TYPE_CHECKING:
    from kaizen_otel._edges import Filesystem

_VERSION: Final = 1
MARKS_MAX: Final = 128
_RECONCILED_BYTES_MAX: Final = 64


class Mark(NamedTuple):
    """At ``time_ns`` (Unix epoch) everything before ``sequence_next`` had been delivered."""

    time_ns: int
    segment_number: int
    sequence_next: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """How far a stream was delivered, and when.

    ``marks`` are earlier positions of the last minute, oldest first, from which delivery can be
    repeated.  ``boot_id`` names the run of the operating system in which it was written: under
    another one, a receiver on the same machine may have lost what it had not yet synced.
    ``is_disconnected`` says that a connection failed after the last delivery and that what came
    before it is still to be delivered again.
    """

    segment_number: int = 0
    sequence_next: int = 0
    delivered_at_ns: int = 0
    boot_id: str = ""
    is_disconnected: bool = False
    marks: tuple[Mark, ...] = ()


def encode_cursor(cursor: Cursor) -> bytes:
    """Encode the cursor file: a checksum and one line of JSON."""
    text = json.dumps(
        {
            "version": _VERSION,
            "segment_number": cursor.segment_number,
            "sequence_next": cursor.sequence_next,
            "delivered_at_ns": cursor.delivered_at_ns,
            "boot_id": cursor.boot_id,
            "is_disconnected": cursor.is_disconnected,
            "marks": cursor.marks,
        },
        separators=(",", ":"),
    ).encode()
    return b"%08x %s\n" % (crc32c(text), text)


def decode_cursor(data: bytes) -> Cursor | None:
    """Read a cursor file; None if it is torn, damaged or of another version."""
    checksum, _, text = data.removesuffix(b"\n").partition(b" ")
    if checksum != b"%08x" % crc32c(text):
        return None
    fields = cast("dict[str, object]", json.loads(text))
    if fields["version"] != _VERSION:
        return None
    return Cursor(
        segment_number=cast("int", fields["segment_number"]),
        sequence_next=cast("int", fields["sequence_next"]),
        delivered_at_ns=cast("int", fields["delivered_at_ns"]),
        boot_id=cast("str", fields["boot_id"]),
        is_disconnected=bool(fields.get("is_disconnected")),
        marks=tuple(Mark(*mark) for mark in cast("list[list[int]]", fields["marks"])),
    )


def mark_reconciled(filesystem: Filesystem, directory: str, sequence_next: int) -> None:
    """Note in a stream's directory that every record before ``sequence_next`` is in the trail.

    For whoever has compared the two.  The process that holds the stream may then remove delivered
    segments earlier.  Never goes back; raises ``OSError`` (``FileNotFoundError`` if the stream was
    removed meanwhile, with which nothing is lost).
    """
    if sequence_next > read_reconciled(filesystem, directory):
        text = b"%d" % sequence_next
        data = b"%08x %s\n" % (crc32c(text), text)
        replace_file(filesystem, posixpath.join(directory, RECONCILED_NAME), data)


def read_reconciled(filesystem: Filesystem, directory: str) -> int:
    """Return the first sequence number that is not known to be in the trail; 0 if none is."""
    path = posixpath.join(directory, RECONCILED_NAME)
    try:
        data = filesystem.read(path, 0, _RECONCILED_BYTES_MAX)
    except OSError:
        # Only what is kept for how long depends on it.
        return 0
    checksum, _, text = data.removesuffix(b"\n").partition(b" ")
    return int(text) if text.isdigit() and checksum == b"%08x" % crc32c(text) else 0
