"""One run of a real agent becomes one tree, however it is called and however it ends."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from kaizen.config.providers import ConfigurationError
from kaizen.memory.buffer import BufferMemory
from kaizen.strategies.streaming import StreamingStrategy
from opentelemetry import trace

from kaizen_otel import semconv
from tests.kaizen.agents import config, model_agent, scripted_agent, tool_agent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kaizen.agents import Untyped
    from tests.unit.integrations.recorder import RecordingManager

TIMESTAMP = len("2026-11-24T16:56:43.000000")
INPUTS = {"question": "hi?", "session_id": "s1"}
TOOL_TREE = ("invoke_agent ToolAgent", ["search_memory", "execute_tool search", "upsert_memory"])


def run_plain(agent: Untyped) -> Untyped:
    return agent.run(**INPUTS)


def run_in_a_loop(agent: Untyped) -> Untyped:
    async def main() -> Untyped:
        return agent.run(**INPUTS)

    return asyncio.run(main())


def run_async(agent: Untyped) -> Untyped:
    return asyncio.run(agent.run_async(**INPUTS))


WAYS = [
    pytest.param(run_plain, {}, id="run"),
    pytest.param(run_in_a_loop, {}, id="run_in_a_running_loop"),
    pytest.param(run_async, {"use_async_llm": True}, id="run_async"),
]


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


# ------------------------------------------------------------------------------------ failures
class DatabaseError(Exception):
    pass


@pytest.mark.parametrize(("way", "settings"), WAYS)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_strategy_that_raises_fails_the_run_and_changes_nothing_else(
    way: Callable[[Untyped], Untyped],
    settings: dict[str, Untyped],
    asynchronous: bool,
    observe: Callable[..., Untyped],
    recording: RecordingManager,
) -> None:
    failure = DatabaseError("down")

    def plain(*_: Untyped) -> Untyped:
        raise failure

    async def coroutine(*_: Untyped) -> Untyped:
        raise failure

    script = coroutine if asynchronous else plain
    result = way(observe(scripted_agent(script, config=config(**settings))))
    assert result == {"error": "down", "type": "DatabaseError", "success": False}
    assert recording.operations.only("invoke_agent").error is failure


@pytest.mark.parametrize(("way", "settings"), WAYS)
def test_an_exception_that_leaves_the_agent_is_the_same_object(
    way: Callable[[Untyped], Untyped],
    settings: dict[str, Untyped],
    observe: Callable[..., Untyped],
    recording: RecordingManager,
) -> None:
    failure = DatabaseError("down")

    def script(*_: Untyped) -> Untyped:
        raise failure

    raising = config(error_handling_enabled=False, **settings)
    with pytest.raises(DatabaseError) as caught:
        way(observe(scripted_agent(script, config=raising)))
    assert caught.value is failure
    assert recording.operations.only("invoke_agent").error is failure


def test_a_result_is_the_same_object(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    result = {"answer": "x"}
    agent = observe(scripted_agent(lambda *_: result))
    assert agent.run(question="hi") is result
    assert recording.operations.only("invoke_agent").error is None


def test_a_configuration_error_is_raised_and_recorded(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    failure = ConfigurationError("no provider")

    def script(*_: Untyped) -> Untyped:
        raise failure

    with pytest.raises(ConfigurationError) as caught:
        observe(scripted_agent(script)).run(question="hi")
    assert caught.value is failure
    assert recording.operations.only("invoke_agent").error is failure


def test_a_result_that_reports_a_failure_is_one(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    answers = [
        {"success": False, "error": "full", "type": "QuotaError", "answer": ""},
        {"success": False, "error": "the disk is full", "answer": ""},
        {"success": True, "error": "JSON_PARSE_FAILED", "answer": ""},
    ]
    agent = observe(scripted_agent(lambda *_: answers.pop(0)))
    for _ in range(3):
        agent.run(question="hi")
    errors = [made.error for made in recording.operations.all]
    assert errors == ["QuotaError", "_OTHER", None]


def test_the_real_reason_is_recorded_where_kaizen_replaces_it(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    """core/agent_loop.py:364 takes any RuntimeError for "no running loop" and starts over."""
    failure = RuntimeError("the real reason")

    async def script(*_: Untyped) -> Untyped:
        raise failure

    with pytest.warns(RuntimeWarning, match="never awaited"):
        result = run_in_a_loop(observe(scripted_agent(script)))
    assert "asyncio.run() cannot be called" in result["error"]
    assert recording.operations.only("invoke_agent").error is failure


def test_a_handled_failure_is_still_a_failed_run(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    """Kaizen's own trace exporter says status=error there, too."""
    failure = DatabaseError("down")

    def script(*_: Untyped) -> Untyped:
        raise failure

    agent = scripted_agent(script)
    agent._handle_error = lambda *_: {"answer": "sorry"}
    assert observe(agent).run(question="hi") == {"answer": "sorry"}
    assert recording.operations.only("invoke_agent").error is failure


