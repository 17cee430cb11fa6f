"""The canonical form of a record: the bytes that are hashed, on both sides by these functions.

It is JSON by RFC 8785 (JCS), of a strict subset in which implementations cannot differ: all
leaves are strings, all names are ASCII.  With them JCS is sorting names and escaping as little as
JSON allows; numbers, whose form differs between languages, do not occur.  One record is::

    {"attributes":[{"key":K,"value":V},...],"eventName":E,"observedTimeUnixNano":"N",
     "spanId":H,"timeUnixNano":"N","traceId":H}

Attributes are sorted by key and unique, without ``audit.integrity.value``.  ``V`` is
``{"stringValue":S}``, ``{"intValue":"5"}`` or ``{"arrayValue":{"values":[...]}}`` of strings.
Ids are hexadecimal, empty if absent.  Only the LogRecord is hashed; its Resource, which a Collector
may complete, is bound by the hash of what the producer sent, ``kaizen.audit.resource_hash``.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Final, cast

from kaizen_otel.audit import record as names

if TYPE_CHECKING:
    from kaizen_otel._otlp.decode import Json

HASH_HEX: Final = 64

Canonical = str | Sequence["Canonical"] | Mapping[str, "Canonical"]
Value = str | int | Sequence[str]
"""What an attribute of a record can be."""

_INTEGER: Final = re.compile(r"0|-?[1-9][0-9]{0,18}")
_ID: Final = re.compile(r"(?:[0-9a-f]{2})*")
_NAME: Final = re.compile(r"[ -~]+")
_KEY_VALUE: Final = frozenset({"key", "value"})
_SIGNED: Final = frozenset(
    {"timeUnixNano", "observedTimeUnixNano", "attributes", "traceId", "spanId", "eventName"}
)


class NotCanonicalError(ValueError):
    """A record, or another object, has no canonical form: whoever made it was not our emitter."""


class ForeignFieldError(NotCanonicalError):
    """A log record has a member that no audit record has, and that no hash covers."""


def canonical_json(value: Canonical) -> bytes:
    """Return the canonical form of strings, lists and objects.

    Raises ``NotCanonicalError`` for anything else, for names that are not ASCII and for text that
    is not Unicode.
    """
    _check(value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return _utf8(text)


def attribute_text(name: str, value: Value) -> str:
    """Return an attribute's part of the canonical form."""
    if isinstance(value, str):
        inner = f'{{"stringValue":{encode_basestring(value)}}}'
    elif isinstance(value, int):
        inner = f'{{"intValue":"{int(value)}"}}'
    else:
        items = ",".join(f'{{"stringValue":{encode_basestring(item)}}}' for item in value)
        inner = f'{{"arrayValue":{{"values":[{items}]}}}}'
    return f'{{"key":{encode_basestring(name)},"value":{inner}}}'


def tail_text(
    *, event_name: str, observed_ns: str, span_id: str, time_ns: str, trace_id: str
) -> str:
    """Return what follows the attributes in the canonical form of a record."""
    return (
        f'],"eventName":{encode_basestring(event_name)},"observedTimeUnixNano":"{observed_ns}",'
        f'"spanId":"{span_id}","timeUnixNano":"{time_ns}","traceId":"{trace_id}"}}'
    )


def canonical_record(record: Json, values: Mapping[str, Value] | None = None) -> bytes:
    """Return the canonical form of a log record in OTLP/JSON's shape.

    ``values`` are its ``attribute_values``, if the caller has them already.  Raises
    ``NotCanonicalError``, and of it ``ForeignFieldError``, if it has none.
    """
    for name, value in record.items():
        # The Collector writes some members with their defaults, which say nothing.
        if name not in _SIGNED and value not in ({}, None, "", 0):
            raise ForeignFieldError(f"the record has {name!r}, which no audit record has")
    known = attribute_values(record.get("attributes")) if values is None else values
    attributes = ",".join(
        [
            attribute_text(name, known[name])
            for name in sorted(known)
            if name != names.INTEGRITY_VALUE
        ]
    )
    tail = tail_text(
        event_name=_text(record, "eventName"),
        observed_ns=_number(record, "observedTimeUnixNano"),
        span_id=_id(record, "spanId"),
        time_ns=_number(record, "timeUnixNano"),
        trace_id=_id(record, "traceId"),
    )
    return _utf8(f'{{"attributes":[{attributes}{tail}')


def attribute_values(attributes: object) -> dict[str, Value]:
    """Read the attributes of a record in OTLP/JSON's shape, strictly.

    Raises ``NotCanonicalError`` for a name that is there twice or is not ASCII, and for a value
    that is neither a string, an integer nor a list of strings.
    """
    values: dict[str, Value] = {}
    for item in _objects(attributes):
        name = item.get("key")
        if not isinstance(name, str) or item.keys() != _KEY_VALUE:
            raise NotCanonicalError("an attribute has no name, no value or more than these")
        if name in values:
            raise NotCanonicalError(f"the attribute {name!r} is there twice")
        if not _NAME.fullmatch(name):
            raise NotCanonicalError(f"the name of the attribute {name!r} is not ASCII")
        values[name] = _value(name, item["value"])
    return values


