"""Where the parts of a record stand in its text, learned from one record for all that are alike.

Records of one length mostly have their parts in the same places.  A ``Layout`` cuts such a text
into what must be there literally and what may differ, in one step; a text whose literal parts are
not those of the layout is of another one.  Nothing is believed because of a layout: its literal
parts are made here, none is taken from a record, and between them they cover all that no hash does.
"""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from kaizen_otel.audit import record as names
from kaizen_otel.audit._seen import SPECIAL_EVENTS

TIME: Final = b'{"timeUnixNano":"'
"""Begins a record.  Cannot stand inside a JSON string, where every quote has a backslash before it;
the same is true of all that a text is cut at here."""

_OBSERVED: Final = b'","observedTimeUnixNano":"'
_ATTRIBUTES: Final = b'","body":{},"attributes":['
_ID: Final = b'{"key":"audit.record.id","value":{"stringValue":"'
_CERTIFICATE: Final = b'{"key":"audit.integrity.certificate","value":{"stringValue":"'
_NUMBER: Final = (
    b'"}},{"key":"audit.schema.version","value":{"stringValue":"'
    + names.SCHEMA_VERSION.encode()
    + b'"}},{"key":"audit.sequence.number","value":{"intValue":"'
)
_PREVIOUS: Final = b'"}},{"key":"audit.sequence.previous_hash","value":{"stringValue":"'
_STREAM: Final = b'"}},{"key":"audit.sequence.stream_id","value":{"stringValue":"'
_CLOSE: Final = b'"}}'
_VALUE: Final = b',{"key":"audit.integrity.value","value":{"stringValue":"'
_ATTRIBUTES_END: Final = b"]"
_TRACE: Final = b',"traceId":"'
_SPAN: Final = b'","spanId":"'
_EVENT: Final = b',"eventName":"'
_RECORD_END: Final = b'"}'

_TIME_DIGITS: Final = 19
_UUID_SIZE: Final = 36
_HASH_HEX: Final = 64
_KEY_ID_HEX: Final = 32
_BASE64_SIZE: Final = 88
_TRACE_HEX: Final = 32
_SPAN_HEX: Final = 16
_VALUE_SIZE: Final = len(_VALUE) + _BASE64_SIZE + len(_CLOSE)
_IDS_SIZE: Final = len(_TRACE) + _TRACE_HEX + len(_SPAN) + _SPAN_HEX + 1
_SPECIAL: Final = frozenset(name.encode() for name in SPECIAL_EVENTS)

HASHED_FROM: Final = _TIME_DIGITS + len(_OBSERVED) + _TIME_DIGITS + len(_ATTRIBUTES)
"""Where the first attribute begins, counted from after ``TIME``."""

# Which part of ``Layout.unpack`` is what; the literal ones are those with odd numbers.
AT_TIME: Final = 0
AT_OBSERVED: Final = 2
AT_FIRST: Final = 4
AT_NUMBER: Final = 6
AT_PREVIOUS: Final = 8
AT_STREAM: Final = 10
AT_REST: Final = 12
AT_SIGNATURE: Final = 14
AT_TRACE: Final = -4
AT_SPAN: Final = -2


class Ending(NamedTuple):
    """How a piece ends: the event's name, where the attributes end, what follows the record."""

    event: bytes
    attributes_end: int
    has_ids: bool
    closers: bytes


class Layout:
    """Where the parts are: ``unpack`` gives them, those with odd numbers must be ``literals``.

    The attributes are hashed from ``hashed_from`` up to ``hashed_to``; ``middle`` follows them in
    the canonical form, up to the observed time.  ``first`` is the part of that number in the last
    record of this layout, and ``key_id`` the key that it names.
    """

    __slots__ = (
        "closers", "first", "form", "has_ids", "hashed_from", "hashed_to", "is_signed", "key_id",
        "literals", "middle", "unpack",
    )  # fmt: skip

    def __init__(
        self,
        form: str,
        literals: tuple[bytes, ...],
        *,
        hashed_from: int = HASHED_FROM,
        hashed_to: int,
        middle: bytes,
        closers: bytes,
        has_ids: bool,
        is_signed: bool,
    ) -> None:
        """Make one; ``form`` are the sizes of the parts as ``struct`` says them."""
        self.form = form
        self.unpack = Struct(form).unpack
        self.literals = literals
        self.hashed_from, self.hashed_to = hashed_from, hashed_to
        self.middle, self.closers = middle, closers
        self.has_ids, self.is_signed = has_ids, is_signed
        self.first, self.key_id = b"\n", ""

    def after(self, size: int) -> Layout:
        """Return the layout of a line: of ``size`` bytes, ``TIME`` and such a record."""
        shift = size + len(TIME)
        return Layout(
            f"{size}s{len(TIME)}s{self.form}",
            (TIME, *self.literals),
            hashed_from=self.hashed_from + shift,
            hashed_to=self.hashed_to + shift,
            middle=self.middle,
            closers=self.closers,
            has_ids=self.has_ids,
            is_signed=self.is_signed,
        )


