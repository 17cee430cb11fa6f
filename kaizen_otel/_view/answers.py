"""What the page asks for, as plain JSON: lists, a trace, a conversation, a metric, records."""

from __future__ import annotations

import json
import math
import time
from typing import TYPE_CHECKING, Any, Final, cast

from kaizen_otel import semconv
from kaizen_otel._otlp.decode import plain_attributes, plain_value
from kaizen_otel._render import is_error, iter_logs
from kaizen_otel._view.follow import LineRef
from kaizen_otel._view.index import spans_of, times_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kaizen_otel._render import Json
    from kaizen_otel._view.index import Index, TraceSummary
    from kaizen_otel._view.series import Metric, Series

PAGE: Final = 200
_SEARCH_S: Final = 2.0
_SPANS_MAX: Final = 20_000
_NAMES_MAX: Final = 500
_DEPTH_MAX: Final = 64
_KINDS: Final = {1: "internal", 2: "server", 3: "client", 4: "producer", 5: "consumer"}
_MESSAGES: Final = (
    "gen_ai.system_instructions",
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    semconv.GEN_AI_TOOL_CALL_ARGUMENTS,
    semconv.GEN_AI_TOOL_CALL_RESULT,
)


def overview(index: Index) -> Json:
    """Return what is there: counts, progress, problems, names to filter by."""
    with index.lock:
        traces = index.newest_traces()
        followers = index.followers.values()
        agents: set[str] = set()
        tools: set[str] = set()
        for summary in traces[:PAGE]:
            agents |= summary.agents
            tools |= summary.tools
        return {
            "directory": str(index.directory),
            "version": index.version,
            "complete": index.is_complete,
            "bytes": sum(follower.bytes_seen for follower in followers),
            "bytes_left": sum(follower.bytes_left for follower in followers),
            "counts": dict(index.counts),
            "traces": len(traces),
            "traces_dropped": index.dropped_traces,
            "series_refused": index.series.refused,
            "agents": sorted(agents)[:_NAMES_MAX],
            "tools": sorted(tools)[:_NAMES_MAX],
            "errors": [follower.error for follower in followers if follower.error],
            "half_written": [
                {"file": name, "bytes": size}
                for follower in followers
                for name, size in follower.half_written
            ],
            "too_long": [
                {"file": name, "bytes": size}
                for follower in followers
                for name, size in follower.too_long
            ],
            "problem_count": index.problem_count,
            "problems": list(index.problems),
        }


def list_traces(index: Index, asked: Mapping[str, str]) -> Json:
    """Return rows of traces, the newest first: ``q``, ``agent``, ``tool``, ``status``, ``skip``."""
    skip = whole_number(asked.get("skip"))
    deadline = time.monotonic() + _SEARCH_S
    rows: list[Json] = []
    seen = 0
    is_partial = False
    traces = index.newest_traces()
    for summary in traces:
        if time.monotonic() > deadline:
            is_partial = True
            break
        if _fits(index, summary, asked):
            seen += 1
            if seen > skip:
                rows.append(_row(summary))
            if len(rows) == PAGE:
                break
    more = len(rows) == PAGE
    return {"traces": rows, "more": more, "partial": is_partial, "total": len(traces)}


def trace(index: Index, trace_id: str) -> Json | None:
    """Return a trace with its spans in order, its log records and its audit records."""
    summary = index.traces.get(trace_id)
    if summary is None:
        return None
    spans = [_span(span, resource) for span, resource in spans_of(index, summary)]
    spans.sort(key=lambda span: (int(span["start"]), span["id"]))
    return {
        **_row(summary),
        "spans": spans[:_SPANS_MAX],
        "spans_left_out": max(0, len(spans) - _SPANS_MAX),
        "logs": records(index, "logs", {"trace": trace_id})["records"],
        "audit": records(index, "audit", {"trace": trace_id})["records"],
    }


def conversations(index: Index) -> Json:
    """Return the conversations, the newest first; a trace without an id is one of its own."""
    found: dict[str, Json] = {}
    for summary in index.newest_traces():
        key = summary.conversation or summary.trace_id
        row = found.get(key)
        if row is None:
            if len(found) == PAGE:
                continue
            row = found[key] = {
                "id": key,
                "named": bool(summary.conversation),
                "start": str(summary.start_ns),
                "end": str(summary.end_ns),
                "traces": 0,
                "errors": 0,
                "agents": [],
                "input_tokens": 0,
                "output_tokens": 0,
            }
        row["traces"] += 1
        row["errors"] += summary.errors
        row["start"] = str(min(int(row["start"]), summary.start_ns))
        row["end"] = str(max(int(row["end"]), summary.end_ns))
        row["input_tokens"] += summary.input_tokens
        row["output_tokens"] += summary.output_tokens
        row["agents"] = sorted({*row["agents"], *summary.agents})
    return {"conversations": list(found.values())}


