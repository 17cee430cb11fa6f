"""Agents inside agents, in threads, in tasks, several at a time."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from kaizen_otel import semconv
from kaizen_otel.integrations import kaizen
from tests.kaizen.agents import config, scripted_agent, tool_agent
from tests.kaizen.ways import INPUTS, TOOL_TREE, run_in_a_loop, run_plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kaizen.agents import Untyped
    from tests.unit.integrations.recorder import RecordingManager


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


def test_an_agent_disabled_while_others_run_it_is_as_it_was(recording: RecordingManager) -> None:
    agent = tool_agent()
    before = dict(vars(agent))
    kaizen.enable_observability(agent, manager=recording.manager)
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run_plain, agent) for _ in range(40)]
        kaizen.disable_observability(agent)
        answers = [run.result() for run in runs]
    assert all(answer["answer"] == "done" for answer in answers)
    assert all(vars(agent)[name] is value for name, value in before.items())
    assert list(vars(agent)) == list(before)
