"""Read the records of a trail that are asked for, without reading what cannot hold any.

Blocks whose times lie outside the question are skipped, lines without the words of the question
are not parsed.  Both only where that cannot miss a record (``blocks``): the answer is the one of
reading everything, in the same order.  What cannot be read is reported where it was read.
"""

from __future__ import annotations

import contextlib
import functools
import json
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel._otlp.decode import plain_attributes_or_none
from kaizen_otel._otlp.json import Line, iter_lines, iter_log_records, read_line
from kaizen_otel._trail.blocks import BLOCK_BYTES, iter_blocks, read_chunks
from kaizen_otel.audit._stored import TRAIL_NAME, TRAIL_SUFFIX, trail_files
from kaizen_otel.audit._words import words_of
from kaizen_otel.audit.query import stored_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._otlp.decode import Json
    from kaizen_otel._otlp.json import Problem
    from kaizen_otel._trail.blocks import Block
    from kaizen_otel._trail.times import TimeIndex
    from kaizen_otel.audit._stored import Report
    from kaizen_otel.audit._words import Words
    from kaizen_otel.audit.query import Filter, StoredRecord

    _Numbered = Iterator[tuple[int, int, Line]]  # line number, byte offset, line

_DIGITS: Final = 19
_PREFIX_DIGITS_MIN: Final = 5  # a shorter one is in every line

_RECORDS: Final = b'"logRecords":['
_RECORD_BEGIN: Final = b'{"timeUnixNano":"'
_LINE_END: Final = b"]}]}]}"
_NO_RECORD: Final = "a log record that is no audit record"


class Found(NamedTuple):
    """A record and the line of the trail it stands in: the file, byte offset, the line's bytes."""

    record: StoredRecord
    path: str
    offset: int
    line: bytes


def read_range(
    filesystem: Filesystem,
    directory: str,
    asked: Filter,
    *,
    report: Report,
    index: TimeIndex | None = None,
    block_bytes: int = BLOCK_BYTES,
) -> Iterator[Found]:
    """Yield the records of a trail folder that are asked for, in the order they were written.

    Delivery is at least once, so a record may come again.  Raises ``OSError`` if the folder or a
    file cannot be read.
    """
    reader = _Reader(
        filesystem, asked, words_of(asked), _time_words(asked), report, index, block_bytes
    )
    active = posixpath.join(directory, TRAIL_NAME + TRAIL_SUFFIX)
    done: set[str] = set()
    while True:
        files = trail_files(filesystem, directory)
        sealed = [path for path in files if path != active and path not in done]
        for path in sealed:
            done.add(path)
            yield from reader.read(path, is_sealed=True)
        if active in files:
            with contextlib.suppress(FileNotFoundError):  # rotated a moment ago
                yield from reader.read(active, is_sealed=False)
        # While we read, the active file may have got another name: then it is read under that.
        if done.issuperset(set(trail_files(filesystem, directory)) - {active}):
            return


@dataclass(frozen=True, slots=True)
class _Reader:
    filesystem: Filesystem
    asked: Filter
    words: Words
    time_words: Words
    report: Report
    index: TimeIndex | None
    block_bytes: int

    def read(self, path: str, *, is_sealed: bool) -> Iterator[Found]:
        for block, data in self._blocks(path, is_sealed=is_sealed):
            if not block.is_plain:
                lines = _all_lines(
                    read_chunks(self.filesystem, path, start=block.start, end=block.end), block
                )
                found = self._in_lines(lines, path)
            elif _is_outside(block, self.asked):
                continue
            else:
                size = block.end - block.start
                data = data or self.filesystem.read(path, block.start, size)  # noqa: PLW2901
                lines = _lines_with(data, block, [*self.words, *self.time_words])
                # Of a line of which one record may be asked for, not all of them are parsed.
                found = (self._with_words if self.words else self._in_lines)(lines, path)
            for one in found:
                if self.asked.matches(one.record):
                    yield one

    def _blocks(self, path: str, *, is_sealed: bool) -> Iterator[tuple[Block, bytes]]:
        """Yield a file's blocks, the first ones from the index, and let it learn the others."""
        blocks: list[Block] = []
        start, line = 0, 1
        known = None if self.index is None else self.index.known(path, is_sealed=is_sealed)
        if known is not None and known.blocks:
            blocks += known.blocks
            yield from ((block, b"") for block in known.blocks)
            start, line = blocks[-1].end, blocks[-1].line + blocks[-1].lines
        for block, data, is_whole in iter_blocks(
            self.filesystem, path, start=start, line=line, block_bytes=self.block_bytes
        ):
            yield block, data
            if is_whole or is_sealed:
                blocks.append(block)
        if self.index is not None and known is not None:
            self.index.learn(path, known, blocks, is_sealed=is_sealed)

    def _in_lines(self, lines: _Numbered, path: str) -> Iterator[Found]:
        for number, offset, line in lines:
            for record in self._records(path, number, offset, line):
                yield Found(record, path, offset, line.data)

    def _with_words(self, lines: _Numbered, path: str) -> Iterator[Found]:
        for number, offset, line in lines:
            pieces = _pieces_with(line.data, self.words[0])
            if pieces is None:
                yield from self._in_lines(iter([(number, offset, line)]), path)
                continue
            for record, owner in pieces:
                stored = stored_record(record, {}, owner=owner)
                if stored is None:
                    self.report.add(path, _NO_RECORD)
                else:
                    yield Found(stored, path, offset, line.data)

    def _records(self, path: str, number: int, offset: int, line: Line) -> Iterator[StoredRecord]:
        def note(problem: Problem) -> None:
            where = f"line {problem.line} (byte {problem.offset})"
            self.report.add(path, f"{where}: {problem.kind}")

        last: Json | None = None
        owner: Mapping[str, object] = {}
        for request in read_line(line, number=number, offset=offset, on_problem=note):
            for log_record, resource in iter_log_records(request):
                if resource is not last:
                    last, owner = (
                        resource,
                        plain_attributes_or_none(resource.get("attributes")) or {},
                    )
                record = stored_record(log_record, resource, owner=owner)
                if record is None:
                    self.report.add(path, _NO_RECORD)
                else:
                    yield record


