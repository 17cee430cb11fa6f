"""The ways in which an agent can be run."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.kaizen.agents import Untyped

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
