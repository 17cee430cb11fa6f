"""What observing an agent changes, and that all of it goes away again."""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import TYPE_CHECKING

import pytest
from kaizen.core.base_agent import BaseAgent
from kaizen.llm.client import LlmClient
from kaizen.memory.buffer import BufferMemory
from kaizen.nodes.ai.llm_agent import LLMAgentNode
from kaizen.strategies.multi_cycle import MultiCycleStrategy

from kaizen_otel import HookEvent
from kaizen_otel.errors import ConfigError
from kaizen_otel.integrations import Integration, kaizen
from kaizen_otel.integrations._kaizen_agent import observation_of
from kaizen_otel.integrations._kaizen_models import WRAPPED, model_calls
from tests.kaizen.agents import scripted_agent, tool_agent
from tests.unit.integrations.recorder import RecordingManager

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kaizen.agents import Untyped

INPUTS = {"question": "hi?", "session_id": "s1"}
CLASSES = (BaseAgent, LLMAgentNode, LlmClient)


@pytest.fixture(autouse=True)
def _nobody_else() -> None:
    """Agents that other tests have only forgotten are gone."""
    gc.collect()
    assert not model_calls.in_place


def classes() -> list[dict[str, object]]:
    return [dict(one.__dict__) for one in CLASSES]


def held(agent: Untyped) -> dict[str, object]:
    return dict(vars(agent))


def identical(one: dict[str, object], other: dict[str, object]) -> bool:
    return list(one) == list(other) and all(one[name] is other[name] for name in one)


def test_disabling_leaves_the_agent_and_the_classes_as_they_were(
    recording: RecordingManager,
) -> None:
    agent = tool_agent()
    agent.attach_trace_exporter(type("Exporter", (), {"export": lambda *_: None})())
    before, classes_before = held(agent), classes()
    kaizen.enable_observability(agent, manager=recording.manager)
    assert not identical(held(agent), before)
    agent.run(**INPUTS)
    assert kaizen.disable_observability(agent)
    assert identical(held(agent), before)
    assert classes() == classes_before
    agent.run(**INPUTS)
    assert len(recording.operations.roots()) == 1


def test_only_what_is_declared_is_wrapped_on_a_class(recording: RecordingManager) -> None:
    agent, before = tool_agent(), classes()
    kaizen.enable_observability(agent, manager=recording.manager)
    changed = {
        (one.__module__, one.__name__, name)
        for one, members in zip(CLASSES, before, strict=True)
        for name, value in one.__dict__.items()
        if members.get(name) is not value
    }
    kaizen.disable_observability(agent)
    assert changed == set(WRAPPED)


def test_class_wraps_go_with_the_last_agent(recording: RecordingManager) -> None:
    original = LLMAgentNode.run
    first, second = tool_agent(), tool_agent()
    for agent in (first, second):
        kaizen.enable_observability(agent, manager=recording.manager)
    assert LLMAgentNode.run is not original
    kaizen.disable_observability(first)
    assert LLMAgentNode.run is not original
    kaizen.disable_observability(second)
    assert LLMAgentNode.run is original


def test_an_agent_that_is_only_forgotten_gives_the_class_wraps_back(
    recording: RecordingManager,
) -> None:
    original = LLMAgentNode.run
    agent = tool_agent()
    kaizen.enable_observability(agent, manager=recording.manager)
    reference = weakref.ref(agent)
    del agent
    gc.collect()
    assert reference() is None
    assert LLMAgentNode.run is original


def test_cleanup_flushes_and_leaves_what_kaizens_own_cleanup_leaves(
    recording: RecordingManager,
) -> None:
    plain, agent = tool_agent(), tool_agent()
    kaizen.enable_observability(agent, manager=recording.manager)
    agent.run(**INPUTS)
    plain.cleanup()
    agent.cleanup()
    assert list(held(agent)) == list(held(plain))
    assert agent.memory is None
    assert agent._observability_manager is None
    assert recording.flushed == [2.0]
    assert recording.stopped == []
    assert not inspect.ismethod(vars(agent).get("cleanup"))
    agent.cleanup()
    assert recording.flushed == [2.0]


def test_the_agent_keeps_its_face_while_it_is_observed(observe: Callable[..., Untyped]) -> None:
    agent, plain = observe(tool_agent()), tool_agent()
    assert isinstance(agent.strategy, MultiCycleStrategy)
    assert isinstance(agent.memory, BufferMemory)
    assert agent.strategy.max_cycles == 3
    assert inspect.iscoroutinefunction(agent.execute_tool)
    assert inspect.iscoroutinefunction(agent.execute_mcp_tool)
    assert inspect.iscoroutinefunction(agent.run_async)
    assert not inspect.iscoroutinefunction(agent.run)
    assert not hasattr(agent.strategy, "execute_async")
    for name in ("run", "run_async", "execute_tool", "execute_mcp_tool", "cleanup"):
        assert inspect.signature(getattr(agent, name)) == inspect.signature(getattr(plain, name))
    agent.strategy.max_cycles = 1
    kaizen.disable_observability(agent)
    assert agent.strategy.max_cycles == 1


