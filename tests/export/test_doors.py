"""The SDK's door: for the same objects our processors encode what the stock exporters encode."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import metrics as api
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.metrics.view import (
    DropAggregation,
    ExplicitBucketHistogramAggregation,
    ExponentialBucketHistogramAggregation,
    View,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import (
    Link,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from kaizen_otel._otlp import decode
from kaizen_otel._otlp.common import encode_request
from kaizen_otel._redaction import Redactor
from kaizen_otel._sdk import OtlpSpanProcessor
from kaizen_otel._sdk_logs import OtlpLogRecordProcessor
from kaizen_otel._sdk_metrics import encode_metrics as encode_ours
from tests.export.servers import RawServer, answer, answering

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kaizen_otel._export.buffer import Group
    from kaizen_otel._otlp.decode import Json

RESOURCE = Resource({"service.name": "doors", "process.pid": 7})
SOME = settings(max_examples=40, deadline=None)

texts = st.text(st.characters(codec="utf-8"), max_size=12)
scalars = st.one_of(texts, st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False))
values = st.one_of(scalars, st.lists(texts, max_size=3), st.lists(st.integers(0, 9), max_size=3))
attributes = st.dictionaries(st.text("abc._", min_size=1, max_size=6), values, max_size=5)


class Offered(list[tuple[bytes, bytes, str, bytes]]):
    """Takes what a processor offers."""

    def __call__(self, resource: bytes, scope: bytes, schema_url: str, data: bytes) -> bool:
        self.append((resource, scope, schema_url, data))
        return True

    def sink_of(self, group: Group) -> Callable[[bytes], object]:
        return lambda data: self(*group.key, data)

    def request(self) -> bytes:
        return encode_request([(r, s, u, [d]) for r, s, u, d in self])


def canonical(value: object) -> object:
    """A decoded request without what has no meaning: order of attributes, fields at their default.

    Number 0 and empty text are what proto3 means by a field that is not there.
    """
    if isinstance(value, dict):
        members = {k: canonical(v) for k, v in cast("Json", value).items()}
        return {k: v for k, v in members.items() if k == "key" or v not in (0, "0", "", [], {})}
    if isinstance(value, list):
        items = [canonical(item) for item in cast("list[object]", value)]
        # An order of keys says nothing; that of the members of an object does neither.
        if items and all(isinstance(item, dict) and "key" in item for item in items):
            return sorted(items, key=lambda item: str(cast("Json", item)["key"]))
        return items
    return value


def items_of(request: Json, outer: str, inner: str, leaf: str) -> list[object]:
    """Every item with its resource and scope, whatever grouping the encoder chose."""
    found: list[object] = []
    for group in cast("list[Any]", request.get(outer, [])):
        for scoped in group.get(inner, []):
            found += [
                canonical(
                    [group.get("resource"), scoped.get("scope"), scoped.get("schemaUrl"), one]
                )
                for one in scoped.get(leaf, [])
            ]
    return sorted(found, key=lambda item: json.dumps(item, sort_keys=True))


def spans_of(body: bytes) -> list[object]:
    """Every span, without what the stock encoder leaves out: trace flags, and states of links."""
    request = decode.decode_traces_request(body)
    found = items_of(request, "resourceSpans", "scopeSpans", "spans")
    for item in found:
        span = cast("list[Any]", item)[-1]
        for one in (span, *span.get("links", ())):
            one["flags"] &= ~0xFF
        for link in span.get("links", ()):
            link.pop("traceState", None)
    return found


@SOME
@given(data=st.data())
def test_a_span_of_the_sdk_means_the_same_through_ours_and_the_stock_encoder(
    data: st.DataObject,
) -> None:
    offered, stock = Offered(), InMemorySpanExporter()
    limits = SpanLimits(max_attributes=4, max_events=2, max_links=1)
    provider = TracerProvider(resource=RESOURCE, span_limits=limits, shutdown_on_exit=False)
    provider.add_span_processor(OtlpSpanProcessor(offered.sink_of, flush=lambda _: True))
    provider.add_span_processor(SimpleSpanProcessor(stock))
    tracer = provider.get_tracer("lib", "1.2", "https://schema", {"scope": "x"})
    state = TraceState([("vendor", "1")]) if data.draw(st.booleans()) else TraceState()
    remote = SpanContext(5, 6, is_remote=data.draw(st.booleans()), trace_flags=TraceFlags(1),
                         trace_state=state)  # fmt: skip
    link = Link(remote, data.draw(attributes))
    outer = tracer.start_span(
        data.draw(texts),
        kind=data.draw(st.sampled_from(list(SpanKind))),
        attributes=data.draw(attributes),
        links=[link] * data.draw(st.integers(0, 2)),
    )
    with tracer.start_as_current_span("inner", context=set_span_in_context(outer)) as inner:
        for _ in range(data.draw(st.integers(0, 3))):
            inner.add_event(data.draw(texts), data.draw(attributes), timestamp=9)
        if data.draw(st.booleans()):
            inner.record_exception(ValueError(data.draw(texts)))
            inner.set_status(Status(StatusCode.ERROR, data.draw(texts)))
        elif data.draw(st.booleans()):
            inner.set_status(Status(StatusCode.OK))
        inner.set_attributes(data.draw(attributes))
    outer.end()
    expected = encode_spans(stock.get_finished_spans()).SerializeToString()
    assert spans_of(offered.request()) == spans_of(expected)
    assert len(offered) == 2


@SOME
@given(data=st.data())
def test_a_log_record_of_the_sdk_means_the_same_through_ours_and_the_stock_encoder(
    data: st.DataObject,
) -> None:
    offered, stock = Offered(), InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
    provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
    redactor = Redactor()
    provider.add_log_record_processor(
        OtlpLogRecordProcessor(offered, flush=lambda _: True, redactor=redactor)
    )
    provider.add_log_record_processor(SimpleLogRecordProcessor(stock))
    logger = provider.get_logger("lib", "1.2", "https://schema")
    in_span = data.draw(st.booleans())
    context = (
        set_span_in_context(TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s"))
        if in_span
        else None
    )
    logger.emit(
        LogRecord(
            timestamp=data.draw(st.integers(1, 2**60)),
            observed_timestamp=data.draw(st.integers(1, 2**60)),
            context=context,
            severity_number=data.draw(st.sampled_from([None, *SeverityNumber])),
            severity_text=data.draw(st.none() | texts),
            body=data.draw(st.none() | scalars | st.dictionaries(texts, scalars, max_size=2)),
            attributes=data.draw(attributes),
            event_name=data.draw(st.none() | texts),
        )
    )
    expected = encode_logs(stock.get_finished_logs()).SerializeToString()
    logs = [
        items_of(decode.decode_logs_request(body), "resourceLogs", "scopeLogs", "logRecords")
        for body in (offered.request(), expected)
    ]
    assert logs[0] == logs[1]
    assert len(logs[0]) == 1


@pytest.mark.parametrize("temporality", list(AggregationTemporality)[1:])
def test_every_instrument_and_view_means_the_same_through_ours_and_the_stock_encoder(
    temporality: AggregationTemporality,
) -> None:
    reader = InMemoryMetricReader(preferred_temporality={Histogram: temporality})
    views = [
        View(instrument_name="narrow", attribute_keys={"kept"}),
        View(instrument_name="expo", aggregation=ExponentialBucketHistogramAggregation()),
        View(
            instrument_name="buckets",
            name="renamed",
            aggregation=ExplicitBucketHistogramAggregation([1, 10]),
        ),
        View(instrument_name="gone", aggregation=DropAggregation()),
    ]
    provider = MeterProvider([reader], RESOURCE, shutdown_on_exit=False, views=views)
    meter = provider.get_meter("lib", "1.2", "https://schema")
    span = TracerProvider(shutdown_on_exit=False).get_tracer("t").start_span("s")
    context = set_span_in_context(span)  # a sampled span makes exemplars
    meter.create_counter("narrow", "1", "text").add(2, {"kept": "a", "lost": "b"}, context)
    meter.create_up_down_counter("down").add(-3.5)
    meter.create_counter("gone").add(1)
    for value in (0.0, 0.5, 7.0, 70.0, 1e9, -3.0):
        meter.create_histogram("plain", "s").record(value, {"k": True}, context)
        meter.create_histogram("expo").record(value, {"k": 1.5})
        meter.create_histogram("buckets").record(value)
    meter.create_gauge("level").set(4)
    observed = [api.Observation(5, {"cpu": 0}), api.Observation(6.5, {"cpu": 1})]
    meter.create_observable_gauge("seen", [lambda _: observed])
    meter.create_observable_counter("seen.total", [lambda _: observed])
    meter.create_observable_up_down_counter("seen.down", [lambda _: observed])
    collected = reader.get_metrics_data()
    assert collected is not None
    ours = encode_request(
        (item.resource, item.scope, item.schema_url, [item.data]) for item in encode_ours(collected)
    )
    expected = encode_metrics(collected).SerializeToString()
    found = [
        items_of(decode.decode_metrics_request(body), "resourceMetrics", "scopeMetrics", "metrics")
        for body in (ours, expected)
    ]
    assert found[0] == found[1]
    names = {cast("Any", item)[3]["name"] for item in found[0]}
    assert names == {
        "narrow", "down", "plain", "expo", "renamed", "level", "seen", "seen.total", "seen.down",
    }  # fmt: skip


PROGRAM = """
import json, logging, sys
from opentelemetry import metrics, trace
import kaizen_otel
from kaizen_otel import providers
{setup}
secret = {{"api_key": "hidden-value-1"}}
with tracer.get_tracer("lib").start_as_current_span("work", attributes=secret):
    meter.get_meter("lib").create_counter("jobs").add(3)
    meter.get_meter("lib").create_observable_gauge("depth", [lambda _: [metrics.Observation(9)]])
    from opentelemetry._logs import LogRecord
    logs.get_logger("lib").emit(LogRecord(timestamp=5, body="password=hunter2 said"))
