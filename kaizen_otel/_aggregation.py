"""What a series keeps of its measurements: sums, last values, histograms of both kinds.

Every aggregation has a bounded size, ``record(value)``, ``reset()`` for delta temporality, and
``encode`` for a data point.  None of them is locked: the metrics manager does that.
Source: OpenTelemetry metrics SDK specification, "Aggregation".
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._otlp.metrics import (
    encode_exemplar,
    encode_exponential_point,
    encode_histogram_point,
    encode_number_point,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

EXPONENTIAL_BUCKETS_MAX: Final = 160
EXPONENTIAL_SCALE_MAX: Final = 20
_SCALE_MIN: Final = -10
_INFINITY: Final = float("inf")


class Exemplar(NamedTuple):
    """A measurement and the span in which it was made.  Ids are 16 and 8 bytes, time is ns."""

    value: float
    time_ns: int
    trace_id: bytes
    span_id: bytes

    def encode(self) -> bytes:
        """Return the Exemplar message."""
        return encode_exemplar(
            time_ns=self.time_ns, value=self.value, trace_id=self.trace_id, span_id=self.span_id
        )


class Number:
    """A sum, or with ``is_last_value`` a gauge's current value."""

    __slots__ = ("exemplar", "has_news", "is_last_value", "value")

    value: float
    exemplar: Exemplar | None

    def __init__(self, *, is_last_value: bool = False) -> None:
        self.is_last_value = is_last_value
        self.reset()

    def reset(self) -> None:
        """Begin a new interval."""
        self.value = 0
        self.has_news = False
        self.exemplar = None

    def record(self, value: float) -> None:
        """Take one measurement."""
        self.has_news = True
        self.value = value if self.is_last_value else self.value + value

    def keep(self, exemplar: Exemplar) -> None:
        """Remember a measurement's span; the last one of an interval stays."""
        self.exemplar = exemplar

    def encode(self, attributes: Mapping[str, object], start_ns: int, time_ns: int) -> bytes:
        """Return the NumberDataPoint."""
        return encode_number_point(
            attributes=attributes,
            start_ns=start_ns,
            time_ns=time_ns,
            value=self.value,
            exemplars=[self.exemplar.encode()] if self.exemplar else (),
        )

    def encode_zero(self, attributes: Mapping[str, object], at_ns: int) -> bytes:
        """Return a NumberDataPoint that says 0 at the start."""
        return encode_number_point(attributes=attributes, start_ns=at_ns, time_ns=at_ns, value=0)


class Distribution:
    """What both kinds of histogram share: count, sum, smallest and largest measurement."""

    __slots__ = ("count", "exemplars", "maximum", "minimum", "total")

    count: int
    total: float
    minimum: float
    maximum: float
    exemplars: dict[int, Exemplar]

    def reset(self) -> None:
        """Begin a new interval."""
        self.count = 0
        self.total = 0.0
        self.minimum = _INFINITY
        self.maximum = -_INFINITY
        self.exemplars = {}

    @property
    def has_news(self) -> bool:
        """Whether anything was measured in this interval."""
        return self.count > 0

    def _exemplars(self) -> list[bytes]:
        return [exemplar.encode() for exemplar in self.exemplars.values()]


class ExplicitHistogram(Distribution):
    """Counts in buckets with fixed upper bounds, each bound included."""

    __slots__ = ("bounds", "counts")

    counts: list[int]

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.reset()

    def reset(self) -> None:
        """Begin a new interval."""
        super().reset()
        self.counts = [0] * (len(self.bounds) + 1)

    def record(self, value: float) -> None:
        """Take one measurement; raises ``OverflowError`` for an int that no double can hold."""
        self.total += value
        self.counts[bisect_left(self.bounds, value)] += 1
        self.count += 1
        # Comparing is twice as fast as min() and max(), and this is the hot path.
        if value < self.minimum:  # noqa: PLR1730
            self.minimum = value
        if value > self.maximum:  # noqa: PLR1730
            self.maximum = value

    def keep(self, exemplar: Exemplar) -> None:
        """Remember a measurement's span, the last one of each bucket."""
        self.exemplars[bisect_left(self.bounds, exemplar.value)] = exemplar

    def encode(self, attributes: Mapping[str, object], start_ns: int, time_ns: int) -> bytes:
        """Return the HistogramDataPoint."""
        return encode_histogram_point(
            attributes=attributes,
            start_ns=start_ns,
            time_ns=time_ns,
            count=self.count,
            total=self.total,
            bucket_counts=self.counts,
            bounds=self.bounds,
            minimum=self.minimum if self.count else None,
            maximum=self.maximum if self.count else None,
            exemplars=self._exemplars(),
        )

    def encode_zero(self, attributes: Mapping[str, object], at_ns: int) -> bytes:
        """Return a HistogramDataPoint that says that nothing was measured at the start."""
        return ExplicitHistogram(self.bounds).encode(attributes, at_ns, at_ns)

    def buckets(self) -> list[tuple[float, float, int]]:
        """Return (lower bound, upper bound, count) of every bucket, ascending."""
        lower = (-_INFINITY, *self.bounds)
        upper = (*self.bounds, _INFINITY)
        return list(zip(lower, upper, self.counts, strict=True))


