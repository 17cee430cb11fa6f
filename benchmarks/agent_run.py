# ruff: noqa: INP001 - a script
"""What observing one agent run costs, against no observability and one empty Kaizen hook.

    python benchmarks/agent_run.py [rounds] [runs per round]

The agent is real (offline): memory, one tool call, three cycles, so five operations with us and
eight events with Kaizen's hooks.  Everything up to the request's bytes is paid for, by our threads
too; the transport throws them away; audit records are written with ``durability=none``.  The
variants take turns, and each is judged by its fastest round, because other programs only ever add
time.  The last column is what was added as a share of what the empty hook adds.  Nothing is
asserted.  ``python -m benchmarks --only agent agent-blocking`` judges pairs of single runs.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kaizen.core.autonomy.hooks.manager import HookManager
from kaizen.core.autonomy.hooks.types import HookEvent, HookResult

from kaizen_otel._export import Delivered
from kaizen_otel._pipeline import Pipeline
from kaizen_otel.config import Config
from kaizen_otel.integrations import kaizen
from tests.kaizen.agents import tool_agent

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._export import Outcome

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


class EmptyHook:
    """The cheapest hook there is."""

    name = "empty"
    events: Final = list(HookEvent)

    async def handle(self, context: object) -> object:
        """Do nothing."""
        del context
        return HookResult(success=True)


class Variant(NamedTuple):
    """A way to run the agent, and what undoes it."""

    name: str
    agent: Any
    close: Callable[[], object]


def plain() -> Variant:
    """Nobody looks."""
    return Variant("no observability", tool_agent(), lambda: None)


def hooked() -> Variant:
    """One hook that does nothing, on Kaizen's own manager."""
    manager = HookManager()
    manager.register_hook(EmptyHook())
    return Variant("one empty Kaizen hook", tool_agent(hook_manager=manager), lambda: None)


def observed(*signals: str) -> Variant:
    """Ours, with some of its signals."""
    switches: dict[str, Any] = {
        f"enable_{name}": name in signals for name in ("tracing", "metrics", "logging", "audit")
    }
    pipeline = Pipeline(
        Config.from_environment(os.environ),
        transports=dict.fromkeys(("traces", "metrics", "logs"), Nowhere()),
    )
    agent = tool_agent()
    kaizen.enable_observability(agent, pipeline=pipeline, **switches)
    return Variant(f"kaizen-otel: {', '.join(signals)}", agent, lambda: pipeline.shutdown(5_000))


def seconds_per_run(run: Callable[..., object], count: int) -> float:
    """Mean time of one run over a round."""
    started = time.perf_counter()
    for _ in range(count):
        run(question="hi?", session_id="s1")
    return (time.perf_counter() - started) / count


def measure(rounds: int, count: int) -> dict[str, list[float]]:
    """Seconds per run of each round, by variant."""
    variants = [
        plain(),
        hooked(),
        observed("tracing"),
        observed("tracing", "metrics", "logging"),
        observed("tracing", "metrics", "logging", "audit"),
    ]
    found: dict[str, list[float]] = {variant.name: [] for variant in variants}
    gc.collect()
    gc.freeze()
    with contextlib.redirect_stdout(io.StringIO()) as noise:
        for turn in range(rounds + 1):
            for variant in variants:
                variant.agent.memory.clear("s1")  # it grows with each turn
                took = seconds_per_run(variant.agent.run, count)
                if turn:  # the first is to warm up
                    found[variant.name].append(took)
                noise.seek(0)
                noise.truncate()
    for variant in variants:
        variant.close()
    return found


def main(arguments: list[str]) -> None:
    """Measure and print."""
    logging.disable(logging.CRITICAL)
    rounds = int(arguments[0]) if arguments else 15
    count = int(arguments[1]) if len(arguments) > 1 else 40
    with tempfile.TemporaryDirectory() as folder:
        os.environ["KAIZEN_OTEL_SPOOL_DIR"] = folder
        os.environ["KAIZEN_OTEL_DURABILITY"] = "none"
        found = measure(rounds, count)
    base = min(found["no observability"])
    write = sys.stdout.write
    write(f"{rounds} rounds of {count} runs, microseconds per run, load {os.getloadavg()[0]:.1f}\n")
    hook = (min(found["one empty Kaizen hook"]) - base) * _MICROSECONDS
    write(f"{'':44}{'fastest':>9}{'median':>9}{'added':>9}{'share':>9}\n")
    for name, times in found.items():
        fastest, median = (x * _MICROSECONDS for x in (min(times), statistics.median(times)))
        added = fastest - base * _MICROSECONDS
        write(f"{name:44}{fastest:9.0f}{median:9.0f}{added:9.0f}{added / hook:9.3f}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
