"""What the audit benchmark found, as text and as a page of the documentation."""

from __future__ import annotations

import datetime as dt
import os
import platform
from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench.revision import described

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COLUMNS: Final = (
    ("p50 us", "p50", 9, 0), ("p95 us", "p95", 9, 0), ("p99 us", "p99", 9, 0),
    ("x disk", "ratio", 7, 2), ("records/s", "records_per_s", 10, 0), ("CPU us", "cpu_us", 8, 1),
    ("loop lag ms", "lag_ms", 12, 2),
)  # fmt: skip

Row = dict[str, Any]
Goal = tuple[str, float, float, bool]

_PAGE: Final = """# What an audit record costs

<!-- Written by `make bench-audit ARGS=--write-docs`; do not edit. -->

Every store gets the same facts. One measurement is one process, the stores take turns, and the
figures are medians over the rounds. With one producer, blocks of records take turns with blocks
of the bare system calls on the same disk: *x disk* is the ratio of the two p95. *CPU* is that of
the whole process until everything is delivered, for each record. *Loop lag* is how much the p99
of a heartbeat of 1 ms grows while the loop's tasks write records. *Killed* writes records and is
ended by SIGKILL; *power cut* counts the records that were acknowledged before any sync. *Group
commit alone* is what a file that many threads or tasks share costs, with nothing of an audit
trail in it.

{about}

```text
{table}
```

| goal | figure | bound | holds |
|---|---|---|---|
{goals}
"""


def lines_of(table: list[Row]) -> Iterator[str]:
    """The table as text."""
    head = "".join(f"{title:>{width}}" for title, _, width, _ in _COLUMNS)
    yield (
        f"{'store':26}{'producers':11}{head}  {'acknowledged when':18}{'killed: lost':14}"
        f"{'power cut: lost':16}{'chain':19}notes"
    )
    last = ""
    for row in table:
        figures = "".join(
            f"{row[key]:>{width}.{digits}f}" if key in row else f"{'':>{width}}"
            for _, key, width, digits in _COLUMNS
        )
        line = f"{row['name'] if row['name'] != last else '':26}{row['mode']:11}{figures}  "
        if row["name"] != last:
            killed = f"{row['killed_lost']:.0f} of {row['killed_acknowledged']:.0f}"
            line += f"{row['acknowledged']:18}{killed:14}{row['unsynced']:16}{row['chained']:19}"
        else:
            line += " " * 67
        yield (line + notes_of(row)).rstrip()
        last = row["name"]


def notes_of(row: Row) -> str:
    """What else happened."""
    notes: list[str] = []
    if row["refused"]:
        notes.append(f"{row['refused']:.0f} of {row['count']:.0f} refused")
    if row["verified"]:
        notes.append(f"its own verification {row['verified']}")
    if row["undelivered"]:
        notes.append(f"{row['undelivered']:.0f} of {row['count']:.0f} never delivered")
    return ", ".join(notes)


def goals_of(table: list[Row]) -> list[Goal]:
    """Name, figure, bound and whether it is met, for each goal that was measured."""
    cases = {(row["name"], row["mode"]): row for row in table}
    name = "ours, durable"
    wanted = (
        ("one producer, p95 as a multiple of append + fdatasync", "one", "ratio", 2.5, False),
        ("64 threads, records/s", "threads:64", "records_per_s", 20_000, True),
        ("64 tasks, records/s", "tasks:64", "records_per_s", 20_000, True),
        ("64 tasks at full speed, loop lag p99 over none, ms", "tasks:64", "lag_ms", 2.0, False),
        ("64 tasks, 2,000 records/s, loop lag p99, ms", "paced:64", "lag_ms", 2.0, False),
    )
    return [
        (title, figure, bound, figure >= bound if more else figure <= bound)
        for title, mode, key, bound, more in wanted
        if (name, mode) in cases
        for figure in [float(cases[name, mode][key])]
    ]


def about_of(record_bytes: int, rounds: int, load: float) -> str:
    """When and on what it was measured; ``load`` is that of the machine before."""
    return (
        f"{dt.datetime.now(dt.UTC):%Y-%m-%d}, commit {described()}, "
        f"Python {platform.python_version()}, {os.cpu_count()} processors, load {load:.1f} to "
        f"{os.getloadavg()[0]:.1f}; medians of {rounds} rounds; a record is {record_bytes} bytes "
        "on the disk"
    )


def document(about: str, table: list[Row], goals: Sequence[Goal]) -> str:
    """The page."""
    rows = [
        f"| {title} | {figure:,.2f} | {bound:,g} | {'yes' if is_met else '**missed**'} |"
        for title, figure, bound, is_met in goals
    ]
    return _PAGE.format(about=about, table="\n".join(lines_of(table)), goals="\n".join(rows))
