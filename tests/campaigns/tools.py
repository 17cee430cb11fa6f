"""A victim whose tools have side effects: lines in a file that only intents may let through.

Each call has a name of its own, so that side effects and intents can be compared one by one.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import threading
from functools import partial
from typing import Any

from kaizen_otel._edges import SystemClock
from kaizen_otel.errors import AuditUnavailableError
from kaizen_otel.integrations.decorators import traced_tool
from kaizen_otel.observability import observe, process_pipeline
from tests.campaigns import victim


class Effects:
    """A file outside of the spool's disk, to which each side effect adds its name."""

    def __init__(self, path: str) -> None:
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._numbers = itertools.count(1)
        self.refused = 0
        self._is_first = True

    def name(self) -> str:
        return f"tool-{os.getpid()}-{next(self._numbers)}"

    def happen(self, name: str) -> None:
        os.write(self._handle, name.encode() + b"\n")
        if self._is_first:
            self._is_first = False
            victim.tell("ready")


def _use_traced_tools(effects: Effects, manager: Any) -> None:  # noqa: ANN401
    """Sync, threaded and asynchronous functions under ``@traced_tool``, without end."""
    never = threading.Event()

    def call_plain() -> None:
        while True:
            name = effects.name()
            tool = traced_tool(name=name, manager=manager)(partial(effects.happen, name))
            try:
                tool()
            except AuditUnavailableError:
                effects.refused += 1
                never.wait(0.001)

    async def happen_later(name: str) -> None:
        effects.happen(name)

    async def call_async() -> None:
        while True:
            name = effects.name()
            try:
                await traced_tool(name=name, manager=manager)(happen_later)(name)
            except AuditUnavailableError:
                effects.refused += 1
            await asyncio.sleep(0.001)

    async def call_from_tasks() -> None:
        await asyncio.gather(*(call_async() for _ in range(4)))

    for _ in range(4):
        threading.Thread(target=call_plain, daemon=True).start()
    asyncio.run(call_from_tasks())


def _use_an_agents_tools(effects: Effects) -> None:
    """A real Kaizen agent, observed, whose tools are called without end."""
    from kaizen_otel.integrations.kaizen import enable_observability
    from tests.kaizen.agents import scripted_agent

    class Tools(dict[str, Any]):
        def get(self, name: str, default: object = None) -> Any:  # noqa: ANN401
            del default
            return partial(effects.happen, name)

    agent = scripted_agent(lambda _agent, _inputs: {"answer": "x"}, tools=Tools({"any": None}))
    enable_observability(agent)

    async def call() -> None:
        while True:
            try:
                await agent.execute_tool(effects.name(), {})
            except AuditUnavailableError:
                effects.refused += 1
                await asyncio.sleep(0.001)

    async def call_from_tasks() -> None:
        await asyncio.gather(*(call() for _ in range(4)))

    asyncio.run(call_from_tasks())


def use_tools(order: dict[str, Any]) -> None:
    """Use tools until the process is killed or ``seconds`` are over."""
    os.environ.update(order["environment"])
    pipeline = process_pipeline()
    pipeline._audit = victim.manager_of(order)
    effects = Effects(order["effects"])
    seconds = order.get("seconds")
    if seconds is not None:
        threading.Thread(target=_end_after, args=(seconds, effects), daemon=True).start()
    if order.get("agent"):
        _use_an_agents_tools(effects)
    else:
        manager = observe("victim", enable_metrics=False, enable_logging=False)
        _use_traced_tools(effects, manager)


def _end_after(seconds: float, effects: Effects) -> None:
    never = threading.Event()
    SystemClock().wait(never, int(seconds * 1e9))
    victim.tell(f"refused {effects.refused}")
    sys.stdout.flush()
    os._exit(0)
