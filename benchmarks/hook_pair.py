# ruff: noqa: INP001 - a script
"""Where the microseconds of one observed tool call go: in the caller, in our thread, in audit.

    python benchmarks/hook_pair.py [--rounds 5] [--count 2000] [--json]

One call is PRE_TOOL_USE, a log record and POST_TOOL_USE through our hook manager: a span, a
duration, two counts, a log record and two audit records (``durability=none``).  Each part is the
processor time of the whole process, in microseconds per call; parts take turns, and the fastest
round counts, because other programs only ever add time.  Peers are in ``python -m benchmarks``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kaizen_otel._export import Delivered
from kaizen_otel._pipeline import Pipeline
from kaizen_otel.config import Config
from kaizen_otel.hook_types import HookResult
from kaizen_otel.hooks import HookManager, TelemetryHook
from kaizen_otel.observability import ObservabilityManager

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from kaizen_otel._export import Outcome

_FLUSH_MS: Final = 60_000
_MICROSECONDS: Final = 1e6


class Nowhere:
    """A transport that accepts everything and keeps nothing."""

    description = "nowhere"

    def send(self, signal: str, body: bytes, *, deadline_ns: int) -> Outcome:
        """Accept one request."""
        del signal, body, deadline_ns
        return Delivered()

    def close(self) -> None:
        """Nothing is open."""


async def _nothing(context: object) -> HookResult:
    del context
    return HookResult(success=True)


class Pair:
    """One way to observe a tool call; ``audit`` with the audit trail, ``noop`` not at all."""

    def __init__(self, *, audit: bool = False, noop: bool = False) -> None:
        self.pipeline = Pipeline(
            Config.from_environment(os.environ),
            transports=dict.fromkeys(("traces", "metrics", "logs"), Nowhere()),
        )
        manager = ObservabilityManager("bench", enable_audit=audit, pipeline=self.pipeline)
        operations, hooks = manager.operations, HookManager()
        handler: Any = _nothing if noop else TelemetryHook(operations).handle
        for event in ("pre_tool_use", "post_tool_use"):
            hooks.register(event, handler)

        async def call(index: int) -> None:
            before = {"tool_name": f"tool {index % 20}", "step": index, "cost": 0.25}
            await hooks.trigger("pre_tool_use", "agent-7", before)
            if not noop:
                operations.event("tool.called", before)
            await hooks.trigger("post_tool_use", "agent-7", {**before, "success": True})

        self.call: Callable[[int], Awaitable[None]] = call

    def round(self, count: int) -> dict[str, float]:
        """Observe ``count`` calls: microseconds in the caller, and of the whole process."""
        times = [0] * count

        async def run() -> float:
            begun, now_ns = time.thread_time(), time.thread_time_ns
            for index in range(count):
                at_ns = now_ns()
                await self.call(index)
                times[index] = now_ns() - at_ns
            return time.thread_time() - begun

        gc.collect()
        begun = time.process_time()
        caller = asyncio.run(run())
        # Audit records are stored then; shipping them is not waited for.
        self.pipeline.observations.drain()
        self.pipeline.exporter.flush(_FLUSH_MS)
        times.sort()
        return {
            "caller_us": caller / count * _MICROSECONDS,
            "all_us": (time.process_time() - begun) / count * _MICROSECONDS,
            "caller_p50_us": times[count // 2] / 1000,
            "caller_p99_us": times[count * 99 // 100] / 1000,
        }


def measure(rounds: int, count: int) -> dict[str, dict[str, float]]:
    """The least of each figure, by variant; caller's percentiles are processor time."""
    pairs = {
        "no-op hook": Pair(noop=True),
        "traces, metrics, logs": Pair(),
        "with audit": Pair(audit=True),
    }
    found: dict[str, dict[str, float]] = {}
    for turn in range(rounds + 1):
        for name, pair in pairs.items():
            figures = pair.round(count)
            if turn:  # the first is to warm up
                known = found.setdefault(name, figures)
                found[name] = {key: min(known[key], figures[key]) for key in figures}
    for pair in pairs.values():
        pair.pipeline.shutdown(1_000)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KAIZEN_OTEL_SPOOL_DIR"] = folder
        os.environ["KAIZEN_OTEL_DURABILITY"] = "none"
        os.environ["KAIZEN_OTEL_AUDIT_ENDPOINT"] = "http://127.0.0.1:1"
        found = measure(arguments.rounds, arguments.count)
    if arguments.json:
        sys.stdout.write(json.dumps(found) + "\n")
        return
    columns = next(iter(found.values()))
    sys.stdout.write(f"{'':24}" + "".join(f"{name:>16}" for name in columns) + "\n")
    for name, figures in found.items():
        row = "".join(f"{figures[column]:16.1f}" for column in columns)
        sys.stdout.write(f"{name:24}{row}\n")


if __name__ == "__main__":
    main()
