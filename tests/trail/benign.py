"""What may happen to a trail without anybody having altered it: no verifier may raise an alarm."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from tests.trail.trail_model import Entry, Line, Trail, collector_text, request_text

if TYPE_CHECKING:
    from kaizen_otel._otlp.decode import Json

Operator = Callable[[Trail, random.Random], Trail]
BENIGN: Final[dict[str, Operator]] = {}


def benign(operator: Operator) -> Operator:
    """Register an operator under its function's name."""
    BENIGN[operator.__name__] = operator
    return operator


def _relined(trail: Trail, lines: list[Line], rnd: random.Random) -> Trail:
    """Put other lines into the trail's files."""
    files: dict[str, list[Line]] = {name: [] for name in trail.files}
    cuts = sorted(rnd.randint(0, len(lines)) for _ in list(files)[1:])
    for name, start, end in zip(files, [0, *cuts], [*cuts, len(lines)], strict=True):
        files[name] = lines[start:end]
    return trail.with_files(files)


def _rendered(trail: Trail, render: Callable[[str], bytes]) -> Trail:
    """Write every line by another JSON encoder."""
    files: dict[str, list[Line]] = {
        name: [line if isinstance(line, bytes) else render(request_text(line)) for line in lines]
        for name, lines in trail.files.items()
    }
    return trail.with_files(files)


@benign
def nothing(trail: Trail, rnd: random.Random) -> Trail:
    return trail


@benign
def shuffle_lines(trail: Trail, rnd: random.Random) -> Trail:
    lines = list(trail.lines())
    rnd.shuffle(lines)
    return _relined(trail, lines, rnd)


@benign
def shuffle_records(trail: Trail, rnd: random.Random) -> Trail:
    entries = trail.entries()
    rnd.shuffle(entries)
    return _relined(trail, [[entry] for entry in entries], rnd)


@benign
def duplicate_lines(trail: Trail, rnd: random.Random) -> Trail:
    """The shipper sends again what it does not know to be delivered."""
    lines = list(trail.lines())
    for line in rnd.sample(lines, len(lines) // 4):
        lines.insert(rnd.randint(0, len(lines)), line)
    return _relined(trail, lines, rnd)


@benign
def split_into_other_requests(trail: Trail, rnd: random.Random) -> Trail:
    entries = trail.entries()
    lines: list[Line] = []
    while entries:
        size = rnd.randint(1, 64)
        lines.append(entries[:size])
        del entries[:size]
    return _relined(trail, lines, rnd)


@benign
def glue_lines(trail: Trail, rnd: random.Random) -> Trail:
    """A Collector that was killed between a request and its line end."""
    texts = [request_text(cast("list[Entry]", line)).encode() for line in trail.lines()]
    lines: list[Line] = []
    while texts:
        size = rnd.randint(1, 3)
        lines.append(b"".join(texts[:size]))
        del texts[:size]
    return _relined(trail, lines, rnd)


@benign
def order_of_members(trail: Trail, rnd: random.Random) -> Trail:
    def shuffled(value: object) -> object:
        if isinstance(value, dict):
            pairs = [(name, shuffled(member)) for name, member in cast("Json", value).items()]
            rnd.shuffle(pairs)
            return dict(pairs)
        if isinstance(value, list):
            return [shuffled(item) for item in cast("list[object]", value)]
        return value

    return _rendered(trail, lambda text: collector_text(shuffled(json.loads(text))).encode())


@benign
def order_of_attributes(trail: Trail, rnd: random.Random) -> Trail:
    """Attributes are a set; a store may return them in another order."""

    def shuffled(entry: Entry) -> list[Entry]:
        pairs = list(cast("list[Json]", entry.log["attributes"]))
        rnd.shuffle(pairs)
        return [entry.changed(attributes=pairs)]

    return trail.mapped(shuffled)


@benign
def whitespace(trail: Trail, rnd: random.Random) -> Trail:
    def spaced(text: str) -> bytes:
        separators = rnd.choice(((", ", ": "), (" ,\t", " :  ")))
        loose = json.dumps(json.loads(text), separators=separators, ensure_ascii=False)
        return b"  " + loose.encode() + b" \r"

    return _rendered(trail, spaced)


@benign
def escaped_text(trail: Trail, rnd: random.Random) -> Trail:
    r"""The same text with \\uXXXX for what is not ASCII, and \\/ for the slash."""

    def escaped(text: str) -> bytes:
        return json.dumps(json.loads(text), separators=(",", ":")).replace("/", "\\/").encode()

    return _rendered(trail, escaped)


@benign
def members_left_out(trail: Trail, rnd: random.Random) -> Trail:
    """Another encoder writes no empty body, and the empty ids."""

    def plain(entry: Entry) -> list[Entry]:
        rest = {name: value for name, value in entry.log.items() if name != "body"}
        empty: Json = {"traceId": "", "spanId": "", "severityNumber": 0, "flags": 0}
        return [Entry(log={**empty, **rest}, resource=entry.resource)]

    return trail.mapped(plain)


@benign
def order_of_resource_attributes(trail: Trail, rnd: random.Random) -> Trail:
    def turned(entry: Entry) -> list[Entry]:
        pairs = cast("list[Json]", entry.resource["attributes"])
        return [Entry(log=entry.log, resource={"attributes": pairs[::-1]})]

    return trail.mapped(turned)


@benign
def empty_lines(trail: Trail, rnd: random.Random) -> Trail:
    lines = list(trail.lines())
    for _ in range(5):
        lines.insert(rnd.randint(0, len(lines)), rnd.choice((b"", b"   ", b"\r")))
    return _relined(trail, lines, rnd)


@benign
def one_file(trail: Trail, rnd: random.Random) -> Trail:
    return trail.with_files({"audit.jsonl": list(trail.lines())})


@benign
def torn_and_retried(trail: Trail, rnd: random.Random) -> Trail:
    """A Collector that was killed within a line: the request was not answered and comes again."""
    lines = list(trail.lines())
    at = rnd.randrange(len(lines))
    whole = request_text(cast("list[Entry]", lines[at])).encode()
    piece = whole[: rnd.randint(1, len(whole) - 1)]
    lines[at : at + 1] = [piece, whole] if rnd.random() < 0.5 else [piece + whole]
    return _relined(trail, lines, rnd)
