"""The messages all signals share: AnyValue, KeyValue, Resource, InstrumentationScope, requests.

Source: ``opentelemetry/proto/common/v1/common.proto``, ``resource/v1/resource.proto`` and
``collector/*/v1/*_service.proto``.  What a Python value becomes follows the OpenTelemetry
specification, "Mapping Arbitrary Data to OTLP AnyValue".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, TypeVar, cast

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
_CACHE_KEYS_MAX: Final = 1024
_SMALL: Final = len(VARINTS)
_VARINT63_BYTES: Final = 9


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


class _Values(dict[object, bytes]):
    """One key's recent strings and booleans -> the attribute."""

    __slots__ = ("_field", "_key")

    def __init__(self, field: AttributeField, key: str) -> None:
        super().__init__()
        self._field = field
        self._key = key

    def __missing__(self, value: str | bool) -> bytes:  # noqa: FBT001 - a value, no switch
        encoded, is_as_given = self._field.encode_shown(self._key, value)
        is_short = isinstance(value, bool) or len(value) <= _CACHE_TEXT_MAX
        if is_as_given and is_short:
            self._field.count_one_more()
            self[value] = encoded
        return encoded


class _Keys(dict[str, _Values]):
    __slots__ = ("_field",)

    def __init__(self, field: AttributeField) -> None:
        super().__init__()
        self._field = field

    def __missing__(self, key: object) -> _Values:
        values = _Values(self._field, key if type(key) is str else safe_text(key))
        # A key of another type may be equal to one with another text: 1, True.
        if type(key) is str and len(key) <= _CACHE_TEXT_MAX:
            self._field.count_one_more()
            self[key] = values
        return values


class _IntHeads(dict[str, tuple[bytes, ...]]):
    """A key -> by the length of the number's varint: all that stands before it."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: bytes) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, key: object) -> tuple[bytes, ...]:
        name = _KEYS[key if type(key) is str else safe_text(key)]
        heads = tuple(
            self._prefix + varint(len(name) + 3 + size) + name
            + b"\x12" + VARINTS[size + 1] + b"\x18"
            for size in range(_VARINT63_BYTES + 1)
        )  # fmt: skip
        _remember(self, key, heads)
        return heads


class _FloatHeads(dict[str, bytes]):
    """A key -> all that stands before the eight bytes of the number."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: bytes) -> None:
        super().__init__()
        self._prefix = prefix

    def __missing__(self, key: object) -> bytes:
        name = _KEYS[key if type(key) is str else safe_text(key)]
        head = self._prefix + varint(len(name) + 11) + name + b"\x12\x09\x21"
        _remember(self, key, head)
        return head


_Head = TypeVar("_Head")


def _remember(heads: dict[str, _Head], key: object, head: _Head) -> None:
    if type(key) is str and len(key) <= _CACHE_TEXT_MAX:
        if len(heads) >= _CACHE_KEYS_MAX:
            heads.clear()
        heads[key] = head


class AttributeField:
    """One repeated KeyValue field of a message: its tag, and its recent attributes.

    With ``redact`` the value of every attribute that may hold a secret goes through it first;
    what came back unchanged is not asked about again while it is remembered.
    """

    __slots__ = ("_count", "_redact", "doubles", "integers", "prefix", "values")

    def __init__(self, field: int, redact: Callable[[str, object], object] | None = None) -> None:
        """Encode attributes for the field with this number."""
        self.prefix = tag(field, LENGTH)
        self.values = _Keys(self)
        self.integers = _IntHeads(self.prefix)
        self.doubles = _FloatHeads(self.prefix)
        self._count = 0
        self._redact = redact

    def redacted(self, attributes: Mapping[str, object]) -> Mapping[str, object]:
        """Return attributes as they are encoded here, for another message of the same item."""
        redact = self._redact
        if redact is None:
            return attributes
        return {key: redact(safe_text(key), value) for key, value in attributes.items()}

    def encode(self, key: object, value: object) -> bytes:
        """Encode one attribute of any kind."""
        return self.encode_shown(key if type(key) is str else safe_text(key), value)[0]

    def encode_shown(self, name: str, value: object) -> tuple[bytes, bool]:
        """Encode one attribute; and whether it was left as it is."""
        shown = value if self._redact is None else self._redact(name, value)
        return delimited(self.prefix, _key_value(name, shown)), shown is value

    def count_one_more(self) -> None:
        """Count one key or value more that is remembered; at the bound all are forgotten."""
        if self._count >= _CACHE_ENTRIES_MAX:
            self._count = 0
            self.values.clear()
        self._count += 1


_KEYS: Final = TextCache(1)
_FIELDS: Final[dict[int, AttributeField]] = {}


def extend_attributes(
    parts: list[bytes], field: AttributeField, attributes: Mapping[str, object]
) -> None:
    """Append every attribute, as a KeyValue with the field's tag, to ``parts``.

    The hot loop of the encoder.  A number is never a secret, so only other values are asked about.
    """
    append, values = parts.append, field.values
    for key, value in attributes.items():
        if type(value) is str:
            append(values[key][value])
        elif type(value) is int and 0 <= value <= INT64_MAX:
            number = VARINTS[value] if value < _SMALL else varint(value)
            append(field.integers[key][len(number)] + number)
        elif type(value) is float:
            append(field.doubles[key] + pack_double(value))
        elif type(value) is bool:
            append(values[key][value])
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


_ITEM_HEADS: Final = tuple(b"\x12" + length for length in VARINTS)


def _item_head(item: bytes) -> bytes:
    return b"\x12" + varint(len(item))


def encode_request(groups: Iterable[tuple[bytes, bytes, str, Sequence[bytes]]]) -> bytes:
    """Encode an export request from ``(resource, scope, schema URL of the scope, items)``.

    The three ``Export*ServiceRequest`` messages, their ``Resource*`` and their ``Scope*`` share
    all field numbers, so this serves traces, metrics and logs.  Groups of one resource end up
    under one Resource; groups without items are left out.
    """
    scopes_of: dict[bytes, list[bytes]] = {}
    for resource, scope, schema_url, items in groups:
        if items:
            parts = scopes_of.setdefault(resource, [])
            parts += _scope_group(scope, schema_url, items)
    # Joined once: a request has megabytes, and each copy more would be as large.
    request: list[bytes] = []
    for resource, parts in scopes_of.items():
        head = delimited(b"\x0a", resource)
        request += (b"\x0a", varint(len(head) + sum(map(len, parts))), head)
        request += parts
    return b"".join(request)


def _scope_group(scope: bytes, schema_url: str, items: Sequence[bytes]) -> list[bytes]:
    """Return the pieces of a ``Scope*`` message with its tag and length."""
    parts = [delimited(b"\x0a", scope)] if scope else []
    parts += [
        part
        for item in items
        for part in (_ITEM_HEADS[len(item)] if len(item) < _SMALL else _item_head(item), item)
    ]
    if schema_url:
        parts.append(delimited(b"\x1a", utf8(schema_url)))
    return [b"\x12" + varint(sum(map(len, parts))), *parts]
