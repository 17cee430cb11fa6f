"""A small pipeline for one manager that a user makes by hand, without ``observe``."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaizen_otel import semconv
from kaizen_otel._edges import SystemClock, shared_ids
from kaizen_otel._export.buffer import Group, Ledger
from kaizen_otel._export.exporter import Exporter
from kaizen_otel._export.transports import open_transport
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._redaction import Redactor
from kaizen_otel._resource import SCOPE, resource_attributes
from kaizen_otel._warn import RateLimitedWarnings

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._export import Signal, Transport
    from kaizen_otel.config import Config


@dataclass(frozen=True, slots=True, kw_only=True)
class Standalone:
    """One signal's way out: ``sink`` takes an encoded item."""

    sink: Callable[[bytes], object]
    exporter: Exporter
    redactor: Redactor
    warn: Callable[[str], None]


def open_standalone(
    signal: Signal, service_name: str, config: Config, *, transport: Transport | None = None
) -> Standalone:
    """An exporter for one signal of one service, to ``transport`` or where ``config`` says."""
    clock, warn = SystemClock(), RateLimitedWarnings()
    exporter = Exporter(
        transports={signal: transport or open_transport(config.endpoints[signal], clock=clock)},
        ledger=Ledger(),
        clock=clock,
        ids_random=shared_ids().fraction,
        batch_size=config.batch_size,
        interval_ms=config.interval_ms,
        metric_interval_ms=config.metric_interval_ms,
        collect=None,
        warn=warn,
    )
    resource = encode_resource(
        resource_attributes(service_name, str(uuid.uuid4()), config.resource_attributes)
    )

    sink = exporter.sink(signal, Group(lambda: resource, SCOPE, semconv.SCHEMA_URL))
    for text in config.warnings:
        warn(text)
    return Standalone(sink=sink, exporter=exporter, redactor=Redactor(), warn=warn)