class _Side:
    """The buckets of one sign: bucket ``i`` holds (base ** i, base ** (i + 1)]."""

    __slots__ = ("counts", "first", "last")

    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.first = self.last = 0

    def excess(self, index: int) -> int:
        """By how many halvings the buckets are too many if this index is added."""
        if not self.counts:
            return 0
        first, last = min(self.first, index), max(self.last, index)
        shift = 0
        while (last >> shift) - (first >> shift) >= EXPONENTIAL_BUCKETS_MAX:
            shift += 1
        return shift

    def add(self, index: int) -> None:
        if self.counts:
            self.first, self.last = min(self.first, index), max(self.last, index)
        else:
            self.first = self.last = index
        self.counts[index] = self.counts.get(index, 0) + 1

    def halve(self, shift: int) -> None:
        """Join every 2 ** shift neighbours, as a smaller scale does."""
        joined: dict[int, int] = {}
        for index, count in self.counts.items():
            joined[index >> shift] = joined.get(index >> shift, 0) + count
        self.counts = joined
        self.first >>= shift
        self.last >>= shift

    def encoded(self) -> tuple[int, list[int]]:
        if not self.counts:
            return 0, []
        return self.first, [self.counts.get(i, 0) for i in range(self.first, self.last + 1)]


class ExponentialHistogram(Distribution):
    """Counts in at most 160 buckets per sign that grow by a factor, chosen by what is measured."""

    __slots__ = ("negative", "positive", "scale", "zero_count")

    scale: int
    zero_count: int
    positive: _Side
    negative: _Side

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin a new interval."""
        super().reset()
        self.scale = EXPONENTIAL_SCALE_MAX
        self.zero_count = 0
        self.positive = _Side()
        self.negative = _Side()

    def record(self, value: float) -> None:
        """Take one measurement; raises ``OverflowError`` for an int that no double can hold."""
        self.total += value
        self.count += 1
        self.minimum = min(self.minimum, value)
        self.maximum = max(self.maximum, value)
        magnitude = abs(float(value))
        if magnitude == 0.0:
            self.zero_count += 1
            return
        side = self.positive if value > 0 else self.negative
        index = index_of(magnitude, self.scale)
        shift = side.excess(index)
        if shift:
            shift = min(shift, self.scale - _SCALE_MIN)
            self.scale -= shift
            self.positive.halve(shift)
            self.negative.halve(shift)
            index >>= shift
        side.add(index)

    def keep(self, exemplar: Exemplar) -> None:
        """Remember a measurement's span, by the order of magnitude, the last one of each."""
        magnitude = abs(exemplar.value)
        self.exemplars[math.frexp(magnitude)[1] if magnitude else -(1 << 20)] = exemplar
        if len(self.exemplars) > EXPONENTIAL_BUCKETS_MAX:
            del self.exemplars[next(iter(self.exemplars))]

    def encode(self, attributes: Mapping[str, object], start_ns: int, time_ns: int) -> bytes:
        """Return the ExponentialHistogramDataPoint."""
        return encode_exponential_point(
            attributes=attributes,
            start_ns=start_ns,
            time_ns=time_ns,
            count=self.count,
            total=self.total,
            scale=self.scale,
            zero_count=self.zero_count,
            positive=self.positive.encoded(),
            negative=self.negative.encoded(),
            minimum=self.minimum if self.count else None,
            maximum=self.maximum if self.count else None,
            exemplars=self._exemplars(),
        )

    def encode_zero(self, attributes: Mapping[str, object], at_ns: int) -> bytes:
        """Return a data point that says that nothing was measured at the start."""
        return ExponentialHistogram().encode(attributes, at_ns, at_ns)

    def buckets(self) -> list[tuple[float, float, int]]:
        """Return (lower bound, upper bound, count) of every bucket that is not empty, ascending."""
        found = [
            (-_bound(index + 1, self.scale), -_bound(index, self.scale), count)
            for index, count in self.negative.counts.items()
        ]
        if self.zero_count:
            found.append((0.0, 0.0, self.zero_count))
        found += [
            (_bound(index, self.scale), _bound(index + 1, self.scale), count)
            for index, count in self.positive.counts.items()
        ]
        return sorted(found)


Aggregation = Number | ExplicitHistogram | ExponentialHistogram


def index_of(magnitude: float, scale: int) -> int:
    """Return the bucket of a positive value: the ``i`` with base ** i < value <= base ** (i + 1).

    Powers of two, which lie on a bound at every scale, are exact.
    """
    fraction, exponent = math.frexp(magnitude)
    # 0.5 <= fraction < 1: the value is a power of two exactly if the fraction is 0.5.
    whole = exponent - 2 if fraction == 0.5 else exponent - 1  # noqa: PLR2004
    if scale <= 0:
        return whole >> -scale
    if fraction == 0.5:  # noqa: PLR2004
        return ((exponent - 1) << scale) - 1
    index = math.floor(math.log2(fraction) * (1 << scale)) + (exponent << scale)
    # Between two powers of two the logarithm may round onto the one above or below.
    return max(whole << scale, min(index, ((whole + 1) << scale) - 1))


def _bound(index: int, scale: int) -> float:
    try:
        if scale <= 0:
            return math.ldexp(1.0, index << -scale)
        whole, rest = divmod(index, 1 << scale)
        return math.ldexp(2.0 ** (rest / (1 << scale)), whole)
    except OverflowError:
        return _INFINITY
