"""Metrics: instruments that keep a bounded state, and what a collection makes of them.

Sums and histograms are cumulative (Prometheus remote write takes nothing else).  Each
instrument keeps one series per attribute set, at most ``SERIES_MAX``; what is over it is folded
into one series with ``otel.metric.overflow=true`` (SDK specification, "Cardinality limits").
"""

from __future__ import annotations

import bisect
import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from kaizen_otel import semconv
from kaizen_otel._otlp.metrics import (
    encode_gauge,
    encode_histogram,
    encode_histogram_point,
    encode_number_point,
    encode_sum,
)
from kaizen_otel._prometheus_text import render_counter, render_histogram
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping

    from kaizen_otel.semconv import Instrument

SERIES_MAX: Final = 2000
Kind = Literal["counter", "up_down_counter", "gauge", "histogram"]
_Key = tuple[tuple[str, object], ...]
_OVERFLOW: Final[_Key] = (("otel.metric.overflow", True),)


@dataclass(slots=True)
class _Number:
    value: float = 0


@dataclass(slots=True)
class _Distribution:
    counts: list[int]
    count: int = 0
    total: float = 0.0
    minimum: float = field(default=float("inf"))
    maximum: float = field(default=float("-inf"))


class _Series:
    """All series of one instrument.  Guarded by the manager's lock."""

    __slots__ = ("instrument", "numbers", "points", "start_ns")

    def __init__(self, instrument: Instrument, start_ns: int) -> None:
        self.instrument = instrument
        self.start_ns = start_ns
        self.numbers: dict[_Key, _Number] = {}
        self.points: dict[_Key, _Distribution] = {}

    def record(self, key: _Key, value: float) -> None:
        instrument = self.instrument
        if instrument.kind == "histogram":
            point = self.points.get(key)
            if point is None:
                if len(self.points) >= SERIES_MAX and key != _OVERFLOW:
                    self.record(_OVERFLOW, value)
                    return
                point = self.points[key] = _Distribution([0] * (len(instrument.buckets) + 1))
            point.counts[bisect.bisect_left(instrument.buckets, value)] += 1
            point.count += 1
            point.total += value
            point.minimum = min(point.minimum, value)
            point.maximum = max(point.maximum, value)
            return
        number = self.numbers.get(key)
        if number is None:
            if len(self.numbers) >= SERIES_MAX and key != _OVERFLOW:
                self.record(_OVERFLOW, value)
                return
            number = self.numbers[key] = _Number()
        number.value = value if instrument.kind == "gauge" else number.value + value

    def encode(self, time_ns: int) -> tuple[bytes, int]:
        instrument = self.instrument
        if instrument.kind == "histogram":
            points = [self._encode_distribution(k, p, time_ns) for k, p in self.points.items()]
            encoded = encode_histogram(
                instrument.name,
                unit=instrument.unit,
                description=instrument.description,
                points=points,
            )
            return encoded, len(points)
        points = [
            encode_number_point(
                attributes=dict(key), start_ns=self.start_ns, time_ns=time_ns, value=number.value
            )
            for key, number in self.numbers.items()
        ]
        if instrument.kind == "gauge":
            encoded = encode_gauge(
                instrument.name,
                unit=instrument.unit,
                description=instrument.description,
                points=points,
            )
        else:
            encoded = encode_sum(
                instrument.name,
                unit=instrument.unit,
                description=instrument.description,
                points=points,
                monotonic=instrument.kind == "counter",
            )
        return encoded, len(points)

    def _encode_distribution(self, key: _Key, point: _Distribution, time_ns: int) -> bytes:
        return encode_histogram_point(
            attributes=dict(key),
            start_ns=self.start_ns,
            time_ns=time_ns,
            count=point.count,
            total=point.total,
            bucket_counts=point.counts,
            bounds=self.instrument.buckets,
            minimum=point.minimum,
            maximum=point.maximum,
        )


