"""Works about the process around the spans: loop lag, memory, a dead collector, imports."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench.door import open_door
from benchmarks.telemetry_bench.work_loops import cpu_s, rss_bytes, run_tight, warm

if TYPE_CHECKING:
    from benchmarks.telemetry_bench.door import Task

Result = dict[str, Any]
_BEAT_S: Final = 0.001
_FLUSH_S: Final = 60.0


def quantile(ordered: list[float], share: float) -> float:
    """The value below which ``share`` of the sorted values lie."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def do_lag(task: Task) -> Result:
    """How late a heartbeat of 1 ms is in a loop that emits ``rate`` spans a second."""
    door = None if task["contender"] == "none" else open_door(task)
    rate, seconds = task["rate"], task["seconds"]
    lags: list[float] = []
    now = time.perf_counter

    async def beat(end: float) -> None:
        while (started := now()) < end:
            await asyncio.sleep(_BEAT_S)
            lags.append(now() - started - _BEAT_S)

    async def emit(end: float) -> None:
        started, index = now(), 0
        while now() < end:
            due = int((now() - started) * rate)
            while index < due:
                index = door.emit(index) if door else index + 1
                if index % 20 < 2:  # noqa: PLR2004 - a parent and its child are one step
                    await asyncio.sleep(0)
            await asyncio.sleep(0.005)

    async def both() -> None:
        end = now() + seconds
        await asyncio.gather(beat(end), emit(end))

    if door:
        warm(door, 400)
    gc.collect()
    before_s = cpu_s()
    asyncio.run(both())
    used_s = cpu_s() - before_s
    if door:
        door.flush(_FLUSH_S)
        door.shutdown(_FLUSH_S)
    lags.sort()
    return {
        "p50_us": quantile(lags, 0.5) * 1e6,
        "p99_us": quantile(lags, 0.99) * 1e6,
        "p999_us": quantile(lags, 0.999) * 1e6,
        "cpu_percent": used_s / seconds * 100,
    }


def dead_address(kind: str) -> tuple[str, socket.socket]:
    """An address where nobody listens (``refused``) or nobody answers (``silent``).

    The socket must be kept: it holds the port.
    """
    held = socket.socket()
    held.bind(("127.0.0.1", 0))
    if kind == "silent":
        held.listen(64)
    return f"http://127.0.0.1:{held.getsockname()[1]}", held


def _to_nobody(task: Task) -> tuple[Task, socket.socket]:
    address, held = dead_address(task["dead"])
    return {**task, "http": address, "grpc": address.removeprefix("http://")}, held


def do_memory(task: Task) -> Result:
    """Bytes of resident memory for each of ``count`` spans that wait for a dead collector."""
    task, held = _to_nobody(task)
    door = open_door(task)
    # What is made once (threads, caches, the first request) is there before.
    run_tight(door.emit, 4_000)
    time.sleep(task.get("settle_s", 1.5))
    gc.collect()
    before = rss_bytes()
    run_tight(door.emit, task["count"])
    gc.collect()
    used = rss_bytes() - before
    held.close()
    return {"bytes": used / task["count"], **door.counts()}


def do_dead(task: Task) -> Result:
    """How long flush and shutdown take with ``timeout_s`` while the collector is dead."""
    task, held = _to_nobody(task)
    door = open_door(task)
    run_tight(door.emit, task["count"])
    started = time.perf_counter()
    door.flush(task["timeout_s"])
    flushed = time.perf_counter()
    door.shutdown(task["timeout_s"])
    ended = time.perf_counter()
    held.close()
    return {
        "flush_s": flushed - started,
        "shutdown_s": ended - flushed,
        "over_ms": max(flushed - started, ended - flushed) * 1000 - task["timeout_s"] * 1000,
    }


def do_exit(task: Task) -> Result:
    """Emit and leave, as a program does that calls nothing; the harness looks at the clock."""
    task, held = _to_nobody(task)
    door = open_door(task)
    run_tight(door.emit, task["count"])
    # Kept for the rest of the process, so that the collector stays dead.
    sys.modules[__name__].__dict__["_held"] = held
    return {"leaves_by_itself": True, "left_at": time.monotonic()}


def do_imports(task: Task) -> Result:
    """Import time and first enabling, beyond BaseAgent and the OpenTelemetry API."""
    from benchmarks.telemetry_bench import work_imports

    return getattr(work_imports, f"do_{task['contender']}")(task)  # type: ignore[no-any-return]
