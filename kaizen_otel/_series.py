"""The series of one instrument: one aggregation per attribute set, and their encoding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel._aggregation import (
    ExplicitHistogram,
    ExponentialHistogram,
    Number,
)
from kaizen_otel._otlp.metrics import (
    CUMULATIVE,
    DELTA,
    encode_exponential_histogram,
    encode_gauge,
    encode_histogram,
    encode_sum,
)
from kaizen_otel._redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel._aggregation import Aggregation
    from kaizen_otel.config import HistogramAggregation, Temporality
    from kaizen_otel.semconv import Instrument

SERIES_MAX: Final = 2000
ALIASES_MAX: Final = 2 * SERIES_MAX
_MILLISECOND_NS: Final = 1_000_000
Key = tuple[tuple[str, object], ...]
# Asked once per attribute set, not per measurement.
_redactor: Final = Redactor()
_OVERFLOW: Final[Key] = (("otel.metric.overflow", True),)


class Series:
    """One attribute set of one instrument.  ``is_new`` until it was collected once."""

    __slots__ = ("aggregation", "is_new", "key", "start_ns")

    def __init__(self, key: Key, aggregation: Aggregation, start_ns: int) -> None:
        self.key = key
        self.aggregation = aggregation
        self.start_ns = start_ns
        self.is_new = True


class Stream:
    """All series of one instrument.  Its caller holds the manager's lock."""

    __slots__ = ("aliases", "instrument", "is_delta", "is_exponential", "series")

    def __init__(
        self, instrument: Instrument, temporality: Temporality, histogram: HistogramAggregation
    ) -> None:
        self.instrument = instrument
        # A delta of what goes up and down, or of a last value, is of no use to anyone
        # (OTLP metrics exporter specification, "temporality preference").
        self.is_delta = temporality != "cumulative" and instrument.kind in {"counter", "histogram"}
        self.is_exponential = histogram == "base2_exponential_bucket_histogram"
        self.series: dict[Key, Series] = {}
        # The same attribute sets in the orders in which they were given: found without sorting.
        self.aliases: dict[tuple[tuple[str, object], ...], Series] = {}

    def find(self, attributes: Mapping[str, object] | None, now_ns: int) -> Series:
        """Return the series of an attribute set, a new one or the overflow series included."""
        key: Key = key_of(attributes)
        found = self.series.get(key)
        if found is None:
            if len(self.series) >= SERIES_MAX and key != _OVERFLOW:
                return self.find(dict(_OVERFLOW), now_ns)
            # One millisecond ago: the first sample, of zero, is then older than the second one
            # also for a backend that counts milliseconds.
            new = Series(key, self._new_aggregation(), now_ns - _MILLISECOND_NS)
            # A finaliser may have come here in between.
            found = self.series.setdefault(key, new)
        return found

    def _new_aggregation(self) -> Aggregation:
        instrument = self.instrument
        if instrument.kind != "histogram":
            return Number(is_last_value=instrument.kind == "gauge")
        if self.is_exponential:
            return ExponentialHistogram()
        return ExplicitHistogram(instrument.buckets)

    def encode(self, now_ns: int) -> tuple[bytes, int] | None:
        """Return the Metric message and its number of data points; None if there is no news."""
        points: list[bytes] = []
        for series in self.series.values():
            aggregation = series.aggregation
            if self.is_delta and not aggregation.has_news:
                continue
            attributes = dict(series.key)
            if series.is_new and not self.is_delta and self._counts_up():
                # Without a sample before it, increase() of a short-lived process is nothing.
                points.append(aggregation.encode_zero(attributes, series.start_ns))
            series.is_new = False
            points.append(aggregation.encode(attributes, series.start_ns, now_ns))
            if self.is_delta:
                aggregation.reset()
                series.start_ns = now_ns
        return (self._metric(points), len(points)) if points else None

    def _counts_up(self) -> bool:
        return self.instrument.kind in {"counter", "histogram"}

    def _metric(self, points: list[bytes]) -> bytes:
        instrument = self.instrument
        name, unit, description = instrument.name, instrument.unit, instrument.description
        if instrument.kind == "gauge":
            return encode_gauge(name, unit=unit, description=description, points=points)
        temporality = DELTA if self.is_delta else CUMULATIVE
        if instrument.kind == "histogram":
            encode = encode_exponential_histogram if self.is_exponential else encode_histogram
            return encode(
                name, unit=unit, description=description, points=points, temporality=temporality
            )
        return encode_sum(
            name,
            unit=unit,
            description=description,
            points=points,
            monotonic=instrument.kind == "counter",
            temporality=temporality,
        )


def key_of(attributes: Mapping[str, object] | None) -> Key:
    """Return what names a series: its attributes, sorted, without what looks like a secret."""
    plain = {name: _plain(value) for name, value in (attributes or {}).items()}
    return tuple(sorted(_redactor.redact_attributes(plain).items()))


def _plain(value: object) -> object:
    return value if isinstance(value, str | bool | int | float) else str(value)


def quantile(
    distribution: ExplicitHistogram | ExponentialHistogram, fraction: float
) -> float | None:
    """Return the value below which a fraction of the measurements lie, interpolated."""
    if not distribution.count:
        return None
    minimum, maximum = distribution.minimum, distribution.maximum
    rank = fraction * distribution.count
    below = 0
    for lower, upper, count in distribution.buckets():
        if count and below + count >= rank:
            first, last = max(lower, min(minimum, upper)), min(upper, max(maximum, lower))
            value = first + (last - first) * max(rank - below, 0.0) / count
            return min(max(value, minimum), maximum)
        below += count
    return maximum
