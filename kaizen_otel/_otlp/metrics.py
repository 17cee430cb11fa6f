"""Metric messages: sums, gauges, histograms of both kinds, their data points and exemplars.

Source: ``opentelemetry/proto/metrics/v1/metrics.proto``.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.common import EMPTY, AttributeField, extend_attributes
from kaizen_otel._otlp.wire import (
    INT64_MAX,
    INT64_MIN,
    MASK64,
    delimited,
    fixed64,
    pack_double,
    utf8,
    varint,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DELTA: Final = 1
CUMULATIVE: Final = 2

_NUMBER_ATTRIBUTES: Final = AttributeField(7)
_HISTOGRAM_ATTRIBUTES: Final = AttributeField(9)
_EXPONENTIAL_ATTRIBUTES: Final = AttributeField(1)
_EXEMPLAR_ATTRIBUTES: Final = AttributeField(7)


def encode_exemplar(
    *,
    time_ns: int,
    value: float,
    trace_id: bytes = b"",
    span_id: bytes = b"",
    attributes: Mapping[str, object] = EMPTY,
) -> bytes:
    """Encode an Exemplar: one measurement, the span in which it was made, and its attributes.

    ``attributes`` are those that the data point does not have.
    """
    parts = [b"\x11" + fixed64(time_ns)] if time_ns else []
    if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
        parts.append(b"\x31" + fixed64(value & MASK64))
    else:
        parts.append(b"\x19" + pack_double(_float(value)))
    if span_id:
        parts.append(b"\x22\x08" + span_id)
    if trace_id:
        parts.append(b"\x2a\x10" + trace_id)
    extend_attributes(parts, _EXEMPLAR_ATTRIBUTES, attributes)
    return b"".join(parts)


def encode_number_point(
    *,
    attributes: Mapping[str, object],
    start_ns: int,
    time_ns: int,
    value: float,
    exemplars: Sequence[bytes] = (),
) -> bytes:
    """Encode a NumberDataPoint; an int keeps its type if it fits int64, else it is a double."""
    parts = _times(start_ns, time_ns)
    if isinstance(value, int) and INT64_MIN <= value <= INT64_MAX:
        parts.append(b"\x31" + fixed64(value & MASK64))
    else:
        parts.append(b"\x21" + pack_double(_float(value)))
    parts += [delimited(b"\x2a", exemplar) for exemplar in exemplars]
    extend_attributes(parts, _NUMBER_ATTRIBUTES, attributes)
    return b"".join(parts)


def encode_histogram_point(
    *,
    attributes: Mapping[str, object],
    start_ns: int,
    time_ns: int,
    count: int,
    total: float,
    bucket_counts: Sequence[int],
    bounds: Sequence[float],
    minimum: float | None = None,
    maximum: float | None = None,
    exemplars: Sequence[bytes] = (),
) -> bytes:
    """Encode a HistogramDataPoint with explicit bounds.

    ``bucket_counts`` has one number more than ``bounds`` (the last bucket is unbounded above),
    or both are empty.
    """
    assert len(bucket_counts) == len(bounds) + 1 or not bucket_counts, (bucket_counts, bounds)
    parts = _times(start_ns, time_ns)
    if count:
        parts.append(b"\x21" + fixed64(count))
    parts.append(b"\x29" + pack_double(_float(total)))
    if bucket_counts:
        packed = struct.pack(f"<{len(bucket_counts)}Q", *bucket_counts)
        parts.append(delimited(b"\x32", packed))
    if bounds:
        parts.append(delimited(b"\x3a", struct.pack(f"<{len(bounds)}d", *bounds)))
    parts += [delimited(b"\x42", exemplar) for exemplar in exemplars]
    extend_attributes(parts, _HISTOGRAM_ATTRIBUTES, attributes)
    if minimum is not None:
        parts.append(b"\x59" + pack_double(_float(minimum)))
    if maximum is not None:
        parts.append(b"\x61" + pack_double(_float(maximum)))
    return b"".join(parts)


def encode_exponential_point(
    *,
    attributes: Mapping[str, object],
    start_ns: int,
    time_ns: int,
    count: int,
    total: float,
    scale: int,
    zero_count: int = 0,
    positive: tuple[int, Sequence[int]] = (0, ()),
    negative: tuple[int, Sequence[int]] = (0, ()),
    minimum: float | None = None,
    maximum: float | None = None,
    exemplars: Sequence[bytes] = (),
) -> bytes:
    """Encode an ExponentialHistogramDataPoint.

    ``positive`` and ``negative`` are the index of the first bucket and the counts from there on;
    bucket ``i`` holds values in (base ** i, base ** (i + 1)] with base = 2 ** (2 ** -scale).
    """
    parts = _times(start_ns, time_ns)
    if count:
        parts.append(b"\x21" + fixed64(count))
    parts.append(b"\x29" + pack_double(_float(total)))
    if scale:
        parts.append(b"\x30" + varint(_zigzag(scale)))
    if zero_count:
        parts.append(b"\x39" + fixed64(zero_count))
    for prefix, (offset, counts) in ((b"\x42", positive), (b"\x4a", negative)):
        if counts:
            head = b"\x08" + varint(_zigzag(offset)) if offset else b""
            packed = b"".join([varint(one) for one in counts])
            parts.append(delimited(prefix, head + delimited(b"\x12", packed)))
    parts += [delimited(b"\x5a", exemplar) for exemplar in exemplars]
    extend_attributes(parts, _EXPONENTIAL_ATTRIBUTES, attributes)
    if minimum is not None:
        parts.append(b"\x61" + pack_double(_float(minimum)))
    if maximum is not None:
        parts.append(b"\x69" + pack_double(_float(maximum)))
    return b"".join(parts)


def encode_sum(
    name: str,
    *,
    unit: str = "",
    description: str = "",
    points: Sequence[bytes],
    monotonic: bool,
    temporality: int = CUMULATIVE,
) -> bytes:
    """Encode a Metric that holds a Sum of number points."""
    data = _points_over_time(points, temporality) + (b"\x18\x01" if monotonic else b"")
    return _metric(name, unit, description) + delimited(b"\x3a", data)


def encode_gauge(
    name: str, *, unit: str = "", description: str = "", points: Sequence[bytes]
) -> bytes:
    """Encode a Metric that holds a Gauge of number points."""
    return _metric(name, unit, description) + delimited(b"\x2a", _points(points))


def encode_histogram(
    name: str,
    *,
    unit: str = "",
    description: str = "",
    points: Sequence[bytes],
    temporality: int = CUMULATIVE,
) -> bytes:
    """Encode a Metric that holds a Histogram of histogram points."""
    data = _points_over_time(points, temporality)
    return _metric(name, unit, description) + delimited(b"\x4a", data)


def encode_exponential_histogram(
    name: str,
    *,
    unit: str = "",
    description: str = "",
    points: Sequence[bytes],
    temporality: int = CUMULATIVE,
) -> bytes:
    """Encode a Metric that holds an ExponentialHistogram."""
    data = _points_over_time(points, temporality)
    return _metric(name, unit, description) + delimited(b"\x52", data)


def _zigzag(value: int) -> int:
    """Return a sint32 as the number that is written (protobuf encoding, "Signed Integers")."""
    return (value << 1) ^ (value >> 31)


def _times(start_ns: int, time_ns: int) -> list[bytes]:
    parts = [b"\x11" + fixed64(start_ns)] if start_ns else []
    if time_ns:
        parts.append(b"\x19" + fixed64(time_ns))
    return parts


def _points(points: Sequence[bytes]) -> bytes:
    return b"".join([delimited(b"\x0a", point) for point in points])


def _points_over_time(points: Sequence[bytes], temporality: int) -> bytes:
    """Encode what a Sum and both kinds of histogram begin with."""
    return _points(points) + b"\x10" + varint(temporality)


def _metric(name: str, unit: str, description: str) -> bytes:
    return b"".join(
        delimited(prefix, utf8(text))
        for prefix, text in ((b"\x0a", name), (b"\x12", description), (b"\x1a", unit))
        if text
    )


def _float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # an int beyond the range of a double
        return float("inf") if value > 0 else float("-inf")