def record_hash(canonical: bytes) -> bytes:
    """Return the hash of a record: SHA-256 of its canonical form, 32 bytes."""
    return hashlib.sha256(canonical).digest()


def resource_hash(attributes: object) -> str:
    """Return the hash of a Resource's attributes in OTLP/JSON's shape, in hexadecimal.

    Raises ``NotCanonicalError`` for a value that the canonical form cannot hold.
    """
    pairs: list[tuple[str, Canonical]] = []
    for item in _objects([] if attributes is None else attributes):
        name = item.get("key")
        if not isinstance(name, str):
            raise NotCanonicalError("a Resource's attribute has no name")
        pairs.append((name, _resource_value(item.get("value"))))
    pairs.sort(key=lambda pair: pair[0])
    objects = [{"key": name, "value": value} for name, value in pairs]
    return hashlib.sha256(canonical_json({"attributes": objects})).hexdigest()


def _objects(items: object) -> list[Json]:
    if isinstance(items, list):
        objects = cast("list[object]", items)
        if all(isinstance(item, dict) for item in objects):
            return cast("list[Json]", items)
    raise NotCanonicalError("there is no list of objects where one should be")


def _only_member(value: object) -> tuple[str, object]:
    """Return the name and the value of an AnyValue, which has one member."""
    if isinstance(value, dict):
        members = cast("Json", value)
        if len(members) == 1:
            return next(iter(members.items()))
    raise NotCanonicalError("a value is empty or has more than one type")


def _items(array: object) -> list[object]:
    """Return the values of an ArrayValue; none are written for an empty one."""
    if isinstance(array, dict):
        members = cast("Json", array)
        items = members.get("values", [])
        if isinstance(items, list) and members.keys() <= {"values"}:
            return cast("list[object]", items)
    raise NotCanonicalError("a list has no values")


def _value(name: str, value: object) -> Value:
    is_object = isinstance(value, dict)
    return _value_of(name, cast("Json", value) if is_object else {})


def _value_of(name: str, value: Json) -> Value:
    text = value.get("stringValue")
    if len(value) == 1 and isinstance(text, str):  # nearly all are texts
        return text
    kind, content = _only_member(value)
    if kind == "arrayValue":
        return [_string(name, item) for item in _items(content)]
    if kind == "intValue" and isinstance(content, str) and _INTEGER.fullmatch(content):
        return int(content)
    return _string(name, value)


def _string(name: str, value: object) -> str:
    kind, content = _only_member(value)
    if kind == "stringValue" and isinstance(content, str):
        return content
    raise NotCanonicalError(f"the attribute {name!r} is no string, integer or list of strings")


def _resource_value(value: object) -> Canonical:
    match _only_member(value):
        case "stringValue", str(text):
            return {"stringValue": text}
        case "boolValue", bool(flag):
            return {"boolValue": "true" if flag else "false"}
        case "intValue", (str() | int()) as number:
            return {"intValue": str(number)}
        case "doubleValue", (float() | int()) as number:
            return {"doubleValue": repr(float(number))}
        case "arrayValue", array:
            return {"arrayValue": {"values": [_resource_value(item) for item in _items(array)]}}
        case _:
            raise NotCanonicalError("a Resource's attribute has a value that cannot be hashed")


def _text(record: Json, name: str) -> str:
    value = record.get(name, "")
    if not isinstance(value, str):
        raise NotCanonicalError(f"{name} is no text")
    return value


def _number(record: Json, name: str) -> str:
    value = record.get(name, "0")
    if not isinstance(value, str) or not _INTEGER.fullmatch(value):
        raise NotCanonicalError(f"{name} is {value!r}")
    return value


def _id(record: Json, name: str) -> str:
    value = record.get(name, "")
    if not isinstance(value, str) or not _ID.fullmatch(value):
        raise NotCanonicalError(f"{name} is {value!r}")
    return value


def _check(value: object) -> None:
    if isinstance(value, str):
        return
    if isinstance(value, Mapping):
        for name, member in cast("Mapping[object, object]", value).items():
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                raise NotCanonicalError(f"the name {name!r} is not ASCII")
            _check(member)
    elif isinstance(value, (list, tuple)):
        for item in cast("Sequence[object]", value):
            _check(item)
    else:
        raise NotCanonicalError(f"{type(value).__name__} has no canonical form here")


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise NotCanonicalError(f"the text is not Unicode: {error}") from error
