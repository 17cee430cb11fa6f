"""Send the result of a verification as OTLP metrics, so that a dashboard can raise an alarm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel._export.buffer import Item
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._resource import SCOPE, resource_attributes
from kaizen_otel._standalone import open_standalone
from kaizen_otel.audit.verify import SEVERITIES
from kaizen_otel.metrics import MetricsManager
from kaizen_otel.semconv import SCHEMA_URL, Instrument

if TYPE_CHECKING:
    from kaizen_otel._edges import Clock, Ids
    from kaizen_otel._export import Transport
    from kaizen_otel.audit.verify import Verdict
    from kaizen_otel.config import Config

SERVICE_NAME: Final = "kaizen-otel-audit-verify"

FINDINGS: Final = Instrument(
    name="kaizen.audit.verify.findings", kind="gauge", unit="{finding}",
    description="Findings of the last verification of the audit trail, by kind and severity",
)  # fmt: skip
RECORDS: Final = Instrument(
    name="kaizen.audit.verify.records", kind="gauge", unit="{record}",
    description="Audit records that the last verification read, each once",
)  # fmt: skip
STREAMS: Final = Instrument(
    name="kaizen.audit.verify.streams", kind="gauge", unit="{stream}",
    description="Streams that the last verification read",
)  # fmt: skip
LAST_RUN: Final = Instrument(
    name="kaizen.audit.verify.last_run.time", kind="gauge", unit="s",
    description="When the audit trail was verified last, in seconds since the Unix epoch",
)  # fmt: skip
EXIT_CODE: Final = Instrument(
    name="kaizen.audit.verify.exit_code", kind="gauge", unit="1",
    description="Verdict of the last verification: 0 clean, 1 tampering, 2 incomplete, 3 nothing",
)  # fmt: skip

_TIMEOUT_MS: Final = 10_000


def metrics_of(verdict: Verdict, *, clock: Clock) -> MetricsManager:
    """Return the verdict as instruments; a severity without findings is there with 0."""
    manager = MetricsManager(time_ns=clock.time_ns)
    for severity in SEVERITIES:
        if not verdict.count(severity):
            manager.record(FINDINGS, 0, {"kind": "none", "severity": severity})
    for (kind, severity), count in sorted(verdict.counts.items()):
        manager.record(FINDINGS, count, {"kind": kind, "severity": severity})
    manager.record(RECORDS, verdict.records)
    manager.record(STREAMS, len(verdict.streams))
    manager.record(LAST_RUN, clock.time_ns() / 10**9)
    manager.record(EXIT_CODE, verdict.exit_code)
    return manager


def emit(
    verdict: Verdict,
    *,
    config: Config,
    clock: Clock,
    ids: Ids,
    transport: Transport | None = None,
) -> bool:
    """Send the verdict where OTEL_EXPORTER_OTLP_ENDPOINT says; False if nobody took it in 10 s."""
    way = open_standalone("metrics", SERVICE_NAME, config, transport=transport)
    resource = encode_resource(
        resource_attributes(SERVICE_NAME, ids.uuid7(), config.resource_attributes)
    )
    offered = 0
    for data, count in metrics_of(verdict, clock=clock).collect():
        offered += way.exporter.offer("metrics", Item(resource, SCOPE, SCHEMA_URL, data, count))
    is_sent = way.exporter.flush(_TIMEOUT_MS)
    is_closed = way.exporter.shutdown(_TIMEOUT_MS)
    return bool(offered) and is_sent and is_closed
