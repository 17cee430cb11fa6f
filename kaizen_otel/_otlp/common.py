"""The messages all signals share: AnyValue, KeyValue, Resource, InstrumentationScope, requests.

Source: ``opentelemetry/proto/common/v1/common.proto``, ``resource/v1/resource.proto`` and
``collector/*/v1/*_service.proto``.  What a Python value becomes follows the OpenTelemetry
specification, "Mapping Arbitrary Data to OTLP AnyValue".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, cast

from kaizen_otel._otlp.wire import (
    INT64_MAX,
    INT64_MIN,
    LENGTH,
    MASK64,
    VARINTS,
    delimited,
    pack_double,
    tag,
    utf8,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

EMPTY: Final[Mapping[str, object]] = MappingProxyType({})

# Nested values: Java's protobuf parser stops at 100 messages, one level of a mapping is three.
DEPTH_MAX: Final = 16
NODES_MAX: Final = 65_536
TOO_DEEP: Final = "<nested too deep>"
TOO_MANY: Final = "<too many values>"

_CACHE_ENTRIES_MAX: Final = 4096
_CACHE_TEXT_MAX: Final = 64
_SMALL: Final = len(VARINTS)


class TextCache(dict[str, bytes]):
    """Text -> the field that holds it, for texts that come again; bounded by being emptied.

    Read with ``cache[text]``; ``text`` must be exactly a ``str``.
    """

    __slots__ = ("_prefix",)

    def __init__(self, field: int) -> None:
        """Encode for the string field with this number."""
        super().__init__()
        self._prefix = tag(field, LENGTH)

    def __missing__(self, text: str) -> bytes:
        """Encode, and keep it if it is short; the empty text is proto3's default, no field."""
        encoded = delimited(self._prefix, utf8(text)) if text else b""
        if len(text) <= _CACHE_TEXT_MAX:
            if len(self) >= _CACHE_ENTRIES_MAX:
                self.clear()
            self[text] = encoded
        return encoded


class AttributeField:
    """One repeated KeyValue field of a message: its tag, and its recent string attributes.

    With ``redact`` the value of every attribute that may hold a secret goes through it first;
    what came back unchanged is not asked about again while it is remembered.
    """

    __slots__ = ("_redact", "prefix", "strings")

    def __init__(self, field: int, redact: Callable[[str, object], object] | None = None) -> None:
        """Encode attributes for the field with this number."""
        self.prefix = tag(field, LENGTH)
        self.strings: dict[tuple[str, str], bytes] = {}
        self._redact = redact

    def redacted(self, attributes: Mapping[str, object]) -> Mapping[str, object]:
        """Return attributes as they are encoded here, for another message of the same item."""
        redact = self._redact
        if redact is None:
            return attributes
        return {key: redact(safe_text(key), value) for key, value in attributes.items()}

    def encode(self, key: object, value: object) -> bytes:
        """Encode one attribute of any kind, and remember it if it is short and a string."""
        name = key if type(key) is str else safe_text(key)
        shown = value if self._redact is None else self._redact(name, value)
        encoded = delimited(self.prefix, _key_value(name, shown))
        if (
            type(value) is str
            and shown is value
            and len(name) <= _CACHE_TEXT_MAX
            and len(value) <= _CACHE_TEXT_MAX
        ):
            if len(self.strings) >= _CACHE_ENTRIES_MAX:
                self.strings.clear()
            self.strings[name, value] = encoded
        return encoded


_KEYS: Final = TextCache(1)
_FIELDS: Final[dict[int, AttributeField]] = {}
# By the length of the number: KeyValue.value with an AnyValue.int_value of that many bytes.
_INT_HEADS: Final = tuple(b"\x12" + VARINTS[length + 1] + b"\x18" for length in range(11))


def extend_attributes(
    parts: list[bytes], field: AttributeField, attributes: Mapping[str, object]
) -> None:
    """Append every attribute, as a KeyValue with the field's tag, to ``parts``.

    The hot loop of the encoder.  A number is never a secret, so only other values are asked about.
    """
    prefix, strings, keys, append = field.prefix, field.strings, _KEYS, parts.append
    for key, value in attributes.items():
        if type(value) is str:
            append(strings.get((key, value)) or field.encode(key, value))
        elif type(key) is not str:
            append(field.encode(key, value))
        elif type(value) is int and 0 <= value <= INT64_MAX:
            number = VARINTS[value] if value < _SMALL else varint(value)
            body = keys[key] + _INT_HEADS[len(number)] + number
            size = len(body)
            append(prefix + (VARINTS[size] if size < _SMALL else varint(size)) + body)
        elif type(value) is float:
            body = keys[key] + b"\x12\x09\x21" + pack_double(value)
            size = len(body)
            append(prefix + (VARINTS[size] if size < _SMALL else varint(size)) + body)
        else:
            append(field.encode(key, value))


def _key_value(key: str, value: object) -> bytes:
    return _KEYS[key] + delimited(b"\x12", encode_any_value(value))


def encode_attributes(tag_field: int, attributes: Mapping[str, object]) -> bytes:
    """Encode the attributes as repeated KeyValue under the field number ``tag_field``."""
    field = _FIELDS.get(tag_field)
    if field is None:
        field = _FIELDS[tag_field] = AttributeField(tag_field)
    parts: list[bytes] = []
    extend_attributes(parts, field, attributes)
    return b"".join(parts)


