"""Cut a trail file into blocks of whole lines, and find out cheaply which times each one holds.

Records come from many processes and an outage's backlog comes hours later, so the order of a trail
says nothing for sure: a bisection could miss records.  A block's earliest and latest time can not.
They are taken from the bytes, without parsing JSON, which is right only for lines of the plain
shape that the Collector's file exporter writes.  A block that holds anything else (a torn, glued
or foreign line, an escape in which a name or digit could hide, a time in another form) is not
plain, and whoever asks must read it whatever the question.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._edges import Filesystem

BLOCK_BYTES: Final = 512 * 1024

_TIME_NAME: Final = b'"timeUnixNano"'
_DIGITS: Final = 19  # nanoseconds from the year 2001 to 2286
_TIME_BYTES: Final = _DIGITS + len(b':""')
_LINE_NAME: Final = b'"resourceLogs"'
_LINE_BEGIN: Final = b'{"resourceLogs":['
_LINE_END: Final = b"}]}]}]}\n"
_BOUNDARY: Final = _LINE_END + _LINE_BEGIN
# An escape that stands for printable ASCII; but `<`, `>`, `&` are what Go's encoder escapes.
_HIDING: Final = re.compile(rb"\\u00(?!26|3[cCeE])[2-7]")


class Block(NamedTuple):
    """``lines`` whole lines of a file, the first one is ``line``; bytes ``start`` to ``end``.

    If ``is_plain``, every record in it has its time between ``first_ns`` and ``last_ns``.
    """

    start: int
    end: int
    line: int
    lines: int
    first_ns: int
    last_ns: int
    is_plain: bool


def iter_blocks(
    filesystem: Filesystem,
    path: str,
    *,
    start: int = 0,
    line: int = 1,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[tuple[Block, bytes, bool]]:
    """Yield each block from ``start`` on, its bytes, and whether its last line has an end.

    The bytes of a block that is not plain may be missing (``b""``), since one line can be of any
    size.  Raises ``OSError`` if the file cannot be read.
    """
    while data := filesystem.read(path, start, block_bytes):
        end = data.rfind(b"\n") + 1
        if end:
            data = data[:end]
            count, times = plain_times(data)
            first_ns, last_ns = times or (0, 0)
            block = Block(start, start + end, line, count, first_ns, last_ns, times is not None)
            yield block, data, True
            line += count
            start += end
        else:
            line_end, is_whole = _line_end(filesystem, path, start + len(data), block_bytes)
            yield Block(start, line_end, line, 1, 0, 0, is_plain=False), b"", is_whole
            line += 1
            start = line_end


def read_chunks(
    filesystem: Filesystem, path: str, *, start: int = 0, end: int | None = None
) -> Iterator[bytes]:
    """Yield a file's bytes from ``start`` to ``end`` in pieces; raises ``OSError``."""
    while end is None or start < end:
        size = BLOCK_BYTES if end is None else min(BLOCK_BYTES, end - start)
        chunk = filesystem.read(path, start, size)
        if not chunk:
            return
        yield chunk
        start += len(chunk)


def plain_times(data: bytes) -> tuple[int, tuple[int, int] | None]:
    """Count whole lines, and return their earliest and latest time; None if not all are plain."""
    lines, are_plain = _counted(data)
    if not are_plain or data.count(_LINE_NAME) != lines or (b"\\" in data and _HIDING.search(data)):
        return lines, None
    # Each pass over the bytes counts: a trail has a gigabyte for a million records.
    pieces = data.split(_TIME_NAME)
    del pieces[0]
    count = len(pieces)
    times = [piece[:_TIME_BYTES] for piece in pieces]
    text = b"".join(times)
    digits = text.translate(None, b':"')
    if (
        not count
        or len(text) != count * _TIME_BYTES
        or len(digits) != count * _DIGITS
        or text[::_TIME_BYTES] != b":" * count
        or text[1::_TIME_BYTES] != b'"' * count
        or text[_TIME_BYTES - 1 :: _TIME_BYTES] != b'"' * count
        or not digits.isdigit()
    ):
        return lines, None
    return lines, (int(min(times)[2:-1]), int(max(times)[2:-1]))


def _counted(data: bytes) -> tuple[int, bool]:
    """Count whole lines; whether each begins and ends as the Collector writes it.

    By ``find``, which leaps where ``count`` looks at each byte.
    """
    lines, are_plain = 0, data.startswith(_LINE_BEGIN) and data.endswith(_LINE_END)
    last, place = len(data) - 1, data.find(b"\n")
    while place >= 0:
        lines += 1
        if place < last and not data.startswith(_BOUNDARY, place + 1 - len(_LINE_END)):
            are_plain = False
        place = data.find(b"\n", place + 1)
    return lines, are_plain


def _line_end(filesystem: Filesystem, path: str, offset: int, size: int) -> tuple[int, bool]:
    """Return where the line that goes on at ``offset`` ends, and whether it has an end."""
    while data := filesystem.read(path, offset, size):
        place = data.find(b"\n")
        if place >= 0:
            return offset + place + 1, True
        offset += len(data)
    return offset, False
