"""What our encoder writes means the same to the real protobuf classes."""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Mapping, Sequence
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from kaizen_otel._otlp import decode
from kaizen_otel._otlp.common import (
    encode_any_value,
    encode_attributes,
    encode_request,
    encode_resource,
    encode_scope,
)
from kaizen_otel._otlp.logs import encode_log_record
from kaizen_otel._otlp.metrics import (
    encode_exemplar,
    encode_exponential_histogram,
    encode_exponential_point,
    encode_gauge,
    encode_histogram,
    encode_histogram_point,
    encode_number_point,
    encode_sum,
)
from kaizen_otel._otlp.traces import encode_span

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.message import Message
    from opentelemetry.proto.common.v1.common_pb2 import KeyValue

pytestmark = pytest.mark.property

FEW = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
MANY = settings(FEW, max_examples=400)
UINT64_MAX = (1 << 64) - 1


class Hostile:
    """Every question to it raises."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    def __getattr__(self, name: str) -> object:
        raise RuntimeError(name)


class HostileMapping(Mapping[str, object]):
    def __getitem__(self, key: str) -> object:
        raise RuntimeError(key)

    def __iter__(self) -> Iterator[str]:
        raise RuntimeError("no keys")

    def __len__(self) -> int:
        raise RuntimeError("no length")


texts = st.text(st.characters(), max_size=20) | st.sampled_from(["a", "tool", "x" * 65, "\ud800"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(0, 5000)
    | st.integers(-(1 << 66), 1 << 66)
    | st.floats()
    | texts
    | st.binary(max_size=40)
    | st.builds(Hostile)
    | st.builds(HostileMapping)
    | st.complex_numbers()
    | st.dates()
)
slow_values = st.recursive(
    scalars,
    lambda children: (
        st.lists(children, max_size=4)
        | st.lists(children, max_size=4).map(tuple)
        | st.dictionaries(texts, children, max_size=4)
    ),
    max_leaves=12,
)
TEXTS = ("", "a", "tool", "name with spaces", "\ud800", "\U0001f9ea", "x" * 65, "\n", "ß" * 70)
SCALARS: tuple[Callable[[Random], object], ...] = (
    lambda _: None,
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


def text_of(r: Random) -> str:
    if r.random() < 0.5:
        return r.choice(TEXTS)
    return "".join(chr(r.randrange(1 << r.randrange(1, 17))) for _ in range(r.randrange(90)))


def value_of(r: Random, depth: int = 3) -> object:
    choice = r.randrange(6) if depth else 0
    if choice == 4:
        return [value_of(r, depth - 1) for _ in range(r.randrange(4))]
    if choice == 5:
        return attributes_of(r, depth - 1)
    return r.choice(SCALARS)(r)


def attributes_of(r: Random, depth: int = 3) -> dict[str, object]:
    return {text_of(r): value_of(r, depth) for _ in range(r.randrange(6))}


# Hypothesis draws the seed and our own generator the rest: twenty times as many examples a second.
seeds = st.integers(0, (1 << 64) - 1).map(Random)
values = seeds.map(value_of)
attributes = seeds.map(attributes_of)
times = st.integers(0, UINT64_MAX) | st.just(0)
counts = st.integers(0, (1 << 32) - 1)
span_ids = st.binary(min_size=8, max_size=8)
trace_ids = st.binary(min_size=16, max_size=16)
flags = st.sampled_from([0, 1, 0x100, 0x101, 0x301]) | counts


def clean(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def same_float(left: float, right: float) -> bool:
    return left == right or (math.isnan(left) and math.isnan(right))


def means(found: AnyValue, value: object) -> bool:  # noqa: C901 - one line per kind of value
    """Whether the AnyValue says what the Python value says."""
    kind = found.WhichOneof("value")
    if value is None:
        return kind is None
    if isinstance(value, str):
        return kind == "string_value" and found.string_value == clean(value)
    if isinstance(value, bool):
        return kind == "bool_value" and found.bool_value is value
    if isinstance(value, int):
        if -(1 << 63) <= value < 1 << 63:
            return kind == "int_value" and found.int_value == value
        return kind == "string_value" and found.string_value == str(value)
    if isinstance(value, float):
        return kind == "double_value" and same_float(found.double_value, value)
    if isinstance(value, bytes):
        return kind == "bytes_value" and found.bytes_value == value
    if isinstance(value, Hostile | HostileMapping):
        return kind == "string_value" and type(value).__name__ in found.string_value
    if isinstance(value, Mapping):
        return kind == "kvlist_value" and all_mean(found.kvlist_value.values, value)
    if isinstance(value, Sequence):
        inner = found.array_value.values
        return kind == "array_value" and len(inner) == len(value) and all(map(means, inner, value))
    return kind == "string_value" and found.string_value == str(value)


def all_mean(found: Sequence[KeyValue], expected: Mapping[str, object]) -> bool:
    pairs = zip(found, expected.items(), strict=True)
    return all(kv.key == clean(key) and means(kv.value, value) for kv, (key, value) in pairs)


@FEW
@given(value=slow_values)
def test_any_value_keeps_its_meaning_for_every_small_shape(value: object) -> None:
    assert means(AnyValue.FromString(encode_any_value(value)), value)


@settings(MANY, max_examples=1000)
@given(value=values)
def test_any_value_keeps_its_meaning(value: object) -> None:
    assert means(AnyValue.FromString(encode_any_value(value)), value)


@MANY
@given(given_attributes=attributes, name=texts, version=texts)
def test_resource_and_scope_keep_their_meaning(
    given_attributes: dict[str, object], name: str, version: str
) -> None:
    resource = Resource.FromString(encode_resource(given_attributes))
    assert all_mean(resource.attributes, given_attributes)
    scope = InstrumentationScope.FromString(encode_scope(name, version, given_attributes))
    assert (scope.name, scope.version) == (clean(name), clean(version))
    assert all_mean(scope.attributes, given_attributes)


@MANY
@given(data=st.data())
def test_span_keeps_its_meaning(data: st.DataObject) -> None:
    events = data.draw(st.lists(st.tuples(times, texts, attributes, counts), max_size=3))
    links = data.draw(
        st.lists(st.tuples(trace_ids, span_ids, texts, attributes, flags, counts), max_size=3)
    )
    arguments: dict[str, Any] = {
        "trace_id": data.draw(trace_ids),
        "span_id": data.draw(span_ids),
        "parent_span_id": data.draw(st.just(b"") | span_ids),
        "name": data.draw(texts),
        "kind": data.draw(st.integers(0, 5)),
        "status_code": data.draw(st.integers(0, 2)),
        "status_message": data.draw(texts),
        "flags": data.draw(flags),
        "trace_state": data.draw(texts),
        "dropped_attributes_count": data.draw(counts),
        "dropped_events_count": data.draw(counts),
        "dropped_links_count": data.draw(counts),
    }
    start_ns, end_ns, given_attributes = data.draw(st.tuples(times, times, attributes))
    encoded = encode_span(
        **arguments,
        start_ns=start_ns,
        end_ns=end_ns,
        attributes=given_attributes,
        events=events,
        links=links,
    )
    span = Span.FromString(encoded)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (start_ns, end_ns)
    assert (span.status.code, span.status.message) == (
        arguments.pop("status_code"),
        clean(arguments.pop("status_message")),
    )
    for name, value in arguments.items():
        assert getattr(span, name) == (clean(value) if isinstance(value, str) else value), name
    assert all_mean(span.attributes, given_attributes)
    for event, (time_ns, name, event_attributes, dropped) in zip(span.events, events, strict=True):
        assert (event.time_unix_nano, event.name) == (time_ns, clean(name))
        assert event.dropped_attributes_count == dropped
        assert all_mean(event.attributes, event_attributes)
    for link, expected in zip(span.links, links, strict=True):
        trace_id, span_id, state, link_attributes, link_flags, dropped = expected
        assert (link.trace_id, link.span_id, link.trace_state) == (trace_id, span_id, clean(state))
        assert (link.flags, link.dropped_attributes_count) == (link_flags, dropped)
        assert all_mean(link.attributes, link_attributes)
    assert decode.decode_span(encoded) == explicit(json_shape(span), start_ns, end_ns)


@MANY
@given(data=st.data())
def test_log_record_keeps_its_meaning(data: st.DataObject) -> None:
    arguments: dict[str, Any] = {
        "severity_number": data.draw(st.integers(0, 24)),
        "severity_text": data.draw(texts),
        "trace_id": data.draw(st.just(b"") | trace_ids),
        "span_id": data.draw(st.just(b"") | span_ids),
        "flags": data.draw(flags),
        "event_name": data.draw(texts),
    }
    time_ns, observed_ns, body = data.draw(st.tuples(times, times, values))
    given_attributes = data.draw(attributes)
    encoded = encode_log_record(
        **arguments,
        time_ns=time_ns,
        observed_ns=observed_ns,
        body=body,
        attributes=given_attributes,
    )
    record = LogRecord.FromString(encoded)
    assert (record.time_unix_nano, record.observed_time_unix_nano) == (time_ns, observed_ns)
    for name, value in arguments.items():
        assert getattr(record, name) == (clean(value) if isinstance(value, str) else value), name
    assert record.HasField("body") is (body is not None)
    assert means(record.body, body)
    assert all_mean(record.attributes, given_attributes)
    assert decode.decode_log_record(encoded) == json_shape(record)


finite = st.floats(allow_nan=False)


@MANY
@given(data=st.data())
def test_metrics_keep_their_meaning(data: st.DataObject) -> None:
    name, unit, description = data.draw(st.tuples(texts, texts, texts))
    start_ns, time_ns, given_attributes = data.draw(st.tuples(times, times, attributes))
    temporality, monotonic = data.draw(st.sampled_from([1, 2])), data.draw(st.booleans())
    number = data.draw(st.integers() | st.integers(-(1 << 70), 1 << 70) | st.floats())
    point = encode_number_point(
        attributes=given_attributes, start_ns=start_ns, time_ns=time_ns, value=number
    )
    texts_of_metric: dict[str, Any] = {"unit": unit, "description": description}
    total = Metric.FromString(
        encode_sum(
            name,
            **texts_of_metric,
            points=[point] * 2,
            monotonic=monotonic,
            temporality=temporality,
        )
    )
    assert (total.name, total.unit, total.description) == tuple(
        map(clean, (name, unit, description))
    )
    assert (total.sum.aggregation_temporality, total.sum.is_monotonic) == (temporality, monotonic)
    gauge = Metric.FromString(encode_gauge(name, **texts_of_metric, points=[point]))
    for found in (*total.sum.data_points, *gauge.gauge.data_points):
        if isinstance(number, int) and -(1 << 63) <= number < 1 << 63:
            assert found.WhichOneof("value") == "as_int"
            assert found.as_int == number
        else:
            assert found.WhichOneof("value") == "as_double"
            assert same_float(found.as_double, float(number))
        assert (found.start_time_unix_nano, found.time_unix_nano) == (start_ns, time_ns)
        assert all_mean(found.attributes, given_attributes)


sint32 = st.integers(-(1 << 31), (1 << 31) - 1)
buckets = st.tuples(sint32, st.lists(times, max_size=8))


@MANY
@given(data=st.data())
def test_exponential_histograms_keep_their_meaning(data: st.DataObject) -> None:
    arguments: dict[str, Any] = {"count": data.draw(times), "scale": data.draw(sint32)}
    zero_count, total = data.draw(st.tuples(times, finite))
    positive, negative = data.draw(st.tuples(buckets, buckets))
    minimum, maximum = data.draw(st.tuples(st.none() | finite, st.none() | finite))
    given_attributes, temporality = data.draw(attributes), data.draw(st.sampled_from([1, 2]))
    point = encode_exponential_point(
        **arguments,
        attributes=given_attributes,
        start_ns=1,
        time_ns=2,
        total=total,
        zero_count=zero_count,
        positive=positive,
        negative=negative,
        minimum=minimum,
        maximum=maximum,
    )
    encoded = encode_exponential_histogram("e", unit="s", points=[point], temporality=temporality)
    metric = Metric.FromString(encoded)
    assert metric.exponential_histogram.aggregation_temporality == temporality
    (found,) = metric.exponential_histogram.data_points
    for name, value in arguments.items():
        assert getattr(found, name) == value, name
    assert found.zero_count == zero_count
    assert same_float(found.sum, float(total))
    for side, (offset, counts_) in ((found.positive, positive), (found.negative, negative)):
        assert list(side.bucket_counts) == counts_
        assert side.offset == (offset if counts_ else 0)
    assert (found.min if found.HasField("min") else None) == minimum
    assert (found.max if found.HasField("max") else None) == maximum
    assert all_mean(found.attributes, given_attributes)


@MANY
@given(data=st.data())
def test_exemplars_keep_their_meaning_in_every_kind_of_point(data: st.DataObject) -> None:
    value = data.draw(finite | st.integers(-(1 << 63), (1 << 63) - 1))
    time_ns, given_attributes = data.draw(st.tuples(times, attributes))
    trace_id, span_id = data.draw(st.tuples(st.just(b"") | trace_ids, st.just(b"") | span_ids))
    exemplar = encode_exemplar(
        time_ns=time_ns,
        value=value,
        trace_id=trace_id,
        span_id=span_id,
        attributes=given_attributes,
    )
    shared: dict[str, Any] = {"attributes": {}, "start_ns": 1, "time_ns": 2}
    shared["exemplars"] = [exemplar]
    number = encode_number_point(**shared, value=1)
    explicit_ = encode_histogram_point(**shared, count=1, total=1, bucket_counts=[1], bounds=[])
    exponential = encode_exponential_point(**shared, count=1, total=1, scale=0)
    for point in (
        Metric.FromString(encode_gauge("g", points=[number])).gauge.data_points[0],
        Metric.FromString(encode_histogram("h", points=[explicit_])).histogram.data_points[0],
        Metric.FromString(
            encode_exponential_histogram("e", points=[exponential])
        ).exponential_histogram.data_points[0],
    ):
        (found,) = point.exemplars
        assert (found.time_unix_nano, found.trace_id, found.span_id) == (time_ns, trace_id, span_id)
        assert (found.as_int if isinstance(value, int) else found.as_double) == value
        assert all_mean(found.filtered_attributes, given_attributes)


@MANY
@given(data=st.data())
def test_histograms_keep_their_meaning(data: st.DataObject) -> None:
    bounds = sorted(data.draw(st.lists(finite, max_size=15)))
    bucket_counts = data.draw(
        st.lists(times, min_size=len(bounds) + 1, max_size=len(bounds) + 1)
        if bounds
        else st.just([]) | st.lists(times, min_size=1, max_size=1)
    )
    count, total = data.draw(st.tuples(times, st.floats() | st.integers(-9, 9)))
    minimum, maximum = data.draw(st.tuples(st.none() | finite, st.none() | finite))
    given_attributes = data.draw(attributes)
    point = encode_histogram_point(
        attributes=given_attributes,
        start_ns=1,
        time_ns=2,
        count=count,
        total=total,
        bucket_counts=bucket_counts,
        bounds=bounds,
        minimum=minimum,
        maximum=maximum,
    )
    metric = Metric.FromString(encode_histogram("h", points=[point], temporality=1))
    assert metric.histogram.aggregation_temporality == 1
    (found,) = metric.histogram.data_points
    assert found.count == count
    assert same_float(found.sum, total)
    assert (list(found.bucket_counts), list(found.explicit_bounds)) == (bucket_counts, bounds)
    assert (found.min if found.HasField("min") else None) == minimum
    assert (found.max if found.HasField("max") else None) == maximum
    assert all_mean(found.attributes, given_attributes)


@MANY
@given(data=st.data())
def test_request_groups_by_resource_and_loses_no_item(data: st.DataObject) -> None:
    items = st.lists(texts.map(lambda name: ("item", name)), max_size=3)
    groups = data.draw(
        st.lists(
            st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["", "s", "t"]), texts, items),
            max_size=5,
        )
    )
    encoded = encode_request(
        (
            encode_resource({"r": resource}),
            encode_scope(scope),
            url,
            [encode_log_record(time_ns=1, observed_ns=1, body=name) for _, name in names],
        )
        for resource, scope, url, names in groups
    )
    request = ExportLogsServiceRequest.FromString(encoded)
    resources = [r.resource.attributes[0].value.string_value for r in request.resource_logs]
    assert len(resources) == len(set(resources))
    found = [
        (resource, s.scope.name, s.schema_url, [r.body.string_value for r in s.log_records])
        for resource, r in zip(resources, request.resource_logs, strict=True)
        for s in r.scope_logs
    ]
    expected = [
        (resource, scope, clean(url), [clean(name) for _, name in names])
        for resource, scope, url, names in groups
        if names
    ]
    assert sorted(found) == sorted(expected)
    assert decode.decode_logs_request(encoded) == json_shape(request)


@MANY
@given(given_attributes=attributes, field=st.integers(1, 40))
def test_attributes_can_stand_under_any_field_number(
    given_attributes: dict[str, object], field: int
) -> None:
    encoded = encode_attributes(field, given_attributes)
    assert encoded == encode_attributes(field, given_attributes), "the caches change nothing"


def test_decoder_agrees_with_protobuf_about_every_metric_kind() -> None:
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add().scope_metrics.add(schema_url="s")
    scope.metrics.add(name="g").gauge.data_points.add(as_double=math.inf, flags=1)
    scope.metrics.add(name="s").sum.data_points.add(as_int=-5).exemplars.add(
        as_int=3, span_id=b"12345678", trace_id=b"1234567812345678"
    )
    scope.metrics.add(name="h").histogram.data_points.add(
        count=3, sum=0.0, bucket_counts=[1, 2], explicit_bounds=[0.5], min=-1.0, max=math.nan
    )
    point = scope.metrics.add(name="e").exponential_histogram.data_points.add(
        scale=-3, zero_count=4, zero_threshold=0.25
    )
    point.positive.offset = -7
    point.positive.bucket_counts.extend([1, 300, 1 << 63])
    scope.metrics.add(name="q").summary.data_points.add(sum=1.0).quantile_values.add(
        quantile=0.5, value=2.0
    )
    assert decode.decode_metrics_request(request.SerializeToString()) == json_shape(request)


@MANY
@given(data=st.binary(max_size=60))
def test_decoder_meets_garbage_with_value_error_only(data: bytes) -> None:
    for function in (decode.decode_traces_request, decode.decode_span, decode.decode_log_record):
        try:
            function(data)
        except ValueError:
            continue


@MANY
@given(
    keep=st.integers(0, 200),
    flip=st.integers(0, 10_000),
    given_attributes=attributes,
)
def test_decoder_meets_damaged_requests_with_value_error_only(
    keep: int, flip: int, given_attributes: dict[str, object]
) -> None:
    span = encode_span(
        trace_id=bytes(16),
        span_id=bytes(8),
        name="x",
        start_ns=1,
        end_ns=2,
        attributes=given_attributes,
    )
    request = bytearray(encode_request([(b"", b"", "", [span])]))
    request[flip % len(request)] ^= 1 << flip % 8
    try:
        found = decode.decode_traces_request(bytes(request)[:keep])
    except ValueError:
        return
    assert isinstance(found, dict)


def json_shape(message: Message) -> dict[str, object]:
    """What json_format makes of it, with ids in hexadecimal and numbers for enums."""

    def fix(value: object, name: str = "") -> object:
        if isinstance(value, dict):
            return {key: fix(inner, key) for key, inner in value.items()}
        if isinstance(value, list):
            return [fix(inner) for inner in value]
        if name in {"traceId", "spanId", "parentSpanId"}:
            return b64decode(str(value)).hex()
        return value

    shape = fix(MessageToDict(message, use_integers_for_enums=True))
    assert isinstance(shape, dict)
    return shape


def explicit(span: dict[str, object], start_ns: int, end_ns: int) -> dict[str, object]:
    """Our spans hold their times even if those are 0."""
    return {**span, "startTimeUnixNano": str(start_ns), "endTimeUnixNano": str(end_ns)}


def test_traces_request_is_read_by_protobuf() -> None:
    span = encode_span(trace_id=b"t" * 16, span_id=b"s" * 8, name="n", start_ns=1, end_ns=2)
    encoded = encode_request(
        [(encode_resource({"service.name": "a"}), encode_scope("k"), "", [span])]
    )
    request = ExportTraceServiceRequest.FromString(encoded)
    assert request.resource_spans[0].scope_spans[0].spans[0].name == "n"
    assert decode.decode_traces_request(encoded) == json_shape(request)
