"""Read lines as the Collector writes them without parsing JSON; leave all others to the strict way.

The Collector writes an audit record's attributes in the order in which the emitter sent them, which
is that of the canonical form.  So the text between ``"attributes":[`` and its end is what was
hashed, and a record's hash is that of pieces cut out of the line (``verify_layout``).

What is cut out wrongly has a hash that nothing links to and nobody signed.  So all that is seen
here counts as soon as a good signature covers it; streams in which one does not cover everything
are read again strictly (``Verifier.suspects``).  A record of another shape, out of its turn, or of
the trail's own events is read strictly at once.
"""

from __future__ import annotations

from binascii import a2b_base64, unhexlify
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel._trail.verify_layout import (
    AT_FIRST,
    AT_NUMBER,
    AT_OBSERVED,
    AT_PREVIOUS,
    AT_REST,
    AT_SIGNATURE,
    AT_SPAN,
    AT_STREAM,
    AT_TIME,
    AT_TRACE,
    HASHED_FROM,
    TIME,
    Layout,
    ending_of,
    layout_of,
    signer_of,
)
from kaizen_otel._trail.verify_strict import DECODER, foreign_members
from kaizen_otel.audit.signatures import SIGNATURE_BYTES
from kaizen_otel.audit.verify import hash_of_resource

if TYPE_CHECKING:
    from kaizen_otel._otlp.decode import Json

_REQUEST: Final = b'{"resourceLogs":['
_SCOPE: Final = b'"scopeLogs":[{"scope":{},"logRecords":['
_LINE_END: Final = b"]}]}]}"
_GROUP_END: Final = b"]}]},"
_COMMA: Final = b","

_INTENT: Final = b'{"key":"kaizen.audit.intent_id","value":{"stringValue":"'
_IS_INTENT: Final = b'"}},{"key":"kaizen.audit.phase","value":{"stringValue":"intent"}},'
_IS_OUTCOME: Final = b'"}},{"key":"kaizen.audit.phase","value":{"stringValue":"outcome"}},'
NOTHING: Final = (b"", b"")
_BOUND: Final = b'{"key":"kaizen.audit.resource_hash","value":{"stringValue":"%b"}}'
_UUID_SIZE: Final = 36
_LAST_DIGIT: Final = -3
_LAST_DIGITS: Final = b"AQgw"

# The canonical form around what is cut out of a line.
_OBJECT: Final = b'{"attributes":['
_NO_SPAN: Final = b'","spanId":"","timeUnixNano":"'
_NO_TRACE: Final = b'","traceId":""}'
_SPAN: Final = b'","spanId":"'
_TIME: Final = b'","timeUnixNano":"'
_TRACE: Final = b'","traceId":"'
_END: Final = b'"}'

_KNOWN_MAX: Final = 4096


class NotOurShapeError(Exception):
    """The line is not as the Collector writes our records: it has to be read strictly."""


class Head(NamedTuple):
    """What comes before records: the hash of their Resource and the attribute that says it.

    ``phases`` are that attribute after those of an intent and of an outcome.
    """

    resource: str
    bound: bytes
    phases: tuple[bytes, bytes]


class Cut(NamedTuple):
    """A record to be read strictly: its JSON, and the hash of its Resource."""

    text: bytes
    resource: str


Plain = tuple[
    bytes, bytes, bytes, bytes, bytes, str, bytes, tuple[bytes, bytes], bytes, Layout, str
]
"""Stream, number, hash, previous hash, time; key id and signature, empty if it is not signed; the
intent's id, of an intent and of an outcome, else empty; text, layout, hash of the Resource.
"""


def cut(text: bytes, layout: Layout, resource: str) -> Cut:
    """Return a record as one that is to be read strictly."""
    start = layout.hashed_from - HASHED_FROM
    return Cut(TIME + text[start : -len(layout.closers)], resource)