def test_the_manager_is_where_kaizen_keeps_its_own(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(tool_agent())
    assert agent._observability_manager is recording.manager


def test_a_second_call_replaces_the_first_and_records_nothing_twice() -> None:
    first, second = RecordingManager(), RecordingManager()
    agent = tool_agent()
    before = held(agent)
    kaizen.enable_observability(agent, manager=first.manager)
    kaizen.enable_observability(agent, manager=second.manager, agent_name="renamed")
    agent.run(**INPUTS)
    assert first.operations.all == []
    assert len(second.operations.all) == 4
    assert second.operations.only("invoke_agent").name == "renamed"
    kaizen.disable_observability(agent)
    assert identical(held(agent), before)


def test_a_run_under_way_ends_what_it_began_when_the_agent_is_disabled(
    recording: RecordingManager,
) -> None:
    def script(agent: Untyped, _: Untyped) -> Untyped:
        kaizen.disable_observability(agent)
        return {"answer": "x"}

    agent = scripted_agent(script)
    kaizen.enable_observability(agent, manager=recording.manager)
    agent.run(question="hi")
    agent.run(question="hi")
    assert recording.operations.trees() == ["invoke_agent ToolAgent"]


def test_what_somebody_else_put_there_since_stays_theirs(recording: RecordingManager) -> None:
    agent = scripted_agent(lambda *_: {"answer": "x"})
    kaizen.enable_observability(agent, manager=recording.manager)
    ours, strategy = agent.run, scripted_agent(lambda *_: {"answer": "y"}).strategy
    calls: list[int] = []

    def theirs(**inputs: Untyped) -> Untyped:
        calls.append(1)
        return ours(**inputs)

    agent.run = theirs
    agent.strategy = strategy
    kaizen.disable_observability(agent)
    assert agent.run is theirs
    assert agent.strategy is strategy
    assert agent.run(question="hi") == {"answer": "y"}
    assert calls == [1]
    assert recording.operations.all == []


def test_the_wiring_is_an_integration(observe: Callable[..., Untyped]) -> None:
    wiring = observation_of(observe(tool_agent()))
    assert isinstance(wiring, Integration)
    assert wiring.enabled
    wiring.enable()
    assert wiring.disable(0.0)
    assert wiring.disable(0.0)
    assert not wiring.enabled


def test_class_wraps_tolerate_being_wrapped_in_turn(recording: RecordingManager) -> None:
    original = LLMAgentNode.run
    user = model_calls.acquire()
    ours = LLMAgentNode.run

    def theirs(self: Untyped, **arguments: Untyped) -> Untyped:
        return ours(self, **arguments)

    LLMAgentNode.run = theirs
    try:
        model_calls.release(user)
        assert LLMAgentNode.run is theirs
        node = LLMAgentNode(name="n")
        with pytest.raises(Exception, match="provider"):
            node.run(model="m", messages=[])
    finally:
        LLMAgentNode.run = original
    assert recording.operations.all == []


# ------------------------------------------------------------------------------------ refusals
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"jaeger_hots": "x"}, "did you mean jaeger_host"),
        ({"qqq": 1}, "no argument 'qqq'"),
        ({"events_to_trace": ["pre_tool_us"]}, "events_to_trace"),
        ({"insecure": False}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ],
)
def test_a_wrong_argument_is_refused_and_the_agent_stays_as_it_was(
    arguments: dict[str, object], text: str, recording: RecordingManager
) -> None:
    agent = tool_agent()
    before, classes_before = held(agent), classes()
    with pytest.raises(ConfigError, match=text):
        kaizen.enable_observability(agent, **{"manager": recording.manager, **arguments})  # type: ignore[arg-type]
    assert identical(held(agent), before)
    assert classes() == classes_before


def test_what_is_no_kaizen_agent_is_refused(recording: RecordingManager) -> None:
    with pytest.raises(ConfigError, match="traced_agent"):
        kaizen.enable_observability(object(), manager=recording.manager)


# ------------------------------------------------------------------------------------- install
@pytest.fixture
def _installed() -> Untyped:
    kaizen.install()
    yield
    kaizen.uninstall()


@pytest.mark.usefixtures("_installed")
def test_installed_the_agents_own_method_is_ours(recording: RecordingManager) -> None:
    agent = tool_agent()
    assert kaizen.installed()
    returned = agent.enable_observability(
        manager=recording.manager, events_to_trace=[HookEvent.PRE_TOOL_USE]
    )
    assert returned is recording.manager
    agent.run(**INPUTS)
    agent.cleanup()
    assert len(recording.operations.all) == 4
    parameters = list(inspect.signature(agent.enable_observability).parameters)
    assert parameters[:8] == [
        "service_name", "enable_metrics", "enable_logging", "enable_tracing", "enable_audit",
        "jaeger_host", "jaeger_port", "events_to_trace",
    ]  # fmt: skip


def test_installing_and_uninstalling_twice_is_installing_and_uninstalling_once() -> None:
    own = BaseAgent.__dict__["enable_observability"]
    kaizen.uninstall()
    kaizen.install()
    kaizen.install()
    assert BaseAgent.__dict__["enable_observability"] is not own
    kaizen.uninstall()
    kaizen.uninstall()
    assert BaseAgent.__dict__["enable_observability"] is own
    assert not kaizen.installed()
