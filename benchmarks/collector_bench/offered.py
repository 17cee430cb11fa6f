"""The requests that are offered: made before the clock runs, as bytes that a socket takes."""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from benchmarks.telemetry_bench.shapes import (
    BODIES,
    DIMENSIONS,
    SEVERITIES,
    SHAPES,
    attributes_of,
    expected_span,
)
from kaizen_otel._export import Delivered
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config

if TYPE_CHECKING:
    from benchmarks.telemetry_bench.shapes import Attributes, Value
    from kaizen_otel._export import Outcome, Signal

PATHS: Final = {"traces": "/v1/traces", "metrics": "/v1/metrics", "logs": "/v1/logs"}
_START_NS: Final = 1_790_000_000_000_000_000
_BOUNDS: Final = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SERIES: Final = 8
"""Instruments; each has up to 40 sets of attributes."""
_AUDIT_POOL: Final = 256
_AUDIT_DEADLINE_MS: Final = 30_000


def framed(path: str, body: bytes) -> bytes:
    """One request of HTTP/1.1 whose connection stays open."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: collector\r\nContent-Type: application/x-protobuf\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def requests_of(signal: str, *, items: int, count: int) -> list[bytes]:
    """So many different requests of a signal, each with so many spans, points or log records."""
    make = {"traces": _traces, "metrics": _metrics, "logs": _logs}[signal]
    return [framed(PATHS[signal], make(turn * items, items)) for turn in range(count)]


def _resource(number: int) -> Resource:
    return Resource(
        attributes=_pairs(
            {
                "service.name": "bench",
                "service.version": "1.4.2",
                "service.instance.id": f"0af76519-16cd-43dd-8448-{number % 64:012d}",
                "host.name": "bench",
                "telemetry.sdk.language": "python",
                "telemetry.sdk.name": "opentelemetry",
            }
        )
    )


def _traces(first: int, items: int) -> bytes:
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add(resource=_resource(first))
    scope = resource.scope_spans.add()
    scope.scope.name = "bench"
    for index in range(first, first + items):
        wanted = expected_span(index)
        begin_ns = _START_NS + index * 1_000_000
        span = Span(
            trace_id=(index // 8 + 1).to_bytes(16, "big"),
            span_id=(index + 1).to_bytes(8, "big"),
            name=wanted.name,
            kind=wanted.kind,  # type: ignore[arg-type] # the numbers are the enum's
            start_time_unix_nano=begin_ns,
            end_time_unix_nano=begin_ns + 5_000_000 * (1 + index % 50),
            attributes=_pairs(wanted.attributes),
        )
        for name, attributes in wanted.events:
            span.events.add(
                name=name, time_unix_nano=begin_ns + 1_000, attributes=_pairs(attributes)
            )
        scope.spans.append(span)
    return request.SerializeToString()


def _logs(first: int, items: int) -> bytes:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add(resource=_resource(first)).scope_logs.add()
    scope.scope.name = "bench"
    for index in range(first, first + items):
        text, number = SEVERITIES[index % 4]
        scope.log_records.append(
            LogRecord(
                time_unix_nano=_START_NS + index * 1_000_000,
                severity_text=text,
                severity_number=number,  # type: ignore[arg-type] # the numbers are the enum's
                body=AnyValue(string_value=BODIES[index % len(BODIES)]),
                attributes=_pairs(attributes_of(SHAPES[index % len(SHAPES)], index)),
                trace_id=(index // 8 + 1).to_bytes(16, "big"),
                span_id=(index + 1).to_bytes(8, "big"),
            )
        )
    return request.SerializeToString()


def _metrics(first: int, items: int) -> bytes:
    """Half of the points are counters, half histograms, all cumulative."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add(resource=_resource(first)).scope_metrics.add()
    scope.scope.name = "bench"
    metrics = [_metric(number) for number in range(_SERIES)]
    now_ns = _START_NS + first * 1_000_000
    for index in range(items):
        attributes = _pairs(DIMENSIONS[index // _SERIES % len(DIMENSIONS)])
        metric = metrics[index % _SERIES]
        if index % 2:
            counts = [(first + index + place) % 7 for place in range(len(_BOUNDS) + 1)]
            metric.histogram.data_points.add(
                start_time_unix_nano=_START_NS,
                time_unix_nano=now_ns,
                attributes=attributes,
                explicit_bounds=_BOUNDS,
                bucket_counts=counts,
                count=sum(counts),
                sum=float(sum(counts)),
            )
        else:
            metric.sum.data_points.add(
                start_time_unix_nano=_START_NS,
                time_unix_nano=now_ns,
                attributes=attributes,
                as_int=first + index,
            )
    scope.metrics.extend(metrics)
    return request.SerializeToString()


def _metric(number: int) -> Metric:
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    metric = Metric(name=f"bench.instrument.{number}", unit="1")
    if number % 2:
        metric.histogram.aggregation_temporality = cumulative
    else:
        metric.sum.aggregation_temporality = cumulative
        metric.sum.is_monotonic = True
    return metric


def _pairs(attributes: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=_value(value)) for key, value in attributes.items()]


def _value(value: Value) -> AnyValue:
    match value:
        case bool():
            return AnyValue(bool_value=value)
        case int():
            return AnyValue(int_value=value)
        case float():
            return AnyValue(double_value=value)
        case str():
            return AnyValue(string_value=value)
        case _:
            texts = [AnyValue(string_value=text) for text in value]
            return AnyValue(array_value=ArrayValue(values=texts))


class _Keeping:
    """A transport that keeps what it is given."""

    description = "memory"

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        """Take everything."""
        del signal, deadline_ns
        self.bodies.append(body)
        return Delivered()

    def close(self) -> None:
        """Nothing is open."""


def audit_requests(*, items: int, count: int) -> list[bytes]:
    """Requests with audit records that our own manager made, so many in each."""
    kept = _Keeping()
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as ends:
        config = Config.from_environment({"KAIZEN_OTEL_SPOOL_DIR": folder})
        manager = AuditTrailManager(config=config, transport=kept, warn=lambda _text: None)
        ends.callback(manager.shutdown, _AUDIT_DEADLINE_MS)
        for number in range(_AUDIT_POOL):
            details = {"tool_name": "search_documents", "arguments": f"query {number}"}
            manager.record("researcher", "tool_execute", details, "success")
        assert manager.flush(_AUDIT_DEADLINE_MS)
    made = [ExportLogsServiceRequest.FromString(body) for body in kept.bodies]
    pool = [
        record
        for request in made
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    bodies: list[bytes] = []
    for turn in range(count):
        request = ExportLogsServiceRequest()
        request.CopyFrom(made[0])
        (scope,) = request.resource_logs[0].scope_logs
        del scope.log_records[:]
        scope.log_records.extend(pool[(turn * items + i) % len(pool)] for i in range(items))
        bodies.append(framed(PATHS["logs"], request.SerializeToString()))
    return bodies