def encode_any_value(value: object) -> bytes:
    """Encode one value as an AnyValue message.

    str, bool, int, float and bytes keep their type; sequences and mappings are followed, to a
    bounded depth and number; None is the empty AnyValue; an int outside int64 and every other
    type become their ``str()``.  Never raises: a value whose ``str()`` raises becomes a text
    that names its type.
    """
    if type(value) is str:
        return delimited(b"\x0a", utf8(value))
    if type(value) is float:
        return b"\x21" + pack_double(value)
    return _encode_nested(value, DEPTH_MAX, [NODES_MAX])


def _encode_nested(value: object, depth: int, nodes_left: list[int]) -> bytes:
    nodes_left[0] -= 1
    try:
        return _encode_by_type(value, depth, nodes_left)
    except Exception:  # noqa: BLE001 - the value's own code raised; telemetry must not
        return delimited(b"\x0a", utf8(safe_text(value)))


def _encode_by_type(value: object, depth: int, nodes_left: list[int]) -> bytes:
    if value is None:
        return b""
    if isinstance(value, (str, int, float)):
        return _encode_scalar(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return delimited(b"\x3a", bytes(cast("bytes", value)))
    if isinstance(value, Mapping):
        return _encode_mapping(cast("Mapping[object, object]", value), depth, nodes_left)
    if isinstance(value, Sequence):
        return _encode_sequence(cast("Sequence[object]", value), depth, nodes_left)
    return delimited(b"\x0a", utf8(safe_text(value)))


def _encode_scalar(value: str | float) -> bytes:
    """Encode a text or number, subclasses included; their own methods are not called."""
    if isinstance(value, str):
        return delimited(b"\x0a", utf8(value))
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, float):
        return b"\x21" + pack_double(float.__float__(value))
    number = int.__index__(value)
    if INT64_MIN <= number <= INT64_MAX:
        return b"\x18" + varint(number & MASK64)
    try:
        text = str(number)
    except ValueError:  # more digits than sys.get_int_max_str_digits() allows
        text = hex(number)
    return delimited(b"\x0a", text.encode())


def _encode_sequence(value: Sequence[object], depth: int, nodes_left: list[int]) -> bytes:
    if depth == 0:
        return delimited(b"\x0a", TOO_DEEP.encode())
    parts: list[bytes] = []
    for item in value:
        if nodes_left[0] <= 0:
            parts.append(delimited(b"\x0a", delimited(b"\x0a", TOO_MANY.encode())))
            break
        parts.append(delimited(b"\x0a", _encode_nested(item, depth - 1, nodes_left)))
    return delimited(b"\x2a", b"".join(parts))


def _encode_mapping(value: Mapping[object, object], depth: int, nodes_left: list[int]) -> bytes:
    if depth == 0:
        return delimited(b"\x0a", TOO_DEEP.encode())
    parts: list[bytes] = []
    for key, item in value.items():
        if nodes_left[0] <= 0:
            parts.append(delimited(b"\x0a", _key_value(TOO_MANY, None)))
            break
        name = _KEYS[key if type(key) is str else safe_text(key)]
        encoded = _encode_nested(item, depth - 1, nodes_left)
        parts.append(delimited(b"\x0a", name + delimited(b"\x12", encoded)))
    return delimited(b"\x32", b"".join(parts))


def safe_text(value: object) -> str:
    """``str(value)`` as an exact ``str``, or a text that names the type if that raises."""
    try:
        return str.__str__(str(value))
    except Exception:  # noqa: BLE001 - the value's own code raised; telemetry must not
        return f"<{type(value).__name__} without text>"


def encode_resource(attributes: Mapping[str, object]) -> bytes:
    """Encode a Resource message: who produces."""
    return encode_attributes(1, attributes)


def encode_scope(
    name: str, version: str = "", attributes: Mapping[str, object] | None = None
) -> bytes:
    """Encode an InstrumentationScope message: which library produces."""
    return (
        (delimited(b"\x0a", utf8(name)) if name else b"")
        + (delimited(b"\x12", utf8(version)) if version else b"")
        + (encode_attributes(3, attributes) if attributes else b"")
    )


def encode_request(groups: Iterable[tuple[bytes, bytes, str, Sequence[bytes]]]) -> bytes:
    """Encode an export request from ``(resource, scope, schema URL of the scope, items)``.

    The three ``Export*ServiceRequest`` messages, their ``Resource*`` and their ``Scope*`` share
    all field numbers, so this serves traces, metrics and logs.  Groups of one resource end up
    under one Resource; groups without items are left out.
    """
    scopes_of: dict[bytes, list[bytes]] = {}
    for resource, scope, schema_url, items in groups:
        if items:
            scopes_of.setdefault(resource, []).append(_encode_scope_group(scope, schema_url, items))
    return b"".join(
        delimited(b"\x0a", delimited(b"\x0a", resource) + b"".join(scopes))
        for resource, scopes in scopes_of.items()
    )


def _encode_scope_group(scope: bytes, schema_url: str, items: Sequence[bytes]) -> bytes:
    parts = [delimited(b"\x0a", scope)] if scope else []
    append = parts.append
    for item in items:
        append(b"\x12" + varint(len(item)))
        append(item)
    if schema_url:
        append(delimited(b"\x1a", utf8(schema_url)))
    return delimited(b"\x12", b"".join(parts))
