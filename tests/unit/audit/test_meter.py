"""The metric catalogue of the audit trail: collected from its counts, never per record."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

import kaizen_otel
from kaizen_otel import semconv
from kaizen_otel._audit_meter import AuditMeter
from kaizen_otel._audit_refusals import REASONS
from kaizen_otel.audit import AuditStatus
from kaizen_otel.metrics import MetricsManager

if TYPE_CHECKING:
    from kaizen_otel.testing import OtlpCapture

pytest_plugins = ["kaizen_otel.testing.fixtures"]

STATUS = AuditStatus(
    emitted=0,
    durable=0,
    delivered=0,
    refused=0,
    waiting=0,
    undelivered=0,
    quarantined=0,
    gaps=0,
    own=0,
    refusals={},
    sign_failures=0,
    key_id="",
    bytes_used=0,
    stream_id="",
    lag_ns=0,
    failing_ns=0,
    failure="",
)

NAMES = {
    "kaizen.audit.emitted",
    "kaizen.audit.delivered",
    "kaizen.audit.refused",
    "kaizen.audit.lag",
    "kaizen.audit.spool.bytes",
}


def test_the_first_collection_shows_every_series_at_zero() -> None:
    """An alert on the rise of a counter does not see a counter that begins at one."""
    metrics = MetricsManager()
    AuditMeter().measure(STATUS, metrics)
    assert [metrics.value(name) for name in sorted(NAMES - {"kaizen.audit.refused"})] == [0] * 4
    for reason in REASONS:
        assert metrics.value("kaizen.audit.refused", {"error.type": reason}) == 0


def test_counters_follow_the_counts_and_gauges_are_the_last_value() -> None:
    metrics, meter = MetricsManager(), AuditMeter()
    for factor in (1, 2, 2):
        status = replace(
            STATUS,
            emitted=10 * factor,
            delivered=7 * factor,
            refused=3 * factor,
            refusals={"spool_full": 3 * factor},
            lag_ns=1_500_000_000 // factor,
            bytes_used=4096 // factor,
        )
        meter.measure(status, metrics)
    assert metrics.value("kaizen.audit.emitted") == 20
    assert metrics.value("kaizen.audit.delivered") == 14
    assert metrics.value("kaizen.audit.refused", {"error.type": "spool_full"}) == 6
    assert metrics.value("kaizen.audit.refused", {"error.type": "too_large"}) == 0
    assert metrics.value("kaizen.audit.lag") == 0.75
    assert metrics.value("kaizen.audit.spool.bytes") == 2048


@pytest.mark.parametrize(
    ("name", "kind", "unit"),
    [
        ("kaizen.audit.emitted", "counter", "{record}"),
        ("kaizen.audit.delivered", "counter", "{record}"),
        ("kaizen.audit.refused", "counter", "{record}"),
        ("kaizen.audit.lag", "gauge", "s"),
        ("kaizen.audit.spool.bytes", "gauge", "By"),
    ],
)
def test_dashboards_rely_on_names_kinds_and_units(name: str, kind: str, unit: str) -> None:
    declared = semconv.INSTRUMENTS[name]
    assert (declared.kind, declared.unit) == (kind, unit)


def _last_values(capture: OtlpCapture) -> dict[str, float]:
    found: dict[str, float] = {}
    for metric in capture.metrics():
        data: dict[str, Any] = metric.get("sum") or metric.get("gauge") or {}
        if metric["name"] in NAMES and data:
            points = data["dataPoints"][-1:]
            found[metric["name"]] = sum(float(p.get("asInt", p.get("asDouble"))) for p in points)
    return found


def test_they_go_through_the_processes_metrics(otlp_capture: OtlpCapture) -> None:
    manager = kaizen_otel.observe("metered")
    assert manager.audit is not None
    for _ in range(5):
        assert manager.audit.emit("kaizen.tool.execute", {}).wait(10)
    assert manager.audit.flush(10_000)
    assert manager.flush()
    values = _last_values(otlp_capture)
    assert values["kaizen.audit.emitted"] == 5
    assert values["kaizen.audit.delivered"] >= 6, "with the record that begins the stream"
    assert values["kaizen.audit.lag"] == 0
    assert values["kaizen.audit.spool.bytes"] > 0
    assert manager.shutdown()


def test_who_does_not_audit_has_none_of_them(otlp_capture: OtlpCapture) -> None:
    manager = kaizen_otel.observe("not metered", enable_audit=False)
    manager.operations.begin("execute_tool", 1, name="t")
    manager.operations.end(1)
    manager.shutdown()
    assert _last_values(otlp_capture) == {}
