"""Inputs for every encoder, and the message that the official classes make of each.

One function per encoder draws an input and returns two messages: what ours wrote, as the official
class reads it, and what that class holds when it is given the same values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, cast

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1 import metrics_pb2 as pb
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from kaizen_otel._export.batch import Group, Item
from kaizen_otel._export.buffer import Buffer, Ledger
from kaizen_otel._otlp import common, logs, metrics, traces

if TYPE_CHECKING:
    from google.protobuf.message import Message

UINT64_MAX = (1 << 64) - 1
SPAN_FIELD = common.AttributeField(traces.SPAN_ATTRIBUTES)
"""Lives as long as the campaign, as a provider's does: its caches fill and are emptied."""
TEXTS = ("", "a", "tool", "name with spaces", "\ud800", "\U0001f9ea", "x" * 65, "\n", "ß" * 70)


class Hostile:
    """Every question to it raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class HostileMapping(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise RuntimeError(key)

    def __iter__(self) -> Any:  # noqa: ANN401 - it never returns
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        raise RuntimeError("no length")


def text_of(r: Random) -> str:
    if r.random() < 0.5:
        return r.choice(TEXTS)
    return "".join(chr(r.randrange(1 << r.randrange(1, 17))) for _ in range(r.randrange(90)))


SCALARS: tuple[Callable[[Random], object], ...] = (
    lambda _: None,
    text_of,
    lambda r: r.choice(TEXTS),
    lambda r: r.random() < 0.5,
    lambda r: r.randrange(-(1 << r.randrange(1, 70)), 1 << r.randrange(1, 70)),
    lambda r: r.randrange(5000),
    lambda r: r.uniform(-1, 1) * 10 ** r.randrange(300),
    lambda r: r.choice([math.nan, math.inf, -math.inf, -0.0, 0.0]),
    lambda r: r.randbytes(r.randrange(40)),
    lambda _: Hostile(),
    lambda _: HostileMapping(),
    lambda r: complex(r.random(), 1),
)


def value_of(r: Random, depth: int = 3) -> object:
    choice = r.randrange(6) if depth else 0
    if choice == 4:
        return [value_of(r, depth - 1) for _ in range(r.randrange(4))]
    if choice == 5:
        return attributes_of(r, depth - 1)
    return r.choice(SCALARS)(r)


def attributes_of(r: Random, depth: int = 3) -> dict[str, object]:
    return {text_of(r): value_of(r, depth) for _ in range(r.randrange(6))}


def time_of(r: Random) -> int:
    return r.choice([0, 1, r.getrandbits(64), r.getrandbits(r.randrange(1, 64)), UINT64_MAX])


def count_of(r: Random) -> int:
    return r.choice([0, 1, r.getrandbits(32), r.randrange(300)])


def flags_of(r: Random) -> int:
    return r.choice([0, 1, 0x100, 0x101, 0x301, r.getrandbits(32)])


def id_of(r: Random, size: int) -> bytes:
    return r.choice([b"", r.randbytes(size)])


def finite_of(r: Random) -> float:
    return r.choice([0.0, -0.0, r.uniform(-1, 1), r.uniform(-1, 1) * 10.0 ** r.randrange(300), 3])


def clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def any_value(value: object) -> AnyValue:  # noqa: C901 - one line per kind of value
    found = AnyValue()
    if value is None:
        return found
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 63:
            return AnyValue(int_value=value)
        return AnyValue(string_value=str(value))
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, bytes):
        return AnyValue(bytes_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=clean(value))
    if isinstance(value, (Hostile, HostileMapping)):
        # The abstract class's own text would name an address.
        return AnyValue(string_value=common.safe_text(value))
    if isinstance(value, Mapping):
        found.kvlist_value.SetInParent()
        found.kvlist_value.values.extend(key_values(cast("Mapping[str, object]", value)))
        return found
    if isinstance(value, Sequence):
        found.array_value.SetInParent()
        found.array_value.values.extend(map(any_value, value))
        return found
    return AnyValue(string_value=str(value))


def key_values(attributes: Mapping[str, object]) -> list[KeyValue]:
    return [KeyValue(key=clean(key), value=any_value(value)) for key, value in attributes.items()]


def number(kind: type[Any], value: float, **arguments: object) -> Any:  # noqa: ANN401 - its class
    """A data point or exemplar with the number as int if it is one."""
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return kind(as_int=value, **arguments)
    return kind(as_double=float(value), **arguments)


Pair = tuple["Message", "Message"]


def check_value(r: Random) -> Pair:
    value = value_of(r)
    return AnyValue.FromString(common.encode_any_value(value)), any_value(value)


def check_resource(r: Random) -> Pair:
    attributes = attributes_of(r)
    found = Resource.FromString(common.encode_resource(attributes))
    return found, Resource(attributes=key_values(attributes))


def check_scope(r: Random) -> Pair:
    name, version, attributes = text_of(r), text_of(r), attributes_of(r)
    found = InstrumentationScope.FromString(common.encode_scope(name, version, attributes))
    expected = InstrumentationScope(
        name=clean(name), version=clean(version), attributes=key_values(attributes)
    )
    return found, expected


def check_span(r: Random) -> Pair:
    events = [
        (time_of(r), text_of(r), attributes_of(r), count_of(r)) for _ in range(r.randrange(3))
    ]
    links = [
        (r.randbytes(16), r.randbytes(8), text_of(r), attributes_of(r), flags_of(r), count_of(r))
        for _ in range(r.randrange(3))
    ]
    shared: dict[str, Any] = {
        "trace_id": r.randbytes(16), "span_id": r.randbytes(8), "parent_span_id": id_of(r, 8),
        "kind": r.randrange(6), "flags": flags_of(r),
        "dropped_attributes_count": count_of(r), "dropped_events_count": count_of(r),
        "dropped_links_count": count_of(r),
    }  # fmt: skip
    name, state, message, code = text_of(r), text_of(r), text_of(r), r.randrange(3)
    start_ns, end_ns, attributes = time_of(r), time_of(r), attributes_of(r)
    found = traces.encode_span(
        **shared, name=name, trace_state=state, status_code=code, status_message=message,
        start_ns=start_ns, end_ns=end_ns, attributes=attributes, events=events, links=links,
    )  # fmt: skip
    expected = Span(
        **shared, name=clean(name), trace_state=clean(state), attributes=key_values(attributes),
        start_time_unix_nano=start_ns, end_time_unix_nano=end_ns,
        status=Status(code=cast("Any", code), message=clean(message)) if code or message else None,
        events=[
            Span.Event(time_unix_nano=at, name=clean(n), attributes=key_values(a),
                       dropped_attributes_count=d)
            for at, n, a, d in events
        ],
        links=[
            Span.Link(trace_id=t, span_id=s, trace_state=clean(w), attributes=key_values(a),
                      flags=f, dropped_attributes_count=d)
            for t, s, w, a, f, d in links
        ],
    )  # fmt: skip
    return Span.FromString(found), expected


def check_plain_span(r: Random) -> Pair:
    ids = r.randbytes(16), r.randbytes(8), id_of(r, 8)
    name, kind, flags = text_of(r), r.randrange(6), flags_of(r)
    start_ns, end_ns, attributes = time_of(r), time_of(r), attributes_of(r)
    found = traces.encode_plain_span(
        *ids, name, kind, start_ns, end_ns, attributes, flags, SPAN_FIELD
    )
    expected = Span(
        trace_id=ids[0], span_id=ids[1], parent_span_id=ids[2], name=clean(name),
        kind=cast("Any", kind), flags=flags, start_time_unix_nano=start_ns,
        end_time_unix_nano=end_ns, attributes=key_values(attributes),
    )  # fmt: skip
    return Span.FromString(found), expected


def check_log(r: Random) -> Pair:
    shared: dict[str, Any] = {
        "trace_id": id_of(r, 16), "span_id": id_of(r, 8), "flags": flags_of(r),
        "severity_number": r.randrange(25),
    }  # fmt: skip
    time_ns, observed_ns, body, attributes = time_of(r), time_of(r), value_of(r), attributes_of(r)
    severity_text, event_name = text_of(r), text_of(r)
    found = logs.encode_log_record(
        **shared, time_ns=time_ns, observed_ns=observed_ns, body=body, attributes=attributes,
        severity_text=severity_text, event_name=event_name,
    )  # fmt: skip
    expected = LogRecord(
        **shared, time_unix_nano=time_ns, observed_time_unix_nano=observed_ns,
        attributes=key_values(attributes), severity_text=clean(severity_text),
        event_name=clean(event_name), body=None if body is None else any_value(body),
    )  # fmt: skip
    return LogRecord.FromString(found), expected


def exemplar_of(r: Random) -> tuple[bytes, pb.Exemplar]:
    value: float = r.choice([finite_of(r), r.randrange(-(1 << 63), 1 << 63)])
    time_ns, ids, attributes = time_of(r), (id_of(r, 16), id_of(r, 8)), attributes_of(r)
    found = metrics.encode_exemplar(
        time_ns=time_ns, value=value, trace_id=ids[0], span_id=ids[1], attributes=attributes
    )
    expected = number(
        pb.Exemplar, value, time_unix_nano=time_ns, trace_id=ids[0], span_id=ids[1],
        filtered_attributes=key_values(attributes),
    )  # fmt: skip
    return found, expected


def point_of(r: Random) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the points of all kinds have in common, for our encoder and for the classes."""
    attributes, start_ns, time_ns = attributes_of(r), time_of(r), time_of(r)
    exemplars = [exemplar_of(r) for _ in range(r.randrange(2))]
    ours = {"attributes": attributes, "start_ns": start_ns, "time_ns": time_ns,
            "exemplars": [found for found, _ in exemplars]}  # fmt: skip
    theirs = {"attributes": key_values(attributes), "start_time_unix_nano": start_ns,
              "time_unix_nano": time_ns, "exemplars": [one for _, one in exemplars]}  # fmt: skip
    return ours, theirs