def ending_of(piece: bytes) -> Ending | None:
    """Find the end of the record that begins before ``piece``; None if it has another shape."""
    before, _, rest = piece.rpartition(_EVENT)
    event, end, closers = rest.partition(_RECORD_END)
    if not end or not before:
        return None
    has_ids = not before.endswith(_ATTRIBUTES_END)
    attributes_end = len(before) - (_IDS_SIZE if has_ids else 0) - len(_ATTRIBUTES_END)
    return Ending(event, attributes_end, has_ids, closers)


def layout_of(piece: bytes, ending: Ending) -> Layout | None:
    """Return the layout of a record; None if it is no usual one."""
    event, attributes_end, has_ids, closers = ending
    number_at = piece.find(_NUMBER)
    number_start = number_at + len(_NUMBER)
    number_end = piece.find(b'"', number_start)
    first = number_at - _UUID_SIZE - HASHED_FROM
    is_signed = piece.startswith(_VALUE, attributes_end - _VALUE_SIZE)
    hashed_to = attributes_end - (_VALUE_SIZE if is_signed else 0)
    before_rest = number_end + len(_PREVIOUS) + _HASH_HEX + len(_STREAM) + _UUID_SIZE + len(_CLOSE)
    rest = hashed_to - before_rest
    if first < 0 or number_end <= number_start or rest < 0 or b'"' in event or event in _SPECIAL:
        return None
    text = (
        f"{_TIME_DIGITS}s{len(_OBSERVED)}s{_TIME_DIGITS}s{len(_ATTRIBUTES)}s{first}s{_UUID_SIZE}x"
    )
    text += f"{len(_NUMBER)}s{number_end - number_start}s{len(_PREVIOUS)}s{_HASH_HEX}s"
    text += f"{len(_STREAM)}s{_UUID_SIZE}s{len(_CLOSE)}s{rest}s"
    literals = [_OBSERVED, _ATTRIBUTES, _NUMBER, _PREVIOUS, _STREAM, _CLOSE]
    after = b""
    if is_signed:
        text += f"{len(_VALUE)}s{_BASE64_SIZE}s"
        literals.append(_VALUE)
        after = _CLOSE
    after += _ATTRIBUTES_END
    if has_ids:
        text += f"{len(after) + len(_TRACE)}s{_TRACE_HEX}s{len(_SPAN)}s{_SPAN_HEX}s"
        literals += [after + _TRACE, _SPAN]
        after = b'"'
    literals.append(after + _EVENT + event + _RECORD_END + closers)
    text += f"{len(literals[-1])}s"
    layout = Layout(
        text,
        tuple(literals),
        hashed_to=hashed_to,
        middle=b'],"eventName":"' + event + b'","observedTimeUnixNano":"',
        closers=closers,
        has_ids=has_ids,
        is_signed=is_signed,
    )
    return layout if layout.unpack(piece)[1::2] == layout.literals else None


def signer_of(first: bytes) -> bytes:
    """Return the key id in the attributes before a record's id, empty if it says none.

    ``first`` is what stands before the id itself.  Raises ``ValueError`` if that is not as the
    emitter writes it.
    """
    if not first.endswith(_ID):
        raise ValueError("no record id")
    found = first.find(_CERTIFICATE)
    if found < 0:
        return b""
    start = found + len(_CERTIFICATE)
    end = start + _KEY_ID_HEX
    if not first.startswith(_CLOSE, end):
        raise ValueError("no key id")
    return first[start:end]
