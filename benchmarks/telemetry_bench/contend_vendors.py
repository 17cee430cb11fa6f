"""SDKs that people install for agents, each in the way that its documentation shows."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

from benchmarks.telemetry_bench import shapes
from benchmarks.telemetry_bench.door import Door

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.telemetry_bench.door import Task


def _attributes(index: int) -> dict[str, Any]:
    return dict(shapes.attributes_of(shapes.SHAPES[index % shapes.COUNT], index))


def open_nested(task: Task, variant: str) -> Door:
    """A span with six attributes and a child within it."""
    # Their queues are the stock SDK's: large, so that work is compared and not loss.
    os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(1 << 21)
    made: dict[str, Callable[[Task], Door]] = {"logfire": _logfire, "langfuse": _langfuse}
    return made[variant](task)


def _logfire(task: Task) -> Door:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    logfire: Any = importlib.import_module("logfire")
    exporter = OTLPSpanExporter(endpoint=task["http"] + "/v1/traces")
    logfire.configure(
        send_to_logfire=False,
        console=False,
        metrics=False,
        inspect_arguments=False,
        additional_span_processors=[BatchSpanProcessor(exporter)],
    )

    def emit(index: int) -> int:
        with logfire.span("agent", **_attributes(index)), logfire.span("tool"):
            pass
        return index + 1

    return Door(
        emit=emit,
        flush=lambda timeout_s: logfire.force_flush(round(timeout_s * 1000)),
        shutdown=lambda timeout_s: logfire.shutdown(round(timeout_s * 1000)),
    )


def _langfuse(task: Task) -> Door:
    langfuse: Any = importlib.import_module("langfuse")
    client = langfuse.Langfuse(
        public_key="pk-lf-bench",
        secret_key="sk-lf-bench",  # noqa: S106 - nobody's
        host=task["http"],
    )
    start = client.start_as_current_observation

    def emit(index: int) -> int:
        with start(name="agent", metadata=_attributes(index)), start(name="tool"):
            pass
        return index + 1

    return Door(
        emit=emit,
        flush=lambda timeout_s: client.flush(),  # noqa: ARG005 - it takes none
        shutdown=lambda timeout_s: client.shutdown(),  # noqa: ARG005 - it takes none
    )
