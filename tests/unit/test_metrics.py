from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaizen_otel import semconv
from kaizen_otel._otlp.decode import decode_metric, plain_attributes
from kaizen_otel.errors import ConfigError
from kaizen_otel.metrics import SERIES_MAX, MetricsManager


def collected(manager: MetricsManager) -> dict[str, dict[str, Any]]:
    return {str(m["name"]): m for m in (decode_metric(data) for data, _ in manager.collect())}


def test_a_counter_adds_up_per_attribute_set_in_any_order() -> None:
    manager = MetricsManager()
    manager.counter("jobs", 2, {"a": 1, "b": 2})
    manager.counter("jobs", 3, {"b": 2, "a": 1})
    manager.counter("jobs", 1)
    assert manager.value("jobs", {"a": 1, "b": 2}) == 5
    points = collected(manager)["jobs"]["sum"]["dataPoints"]
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
    (point,) = collected(manager)["gen_ai.execute_tool.duration"]["histogram"]["dataPoints"]
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
    points = collected(manager)["jobs"]["sum"]["dataPoints"]
    assert len(points) == SERIES_MAX + 1
    overflow = [p for p in points if plain_attributes(p["attributes"]).get("otel.metric.overflow")]
    assert [p.get("asDouble") or int(p["asInt"]) for p in overflow] == [50]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_value_that_would_spoil_the_sum_for_ever_is_not_recorded(value: float) -> None:
    manager = MetricsManager()
    manager.histogram("x", 1.0)
    manager.histogram("x", value)
    (point,) = collected(manager)["x"]["histogram"]["dataPoints"]
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
    (point,) = collected(manager)["t"]["histogram"]["dataPoints"]
    assert point["count"] == "2"
    assert set(manager.percentiles("t")) == {"p50", "p95", "p99"}


def test_every_declared_instrument_is_emitted_with_its_unit_and_kind() -> None:
    manager = MetricsManager()
    for instrument in semconv.INSTRUMENTS.values():
        manager.record(instrument, 1)
    found = collected(manager)
    assert set(found) == set(semconv.INSTRUMENTS)
    for name, instrument in semconv.INSTRUMENTS.items():
        assert found[name].get("unit", "") == instrument.unit
        assert ("histogram" in found[name]) == (instrument.kind == "histogram")
