"""The stock SDK with its exporters (``stock.http``, ``stock.grpc``), and fastotel behind it."""

from __future__ import annotations

import importlib
import time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

from benchmarks.telemetry_bench import shapes
from benchmarks.telemetry_bench.door import Door

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.telemetry_bench.door import Task

RESOURCE: Final = Resource.create({"service.name": "bench"})
_PATHS: Final = {"trace": "/v1/traces", "metric": "/v1/metrics", "_log": "/v1/logs"}
#: Large enough that nothing is lost, where the cost of a delivered item is compared.
_QUEUE_LARGE: Final = 1 << 21
_INTERVAL_MS: Final = 1_000


def exporter(task: Task, variant: str, signal: str) -> Any:  # noqa: ANN401 - of three classes
    """The exporter of one signal."""
    protocol = "grpc" if variant == "grpc" else "http"
    module = f"opentelemetry.exporter.otlp.proto.{protocol}.{signal}_exporter"
    name = {"trace": "OTLPSpanExporter", "metric": "OTLPMetricExporter", "_log": "OTLPLogExporter"}
    made = getattr(importlib.import_module(module), name[signal])
    if protocol == "grpc":
        return made(endpoint=task["grpc"], insecure=True)
    return made(endpoint=task["http"] + _PATHS[signal])


def _queue(task: Task) -> dict[str, Any]:
    return {"max_queue_size": _QUEUE_LARGE} if task.get("queue") == "large" else {}


def provider_for(task: Task, variant: str) -> TracerProvider:
    """A provider that sends to the sink."""
    provider = TracerProvider(resource=RESOURCE)
    if variant == "fastotel":
        fastotel: Any = importlib.import_module("fastotel")
        processor = fastotel.OTLPSpanProcessor(endpoint=task["http"] + "/v1/traces", **_queue(task))
    elif variant == "none":
        return provider
    else:
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        processor = BatchSpanProcessor(exporter(task, variant, "trace"), **_queue(task))
    provider.add_span_processor(processor)
    return provider


def _door(provider: Any, emit: Callable[[int], int]) -> Door:  # noqa: ANN401 - of three classes
    return Door(
        emit=emit,
        flush=lambda timeout_s: provider.force_flush(round(timeout_s * 1000)),
        shutdown=lambda timeout_s: provider.shutdown(),  # noqa: ARG005 - the SDK's takes none
    )


def open_spans(task: Task, variant: str) -> Door:
    """Spans of the 200 shapes."""
    provider = provider_for(task, variant)

    def link(trace_id: int, span_id: int, attributes: shapes.Attributes) -> Link:
        context = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(1))
        return Link(context, attributes)

    emit = shapes.span_emitter(
        provider.get_tracer("bench").start_span,
        kinds={kind.value + 1: kind for kind in SpanKind},
        link=link,
    )
    return _door(provider, emit)


def open_nested(task: Task, variant: str) -> Door:
    """A span with six attributes and a child within it."""
    provider = provider_for(task, variant)
    start = provider.get_tracer("bench").start_as_current_span

    def emit(index: int) -> int:
        shape = shapes.SHAPES[index % shapes.COUNT]
        with start("agent", attributes=dict(shapes.attributes_of(shape, index))), start("tool"):
            pass
        return index + 1

    return _door(provider, emit)


def open_logs(task: Task, variant: str) -> Door:
    """Log records through the Logs API."""
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    provider = LoggerProvider(resource=RESOURCE)
    sender = exporter(task, variant, "_log")
    provider.add_log_record_processor(BatchLogRecordProcessor(sender, **_queue(task)))
    send = provider.get_logger("bench").emit
    severities = [(text, SeverityNumber(number)) for text, number in shapes.SEVERITIES]

    def emit_record(body: str, severity: int, attributes: shapes.Attributes) -> None:
        text, number = severities[severity]
        send(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=number,
                severity_text=text,
                body=body,
                attributes=attributes,
            )
        )

    return _door(provider, shapes.log_emitter(emit_record))


def meter_provider(task: Task, variant: str) -> Any:  # noqa: ANN401 - its flush has no types
    """A meter provider that exports every second."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    reader = PeriodicExportingMetricReader(
        exporter(task, variant, "metric"), export_interval_millis=_INTERVAL_MS
    )
    return MeterProvider([reader], resource=RESOURCE)


def open_counter(task: Task, variant: str) -> Door:
    """Additions to a counter."""
    provider = meter_provider(task, variant)
    counter = provider.get_meter("bench").create_counter("bench.counter")
    return _door(provider, shapes.counter_emitter(counter.add))


def open_histogram(task: Task, variant: str) -> Door:
    """Measurements of a histogram."""
    provider = meter_provider(task, variant)
    histogram = provider.get_meter("bench").create_histogram("bench.histogram")
    return _door(provider, shapes.histogram_emitter(histogram.record))
