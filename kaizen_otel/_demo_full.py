"""The demo against the four real backends: the same run, found again by asking each of them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from kaizen_otel._collector.resources import state_directory
from kaizen_otel._demo import observe_agent, print_ledger, print_section, read_trail
from kaizen_otel._demo_agent import require_kaizen
from kaizen_otel._render import render_audit, safe_line
from kaizen_otel._stack import NativeStack
from kaizen_otel.errors import SetupError
from kaizen_otel.testing.backends import (
    query_jaeger_traces,
    query_prometheus,
    search_logs,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._demo import DemoRun

_DEADLINE_S: Final = 60.0


def run_full(*, model: str, say: Callable[[str], object]) -> None:
    """Start the backends, run the agent, ask Jaeger, Prometheus, OpenSearch and the trail.

    The backends go on running.  Raises ``SetupError`` if one does not show the run.
    """
    require_kaizen(model, os.environ)
    say("1. Jaeger, Prometheus, OpenSearch and the Collector (the first time they are built)")
    stack = NativeStack()
    stack.up()
    urls = stack.urls
    for name, url in sorted(urls.items()):
        say(f"   {name:16} {url}")
    run = observe_agent(
        endpoint=urls["otlp_http"],
        audit_endpoint=urls["audit"],
        spool=state_directory(os.environ) / "demo-spool",
        model=model,
        say=say,
    )
    say("3. What the backends answer")
    trace = _ask("Jaeger", lambda: _trace(urls["jaeger"], run))
    trace_id = str(trace["traceID"])
    print_section(f"Trace: {urls['jaeger']}/api/traces/{trace_id}", list(_jaeger_lines(trace)), say)
    query = f'{{service_instance_id="{run.instance_id}"}} or {{instance="{run.instance_id}"}}'
    series = _ask("Prometheus", lambda: query_prometheus(query, url=urls["prometheus"]))
    print_section(f"Metrics: {urls['prometheus']}", _series_lines(series), say)
    logs = _ask("OpenSearch", lambda: search_logs(trace_id, url=urls["elasticsearch"]))
    print_section(f"Logs: {urls['elasticsearch']}", _log_lines(logs), say)
    trail = stack.audit_directory / "audit.jsonl"
    records = read_trail(trail, run.instance_id)
    print_section(f"Audit trail: {trail}", [render_audit(record) for record in records], say)
    print_ledger(run, say)
    say("The backends go on running; stop them with: kaizen-otel stack down")


def _ask(name: str, question: Callable[[], Any]) -> Any:  # noqa: ANN401 - the backend's JSON
    try:
        return wait_until(question, _DEADLINE_S)
    except TimeoutError as error:
        raise SetupError(
            f"{name} does not show this run after {_DEADLINE_S:.0f} s: see 'kaizen-otel stack "
            "logs' and 'kaizen-otel doctor'"
        ) from error


def _trace(url: str, run: DemoRun) -> Mapping[str, Any] | None:
    for trace in query_jaeger_traces("Researcher", url=url):
        if run.instance_id in {
            tag["value"]
            for process in trace["processes"].values()
            for tag in process.get("tags", ())
            if tag["key"] == "service.instance.id"
        } and any(not span.get("references") for span in trace["spans"]):
            return trace
    return None


def _jaeger_lines(trace: Mapping[str, Any]) -> list[str]:
    spans = sorted(trace["spans"], key=lambda span: span["startTime"])
    parents = {s["spanID"]: s["references"][0]["spanID"] if s["references"] else "" for s in spans}

    def depth(span_id: str) -> int:
        parent = parents.get(span_id, "")
        return 0 if parent not in parents else 1 + depth(parent)

    return [
        f"  {'   ' * depth(s['spanID'])}{safe_line(s['operationName'])}"
        f"  {s['duration'] / 1000:.1f} ms"
        for s in spans
    ]


def _series_lines(series: list[Mapping[str, Any]]) -> list[str]:
    lines: list[str] = []
    for one in series:
        labels = dict(one["metric"])
        name = labels.pop("__name__", "")
        if name.endswith("_bucket") or name == "target_info" or name.startswith("otel_sdk_"):
            continue
        kept = {k: v for k, v in labels.items() if k.startswith(("gen_ai", "error", "kaizen"))}
        shown = ", ".join(f"{k}={safe_line(v)}" for k, v in sorted(kept.items()))
        lines.append(f"  {name}{{{shown}}} {one['value'][1]}")
    return sorted(lines)


def _log_lines(documents: list[Mapping[str, Any]]) -> list[str]:
    return [
        f"  {d.get('@timestamp')} {d.get('severity_text', '')} "
        f"{safe_line(d.get('event_name') or '')} {safe_line(_body(d))}".rstrip()
        for d in reversed(documents)
    ]


def _body(document: Mapping[str, Any]) -> object:
    body: Any = document.get("body") or ""
    return body if isinstance(body, str) else body.get("text", "")
