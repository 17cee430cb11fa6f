"""The time series of the metrics that were seen, bounded in number and in length."""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from kaizen_otel._otlp.decode import plain_attributes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel._render import Json

SERIES_MAX: Final = 5_000
POINTS_MAX: Final = 400
_KINDS: Final = ("sum", "gauge", "histogram", "exponentialHistogram")
_SHOWN_RESOURCE: Final = ("service.name", "service.instance.id")


class Point(NamedTuple):
    """One data point: ``value`` is its number, or the sum of a histogram's ``recorded`` values."""

    time_ns: int
    value: float
    recorded: int = 0
    buckets: tuple[int, ...] = ()
    bounds: tuple[float, ...] = ()


@dataclass(slots=True)
class Series:
    """Data points of one set of attributes, by time."""

    attributes: dict[str, object]
    points: list[Point] = field(default_factory=list[Point])


@dataclass(slots=True, kw_only=True)
class Metric:
    """One instrument and its series."""

    name: str
    unit: str
    description: str
    kind: str
    is_delta: bool
    is_monotonic: bool
    series: dict[tuple[object, ...], Series] = field(default_factory=dict[Any, Series])


class SeriesStore:
    """All metrics, by name.  What is over the bounds is counted and not kept."""

    def __init__(self) -> None:
        """Nothing was seen."""
        self.metrics: dict[str, Metric] = {}
        self.refused = 0
        self._count = 0

    def add(self, item: Json, resource: Mapping[str, object]) -> None:
        """Take in one metric of a request."""
        kind = next((kind for kind in _KINDS if isinstance(item.get(kind), dict)), None)
        if kind is None:
            return
        data: Json = item[kind]
        name = str(item.get("name", ""))
        metric = self.metrics.get(name)
        if metric is None:
            metric = self.metrics[name] = Metric(
                name=name,
                unit=str(item.get("unit", "")),
                description=str(item.get("description", "")),
                kind=kind,
                is_delta=data.get("aggregationTemporality") in {1, "1"},
                is_monotonic=bool(data.get("isMonotonic")),
            )
        shown = {key: resource[key] for key in _SHOWN_RESOURCE if key in resource}
        for point in cast("list[Json]", _list(data.get("dataPoints"))):
            self._add_point(metric, point, shown)

    def _add_point(self, metric: Metric, item: Json, shown: Mapping[str, object]) -> None:
        attributes = {**plain_attributes(item.get("attributes")), **shown}
        key = tuple((name, str(attributes[name])) for name in sorted(attributes))
        series = metric.series.get(key)
        if series is None:
            if self._count >= SERIES_MAX:
                self.refused += 1
                return
            self._count += 1
            series = metric.series[key] = Series(attributes)
        point = read_point(item)
        points = series.points
        if points and point.time_ns <= points[-1].time_ns:
            place = bisect.bisect_left(points, point.time_ns, key=_time)
            if place < len(points) and points[place].time_ns == point.time_ns:
                return  # the same point, seen twice
            points.insert(place, point)
        else:
            points.append(point)
        if len(points) > POINTS_MAX:
            # The newest stay as they are; of the older half every second one is enough.
            half = POINTS_MAX // 2
            points[:half] = points[:half:2]


def read_point(item: Json) -> Point:
    """Read a data point of any kind; what it has not is 0."""
    time_ns = _integer(item.get("timeUnixNano"))
    if "count" in item or "bucketCounts" in item:
        return Point(
            time_ns,
            _number(item.get("sum")),
            _integer(item.get("count")),
            tuple(_integer(each) for each in _list(item.get("bucketCounts"))),
            tuple(_number(each) for each in _list(item.get("explicitBounds"))),
        )
    return Point(time_ns, _number(item.get("asDouble", item.get("asInt"))))


def _time(point: Point) -> int:
    return point.time_ns


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _integer(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0


def _number(value: object) -> float:
    try:
        return float(str(value))
    except ValueError:
        return 0.0