def metric_of(r: Random) -> tuple[str, dict[str, Any], dict[str, Any]]:
    name, unit, description = text_of(r), text_of(r), text_of(r)
    theirs = {"name": clean(name), "unit": clean(unit), "description": clean(description)}
    return name, {"unit": unit, "description": description}, theirs


def check_number(r: Random) -> Pair:
    ours, theirs = point_of(r)
    value = r.choice([r.uniform(-9, 9), r.randrange(-(1 << 66), 1 << 66), math.nan, -0.0, 7])
    point = metrics.encode_number_point(**ours, value=value)
    expected = number(pb.NumberDataPoint, value, **theirs)
    name, texts, fields = metric_of(r)
    if r.random() < 0.5:
        found = metrics.encode_gauge(name, **texts, points=[point])
        return pb.Metric.FromString(found), pb.Metric(
            **fields, gauge=pb.Gauge(data_points=[expected])
        )
    monotonic, temporality = r.random() < 0.5, r.choice([1, 2])
    found = metrics.encode_sum(
        name, **texts, points=[point] * 2, monotonic=monotonic, temporality=temporality
    )
    total = pb.Sum(
        data_points=[expected] * 2, is_monotonic=monotonic,
        aggregation_temporality=cast("Any", temporality),
    )  # fmt: skip
    return pb.Metric.FromString(found), pb.Metric(**fields, sum=total)


