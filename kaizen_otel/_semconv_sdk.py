"""Names of the SDK's self-metrics, which say what became of the telemetry itself.

Source: semantic conventions 1.44.0, "OpenTelemetry SDK Metrics" (names and kinds are the same since
1.37.0).  They are all of status Development.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel.semconv import Instrument

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

COMPONENT_NAME: Final = "otel.component.name"
COMPONENT_TYPE: Final = "otel.component.type"

OPERATION_DURATION: Final = Instrument(
    name="otel.sdk.exporter.operation.duration",
    kind="histogram",
    unit="s",
    description="Duration of one export, from its first attempt to the end of its last one",
    # The conventions ask for one bucket without boundaries: count, sum, smallest and largest.
    buckets=(),
)


class ExporterMetrics(NamedTuple):
    """What one signal's exporter says of itself."""

    inflight: Instrument
    exported: Instrument


class ProcessorMetrics(NamedTuple):
    """What one signal's queue says of itself; data points have none."""

    queue_size: Instrument
    processed: Instrument


def _exporter(noun: str, unit: str) -> ExporterMetrics:
    return ExporterMetrics(
        inflight=Instrument(
            name=f"otel.sdk.exporter.{noun}.inflight",
            kind="up_down_counter",
            unit=unit,
            description="Passed to the exporter, and of no request that is concluded",
        ),
        exported=Instrument(
            name=f"otel.sdk.exporter.{noun}.exported",
            kind="counter",
            unit=unit,
            description="Of requests that are concluded: delivered, or with error.type dropped",
        ),
    )


def _processor(noun: str, unit: str) -> ProcessorMetrics:
    return ProcessorMetrics(
        queue_size=Instrument(
            name=f"otel.sdk.processor.{noun}.queue.size",
            kind="up_down_counter",
            unit=unit,
            description="Waits to become part of a request",
        ),
        processed=Instrument(
            name=f"otel.sdk.processor.{noun}.processed",
            kind="counter",
            unit=unit,
            description="Passed to the exporter, or with error.type dropped before",
        ),
    )


EXPORTERS: Final[Mapping[str, ExporterMetrics]] = {
    "traces": _exporter("span", "{span}"),
    "metrics": _exporter("metric_data_point", "{data_point}"),
    "logs": _exporter("log", "{log_record}"),
}
PROCESSORS: Final[Mapping[str, ProcessorMetrics]] = {
    "traces": _processor("span", "{span}"),
    "logs": _processor("log", "{log_record}"),
}

INSTRUMENTS: Final[Mapping[str, Instrument]] = {
    one.name: one
    for one in (
        *(i for p in PROCESSORS.values() for i in (p.queue_size, p.processed)),
        *(i for e in EXPORTERS.values() for i in (e.inflight, e.exported)),
        OPERATION_DURATION,
    )
}
