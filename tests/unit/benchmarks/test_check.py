"""The benchmark's judge of what arrived: it must catch whoever loses or garbles something."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.telemetry_bench import shapes
from benchmarks.telemetry_bench.check import (
    check_logs,
    check_metrics,
    check_nested,
    check_pairs,
    check_spans,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.proto.trace.v1.trace_pb2 import Span

Message: TypeAlias = Any
"""A message of protobuf's, or a list of them."""

COUNT = 200
PARENT = next(n for n, shape in enumerate(shapes.SHAPES) if shape.is_parent)
CHILD = PARENT + 1
WITH_EVENT = next(n for n, shape in enumerate(shapes.SHAPES) if shape.events)
WITH_LINK = next(n for n, shape in enumerate(shapes.SHAPES) if shape.links)
WITH_INT = next(
    n for n, one in enumerate(shapes.SHAPES) if any(type(v) is int for v in one.fixed.values())
)
WITH_LIST = next(
    n for n, one in enumerate(shapes.SHAPES) if any(type(v) is tuple for v in one.fixed.values())
)


def put(attribute: Message, key: str, value: object) -> None:
    pair = attribute.add(key=key)
    match value:
        case bool():
            pair.value.bool_value = value
        case int():
            pair.value.int_value = value
        case float():
            pair.value.double_value = value
        case str():
            pair.value.string_value = value
        case tuple():
            pair.value.array_value.SetInParent()
            for text in value:
                pair.value.array_value.values.add(string_value=text)
        case _:
            raise TypeError(value)


def request(count: int = COUNT) -> ExportTraceServiceRequest:
    """What an emitter that does everything right sends."""
    made = ExportTraceServiceRequest()
    spans = made.resource_spans.add().scope_spans.add().spans
    for index in range(count):
        wanted, parent = shapes.expected_span(index), shapes.parent_of(index)
        root = index if parent is None else parent
        span = spans.add(
            name=wanted.name,
            kind=wanted.kind,
            trace_id=(root + 1).to_bytes(16, "big"),
            span_id=(index + 1).to_bytes(8, "big"),
            parent_span_id=b"" if parent is None else (parent + 1).to_bytes(8, "big"),
            start_time_unix_nano=1,
            end_time_unix_nano=2,
        )
        for key, value in wanted.attributes.items():
            put(span.attributes, key, value)
        for name, attributes in wanted.events:
            event = span.events.add(name=name)
            for key, value in attributes.items():
                put(event.attributes, key, value)
        for trace_id, span_id, attributes in wanted.links:
            link = span.links.add(
                trace_id=trace_id.to_bytes(16, "big"), span_id=span_id.to_bytes(8, "big")
            )
            for key, value in attributes.items():
                put(link.attributes, key, value)
    return made


def spans_of(made: ExportTraceServiceRequest) -> Message:
    return made.resource_spans[0].scope_spans[0].spans


def test_who_sends_what_was_offered_is_found_equal() -> None:
    report = check_spans([request().SerializeToString()], COUNT)
    assert report == {
        "delivered": COUNT, "missing": 0, "duplicates": 0, "wrong": 0, "examples": [],
    }  # fmt: skip


def test_a_compressed_request_is_the_same() -> None:
    assert check_spans([gzip.compress(request().SerializeToString())], COUNT)["wrong"] == 0


def _first(span: Span, kind: str) -> Message:
    return next(one for one in span.attributes if one.value.WhichOneof("value") == kind)


def _rename(span: Span) -> None:
    span.name += "x"


def _other_kind(span: Span) -> None:
    span.kind = 1 + span.kind % 5  # type: ignore[assignment]


def _lose_attribute(span: Span) -> None:
    del span.attributes[0]


def _add_attribute(span: Span) -> None:
    put(span.attributes, "more", 1)


def _int_as_float(span: Span) -> None:
    one = _first(span, "int_value")
    one.value.double_value = float(one.value.int_value)


def _shorten_list(span: Span) -> None:
    del _first(span, "array_value").value.array_value.values[0]


