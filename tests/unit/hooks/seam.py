"""The seam over lists: what would be sent is decoded and kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from kaizen_otel._edges import shared_ids
from kaizen_otel._observations import Observations
from kaizen_otel._otlp.decode import decode_log_record, decode_metric, decode_span, plain_attributes
from kaizen_otel._redaction import Redactor
from kaizen_otel.config import SpanLimits
from kaizen_otel.hooks.operations import OpenOperations, Operations, SignalSet
from kaizen_otel.logs import LogBackend, LoggingManager
from kaizen_otel.metrics import MetricsManager
from kaizen_otel.traces import Sampler, SpanSettings
from kaizen_otel.tracing import TracingBackend, TracingManager

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel._prices import Prices
    from kaizen_otel.config import ExemplarFilter


class ListedAudit:
    """Keeps what it is given; ``durable`` says how each record fares."""

    def __init__(self) -> None:
        self.records: list[tuple[str, dict[str, Any]]] = []
        self.times_ns: list[bytes | int | None] = []
        self.durable = True

    def emit(
        self, event_name: str, attributes: Mapping[str, Any], **ids: bytes | int
    ) -> SimpleNamespace:
        assert set(ids) - {"time_ns"} == {"trace_id", "span_id", "resource"}
        self.records.append((event_name, dict(attributes)))
        self.times_ns.append(ids.get("time_ns"))
        return SimpleNamespace(wait=lambda _: self.durable)


class Held(Observations):
    """Derives nothing by itself: only a flush does, or who finds no room."""

    def _start(self) -> None:
        """Start no thread."""


@dataclass
class Seam:
    vocabulary: str = "default"
    seed_style: bool = False
    block_action: bool = False
    capture_content: bool = False
    exemplars: ExemplarFilter = "trace_based"
    observations: Observations | None = None
    defers_audit: bool = True
    prices: Prices | None = None
    sampler: str = "always_on"
    spans: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        redactor = Redactor()
        self.audit = ListedAudit()
        self.metrics = MetricsManager()
        self.tracing = TracingManager(
            "test",
            backend=TracingBackend(
                settings=SpanSettings(
                    sink=lambda data: self.spans.append(decode_span(data)),
                    limits=SpanLimits(),
                    redactor=redactor,
                ),
                sampler=Sampler(self.sampler, warn=self.warnings.append),
                ids=shared_ids(),
                flush=lambda _: True,
                shutdown=lambda _: True,
                seed_style=self.seed_style,
                warn=self.warnings.append,
            ),
        )
        logging = LoggingManager(
            LogBackend(sink=lambda d: self.logs.append(decode_log_record(d)), redactor=redactor)
        )
        self.opened = OpenOperations()
        self.operations = Operations(
            SignalSet(
                tracing=self.tracing,
                ids=shared_ids(),
                metrics=self.metrics,
                logging=logging,
                audit=cast("Any", self.audit),
                vocabulary=self.vocabulary,
                seed_style=self.seed_style,
                block_action=self.block_action,
                capture_content=self.capture_content,
                exemplars=self.exemplars,
                observations=self.observations,
                defers_audit=self.defers_audit,
                prices=self.prices,
                warn=self.warnings.append,
            ),
            self.opened,
        )

    def span(self, name: str) -> dict[str, Any]:
        (found,) = [span for span in self.spans if span["name"] == name]
        return {**found, "attributes": plain_attributes(found.get("attributes"))}

    def tree(self) -> dict[str, str | None]:
        """Each span's name and its parent's."""
        names = {span["spanId"]: span["name"] for span in self.spans}
        return {s["name"]: names.get(s.get("parentSpanId", "")) for s in self.spans}

    def metric(self, name: str) -> dict[str, Any]:
        for data, _ in self.metrics.collect():
            metric = decode_metric(data)
            if metric["name"] == name:
                return metric
        raise LookupError(name)

    def metric_names(self) -> set[str]:
        return {str(decode_metric(data)["name"]) for data, _ in self.metrics.collect()}

    def faults(self, kind: str) -> float | None:
        return self.metrics.value("kaizen.telemetry.pairing_faults", {"kaizen.fault": kind})