def conversation(index: Index, key: str) -> Json | None:
    """Return the steps of a conversation: who did what, in order, with what was said if known."""
    mine = [t for t in index.newest_traces() if (t.conversation or t.trace_id) == key]
    if not mine:
        return None
    steps: list[Json] = []
    for summary in reversed(mine[:PAGE]):
        spans = sorted(
            (_span(span, resource) for span, resource in spans_of(index, summary)),
            key=lambda span: (int(span["start"]), span["id"]),
        )
        by_id = {span["id"]: span for span in spans}
        steps.extend(_step(summary.trace_id, span, by_id) for span in spans[:_SPANS_MAX])
    return {"id": key, "named": bool(mine[0].conversation), "traces": len(mine), "steps": steps}


def list_metrics(index: Index) -> Json:
    """Return the metrics by name, with how many series each has."""
    with index.lock:
        rows = [
            {**_metric_head(metric), "series": len(metric.series), "last": _last(metric)}
            for _, metric in sorted(index.series.metrics.items())
        ]
    return {"metrics": rows}


def metric(index: Index, name: str) -> Json | None:
    """Return a metric with the points of all its series."""
    with index.lock:
        found = index.series.metrics.get(name)
        if found is None:
            return None
        return {**_metric_head(found), "series": [_series(s) for s in found.series.values()]}


def records(index: Index, name: str, asked: Mapping[str, str]) -> Json:
    """Return log or audit records, the newest first.

    ``trace``, ``q``, ``event``, ``severity`` choose; ``before`` is the ``next`` of an earlier page.
    """
    trace_id = asked.get("trace", "")
    deadline = time.monotonic() + _SEARCH_S
    rows: list[Json] = []
    following = ""
    for ref in _refs(index, name, trace_id, asked.get("before", "")):
        if len(rows) >= PAGE or time.monotonic() > deadline:
            break
        following = f"{ref.file}:{ref.offset}"
        for request in reversed(index.requests(name, ref)):
            rows.extend(
                row
                for record, resource in reversed(list(iter_logs(request)))
                if _is_asked(row := _record(record, resource, ref), asked)
            )
    else:
        following = ""
    if trace_id:
        rows.sort(key=lambda row: int(row["time"]))
    return {"records": rows, "next": following}


