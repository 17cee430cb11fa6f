"""Writes docs/names.md from the table in kaizen_otel/semconv.py."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from kaizen_otel import _semconv_sdk, semconv  # noqa: E402 - found by the line above
from kaizen_otel._prometheus_text import prometheus_name  # noqa: E402

HEAD = """\
# Names

<!-- Written by .ci/names.py from kaizen_otel/semconv.py; do not edit. -->

Spans, metrics and events follow the OpenTelemetry semantic conventions for generative AI. By
default the vocabulary is that of the official Python instrumentations (schema 1.37.0);
`OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental` selects the newest one and
`gen_ai_latest_experimental/dup` both. Names of our own are under `kaizen.*` only.

## Operations
"""


SELF = """\
## What became of the telemetry

The ledger is sent along as the conventions' own self-metrics (semantic conventions 1.44.0, status
Development) whenever metrics are collected, and once more at shutdown, after everything else. They
are numbers of the ledger: no span and no log record costs anything for them.
"""
SELF_END = """\

| the ledger says | the metrics say |
|---|---|
| delivered | `exported` without `error.type` |
| dropped, after it was part of a request | `exported` with `error.type`: the ledger's reason |
| dropped before | `processed` with `error.type`: the ledger's reason, except that \
`buffer_full` is `queue_full` and `shutdown` is `already_shutdown`, as the conventions demand |
| buffered | `queue.size` + `inflight`; data points have no queue, all of theirs is `inflight` |
| offered | `queue.size` + `processed` |

Attributes are `otel.component.type`, `otel.component.name`, `error.type`, and for exporters
`server.address` and `server.port`. There is no `otel.sdk.span.started`, `otel.sdk.span.live` or
`otel.sdk.log.created` of ours, because counting them would cost something for each item, and no
`queue.capacity`, because our queue is bounded by bytes.
"""


def document() -> str:
    """The page."""
    lines = [HEAD, "| operation | span | kind | duration | log events | audit record |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for rule in semconv.RULES.values():
        target = f" {{{rule.target}}}" if rule.target else ""
        kind = "CLIENT" if rule.kind == semconv.CLIENT else "INTERNAL"
        names = dict.fromkeys(i.name for i in rule.duration + rule.duration_latest)
        durations = ", ".join(f"`{name}`" for name in names)
        events = ", ".join(f"`{e}`" for e in (rule.start_event, rule.end_event) if e)
        audit = f"`{rule.audit_event}` {rule.audit_action}" if rule.audit_event else ""
        if rule.intent:
            audit += ", with an intent before"
        lines.append(
            f"| `{rule.operation}` | `{rule.operation}{target}` | {kind} | {durations} | {events} "
            f"| {audit} |"
        )
    lines += ["", "## Metrics", "", "| name | kind | unit | in Prometheus | buckets |",
              "|---|---|---|---|---|"]  # fmt: skip
    for instrument in sorted(semconv.INSTRUMENTS.values(), key=lambda one: one.name):
        buckets = ""
        if instrument.kind == "histogram":
            buckets = " ".join(f"{bound:g}" for bound in instrument.buckets)
        lines.append(
            f"| `{instrument.name}` | {instrument.kind.replace('_', '-')} | `{instrument.unit}` "
            f"| `{prometheus_name(instrument)}` | {buckets} |"
        )
    allowed = ", ".join(f"`{name}`" for name in sorted(semconv.METRIC_ATTRIBUTES))
    lines += ["", f"Attributes of these metrics are only: {allowed}.", ""]
    lines += [SELF, "| name | kind | unit | in Prometheus |", "|---|---|---|---|"]
    lines += [
        f"| `{one.name}` | {one.kind.replace('_', '-')} | `{one.unit}` | `{prometheus_name(one)}` |"
        for one in sorted(_semconv_sdk.INSTRUMENTS.values(), key=lambda one: one.name)
    ]
    return "\n".join([*lines, SELF_END])


if __name__ == "__main__":
    (ROOT / "docs" / "names.md").write_text(document(), encoding="utf-8")
