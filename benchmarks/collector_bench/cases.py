"""Which Collectors carry what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: The components of the gateway's routes as they are when nothing is said: queues in memory, no
#: redaction, no metrics made from spans.
DEFAULTS: Final = """\
extensions:
  health_check:
    endpoint: "127.0.0.1:${env:KAIZEN_OTEL_HEALTH_PORT}"
receivers:
  otlp:
    protocols:
      http: {endpoint: "127.0.0.1:${env:KAIZEN_OTEL_HTTP_PORT}"}
processors:
  memory_limiter: {check_interval: 1s, limit_percentage: 80, spike_limit_percentage: 25}
exporters:
  otlp_grpc/jaeger: {endpoint: "${env:JAEGER_OTLP_ENDPOINT}", tls: {insecure: true}}
  prometheus_remote_write: {endpoint: "${env:PROMETHEUS_REMOTE_WRITE_ENDPOINT}"}
  elasticsearch: {endpoints: ["${env:ELASTICSEARCH_ENDPOINT}"]}
service:
  extensions: [health_check]
  telemetry:
    metrics:
      readers:
        - pull:
            exporter:
              prometheus: {host: 127.0.0.1, port: "${env:KAIZEN_OTEL_METRICS_PORT}"}
  pipelines:
    traces: {receivers: [otlp], processors: [memory_limiter], exporters: [otlp_grpc/jaeger]}
    metrics: {receivers: [otlp], processors: [memory_limiter], exporters: [prometheus_remote_write]}
    logs: {receivers: [otlp], processors: [memory_limiter], exporters: [elasticsearch]}
"""
NO_REDACTION: Final = """\
service:
  pipelines:
    traces: {processors: [memory_limiter]}
    metrics: {processors: [memory_limiter, delta_to_cumulative]}
    logs: {processors: [memory_limiter]}
"""
NO_SPAN_METRICS: Final = """\
service:
  pipelines:
    traces: {exporters: [otlp_grpc/jaeger]}
    metrics: {receivers: [otlp]}
"""
NO_SYNC: Final = """\
extensions:
  file_storage/queue: {fsync: false}
"""
#: What the gateway would do with batches: requests that arrive together leave together.
MERGING: Final = """\
exporters:
  otlp_grpc/jaeger: {sending_queue: {batch: {min_size: 1000000}}}
  elasticsearch: {sending_queue: {batch: {min_size: 1000}}}
"""

_EXPORTERS: Final = {
    "traces": "otlp_grpc/jaeger",
    "metrics": "prometheus_remote_write",
    "logs": "elasticsearch",
}
SIGNALS: Final = tuple(_EXPORTERS)
SMALL: Final = 16
"""Items of a request from an agent that is not busy."""
LARGE: Final = 512
_REQUESTS: Final = {SMALL: 500, LARGE: 80}
CONNECTIONS: Final = 8
MANY: Final = 64
"""Connections of as many agents, each with one audit record at a time."""
_AUDIT_REQUESTS: Final = {1: 1_500, 64: 300}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measurement: a config, what it is offered, and how."""

    name: str
    """Who carries it."""
    config: str
    """A shipped config's name, or a config."""
    overlays: tuple[str, ...] = ()
    """Names of overlays, or overlays."""
    signal: str
    exporter: str = ""
    """Whose counter says that all has been sent; none for audit, where the answer says it."""
    items: int
    """Of one request."""
    requests: int
    connections: int
    syncs: bool = False
    """Whether the audit folder syncs at every write."""


def telemetry_cases() -> list[Case]:
    """The gateway and the agent Collector beside the defaults; then what each part of it costs."""
    found = [
        _case(name, signal, items, config=config, exporter=exporter)
        for signal in SIGNALS
        for items in (LARGE, SMALL)
        for name, config, exporter in (
            ("defaults", DEFAULTS, _EXPORTERS[signal]),
            ("gateway", "gateway", _EXPORTERS[signal]),
            ("agent", "agent", "otlp_grpc/gateway"),
        )
    ]
    for signal, name, overlay in (
        ("traces", "gateway, no redaction", NO_REDACTION),
        ("traces", "gateway, no span_metrics", NO_SPAN_METRICS),
        ("logs", "gateway, no redaction", NO_REDACTION),
    ):
        found.append(_case(name, signal, LARGE, overlays=(overlay,), exporter=_EXPORTERS[signal]))
    durable = _case(
        "gateway, metrics-otlp", "metrics", LARGE,
        overlays=("metrics-otlp",), exporter="otlp_http/prometheus",
    )  # fmt: skip
    small = [
        _case(name, "logs", SMALL, overlays=(overlay,), exporter=_EXPORTERS["logs"])
        for name, overlay in (("gateway, no fsync", NO_SYNC), ("gateway, merging", MERGING))
    ]
    return [*found, durable, *small]


def audit_cases(*, can_sync: bool) -> list[Case]:
    """The audit pipeline: one shipper, eight at once, and many that send single records."""
    return [
        Case(
            name="audit",
            config="audit",
            signal="audit",
            items=items,
            requests=_AUDIT_REQUESTS[items],
            connections=connections,
            syncs=syncs,
        )
        for items in _AUDIT_REQUESTS
        for connections in (1, CONNECTIONS, *((MANY,) if items == 1 else ()))
        for syncs in ((False, True) if can_sync else (False,))
    ]


def _case(
    name: str,
    signal: str,
    items: int,
    *,
    exporter: str,
    config: str = "gateway",
    overlays: tuple[str, ...] = (),
) -> Case:
    return Case(
        name=name,
        config=config,
        overlays=overlays,
        signal=signal,
        exporter=exporter,
        items=items,
        requests=_REQUESTS[items],
        connections=CONNECTIONS,
    )
