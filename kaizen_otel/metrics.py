"""Metrics: instruments that keep a bounded state, and what a collection makes of them.

Sums and histograms are cumulative unless asked for as deltas (Prometheus remote write takes
nothing else).  Each instrument keeps one series per attribute set, at most ``SERIES_MAX``; what
is over it is folded into one series with ``otel.metric.overflow=true`` (SDK specification,
"Cardinality limits").  As in the SDK, attribute values that are equal in Python (1, 1.0, True) are
one.
"""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Literal

from kaizen_otel import semconv
from kaizen_otel._aggregation import Exemplar, Number
from kaizen_otel._prometheus_text import render_counter, render_histogram
from kaizen_otel._series import ALIASES_MAX, SERIES_MAX, Stream, key_of, quantile
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator, Mapping

    from kaizen_otel._aggregation import Aggregation
    from kaizen_otel._series import Series
    from kaizen_otel.config import HistogramAggregation, Temporality
    from kaizen_otel.semconv import Instrument

__all__ = ["SERIES_MAX", "BoundInstrument", "MetricsManager"]

Kind = Literal["counter", "up_down_counter", "gauge", "histogram"]


class BoundInstrument:
    """An instrument with fixed attributes: the cheapest way to record (``MetricsManager.bind``).

    After a fork or a reset it begins a new series.
    """

    __slots__ = ("_attributes", "_instrument", "_manager", "_series", "_version")

    def __init__(
        self, manager: MetricsManager, instrument: Instrument, attributes: Mapping[str, object]
    ) -> None:
        self._manager = manager
        self._instrument = instrument
        self._attributes = dict(attributes)
        self._version = -1
        self._series: Series | None = None

    def record(self, value: float) -> None:
        """Take one measurement; one that is no finite number is not recorded."""
        manager = self._manager
        if value - value != 0:  # NaN, infinities
            return
        with manager.lock:
            if self._version != manager.version or self._series is None:
                self._series = manager.find(self._instrument, self._attributes)
                self._version = manager.version
            try:
                self._series.aggregation.record(value)
            except OverflowError:  # an int that no double can hold
                return


