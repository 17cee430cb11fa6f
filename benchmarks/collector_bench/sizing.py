"""From the measured costs to cores: the table of docs/how-to/scale-out.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from benchmarks.collector_bench.cases import CONNECTIONS, SIGNALS, SMALL
from benchmarks.collector_bench.report import cost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.collector_bench.report import Document

#: What one agent sends in a second: requests and items.  A run like that of `make demo` every ten
#: seconds has 7 spans, 6 log records and 11 audit records; 48 points every ten seconds.  Spans and
#: log records of a second leave together, and a run may touch two seconds.
RATES: Final = {"traces": (0.2, 0.7), "metrics": (0.1, 4.8), "logs": (0.2, 0.6)}
AUDIT_RATE: Final = 1.1
AGENTS: Final = (10, 1_000, 100_000)
#: How many agents share a node's Collector, and how long that one collects before it sends.
NODE_AGENTS: Final = 50
MERGED_S: Final = 5
#: How much of a core is planned for; the rest is for peaks and for what waited in an outage.
USED: Final = 0.6


def agent_us(found: Document) -> dict[str, float]:
    """Processor time that one agent takes of its gateway in a second, by signal."""
    costs = {signal: cost(found, "gateway", signal) for signal in SIGNALS}
    return {
        signal: RATES[signal][0] * request + RATES[signal][1] * item
        for signal, (request, item) in costs.items()
    }


def audit_us(found: Document) -> float:
    """Processor time that one agent takes of the audit Collector in a second."""
    return AUDIT_RATE * _audit(found)["cpu_us_per_request"]


def gateway_us(found: Document, agents: int, *, is_merged: bool) -> float:
    """Processor time that so many agents take of their gateways in a second."""
    if not is_merged:
        return agents * sum(agent_us(found).values())
    requests = agents / NODE_AGENTS / MERGED_S
    costs = {signal: cost(found, "gateway", signal) for signal in SIGNALS}
    return sum(
        requests * request + agents * RATES[signal][1] * item
        for signal, (request, item) in costs.items()
    )


def lines(found: Document) -> Iterator[str]:
    """The table."""
    yield (
        "| agents | items/s | requests/s, gateway cores: direct | behind merging node Collectors "
        "| audit records/s | audit cores |"
    )
    yield "|---|---|---|---|---|---|"
    trail_us = audit_us(found)
    for agents in AGENTS:
        direct = agents * sum(rate for rate, _ in RATES.values())
        merged = len(RATES) * agents / NODE_AGENTS / MERGED_S
        items = agents * sum(rate for _, rate in RATES.values())
        cores = [_cores(gateway_us(found, agents, is_merged=merges)) for merges in (False, True)]
        behind = f"{merged:,.0f}, {cores[1]}" if agents > NODE_AGENTS else ""
        yield (
            f"| {agents:,} | {items:,.0f} | {direct:,.0f}, {cores[0]} | {behind} "
            f"| {agents * AUDIT_RATE:,.0f} | {_cores(agents * trail_us)} |"
        )


def facts(found: Document) -> Iterator[str]:
    """The sentences' numbers, as the page has to have them."""
    for signal, used in agent_us(found).items():
        request, item = cost(found, "gateway", signal)
        yield (
            f"| {signal} | {RATES[signal][0]} x {request:,.0f} us + {RATES[signal][1]} x "
            f"{item:.1f} us | {used:,.0f} us |"
        )
    audit = _audit(found)
    yield (
        f"| audit | {AUDIT_RATE} x {audit['cpu_us_per_request']:,.0f} us | {audit_us(found):,.0f} us |"  # noqa: E501
    )
    small = {
        row["name"]: row["requests_per_s"]
        for row in found["rows"]
        if (row["signal"], row["items_per_request"]) == ("logs", SMALL)
    }
    yield (
        f"{small['gateway']:,.0f} requests a second where the queue syncs and "
        f"{small['gateway, no fsync']:,.0f} where it does not"
    )


def _audit(found: Document) -> dict[str, float]:
    (row,) = (
        row
        for row in found["rows"]
        if row["signal"] == "audit"
        and row["items_per_request"] == 1
        and row["connections"] == CONNECTIONS
        and not row["syncs"]
    )
    return dict(row)


def _cores(used_us: float) -> str:
    cores = used_us / 1e6 / USED
    return f"{cores:,.0f}" if cores >= 1 else f"{cores:.2g}"
