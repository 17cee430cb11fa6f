from __future__ import annotations

import asyncio
import uuid
from typing import Never

import pytest

from kaizen_otel.errors import ConfigError
from kaizen_otel.hook_types import HookContext, HookEvent
from kaizen_otel.hooks import HookManager, TelemetryHook, TracingHook
from tests.unit.hooks.seam import Seam


def context(
    event: HookEvent | str, agent: str = "shop", trace_id: str | None = None, **data: object
) -> HookContext:
    return HookContext(event_type=event, agent_id=agent, data=data, trace_id=trace_id)


def test_pre_and_post_are_one_span_with_a_real_duration() -> None:
    seam = Seam()
    hook = TelemetryHook(seam.operations)
    hook.on_event(context(HookEvent.PRE_TOOL_USE, tool_name="search"))
    result = hook.on_event(context(HookEvent.POST_TOOL_USE, tool_name="search", success=True))
    (span,) = seam.spans
    assert span["name"] == "execute_tool search"
    assert int(span["endTimeUnixNano"]) > int(span["startTimeUnixNano"])
    assert result.data is not None
    assert result.data["duration_ms"] != 0


def test_events_with_a_new_trace_id_each_still_make_one_tree() -> None:
    """Kaizen's own manager makes a new trace id for every event (integrations of 2.46.1)."""
    seam = Seam()
    hook = TelemetryHook(seam.operations)
    for event, data in (
        ("pre_agent_loop", {}),
        ("pre_tool_use", {"tool_name": "search"}),
        ("post_tool_use", {"tool_name": "search", "success": True}),
        ("post_agent_loop", {}),
    ):
        hook.on_event(context(event, trace_id=str(uuid.uuid4()), **data))
    assert seam.tree() == {"execute_tool search": "invoke_agent shop", "invoke_agent shop": None}
    assert not seam.opened.by_id


def test_a_shared_trace_id_separates_two_runs_of_one_agent() -> None:
    seam = Seam()
    hook = TelemetryHook(seam.operations)
    one, two = uuid.uuid4().hex, uuid.uuid4().hex
    for run in (one, two):
        hook.on_event(context("pre_agent_loop", trace_id=run))
    for run in (one, two):
        hook.on_event(context("pre_tool_use", trace_id=run, tool_name=run))
        hook.on_event(context("post_tool_use", trace_id=run, tool_name=run))
        hook.on_event(context("post_agent_loop", trace_id=run))
    by_trace = {span["traceId"] for span in seam.spans}
    assert by_trace == {one, two}
    for run in (one, two):
        assert seam.span(f"execute_tool {run}")["traceId"] == run


def test_two_parallel_calls_of_one_tool_pair_by_their_call_ids() -> None:
    seam = Seam()
    hook = TelemetryHook(seam.operations)
    for call in ("a", "b"):
        hook.on_event(context("pre_tool_use", tool_name="search", tool_call_id=call))
    for call in ("b", "a"):
        hook.on_event(context("post_tool_use", tool_name="search", tool_call_id=call))
    order = [
        next(a["value"]["stringValue"] for a in span["attributes"] if a["key"].endswith("call.id"))
        for span in seam.spans
    ]
    assert order == ["b", "a"]


def test_a_pre_without_a_post_is_ended_with_its_loop_and_counted() -> None:
    seam = Seam()
    hook = TelemetryHook(seam.operations)
    hook.on_event(context("pre_agent_loop"))
    hook.on_event(context("pre_tool_use", tool_name="search"))
    hook.on_event(context("post_agent_loop"))
    assert seam.span("execute_tool search")["status"]["code"] == 2
    assert seam.faults("begin_without_end") == 1
    hook.on_event(context("post_tool_use", tool_name="search"))
    assert seam.faults("end_without_begin") == 1
    assert len(seam.spans) == 3


def test_a_post_without_a_pre_is_a_span_and_counted() -> None:
    seam = Seam()
    TelemetryHook(seam.operations).on_event(context("post_tool_use", tool_name="search"))
    assert [span["name"] for span in seam.spans] == ["execute_tool search"]
    assert seam.faults("end_without_begin") == 1


def test_the_filter_names_events_and_names_both_of_a_pair() -> None:
    seam = Seam()
    hook = TelemetryHook(seam.operations, events_to_trace=[HookEvent.PRE_TOOL_USE])
    hook.on_event(context("pre_agent_loop"))
    hook.on_event(context("pre_tool_use", tool_name="search"))
    hook.on_event(context("post_tool_use", tool_name="search"))
    assert [span["name"] for span in seam.spans] == ["execute_tool search"]


def test_an_unknown_event_in_the_filter_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"events_to_trace.*nonsense"):
        TelemetryHook(Seam().operations, events_to_trace=["nonsense"])


