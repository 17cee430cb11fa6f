"""Real agents through the real pipeline, up to the requests that would be sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel._pipeline import Pipeline
from kaizen_otel.config import Config
from kaizen_otel.integrations import kaizen
from kaizen_otel.testing.fakes import FakeTransport
from tests.kaizen.agents import scripted_agent, tool_agent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.kaizen.agents import Untyped

INPUTS = {"question": "a secret question", "session_id": "s1"}


class Wire:
    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.transport = FakeTransport()
        self.pipeline = Pipeline(
            Config.from_environment(dict(environment or {})),
            transports=dict.fromkeys(("traces", "metrics", "logs"), self.transport),
        )

        self.agents: list[Untyped] = []

    def close(self) -> None:
        for agent in self.agents:
            kaizen.disable_observability(agent)
        self.pipeline.shutdown(5_000)

    def enable(self, agent: Untyped, **arguments: Untyped) -> Untyped:
        self.agents.append(agent)
        switches = {"enable_audit": False, "pipeline": self.pipeline}
        return kaizen.enable_observability(agent, **{**switches, **arguments})

    def sent(self, signal: Untyped) -> list[tuple[str, dict[str, Any]]]:
        """Service name and item of everything that arrived."""
        assert self.pipeline.flush(30_000)
        outer, inner, items = {
            "traces": ("resourceSpans", "scopeSpans", "spans"),
            "metrics": ("resourceMetrics", "scopeMetrics", "metrics"),
            "logs": ("resourceLogs", "scopeLogs", "logRecords"),
        }[signal]
        return [
            (attributes(group["resource"])["service.name"], item)
            for request in self.transport.taken(signal)
            for group in request[outer]  # type: ignore[attr-defined]
            for scope in group[inner]
            for item in scope[items]
        ]


def attributes(item: Mapping[str, Any]) -> dict[str, Any]:
    return {a["key"]: next(iter(a["value"].values()), None) for a in item.get("attributes", [])}


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def test_a_nested_agent_keeps_its_own_resource_inside_the_callers_trace(wire: Wire) -> None:
    inner = tool_agent(agent_id="inner")
    outer = tool_agent(agent_id="outer", tools={"search": lambda q: inner.run(question=q)})
    wire.enable(outer, service_name="front")
    wire.enable(inner, service_name="back")
    outer.run(**INPUTS)
    spans = wire.sent("traces")
    services = sorted((service, span["name"]) for service, span in spans)
    assert services == [
        ("back", "execute_tool search"),
        ("back", "invoke_agent ToolAgent"),
        ("front", "execute_tool search"),
        ("front", "invoke_agent ToolAgent"),
        ("front", "search_memory"),
        ("front", "upsert_memory"),
    ]
    assert len({span["traceId"] for _, span in spans}) == 1
    by_id = {span["spanId"]: (service, span["name"]) for service, span in spans}
    parents = {
        (service, span["name"]): by_id.get(span.get("parentSpanId", "")) for service, span in spans
    }
    assert parents["back", "invoke_agent ToolAgent"] == ("front", "execute_tool search")
    assert parents["back", "execute_tool search"] == ("back", "invoke_agent ToolAgent")


@pytest.mark.parametrize(
    ("environment", "argument", "service"),
    [
        ({}, None, "ToolAgent"),
        ({"OTEL_SERVICE_NAME": "from-environment"}, None, "from-environment"),
        ({"OTEL_SERVICE_NAME": "from-environment"}, "argument", "argument"),
    ],
)
def test_the_service_is_the_argument_or_the_environment_or_the_class(
    environment: dict[str, str], argument: str | None, service: str
) -> None:
    wire = Wire(environment)
    manager = wire.enable(tool_agent(), service_name=argument)
    assert manager.get_service_name() == service
    wire.close()


def test_no_metric_has_an_agent_id_and_no_signal_has_content(wire: Wire) -> None:
    agent = tool_agent(agent_id=None, tools={"search": lambda q: f"secret {q}"})
    wire.enable(agent)
    agent.run(**INPUTS)
    everything = {signal: wire.sent(signal) for signal in ("traces", "metrics", "logs")}
    assert all(everything.values())
    text = json.dumps(everything)
    assert "secret" not in text
    metrics = json.dumps(everything["metrics"])
    assert agent.agent_id not in metrics
    assert "s1" not in metrics
    names = {metric["name"] for _, metric in everything["metrics"]}
    assert {
        "gen_ai.invoke_agent.duration",
        "gen_ai.execute_tool.duration",
        "kaizen.memory.operation.duration",
    } <= names
    assert "kaizen.telemetry.pairing_faults" not in names


def test_content_is_sent_where_its_capture_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "SPAN_ONLY")
    wire, agent = Wire(), tool_agent()
    wire.enable(agent)
    agent.run(**INPUTS)
    (tool,) = [span for _, span in wire.sent("traces") if span["name"] == "execute_tool search"]
    found = attributes(tool)
    assert found["gen_ai.tool.call.arguments"]["values"][0]["key"] == "q"
    assert found["gen_ai.tool.call.result"]["values"][0]["key"] == "rows"
    wire.close()


def test_a_failed_run_is_one_error_with_its_reason_in_every_signal(wire: Wire) -> None:
    class DatabaseError(Exception):
        pass

    def script(*_: Untyped) -> Untyped:
        raise DatabaseError("down")

    agent = scripted_agent(script)
    wire.enable(agent)
    agent.run(question="hi")
    ((_, span),) = wire.sent("traces")
    kind = f"{__name__}.{DatabaseError.__qualname__}"
    assert span["status"]["code"] == 2
    assert attributes(span)["error.type"] == kind
    durations = [m for _, m in wire.sent("metrics") if m["name"] == "gen_ai.invoke_agent.duration"]
    duration = durations[-1]  # metrics are sent anew with each flush
    point = duration["histogram"]["dataPoints"][-1]
    assert attributes(point)["error.type"] == kind
    events = [record["eventName"] for _, record in wire.sent("logs")]
    assert events == ["kaizen.agent.start", "kaizen.agent.exception", "kaizen.agent.end"]


@pytest.mark.parametrize("tracing", [True, False])
@pytest.mark.parametrize("metrics", [True, False])
@pytest.mark.parametrize("logging", [True, False])
def test_every_combination_of_switches_sends_exactly_what_is_on(
    wire: Wire, tracing: bool, metrics: bool, logging: bool
) -> None:
    agent = tool_agent()
    wire.enable(agent, enable_tracing=tracing, enable_metrics=metrics, enable_logging=logging)
    agent.run(**INPUTS)
    sent = {signal: bool(wire.sent(signal)) for signal in ("traces", "metrics", "logs")}
    assert sent == {"traces": tracing, "metrics": metrics, "logs": logging}
    agent.cleanup()


def test_cleanup_of_one_agent_leaves_the_others_observed(wire: Wire) -> None:
    first, second = tool_agent(), tool_agent()
    wire.enable(first, service_name="first")
    wire.enable(second, service_name="second")
    first.cleanup()
    second.run(**INPUTS)
    assert {service for service, _ in wire.sent("traces")} == {"second"}


def test_events_to_trace_thins_out_spans_only(wire: Wire) -> None:
    agent = tool_agent()
    wire.enable(agent, events_to_trace=["pre_agent_loop"])
    agent.run(**INPUTS)
    assert [span["name"] for _, span in wire.sent("traces")] == ["invoke_agent ToolAgent"]
    names = {metric["name"] for _, metric in wire.sent("metrics")}
    assert "gen_ai.execute_tool.duration" in names
