"""Works about hooks: one observed tool call, and a whole run of a real agent."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import statistics
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench.contend_pair import open_pair
from benchmarks.telemetry_bench.work_loops import cpu_s
from benchmarks.telemetry_bench.work_process import quantile

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.telemetry_bench.door import Task

Result = dict[str, Any]
_WARM: Final = 300
_FLUSH_S: Final = 60.0
_EMITS: Final = 200


def do_pair(task: Task) -> Result:
    """Observe ``count`` tool calls in one running loop: latencies, and all processor time."""
    pair = open_pair(task)
    count = task["count"]
    times = [0.0] * count
    now = time.perf_counter

    async def run() -> tuple[float, float]:
        for index in range(_WARM):
            await pair.call(index)
        pair.flush(_FLUSH_S)
        gc.collect()
        before_s, started = cpu_s(), now()
        for index in range(count):
            begun = now()
            await pair.call(index)
            times[index] = now() - begun
        return before_s, now() - started

    before_s, took_s = asyncio.run(run())
    pair.flush(_FLUSH_S)
    pair.shutdown(_FLUSH_S)
    # Not by the harness: Kaizen's threads need not be waited for.
    used_s = cpu_s() - before_s
    times.sort()
    return {
        "count": count,
        "warm": _WARM,
        "cpu_us": used_s / count * 1e6,
        "wall_us": took_s / count * 1e6,
        "p50_us": quantile(times, 0.5) * 1e6,
        "p99_us": quantile(times, 0.99) * 1e6,
    }


def do_agent(task: Task) -> Result:
    """Run one real agent unobserved, with one empty hook and with ours, in turn."""
    from kaizen.core.autonomy.hooks.manager import HookManager
    from kaizen.core.autonomy.hooks.types import HookEvent, HookResult

    from kaizen_otel.integrations import kaizen
    from tests.kaizen.agents import tool_agent

    class EmptyHook:
        name = "empty"
        events: Final = list(HookEvent)

        async def handle(self, context: object) -> object:
            del context
            return HookResult(success=True)

    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = task["http"]
    os.environ["KAIZEN_OTEL_AUDIT_ENDPOINT"] = task["http"]
    os.environ["KAIZEN_OTEL_DURABILITY"] = task["durability"]
    os.environ["KAIZEN_OTEL_ON_FAILURE"] = task["on_failure"]
    hooked = HookManager()
    hooked.register_hook(EmptyHook())
    agents = {"none": tool_agent(), "hook": tool_agent(hook_manager=hooked), "ours": tool_agent()}
    manager = kaizen.enable_observability(agents["ours"])
    audit = manager.audit
    assert audit is not None
    with contextlib.redirect_stdout(io.StringIO()):
        found = _in_turn(agents, task["count"])
    emit_us = _durable_emit_us(lambda: asyncio.run(_emit(audit)))
    manager.flush(_FLUSH_S)
    manager.shutdown(_FLUSH_S)
    return {**found, "emit_us": emit_us, "intents": 1}


def _in_turn(agents: dict[str, Any], count: int) -> Result:
    """The medians of the differences between runs that follow each other."""
    times: dict[str, list[float]] = {name: [] for name in agents}
    cpu: dict[str, list[float]] = {name: [] for name in agents}
    gc.collect()
    gc.freeze()
    for turn in range(-10, count):
        for name, agent in agents.items():
            agent.memory.clear("s1")  # it grows with each turn
            begun, cpu_begun = time.perf_counter(), time.thread_time()
            agent.run(question="hi?", session_id="s1")
            took, used = time.perf_counter() - begun, time.thread_time() - cpu_begun
            if turn >= 0:
                times[name].append(took * 1e6)
                cpu[name].append(used * 1e6)
    result: Result = {"run_us": statistics.median(times["none"])}
    for name in ("hook", "ours"):
        for kind, values in (("added", times), ("added_cpu", cpu)):
            pairs = zip(values["none"], values[name], strict=True)
            result[f"{name}_{kind}_us"] = statistics.median(b - a for a, b in pairs)
    result["share_of_hook"] = result["ours_added_us"] / result["hook_added_us"]
    return result


async def _emit(audit: Any) -> list[float]:  # noqa: ANN401 - our audit trail's manager
    times: list[float] = []
    for index in range(_EMITS):
        begun = time.perf_counter()
        await audit.record("agent-7", "bench", {"step": index}, "success")
        times.append(time.perf_counter() - begun)
    return times


def _durable_emit_us(emit: Callable[[], list[float]]) -> float:
    return statistics.median(emit()) * 1e6
