"""The table for the terminal and the page for the documentation."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench.rows import Line

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

_WIDTHS: Final = (16, 55, 12, 25, 12, 9, 12)
_TITLES: Final = ("row", "figure", "ours", "peer", "theirs", "ratio", "bar")
_SMALL: Final = 0.01


def number(value: float | None, unit: str = "") -> str:
    """A figure with three significant digits and its unit."""
    if value is None:
        return "-"
    if unit in {"spans/s", "spans"} or abs(value) >= 999.5:  # noqa: PLR2004 - whole numbers
        text = f"{value:,.0f}"
    elif value == 0:
        text = "0"
    elif abs(value) < _SMALL:
        text = f"{value:.4f}"
    else:
        text = f"{value:.3g}"
    shown = {"us": " us", "spans/s": "/s", "spans": "", "modules": "", "x": "x"}
    return text + shown.get(unit, f" {unit}" if unit else "")


def ratio(line: Line) -> str:
    """Ours over theirs, as one over something where we are cheaper."""
    if line.ratio is None:
        return "-"
    return f"1/{1 / line.ratio:.1f}" if 0 < line.ratio < 0.5 else f"{line.ratio:.2f}"  # noqa: PLR2004


def verdict(line: Line) -> str:
    """Whether the bar holds; a bar that was not measured is none that holds."""
    if not line.bar:
        return ""
    return {True: "yes", False: "MISSED", None: "not measured"}[line.holds]


def cells(line: Line) -> tuple[str, ...]:
    """One line of the table, verdict and note included."""
    return (
        line.row, line.figure, number(line.ours, line.unit), line.peer,
        number(line.theirs, line.unit) if line.peer else "", ratio(line) if line.peer else "",
        line.bar, verdict(line), line.note,
    )  # fmt: skip


def terminal(lines: Iterable[Line]) -> Iterator[str]:
    """The table as text; a row's name and figure are told once."""
    head = "".join(f"{text:<{width}}" for text, width in zip(_TITLES, _WIDTHS, strict=True))
    yield f"{head}holds"
    last: tuple[str, str] = ("", "")
    for line in lines:
        row = list(cells(line))
        here = (row[0], row[1])
        if here == last:
            row[0] = row[1] = ""
        elif here[0] == last[0]:
            row[0] = ""
        last = here
        text = "".join(f"{cell:<{width}}" for cell, width in zip(row[:7], _WIDTHS, strict=True))
        note = f"  ({row[8]})" if row[8] else ""
        yield f"{text}{row[7]}{note}".rstrip()


def hints(lines: Iterable[Line], profiled: Collection[str]) -> Iterator[str]:
    """Every bar that is missed, and how to see why, where there is something to profile."""
    for line in lines:
        if line.holds is False:
            got = f"{number(line.ours, line.unit)}"
            if line.ratio is not None:
                got += f", {ratio(line)} of {line.peer}"
            why = f"; see why: python -m benchmarks --profile {line.row}"
            yield (
                f"MISSED {line.figure}: {got}, the bar is {line.bar}"
                f"{why if line.row in profiled else ''}"
            )


