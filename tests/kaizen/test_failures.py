"""A run that fails is recorded as failed, and the framework's own answer is unchanged."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from kaizen.config.providers import ConfigurationError
from kaizen.memory.buffer import BufferMemory

from kaizen_otel import semconv
from tests.kaizen.agents import config, scripted_agent, tool_agent
from tests.kaizen.ways import INPUTS, WAYS, run_in_a_loop

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kaizen.agents import Untyped
    from tests.unit.integrations.recorder import RecordingManager


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