def _is_outside(block: Block, asked: Filter) -> bool:
    # A record without a time counts as of time 0; only a question with a beginning leaves it out.
    if asked.since_ns is None:
        return False
    is_after = asked.until_ns is not None and block.first_ns > asked.until_ns
    return is_after or block.last_ns < asked.since_ns


def _time_words(asked: Filter) -> Words:
    """Return the digits with which every time between ``since`` and ``until`` begins."""
    if asked.since_ns is None or asked.until_ns is None:
        return []
    since, until = str(asked.since_ns), str(asked.until_ns)
    if len(since) != _DIGITS or len(until) != _DIGITS:
        return []
    count = len(posixpath.commonprefix([since, until]))
    return [(b'"' + since[:count].encode(),)] if count >= _PREFIX_DIGITS_MIN else []


def _lines_with(data: bytes, block: Block, words: Words) -> _Numbered:
    """Yield the plain lines in which all the words are."""
    if not words:
        yield from _all_lines([data], block)
        return
    first, *others = words
    number, start = block.line, 0
    while (place := _find(data, first, start)) >= 0:
        line_start = data.rfind(b"\n", start, place) + 1 or start
        line_end = data.find(b"\n", place)
        number += data.count(b"\n", start, line_start)
        line = data[line_start:line_end]
        if all(any(word in line for word in one_of) for one_of in others):
            yield number, block.start + line_start, Line(line, len(line))
        start = line_end + 1
        number += 1


def _pieces_with(
    line: bytes, one_of: tuple[bytes, ...]
) -> list[tuple[Json, Mapping[str, object]]] | None:
    """Parse those records of a plain line in which one of the words is; None if that cannot be.

    Every piece that is not one whole object, and every line of several Resources, is left to
    whoever parses the line: what is found here is what would be found there.
    """
    head, middle, body = line.partition(_RECORDS)
    if not middle or _RECORDS in body:
        return None
    body = body.removesuffix(_LINE_END)
    found: list[Json] = []
    start = 0
    while (place := _find(body, one_of, start)) >= 0:
        begin = body.rfind(_RECORD_BEGIN, start, place)
        end = body.find(b"," + _RECORD_BEGIN, place)
        end = len(body) if end < 0 else end
        piece = _object(body[begin:end]) if begin >= 0 else None
        if piece is None:
            return None
        found.append(piece)
        start = end
    owner = _owner(head)
    return None if owner is None else [(piece, owner) for piece in found]


@functools.lru_cache(maxsize=64)
def _owner(head: bytes) -> Mapping[str, object] | None:
    request = _object(head + _RECORDS + b"{}" + _LINE_END)
    owners = [] if request is None else [owner for _, owner in iter_log_records(request)]
    if len(owners) != 1:
        return None
    return plain_attributes_or_none(owners[0].get("attributes")) or {}


def _object(data: bytes) -> Json | None:
    try:
        value = cast("object", json.loads(data))
    except (ValueError, RecursionError):
        return None
    return cast("Json", value) if isinstance(value, dict) else None


def _find(data: bytes, one_of: tuple[bytes, ...], start: int) -> int:
    places = [place for word in one_of if (place := data.find(word, start)) >= 0]
    return min(places, default=-1)


def _all_lines(chunks: Iterable[bytes], block: Block) -> _Numbered:
    offset = block.start
    for number, line in enumerate(iter_lines(chunks), block.line):
        yield number, offset, line
        offset += line.size + 1
