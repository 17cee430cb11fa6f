"""One attribute of a record in both of its forms: as protobuf and in the canonical form.

Most attributes come again and again, so that how they are encoded is remembered.
"""

from __future__ import annotations

from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Final, cast

from kaizen_otel import semconv
from kaizen_otel._otlp.common import AttributeField, extend_attributes, safe_text
from kaizen_otel._otlp.wire import delimited, utf8, varint
from kaizen_otel.audit import record as names
from kaizen_otel.audit.canonical import attribute_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kaizen_otel.audit.canonical import Value

Pair = tuple[bytes, bytes]
"""An attribute as protobuf and in canonical form, with a comma before it."""

UNIQUE: Final = frozenset({names.RECORD_ID, names.INTENT_ID, semconv.GEN_AI_TOOL_CALL_ID})
"""Their values do not come again."""

_FIELD: Final = AttributeField(6)  # logs.proto, LogRecord.attributes
_MEMO_ENTRIES_MAX: Final = 4096
_MEMO_TEXT_MAX: Final = 64
_MEMO_NUMBER_MAX: Final = 1024
_INT64: Final = range(-(2**63), 2**63)
_TEXT_END: Final = b'"}}'

_memo: Final[dict[tuple[str, object], Pair]] = {}


def remembered(name: str, value: object) -> Pair:
    """Encode an attribute, or remember how it was encoded."""
    # Only of these two: a boolean or a float may be equal to an integer and is something else.
    if type(value) is int:
        is_common = 0 <= value < _MEMO_NUMBER_MAX
    else:
        is_common = type(value) is str and len(value) <= _MEMO_TEXT_MAX and name not in UNIQUE
    if not is_common:
        return encoded(name, value)
    known = _memo.get((name, value))
    if known is None:
        known = encoded(name, value)
        if len(_memo) >= _MEMO_ENTRIES_MAX:
            _memo.clear()
        _memo[name, value] = known
    return known


def encoded(name: str, value: object) -> Pair:
    """Encode an attribute; a value that a record cannot hold becomes its text."""
    if type(value) is str and value.isascii():
        return encoded_text(name, value)
    if type(value) is int and value in _INT64 and value >= 0:
        return encoded_number(name, value)
    clean = _clean(value)
    parts: list[bytes] = []
    extend_attributes(parts, _FIELD, {name: clean})
    return parts[0], b"," + attribute_text(name, clean).encode()


def encoded_text(name: str, value: str) -> Pair:
    """The two encoders in one, for the many texts that are ASCII and come once."""
    raw = value.encode()
    head, text_head = _heads_of_text(name, len(raw))
    if value.isprintable() and '"' not in value and "\\" not in value:
        return head + raw, text_head + raw + _TEXT_END  # JSON escapes none of it
    return head + raw, text_head[:-1] + encode_basestring(value).encode() + b"}}"


def encoded_number(name: str, value: int) -> Pair:
    """Encode an integer from 0 to 2**63 - 1."""
    number = varint(value)
    head, text_head = _heads_of_number(name, len(number))
    return head + number, b'%b%d"}}' % (text_head, value)


@lru_cache(maxsize=4096)
def _heads_of_text(name: str, size: int) -> Pair:
    """Return what stands before a text of so many bytes, in both forms."""
    value = b"\x0a" + varint(size)
    data = delimited(b"\x0a", utf8(name)) + b"\x12" + varint(len(value) + size) + value
    text = attribute_text(name, "").removesuffix('"}}')
    return b"\x32" + varint(len(data) + size) + data, b"," + text.encode()


@lru_cache(maxsize=1024)
def _heads_of_number(name: str, size: int) -> Pair:
    """Return what stands before an integer whose varint has so many bytes, in both forms."""
    data = delimited(b"\x0a", utf8(name)) + b"\x12" + varint(1 + size) + b"\x18"
    text = attribute_text(name, 0).removesuffix('0"}}')
    return b"\x32" + varint(len(data) + size) + data, b"," + text.encode()


def _clean(value: object) -> Value:
    """Return a value that has a canonical form and the same meaning."""
    if isinstance(value, str):
        return utf8(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value in _INT64:
        return int(value)
    if isinstance(value, (list, tuple)):
        return [utf8(safe_text(item)).decode() for item in cast("Sequence[object]", value)]
    return utf8(safe_text(value)).decode()
