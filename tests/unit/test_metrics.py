from __future__ import annotations

import asyncio
import math
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaizen_otel import semconv
from kaizen_otel._aggregation import EXPONENTIAL_BUCKETS_MAX, ExponentialHistogram, index_of
from kaizen_otel._otlp.decode import decode_metric, plain_attributes
from kaizen_otel.config import HistogramAggregation
from kaizen_otel.errors import ConfigError
from kaizen_otel.metrics import SERIES_MAX, MetricsManager


def collected(manager: MetricsManager) -> dict[str, dict[str, Any]]:
    return {str(m["name"]): m for m in (decode_metric(data) for data, _ in manager.collect())}


def points_of(metric: dict[str, Any]) -> list[dict[str, Any]]:
    """The data points without the samples of zero at the start."""
    kinds = ("sum", "gauge", "histogram", "exponentialHistogram")
    kind = next(kind for kind in kinds if kind in metric)
    found: list[dict[str, Any]] = metric[kind]["dataPoints"]
    return [point for point in found if point["timeUnixNano"] != point.get("startTimeUnixNano")]


def test_a_counter_adds_up_per_attribute_set_in_any_order() -> None:
    manager = MetricsManager()
    manager.counter("jobs", 2, {"a": 1, "b": 2})
    manager.counter("jobs", 3, {"b": 2, "a": 1})
    manager.counter("jobs", 1)
    assert manager.value("jobs", {"a": 1, "b": 2}) == 5
    points = points_of(collected(manager)["jobs"])
    assert len(points) == 2
    assert collected(manager)["jobs"]["sum"]["isMonotonic"] is True


def test_a_gauge_keeps_the_last_value_and_an_up_down_counter_falls() -> None:
    manager = MetricsManager()
    manager.gauge("depth", 5)
    manager.gauge("depth", 3)
    manager.up_down_counter("active", 2)
    manager.up_down_counter("active", -1)
    assert manager.value("depth") == 3
    assert manager.value("active") == 1
    assert not collected(manager)["active"]["sum"].get("isMonotonic", False)


