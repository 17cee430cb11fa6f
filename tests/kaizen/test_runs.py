"""One run of a real agent becomes one tree, however it is called and however it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from kaizen.memory.buffer import BufferMemory
from kaizen.strategies.streaming import StreamingStrategy
from opentelemetry import trace

from kaizen_otel import semconv
from tests.kaizen.agents import config, model_agent, scripted_agent, tool_agent
from tests.kaizen.ways import INPUTS, TOOL_TREE, WAYS, run_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kaizen.agents import Untyped
    from tests.unit.integrations.recorder import RecordingManager


TIMESTAMP = len("2026-11-24T16:56:43.000000")


@pytest.mark.parametrize(("way", "settings"), WAYS)
def test_memory_tools_and_loop_are_one_tree(
    way: Callable[[Untyped], Untyped],
    settings: dict[str, Untyped],
    observe: Callable[..., Untyped],
    recording: RecordingManager,
) -> None:
    """The framework saves memory after its loop has ended: that too belongs to the run."""
    unobserved = way(tool_agent(config=config(**settings)))
    agent = observe(tool_agent(config=config(**settings)))
    assert way(agent) == unobserved
    assert way(agent) == unobserved
    assert recording.operations.trees() == [TOOL_TREE, TOOL_TREE]
    agents = recording.operations.named("invoke_agent", "ToolAgent")
    assert all(m.error is None for m in recording.operations.all)
    assert agents[0].span.get_span_context().trace_id != agents[1].span.get_span_context().trace_id


@pytest.mark.parametrize(("way", "settings"), WAYS)
def test_a_model_call_of_the_default_strategy_is_a_child(
    way: Callable[[Untyped], Untyped],
    settings: dict[str, Untyped],
    observe: Callable[..., Untyped],
    recording: RecordingManager,
) -> None:
    agent = observe(model_agent(**settings))
    way(agent)
    assert recording.operations.trees() == [("invoke_agent BaseAgent", ["chat mock-model"])]
    chat = recording.operations.only("chat").attributes
    assert chat[semconv.GEN_AI_PROVIDER_NAME] == "mock"
    assert chat[semconv.GEN_AI_RESPONSE_MODEL] == "mock-model"
    assert chat[semconv.GEN_AI_RESPONSE_FINISH_REASONS] == ["stop"]
    assert isinstance(chat[semconv.GEN_AI_USAGE_INPUT_TOKENS], int)
    assert isinstance(chat[semconv.GEN_AI_USAGE_OUTPUT_TOKENS], int)


def test_what_is_known_of_a_run_is_on_its_spans(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    observe(tool_agent()).run(**INPUTS)
    run = recording.operations.only("invoke_agent").attributes
    assert run[semconv.GEN_AI_AGENT_NAME] == "ToolAgent"
    assert run[semconv.GEN_AI_AGENT_ID] == "a1"
    assert run[semconv.KAIZEN_AGENT_ID] == "a1"
    assert run[semconv.GEN_AI_CONVERSATION_ID] == "s1"
    assert run[semconv.KAIZEN_SIGNATURE] == "Question"
    assert run[semconv.KAIZEN_STRATEGY] == "MultiCycleStrategy"
    tool = recording.operations.only("execute_tool").attributes
    assert tool[semconv.GEN_AI_TOOL_TYPE] == "function"
    assert tool[semconv.GEN_AI_AGENT_NAME] == "ToolAgent"
    assert tool[semconv.GEN_AI_CONVERSATION_ID] == "s1"
    load = recording.operations.only("search_memory").attributes
    assert load[semconv.GEN_AI_MEMORY_STORE_ID] == "BufferMemory"
    assert load[semconv.GEN_AI_MEMORY_RECORD_COUNT] == 0
    assert load[semconv.GEN_AI_CONVERSATION_ID] == "s1"
    save = recording.operations.only("upsert_memory").attributes
    # The question, the answer ("3", the first value of the result) and an ISO timestamp.
    assert save[semconv.KAIZEN_MEMORY_TURN_SIZE] == len("hi?") + len("3") + TIMESTAMP


def test_an_id_that_kaizen_made_up_is_no_agent_id(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    """It holds an address: a label of its own for every object."""
    agent = observe(scripted_agent(lambda *_: {"answer": "x"}), agent_name="helper")
    agent.run(question="hi")
    run = recording.operations.only("invoke_agent")
    assert run.name == "helper"
    assert semconv.GEN_AI_AGENT_ID not in run.attributes
    assert run.attributes[semconv.KAIZEN_AGENT_ID] == agent.agent_id
    assert not semconv.METRIC_ATTRIBUTES & {semconv.KAIZEN_AGENT_ID, semconv.GEN_AI_AGENT_ID}


def test_a_run_without_session_id_has_no_conversation(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    observe(tool_agent()).run(question="hi")
    assert recording.operations.trees() == [("invoke_agent ToolAgent", ["execute_tool search"])]
    run = recording.operations.only("invoke_agent")
    assert semconv.GEN_AI_CONVERSATION_ID not in run.attributes


# ------------------------------------------------------------------------------- other paths
def test_run_and_run_async_that_call_each_other_are_one_run(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = scripted_agent(lambda *_: {"answer": "x"})
    original = agent.run

    async def run_async(**inputs: Untyped) -> Untyped:
        return await asyncio.to_thread(agent.run, **inputs)

    agent.run_async = run_async
    assert agent.run is original
    asyncio.run(observe(agent).run_async(question="hi"))
    assert recording.operations.trees() == ["invoke_agent ToolAgent"]


def test_an_agent_that_runs_itself_again_has_a_run_inside_its_run(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    def script(agent: Untyped, inputs: dict[str, Untyped]) -> Untyped:
        if inputs["question"] == "once":
            return {"answer": "x"}
        return agent.run(question="once")

    observe(scripted_agent(script)).run(question="twice")
    assert recording.operations.trees() == [("invoke_agent ToolAgent", ["invoke_agent ToolAgent"])]


def test_a_strategy_called_without_a_run_is_a_run(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(tool_agent())
    agent.strategy.execute(agent, {"question": "hi"})
    assert recording.operations.trees() == [("invoke_agent ToolAgent", ["execute_tool search"])]


def test_a_streaming_strategy_is_a_run_while_it_is_read(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(scripted_agent(lambda *_: {"answer": ""}, strategy=StreamingStrategy(4)))

    async def main() -> list[str]:
        return [chunk async for chunk in agent.strategy.stream(agent, {})]

    assert len(asyncio.run(main())) == 3
    assert recording.operations.trees() == ["invoke_agent ToolAgent"]


def test_what_the_agent_is_given_later_is_observed_from_the_next_run(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(scripted_agent(lambda *_: {"answer": "x"}))
    agent.memory = BufferMemory()
    agent.strategy = tool_agent().strategy
    agent.run(**INPUTS)
    assert recording.operations.trees() == [TOOL_TREE]


class Exporter:
    def __init__(self) -> None:
        self.events: list[Untyped] = []

    def export(self, event: Untyped) -> None:
        self.events.append(event)


@pytest.mark.parametrize("attached_first", [True, False])
def test_an_attached_trace_exporter_goes_on_and_names_the_run(
    attached_first: bool, observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    exporter, agent = Exporter(), scripted_agent(lambda *_: {"answer": "x"})
    if attached_first:
        agent.attach_trace_exporter(exporter)
    observe(agent)
    if not attached_first:
        agent.attach_trace_exporter(exporter)
    assert agent.trace_exporter == exporter
    agent.run(question="hi")
    start, end = exporter.events
    assert start.run_id == end.run_id
    run = recording.operations.only("invoke_agent")
    assert run.attributes[semconv.KAIZEN_RUN_ID] == start.run_id


def test_a_span_around_the_run_is_its_parent(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(scripted_agent(lambda *_: {"answer": "x"}))
    outer = trace.NonRecordingSpan(trace.SpanContext(5, 6, is_remote=True))
    with trace.use_span(outer):
        agent.run(question="hi")
    run = recording.operations.only("invoke_agent")
    assert run.span.get_span_context().trace_id == 5


def test_events_to_trace_limits_the_spans_but_not_what_is_recorded(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    """A filter for pictures must not thin out the audit trail."""
    agent = observe(tool_agent(), events_to_trace=["pre_tool_use"])
    agent.run(**INPUTS)
    sent = [made.operation for made in recording.operations.all if made.span.flags & 1]
    assert sent == ["execute_tool"]
    assert len(recording.operations.all) == 4
    tool = recording.operations.only("execute_tool")
    assert tool.span.parent is None


def test_a_fault_of_ours_never_reaches_the_agent(
    observe: Callable[..., Untyped],
    recording: RecordingManager,
    caplog: pytest.LogCaptureFixture,
) -> None:
    unobserved = run_plain(tool_agent())
    agent = observe(tool_agent())
    recording.operations.broken = type("AgentFault", (Exception,), {})()
    assert run_plain(agent) == unobserved
    assert recording.operations.all == []
    assert "a call was not recorded: AgentFault" in caplog.text