def extremes_of(r: Random) -> dict[str, Any]:
    """Perhaps the smallest and the largest measurement; what is missing is not said."""
    return {name: finite_of(r) for name in ("min", "max") if r.random() < 0.5}


def check_histogram(r: Random) -> Pair:
    ours, theirs = point_of(r)
    bounds = sorted(finite_of(r) for _ in range(r.randrange(12)))
    counts = [time_of(r) for _ in range(len(bounds) + 1)]
    count, total, extremes = time_of(r), r.choice([finite_of(r), math.nan]), extremes_of(r)
    point = metrics.encode_histogram_point(
        **ours, count=count, total=total, bucket_counts=counts, bounds=bounds,
        minimum=extremes.get("min"), maximum=extremes.get("max"),
    )  # fmt: skip
    expected = pb.HistogramDataPoint(
        **theirs, count=count, sum=total, bucket_counts=counts, explicit_bounds=bounds, **extremes
    )
    name, texts, fields = metric_of(r)
    temporality: Any = r.choice([1, 2])
    found = metrics.encode_histogram(name, **texts, points=[point], temporality=temporality)
    histogram = pb.Histogram(data_points=[expected], aggregation_temporality=temporality)
    return pb.Metric.FromString(found), pb.Metric(**fields, histogram=histogram)


