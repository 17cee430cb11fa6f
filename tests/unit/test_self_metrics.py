"""The ledger as self-metrics: the conventions' names, and numbers that add up."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.semconv._incubating.attributes import otel_attributes
from opentelemetry.semconv._incubating.metrics import otel_metrics

from kaizen_otel import ObservabilityManager, _semconv_sdk, semconv
from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._export.buffer import Buffer, Ledger
from kaizen_otel._otlp.common import encode_request
from kaizen_otel._otlp.decode import decode_metrics_request, plain_attributes
from kaizen_otel._pipeline import Pipeline
from kaizen_otel._render import iter_metrics
from kaizen_otel._self_metrics import SelfMetrics
from kaizen_otel.config import Config
from kaizen_otel.testing.fakes import FakeTransport
from tests.unit._export.kit import item

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kaizen_otel._export import Outcome, Signal

PLACE = {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://user:secret@collector.example:4443/base"}
Told = dict[tuple[str, str], float]
NOUNS: Mapping[Signal, str] = {"traces": "span", "logs": "log", "metrics": "metric_data_point"}


class FakeMeter:
    """Stands for a meter that the official package's functions create an instrument with."""

    def __init__(self) -> None:
        self.made: tuple[str, str, str] = ("", "", "")

    def __getattr__(self, method: str) -> Any:  # noqa: ANN401 - whichever create_* it is
        def create(name: str, description: str = "", unit: str = "") -> None:
            del description
            self.made = (name, method.removeprefix("create_"), unit)

        return create


@pytest.mark.parametrize("name", sorted(_semconv_sdk.INSTRUMENTS))
def test_each_name_kind_and_unit_is_the_official_packages(name: str) -> None:
    ours, meter = _semconv_sdk.INSTRUMENTS[name], FakeMeter()
    getattr(otel_metrics, f"create_{name.replace('.', '_')}")(meter)
    assert (ours.name, ours.kind, ours.unit) == meter.made


def test_each_attribute_and_component_type_is_the_official_packages() -> None:
    types = {one.value for one in otel_attributes.OtelComponentTypeValues}
    assert _semconv_sdk.COMPONENT_NAME == otel_attributes.OTEL_COMPONENT_NAME
    assert _semconv_sdk.COMPONENT_TYPE == otel_attributes.OTEL_COMPONENT_TYPE
    for protocol in ("grpc", "http/protobuf"):
        for signal in ("traces", "logs", "metrics"):
            ledger = Ledger()
            ledger.offered(signal, 1)
            found = points(own({"OTEL_EXPORTER_OTLP_PROTOCOL": protocol}, ledger), ".exported")
            assert found[0]["otel.component.type"] in types


def own(environ: Mapping[str, str], ledger: Ledger) -> SelfMetrics:
    config = Config.from_environment({**PLACE, **environ})
    return SelfMetrics(config, ledger, time_ns=SystemClock().time_ns)


def collected(metrics: SelfMetrics) -> list[dict[str, Any]]:
    """What a receiver reads of one collection."""
    groups = [(one.resource, one.scope, one.schema_url, [one.data]) for one in metrics.items(b"")]
    return [metric for metric, _ in iter_metrics(decode_metrics_request(encode_request(groups)))]


def points(metrics: SelfMetrics, ending: str) -> list[dict[str, object]]:
    """The attributes of the points of the metrics with such a name."""
    return [
        plain_attributes(point.get("attributes"))
        for metric in collected(metrics)
        if metric["name"].endswith(ending)
        for point in metric["sum"]["dataPoints"]
    ]


def told(metrics: Iterable[dict[str, Any]]) -> Told:
    """The last value of every sum by name and ``error.type``."""
    found: Told = {}
    for metric in metrics:
        for point in metric.get("sum", {}).get("dataPoints", ()):
            attributes = plain_attributes(point.get("attributes"))
            key = (metric["name"], str(attributes.get(semconv.ERROR_TYPE, "")))
            found[key] = float(point.get("asInt", point.get("asDouble", 0)))
    return found


def total(found: Told, name: str) -> float:
    return sum(value for (metric, _), value in found.items() if metric == name)


