"""The main job on four real backends: one agent run is found again in each of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel import AuditTrailManager
from kaizen_otel._doctor import examine
from kaizen_otel._stack import NativeStack, StackPorts
from kaizen_otel.errors import SetupError
from kaizen_otel.integrations.kaizen import enable_observability
from kaizen_otel.testing import (
    is_jaeger_available,
    query_jaeger_traces,
    query_prometheus,
    search_logs,
    wait_until,
)
from tests.e2e.world import World
from tests.kaizen.agents import tool_agent

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEADLINE_S = 60.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    running = NativeStack(directory=tmp_path_factory.mktemp("stack"), ports=StackPorts.free())
    try:
        running.up()
    except SetupError as error:
        pytest.skip(str(error))
    yield running
    running.down()


@pytest.mark.timeout(1200)
def test_one_agent_run_is_in_jaeger_prometheus_the_store_and_the_trail(
    stack: NativeStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    urls = stack.urls
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", urls["otlp_http"])
    monkeypatch.setenv("KAIZEN_OTEL_AUDIT_ENDPOINT", urls["audit"])
    monkeypatch.setenv("KAIZEN_OTEL_SPOOL_DIR", str(tmp_path / "spool"))
    agent = tool_agent()
    observed = enable_observability(agent, service_name="full-stack")
    instance = observed.instance_id
    for _ in range(3):
        agent.run(question="hi?", session_id="s1")
    assert observed.flush(30)
    agent.cleanup()

    assert is_jaeger_available(urls["jaeger"])

    def three_traces() -> list[dict[str, Any]]:
        found = query_jaeger_traces("full-stack", url=urls["jaeger"])
        return found if len(found) == 3 else []

    traces = wait_until(three_traces, DEADLINE_S)
    for trace in traces:
        names = {span["spanID"]: span["operationName"] for span in trace["spans"]}
        parents = {
            span["operationName"]: names[span["references"][0]["spanID"]]
            if span["references"]
            else None
            for span in trace["spans"]
        }
        assert parents == {
            "invoke_agent ToolAgent": None,
            "search_memory": "invoke_agent ToolAgent",
            "execute_tool search": "invoke_agent ToolAgent",
            "upsert_memory": "invoke_agent ToolAgent",
        }

    question = (
        f'gen_ai_execute_tool_duration_seconds_count{{instance="{instance}",'
        'gen_ai_tool_name="search"}'
    )
    series = wait_until(lambda: query_prometheus(question, url=urls["prometheus"]), DEADLINE_S)
    assert [one["value"][1] for one in series] == ["3"]
    quantile = (
        "histogram_quantile(0.95, sum by (le) (gen_ai_invoke_agent_duration_seconds_bucket"
        f'{{instance="{instance}"}}))'
    )
    (answer,) = query_prometheus(quantile, url=urls["prometheus"])
    assert float(answer["value"][1]) > 0

    # The ledger is there too: what was sent last at the end says that all of it was taken.
    delivered = (
        f'sum(otel_sdk_exporter_span_exported_total{{instance="{instance}", error_type=""}}) == 12'
    )
    assert wait_until(lambda: query_prometheus(delivered, url=urls["prometheus"]), DEADLINE_S)

    for trace in traces:
        trace_id = trace["traceID"]
        ask = functools.partial(search_logs, trace_id, url=urls["elasticsearch"])
        logs = wait_until(ask, DEADLINE_S)
        assert {log["event_name"] for log in logs} == {"kaizen.agent.start", "kaizen.agent.end"}

    world = World(stack.audit_directory, None)  # type: ignore[arg-type]
    records = world.trail("audit.jsonl", instance)
    tools = [r for r in records if r["eventName"] == "kaizen.tool.execute"]
    assert len(tools) == 6
    assert {r["traceId"] for r in tools} == {trace["traceID"] for trace in traces}


@pytest.mark.timeout(300)
def test_the_doctor_finds_every_canary_where_it_should_arrive(
    stack: NativeStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    urls = stack.urls
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", urls["otlp_http"])
    monkeypatch.setenv("KAIZEN_OTEL_AUDIT_ENDPOINT", urls["audit"])
    monkeypatch.setenv("KAIZEN_OTEL_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("KAIZEN_OTEL_AUDIT_DIR", str(stack.audit_directory))
    # As the first agent does: the doctor signs with what is there.
    audit = AuditTrailManager()
    assert audit.record("agent", "tool_execute", {}, "success").wait(10)
    audit.shutdown(timeout_ms=5_000)
    findings = {
        finding.subject: finding
        for finding in examine(
            jaeger=urls["jaeger"],
            prometheus=urls["prometheus"],
            elasticsearch=urls["elasticsearch"],
            arrival_s=DEADLINE_S,
        )
    }
    for subject in ("traces", "metrics", "logs", "audit"):
        assert findings[subject].level == "ok", findings[subject]
        assert findings[subject].message.startswith("arrived in"), findings[subject]
