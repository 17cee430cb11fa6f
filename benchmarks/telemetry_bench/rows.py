"""Every figure, its contenders and its bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench.harness import case

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.telemetry_bench.harness import Case, Results


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One comparison: our figure against a peer's or against a bound.

    ``holds`` is None where there is no bar or something was not measured.
    """

    row: str
    figure: str
    unit: str
    ours: float | None
    spread: tuple[float, float] | None = None
    peer: str = ""
    theirs: float | None = None
    ratio: float | None = None
    bar: str = ""
    limit: float | None = None
    holds: bool | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table: which cases it needs and what it makes of their results."""

    name: str
    cases: tuple[Case, ...]
    lines: Callable[[Results], Iterator[Line]]
    profile: Case | None = None


def _spread(results: Results, one: Case, field: str) -> tuple[float, float] | None:
    values = results.values(one, field)
    return (min(values), max(values)) if values else None


def compared(
    results: Results,
    row: str,
    figure: str,
    field: str,
    ours: Case,
    peers: Sequence[tuple[str, Sequence[Case], float | None]],
    *,
    unit: str = "us",
) -> Iterator[Line]:
    """Our median over that of each peer, which must be at most a share.

    A peer with several cases is the cheapest of them.
    """
    mine = results.median(ours, field)
    for name, cases, share in peers:
        found = [(results.median(one, field), one) for one in cases]
        measured = [(value, one) for value, one in found if value]
        theirs, best = min(measured, key=lambda pair: pair[0]) if measured else (None, cases[0])
        ratio = mine / theirs if mine is not None and theirs else None
        variant = best.contender.rpartition(".")[2]
        yield Line(
            row=row,
            figure=figure,
            unit=unit,
            ours=mine,
            spread=_spread(results, ours, field),
            peer=f"{name} ({variant})" if len(cases) > 1 and measured else name,
            theirs=theirs,
            ratio=ratio,
            bar=f"<= {_share(share)}" if share else "",
            limit=share,
            holds=ratio <= share if ratio is not None and share else None,
            note="" if theirs else results.reason(best),
        )


def bounded(
    results: Results,
    row: str,
    figure: str,
    field: str,
    ours: Case,
    bound: float | None,
    *,
    unit: str,
    at_least: bool = False,
    note: str = "",
) -> Line:
    """Our median against a bound."""
    mine = results.median(ours, field)
    sign = ">=" if at_least else "<="
    holds = None
    if mine is not None and bound is not None:
        holds = mine >= bound if at_least else mine <= bound
    return Line(
        row=row,
        figure=figure,
        unit=unit,
        ours=mine,
        spread=_spread(results, ours, field),
        bar="" if bound is None else f"{sign} {bound:,g}",
        limit=bound,
        holds=holds,
        note=note if mine is not None else results.reason(ours),
    )


def _share(share: float) -> str:
    inverse = round(1 / share)
    return f"1/{inverse}" if inverse > 2 and abs(1 / share - inverse) < 1e-9 else f"{share:g}"  # noqa: PLR2004


def _loops(door: str, what: str, *, sdk: bool = False, **arguments: Any) -> dict[str, Case]:  # noqa: ANN401 - JSON values
    found = {
        "ours": case("ours", "loop", door, what, **arguments),
        "http": case("stock.http", "loop", door, what, queue="large", **arguments),
        "grpc": case("stock.grpc", "loop", door, what, queue="large", **arguments),
    }
    if door in {"spans", "nested"}:
        fast = case("stock.fastotel", "loop", door, what, queue="large", **arguments)
        found["fastotel"] = fast
    if sdk:
        found["sdk"] = case("ours.sdk", "loop", door, what, **arguments)
    return found


def _cpu_row(
    name: str,
    figure: str,
    cases: dict[str, Case],
    ours: str,
    shares: Sequence[tuple[str, Sequence[str], float | None]],
) -> Row:
    def lines(results: Results) -> Iterator[Line]:
        peers = [(peer, [cases[key] for key in keys], share) for peer, keys, share in shares]
        yield from compared(results, name, figure, "cpu_us", cases[ours], peers)

    used = (ours, *dict.fromkeys(key for _, keys, _ in shares for key in keys))
    return Row(name, tuple(cases[key] for key in used), lines, cases[ours])


_STOCK: Final = ("http", "grpc")


def span_rows(scale: float) -> list[Row]:
    """What a span, a log record, a measurement costs."""
    tight = _loops("spans", "spans", sdk=True, count=_count(100_000, scale))
    paced = _loops("spans", "spans", count=_count(20_000, scale), rate=10_000)
    nested = _loops("nested", "nested", count=_count(20_000, scale))
    for vendor in ("logfire", "langfuse"):
        nested[vendor] = case(
            f"vendors.{vendor}", "loop", "nested", "nested", count=_count(10_000, scale)
        )
    logs = _loops("logs", "logs", count=_count(50_000, scale))
    rows = [
        _cpu_row("span-tight", "span, tight loop: CPU each", tight, "ours",
                 [("stock", _STOCK, 1 / 8), ("fastotel", ("fastotel",), 0.4)]),
        _cpu_row("span-paced", "span, 10,000/s: CPU each", paced, "ours",
                 [("stock", _STOCK, 1 / 6), ("fastotel", ("fastotel",), 0.35)]),
        _cpu_row("sdk-span", "SDK span, our processor: CPU each", tight, "sdk",
                 [("stock", _STOCK, 0.35), ("fastotel", ("fastotel",), 1.0)]),
        _cpu_row("nested", "two nested spans: CPU a pair", nested, "ours",
                 [("stock", _STOCK, None), ("fastotel", ("fastotel",), None),
                  ("logfire", ("logfire",), None), ("langfuse", ("langfuse",), None)]),
        _cpu_row("log", "log record: CPU each", logs, "ours", [("stock", _STOCK, 1 / 6)]),
    ]  # fmt: skip
    for name, text in (("counter", "counter add"), ("histogram", "histogram record")):
        cases = _loops(name, name, count=_count(200_000, scale))
        shares = [("stock", _STOCK, 1 / 5)]
        rows.append(_cpu_row(name, f"{text}: CPU each", cases, "ours", shares))
    return [*rows, _burst_row(tight, scale), _flush_row(tight)]


def _burst_row(tight: dict[str, Case], scale: float) -> Row:
    ours, count = tight["ours"], _count(100_000, scale)
    peers = [
        (name, case(name, "burst", "spans", "spans", count=count))
        for name in ("stock.http", "stock.grpc", "stock.fastotel")
    ]

    def lines(results: Results) -> Iterator[Line]:
        figure = f"lost of a burst of {count:,}"
        yield bounded(results, "burst", figure, "missing", ours, 0, unit="spans")
        for name, one in peers:
            yield informative(results, "burst", figure, "missing", one, name, unit="spans")

    return Row("burst", (ours, *(one for _, one in peers)), lines, ours)


def informative(
    results: Results, row: str, figure: str, field: str, one: Case, name: str, *, unit: str
) -> Line:
    """A peer's figure for which there is no bar."""
    theirs = results.median(one, field)
    return Line(
        row=row,
        figure=figure,
        unit=unit,
        ours=None,
        peer=name.replace("stock.fastotel", "fastotel"),
        theirs=theirs,
        note="" if theirs is not None else results.reason(one),
    )


def _flush_row(tight: dict[str, Case]) -> Row:
    def lines(results: Results) -> Iterator[Line]:
        figure = "flush after a tight loop"
        yield bounded(results, "flush", figure, "flush_s", tight["ours"], 0.25, unit="s")
        for name in ("http", "grpc", "fastotel"):
            peer = f"stock.{name}"
            yield informative(results, "flush", figure, "flush_s", tight[name], peer, unit="s")

    used = ("ours", "http", "grpc", "fastotel")
    return Row("flush", tuple(tight[name] for name in used), lines, tight["ours"])


def _count(full: int, scale: float) -> int:
    # A multiple of the shapes and of the attribute sets.
    return max(400, round(full * scale / 400) * 400)