def test_a_custom_event_is_a_log_record_with_its_own_name() -> None:
    seam = Seam()
    hook = TelemetryHook(seam.operations)
    hook.on_event(context(HookEvent.custom("billing.checked"), amount=3, prompt="secret words"))
    (record,) = seam.logs
    assert record["eventName"] == "billing.checked"
    assert "secret words" not in str(record)


def test_every_event_is_counted_by_its_name_and_custom_ones_as_one() -> None:
    seam = Seam()
    hook = TelemetryHook(seam.operations)
    hook.on_event(context("pre_agent_loop"))
    hook.on_event(context("pre_interrupt", mode="graceful"))
    for number in range(3):
        hook.on_event(context(HookEvent.custom(f"billing.event_{number}")))
    counted = {
        name: seam.metrics.value("kaizen.hook.events", {"kaizen.hook.event": name})
        for name in ("pre_agent_loop", "pre_interrupt", "custom")
    }
    assert counted == {"pre_agent_loop": 1, "pre_interrupt": 1, "custom": 3}
    assert seam.metrics.value("kaizen.interrupts", {"kaizen.interrupt.mode": "graceful"}) == 1


def test_seed_names_of_memory_events_are_the_same_events() -> None:
    assert HookEvent["PRE_MEMORY_READ"] is HookEvent.PRE_MEMORY_LOAD
    seam = Seam()
    hook = TelemetryHook(seam.operations)
    hook.on_event(context("pre_memory_read"))
    hook.on_event(context("post_memory_load"))
    assert [span["name"] for span in seam.spans] == ["search_memory"]


def test_content_of_hook_events_is_no_attribute() -> None:
    seam = Seam()
    hook = TelemetryHook(seam.operations)
    hook.on_event(context("pre_tool_use", tool_name="search", tool_params={"q": "private"}))
    hook.on_event(context("post_tool_use", tool_name="search", tool_result="private"))
    assert "private" not in str(seam.spans)


def test_a_hook_that_fails_is_isolated_and_counted_and_the_next_one_runs() -> None:
    class Failing:
        name = "failing"

        async def handle(self, context: HookContext) -> Never:
            raise RuntimeError(context.agent_id)

    seen = []
    manager = HookManager()
    manager.register(HookEvent.PRE_TOOL_USE, Failing())
    manager.register("pre_tool_use", lambda c: seen.append(c.agent_id))
    results = asyncio.run(manager.trigger("pre_tool_use", "shop", {"tool_name": "x"}))
    assert [r.success for r in results] == [False, True]
    assert seen == ["shop"]
    assert manager.get_stats()["failing"]["failure_count"] == 1


def test_a_slow_hook_is_cut_at_its_timeout() -> None:
    async def slow(context: HookContext) -> None:
        assert context.agent_id
        await asyncio.Event().wait()

    manager = HookManager()
    manager.register(HookEvent.PRE_TOOL_USE, slow)
    (result,) = asyncio.run(manager.trigger(HookEvent.PRE_TOOL_USE, "shop", {}, timeout=0.01))
    assert not result.success
    assert manager.get_stats()["slow"]["timeout_count"] == 1


def test_a_hook_runs_in_its_callers_task_and_may_wait() -> None:
    seen: list[object] = []

    async def waiting(context: HookContext) -> str:
        seen.append(asyncio.current_task())
        try:
            await asyncio.sleep(0)
            async with asyncio.timeout(0.001):
                await asyncio.Event().wait()
        except TimeoutError:
            seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        return context.agent_id

    async def run() -> None:
        manager = HookManager()
        manager.register("pre_tool_use", waiting)
        (result,) = await manager.trigger("pre_tool_use", "shop", {})
        assert result.success
        assert seen == [asyncio.current_task()] * 2

    asyncio.run(run())


def test_the_callers_own_cancellation_goes_through_a_hook_that_waits() -> None:
    async def run() -> None:
        begun = asyncio.Event()

        async def waiting(context: HookContext) -> None:
            assert context.agent_id
            begun.set()
            await asyncio.Event().wait()

        manager = HookManager()
        manager.register("pre_tool_use", waiting)
        task = asyncio.ensure_future(manager.trigger("pre_tool_use", "shop", {}, timeout=60))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


def test_a_declared_hook_is_registered_for_its_events_once() -> None:
    manager = HookManager()
    hook = TracingHook(Seam().tracing)
    manager.register_hook(hook)
    assert manager.registered_hook_names() == {"tracing_hook"}
    assert manager.unregister(HookEvent.PRE_TOOL_USE, hook) == 1


@pytest.mark.parametrize("handler", [3, "name"])
def test_what_is_no_hook_is_refused(handler: object) -> None:
    with pytest.raises(ConfigError, match="is no hook"):
        HookManager().register(HookEvent.PRE_TOOL_USE, handler)


def test_an_unknown_custom_name_is_refused() -> None:
    with pytest.raises(ValueError, match="dotted"):
        HookEvent.custom("User 42 logged in")