def test_a_histogram_counts_each_value_in_the_bucket_of_its_upper_bound() -> None:
    manager = MetricsManager()
    for value in (0.01, 0.02, 0.5, 100.0):
        manager.histogram("gen_ai.execute_tool.duration", value)
    (point,) = points_of(collected(manager)["gen_ai.execute_tool.duration"])
    bounds = semconv.EXECUTE_TOOL_DURATION.buckets
    counts = [int(count) for count in point["bucketCounts"]]
    assert point["explicitBounds"] == list(bounds)
    assert counts[0] == counts[1] == counts[bounds.index(0.64)] == counts[-1] == 1
    assert (int(point["count"]), point["min"], point["max"]) == (4, 0.01, 100.0)


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_lies_in_the_bucket_of_the_exact_one(
    values: list[float], fraction: float
) -> None:
    manager = MetricsManager()
    for value in values:
        manager.histogram("x", value)
    found = manager.percentile("x", fraction)
    assert found is not None
    assert min(values) <= found <= max(values)
    ordered = sorted(values)
    exact = ordered[max(-(-int(fraction * 1e9) * len(values) // 10**9), 1) - 1]
    bounds = (float("-inf"), *semconv.DEFAULT_BUCKETS, float("inf"))
    below = max(bound for bound in bounds if bound < exact)
    above = min(bound for bound in bounds if bound >= exact)
    assert below <= found <= above


def test_over_the_series_limit_everything_goes_to_one_overflow_series() -> None:
    manager = MetricsManager()
    for number in range(SERIES_MAX + 50):
        manager.counter("jobs", 1, {"user": number})
    points = points_of(collected(manager)["jobs"])
    assert len(points) == SERIES_MAX + 1
    overflow = [p for p in points if plain_attributes(p["attributes"]).get("otel.metric.overflow")]
    assert [p.get("asDouble") or int(p["asInt"]) for p in overflow] == [50]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_would_spoil_the_sum_for_ever_is_not_recorded(value: float) -> None:
    manager = MetricsManager()
    manager.histogram("x", 1.0)
    manager.histogram("x", value)
    (point,) = points_of(collected(manager)["x"])
    assert (point["count"], point["sum"]) == ("1", 1.0)


def test_a_negative_counter_and_a_second_kind_are_refused_by_name() -> None:
    manager = MetricsManager()
    with pytest.raises(ConfigError, match=r"jobs.*up-down"):
        manager.counter("jobs", -1)
    manager.counter("jobs")
    with pytest.raises(ConfigError, match="choose another name"):
        manager.gauge("jobs", 1)


def test_the_prometheus_text_has_the_names_that_the_collector_gives() -> None:
    manager = MetricsManager()
    manager.counter("kaizen.hook.events", 2, {"kaizen.hook.event": 'a"b\n'})
    manager.histogram("gen_ai.execute_tool.duration", 0.015)
    text = manager.export_text()
    assert 'kaizen_hook_events_total{kaizen_hook_event="a\\"b\\n"} 2' in text
    assert 'gen_ai_execute_tool_duration_seconds_bucket{le="0.02"} 1' in text
    assert 'gen_ai_execute_tool_duration_seconds_bucket{le="+Inf"} 1' in text
    assert "# TYPE gen_ai_execute_tool_duration_seconds histogram" in text
    assert asyncio.run(manager.export()) == text


def test_timers_record_milliseconds_also_when_the_block_raises() -> None:
    manager = MetricsManager()

    async def timed() -> None:
        async with manager.timer("t"):
            raise LookupError("x")

    with pytest.raises(LookupError):
        asyncio.run(timed())
    with manager.timer_sync("t"):
        pass
    (point,) = points_of(collected(manager)["t"])
    assert point["count"] == "2"
    assert set(manager.percentiles("t")) == {"p50", "p95", "p99"}


@pytest.mark.parametrize("histogram", list(get_args(HistogramAggregation)))
def test_a_new_series_begins_with_zero_so_that_its_first_rise_is_seen(
    histogram: HistogramAggregation,
) -> None:
    """PromQL's ``increase()`` compares samples: a short-lived process would have only one."""
    now_ns = 5_000_000_000
    manager = MetricsManager(time_ns=lambda: now_ns, histogram=histogram)
    manager.counter("jobs", 3)
    manager.histogram("x", 2.0)
    manager.gauge("depth", 1)
    manager.up_down_counter("active", 1)
    first = collected(manager)
    zero, rise = first["jobs"]["sum"]["dataPoints"]
    assert (zero["asInt"], rise["asInt"]) == ("0", "3")
    # Another millisecond: backends that count those would take the two for one sample.
    assert int(rise["timeUnixNano"]) - int(zero["timeUnixNano"]) >= 1_000_000
    assert zero["startTimeUnixNano"] == rise["startTimeUnixNano"] == zero["timeUnixNano"]
    kind = next(kind for kind in ("histogram", "exponentialHistogram") if kind in first["x"])
    zero, rise = first["x"][kind]["dataPoints"]
    assert (int(zero.get("count", 0)), int(rise["count"])) == (0, 1)
    assert len(first["depth"]["gauge"]["dataPoints"]) == 1
    assert len(first["active"]["sum"]["dataPoints"]) == 1
    again = collected(manager)
    assert len(again["jobs"]["sum"]["dataPoints"]) == len(again["x"][kind]["dataPoints"]) == 1


def test_deltas_say_what_is_new_and_nothing_if_nothing_is() -> None:
    clock = iter(range(1_000_000_000, 2_000_000_000, 1_000))
    manager = MetricsManager(time_ns=lambda: next(clock), temporality="delta")
    manager.counter("jobs", 3)
    manager.histogram("x", 2.0)
    manager.up_down_counter("active", 1)
    first = collected(manager)
    assert (first["jobs"]["sum"]["aggregationTemporality"], first["active"]["sum"]) == (
        1,
        {**first["active"]["sum"], "aggregationTemporality": 2},
    )
    (before,) = first["jobs"]["sum"]["dataPoints"]
    assert set(collected(manager)) == {"active"}
    manager.counter("jobs", 4)
    manager.histogram("x", 5.0)
    second = collected(manager)
    (after,) = second["jobs"]["sum"]["dataPoints"]
    assert (before["asInt"], after["asInt"]) == ("3", "4")
    assert after["startTimeUnixNano"] == before["timeUnixNano"]
    (point,) = second["x"]["histogram"]["dataPoints"]
    assert (point["count"], point["sum"], point["min"], point["max"]) == ("1", 5.0, 5.0, 5.0)


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=300))
def test_an_exponential_histogram_has_every_value_in_a_bucket_that_holds_it(
    values: list[float],
) -> None:
    histogram = ExponentialHistogram()
    for value in values:
        histogram.record(value)
    found = histogram.buckets()
    assert sum(count for _, _, count in found) == len(values) == histogram.count
    for side in (histogram.positive, histogram.negative):
        assert len(side.encoded()[1]) <= EXPONENTIAL_BUCKETS_MAX
    for value in values:
        # A bound is a power that a double only comes near to.
        slack = abs(value) * 1e-9
        assert any(low - slack <= value <= high + slack for low, high, _ in found), value


@given(st.integers(-1000, 1000), st.integers(-10, 20))
def test_a_power_of_two_is_the_upper_bound_of_its_bucket(exponent: int, scale: int) -> None:
    """Bucket i holds (base ** i, base ** (i + 1)] (metrics data model, "Exponential Buckets")."""
    index = index_of(2.0**exponent, scale)
    if scale > 0:
        assert index + 1 == exponent << scale
    else:
        assert index < exponent / (1 << -scale) <= index + 1


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=200), st.floats(0, 1))
def test_a_percentile_of_an_exponential_histogram_is_within_five_percent(
    values: list[float], fraction: float
) -> None:
    manager = MetricsManager(histogram="base2_exponential_bucket_histogram")
    for value in values:
        manager.histogram("x", value)
    found = manager.percentile("x", fraction)
    assert found is not None
    ordered = sorted(values)
    below = ordered[max(math.ceil(fraction * len(values) - 1e-6), 1) - 1]
    above = ordered[min(math.floor(fraction * len(values) + 1e-6), len(values) - 1)]
    assert below * 0.75 <= found <= above * 1.35


