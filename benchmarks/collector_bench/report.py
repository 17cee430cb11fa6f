"""What was measured, as a document, as text and as a page."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any, Final

from benchmarks.collector_bench.cases import LARGE, SIGNALS, SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.collector_bench.cases import Case
    from benchmarks.collector_bench.measure import Row

Document = dict[str, Any]

_ITEMS: Final = {"traces": "spans", "metrics": "points", "logs": "log records"}
_HEAD: Final = """\
# What a Collector carries

<!-- Written by `make bench-collector ARGS=--write-docs`; do not edit. -->

Measured on {date} at commit `{commit}` with Collector {version}, {system}, {cores} cores, load
{load:.1f} at the start and {load_end:.1f} at the end. Every figure is the median of {rounds}
rounds in which all cases took turns, each with a fresh Collector; in brackets are the lowest and
the highest.

*Per second and core* is the number of items divided by the processor time that the Collector's
process used until the last of them was at its backend: what one core carries when nothing else
holds it up. *Requests/s* is by the clock, on this shared machine, and is where waiting for the
disk shows.{caution}
"""
_CAUTION: Final = """

**Other programs were busy meanwhile**: trust processor time and what stands side by side; by the
clock an idle machine does better."""
_TELEMETRY: Final = """
## Traces, metrics, logs

{connections} connections of OTLP/HTTP with one request in flight on each. *Defaults* is a
Collector with the same receiver and backends, every component as it is when nothing is said
(`benchmarks/collector_bench/cases.py` has its config): queues in memory, no redaction, no metrics
made from spans. *Gateway* and *agent* are the shipped configs.
"""
_FIT: Final = """
## What a request and what an item costs

From the two sizes of requests above: a request with *n* items takes *a + n b* of processor time.
This is what the [sizing table](../how-to/scale-out.md) is made from.
"""
_AUDIT: Final = """
## The audit pipeline

`audit.yaml`: an answer means that the records were written to the file. A *syncing* folder has
`chattr +S`, so that it also means that the disk has them: that is what survives a loss of power.
{sync}
"""
_FOOT: Final = """
## How to reproduce

```console
$ make bench-collector
```

takes about {minutes} minutes on such a machine; `ARGS=--quick` tries everything with a tenth of the
requests, `ARGS=--help` shows the rest.

- Requests are made before the clock runs: spans and log records with six attributes each, drawn
  from 200 shapes; points that are half counters, half histograms with 14 buckets, all cumulative;
  audit records that our own manager made with its default settings. Nothing is compressed on the
  way in.
- The generator and the stand-ins for the backends run in processes of their own, on the same
  machine. Of the Collector's processor time the generator used {generator:.0%} in the middle case
  and {generator_max:.0%} at most, the stand-ins {backends:.0%} and {backends_max:.0%}.
- Delivery is checked: by the Collector's own counters, and for spans and log records by what the
  stand-ins counted. Missing in this run: {undelivered}.
- `elasticsearch` is our exporter in both columns, with its defaults in one of them: the official
  exporter was not to be had where this was measured.
