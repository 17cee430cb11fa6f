"""The audit trail's counts as metrics, looked up when metrics are collected: no cost per record."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaizen_otel import semconv
from kaizen_otel._audit_refusals import REASONS

if TYPE_CHECKING:
    from kaizen_otel.audit.status import AuditStatus
    from kaizen_otel.metrics import MetricsManager
    from kaizen_otel.semconv import Instrument

_SECOND_NS = 10**9


class AuditMeter:
    """Carries the counts of one process's audit trail into its metrics."""

    def __init__(self) -> None:
        self._told: dict[tuple[str, str], int] = {}

    def measure(self, status: AuditStatus, metrics: MetricsManager) -> None:
        """Record what has changed since the last call; the first one records every series."""
        self._count(semconv.AUDIT_EMITTED, status.emitted, metrics)
        self._count(semconv.AUDIT_DELIVERED, status.delivered, metrics)
        # Also those that did not happen, so that an alert on their rise sees the first one.
        for reason in {**dict.fromkeys(REASONS, 0), **status.refusals}:
            self._count(
                semconv.AUDIT_REFUSED, status.refusals.get(reason, 0), metrics, reason=reason
            )
        metrics.record(semconv.AUDIT_LAG, status.lag_ns / _SECOND_NS)
        metrics.record(semconv.AUDIT_SPOOL_BYTES, status.bytes_used)

    def _count(
        self, instrument: Instrument, count: int, metrics: MetricsManager, *, reason: str = ""
    ) -> None:
        key = (instrument.name, reason)
        attributes = {semconv.ERROR_TYPE: reason} if reason else None
        metrics.record(instrument, count - self._told.get(key, 0), attributes)
        self._told[key] = count
