"""Real Kaizen agents that run offline: no key, no network, no MCP server.

What to know about kailash-kaizen 2.46.1: without ``mcp_servers=[]`` an agent starts a server
process; ``execute_tool`` must answer an object with ``success``, ``result`` and ``error`` (the
default's dictionary breaks ``MultiCycleStrategy``); several of its strategies print.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

from kaizen.core.base_agent import BaseAgent, BaseAgentConfig
from kaizen.memory.buffer import BufferMemory
from kaizen.signatures import InputField, OutputField, Signature
from kaizen.strategies.multi_cycle import MultiCycleStrategy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Untyped: TypeAlias = Any
"""A value of Kaizen's, which has no types."""


class Question(Signature):  # type: ignore[misc]
    """Answer a question."""

    question: str = InputField(description="the question")
    answer: str = OutputField(description="the answer")


class ToolAgent(BaseAgent):  # type: ignore[misc]
    """An agent whose tools are Python functions given by name."""

    def __init__(
        self, *, tools: dict[str, Callable[..., Untyped]] | None = None, **arguments: Untyped
    ) -> None:
        self.tools = tools or {}
        super().__init__(**arguments)

    async def execute_tool(
        self,
        tool_name: str,
        params: dict[str, Untyped],
        timeout: float | None = None,  # noqa: ASYNC109 - Kaizen's signature
    ) -> Untyped:
        del timeout
        tool = self.tools.get(tool_name)
        answer = tool(**params) if tool is not None else {"rows": 3}
        if asyncio.iscoroutine(answer):
            answer = await answer
        if isinstance(answer, SimpleNamespace):
            return answer
        return SimpleNamespace(success=True, result=answer, error=None)


class Scripted:
    """A strategy that does what a function does."""

    def __init__(self, script: Callable[[Untyped, dict[str, Untyped]], Untyped]) -> None:
        self.script = script

    def execute(self, agent: Untyped, inputs: dict[str, Untyped]) -> Untyped:
        return self.script(agent, inputs)


class AsyncScripted:
    """A strategy that does what a coroutine function does."""

    def __init__(self, script: Callable[[Untyped, dict[str, Untyped]], Awaitable[Untyped]]) -> None:
        self.script = script

    async def execute(self, agent: Untyped, inputs: dict[str, Untyped]) -> Untyped:
        return await self.script(agent, inputs)


def config(**changes: Untyped) -> Untyped:
    return BaseAgentConfig(**{"llm_provider": "mock", "model": "mock-model", **changes})


def search_then_finish(inputs: dict[str, Untyped], cycle: int) -> dict[str, Untyped]:
    """What a model would decide, without a model."""
    del inputs
    if cycle == 0:
        action = {"tool_name": "search", "params": {"q": "x"}}
        return {"action": "tool_use", "action_input": action}
    return {"action": "finish", "answer": "done"}


def tool_agent(**changes: Untyped) -> ToolAgent:
    """The recipe: one tool call, then the answer; with memory."""
    return ToolAgent(
        **{
            "config": config(),
            "signature": Question(),
            "strategy": MultiCycleStrategy(max_cycles=3, cycle_processor=search_then_finish),
            "memory": BufferMemory(),
            "agent_id": "a1",
            "mcp_servers": [],
            "tools": {"search": lambda q: {"rows": 3, "q": q}},
            **changes,
        }
    )


def scripted_agent(
    script: Callable[[Untyped, dict[str, Untyped]], Untyped], **changes: Untyped
) -> ToolAgent:
    """An agent whose strategy is ``script(agent, inputs)``, a function or a coroutine function."""
    strategy = AsyncScripted(script) if asyncio.iscoroutinefunction(script) else Scripted(script)
    arguments = {"config": config(), "signature": Question(), "strategy": strategy}
    return ToolAgent(**{**arguments, "mcp_servers": [], **changes})


def model_agent(**changes: Untyped) -> BaseAgent:
    """An agent with Kaizen's default strategy: a workflow around the real LLMAgentNode."""
    arguments = {"config": config(**changes), "signature": Question(), "mcp_servers": []}
    return BaseAgent(**arguments)