def assert_adds_up(found: Told, signal: Signal, offered: int) -> None:
    """Everything that was offered is in exactly one of the places that the metrics name."""
    noun = NOUNS[signal]
    out = total(found, f"otel.sdk.exporter.{noun}.exported")
    inflight = found.get((f"otel.sdk.exporter.{noun}.inflight", ""), 0)
    if signal == "metrics":
        assert out + inflight == offered
        return
    waiting = found.get((f"otel.sdk.processor.{noun}.queue.size", ""), 0)
    passed = found.get((f"otel.sdk.processor.{noun}.processed", ""), 0)
    refused = total(found, f"otel.sdk.processor.{noun}.processed") - passed
    assert waiting + refused + inflight + out == offered
    assert passed == inflight + out


def walk(seed: int, ledger: Ledger) -> Iterator[tuple[Told, dict[Signal, int]]]:
    """Anything that can happen to a buffer; after each step what the metrics say."""
    random = Random(seed)
    buffer = Buffer(bytes_max=3_000, ledger=ledger, item_bytes_max=1_000)
    metrics, offered = own({}, ledger), dict.fromkeys(NOUNS, 0)
    held: list[tuple[Signal, Any]] = []
    for step in range(40):
        signal = random.choice(list(NOUNS))
        if step == 34:
            buffer.close("shutdown")
        elif random.random() < 0.6:
            count = random.choice([1, 3]) if signal == "metrics" else 1
            size = random.choice([0, 0, 0, 2_000])
            buffer.offer(signal, item(signal=signal, size=size, count=count))
            offered[signal] += count
        elif held and random.random() < 0.7:
            where, batch = held.pop()
            match random.randrange(3):
                case 0:
                    buffer.delivered(where, batch, rejected_count=random.choice([0, 1]))
                case 1:
                    buffer.dropped(where, batch, "retry_exhausted")
                case _ if len(batch.items) > 1:
                    held += [(where, half) for half in buffer.split(where, batch)]
                case _:
                    buffer.dropped(where, batch, "too_large")
        elif batch := buffer.take(signal, count_max=4, bytes_max=9_999):
            held.append((signal, batch))
        yield told(collected(metrics)), offered


def check(seed: int, ledger: Ledger) -> None:
    for found, offered in walk(seed, ledger):
        for signal, count in offered.items():
            assert_adds_up(found, signal, count)


@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_add_up_to_what_was_offered_after_every_step(seed: int) -> None:
    check(seed, Ledger())


class ForgetsDrops(Ledger):
    """The safety taken out: a drop that is not counted."""

    def dropped(self, signal: Signal, reason: str, count: int) -> None:
        if reason != "retry_exhausted":
            super().dropped(signal, reason, count)


def test_the_same_check_fails_when_a_drop_is_not_counted() -> None:
    def check_all() -> None:
        for seed in range(5):
            check(seed, ForgetsDrops())

    with pytest.raises(AssertionError):
        check_all()


def make_pipeline(
    script: Iterable[Outcome], **environ: str
) -> tuple[Pipeline, FakeTransport, FakeTransport]:
    """A pipeline whose spans meet the script; the second transport has the metrics."""
    spans, metrics = FakeTransport(script), FakeTransport()
    config = Config.from_environment({**PLACE, "OTEL_LOGS_EXPORTER": "none", **environ})
    return Pipeline(config, transports={"traces": spans, "metrics": metrics}), spans, metrics


def observe(pipeline: Pipeline, *, enable_metrics: bool = True) -> ObservabilityManager:
    return ObservabilityManager("own", enable_metrics, enable_audit=False, pipeline=pipeline)


def work(manager: ObservabilityManager, count: int) -> None:
    for number in range(count):
        manager.operations.begin("execute_tool", number, name="t")
        manager.operations.end(number)


def received(transport: FakeTransport) -> list[dict[str, Any]]:
    """All metrics that arrived, in order."""
    return [m for request in transport.taken("metrics") for m, _ in iter_metrics(request)]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Delivered(), {"": 7.0}),
        (Delivered(rejected_count=3), {"": 4.0, "rejected": 3.0}),
        (Rejected(reason="unauthenticated", message=""), {"": 0.0, "unauthenticated": 7.0}),
    ],
)
def test_after_a_flush_the_receiver_reads_what_the_ledger_says(
    outcome: Outcome, expected: dict[str, float]
) -> None:
    pipeline, _, metrics = make_pipeline([outcome])
    manager = observe(pipeline)
    work(manager, 7)
    manager.flush()
    before = manager.ledger().signals["metrics"].delivered
    manager.flush()
    found = told(received(metrics))
    exported = "otel.sdk.exporter.span.exported"
    assert {reason: n for (name, reason), n in found.items() if name == exported} == expected
    assert_adds_up(found, "traces", 7)
    # Of the data points themselves: all that were sent before this collection began.
    assert_adds_up(found, "metrics", before)
    ledger = manager.ledger().signals["traces"]
    assert (ledger.delivered, dict(ledger.dropped)) == (
        expected.pop(""),
        {reason: count for reason, count in expected.items() if count},
    )
    assert manager.shutdown(), "nothing was lost after the first flush"