def test_a_bound_instrument_records_into_the_series_of_its_attributes() -> None:
    manager = MetricsManager()
    bound = manager.bind("jobs", "counter", {"b": 2, "a": 1})
    bound.record(2)
    manager.counter("jobs", 3, {"a": 1, "b": 2})
    bound.record(float("nan"))
    assert manager.value("jobs", {"a": 1, "b": 2}) == 5
    manager.reset()
    bound.record(7)
    assert manager.value("jobs", {"a": 1, "b": 2}) == 7


def test_a_measurement_in_a_span_becomes_the_exemplar_of_its_bucket() -> None:
    manager = MetricsManager()
    instrument = semconv.EXECUTE_TOOL_DURATION
    for value, span in ((0.01, b"a"), (0.011, b"b"), (7.0, b"c")):
        manager.record(instrument, value, trace_id=b"t" * 16, span_id=span * 8)
    manager.record(instrument, 7.0)
    (point,) = points_of(collected(manager)[instrument.name])
    spans = [exemplar["spanId"] for exemplar in point["exemplars"]]
    assert spans == [(b"a" * 8).hex(), (b"b" * 8).hex(), (b"c" * 8).hex()]
    assert {exemplar["traceId"] for exemplar in point["exemplars"]} == {(b"t" * 16).hex()}


def test_values_that_are_lists_and_numbers_that_no_double_holds_do_not_hurt() -> None:
    manager = MetricsManager()
    manager.counter("jobs", 1, {"names": ["a"]})
    manager.counter("jobs", 1, {"names": ["a"]})
    assert manager.value("jobs", {"names": ["a"]}) == 2
    manager.histogram("x", 10**400)
    manager.histogram("x", 1.0)
    assert manager.percentile("x", 0.5) == 1.0


def test_every_declared_instrument_is_emitted_with_its_unit_and_kind() -> None:
    manager = MetricsManager()
    for instrument in semconv.INSTRUMENTS.values():
        manager.record(instrument, 1)
    found = collected(manager)
    assert set(found) == set(semconv.INSTRUMENTS)
    for name, instrument in semconv.INSTRUMENTS.items():
        assert found[name].get("unit", "") == instrument.unit
        assert ("histogram" in found[name]) == (instrument.kind == "histogram")


def test_secrets_in_labels_are_redacted_and_share_a_series() -> None:
    metrics = MetricsManager()
    for secret in ("hunter2", "hunter3"):
        metrics.counter("logins", 1, {"api_key": secret, "host": f"https://u:{secret}@h/", "n": 1})
    assert "hunter" not in metrics.export_text()
    labels = {"api_key": "[REDACTED:key]", "host": "https://[REDACTED:url_password]@h/", "n": 1}
    assert metrics.value("logins", labels) == 2