def document(lines: Sequence[Line], about: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that was found, as JSON."""
    return {**about, "lines": [dataclasses.asdict(line) for line in lines]}


def lines_of(found: Mapping[str, Any]) -> list[Line]:
    """The lines of what ``document`` made."""
    made = [dict(one) for one in found["lines"]]
    for one in made:
        one["spread"] = tuple(one["spread"]) if one["spread"] else None
    return [Line(**one) for one in made]


_HEAD: Final = """\
# What telemetry costs

<!-- Written by `python -m benchmarks --write-docs`; do not edit. -->

Every figure is the median of {rounds} rounds; in each round every contender runs once, in turn, in
a process of its own, so that whatever else the machine does hits all alike. Processor time is that
of the whole process, exporter and last flush included, divided by what was *delivered*. Ratios are
ours over theirs, in the same run.

Measured on {date} at commit `{commit}`, {system}, {cores} cores, Python {python}, load {load:.1f}
at the start and {load_end:.1f} at the end. Versions: {versions}.

![Ours against each peer and each bar](figures.svg)

{summary}

| figure | ours (lowest to highest) | peer | theirs | ratio | bar | holds | note |
|---|---|---|---|---|---|---|---|
"""

_WHERE: Final = """
## Where our time goes, where a bar is missed

Samples of the whole process by `py-spy`, start and last flush included, once for each row
(`--profile ROW` shows more of each). A flat list means that no single step is to blame: what is
left is many small steps of an interpreter. `agent` are the observed program's own threads.
"""

_TAIL: Final = """
## Who is compared, with what

- *stock*: `opentelemetry-sdk` with `opentelemetry-exporter-otlp`, over HTTP and over gRPC; the
  cheaper of the two is what we are compared with. Where the cost of a delivered item is compared
  its queue is enlarged so that it loses nothing; bursts, rates and dead collectors are with
  default settings.
- *fastotel*: the stock SDK's spans behind a processor written in Rust.
- *kaizen*: Kaizen's own four observability hooks.
- *logfire*, *langfuse*: as their documentation shows, sending OTLP to the same receiver.

Each is installed in an environment of its own from a list of exact versions
(`benchmarks/telemetry_bench/peers`). Ours runs with default settings.

Spans are drawn from 200 shapes, made once from a seed: names, six attributes whose keys, types,
lengths and values vary, events, links, parents. Two of six values differ from span to span. The
receiver keeps raw requests while something is measured; afterwards it decodes everybody's with
the official protobuf classes and compares every span's name, kind, attributes, events, links and
parent, every log record and every sum with what was offered. {equality}

## How to reproduce

```console
$ make bench
```

installs the peers into the cache folder on first use, takes about {minutes} minutes, and prints
the table. `python -m benchmarks --help` shows how to measure single rows, more rounds, or
to write this page; `--profile ROW` shows where our time goes.

## What the figures do not say

- They are ratios of one machine. Microseconds differ elsewhere, ratios less so.
- The receiver is on the same machine and answers at once: networks, TLS and compression are left
  out.
- A model call takes a thousand times longer than anything here. What telemetry costs matters for
  tools that are called often, for event loops, and for what is lost under load.
- Memory is what the process's resident size grows by, which includes the allocator's slack.
- What one audit record costs, and what it is worth, is a table of its own: `make bench-audit`.
- Exactness of the ledger under faults is tested, not measured here.
"""


def page(found: Mapping[str, Any], lines: Sequence[Line]) -> str:
    """The documentation page."""
    bars = [line for line in lines if line.bar]
    missed = [line for line in bars if line.holds is False]
    unmeasured = [line for line in bars if line.holds is None]
    summary = f"Of {len(bars)} bars {len(bars) - len(missed) - len(unmeasured)} hold"
    summary += f", {len(missed)} are missed" if missed else ""
    summary += f", {len(unmeasured)} were not measured" if unmeasured else ""
    if max(found["load"], found["load_end"]) > found["cores"] + 1:
        summary += (
            ". Other programs were busy during this run: only ratios of CPU are worth reading"
        )
    faults = found["faults"]
    equality = (
        "In this run everything arrived as offered, from everybody."
        if not faults
        else "In this run this was otherwise: " + "; ".join(faults) + "."
    )
    versions = ", ".join(
        f"{name} {version}"
        for name, version in dict(
            pair for packages in found["versions"].values() for pair in packages.items()
        ).items()
    )
    values = {**found, "versions": versions, "summary": f"{summary}.", "equality": equality}
    table = "".join(map(_markdown, lines))
    where = "".join(_profiles(found.get("profiles", ())))
    return _HEAD.format(**values) + table + where + _TAIL.format(**values)


def _profiles(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The section that says why bars are missed; nothing if nothing was profiled."""
    if not found:
        return
    yield _WHERE
    for one in found:
        yield f"\n### {one['row']}\n\n{one['samples']:,} samples. Threads: "
        yield ", ".join(f"`{name}` {share:.0%}" for share, name in one["threads"])
        yield ".\n\n| itself | with all it calls | function |\n|---|---|---|\n"
        for own, below, name in one["functions"]:
            yield f"| {own:.1%} | {below:.1%} | `{name}` |\n"


def _markdown(line: Line) -> str:
    row = cells(line)
    ours = row[2]
    if line.spread and line.spread[0] != line.spread[1]:
        ours += f" ({number(line.spread[0])} to {number(line.spread[1])})"
    held = {"MISSED": "**missed**"}.get(row[7], row[7])
    shown = (row[1], ours, row[3], row[4], row[5], row[6], held, row[8])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in shown) + " |\n"