def test_the_last_metrics_of_a_process_say_what_became_of_its_last_spans() -> None:
    """Else an alert on losses never sees those of a process that ran shorter than its interval."""
    pipeline, _, metrics = make_pipeline([Rejected(reason="forbidden", message="")])
    manager = observe(pipeline)
    work(manager, 5)
    assert not manager.shutdown()
    found = told(received(metrics))
    assert found["otel.sdk.exporter.span.exported", "forbidden"] == 5
    assert_adds_up(found, "traces", 5)


def test_one_duration_is_recorded_for_an_export_with_all_its_attempts() -> None:
    busy = Retryable(reason="unavailable", message="503")
    pipeline, spans, metrics = make_pipeline([busy, busy, Delivered(rejected_count=1)])
    manager = observe(pipeline)
    work(manager, 3)
    manager.flush()
    manager.flush()
    manager.shutdown()
    assert len(spans.requests) == 3
    (one,) = [
        point
        for metric in received(metrics)[-20:]
        if metric["name"] == "otel.sdk.exporter.operation.duration"
        for point in metric["histogram"]["dataPoints"]
        if plain_attributes(point["attributes"])["otel.component.type"] == "otlp_http_span_exporter"
    ][-1:]
    attributes = plain_attributes(one["attributes"])
    assert int(one["count"]) == 1
    assert attributes["error.type"] == "rejected"
    assert not one.get("explicitBounds"), "the conventions ask for one bucket without boundaries"
    assert one["sum"] > 0


def test_the_server_is_named_and_its_credentials_are_not() -> None:
    ledger = Ledger()
    ledger.offered("traces", 1)
    ledger.delivered("traces", 1)
    attributes = points(own({}, ledger), "exporter.span.exported")[-1]
    assert attributes == {
        "otel.component.type": "otlp_http_span_exporter",
        "otel.component.name": "otlp_http_span_exporter/0",
        "server.address": "collector.example",
        "server.port": 4443,
    }
    assert "secret" not in str(collected(own({}, ledger)))


def test_a_full_queue_and_a_shutdown_have_the_conventions_words() -> None:
    ledger = Ledger()
    buffer = Buffer(bytes_max=1, ledger=ledger)
    buffer.offer("traces", item())
    buffer.close("shutdown")
    buffer.offer("traces", item())
    found = told(collected(own({}, ledger)))
    processed = "otel.sdk.processor.span.processed"
    assert found[processed, "queue_full"] == 1
    assert found[processed, "already_shutdown"] == 1
    assert ledger.snapshot().signals["traces"].dropped == {"buffer_full": 1, "shutdown": 1}


def test_deltas_add_up_to_the_same_and_an_unchanged_count_is_not_sent_again() -> None:
    ledger = Ledger()
    metrics = own({"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "delta"}, ledger)
    sums = []
    for _ in range(3):
        ledger.offered("logs", 2)
        ledger.delivered("logs", 2)
        sums.append(told(collected(metrics))["otel.sdk.exporter.log.exported", ""])
    assert sums == [2, 2, 2]
    assert ("otel.sdk.exporter.log.exported", "") not in told(collected(metrics))


def test_a_forked_child_begins_at_zero() -> None:
    ledger = Ledger()
    metrics = own({}, ledger)
    ledger.offered("traces", 5)
    ledger.delivered("traces", 5)
    collected(metrics)
    ledger.after_fork()
    metrics.after_fork()
    assert collected(metrics) == []
    ledger.offered("traces", 1)
    ledger.delivered("traces", 1)
    assert told(collected(metrics))["otel.sdk.exporter.span.exported", ""] == 1


def test_who_sends_nothing_or_wants_no_metrics_gets_none() -> None:
    for is_enabled, count in ((True, 0), (False, 3)):
        pipeline, _, metrics = make_pipeline([])
        manager = observe(pipeline, enable_metrics=is_enabled)
        work(manager, count)
        assert manager.flush()
        assert manager.flush()
        assert manager.shutdown()
        assert received(metrics) == []