def buckets_of(r: Random) -> tuple[int, list[int]]:
    return r.randrange(-(1 << 31), 1 << 31), [time_of(r) for _ in range(r.randrange(9))]


def check_exponential(r: Random) -> Pair:
    ours, theirs = point_of(r)
    positive, negative, extremes = buckets_of(r), buckets_of(r), extremes_of(r)
    shared: dict[str, Any] = {
        "count": time_of(r), "zero_count": time_of(r), "scale": r.randrange(-(1 << 31), 1 << 31)
    }  # fmt: skip
    total = finite_of(r)
    point = metrics.encode_exponential_point(
        **ours, **shared, total=total, positive=positive, negative=negative,
        minimum=extremes.get("min"), maximum=extremes.get("max"),
    )  # fmt: skip
    sides: dict[str, Any] = {
        name: pb.ExponentialHistogramDataPoint.Buckets(offset=offset, bucket_counts=counts)
        for name, (offset, counts) in (("positive", positive), ("negative", negative))
        if counts
    }
    expected = pb.ExponentialHistogramDataPoint(**theirs, **shared, sum=total, **sides, **extremes)
    name, texts, fields = metric_of(r)
    temporality: Any = r.choice([1, 2])
    found = metrics.encode_exponential_histogram(
        name, **texts, points=[point], temporality=temporality
    )
    histogram = pb.ExponentialHistogram(data_points=[expected], aggregation_temporality=temporality)
    return pb.Metric.FromString(found), pb.Metric(**fields, exponential_histogram=histogram)


def check_request(r: Random) -> Pair:
    """Through the buffer, by both ways in: grouped by resource and scope, in order, all there."""
    buffer = Buffer(bytes_max=1 << 30, ledger=Ledger())
    expected = ExportTraceServiceRequest()
    resources: dict[bytes, Any] = {}
    scopes: dict[tuple[bytes, bytes, str], Any] = {}
    for index in range(r.randrange(1, 9)):
        resource = common.encode_resource({"r": r.choice("ab")})
        scope, url = common.encode_scope(r.choice("st")), r.choice(TEXTS)
        data = traces.encode_span(
            trace_id=b"t" * 16, span_id=b"s" * 8, name=str(index), start_ns=1, end_ns=2
        )
        if r.random() < 0.5:
            buffer.sink("traces", Group(resource.__bytes__, scope, url))(data)
            buffer.progress("traces")  # whoever looks takes it in, so the order is known
        else:
            buffer.offer("traces", Item(resource, scope, url, data, 1))
        if resource not in resources:
            resources[resource] = expected.resource_spans.add(
                resource=Resource.FromString(resource)
            )
        key = (resource, scope, url)
        if key not in scopes:
            scopes[key] = resources[resource].scope_spans.add(
                scope=InstrumentationScope.FromString(scope), schema_url=clean(url)
            )
        scopes[key].spans.append(Span.FromString(data))
    batch = buffer.take("traces", count_max=99, bytes_max=1 << 30)
    assert batch is not None
    return ExportTraceServiceRequest.FromString(batch.encode()), expected


CHECKS: dict[str, Callable[[Random], Pair]] = {
    "AnyValue": check_value,
    "Resource": check_resource,
    "InstrumentationScope": check_scope,
    "Span": check_span,
    "Span, the short way": check_plain_span,
    "LogRecord": check_log,
    "Sum and Gauge": check_number,
    "Histogram": check_histogram,
    "ExponentialHistogram": check_exponential,
    "ExportTraceServiceRequest": check_request,
}