def whole_number(text: str | None) -> int:
    """Read a number of the query, 0 if it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 12 else 0  # noqa: PLR2004 - longer ones are no count


def _refs(index: Index, name: str, trace_id: str, before: str) -> list[LineRef]:
    with index.lock:
        if trace_id:
            return sorted(set(index.by_trace[name].get(trace_id, ())), reverse=True)
        file, _, offset = before.partition(":")
        place = LineRef(whole_number(file), whole_number(offset), 0) if before else None
        return list(index.followers[name].refs(before=place))


def _fits(index: Index, summary: TraceSummary, asked: Mapping[str, str]) -> bool:
    agent, tool = asked.get("agent"), asked.get("tool")
    if (agent and agent not in summary.agents) or (tool and tool not in summary.tools):
        return False
    if asked.get("status") == "error" and not summary.errors:
        return False
    text = asked.get("q", "").strip().lower()
    if not text:
        return True
    known = (summary.root, summary.service, summary.conversation)
    names = (*known, *summary.agents, *summary.tools, *summary.models)
    if summary.trace_id.startswith(text) or any(text in name.lower() for name in names):
        return True
    return any(text in _text_of(span) for span, _ in spans_of(index, summary))


def _text_of(item: object) -> str:
    return json.dumps(item, ensure_ascii=False).lower()


def _row(summary: TraceSummary) -> Json:
    return {
        "id": summary.trace_id,
        "root": summary.root,
        "complete": summary.has_root,
        "service": summary.service,
        "start": str(summary.start_ns),
        "duration_ms": (summary.end_ns - summary.start_ns) / 1e6,
        "spans_count": summary.spans,
        "errors": summary.errors,
        "agents": sorted(summary.agents),
        "tools": sorted(summary.tools),
        "models": sorted(summary.models),
        "conversation": summary.conversation,
        "input_tokens": summary.input_tokens,
        "output_tokens": summary.output_tokens,
    }


def _span(span: Json, resource: Mapping[str, Any]) -> Json:
    start_ns, end_ns = times_of(span)
    kind = span.get("kind")
    status: Json = span.get("status") or {}
    events: list[Json] = span.get("events") or []
    links: list[Json] = span.get("links") or []
    return {
        "id": str(span.get("spanId", "")),
        "parent": str(span.get("parentSpanId") or ""),
        "name": str(span.get("name", "")),
        "kind": _KINDS.get(kind, "") if isinstance(kind, int) else str(kind or ""),
        "start": str(start_ns),
        "duration_ms": (end_ns - start_ns) / 1e6,
        "error": is_error(span),
        "status_message": str(status.get("message") or ""),
        "service": str(resource.get("service.name", "")),
        "attributes": plain_attributes(span.get("attributes")),
        "resource": dict(resource),
        "events": [
            {
                "time": str(event.get("timeUnixNano") or 0),
                "name": str(event.get("name", "")),
                "attributes": plain_attributes(event.get("attributes")),
            }
            for event in events
        ],
        "links": [
            {"trace": str(link.get("traceId", "")), "span": str(link.get("spanId", ""))}
            for link in links
        ],
    }


def _step(trace_id: str, span: Json, by_id: Mapping[str, Json]) -> Json:
    found = span["attributes"]
    depth, above = 0, by_id.get(span["parent"])
    by = found.get(semconv.GEN_AI_AGENT_NAME)
    # Foreign spans may be each other's parents.
    while above is not None and depth < _DEPTH_MAX:
        by = by or above["attributes"].get(semconv.GEN_AI_AGENT_NAME)
        depth, above = depth + 1, by_id.get(above["parent"])
    return {
        "trace": trace_id,
        "span": span["id"],
        "name": span["name"],
        "operation": str(found.get(semconv.GEN_AI_OPERATION_NAME, "")),
        "agent": str(by or ""),
        "depth": depth,
        "start": span["start"],
        "duration_ms": span["duration_ms"],
        "error": span["error"],
        "error_type": str(found.get(semconv.ERROR_TYPE, "")),
        "input_tokens": found.get(semconv.GEN_AI_USAGE_INPUT_TOKENS),
        "output_tokens": found.get(semconv.GEN_AI_USAGE_OUTPUT_TOKENS),
        "said": {key: found[key] for key in _MESSAGES if key in found},
    }


def _metric_head(metric: Metric) -> Json:
    return {
        "name": metric.name,
        "unit": metric.unit,
        "description": metric.description,
        "kind": metric.kind,
        "delta": metric.is_delta,
        "monotonic": metric.is_monotonic,
    }


def _last(metric: Metric) -> Json:
    points = [series.points[-1] for series in metric.series.values() if series.points]
    return {
        "value": sum(point.value for point in points),
        "count": sum(point.recorded for point in points),
    }


def _series(series: Series) -> Json:
    return {
        "attributes": series.attributes,
        "points": [[p.time_ns / 1e6, p.value, p.recorded] for p in series.points],
        "buckets": list(series.points[-1].buckets) if series.points else [],
        "bounds": list(series.points[-1].bounds) if series.points else [],
    }


def _record(record: Json, resource: Mapping[str, Any], ref: LineRef) -> Json:
    attributes = plain_attributes(record.get("attributes"))
    body = plain_value(record.get("body") or {})
    return {
        "place": f"{ref.file}:{ref.offset}",
        "time": str(record.get("timeUnixNano") or record.get("observedTimeUnixNano") or 0),
        "severity": str(record.get("severityText") or ""),
        "event": str(record.get("eventName") or attributes.get("event.name") or ""),
        "body": "" if body is None else body if isinstance(body, str) else json.dumps(body),
        "trace": str(record.get("traceId") or ""),
        "span": str(record.get("spanId") or ""),
        "service": str(resource.get("service.name", "")),
        "attributes": attributes,
        "resource": dict(resource),
    }


def _is_asked(row: Json, asked: Mapping[str, str]) -> bool:
    if asked.get("trace") and row["trace"] != asked["trace"]:
        return False
    if asked.get("event") and asked["event"] not in row["event"]:
        return False
    if asked.get("severity") and not row["severity"].upper().startswith(asked["severity"].upper()):
        return False
    text = asked.get("q", "").strip().lower()
    return not text or text in _text_of(row)


def iter_pages(index: Index, name: str, limit: int) -> Iterator[Json]:
    """Yield up to ``limit`` records over all pages, the newest first."""
    before, count = "", 0
    while count < limit:
        page = records(index, name, {"before": before} if before else {})
        for row in page["records"][: limit - count]:
            count += 1
            yield row
        before = page["next"]
        if not before:
            return


def encode_json(value: object) -> str:
    """Return JSON in ASCII; numbers that JSON has not (NaN, infinity) become texts."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:  # noqa: ANN401 - any part of an answer
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in cast("Json", value).items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in cast("list[Any]", value)]
    return value