def _lose_event(span: Span) -> None:
    del span.events[0]


def _garble_event(span: Span) -> None:
    span.events[0].name = "another"


def _lose_link(span: Span) -> None:
    del span.links[0]


def _garble_link(span: Span) -> None:
    span.links[0].span_id = b"\1" * 8


def _lose_parent(span: Span) -> None:
    span.parent_span_id = b""


def _wrong_parent(span: Span) -> None:
    span.parent_span_id = b"\xff" * 8


def _invent_parent(span: Span) -> None:
    span.parent_span_id = (CHILD + 1).to_bytes(8, "big")


def _leave_trace(span: Span) -> None:
    span.trace_id = b"\1" * 16


def _end_early(span: Span) -> None:
    span.end_time_unix_nano = 0


def _same_id(span: Span) -> None:
    span.span_id = (COUNT).to_bytes(8, "big")


def _set_status(span: Span) -> None:
    span.status.code = 2  # type: ignore[assignment]


SABOTEURS: dict[str, tuple[int, Callable[[Span], None]]] = {
    "changes a name": (3, _rename),
    "changes a kind": (3, _other_kind),
    "loses an attribute": (3, _lose_attribute),
    "adds an attribute": (3, _add_attribute),
    "turns an int into a float": (WITH_INT, _int_as_float),
    "shortens a sequence": (WITH_LIST, _shorten_list),
    "loses an event": (WITH_EVENT, _lose_event),
    "changes an event": (WITH_EVENT, _garble_event),
    "loses a link": (WITH_LINK, _lose_link),
    "changes a link": (WITH_LINK, _garble_link),
    "loses a parent": (CHILD, _lose_parent),
    "names a parent that does not exist": (CHILD, _wrong_parent),
    "invents a parent": (PARENT, _invent_parent),
    "leaves the parent's trace": (CHILD, _leave_trace),
    "ends before it starts": (3, _end_early),
    "gives two spans one id": (3, _same_id),
    "sets a status": (3, _set_status),
}


@pytest.mark.parametrize("saboteur", SABOTEURS)
def test_an_emitter_is_caught_that(saboteur: str) -> None:
    place, spoil = SABOTEURS[saboteur]
    made = request()
    spoil(spans_of(made)[place])
    report = check_spans([made.SerializeToString()], COUNT)
    assert report["wrong"] > 0
    assert report["examples"]


@pytest.mark.parametrize("place", [3, PARENT, CHILD])
def test_a_dropped_span_is_missing(place: int) -> None:
    made = request()
    del spans_of(made)[place]
    report = check_spans([made.SerializeToString()], COUNT)
    assert (report["delivered"], report["missing"]) == (COUNT - 1, 1)


def test_a_span_that_arrives_twice_is_counted_once() -> None:
    body = request().SerializeToString()
    report = check_spans([body, body], COUNT)
    assert (report["delivered"], report["duplicates"], report["wrong"]) == (COUNT, COUNT, 0)


def test_a_span_that_was_never_offered_is_a_fault_and_one_of_the_warm_up_is_none() -> None:
    body = request(2 * COUNT).SerializeToString()
    assert check_spans([body], COUNT)["wrong"] == COUNT
    made = ExportTraceServiceRequest()
    span = made.resource_spans.add().scope_spans.add().spans.add(name="warm")
    put(span.attributes, shapes.SHAPES[0].index_key, shapes.WARM_UP + 5)
    assert check_spans([request().SerializeToString(), made.SerializeToString()], COUNT)[
        "wrong"
    ] == 0  # fmt: skip


def test_a_child_whose_parent_was_dropped_is_not_blamed() -> None:
    made = request()
    del spans_of(made)[PARENT]
    assert check_spans([made.SerializeToString()], COUNT)["wrong"] == 0


