"""Real Kaizen agents that run offline: no key, no network, no MCP server.

What to know about kailash-kaizen 2.46.1: without ``mcp_servers=[]`` an agent starts a server
process; ``execute_tool`` must answer an object with ``success``, ``result`` and ``error`` (the
default's dictionary breaks ``MultiCycleStrategy``); several of its strategies print.
"""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kaizen.core.base_agent import BaseAgent, BaseAgentConfig
from kaizen.memory.buffer import BufferMemory
from kaizen.signatures import InputField, OutputField, Signature
from kaizen.strategies.multi_cycle import MultiCycleStrategy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


class Question(Signature):  # type: ignore[misc]
    """Answer a question."""

    question: str = InputField(description="the question")
    answer: str = OutputField(description="the answer")


class ToolAgent(BaseAgent):  # type: ignore[misc]
    """An agent whose tools are Python functions given by name."""

    def __init__(
        self, *, tools: dict[str, Callable[..., Any]] | None = None, **arguments: Any
    ) -> None:
        self.tools = tools or {}
        super().__init__(**arguments)

    async def execute_tool(
        self, tool_name: str, params: dict[str, Any], timeout: float | None = None
    ) -> Any:
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

    def __init__(self, script: Callable[[Any, dict[str, Any]], Any]) -> None:
        self.script = script

    def execute(self, agent: Any, inputs: dict[str, Any]) -> Any:
        return self.script(agent, inputs)


class AsyncScripted:
    """A strategy that does what a coroutine function does."""

    def __init__(self, script: Callable[[Any, dict[str, Any]], Awaitable[Any]]) -> None:
        self.script = script

    async def execute(self, agent: Any, inputs: dict[str, Any]) -> Any:
        return await self.script(agent, inputs)


def config(**changes: Any) -> Any:
    return BaseAgentConfig(**{"llm_provider": "mock", "model": "mock-model", **changes})


def search_then_finish(inputs: dict[str, Any], cycle: int) -> dict[str, Any]:
    """What a model would decide, without a model."""
    del inputs
    if cycle == 0:
        action = {"tool_name": "search", "params": {"q": "x"}}
        return {"action": "tool_use", "action_input": action}
    return {"action": "finish", "answer": "done"}


def tool_agent(**changes: Any) -> ToolAgent:
    """The recipe: one tool call, then the answer; with memory."""
    return ToolAgent(
        **{
            "config": config(),
            "signature": Question(),
            "strategy": MultiCycleStrategy(max_cycles=3, cycle_processor=search_then_finish),
            "memory": BufferMemory(),
            "agent_id": "a1",
            "mcp_servers": [],
            **{"tools": {"search": lambda q: {"rows": 3, "q": q}}, **changes},
        }
    )


def scripted_agent(script: Callable[[Any, dict[str, Any]], Any], **changes: Any) -> ToolAgent:
    """An agent whose strategy is ``script(agent, inputs)``, a function or a coroutine function."""
    strategy = AsyncScripted(script) if asyncio.iscoroutinefunction(script) else Scripted(script)
    arguments = {"config": config(), "signature": Question(), "strategy": strategy}
    return ToolAgent(**{**arguments, "mcp_servers": [], **changes})


def model_agent(**changes: Any) -> BaseAgent:
    """An agent with Kaizen's default strategy: a workflow around the real LLMAgentNode."""
    arguments = {"config": config(**changes), "signature": Question(), "mcp_servers": []}
    return BaseAgent(**arguments)
