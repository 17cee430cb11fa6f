"""The SDK's door for metrics: a reader whose collections go out with ours.

Views, observable instruments and exemplar filters are the SDK's own code; the reader has no thread,
the exporter's worker collects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

from kaizen_otel._export.buffer import Item
from kaizen_otel._otlp import metrics as otlp
from kaizen_otel._otlp.common import encode_resource, encode_scope
from kaizen_otel._otlp.traces import SPAN_ID_SIZE, TRACE_ID_SIZE
from kaizen_otel.errors import NotEnabledError, ProviderExistsError

try:
    from opentelemetry.sdk.metrics import (
        Counter,
        Histogram,
        MeterProvider,
        ObservableCounter,
    )
    from opentelemetry.sdk.metrics import export as sdk
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation
    from opentelemetry.sdk.resources import Resource
except ImportError as missing:
    raise NotEnabledError(
        "the SDK's door needs the package opentelemetry-sdk: pip install 'kaizen-otel[sdk]'"
    ) from missing

from opentelemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from opentelemetry.sdk.metrics.view import View

    from kaizen_otel.config import HistogramAggregation, Temporality

Untyped: TypeAlias = Any
"""A data point or exemplar: of one kind or another, with the same names."""

_DELTA: Final = {
    # OTLP metrics exporter specification, "temporality preference".
    "cumulative": (),
    "delta": (Counter, ObservableCounter, Histogram),
    "lowmemory": (Counter, Histogram),
}


class OtlpMetricReader(sdk.MetricReader):
    """Turns what the SDK collects into encoded items; ``items`` collects."""

    def __init__(
        self,
        *,
        own_resource: Callable[[], bytes],
        flush: Callable[[int], bool],
        on_shutdown: Callable[[OtlpMetricReader], None],
        temporality: Temporality = "cumulative",
        histogram: HistogramAggregation = "explicit_bucket_histogram",
    ) -> None:
        is_exponential = histogram == "base2_exponential_bucket_histogram"
        super().__init__(
            preferred_temporality=dict.fromkeys(
                _DELTA[temporality], sdk.AggregationTemporality.DELTA
            ),
            preferred_aggregation=(
                {Histogram: ExponentialBucketHistogramAggregation()} if is_exponential else {}
            ),
        )
        self._own_resource = own_resource
        self._flush = flush
        self._on_shutdown = on_shutdown
        self._found: list[Item] = []

    def items(self) -> list[Item]:
        """Collect now and return every metric, encoded."""
        self._found = []
        self.collect()
        found, self._found = self._found, []
        return found

    def _receive_metrics(
        self, metrics_data: sdk.MetricsData, timeout_millis: float = 10_000, **kwargs: object
    ) -> None:
        del timeout_millis, kwargs
        self._found = list(encode_metrics(metrics_data, self._own_resource()))

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Send everything within the time."""
        return self._flush(int(timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        """Send what there is and collect nothing more; the process's pipeline goes on."""
        del kwargs
        self._flush(int(timeout_millis))
        self._on_shutdown(self)


def make_meter_provider(
    attributes: Mapping[str, object],
    reader: sdk.MetricReader,
    *,
    views: Sequence[View] = (),
    set_global: bool = False,
) -> MeterProvider:
    """A stock provider with our reader; raises ``ProviderExistsError`` like its siblings."""
    if set_global and isinstance(metrics.get_meter_provider(), MeterProvider):
        raise ProviderExistsError(
            "a global meter provider is set already, and OpenTelemetry sets it only once: leave "
            "set_global off"
        )
    provider = MeterProvider(
        metric_readers=[reader],
        resource=Resource(cast("Any", dict(attributes))),
        shutdown_on_exit=False,
        views=views,
    )
    if set_global:
        metrics.set_meter_provider(provider)
    return provider


def encode_metrics(data: sdk.MetricsData, own_resource: bytes | None = None) -> Iterator[Item]:
    """Encode everything that the SDK collected; ``own_resource`` replaces the provider's."""
    for group in data.resource_metrics:
        resource = own_resource or encode_resource(dict(group.resource.attributes))
        for scoped in group.scope_metrics:
            scope = encode_scope(
                scoped.scope.name, scoped.scope.version or "", dict(scoped.scope.attributes or {})
            )
            schema_url = scoped.schema_url or scoped.scope.schema_url or ""
            for metric in scoped.metrics:
                encoded, count = _encode_metric(metric)
                if count:
                    yield Item(resource, scope, schema_url, encoded, count)


def _encode_metric(metric: sdk.Metric) -> tuple[bytes, int]:
    data: Any = metric.data
    texts: dict[str, Any] = {"unit": metric.unit or "", "description": metric.description or ""}
    points: list[bytes] = []
    match data:
        case sdk.Sum():
            points = [_number(point) for point in data.data_points]
            return otlp.encode_sum(
                metric.name,
                **texts,
                points=points,
                monotonic=data.is_monotonic,
                temporality=data.aggregation_temporality.value,
            ), len(points)
        case sdk.Gauge():
            points = [_number(point) for point in data.data_points]
            return otlp.encode_gauge(metric.name, **texts, points=points), len(points)
        case sdk.Histogram():
            points = [_histogram(point) for point in data.data_points]
            encode = otlp.encode_histogram
        case sdk.ExponentialHistogram():
            points = [_exponential(point) for point in data.data_points]
            encode = otlp.encode_exponential_histogram
        case _:  # a kind that this version does not know
            return b"", 0
    temporality = data.aggregation_temporality.value
    return encode(metric.name, **texts, points=points, temporality=temporality), len(points)


def _number(point: Untyped) -> bytes:
    return otlp.encode_number_point(**_shared(point), value=point.value)


def _histogram(point: Untyped) -> bytes:
    return otlp.encode_histogram_point(
        **_shared(point),
        **_sums(point),
        bucket_counts=point.bucket_counts,
        bounds=point.explicit_bounds,
    )


def _exponential(point: Untyped) -> bytes:
    return otlp.encode_exponential_point(
        **_shared(point),
        **_sums(point),
        scale=point.scale,
        zero_count=point.zero_count,
        positive=(point.positive.offset, point.positive.bucket_counts),
        negative=(point.negative.offset, point.negative.bucket_counts),
    )


def _shared(point: Untyped) -> dict[str, Any]:
    return {
        "attributes": dict(point.attributes or {}),
        "start_ns": point.start_time_unix_nano or 0,
        "time_ns": point.time_unix_nano,
        "exemplars": [_exemplar(exemplar) for exemplar in point.exemplars or ()],
    }


def _sums(point: Untyped) -> dict[str, Any]:
    return {
        "count": point.count,
        "total": point.sum,
        "minimum": point.min,
        "maximum": point.max,
    }


def _exemplar(exemplar: Untyped) -> bytes:
    trace_id, span_id = exemplar.trace_id, exemplar.span_id
    return otlp.encode_exemplar(
        time_ns=exemplar.time_unix_nano,
        value=exemplar.value,
        trace_id=trace_id.to_bytes(TRACE_ID_SIZE, "big") if trace_id else b"",
        span_id=span_id.to_bytes(SPAN_ID_SIZE, "big") if span_id else b"",
        attributes=dict(exemplar.filtered_attributes or {}),
    )
