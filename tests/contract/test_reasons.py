"""The reasons for losses that the pages explain are those that there are."""

from __future__ import annotations

import re
from pathlib import Path

from kaizen_otel import _self_metrics
from kaizen_otel._audit_refusals import REASONS
from kaizen_otel._export import losses

DOCS = Path(__file__).parents[2] / "docs"
LOSSES = {*losses._ADVICE, "rejected"}
IN_METRICS = {_self_metrics._REFUSALS.get(reason, reason) for reason in LOSSES}
CODE = re.compile(r"`([a-z]+(?:_[a-z]+)*)`")


def reasons_under(page: str, heading: str) -> set[str]:
    section = (DOCS / page).read_text().partition(f"# {heading}\n")[2].partition("\n#")[0]
    return set(CODE.findall(section))


def test_every_reason_for_which_audit_records_are_refused_is_explained() -> None:
    explained = reasons_under("how-to/alerts.md", "KaizenAuditRefused")
    assert explained - {"block_action"} == set(REASONS)


def test_a_reason_for_a_loss_that_a_page_explains_exists() -> None:
    explained = reasons_under("troubleshooting.md", "Telemetry was dropped")
    assert {"buffer_full", "shutdown", "rejected"} <= explained <= LOSSES
    explained = reasons_under("how-to/alerts.md", "KaizenTelemetryDropped")
    assert {"queue_full", "already_shutdown", "rejected"} <= explained <= IN_METRICS