- Backends that answer at once make queues short. What an outage adds is disk, not processor time.
- TLS and authentication are left out.
"""


def document(results: Mapping[Case, Sequence[Row]], about: Mapping[str, Any]) -> Document:
    """The medians of every case, with the lowest and the highest of what is compared."""
    rows: list[Row] = []
    for case, found in results.items():
        row: Row = {
            "name": case.name,
            "signal": case.signal,
            "items_per_request": case.items,
            "connections": case.connections,
            "syncs": case.syncs,
        }
        row |= {key: statistics.median(one[key] for one in found) for key in found[0]}
        per_core = [one["items"] / one["cpu_s"] for one in found]
        row["per_core"] = [statistics.median(per_core), min(per_core), max(per_core)]
        row["cpu_us_per_request"] = statistics.median(
            1e6 * one["cpu_s"] / one["requests"] for one in found
        )
        # Audit records are there when they are answered; the rest when the queues are empty.
        clock = "offered_s" if case.signal == "audit" else "seconds"
        row["requests_per_s"] = statistics.median(one["requests"] / one[clock] for one in found)
        row["undelivered"] = max(abs(one["undelivered"]) for one in found)
        rows.append(row)
    return {**about, "rows": rows}


def cost(found: Document, name: str, signal: str) -> tuple[float, float]:
    """Processor time in microseconds of a request without items, and of one item."""
    rows = {
        row["items_per_request"]: row["cpu_us_per_request"]
        for row in found["rows"]
        if (row["name"], row["signal"]) == (name, signal)
    }
    item = (rows[LARGE] - rows[SMALL]) / (LARGE - SMALL)
    return rows[SMALL] - SMALL * item, item


def telemetry_lines(found: Document) -> Iterator[str]:
    """The rows of the first table."""
    yield "| signal | items in a request | who | per second and core | of defaults | requests/s |"
    yield "|---|---|---|---|---|---|"
    defaults = {
        (row["signal"], row["items_per_request"]): row["per_core"][0]
        for row in found["rows"]
        if row["name"] == "defaults"
    }
    for row in _rows(found, SIGNALS):
        middle, low, high = row["per_core"]
        base = defaults[row["signal"], row["items_per_request"]]
        yield (
            f"| {_ITEMS[row['signal']]} | {row['items_per_request']} | {row['name']} "
            f"| {middle:,.0f} ({low:,.0f} to {high:,.0f}) | {middle / base:.2f} "
            f"| {row['requests_per_s']:,.0f} |"
        )


def memory_lines(found: Document) -> Iterator[str]:
    """The rows of the second table: memory and answers, for large requests."""
    yield "| signal | who | most memory, MiB | answer p50, ms | p95 | p99 | refused |"
    yield "|---|---|---|---|---|---|---|"
    for row in _rows(found, SIGNALS):
        if row["items_per_request"] == LARGE:
            yield (
                f"| {_ITEMS[row['signal']]} | {row['name']} | {row['memory_mib']:.0f} "
                f"| {row['p50_ms']:.0f} | {row['p95_ms']:.0f} | {row['p99_ms']:.0f} "
                f"| {row['refused']:.0f} |"
            )


def cost_lines(found: Document) -> Iterator[str]:
    """The rows of the table of costs."""
    yield "| who | signal | a request, us | an item, us |"
    yield "|---|---|---|---|"
    for name in ("defaults", "gateway", "agent"):
        for signal in SIGNALS:
            request, item = cost(found, name, signal)
            yield f"| {name} | {_ITEMS[signal]} | {request:,.0f} | {item:.1f} |"


def audit_lines(found: Document) -> Iterator[str]:
    """The rows of the audit table."""
    yield (
        "| records in a request | connections | folder | acknowledged records/s "
        "| per second and core | p50, ms | p95 | p99 | most memory, MiB |"
    )
    yield "|---|---|---|---|---|---|---|---|---|"
    for row in _rows(found, ("audit",)):
        records = row["requests_per_s"] * row["items_per_request"]
        yield (
            f"| {row['items_per_request']} | {row['connections']} "
            f"| {'syncing' if row['syncs'] else 'plain'} | {records:,.0f} "
            f"| {row['per_core'][0]:,.0f} | {row['p50_ms']:.2f} | {row['p95_ms']:.2f} "
            f"| {row['p99_ms']:.2f} | {row['memory_mib']:.0f} |"
        )


def page(found: Document) -> str:
    """The page of the documentation."""
    shares = {
        who: sorted(row[f"{who}_cpu_s"] / row["cpu_s"] for row in found["rows"])
        for who in ("generator", "backends")
    }
    values = {
        **{key: value for key, value in found.items() if key != "rows"},
        "caution": _CAUTION if found["load_end"] > found["cores"] + 1 else "",
        "connections": max(row["connections"] for row in _rows(found, SIGNALS)),
        "undelivered": f"{sum(row['undelivered'] for row in found['rows']):.0f}",
        "generator": statistics.median(shares["generator"]),
        "generator_max": shares["generator"][-1],
        "backends": statistics.median(shares["backends"]),
        "backends_max": shares["backends"][-1],
        "sync": ""
        if found["can_sync"]
        else "The file system of this machine has no such flag, so those rows are missing.",
    }
    parts = [
        _HEAD.format(**values),
        _TELEMETRY.format(**values),
        _table(telemetry_lines(found)),
        _table(memory_lines(found)),
        _FIT,
        _table(cost_lines(found)),
        _AUDIT.format(**values).rstrip() + "\n",
        _table(audit_lines(found)),
        _FOOT.format(**values),
    ]
    return "".join(parts)


def _rows(found: Document, signals: Sequence[str]) -> list[Row]:
    return [row for row in found["rows"] if row["signal"] in signals]


def _table(lines: Iterator[str]) -> str:
    return "\n" + "\n".join(lines) + "\n"