def test_nested_spans_are_judged_by_name_parent_and_count() -> None:
    made = ExportTraceServiceRequest()
    spans = made.resource_spans.add().scope_spans.add().spans
    for number in range(1, 4):
        ids = {"trace_id": bytes([number]) * 16}
        spans.add(name="agent", span_id=bytes([number]) * 8, **ids)
        spans.add(name="tool", span_id=bytes([100 + number]) * 8,
                  parent_span_id=bytes([number]) * 8, **ids)  # fmt: skip
    good = check_nested([made.SerializeToString()], 2, warm=1)
    assert (good["delivered"], good["missing"], good["wrong"]) == (2, 0, 0)
    assert check_nested([made.SerializeToString()], 4)["missing"] == 1
    assert check_nested([made.SerializeToString()], 2)["duplicates"] == 1
    spans[3].parent_span_id = bytes([1]) * 8
    assert check_nested([made.SerializeToString()], 3)["wrong"] == 1


def logs(count: int) -> ExportLogsServiceRequest:
    made = ExportLogsServiceRequest()
    records = made.resource_logs.add().scope_logs.add().log_records
    for index in range(count):
        record = records.add(severity_number=shapes.SEVERITIES[index % 4][1])
        record.body.string_value = shapes.BODIES[index % 20]
        shape = shapes.SHAPES[index % shapes.COUNT]
        for key, value in shapes.attributes_of(shape, index).items():
            put(record.attributes, key, value)
    return made


def test_log_records_are_judged_by_body_severity_and_attributes() -> None:
    made = logs(COUNT)
    assert check_logs([made.SerializeToString()], COUNT)["wrong"] == 0
    records = made.resource_logs[0].scope_logs[0].log_records
    records[1].body.string_value = "another"
    records[2].severity_number = 21  # type: ignore[assignment]
    del records[3].attributes[1]
    del records[4]
    report = check_logs([made.SerializeToString()], COUNT)
    assert report["wrong"] == 3
    assert report["missing"] == 1


def sums(count: int, *, lost: int = 0) -> bytes:
    made = ExportMetricsServiceRequest()
    metric = made.resource_metrics.add().scope_metrics.add().metrics.add(name="bench.counter")
    for number, dimensions in enumerate(shapes.DIMENSIONS):
        point = metric.sum.data_points.add(as_int=count // 40 - (lost if number == 7 else 0))
        for key, value in dimensions.items():
            put(point.attributes, key, value)
    return made.SerializeToString()


def test_the_last_cumulative_sums_are_judged() -> None:
    early, late = sums(COUNT // 2), sums(COUNT)
    assert check_metrics([early, late], COUNT, name="bench.counter")["wrong"] == 0
    report = check_metrics([early, sums(COUNT, lost=1)], COUNT, name="bench.counter")
    assert (report["wrong"], report["missing"]) == (1, 1)


def pairs(count: int, *, spans: int, logs_each: int) -> dict[str, list[bytes]]:
    traces, metrics, records = (
        ExportTraceServiceRequest(),
        ExportMetricsServiceRequest(),
        ExportLogsServiceRequest(),
    )
    made = traces.resource_spans.add().scope_spans.add().spans
    for _ in range(spans):
        made.add(name="execute_tool search")
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add()
    metric.name = "gen_ai.execute_tool.duration"
    metric.histogram.data_points.add(count=count)
    scope = records.resource_logs.add().scope_logs.add()
    for _ in range(count * logs_each):
        scope.log_records.add()
    every = {"traces": traces, "metrics": metrics, "logs": records}
    return {signal: [one.SerializeToString()] for signal, one in every.items()}


@pytest.mark.parametrize(
    ("spans", "logs_each", "wrong"), [(12, 2, 0), (12, 3, 0), (11, 2, 1), (13, 2, 1), (12, 1, 1)]
)
def test_a_hook_that_leaves_a_signal_out_is_caught(spans: int, logs_each: int, wrong: int) -> None:
    """Ten calls and two to warm up; the durations are complete."""
    assert check_pairs(pairs(12, spans=spans, logs_each=logs_each), 10, 2)["wrong"] == wrong
