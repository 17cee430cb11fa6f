"""Read one line of a trail strictly, for a verifier: nothing in it goes unnoticed.

What no hash covers must not be there: members around the records, members twice, bytes that are no
text.  What is torn is looked through for the records that it names, so that at the end it can be
said whether they are there elsewhere.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel._otlp.json import read_line
from kaizen_otel.audit._seen import place_of, read_record, time_of
from kaizen_otel.audit.verify import Finding, hash_of_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel._otlp.decode import Json
    from kaizen_otel._otlp.json import Line, Problem
    from kaizen_otel.audit._seen import Seen
    from kaizen_otel.audit.verify import Severity, Verifier

TORN_MAX: Final = 10_000

_TWICE: Final = "a member that is there twice"
_EMPTY: Final[tuple[object, ...]] = ({}, [], None, "", 0)
_REQUEST: Final = frozenset({"resourceLogs"})
_RESOURCE_LOGS: Final = frozenset({"resource", "scopeLogs"})
_SCOPE_LOGS: Final = frozenset({"scope", "logRecords"})
_KINDS: Final = {
    "torn": ("torn_line", "a piece of a line that is no JSON"),
    "foreign": ("foreign_line", "JSON that is no OTLP request"),
    "too_long": ("too_long_line", "a line longer than any of ours was not read"),
    "not_text": ("not_text", "bytes that are no text"),
}
_NAMED: Final = re.compile(
    r'"audit\.sequence\.number","value":\{"intValue":"([0-9]{1,19})"\}\},'
    r'(?:\{"key":"audit\.sequence\.previous_hash","value":\{"stringValue":"[0-9a-f]{64}"\}\},)?'
    r'\{"key":"audit\.sequence\.stream_id","value":\{"stringValue":"([0-9a-f-]{36})"'
)
_BEGINNING: Final = '{"resourceLogs":['
_ENDING: Final = "]}]}]}"


def _members(pairs: list[tuple[str, object]]) -> Json:
    """Return an object's members; one that is there twice becomes one that is not allowed."""
    members = dict(pairs)
    if len(members) != len(pairs):
        members[_TWICE] = "true"
    return members


DECODER: Final = json.JSONDecoder(object_pairs_hook=_members)


class Torn(NamedTuple):
    """A torn piece and the records that it names; ``is_cut`` if it is the beginning of a line."""

    path: str
    offset: int
    named: tuple[tuple[str, int], ...]
    is_cut: bool