class FastReader:
    """Cuts lines into records.  Raises ``NotOurShapeError`` for all that it is not sure of."""

    def __init__(self) -> None:
        """Nothing was learned yet."""
        self._heads: dict[bytes, Head] = {}
        #: By the size of the text after ``TIME``, and of lines of one record.
        self._layouts: dict[int, Layout] = {}
        self._lines: dict[int, Layout] = {}
        self._signers: dict[bytes, str] = {}

    def scan(self, line: bytes) -> list[Plain | Cut]:
        """Return the records of a line, in order.  Raises ``NotOurShapeError``."""
        layout = self._lines.get(len(line))
        if layout is not None:
            parts = layout.unpack(line)
            if parts[1::2] == layout.literals:
                head = self._heads.get(parts[0])
                if head is not None:
                    return [self._record(line, parts[2:], layout, head)]
        return self._scan_pieces(line)

    def _scan_pieces(self, line: bytes) -> list[Plain | Cut]:
        pieces = line.split(TIME)
        start = pieces.pop(0)
        head = self._heads.get(start) or self._learn_head(start)
        if not pieces:
            raise NotOurShapeError
        layouts, records = self._layouts, list[Plain | Cut]()
        layout, closers = None, b""
        last = pieces[-1]
        for piece in pieces:
            layout = layouts.get(len(piece))
            if layout is None or (parts := layout.unpack(piece))[1::2] != layout.literals:
                layout, closers = self._learn(piece)
                if layout is None:
                    records.append(Cut(TIME + piece[: -len(closers)], head.resource))
                else:
                    records.append(self._record(piece, layout.unpack(piece), layout, head))
            else:
                closers = layout.closers
                records.append(self._record(piece, parts, layout, head))
            if closers != _COMMA:
                head = self._next(closers, head, is_last=piece is last)
        if closers != _LINE_END:
            raise NotOurShapeError
        if len(records) == 1 and layout is not None:
            if len(self._lines) >= _KNOWN_MAX:
                self._lines.clear()
            self._lines[len(line)] = layout.after(len(start))
        return records

    def _record(
        self, text: bytes, parts: tuple[bytes, ...], layout: Layout, head: Head
    ) -> Plain | Cut:
        """Make a record of its parts, which were cut out of ``text``."""
        resource, bound, phases = head
        first, rest, time = parts[AT_FIRST], parts[AT_REST], parts[AT_TIME]
        signature, announced = b"", NOTHING
        try:
            if first == layout.first:
                key_id = layout.key_id
            else:
                key_id = self._signer(first)
                layout.first, layout.key_id = first, key_id
            if layout.is_signed:
                signature = a2b_base64(parts[AT_SIGNATURE], strict_mode=True)
            previous = unhexlify(parts[AT_PREVIOUS])
            if not rest.endswith(bound):
                announced = _announced(rest, rest.find(bound))
            elif rest.endswith(phases):
                announced = _announced(rest, len(rest) - len(bound))
        except ValueError:
            return cut(text, layout, resource)
        # One signature has one text: the bits that the last digit has to spare are 0.
        is_odd = (
            not key_id
            or len(signature) != SIGNATURE_BYTES
            or parts[AT_SIGNATURE][_LAST_DIGIT] not in _LAST_DIGITS
            if layout.is_signed
            else key_id
        )
        if is_odd or not time.isdigit():
            return cut(text, layout, resource)
        body = text[layout.hashed_from : layout.hashed_to]
        middle, observed = layout.middle, parts[AT_OBSERVED]
        form: tuple[bytes, ...]
        if layout.has_ids:
            span, trace = parts[AT_SPAN], parts[AT_TRACE]
            form = (
                _OBJECT, body, middle, observed, _SPAN, span, _TIME, time, _TRACE, trace, _END,
            )  # fmt: skip
        else:
            form = (_OBJECT, body, middle, observed, _NO_SPAN, time, _NO_TRACE)
        return (
            parts[AT_STREAM], parts[AT_NUMBER], sha256(b"".join(form)).digest(), previous, time,
            key_id, signature, announced, text, layout, resource,
        )  # fmt: skip

    def _next(self, closers: bytes, head: Head, *, is_last: bool) -> Head:
        """Return what comes before the next record."""
        if is_last:
            return head
        if not closers.startswith(_GROUP_END):
            raise NotOurShapeError
        start = _REQUEST + closers[len(_GROUP_END) :]
        return self._heads.get(start) or self._learn_head(start)

    def _learn(self, piece: bytes) -> tuple[Layout | None, bytes]:
        """Return a record's layout, None if it is not usual, and what follows the record."""
        ending = ending_of(piece)
        if ending is None:
            raise NotOurShapeError
        layout = layout_of(piece, ending)
        if layout is not None:
            if len(self._layouts) >= _KNOWN_MAX:
                self._layouts.clear()
            self._layouts[len(piece)] = layout
        return layout, ending.closers

    def _signer(self, first: bytes) -> str:
        """Return the id of the key that signed.  Raises ``ValueError``."""
        key_id = self._signers.get(first)
        if key_id is None:
            if len(self._signers) >= _KNOWN_MAX:
                self._signers.clear()
            key_id = self._signers[first] = signer_of(first).decode("latin-1")
        return key_id

    def _learn_head(self, start: bytes) -> Head:
        if not start.startswith(_REQUEST) or not start.endswith(_SCOPE):
            raise NotOurShapeError
        head = _read_head(start[len(_REQUEST) : -len(_SCOPE)])
        if len(self._heads) >= _KNOWN_MAX:
            self._heads.clear()
        self._heads[start] = head
        return head


def _read_head(text: bytes) -> Head:
    """Read ``{"resource":{...},``."""
    if not text.endswith(b","):
        raise NotOurShapeError
    try:
        group = cast("object", DECODER.decode(text[:-1].decode() + "}"))
    except (ValueError, RecursionError):
        raise NotOurShapeError from None
    if not isinstance(group, dict) or foreign_members(cast("Json", group), frozenset({"resource"})):
        raise NotOurShapeError
    resource = cast("Json", group).get("resource")
    if not isinstance(resource, dict):
        raise NotOurShapeError
    told = hash_of_resource(cast("Json", resource))
    bound = _BOUND % told.encode()
    return Head(told, bound, (_IS_INTENT + bound, _IS_OUTCOME + bound))


def _announced(rest: bytes, bound_at: int) -> tuple[bytes, bytes]:
    """Return the intent's id, of an intent and of an outcome.  Raises ``ValueError``.

    ``bound_at`` is where the hash of the Resource stands, which follows the phase.
    """
    if bound_at < 0:
        raise ValueError
    is_intent = rest.endswith(_IS_INTENT, 0, bound_at)
    if not is_intent and not rest.endswith(_IS_OUTCOME, 0, bound_at):
        return NOTHING
    end = bound_at - len(_IS_INTENT if is_intent else _IS_OUTCOME)
    start = end - _UUID_SIZE
    if start < 0 or not rest.endswith(_INTENT, 0, start):
        raise ValueError
    intent = rest[start:end]
    return (intent, b"") if is_intent else (b"", intent)