def test_a_memory_that_raises_fails_its_span_and_the_run(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    failure = DatabaseError("no memory")

    class Forgetful(BufferMemory):  # type: ignore[misc]
        def load_context(self, _: str) -> Untyped:
            raise failure

    result = observe(tool_agent(memory=Forgetful())).run(**INPUTS)
    assert result["type"] == "DatabaseError"
    assert recording.operations.trees() == [("invoke_agent ToolAgent", ["search_memory"])]
    assert [made.error for made in recording.operations.all] == [failure, failure]


def test_a_tool_that_raises_fails_its_span(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    failure = DatabaseError("no rows")

    def search(q: str) -> Untyped:
        raise failure

    observe(tool_agent(tools={"search": search})).run(**INPUTS)
    assert recording.operations.only("execute_tool").error is failure


def test_a_tool_that_answers_a_failure_fails_its_span(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    def search(q: str) -> Untyped:
        return SimpleNamespace(success=False, result=None, error="no rows")

    observe(tool_agent(tools={"search": search})).run(**INPUTS)
    assert recording.operations.only("execute_tool").error == "tool_error"
    assert recording.operations.only("invoke_agent").error is None


def test_a_tool_that_times_out_fails_its_span(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    async def search(q: str) -> Untyped:
        await asyncio.wait_for(asyncio.Event().wait(), 0.01)

    observe(tool_agent(tools={"search": search})).run(**INPUTS)
    error = recording.operations.only("execute_tool").error
    assert isinstance(error, TimeoutError)
    assert semconv.error_type(error) == "timeout"


def test_a_cancelled_run_ends_all_its_spans(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    async def forever(q: str) -> Untyped:
        await asyncio.Event().wait()

    async def script(agent: Untyped, _: Untyped) -> Untyped:
        return await agent.execute_tool("search", {"q": "x"})

    agent = observe(
        scripted_agent(script, config=config(use_async_llm=True), tools={"search": forever})
    )

    async def main() -> None:
        task = asyncio.create_task(agent.run_async(question="hi"))
        while not recording.operations.named("execute_tool", "search"):  # noqa: ASYNC110
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    errors = [made.error for made in recording.operations.all]
    assert [type(error) for error in errors] == [asyncio.CancelledError] * 2


# ------------------------------------------------------------------------- several at a time
def test_an_agent_called_by_a_tool_is_a_child_of_the_tool(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    inner = observe(tool_agent(agent_id="inner"), agent_name="inner")

    def ask(q: str) -> Untyped:
        return inner.run(question=q, session_id="s2")

    outer = observe(tool_agent(tools={"search": ask}), agent_name="outer")
    outer.run(question="hi")
    children = ["search_memory", "execute_tool search", "upsert_memory"]
    assert recording.operations.trees() == [
        ("invoke_agent outer", [("execute_tool search", [("invoke_agent inner", children)])])
    ]
    conversations = {
        made.attributes.get(semconv.GEN_AI_CONVERSATION_ID)
        for made in recording.operations.all
        if made.attributes[semconv.KAIZEN_AGENT_ID] == "inner"
    }
    assert conversations == {"s2"}


def test_an_agent_called_by_another_strategy_is_a_child_of_its_run(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    inner = observe(scripted_agent(lambda *_: {"answer": "y"}), agent_name="inner")

    async def script(agent: Untyped, inputs: dict[str, Untyped]) -> Untyped:
        return await asyncio.to_thread(inner.run, **inputs)

    outer = observe(scripted_agent(script), agent_name="outer")
    run_in_a_loop(outer)
    assert recording.operations.trees() == [("invoke_agent outer", ["invoke_agent inner"])]


def test_parallel_calls_of_one_tool_are_siblings(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    async def search(q: str) -> Untyped:
        await asyncio.sleep(0)
        return q

    async def script(agent: Untyped, _: Untyped) -> Untyped:
        calls = (agent.execute_tool("search", {"q": str(n)}) for n in range(16))
        return {"answer": [found.result for found in await asyncio.gather(*calls)]}

    agent = observe(scripted_agent(script, tools={"search": search}))
    assert agent.run(question="hi")["answer"] == [str(n) for n in range(16)]
    assert recording.operations.trees() == [
        ("invoke_agent ToolAgent", ["execute_tool search"] * 16)
    ]


def test_many_agents_in_threads_and_tasks_keep_their_trees_apart(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    settings = config(use_async_llm=True)
    agents = [observe(tool_agent(agent_id=f"n{n}", config=settings)) for n in range(12)]

    async def tasks() -> None:
        await asyncio.gather(*(agent.run_async(**INPUTS) for agent in agents))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run_plain, agents * 3))
        list(pool.map(run_in_a_loop, agents))
    asyncio.run(tasks())
    assert recording.operations.trees() == [TOOL_TREE] * 60
    for root in recording.operations.roots():
        owners = {child.attributes[semconv.KAIZEN_AGENT_ID] for child in [root, *root.children]}
        assert len(owners) == 1


def test_one_agent_in_many_threads_keeps_its_runs_apart(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(tool_agent())
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(run_plain, [agent] * 40))
    assert recording.operations.trees() == [TOOL_TREE] * 40


def test_a_tool_called_in_a_thread_without_context_finds_the_only_run(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    def script(agent: Untyped, _: Untyped) -> Untyped:
        call = agent.execute_tool("search", {"q": "x"})
        thread = threading.Thread(target=asyncio.run, args=(call,))
        thread.start()
        thread.join()
        return {"answer": "x"}

    observe(scripted_agent(script)).run(question="hi")
    assert recording.operations.trees() == [("invoke_agent ToolAgent", ["execute_tool search"])]


def test_a_tool_called_outside_a_run_is_a_root_and_says_whose_it_is(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(tool_agent())
    asyncio.run(agent.execute_tool("search", {"q": "x"}))
    tool = recording.operations.only("execute_tool")
    assert tool.parent is None
    assert tool.attributes[semconv.GEN_AI_AGENT_NAME] == "ToolAgent"
    assert tool.attributes[semconv.KAIZEN_AGENT_ID] == "a1"


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