class StrictReader:
    """Gives a verifier everything that is in lines.

    ``only``, if given, are the streams that count: the others were seen before.
    """

    def __init__(self, verifier: Verifier, *, only: frozenset[str] | None = None) -> None:
        """Begin with nothing read."""
        self.torn: list[Torn] = []
        self._verifier = verifier
        self._only = only

    def read(self, line: Line, *, number: int, path: str, offset: int) -> None:
        """Read one line; what is wrong with it is reported to the verifier."""

        def note(problem: Problem) -> None:
            self._note(problem, path, line.size)

        if not line.is_cut and not _is_text(line.data):
            self._report("not_text", "the line has bytes that are no text", path, offset)
        for request in read_line(
            line, number=number, offset=offset, on_problem=note, decoder=DECODER
        ):
            self._read_request(request, path, offset)

    def see(self, data: bytes, resource: str, *, path: str, offset: int) -> Seen | None:
        """Read one record's JSON that a fast reader cut out of a line.

        None if there is anything wrong with it: then all of the line is to be read strictly.
        """
        try:
            record = cast("object", DECODER.decode(data.decode()))
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict):
            return None
        seen, findings = read_record(
            cast("Json", record), resource=resource, path=path, offset=offset
        )
        return None if findings else seen

    def _read_request(self, request: Json, path: str, offset: int) -> None:
        if "resourceLogs" not in request:
            self._report("foreign_line", "a request of another signal", path, offset)
            return
        around = foreign_members(request, _REQUEST)
        for group in self._objects(request.get("resourceLogs"), path, offset):
            resource = group.get("resource")
            wrong = around or foreign_members(group, _RESOURCE_LOGS)
            is_object = isinstance(resource, dict)
            bound = hash_of_resource(cast("Json", resource) if is_object else {})
            for scoped in self._objects(group.get("scopeLogs"), path, offset):
                odd = wrong or foreign_members(scoped, _SCOPE_LOGS) or _scope(scoped.get("scope"))
                for record in self._objects(scoped.get("logRecords"), path, offset):
                    if odd:
                        self._foreign(record, odd, path, offset)
                    self.add(record, bound, path, offset)

    def _objects(self, value: object, path: str, offset: int) -> Iterator[Json]:
        for item in cast("list[object]", value) if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield cast("Json", item)
            elif value is not None:
                self._report(
                    "foreign_line", "something else where a record should be", path, offset
                )

    def add(self, record: Json, resource: str, path: str, offset: int) -> None:
        """Take in a decoded record; ``resource`` is the hash of its Resource."""
        if self._counts(place_of(record)[0]):
            self._verifier.add_log_record(record, resource, path=path, offset=offset)

    def _counts(self, stream_id: str) -> bool:
        return self._only is None or not stream_id or stream_id in self._only

    def _foreign(self, record: Json, name: str, path: str, offset: int) -> None:
        stream_id, sequence = place_of(record)
        if self._counts(stream_id):
            self._verifier.report(
                Finding(
                    kind="foreign_field",
                    severity="tampering",
                    text=f"around the record there is {name!r}, which no hash covers",
                    stream_id=stream_id,
                    sequence=sequence,
                    path=path,
                    offset=offset,
                    time_ns=time_of(record),
                )
            )

    def _note(self, problem: Problem, path: str, size: int) -> None:
        if problem.kind == "torn" and len(self.torn) < TORN_MAX:
            text = problem.text
            named = tuple((stream, int(number)) for number, stream in _NAMED.findall(text))
            is_cut = text.startswith(_BEGINNING[: len(text)]) and not text.endswith(_ENDING)
            self.torn.append(Torn(path, problem.offset, named, is_cut))
            return
        kind, text = _KINDS[problem.kind]
        piece = f" ({problem.size} of {size} bytes)" if problem.size != size else f" ({size} bytes)"
        self._report(kind, text + piece, path, problem.offset)

    def _report(
        self, kind: str, text: str, path: str, offset: int, severity: Severity = "incomplete"
    ) -> None:
        self._verifier.report(
            Finding(kind=kind, severity=severity, text=text, path=path, offset=offset)
        )


def judge_torn(torn: list[Torn], has: Callable[[str, int], bool]) -> Iterator[Finding]:
    """Say of every torn piece whether its records are elsewhere, once everything was seen.

    A Collector that is stopped while it writes leaves the beginning of a line; the agent has no
    answer and sends the records again.  So a piece whose records are all there is a note, and so is
    one that was cut off before it names any: it says no more than if it were not there.
    """
    for piece in torn:
        missing = [(stream, number) for stream, number in piece.named if not has(stream, number)]
        stream, number = missing[0] if missing else ("", 0)
        if missing:
            text = f"{len(missing)} records of a torn line are nowhere else"
        elif piece.named:
            text = f"a torn line; all its {len(piece.named)} records are there elsewhere"
        elif piece.is_cut:
            text = "a line that was cut off before it names a record"
        else:
            text = "a piece of a line that is no JSON, and nobody knows what it was"
        is_harmless = not missing and (piece.named or piece.is_cut)
        yield Finding(
            kind="torn_line",
            severity="note" if is_harmless else "incomplete",
            text=text,
            stream_id=stream,
            sequence=number,
            path=piece.path,
            offset=piece.offset,
        )


def foreign_members(thing: Json, known: frozenset[str]) -> str:
    """Return a member that no hash covers and that says something, or ''."""
    for name, value in thing.items():
        if name not in known and value not in _EMPTY:
            return name
    return ""


def _scope(scope: object) -> str:
    if scope is None:
        return ""
    if not isinstance(scope, dict):
        return "scope"
    return foreign_members(cast("Json", scope), frozenset())


def _is_text(data: bytes) -> bool:
    """Whether a line is UTF-8, pieces that a killed Collector cut within a character included."""
    beginning = _BEGINNING.encode()
    first, *others = data.split(beginning)
    for part in (first, *(beginning + other for other in others)):
        try:
            part.decode()
        except UnicodeDecodeError as error:
            if error.reason != "unexpected end of data":
                return False
    return True
