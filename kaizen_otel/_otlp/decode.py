"""From OTLP bytes to plain dictionaries in the shape of OTLP/JSON.

The shape is that of the lines which the Collector's file exporter writes: lowerCamelCase keys,
trace and span ids in hexadecimal, 64-bit integers as strings, enums as numbers, bytes in base64
(OTLP specification, "JSON Protobuf Encoding").  A field that is not on the wire is not in the
dictionary; unknown fields are skipped.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from kaizen_otel._otlp.wire import (
    FIXED32,
    FIXED64,
    LENGTH,
    VARINT,
    iter_fields,
    read_varint,
    signed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DEPTH_MAX: Final = 100

Json = dict[str, object]
"""A JSON object."""

_unpack_double = struct.Struct("<d").unpack


@dataclass(frozen=True, slots=True)
class _Scalar:
    """How a field that is no message is read: its wire type, and wire value -> JSON value."""

    wire_type: int
    read: Callable[[int | bytes], object]


def _number(value: int | bytes) -> int:
    assert isinstance(value, int)
    return value


def _data(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _double(value: int | bytes) -> float | str:
    number: float = _unpack_double(_number(value).to_bytes(8, "little"))[0]
    if number != number:  # noqa: PLR0124 - the test for "not a number"
        return "NaN"
    if number in {float("inf"), float("-inf")}:
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _zigzag(value: int | bytes) -> int:
    number = _number(value)
    return number >> 1 ^ -(number & 1)


_TEXT = _Scalar(LENGTH, lambda v: _data(v).decode())
_HEX = _Scalar(LENGTH, lambda v: _data(v).hex())
_BASE64 = _Scalar(LENGTH, lambda v: b64encode(_data(v)).decode())
_INT32 = _Scalar(VARINT, lambda v: signed(_number(v)))
_SINT32 = _Scalar(VARINT, _zigzag)
_INT64 = _Scalar(VARINT, lambda v: str(signed(_number(v))))
_UINT64 = _Scalar(VARINT, lambda v: str(_number(v)))
_FIXED32 = _Scalar(FIXED32, _number)
_FIXED64 = _Scalar(FIXED64, lambda v: str(_number(v)))
_SFIXED64 = _Scalar(FIXED64, lambda v: str(signed(_number(v))))
_DOUBLE = _Scalar(FIXED64, _double)
_BOOL = _Scalar(VARINT, bool)

# One row per field: name, how to read it (a name of ``_SCHEMAS`` or a scalar), repeated or not.
_Row = tuple[str, "str | _Scalar", bool]


def _one(name: str, kind: str | _Scalar) -> _Row:
    return name, kind, False


def _many(name: str, kind: str | _Scalar) -> _Row:
    return name, kind, True


_ATTRIBUTES: Final = _many("attributes", "KeyValue")
_START: Final = _one("startTimeUnixNano", _FIXED64)
_TIME: Final = _one("timeUnixNano", _FIXED64)
_SCHEMA_URL: Final = _one("schemaUrl", _TEXT)
_DROPPED: Final = _one("droppedAttributesCount", _INT32)


def _envelope(signal: str, item: str, items: str) -> dict[str, Mapping[int, _Row]]:
    return {
        f"{signal}Request": {1: _many(f"resource{signal}", f"Resource{signal}")},
        f"Resource{signal}": {
            1: _one("resource", "Resource"),
            2: _many(f"scope{signal}", f"Scope{signal}"),
            3: _SCHEMA_URL,
        },
        f"Scope{signal}": {1: _one("scope", "Scope"), 2: _many(items, item), 3: _SCHEMA_URL},
    }


_SCHEMAS: Final[Mapping[str, Mapping[int, _Row]]] = {
    **_envelope("Spans", "Span", "spans"),
    **_envelope("Metrics", "Metric", "metrics"),
    **_envelope("Logs", "LogRecord", "logRecords"),
    "Resource": {1: _ATTRIBUTES, 2: _DROPPED, 3: _many("entityRefs", "EntityRef")},
    "EntityRef": {
        1: _SCHEMA_URL,
        2: _one("type", _TEXT),
        3: _many("idKeys", _TEXT),
        4: _many("descriptionKeys", _TEXT),
    },
    "Scope": {1: _one("name", _TEXT), 2: _one("version", _TEXT), 3: _ATTRIBUTES, 4: _DROPPED},
    "KeyValue": {1: _one("key", _TEXT), 2: _one("value", "AnyValue")},
    "AnyValue": {
        1: _one("stringValue", _TEXT),
        2: _one("boolValue", _BOOL),
        3: _one("intValue", _INT64),
        4: _one("doubleValue", _DOUBLE),
        5: _one("arrayValue", "ArrayValue"),
        6: _one("kvlistValue", "KeyValueList"),
        7: _one("bytesValue", _BASE64),
    },
    "ArrayValue": {1: _many("values", "AnyValue")},
    "KeyValueList": {1: _many("values", "KeyValue")},
    "Span": {
        1: _one("traceId", _HEX),
        2: _one("spanId", _HEX),
        3: _one("traceState", _TEXT),
        4: _one("parentSpanId", _HEX),
        5: _one("name", _TEXT),
        6: _one("kind", _INT32),
        7: _START,
        8: _one("endTimeUnixNano", _FIXED64),
        9: _ATTRIBUTES,
        10: _DROPPED,
        11: _many("events", "Event"),
        12: _one("droppedEventsCount", _INT32),
        13: _many("links", "Link"),
        14: _one("droppedLinksCount", _INT32),
        15: _one("status", "Status"),
        16: _one("flags", _FIXED32),
    },
    "Event": {1: _TIME, 2: _one("name", _TEXT), 3: _ATTRIBUTES, 4: _DROPPED},
    "Link": {
        1: _one("traceId", _HEX),
        2: _one("spanId", _HEX),
        3: _one("traceState", _TEXT),
        4: _ATTRIBUTES,
        5: _DROPPED,
        6: _one("flags", _FIXED32),
    },
    "Status": {2: _one("message", _TEXT), 3: _one("code", _INT32)},
    "Metric": {
        1: _one("name", _TEXT),
        2: _one("description", _TEXT),
        3: _one("unit", _TEXT),
        5: _one("gauge", "Gauge"),
        7: _one("sum", "Sum"),
        9: _one("histogram", "Histogram"),
        10: _one("exponentialHistogram", "ExponentialHistogram"),
        11: _one("summary", "Summary"),
        12: _many("metadata", "KeyValue"),
    },
    "Gauge": {1: _many("dataPoints", "NumberDataPoint")},
    "Sum": {
        1: _many("dataPoints", "NumberDataPoint"),
        2: _one("aggregationTemporality", _INT32),
        3: _one("isMonotonic", _BOOL),
    },
    "Histogram": {
        1: _many("dataPoints", "HistogramDataPoint"),
        2: _one("aggregationTemporality", _INT32),
    },
    "ExponentialHistogram": {
        1: _many("dataPoints", "ExponentialHistogramDataPoint"),
        2: _one("aggregationTemporality", _INT32),
    },
    "Summary": {1: _many("dataPoints", "SummaryDataPoint")},
    "NumberDataPoint": {
        2: _START,
        3: _TIME,
        4: _one("asDouble", _DOUBLE),
        5: _many("exemplars", "Exemplar"),
        6: _one("asInt", _SFIXED64),
        7: _ATTRIBUTES,
        8: _one("flags", _INT32),
    },
    "Exemplar": {
        2: _TIME,
        3: _one("asDouble", _DOUBLE),
        4: _one("spanId", _HEX),
        5: _one("traceId", _HEX),
        6: _one("asInt", _SFIXED64),
        7: _many("filteredAttributes", "KeyValue"),
    },
    "HistogramDataPoint": {
        2: _START,
        3: _TIME,
        4: _one("count", _FIXED64),
        5: _one("sum", _DOUBLE),
        6: _many("bucketCounts", _FIXED64),
        7: _many("explicitBounds", _DOUBLE),
        8: _many("exemplars", "Exemplar"),
        9: _ATTRIBUTES,
        10: _one("flags", _INT32),
        11: _one("min", _DOUBLE),
        12: _one("max", _DOUBLE),
    },
    "ExponentialHistogramDataPoint": {
        1: _ATTRIBUTES,
        2: _START,
        3: _TIME,
        4: _one("count", _FIXED64),
        5: _one("sum", _DOUBLE),
        6: _one("scale", _SINT32),
        7: _one("zeroCount", _FIXED64),
        8: _one("positive", "Buckets"),
        9: _one("negative", "Buckets"),
        10: _one("flags", _INT32),
        11: _many("exemplars", "Exemplar"),
        12: _one("min", _DOUBLE),
        13: _one("max", _DOUBLE),
        14: _one("zeroThreshold", _DOUBLE),
    },
    "Buckets": {1: _one("offset", _SINT32), 2: _many("bucketCounts", _UINT64)},
    "SummaryDataPoint": {
        2: _START,
        3: _TIME,
        4: _one("count", _FIXED64),
        5: _one("sum", _DOUBLE),
        6: _many("quantileValues", "ValueAtQuantile"),
        7: _ATTRIBUTES,
        8: _one("flags", _INT32),
    },
    "ValueAtQuantile": {1: _one("quantile", _DOUBLE), 2: _one("value", _DOUBLE)},
    "LogRecord": {
        1: _TIME,
        2: _one("severityNumber", _INT32),
        3: _one("severityText", _TEXT),
        5: _one("body", "AnyValue"),
        6: _ATTRIBUTES,
        7: _DROPPED,
        8: _one("flags", _FIXED32),
        9: _one("traceId", _HEX),
        10: _one("spanId", _HEX),
        11: _one("observedTimeUnixNano", _FIXED64),
        12: _one("eventName", _TEXT),
    },
}

# A later member of a oneof replaces an earlier one.
_ONEOFS: Final[Mapping[str, frozenset[str]]] = {
    "AnyValue": frozenset(row[0] for row in _SCHEMAS["AnyValue"].values()),
    "NumberDataPoint": frozenset({"asDouble", "asInt"}),
    "Exemplar": frozenset({"asDouble", "asInt"}),
    "Metric": frozenset({"gauge", "sum", "histogram", "exponentialHistogram", "summary"}),
}


def decode_traces_request(data: bytes) -> Json:
    """Read an ExportTraceServiceRequest.  Raises ``ValueError`` for malformed bytes."""
    return _decode("SpansRequest", data, DEPTH_MAX)


def decode_metrics_request(data: bytes) -> Json:
    """Read an ExportMetricsServiceRequest.  Raises ``ValueError`` for malformed bytes."""
    return _decode("MetricsRequest", data, DEPTH_MAX)


def decode_logs_request(data: bytes) -> Json:
    """Read an ExportLogsServiceRequest.  Raises ``ValueError`` for malformed bytes."""
    return _decode("LogsRequest", data, DEPTH_MAX)


def decode_span(data: bytes) -> Json:
    """Read one Span.  Raises ``ValueError`` for malformed bytes."""
    return _decode("Span", data, DEPTH_MAX)


def decode_metric(data: bytes) -> Json:
    """Read one Metric.  Raises ``ValueError`` for malformed bytes."""
    return _decode("Metric", data, DEPTH_MAX)


def decode_log_record(data: bytes) -> Json:
    """Read one LogRecord.  Raises ``ValueError`` for malformed bytes."""
    return _decode("LogRecord", data, DEPTH_MAX)


def decode_resource(data: bytes) -> Json:
    """Read one Resource.  Raises ``ValueError`` for malformed bytes."""
    return _decode("Resource", data, DEPTH_MAX)


def decode_scope(data: bytes) -> Json:
    """Read one InstrumentationScope.  Raises ``ValueError`` for malformed bytes."""
    return _decode("Scope", data, DEPTH_MAX)


def plain_value(any_value: Mapping[str, object]) -> object:
    """Turn a decoded AnyValue into a Python value; bytes stay base64 text."""
    for kind, value in any_value.items():
        if kind == "intValue":
            return int(str(value))
        if kind == "doubleValue":
            return float(str(value))
        if kind == "arrayValue":
            return [plain_value(item) for item in _messages(value, "values")]
        if kind == "kvlistValue":
            return plain_attributes(_messages(value, "values"))
        return value
    return None


def plain_attributes(attributes: object) -> dict[str, object]:
    """Turn a decoded list of KeyValue into a dictionary; of equal keys the last counts.

    Anything else than a list (a message without attributes has none) is an empty dictionary.
    """
    if not isinstance(attributes, list):
        return {}
    result: dict[str, object] = {}
    for item in cast("list[dict[str, dict[str, object]]]", attributes):
        value = item.get("value", {})
        # Most are text, and a trail has millions of them.
        text = value.get("stringValue") if len(value) == 1 else None
        result[str(item.get("key", ""))] = text if type(text) is str else plain_value(value)
    return result


def plain_attributes_or_none(attributes: object) -> dict[str, object] | None:
    """Do what ``plain_attributes`` does with JSON of anybody: None if no exporter writes that."""
    try:
        return plain_attributes(attributes)
    except (AttributeError, TypeError, ValueError, RecursionError):
        return None


def _messages(message: object, name: str) -> list[Json]:
    return cast("list[Json]", cast("Json", message).get(name, []))


def _decode(schema: str, data: bytes, depth: int) -> Json:
    if depth == 0:
        raise ValueError(f"more than {DEPTH_MAX} messages inside each other")
    rows, oneof = _SCHEMAS[schema], _ONEOFS.get(schema, frozenset())
    result: Json = {}
    for field, wire_type, value in iter_fields(data):
        row = rows.get(field)
        if row is None:
            continue
        name, kind, repeated = row
        values = list(_values(kind, wire_type, value, depth))
        if not values:
            continue
        if repeated:
            cast("list[object]", result.setdefault(name, [])).extend(values)
            continue
        if name in oneof:
            for other in oneof & result.keys():
                del result[other]
        result[name] = values[0]
    return result


def _values(
    kind: str | _Scalar, wire_type: int, value: int | bytes, depth: int
) -> Iterator[object]:
    """Yield what one field on the wire holds: nothing if its wire type is not the schema's."""
    if isinstance(kind, str):
        if isinstance(value, bytes) and wire_type == LENGTH:
            yield _decode(kind, value, depth - 1)
    elif wire_type == kind.wire_type:
        yield kind.read(value)
    elif isinstance(value, bytes):  # packed repeated numbers
        position = 0
        while position < len(value):
            if kind.wire_type == VARINT:
                number, position = read_varint(value, position)
            else:
                size = 8 if kind.wire_type == FIXED64 else 4
                if position + size > len(value):
                    raise ValueError("packed numbers are cut off")
                number = int.from_bytes(value[position : position + size], "little")
                position += size
            yield kind.read(number)
