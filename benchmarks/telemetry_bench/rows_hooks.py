"""The rows about hooks and about a whole agent."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING

from benchmarks.telemetry_bench.harness import case
from benchmarks.telemetry_bench.rows import Line, Row, bounded, compared, informative

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.telemetry_bench.harness import Case, Results


def hook_rows(scale: float) -> list[Row]:
    """The hook pair, the agent, and the agent whose tools wait for their intent."""
    return [_pair(scale), _agent(scale), _blocking_agent(scale)]


def _pair(scale: float) -> Row:
    many, few = max(200, round(10_000 * scale)), max(50, round(1_000 * scale))
    ours = case("ours", "pair", "", "pairs", count=many)
    noop = case("ours.noop", "pair", "", count=many)
    stock = [case(f"stock.{name}", "pair", "", "pairs", count=many) for name in ("http", "grpc")]
    kaizen = case("kaizen", "pair", "", count=few)
    kaizen_noop = case("kaizen.noop", "pair", "", count=many)

    def lines(results: Results) -> Iterator[Line]:
        figure = "hook pair, five signals: CPU"
        peers = [("stock by hand", stock, 1 / 10), ("kaizen, its four hooks", [kaizen], 1 / 100)]
        yield from compared(results, "hook-pair", figure, "cpu_us", ours, peers)
        figure = "hook pair: p99 over a no-op hook"
        over = difference(results, "p99_us", ours, noop)
        yield Line(
            row="hook-pair", figure=figure, unit="us", ours=over, bar="<= 10", limit=10,
            holds=None if over is None else over <= 10,  # noqa: PLR2004 - the bar
            note="" if over is not None else results.reason(ours),
        )  # fmt: skip
        theirs = difference(results, "p99_us", kaizen, kaizen_noop)
        yield Line(row="hook-pair", figure=figure, unit="us", ours=None, peer="kaizen",
                   theirs=theirs,
                   note="" if theirs is not None else results.reason(kaizen))  # fmt: skip
        best = min(
            (informative(results, "hook-pair", "hook pair: p99", "p99_us", one, "stock by hand",
                         unit="us") for one in stock),
            key=lambda line: line.theirs or float("inf"),
        )  # fmt: skip
        yield dataclasses.replace(best, ours=results.median(ours, "p99_us"))

    return Row("hook-pair", (ours, noop, *stock, kaizen, kaizen_noop), lines, ours)


def difference(results: Results, field: str, one: Case, other: Case) -> float | None:
    """The median of the differences of two figures of the same rounds."""
    pairs = list(zip(results.values(one, field), results.values(other, field), strict=False))
    return statistics.median(mine - theirs for mine, theirs in pairs) if pairs else None


def _agent(scale: float) -> Row:
    count = max(10, round(150 * scale))
    ours = case("ours", "agent", "", count=count, durability="none", on_failure="continue")

    def lines(results: Results) -> Iterator[Line]:
        row = "agent"
        figure = "added to agent.run(), four signals"
        yield bounded(results, row, figure, "ours_added_us", ours, 60, unit="us")
        share, hook = results.median(ours, "share_of_hook"), results.median(ours, "hook_added_us")
        yield Line(
            row=row, figure=figure, unit="us", ours=results.median(ours, "ours_added_us"),
            peer="one empty Kaizen hook", theirs=hook, ratio=share, bar="<= 1/20", limit=1 / 20,
            holds=None if share is None else share <= 1 / 20,
            note="" if share is not None else results.reason(ours),
        )  # fmt: skip

    return Row("agent", (ours,), lines, ours)


def _blocking_agent(scale: float) -> Row:
    count = max(10, round(150 * scale))
    plain = case("ours", "agent", "", count=count, durability="none", on_failure="continue")
    ours = case("ours", "agent", "", count=count, durability="durable", on_failure="block_action")

    def lines(results: Results) -> Iterator[Line]:
        base, emit = results.median(plain, "ours_added_us"), results.median(ours, "emit_us")
        intents = results.median(ours, "intents")
        bound = None
        if base is not None and emit is not None and intents is not None:
            # The row above's own figure: what is compared is what waiting for the disk adds.
            bound = base + 1.2 * intents * emit
        note = "" if emit is None else f"one durable emit: {emit:.0f} us"
        yield bounded(
            results, "agent-blocking", "added to agent.run(), durable and block_action",
            "ours_added_us", ours, bound, unit="us", note=note,
        )  # fmt: skip

    return Row("agent-blocking", (plain, ours), lines, ours)
