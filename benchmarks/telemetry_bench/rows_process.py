"""The rows about the process: rates, drift, loop lag, memory, a dead collector, imports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench.harness import case
from benchmarks.telemetry_bench.rows import Line, Row, bounded, compared, informative

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.telemetry_bench.harness import Case, Results

_MEBI: Final = 1_000_000


def process_rows(scale: float) -> list[Row]:
    """All of them; ``scale`` below one is for trying the harness."""
    seconds = max(0.3, 4 * scale)
    return [
        _steady(scale),
        _rates("sustained", "spans/s without a drop, default settings", 150_000,
               [("ours", (150_000, 200_000)), ("stock.http", (10_000, 20_000)),
                ("stock.fastotel", (60_000,))], seconds, 0),
        _rates("slow-collector", "spans/s without a drop, collector answers in 100 ms", 50_000,
               [("ours", (50_000, 75_000)), ("stock.http", (5_000,)),
                ("stock.fastotel", (5_000,))], seconds, 100),
        _dead(),
        _lag(seconds),
        _memory(scale),
        _imports(),
    ]  # fmt: skip


def _steady(scale: float) -> Row:
    count = max(20_000, round(_MEBI * scale))
    ours = case("ours", "steady", "operations", count=count, block=10_000)

    def lines(results: Results) -> Iterator[Line]:
        figure = f"{count:,} operations: last tenth over first"
        yield bounded(results, "steady", figure, "drift", ours, 1.05, unit="x")
        figure = f"{count:,} operations: growth of memory"
        yield bounded(results, "steady", figure, "rss_growth_mb", ours, 2, unit="MB")

    return Row("steady", (ours,), lines, ours)


def _rates(
    name: str,
    figure: str,
    bound: float,
    contenders: Sequence[tuple[str, Sequence[int]]],
    seconds: float,
    delay_ms: int,
) -> Row:
    offered = [
        (
            contender,
            [
                case(contender, "rate", "spans", "spans", rate=rate, delay_ms=delay_ms,
                     count=round(rate * seconds / 400) * 400)
                for rate in rates
            ],
        )
        for contender, rates in contenders
    ]  # fmt: skip

    def lines(results: Results) -> Iterator[Line]:
        for contender, cases in offered:
            best, note = highest_rate(results, cases)
            is_ours = contender == "ours"
            yield Line(
                row=name,
                figure=figure,
                unit="spans/s",
                ours=best if is_ours else None,
                peer="" if is_ours else contender.replace("stock.fastotel", "fastotel"),
                theirs=None if is_ours else best,
                bar=f">= {bound:,g}" if is_ours else "",
                limit=bound if is_ours else None,
                holds=best >= bound if is_ours and best is not None else None,
                note=note,
            )

    used = tuple(one for _, cases in offered for one in cases)
    return Row(name, used, lines, offered[0][1][0])


def highest_rate(results: Results, cases: Sequence[Case]) -> tuple[float | None, str]:
    """The highest rate of which no round lost anything, as it was achieved; and what was lost.

    The median of the rounds.  A rate is taken until the last span is delivered, and counts as
    reached from 93 % of what was offered on: a flush after four seconds takes its part.
    """
    best: float | None = None
    notes: list[str] = []
    for one in cases:
        rows = [row for row in results.rows.get(one, []) if "error" not in row]
        offered = dict(one.arguments)["rate"]
        if not rows:
            notes.append(results.reason(one))
            continue
        lost = max(row["missing"] for row in rows)
        rate = results.median(one, "rate")
        assert rate is not None
        if lost:
            notes.append(f"of {offered:,}/s lost up to {lost / rows[0]['count']:.1%}")
            continue
        rate = offered if rate >= 0.93 * offered else rate
        if rate < offered:
            notes.append(f"of {offered:,}/s made {rate:,.0f}/s")
        best = max(best or 0, rate)
    if best is None and notes and all(note.startswith("of ") for note in notes):
        best = 0.0
    return best, "; ".join(notes)


def _dead() -> Row:
    common: dict[str, Any] = {"count": 4_000, "timeout_s": 0.5}
    ours = {kind: case("ours", "dead", dead=kind, **common) for kind in ("refused", "silent")}
    leaving = {kind: case("ours", "exit", dead=kind, count=4_000) for kind in ("refused", "silent")}
    # Half a minute each, and always the same half minute: once is enough.
    peers = [(name, case(name, "dead", dead="refused", once=True, **common))
             for name in ("stock.http", "stock.fastotel")]  # fmt: skip

    def lines(results: Results) -> Iterator[Line]:
        for kind, one in ours.items():
            figure = f"dead collector ({kind}): over the asked deadline"
            yield bounded(results, "dead", figure, "over_ms", one, 50, unit="ms")
        for kind, one in leaving.items():
            figure = f"dead collector ({kind}): exit without a call"
            yield bounded(results, "dead", figure, "exit_s", one, 2, unit="s")
        for name, one in peers:
            figure = "dead collector (refused): over the asked deadline"
            yield informative(results, "dead", figure, "over_ms", one, name, unit="ms")

    return Row("dead", (*ours.values(), *leaving.values(), *(one for _, one in peers)), lines)


def _lag(seconds: float) -> Row:
    def lag(contender: str) -> Case:
        return case(contender, "lag", "spans", rate=2_000, seconds=seconds)

    none, ours = lag("none"), lag("ours")
    peers = [(name, lag(name)) for name in ("stock.http", "stock.fastotel")]

    def lines(results: Results) -> Iterator[Line]:
        figure = "event-loop lag p99 at 2,000 spans/s"
        bars = [("no telemetry", [none], 1.3)]
        yield from compared(results, "lag", figure, "p99_us", ours, bars)
        for name, one in peers:
            yield informative(results, "lag", figure, "p99_us", one, name, unit="us")

    return Row("lag", (none, ours, *(one for _, one in peers)), lines, ours)


def _memory(scale: float) -> Row:
    count = max(10_000, round(50_000 * scale))

    def memory(contender: str) -> Case:
        return case(contender, "memory", dead="silent", count=count, queue="large")

    ours = memory("ours")
    peers = [(name, memory(name)) for name in ("stock.http", "stock.fastotel")]

    def lines(results: Results) -> Iterator[Line]:
        figure = "memory of a buffered span"
        yield bounded(results, "memory", figure, "bytes", ours, 400, unit="B")
        for name, one in peers:
            yield informative(results, "memory", figure, "bytes", one, name, unit="B")

    return Row("memory", (ours, *(one for _, one in peers)), lines)


def _imports() -> Row:
    ours = case("ours", "imports")
    plain = case("ours", "imports", door="plain")
    kaizen = case("kaizen", "imports")

    def lines(results: Results) -> Iterator[Line]:
        figure = "import beyond BaseAgent and the API"
        yield bounded(results, "imports", figure, "import_ms", ours, 30, unit="ms")
        yield informative(results, "imports", figure, "import_ms", kaizen, "kaizen", unit="ms")
        figure = "first enable, modules loaded, without audit"
        yield bounded(results, "imports", figure, "enable_ms", ours, 5, unit="ms")
        yield informative(results, "imports", figure, "enable_ms", kaizen, "kaizen", unit="ms")
        figure = "first enable, what audit adds"
        yield bounded(results, "imports", figure, "audit_ms", ours, None, unit="ms")
        heavy = {name for row in results.rows.get(plain, []) for name in row.get("heavy", [])}
        yield bounded(
            results, "imports", "of grpc and protobuf loaded on the default path", "heavy_count",
            plain, 0, unit="modules", note=", ".join(sorted(heavy)),
        )  # fmt: skip

    return Row("imports", (ours, plain, kaizen), lines, ours)
