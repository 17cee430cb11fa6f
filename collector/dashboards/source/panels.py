"""A panel, a dashboard, and the queries that they are made of.

Queries are made by functions, so that a name, a filter or a form is written once.  Lines show
rates, which are estimates; numbers and bars show what happened in the time that is shown, exactly,
also of processes that lived for seconds: their counters' first sample is zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["stat", "timeseries", "bargauge"]

SERVICE = 'job=~"$service"'
AGENT = 'gen_ai_agent_name=~"$agent"'
BY_TIME = "$__rate_interval"
OVER_RANGE = "$__range"


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """PromQL, what its series are called, and whether only the last value counts."""

    expression: str
    legend: str = ""
    is_instant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel: ``unit`` is Grafana's name of it; ``width`` of 24 columns."""

    title: str
    description: str
    kind: Kind
    unit: str
    queries: tuple[Query, ...]
    width: int = 8
    height: int = 8
    #: From this value on it is red; None: no colours.
    bad_from: float | None = None
    #: Below this value it is red.
    bad_below: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """A choice at the top: the values of a label."""

    name: str
    label: str
    query: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """Rows of panels; ``uid`` and file name never change, links lead to them."""

    uid: str
    title: str
    description: str
    rows: tuple[tuple[str, tuple[Panel, ...]], ...]
    variables: tuple[Variable, ...] = field(default=())


def selector(*filters: str) -> str:
    """Return filters in braces."""
    return "{" + ", ".join(filters) + "}" if filters else ""


def total(name: str, *filters: str, by: str = "") -> str:
    """Return how fast a counter rises, per second, summed up per value of the labels in ``by``."""
    return _summed(f"rate({name}{selector(*filters)}[{BY_TIME}])", by)


def risen(name: str, *filters: str, by: str = "") -> str:
    """Return how much a counter rose in the time that is shown, exactly.

    Its first sample is zero, so it rose from its least value to its greatest.  ``increase`` would
    add what it guesses of the time beyond the samples: half of all for a process that lived for
    two of them.  It is asked only about counters that were set back, whose instance is used again.
    """
    shown = f"{name}{selector(*filters)}[{OVER_RANGE}]"
    exact = f"max_over_time({shown}) - min_over_time({shown})"
    return _summed(f"(({exact}) unless resets({shown}) > 0) or increase({shown})", by)


def risen_from_nothing(name: str, *filters: str, by: str = "", window: str = OVER_RANGE) -> str:
    """Return how much a counter rose that is not there before it counts: ``rate`` would miss that.

    A Collector's counter of what was lost begins with the first loss.
    """
    chosen = f"{name}{selector(*filters)}"
    greatest = f"max_over_time({chosen}[{window}])"
    before = f"last_over_time({chosen}[1h] offset {window})"
    return _summed(f"{greatest} - ({before} or {greatest} * 0)", by)


def _summed(expression: str, by: str) -> str:
    return f"sum by ({by}) ({expression})" if by else f"sum ({expression})"


def quantile(share: float, name: str, *filters: str, by: str = "", is_range: bool = False) -> str:
    """Return a quantile of a histogram; ``name`` is without ``_bucket``."""
    labels = f"le, {by}" if by else "le"
    asked = risen if is_range else total
    return f"histogram_quantile({share}, {asked(f'{name}_bucket', *filters, by=labels)})"


def mean(name: str, *filters: str, by: str = "", is_range: bool = False) -> str:
    """Return the mean of a histogram's values; none if there was none."""
    asked = risen if is_range else total
    whole, count = asked(f"{name}_sum", *filters, by=by), asked(f"{name}_count", *filters, by=by)
    return share(whole, count)


def share(part: str, whole: str) -> str:
    """Return a part of a whole; a whole of nothing gives no value, and not an infinite one."""
    return f"{part} / ({whole} > 0)"


def stat(
    title: str, description: str, expression: str, unit: str = "short", **more: object
) -> Panel:
    """One number."""
    values: dict[str, object] = {"width": 4, "height": 5, **more}
    queries = (Query(expression=expression, is_instant=True),)
    return Panel(
        title=title, description=description, kind="stat", unit=unit, queries=queries, **values
    )  # type: ignore[arg-type]


def lines(
    title: str,
    description: str,
    *queries: tuple[str, str],
    unit: str = "short",
    **more: object,
) -> Panel:
    """Lines over time: pairs of an expression and what its series are called."""
    made = tuple(Query(expression=text, legend=legend) for text, legend in queries)
    return Panel(
        title=title, description=description, kind="timeseries", unit=unit, queries=made, **more
    )  # type: ignore[arg-type]


def bars(
    title: str, description: str, expression: str, legend: str, unit: str = "short", **more: object
) -> Panel:
    """A bar for each value of a label."""
    queries = (Query(expression=expression, legend=legend, is_instant=True),)
    return Panel(
        title=title, description=description, kind="bargauge", unit=unit, queries=queries, **more
    )  # type: ignore[arg-type]


def latency(title: str, description: str, name: str, *filters: str, **more: object) -> Panel:
    """Median, 95th and 99th percentile of a duration."""
    wanted = ((0.5, "p50"), (0.95, "p95"), (0.99, "p99"))
    queries = [(quantile(share_, name, *filters), legend) for share_, legend in wanted]
    return lines(title, description, *queries, unit="s", **more)
