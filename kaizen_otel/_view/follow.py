"""Follow JSON-lines files that grow and are rotated, the newest lines first.

A file is read backwards from where its end was, so that the newest lines are there at once however
large it is, and forwards from there as it grows.  A file that the Collector renames is known by its
number on the disk and goes on being the same one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from kaizen_otel._otlp.json import LINE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BLOCK_BYTES: Final = 256 * 1024
FILES_MAX: Final = 64


class LineRef(NamedTuple):
    """Where a line is: number of the file in its follower, first byte, size."""

    file: int
    offset: int
    size: int


@dataclass(slots=True, eq=False)
class _File:
    """One file: ``[head_end, tail)`` is read; what is before and behind is not, yet."""

    number: int
    name: str
    handle: BinaryIO
    head_end: int
    tail: int
    size: int
    #: Beginnings of its lines, ascending: those read backwards (reversed), and those read forwards.
    before: list[int]
    after: list[int]
    skipped: int = 0
    #: Its size when its last line was found not to be whole yet.
    unfinished: int = 0


class Follower:
    """The files ``STEM.jsonl`` and ``STEM-*.jsonl`` of one folder.  Used under its owner's lock."""

    def __init__(self, directory: Path, stem: str) -> None:
        """Read nothing yet."""
        self._directory = directory
        self._stem = stem
        self._files: dict[tuple[int, int], _File] = {}
        self._by_number: dict[int, _File] = {}
        self._last_number = 0
        self.error = ""

    def look(self) -> None:
        """See which files there are and how long they have become."""
        self.error = ""
        try:
            paths = sorted(
                (
                    path
                    for path in self._directory.glob(f"{self._stem}*.jsonl")
                    if path.stem == self._stem or path.stem.startswith(f"{self._stem}-")
                ),
                # Rotated files carry their time; the active one is the newest.
                key=lambda path: (path.stem == self._stem, path.name),
            )[-FILES_MAX:]
            for path in paths:
                self._see(path)
        except OSError as error:
            self.error = f"{error.filename or self._directory}: {error.strerror or error}"

    def newest(self) -> Iterator[tuple[LineRef, bytes]]:
        """Yield lines that were appended since, in order; at most a block of each file."""
        for file in self._in_order():
            if file.tail < file.size != file.unfinished:
                yield from self._forward(file)

    def older(self) -> Iterator[tuple[LineRef, bytes]]:
        """Yield the lines of the next block backwards, the newest first; none if all are read."""
        for file in reversed(self._in_order()):
            if file.head_end:
                yield from self._backward(file)
                return

    @property
    def bytes_left(self) -> int:
        """How many bytes are not read yet, of whole lines."""
        return sum(
            file.head_end + (file.size - file.tail if file.size != file.unfinished else 0)
            for file in self._files.values()
        )

    @property
    def bytes_seen(self) -> int:
        """How many bytes there are."""
        return sum(file.size for file in self._files.values())

    @property
    def half_written(self) -> list[tuple[str, int]]:
        """Files whose last line has no end, and how many bytes it has."""
        return [
            (file.name, file.size - file.tail)
            for file in self._files.values()
            if file.tail < file.size
        ]

    @property
    def too_long(self) -> list[tuple[str, int]]:
        """Files with lines that were skipped since they are too long, and how many bytes."""
        return [(file.name, file.skipped) for file in self._files.values() if file.skipped]

    def refs(self, *, before: LineRef | None = None) -> Iterator[LineRef]:
        """Yield where the lines read so far are, the newest first, from before one of them on."""
        is_on = before is None
        for file in reversed(self._in_order()):
            if not is_on and before is not None and file.number != before.file:
                continue
            limit = file.size + 1 if is_on or before is None else before.offset
            is_on = True
            end = file.tail
            for offset in [*reversed(file.after), *file.before]:
                if offset < limit:
                    yield LineRef(file.number, offset, end - offset)
                end = offset

    def read(self, ref: LineRef) -> bytes:
        """Return a line again; empty if the file is gone or was cut."""
        file = self._by_number.get(ref.file)
        if file is None:
            return b""
        try:
            return os.pread(file.handle.fileno(), ref.size, ref.offset)
        except OSError:
            return b""

    def name_of(self, number: int) -> str:
        """Return the present name of a file."""
        file = self._by_number.get(number)
        return "" if file is None else file.name

    def close(self) -> None:
        """Close all files."""
        for file in self._files.values():
            file.handle.close()
        self._files.clear()
        self._by_number.clear()

    def _see(self, path: Path) -> None:
        found = path.stat()
        key = (found.st_dev, found.st_ino)
        file = self._files.get(key)
        if file is not None and found.st_size >= file.tail:
            file.name, file.size = path.name, found.st_size
            return
        if file is not None:  # cut or written anew: what was known of it is no longer there
            file.handle.close()
            self._by_number.pop(file.number, None)
        handle = path.open("rb")
        self._last_number = number = self._last_number + 1
        start = _last_lines(handle, found.st_size)
        file = _File(number, path.name, handle, start, start, found.st_size, [], [])
        self._files[key] = self._by_number[number] = file

    def _in_order(self) -> list[_File]:
        active = f"{self._stem}.jsonl"
        return sorted(self._files.values(), key=lambda f: (f.name == active, f.name))

    def _forward(self, file: _File) -> Iterator[tuple[LineRef, bytes]]:
        size = BLOCK_BYTES
        while True:
            block = os.pread(file.handle.fileno(), size, file.tail)
            end = block.rfind(b"\n")
            if end >= 0:
                break
            if len(block) < size:
                file.unfinished = file.size
                return
            if size > LINE_BYTES_MAX:
                file.skipped += len(block)
                file.tail += len(block)
                return
            size *= 2
        offset = file.tail
        lines = block[:end].split(b"\n")
        file.tail += end + 1
        for line in lines:
            file.after.append(offset)
            yield LineRef(file.number, offset, len(line) + 1), line
            offset += len(line) + 1

    def _backward(self, file: _File) -> Iterator[tuple[LineRef, bytes]]:
        size = BLOCK_BYTES
        while True:
            start = max(0, file.head_end - size)
            block = os.pread(file.handle.fileno(), file.head_end - start, start)
            # The newline that ends the block's last line is its last byte.
            first = 0 if start == 0 else block.find(b"\n") + 1
            if start == 0 or 0 < first < len(block):
                break
            if size > LINE_BYTES_MAX:
                file.skipped += len(block)
                file.head_end = start
                return
            size *= 2
        lines = block[first : len(block) - 1].split(b"\n")
        offset = file.head_end
        file.head_end = start + first
        for line in reversed(lines):
            offset -= len(line) + 1
            file.before.append(offset)
            yield LineRef(file.number, offset, len(line) + 1), line


def _last_lines(handle: BinaryIO, size: int) -> int:
    """Return where the lines of the last block begin; 0 if there is no such place near the end."""
    length = BLOCK_BYTES
    while length < min(size, LINE_BYTES_MAX):
        block = os.pread(handle.fileno(), length, size - length)
        # An end of the last line itself says nothing about where it begins.
        place = block.find(b"\n", 0, len(block) - 1)
        if place >= 0:
            return size - length + place + 1
        length *= 2
    return 0