for provider in (tracer, meter, logs):
    provider.force_flush()
print(json.dumps(kaizen_otel.observability.process_pipeline().ledger.snapshot().line()))
"""
PROVIDERS = (
    "import kaizen_otel.observability\n"
    "tracer, meter, logs = providers.tracer_provider('doors'), providers.meter_provider('doors'), "
    "providers.logger_provider('doors')"
)


def run(program: str, port: int, *command: str, **variables: str) -> str:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "KAIZEN_OTEL_"))},
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_SERVICE_NAME": "doors",
        **variables,
    }
    done = subprocess.run(
        [*(command or (sys.executable,)), "-c", program],
        capture_output=True, text=True, env=environment, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def paths(server: RawServer) -> Iterable[tuple[str, bytes]]:
    for head, body in server.requests:
        yield head.split(b" ", 2)[1].decode(), body


@pytest.mark.parametrize("kind", ["native", "stock"])
def test_all_three_providers_send_by_ours_or_by_the_stock_exporter(kind: str) -> None:
    with RawServer(answering(answer())) as server:
        out = run(PROGRAM.format(setup=PROVIDERS), server.port, KAIZEN_OTEL_EXPORTER=kind)
        sent = list(paths(server))
    assert {path for path, _ in sent} == {"/v1/traces", "/v1/metrics", "/v1/logs"}
    whole = b"".join(body for _, body in sent)
    for name in (b"work", b"jobs", b"depth", b"said", b"doors"):
        assert name in whole, name
    if kind == "native":
        assert b"hidden-value-1" not in whole, "our door redacts"
        assert b"hunter2" not in whole
        assert "1 span, 1 log" in out
    else:
        assert "0 spans" in out, "the stock exporter keeps no ledger of ours"


def test_opentelemetry_instrument_finds_our_distro_and_configurator() -> None:
    pytest.importorskip("opentelemetry.instrumentation")
    setup = (
        "from opentelemetry import _logs\nimport kaizen_otel.observability\n"
        "tracer, meter, logs = trace.get_tracer_provider(), metrics.get_meter_provider(), "
        "_logs.get_logger_provider()"
    )
    command = str(Path(sys.executable).parent / "opentelemetry-instrument")
    with RawServer(answering(answer())) as server:
        out = run(PROGRAM.format(setup=setup), server.port, command, sys.executable)
        sent = list(paths(server))
    assert {path for path, _ in sent} == {"/v1/traces", "/v1/metrics", "/v1/logs"}
    assert "1 span, 1 log" in out
