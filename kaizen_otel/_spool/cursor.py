"""The shipper's position in a stream, and its file.  Pure: bytes in, bytes out.

A cursor that is lost or torn costs duplicates, never records: shipping then starts at the first
record that is still there, and readers drop duplicates by record id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final, NamedTuple, cast

from kaizen_otel._spool.segment import crc32c

_VERSION: Final = 1
MARKS_MAX: Final = 128


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
    """

    segment_number: int = 0
    sequence_next: int = 0
    delivered_at_ns: int = 0
    boot_id: str = ""
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
        marks=tuple(Mark(*mark) for mark in cast("list[list[int]]", fields["marks"])),
    )
