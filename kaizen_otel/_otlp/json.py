"""A tolerant reader for the JSON lines that the Collector's file exporter writes.

One good line is one OTLP/JSON request.  A killed or full Collector leaves empty lines, a torn
piece that the next request follows on the same line, or two requests glued together; somebody
may also have put a foreign line there.  Everything readable is read, everything else is
reported, nothing raises, and the memory used is bounded by the longest line that is taken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kaizen_otel._otlp.decode import Json

LINE_BYTES_MAX: Final = 32 * 1024 * 1024
_SIGNALS: Final = ("resourceLogs", "resourceSpans", "resourceMetrics")
_BEGINNINGS: Final = tuple(f'{{"{name}"' for name in _SIGNALS)
_DECODER: Final = json.JSONDecoder()

ProblemKind = Literal["torn", "foreign", "too_long", "not_text"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A piece of the file that is no request, and where it is.

    ``line`` counts from 1; ``offset`` is the place of the line in the file, in bytes; ``size``
    is the piece's size in bytes or characters; ``text`` is the piece if it is torn.
    """

    kind: ProblemKind
    line: int
    offset: int
    size: int
    text: str = field(default="", repr=False, compare=False)


def read_lines(
    chunks: Iterable[bytes],
    *,
    on_problem: Callable[[Problem], None] | None = None,
    line_bytes_max: int = LINE_BYTES_MAX,
) -> Iterator[Json]:
    """Read OTLP/JSON requests from pieces of a file, in order, and report what is none.

    A last line without a newline is read as well.  Requests that are there twice come twice.
    """
    offset = 0
    for number, line in enumerate(iter_lines(chunks, line_bytes_max), 1):
        yield from read_line(line, number=number, offset=offset, on_problem=on_problem)
        offset += line.size + 1


def iter_log_records(request: Json) -> Iterator[tuple[Json, Json]]:
    """Yield each log record of a decoded request with the Resource it belongs to.

    What has not the shape of a request yields nothing.
    """
    for resource_logs in _objects(request.get("resourceLogs")):
        resource = resource_logs.get("resource")
        owner = cast("Json", resource) if isinstance(resource, dict) else {}
        for scope_logs in _objects(resource_logs.get("scopeLogs")):
            for record in _objects(scope_logs.get("logRecords")):
                yield record, owner


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its end.  Of one that is too long (``is_cut``) only the size is kept."""

    data: bytes
    size: int
    is_cut: bool = False


def iter_lines(chunks: Iterable[bytes], bytes_max: int = LINE_BYTES_MAX) -> Iterator[Line]:
    """Cut pieces of a file into lines; the last one may have no end."""
    parts: list[bytes] = []
    size = 0
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        pieces = [first]
        for piece in others:
            yield _close(parts + pieces, size + len(pieces[0]), bytes_max)
            parts, pieces, size = [], [piece], 0
        size += len(pieces[0])
        if size <= bytes_max:
            parts += pieces
        else:
            parts = []
    if size:
        yield _close(parts, size, bytes_max)


def _close(parts: list[bytes], size: int, bytes_max: int) -> Line:
    is_cut = size > bytes_max
    return Line(b"" if is_cut else b"".join(parts), size, is_cut)


def read_line(
    line: Line,
    *,
    number: int,
    offset: int,
    on_problem: Callable[[Problem], None] | None = None,
    decoder: json.JSONDecoder = _DECODER,
) -> Iterator[Json]:
    """Read the requests of one line, which is the ``number``-th and begins at byte ``offset``."""
    if line.is_cut:
        _report(on_problem, "too_long", number, offset, line.size)
        return
    try:
        text = line.data.decode().strip()
    except UnicodeDecodeError:
        text = line.data.decode(errors="replace").strip()
        if not text.startswith(_BEGINNINGS):
            _report(on_problem, "not_text", number, offset, line.size)
            return
    position = 0
    while position < len(text):
        try:
            value, end = cast("tuple[object, int]", decoder.raw_decode(text, position))
        except (ValueError, RecursionError):
            # What follows a torn piece on its line is the next request.
            end = _next_beginning(text, position + 1)
            _report(on_problem, "torn", number, offset, end - position, text[position:end])
        else:
            if isinstance(value, dict) and any(name in value for name in _SIGNALS):
                yield cast("Json", value)
            else:
                _report(on_problem, "foreign", number, offset, end - position)
        position = end
        while position < len(text) and text[position].isspace():
            position += 1


def _next_beginning(text: str, position: int) -> int:
    places = (text.find(beginning, position) for beginning in _BEGINNINGS)
    return min((place for place in places if place >= 0), default=len(text))


def _report(
    on_problem: Callable[[Problem], None] | None,
    kind: ProblemKind,
    line: int,
    offset: int,
    size: int,
    text: str = "",
) -> None:
    if on_problem is not None:
        on_problem(Problem(kind=kind, line=line, offset=offset, size=size, text=text))


def _objects(value: object) -> list[Json]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("Json", item) for item in items if isinstance(item, dict)]
