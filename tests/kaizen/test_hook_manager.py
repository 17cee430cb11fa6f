"""Our hooks, registered by hand on Kaizen's own hook manager, as the seed shows."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest
from kaizen.core.autonomy.hooks.manager import HookManager

from kaizen_otel import HookEvent, TracingHook
from kaizen_otel._pipeline import Pipeline
from kaizen_otel.config import Config
from kaizen_otel.hooks import TelemetryHook
from kaizen_otel.integrations import kaizen
from kaizen_otel.observability import ObservabilityManager
from kaizen_otel.testing.fakes import FakeTransport
from tests.kaizen.agents import config, tool_agent
from tests.kaizen.random_runs import trees_of
from tests.unit.integrations.recorder import RecordingManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kaizen.agents import Untyped
    from tests.kaizen.random_plans import Tree

INPUTS = {"question": "hi?", "session_id": "s1"}


class Way:
    """A real pipeline whose spans are read back from the requests it would send."""

    def __init__(self) -> None:
        self.transport = FakeTransport()
        environment = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
        pipeline = Pipeline(
            Config.from_environment(environment), transports={"traces": self.transport}
        )
        self.manager = ObservabilityManager("hooks", enable_audit=False, pipeline=pipeline)

    def trees(self) -> list[Tree]:
        assert self.manager.flush(30.0)
        return trees_of(self.transport)


@pytest.fixture
def way() -> Iterator[Way]:
    made = Way()
    yield made
    made.manager.shutdown(5.0)


def tracing_hook(way: Way, **arguments: Untyped) -> TracingHook:
    tracing = way.manager.get_tracing_manager()
    assert tracing is not None
    return TracingHook(tracing, **arguments)


def agent_with(hook: Untyped, **settings: Untyped) -> Untyped:
    manager = HookManager()
    manager.register_hook(hook)
    return tool_agent(hook_manager=manager, config=config(**settings))


def in_a_loop(agent: Untyped) -> Untyped:
    async def main() -> Untyped:
        return agent.run(**INPUTS)

    return asyncio.run(main())


RUNS = [
    pytest.param(lambda agent: agent.run(**INPUTS), {}, id="run"),
    pytest.param(in_a_loop, {}, id="run_in_a_running_loop"),
    pytest.param(
        lambda agent: asyncio.run(agent.run_async(**INPUTS)),
        {"use_async_llm": True},
        id="run_async",
    ),
]


@pytest.mark.parametrize("kind", [TracingHook, TelemetryHook])
@pytest.mark.parametrize(("run", "settings"), RUNS)
def test_registered_by_hand_every_pre_and_post_is_one_span(
    kind: type,
    run: Callable[[Untyped], Untyped],
    settings: dict[str, Untyped],
    way: Way,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook = tracing_hook(way) if kind is TracingHook else TelemetryHook(way.manager.operations)
    plain = run(tool_agent(config=config(**settings)))
    with caplog.at_level(logging.WARNING, logger="kaizen"):
        assert run(agent_with(hook, **settings)) == plain
    assert "hook" not in caplog.text.lower()
    # Kaizen fires memory events outside of its loop: without the integration they stand alone.
    names = sorted((name, error, len(below)) for name, error, below in way.trees())
    assert names == [
        ("invoke_agent a1", "", 1), ("search_memory", "", 0), ("upsert_memory", "", 0)
    ]  # fmt: skip


def test_kaizens_own_statistics_count_our_hook_as_successful(way: Way) -> None:
    hook = tracing_hook(way)
    agent = agent_with(hook)
    agent.run(**INPUTS)
    statistics = agent.get_hook_stats()
    assert statistics
    for one in statistics.values():
        assert one["failure_count"] == 0
        assert one["success_count"] == 8


def test_one_event_can_be_registered_by_kaizens_or_our_member(way: Way) -> None:
    hook = tracing_hook(way, events_to_trace=[HookEvent.PRE_TOOL_USE])
    manager = HookManager()
    for event in ("pre_tool_use", "post_tool_use"):
        manager.register(event, hook)
    tool_agent(hook_manager=manager).run(**INPUTS)
    assert way.trees() == [("execute_tool search", "", ())]


def test_an_observed_agent_may_have_hooks_of_its_own() -> None:
    """Registering hooks on Kaizen's manager changes nothing of what the integration records."""
    seen: list[str] = []

    class Own:
        name = "own"

        async def handle(self, context: Untyped) -> Untyped:
            seen.append(context.event_type.value)
            return type("Result", (), {"success": True, "error": None, "duration_ms": 0.0})()

    manager, recording = HookManager(), RecordingManager()
    for event in ("pre_tool_use", "post_tool_use", "pre_agent_loop"):
        manager.register(event, Own())
    agent = tool_agent(hook_manager=manager)
    kaizen.enable_observability(agent, manager=recording.manager)
    agent.run(**INPUTS)
    kaizen.disable_observability(agent)
    assert seen == ["pre_agent_loop", "pre_tool_use", "post_tool_use"]
    assert recording.operations.trees() == [
        ("invoke_agent ToolAgent", ["search_memory", "execute_tool search", "upsert_memory"])
    ]
    recording.operations.check_settled()
