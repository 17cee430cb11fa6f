"""Works that emit many items and look at processor time, loss and drift."""

from __future__ import annotations

import gc
import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench.door import open_door
from benchmarks.telemetry_bench.shapes import WARM_UP

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.telemetry_bench.door import Door, Task

Result = dict[str, Any]
_TICK_S: Final = 0.002
_FLUSH_S: Final = 120.0
_WARM_COUNT: Final = 2_000
_TENTHS: Final = 10


def cpu_s() -> float:
    """Processor seconds of this process so far, user and system, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_bytes() -> int:
    """Resident memory now."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def warm(door: Door, count: int = _WARM_COUNT) -> None:
    """Emit items whose numbers nobody looks at, and have them sent."""
    index = WARM_UP
    while index < WARM_UP + count:
        index = door.emit(index)
    door.flush(_FLUSH_S)
    gc.collect()


def run_tight(emit: Callable[[int], int], count: int) -> None:
    """Emit as fast as the program can."""
    index = 0
    while index < count:
        index = emit(index)


def run_paced(emit: Callable[[int], int], count: int, rate: float) -> int:
    """Emit ``rate`` items a second in ticks of 2 ms, asleep in between; how many were emitted.

    Fewer than ``count`` if the program can make only half of the rate.
    """
    now = time.perf_counter
    started, index = now(), 0
    give_up = started + 2 * count / rate
    while index < count and now() < give_up:
        due = min(count, int((now() - started) * rate) + 1)
        # One that falls behind looks at the clock every hundred items, and does not sleep.
        stop = min(due, index + 100)
        while index < stop:
            index = emit(index)
        left_s = started + (int((now() - started) / _TICK_S) + 1) * _TICK_S - now()
        if due <= index < count and left_s > 0:
            time.sleep(left_s)
    return index


def do_loop(task: Task) -> Result:
    """Emit ``count`` items, tightly or paced, flush and shut down.

    ``cpu_before_s`` lets the harness take the whole process's processor time after that.
    """
    door = open_door(task)
    warm(door)
    count, rate = task["count"], task.get("rate")
    before_s, started = cpu_s(), time.perf_counter()
    thread_before_s = time.thread_time()
    if rate:
        count = run_paced(door.emit, count, rate)
    else:
        run_tight(door.emit, count)
    emitted, thread_s = time.perf_counter(), time.thread_time() - thread_before_s
    door.flush(_FLUSH_S)
    flushed = time.perf_counter()
    counts = door.counts()
    door.shutdown(_FLUSH_S)
    return {
        "cpu_before_s": before_s,
        "count": count,
        "warm": _WARM_COUNT,
        # Until the last one is delivered: what a buffer only puts off is not sustained.
        "rate": count / (flushed - started),
        "thread_us": thread_s / count * 1e6,
        "flush_s": flushed - emitted,
        **counts,
    }


do_burst = do_loop
do_rate = do_loop


def do_steady(task: Task) -> Result:
    """Emit ``count`` items in blocks, each flushed; how cost and memory change over the run.

    A tenth's processor time includes the flushes and the exporter's thread.
    """
    door = open_door(task)
    count, block = task["count"], task["block"]
    tenth, index = count // _TENTHS, 0
    warm(door, tenth // 2)
    rss, spent = [rss_bytes()], []
    for _ in range(_TENTHS):
        before_s, end = cpu_s(), index + tenth
        while index < end:
            stop = min(end, index + block)
            while index < stop:
                index = door.emit(index)
            door.flush(_FLUSH_S)
        spent.append((cpu_s() - before_s) / tenth * 1e6)
        rss.append(rss_bytes())
    counts = door.counts()
    door.shutdown(_FLUSH_S)
    return {
        "first_us": spent[0],
        "last_us": spent[-1],
        "drift": spent[-1] / spent[0],
        "rss_growth_mb": (rss[-1] - rss[0]) / 1e6,
        "tenths_us": spent,
        **counts,
    }
