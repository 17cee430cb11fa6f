"""One measurement in a process of its own; the result is one JSON object on standard output."""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.audit_bench.contenders import EVENT, Ours, Raw, payloads
from benchmarks.audit_bench.registry import make

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from benchmarks.audit_bench.contenders import Contender

Result = dict[str, object]

_WARM_UP: Final = 50
_BLOCK: Final = 50
_WATCHED: Final = 100
_HEARTBEAT_S: Final = 0.001
_QUIET_S: Final = 0.5
_PACE_PER_S: Final = 2_000
_KILL_INTERVAL_S: Final = 0.0005
_COUNTS: Final = {"one": 2_000, "threads:8": 6_000, "tasks:8": 6_000}
_MANY: Final = 16_000

now_ns = time.perf_counter_ns


def quantiles(times_ns: Iterable[int], prefix: str = "") -> Result:
    """Return p50, p95 and p99 in microseconds."""
    ordered = sorted(times_ns)
    last = len(ordered) - 1
    places = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
    return {
        prefix + name: ordered[min(last, int(len(ordered) * share))] / 1000
        for name, share in places.items()
    }


class Worker:
    """A contender under measurement."""

    def __init__(
        self, contender: Contender, directory: Path, sink: str, runner: asyncio.Runner
    ) -> None:
        contender.open(directory, sink, runner)
        self._contender = contender
        self._runner = runner
        self._indices = itertools.count(1)
        self.refused = 0

    def block(self, count: int) -> list[int]:
        """Write one record after the other; nanoseconds until each was acknowledged."""
        if self._contender.is_async:
            return self._runner.run(self._producer(count))
        times: list[int] = []
        put = self._contender.put
        for _ in range(count):
            index = next(self._indices)
            started = now_ns()
            self.refused += not put(index)
            times.append(now_ns() - started)
        return times

    def threads(self, producers: int, count: int) -> list[int]:
        """Do it from several threads at once."""
        found: list[list[int]] = [[] for _ in range(producers)]

        def produce(times: list[int]) -> None:
            times += self.block(count // producers)

        workers = [threading.Thread(target=produce, args=(times,)) for times in found]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return [time_ns for times in found for time_ns in times]

    def tasks(
        self, producers: int, count: int, interval_s: float = 0.0
    ) -> tuple[list[int], Result]:
        """Do it from several tasks of one loop, and see how late that loop is meanwhile."""

        async def run() -> tuple[list[int], Result]:
            quiet = await _heartbeats(asyncio.create_task(asyncio.sleep(_QUIET_S)))
            made = [self._producer(count // producers, interval_s) for _ in range(producers)]
            work = asyncio.gather(*made)
            lags = await _heartbeats(work)
            times = [time_ns for found in work.result() for time_ns in found]
            return times, {**quantiles(quiet, "quiet_"), **quantiles(lags, "lag_")}

        return self._runner.run(run())

    async def _producer(self, count: int, interval_s: float = 0.0) -> list[int]:
        times: list[int] = []
        put = self._contender.put_async
        for _ in range(count):
            index = next(self._indices)
            started = now_ns()
            self.refused += not await put(index)
            times.append(now_ns() - started)
            if interval_s:
                await asyncio.sleep(interval_s)
            elif self._contender.never_waits:
                await asyncio.sleep(0)  # else the loop would do nothing else
        return times

    def written(self) -> int:
        """Return how many records were written; none must be written after that."""
        return next(self._indices) - 1


async def _heartbeats(until: asyncio.Future[object]) -> list[int]:
    """Sleep a millisecond again and again; how much later than asked each sleep ended."""
    lags: list[int] = []
    while not until.done():
        started = now_ns()
        await asyncio.sleep(_HEARTBEAT_S)
        lags.append(max(0, now_ns() - started - int(_HEARTBEAT_S * 1e9)))
    return lags


def acknowledged_unsynced(worker: Worker, contender: Contender) -> str:
    """Count the records that were acknowledged without any sync since they were handed over."""
    syncs = 0
    originals = {name: getattr(os, name) for name in ("fsync", "fdatasync")}

    def counting(original: Callable[[int], None]) -> Callable[[int], None]:
        def sync(handle: int) -> None:
            nonlocal syncs
            original(handle)
            syncs += 1

        return sync

    for name, original in originals.items():
        setattr(os, name, counting(original))
    unsynced = 0
    for _ in range(_WATCHED):
        before = syncs
        worker.block(1)
        unsynced += syncs == before and not contender.is_synced_below()
    for name, original in originals.items():
        setattr(os, name, original)
    return f"{unsynced} of {_WATCHED}"


def measure_one(worker: Worker, raw: Worker, count: int) -> Result:
    """One producer: latency in blocks that take turns with the raw disk, then the rate."""
    ours: list[int] = []
    disk: list[int] = []
    for _ in range(max(1, count // (2 * _BLOCK))):
        disk += raw.block(_BLOCK)
        ours += worker.block(_BLOCK)
    return {**quantiles(ours), **quantiles(disk, "raw_")}


def measure(name: str, mode: str, *, sink: str, directory: Path, size: int, scale: float) -> Result:
    """Measure one contender in one mode."""
    kind, _, number = mode.partition(":")
    producers = int(number or 1)
    contender = make(name, size)
    count = int(_COUNTS.get(mode, _MANY) * contender.scale * scale) // producers * producers
    result: Result = {}
    with asyncio.Runner() as runner:
        worker = Worker(contender, directory, sink, runner)
        (directory / "beside").mkdir()
        raw = Worker(Raw(size), directory / "beside", sink, runner)
        worker.block(_WARM_UP)
        if kind == "one":
            result["unsynced"] = acknowledged_unsynced(worker, contender)
            result |= measure_one(worker, raw, count)
        contender.flush()
        gc.collect()
        started, cpu_started = time.perf_counter(), time.process_time()
        if kind == "paced":
            interval_s = producers / _PACE_PER_S
            times, lags = worker.tasks(producers, min(count, 2 * _PACE_PER_S), interval_s)
            result |= {**quantiles(times), **lags}
        elif kind == "tasks":
            times, lags = worker.tasks(producers, count)
            result |= {**quantiles(times), **lags}
        elif kind == "threads":
            times = worker.threads(producers, count)
            result |= quantiles(times)
        else:
            times = worker.block(count)
        took = time.perf_counter() - started - (_QUIET_S if kind in {"tasks", "paced"} else 0)
        contender.flush()
        result["cpu_us"] = (time.process_time() - cpu_started) / len(times) * 1e6
        result["records_per_s"] = len(times) / took
        result["refused"], result["count"] = worker.refused, worker.written()
        result["verified"] = contender.verified()
        contender.close()
    result["chained"] = contender.chained(directory)
    return result


def write_until_killed(name: str, *, sink: str, directory: Path, size: int) -> None:
    """Write one byte to standard output for each acknowledged record, for ever."""
    contender = make(name, size)
    with asyncio.Runner() as runner:
        worker = Worker(contender, directory, sink, runner)
        while True:
            refused = worker.refused
            worker.block(1)
            if worker.refused == refused:
                os.write(1, b".")
            time.sleep(_KILL_INTERVAL_S)


def sample_size(sink: str, directory: Path) -> Result:
    """Return the bytes that one stored record of ours takes, entry included."""
    from kaizen_otel._spool.segment import ENTRY_OVERHEAD

    ours = Ours()
    with asyncio.Runner() as runner:
        Worker(ours, directory, sink, runner).block(_WARM_UP)
        ours.close()
    found = [payload for payload in payloads(directory) if EVENT.encode() in payload]
    return {"size": round(sum(map(len, found)) / len(found)) + ENTRY_OVERHEAD}


def main(arguments: list[str]) -> None:
    """``name mode sink directory size scale``."""
    name, mode, sink, directory, size, scale = arguments
    logging.disable(logging.CRITICAL)
    if mode == "kill":
        write_until_killed(name, sink=sink, directory=Path(directory), size=int(size))
    elif mode == "sample":
        result = sample_size(sink, Path(directory))
    else:
        result = measure(
            name, mode, sink=sink, directory=Path(directory), size=int(size), scale=float(scale)
        )
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
