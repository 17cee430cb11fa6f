"""Telemetry as text for people: the trace as a tree, metrics, log lines, audit records.

Everything here is in OTLP/JSON's shape, read back from where it was stored.  Names come from
agents and tools and may be hostile, so control characters never reach the terminal.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, cast

from kaizen_otel._otlp.decode import plain_attributes, plain_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Json = dict[str, Any]
_NAME_WIDTH: Final = 46
_ERROR: Final = frozenset({2, "2", "STATUS_CODE_ERROR"})


@dataclass(slots=True)
class SpanNode:
    """One span of a tree."""

    span: Json
    service: str
    children: list[SpanNode] = field(default_factory=list["SpanNode"])

    @property
    def duration_ms(self) -> float:
        """Milliseconds from start to end."""
        return (int(self.span["endTimeUnixNano"]) - int(self.span["startTimeUnixNano"])) / 1e6


def safe_line(text: object) -> str:
    """``text`` on one line, without control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def iter_items(
    request: Json, resources: str, scopes: str, items: str
) -> Iterator[tuple[Json, dict[str, object]]]:
    """Each item of a decoded request with its Resource's attributes."""
    for resource in cast("list[Json]", request.get(resources) or []):
        owner: Json = resource.get("resource") or {}
        attributes = plain_attributes(owner.get("attributes"))
        for scope in cast("list[Json]", resource.get(scopes) or []):
            for item in cast("list[Json]", scope.get(items) or []):
                yield item, attributes


def iter_spans(request: Json) -> Iterator[tuple[Json, dict[str, object]]]:
    """Each span of a request with its Resource's attributes."""
    return iter_items(request, "resourceSpans", "scopeSpans", "spans")


def iter_metrics(request: Json) -> Iterator[tuple[Json, dict[str, object]]]:
    """Each metric of a request with its Resource's attributes."""
    return iter_items(request, "resourceMetrics", "scopeMetrics", "metrics")


def iter_logs(request: Json) -> Iterator[tuple[Json, dict[str, object]]]:
    """Each log record of a request with its Resource's attributes."""
    return iter_items(request, "resourceLogs", "scopeLogs", "logRecords")


def is_error(span: Json) -> bool:
    """Whether a span's status says that it failed."""
    status: object = span.get("status")
    return isinstance(status, dict) and cast("Json", status).get("code") in _ERROR


def build_trees(spans: Iterable[tuple[Json, Mapping[str, object]]]) -> dict[str, list[SpanNode]]:
    """Trees by trace id.

    A span whose parent is not there is a root; spans that came twice count once; children are in
    the order of their start.
    """
    nodes: dict[tuple[str, str], SpanNode] = {}
    for span, resource in spans:
        key = (span["traceId"], span["spanId"])
        nodes.setdefault(key, SpanNode(span, str(resource.get("service.name", ""))))
    trees: dict[str, list[SpanNode]] = {}
    for (trace_id, _), node in nodes.items():
        parent = nodes.get((trace_id, node.span.get("parentSpanId") or ""))
        (trees.setdefault(trace_id, []) if parent is None else parent.children).append(node)
    for node in nodes.values():
        node.children.sort(key=lambda child: int(child.span["startTimeUnixNano"]))
    for roots in trees.values():
        roots.sort(key=lambda root: int(root.span["startTimeUnixNano"]))
    return trees


def render_trees(trees: Mapping[str, list[SpanNode]]) -> Iterator[str]:
    """Lines of all trees: names, durations, errors."""
    for trace_id, roots in trees.items():
        yield f"trace {trace_id}"
        for root in roots:
            yield _span_line(root, "", "")
            yield from _render_children(root, "")


def _render_children(node: SpanNode, indent: str) -> Iterator[str]:
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        yield _span_line(child, indent + ("└─ " if last else "├─ "), node.service)
        yield from _render_children(child, indent + ("   " if last else "│  "))


def _span_line(node: SpanNode, prefix: str, service_above: str) -> str:
    span = node.span
    name = (prefix + safe_line(span.get("name", ""))).ljust(_NAME_WIDTH)
    line = f"  {name} {node.duration_ms:10.1f} ms"
    if is_error(span):
        attributes = plain_attributes(span.get("attributes"))
        line += f"  ERROR {safe_line(attributes.get('error.type', ''))}".rstrip()
    if node.service != service_above:
        line += f"  [{safe_line(node.service)}]"
    return line


def render_metrics(metrics: Iterable[tuple[Json, Mapping[str, object]]]) -> Iterator[str]:
    """The newest value of every series, one line each."""
    newest: dict[tuple[str, str], str] = {}
    for metric, _ in metrics:
        name = safe_line(metric.get("name", ""))
        for point in _points(metric):
            attributes = plain_attributes(point.get("attributes"))
            labels = ", ".join(f"{_short(k)}={safe_line(v)}" for k, v in attributes.items())
            newest[name, labels] = _point_text(point, str(metric.get("unit", "")))
    for (name, labels), text in sorted(newest.items()):
        yield f"  {name}{{{labels}}} {text}"


def _short(key: str) -> str:
    # A terminal is narrow, and what is cut off here is the same in every line.
    return safe_line(key.removeprefix("gen_ai.").removesuffix(".name"))


def _points(metric: Json) -> list[Json]:
    for kind in ("sum", "gauge", "histogram", "exponentialHistogram"):
        if kind in metric:
            return cast("list[Json]", metric[kind].get("dataPoints") or [])
    return []


def _point_text(point: Json, unit: str) -> str:
    shown = "" if not unit or unit.startswith("{") else f" {unit}"
    if "count" in point or "sum" in point:
        count = int(point.get("count", 0))
        return f"count {count}, sum {float(point.get('sum', 0.0)):.4g}{shown}"
    value = float(str(point.get("asDouble", point.get("asInt", 0))))
    return f"{value:g}{shown}"


def render_log(record: Json) -> str:
    """One log record on one line."""
    body = plain_value(record.get("body") or {})
    event = record.get("eventName") or plain_attributes(record.get("attributes")).get("event.name")
    trace = str(record.get("traceId") or "")[:8]
    return (
        f"  {_time(record)} {record.get('severityText') or '':5} "
        f"{'trace ' + trace + ' ' if trace else ''}{safe_line(event or '')}"
        f"{'  ' if event and body else ''}{safe_line(body or '')}"
    ).rstrip()


def render_audit(record: Json) -> str:
    """One audit record on one line: when, what, phase, who, on what, result."""
    found = plain_attributes(record.get("attributes"))
    event = safe_line(record.get("eventName") or "")
    phase = safe_line(found.get("kaizen.audit.phase", ""))
    parts = [f"  {_time(record)} {event:22} {phase:8}"]
    for label, key in (
        ("by", "audit.actor.id"),
        ("on", "audit.target.id"),
        ("decision", "kaizen.decision"),
        ("result", "audit.outcome"),
    ):
        if key in found and found[key] != "unknown":
            parts.append(f"{label} {safe_line(found[key])}")
    return " ".join(parts).rstrip()


def _time(record: Json) -> str:
    nanoseconds = int(record.get("timeUnixNano") or record.get("observedTimeUnixNano") or 0)
    moment = dt.datetime.fromtimestamp(nanoseconds / 1e9, dt.UTC)
    return moment.strftime("%H:%M:%S.%f")[:-3]
