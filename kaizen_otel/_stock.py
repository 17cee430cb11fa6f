"""``KAIZEN_OTEL_EXPORTER=stock``: the SDK's own exporters behind the SDK's door, not ours.

For who must have them, and for comparing.  They read the standard ``OTEL_*`` variables themselves,
keep no ledger, and drop silently what their queue of 2,048 cannot hold.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, TypeAlias

from kaizen_otel.errors import NotEnabledError

if TYPE_CHECKING:
    from opentelemetry.sdk._logs import LogRecordProcessor
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor

    from kaizen_otel._export import Signal
    from kaizen_otel.config import Config

Untyped: TypeAlias = Any
"""One of six classes, of packages that need not be there."""

_CLASSES = {
    "traces": ("trace_exporter", "OTLPSpanExporter"),
    "metrics": ("metric_exporter", "OTLPMetricExporter"),
    "logs": ("_log_exporter", "OTLPLogExporter"),
}


def stock_exporter(signal: Signal, config: Config) -> Untyped:
    """Make the official OTLP exporter of a signal, for the protocol that ``config`` says.

    Raises ``NotEnabledError`` if its package is not installed.
    """
    protocol = "grpc" if config.endpoints[signal].protocol == "grpc" else "http"
    module, name = _CLASSES[signal]
    try:
        found = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{protocol}.{module}")
    except ImportError as missing:
        raise NotEnabledError(
            f"KAIZEN_OTEL_EXPORTER=stock needs opentelemetry-exporter-otlp-proto-{protocol}: pip "
            "install opentelemetry-exporter-otlp, or unset KAIZEN_OTEL_EXPORTER"
        ) from missing
    return getattr(found, name)()


def stock_span_processor(config: Config) -> SpanProcessor:
    """The SDK's batch processor with the official exporter."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(stock_exporter("traces", config))


def stock_metric_reader(config: Config) -> MetricReader:
    """The SDK's periodic reader with the official exporter."""
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    return PeriodicExportingMetricReader(
        stock_exporter("metrics", config), export_interval_millis=config.metric_interval_ms
    )


def stock_log_processor(config: Config) -> LogRecordProcessor:
    """The SDK's batch processor with the official exporter."""
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    return BatchLogRecordProcessor(stock_exporter("logs", config))
