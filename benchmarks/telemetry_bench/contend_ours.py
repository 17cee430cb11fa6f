"""Ours: the fast door, and (``ours.sdk``) the stock SDK's spans through our processor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags

import kaizen_otel
from benchmarks.telemetry_bench import shapes
from benchmarks.telemetry_bench.door import Door

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.telemetry_bench.door import Task
    from kaizen_otel import ObservabilityManager


def manager_for(task: Task) -> ObservabilityManager:
    """Everything by the environment, as a user does it; default settings."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = task["http"]
    os.environ["OTEL_SERVICE_NAME"] = "bench"
    return kaizen_otel.observe("bench", enable_audit=False)


def _counts(manager: ObservabilityManager, signal: Any) -> dict[str, Any]:  # noqa: ANN401 - a Signal
    ledger = manager.ledger()
    one = ledger.signals[signal]
    return {
        "said_offered": one.offered,
        "said_delivered": one.delivered,
        "said_dropped": sum(one.dropped.values()),
        "reconciles": ledger.reconciles(),
    }


def _door(manager: ObservabilityManager, emit: Callable[[int], int], signal: str) -> Door:
    return Door(
        emit=emit,
        flush=manager.flush,
        shutdown=manager.shutdown,
        counts=lambda: _counts(manager, signal),
    )


def _context(trace_id: int, span_id: int) -> SpanContext:
    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(1))


def open_spans(task: Task, variant: str) -> Door:
    """Spans of the 200 shapes."""
    manager = manager_for(task)
    if variant == "sdk":
        tracer = kaizen_otel.tracer_provider("bench").get_tracer("bench")
        emit = shapes.span_emitter(
            tracer.start_span,
            kinds={kind.value + 1: kind for kind in SpanKind},
            link=lambda trace_id, span_id, attributes: Link(
                _context(trace_id, span_id), attributes
            ),
        )
    else:
        assert manager.tracing is not None
        emit = shapes.span_emitter(
            manager.tracing.start_span,
            kinds={number: number for number in range(1, 6)},
            link=lambda trace_id, span_id, attributes: (_context(trace_id, span_id), attributes),
        )
    return _door(manager, emit, "traces")


def open_nested(task: Task, variant: str) -> Door:
    """A span with six attributes and a child within it."""
    from opentelemetry.trace import use_span

    del variant
    manager = manager_for(task)
    assert manager.tracing is not None
    start = manager.tracing.start_span

    def emit(index: int) -> int:
        with (
            use_span(start("agent", attributes=nested_attributes(index)), end_on_exit=True),
            use_span(start("tool"), end_on_exit=True),
        ):
            pass
        return index + 1

    return _door(manager, emit, "traces")


def nested_attributes(index: int) -> dict[str, Any]:
    """The six attributes of the outer span."""
    return dict(shapes.attributes_of(shapes.SHAPES[index % shapes.COUNT], index))


def open_logs(task: Task, variant: str) -> Door:
    """Log records."""
    del variant
    manager = manager_for(task)
    assert manager.logging is not None
    send = manager.logging.emit
    severities = [text for text, _ in shapes.SEVERITIES]

    def emit_record(body: str, severity: int, attributes: shapes.Attributes) -> None:
        send(body, severity=severities[severity], attributes=attributes)

    return _door(manager, shapes.log_emitter(emit_record), "logs")


def open_counter(task: Task, variant: str) -> Door:
    """Additions to a counter."""
    del variant
    manager = manager_for(task)
    assert manager.metrics is not None
    counter = manager.metrics.counter

    def add(value: int, labels: dict[str, object]) -> None:
        counter("bench.counter", value, labels)

    return _door(manager, shapes.counter_emitter(add), "metrics")


def open_histogram(task: Task, variant: str) -> Door:
    """Measurements of a histogram."""
    del variant
    manager = manager_for(task)
    assert manager.metrics is not None
    histogram = manager.metrics.histogram

    def record(value: float, labels: dict[str, object]) -> None:
        histogram("bench.histogram", value, labels)

    return _door(manager, shapes.histogram_emitter(record), "metrics")


def open_operations(task: Task, variant: str) -> Door:
    """The seam: a tool call begins and ends, and becomes a span, metrics and log records."""
    del variant
    manager = manager_for(task)
    operations = manager.operations
    tools = [f"tool {number}" for number in range(20)]

    def emit(index: int) -> int:
        operations.begin("execute_tool", index, attributes={"step": index}, name=tools[index % 20])
        operations.end(index, {"rows": index & 1023})
        return index + 1

    return _door(manager, emit, "traces")