class MetricsManager:
    """Counters, up-down counters, gauges and histograms of one service.

    Names known to ``semconv.INSTRUMENTS`` get their unit and buckets from there.
    """

    def __init__(self, *, time_ns: Callable[[], int] = time.time_ns) -> None:
        self._time_ns = time_ns
        self._lock = threading.Lock()
        self._series: dict[str, _Series] = {}

    def counter(
        self, name: str, value: float = 1.0, labels: Mapping[str, object] | None = None
    ) -> None:
        """Add a non-negative ``value``.  A negative one raises ``ConfigError``."""
        if value < 0:
            raise ConfigError(
                f"counter {name!r} was given {value}, counters only grow, nothing was recorded: "
                "use an up-down counter"
            )
        self._record(name, "counter", value, labels)

    def up_down_counter(
        self, name: str, value: float, labels: Mapping[str, object] | None = None
    ) -> None:
        """Add ``value``, which may be negative."""
        self._record(name, "up_down_counter", value, labels)

    def gauge(self, name: str, value: float, labels: Mapping[str, object] | None = None) -> None:
        """Set the current value."""
        self._record(name, "gauge", value, labels)

    def histogram(
        self, name: str, value: float, labels: Mapping[str, object] | None = None
    ) -> None:
        """Record one measurement."""
        self._record(name, "histogram", value, labels)

    def record(
        self, instrument: Instrument, value: float, attributes: Mapping[str, object] | None = None
    ) -> None:
        """Record a measurement of a declared instrument."""
        self._record(instrument.name, instrument.kind, value, attributes, instrument)

    def _record(
        self,
        name: str,
        kind: Kind,
        value: float,
        attributes: Mapping[str, object] | None,
        instrument: Instrument | None = None,
    ) -> None:
        if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN
            return  # one such value would make the sum useless for ever
        key: _Key = tuple(sorted((k, _plain(v)) for k, v in (attributes or {}).items()))
        with self._lock:
            series = self._series.get(name)
            if series is None:
                declared = instrument or semconv.INSTRUMENTS.get(name)
                if declared is None or declared.kind != kind:
                    declared = semconv.Instrument(name=name, kind=kind, unit="", description="")
                series = self._series[name] = _Series(declared, self._time_ns())
            if series.instrument.kind != kind:
                raise ConfigError(
                    f"metric {name!r} is a {series.instrument.kind}, it cannot also be a {kind}, "
                    "nothing was recorded: choose another name"
                )
            series.record(key, value)

    @contextlib.contextmanager
    def timer_sync(self, name: str, labels: Mapping[str, object] | None = None) -> Generator[None]:
        """Record the milliseconds spent inside as a histogram."""
        start_ns = time.perf_counter_ns()
        try:
            yield
        finally:
            self.histogram(name, (time.perf_counter_ns() - start_ns) / 1e6, labels)

    @contextlib.asynccontextmanager
    async def timer(
        self, name: str, labels: Mapping[str, object] | None = None
    ) -> AsyncGenerator[None]:
        """``timer_sync`` for ``async with``."""
        with self.timer_sync(name, labels):
            yield

    def percentile(
        self, name: str, fraction: float, labels: Mapping[str, object] | None = None
    ) -> float | None:
        """The value below which ``fraction`` (0 to 1) of the measurements lie, or None.

        Interpolated within its bucket, as PromQL's ``histogram_quantile`` does, and never
        outside the smallest and largest measurement.
        """
        if not 0.0 <= fraction <= 1.0:
            raise ConfigError(f"percentile of {fraction}: pass a fraction from 0 to 1")
        key: _Key = tuple(sorted((k, _plain(v)) for k, v in (labels or {}).items()))
        with self._lock:
            series = self._series.get(name)
            point = series.points.get(key) if series else None
            if series is None or point is None:
                return None
            return _quantile(series.instrument.buckets, point, fraction)

    def percentiles(
        self, name: str, labels: Mapping[str, object] | None = None
    ) -> dict[str, float | None]:
        """The 50th, 95th and 99th percentile as ``p50``, ``p95`` and ``p99``."""
        return {f"p{n}": self.percentile(name, n / 100, labels) for n in (50, 95, 99)}

    def value(self, name: str, labels: Mapping[str, object] | None = None) -> float | None:
        """The current value of a counter or gauge, or None."""
        key: _Key = tuple(sorted((k, _plain(v)) for k, v in (labels or {}).items()))
        with self._lock:
            series = self._series.get(name)
            number = series.numbers.get(key) if series else None
            return None if number is None else number.value

    def collect(self) -> list[tuple[bytes, int]]:
        """Every instrument as an encoded ``Metric`` message with its number of data points."""
        now_ns = self._time_ns()
        with self._lock:
            return [series.encode(now_ns) for series in self._series.values()]

    def reset(self) -> None:
        """Forget all series; the next measurement starts new ones."""
        with self._lock:
            self._series.clear()

    def after_fork(self) -> None:
        """Start anew in a forked child: the parent goes on with the old series."""
        self._lock = threading.Lock()
        self._series = {}

    def export_text(self) -> str:
        """All series in the Prometheus text format, from memory."""
        with self._lock:
            return "".join(_render(self._series.values()))

    async def export(self) -> str:
        """``export_text`` under Kaizen's name."""
        return self.export_text()


def _plain(value: object) -> object:
    return value if isinstance(value, str | bool | int | float) else str(value)


def _quantile(bounds: tuple[float, ...], point: _Distribution, fraction: float) -> float:
    rank = fraction * point.count
    below = 0
    for index, count in enumerate(point.counts):
        if count and below + count >= rank:
            lower = bounds[index - 1] if index else min(point.minimum, bounds[0])
            upper = bounds[index] if index < len(bounds) else point.maximum
            value = lower + (upper - lower) * max(rank - below, 0.0) / count
            return min(max(value, point.minimum), point.maximum)
        below += count
    return point.maximum


def _render(series: Iterable[_Series]) -> Iterator[str]:
    for one in series:
        instrument = one.instrument
        if instrument.kind == "histogram":
            yield from render_histogram(
                instrument,
                ((dict(k), p.counts, p.count, p.total) for k, p in one.points.items()),
            )
        else:
            yield from render_counter(
                instrument, ((dict(k), n.value) for k, n in one.numbers.items())
            )