class MetricsManager:
    """Counters, up-down counters, gauges and histograms of one service.

    Names known to ``semconv.INSTRUMENTS`` get their unit and buckets from there.
    ``temporality`` and ``histogram`` are ``OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE``
    and ``OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION``.
    """

    def __init__(
        self,
        *,
        time_ns: Callable[[], int] = time.time_ns,
        temporality: Temporality = "cumulative",
        histogram: HistogramAggregation = "explicit_bucket_histogram",
    ) -> None:
        self._time_ns = time_ns
        self._temporality: Temporality = temporality
        self._histogram: HistogramAggregation = histogram
        # Re-entrant: a finaliser may record on a thread that is recording just now.
        self.lock = threading.RLock()
        self.version = 0
        self._streams: dict[str, Stream] = {}

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

    def bind(
        self, instrument: Instrument | str, kind: Kind, attributes: Mapping[str, object]
    ) -> BoundInstrument:
        """Return an instrument with fixed attributes, for the places that record most."""
        if isinstance(instrument, str):
            instrument = _declared(instrument, kind)
        return BoundInstrument(self, instrument, attributes)

    def record(
        self,
        instrument: Instrument,
        value: float,
        attributes: Mapping[str, object] | None = None,
        *,
        trace_id: bytes = b"",
        span_id: bytes = b"",
    ) -> None:
        """Record a measurement of a declared instrument.

        The ids of a span that is sent make it an exemplar: a way from the metric to the trace.
        """
        if value - value != 0:  # NaN and infinities would spoil the sum for ever
            return
        with self.lock:
            aggregation = self.find(instrument, attributes).aggregation
            try:
                aggregation.record(value)
            except OverflowError:  # an int that no double can hold
                return
            if span_id:
                aggregation.keep(Exemplar(value, self._time_ns(), trace_id, span_id))

    def find(self, instrument: Instrument, attributes: Mapping[str, object] | None) -> Series:
        """Return the series of an attribute set, for a caller that holds the lock.

        Raises ``ConfigError`` if the name is another kind of instrument already.
        """
        stream = self._streams.get(instrument.name)
        if stream is None:
            new = Stream(instrument, self._temporality, self._histogram)
            stream = self._streams.setdefault(instrument.name, new)
        if stream.instrument.kind != instrument.kind:
            raise ConfigError(
                f"metric {instrument.name!r} is a {stream.instrument.kind}, it cannot also be a "
                f"{instrument.kind}, nothing was recorded: choose another name"
            )
        given = tuple(attributes.items()) if attributes else ()
        try:
            series = stream.aliases.get(given)
        except TypeError:  # a value that cannot be hashed: a list
            return stream.find(attributes, self._time_ns())
        if series is None:
            series = stream.find(attributes, self._time_ns())
            if len(stream.aliases) >= ALIASES_MAX:
                stream.aliases.clear()
            stream.aliases[given] = series
        return series

    def _record(
        self,
        name: str,
        kind: Kind,
        value: float,
        attributes: Mapping[str, object] | None,
    ) -> None:
        stream = self._streams.get(name)
        if stream is None or stream.instrument.kind != kind:
            self.record(_declared(name, kind), value, attributes)
            return
        if value - value != 0:  # as in record()
            return
        with self.lock:
            try:
                series = stream.aliases[tuple(attributes.items()) if attributes else ()]
            except (KeyError, TypeError):
                series = self.find(stream.instrument, attributes)
            try:
                series.aggregation.record(value)
            except OverflowError:
                return

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
        with self.lock:
            found = self._aggregation(name, labels)
            if found is None or isinstance(found, Number):
                return None
            return quantile(found, fraction)

    def percentiles(
        self, name: str, labels: Mapping[str, object] | None = None
    ) -> dict[str, float | None]:
        """The 50th, 95th and 99th percentile as ``p50``, ``p95`` and ``p99``."""
        return {f"p{n}": self.percentile(name, n / 100, labels) for n in (50, 95, 99)}

    def value(self, name: str, labels: Mapping[str, object] | None = None) -> float | None:
        """The current value of a counter or gauge, or None."""
        with self.lock:
            found = self._aggregation(name, labels)
            return found.value if isinstance(found, Number) else None

    def _aggregation(self, name: str, labels: Mapping[str, object] | None) -> Aggregation | None:
        stream = self._streams.get(name)
        series = stream.series.get(key_of(labels)) if stream else None
        return series.aggregation if series else None

    def collect(self) -> list[tuple[bytes, int]]:
        """Every instrument as an encoded ``Metric`` message with its number of data points.

        With delta temporality those without a measurement since the last call are left out.
        """
        now_ns = self._time_ns()
        with self.lock:
            encoded = [stream.encode(now_ns) for stream in self._streams.values()]
        return [one for one in encoded if one is not None]

    def reset(self) -> None:
        """Forget all series; the next measurement starts new ones."""
        with self.lock:
            self._streams.clear()
            self.version += 1

    def after_fork(self) -> None:
        """Start anew in a forked child: the parent goes on with the old series."""
        self.lock = threading.RLock()
        self._streams = {}
        self.version += 1

    def export_text(self) -> str:
        """All series in the Prometheus text format, from memory."""
        with self.lock:
            return "".join(_render(self._streams.values()))

    async def export(self) -> str:
        """``export_text`` under Kaizen's name."""
        return self.export_text()


def _declared(name: str, kind: Kind) -> Instrument:
    declared = semconv.INSTRUMENTS.get(name)
    if declared is not None and declared.kind == kind:
        return declared
    return semconv.Instrument(name=name, kind=kind, unit="", description="")


def _render(streams: Iterable[Stream]) -> Iterator[str]:
    for stream in streams:
        rows = [(dict(series.key), series.aggregation) for series in stream.series.values()]
        if stream.instrument.kind == "histogram":
            points = [
                (key, one.buckets(), one.count, one.total)
                for key, one in rows
                if not isinstance(one, Number)
            ]
            yield from render_histogram(stream.instrument, points)
        else:
            numbers = [(key, one.value) for key, one in rows if isinstance(one, Number)]
            yield from render_counter(stream.instrument, numbers)
