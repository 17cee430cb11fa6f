"""Stock OpenTelemetry SDK providers with our exporter behind them, for other instrumentations.

What they produce shares connection, buffer and ledger with what this package observes itself.
All need the extra ``kaizen-otel[sdk]``, else they raise ``NotEnabledError``.  ``set_global`` makes
a provider the process's, which OpenTelemetry allows once: if there is one, ``ProviderExistsError``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaizen_otel.observability import process_pipeline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.view import View
    from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

    from kaizen_otel._export import Signal
    from kaizen_otel._export.buffer import Group
    from kaizen_otel._pipeline import Pipeline, Service

__all__ = ["logger_provider", "meter_provider", "span_processor", "tracer_provider"]


def span_processor() -> SpanProcessor:
    """Our SDK span processor, to be added to a provider that is there already.

    Its spans keep their own provider's Resource.
    """
    from kaizen_otel._sdk import OtlpSpanProcessor

    pipeline = process_pipeline()
    return OtlpSpanProcessor(
        _sink_of(pipeline, "traces"),
        flush=pipeline.exporter.flush,
        redact=pipeline.redactor.redact_value,
    )


def tracer_provider(service_name: str | None = None, *, set_global: bool = False) -> TracerProvider:
    """The stock SDK's tracer provider with our processor.

    Give it to other instrumentations (httpx, databases): their spans hang under the current
    span, ours included.  Add further processors to it as to any provider.
    """
    from kaizen_otel._sdk import OtlpSpanProcessor, make_tracer_provider

    pipeline, service = _service(service_name)
    if pipeline.config.exporter == "stock":
        from kaizen_otel._stock import stock_span_processor

        processor = stock_span_processor(pipeline.config)
    else:
        processor = OtlpSpanProcessor(
            _sink_of(pipeline, "traces"),
            flush=pipeline.exporter.flush,
            own_resource=lambda: service.resource,
            redact=pipeline.redactor.redact_value,
        )
    attributes = pipeline.resource_attributes(service.name)
    return make_tracer_provider(attributes, processor, set_global=set_global)


def meter_provider(
    service_name: str | None = None, *, views: Sequence[View] = (), set_global: bool = False
) -> MeterProvider:
    """The stock SDK's meter provider, collected together with our metrics.

    Observable instruments and ``views`` are the SDK's.
    """
    from kaizen_otel._sdk_metrics import OtlpMetricReader, make_meter_provider

    pipeline, service = _service(service_name)
    attributes = pipeline.resource_attributes(service.name)
    if pipeline.config.exporter == "stock":
        from kaizen_otel._stock import stock_metric_reader

        stock = stock_metric_reader(pipeline.config)
        return make_meter_provider(attributes, stock, views=views, set_global=set_global)
    reader = OtlpMetricReader(
        own_resource=lambda: service.resource,
        flush=pipeline.exporter.flush,
        on_shutdown=lambda ended: pipeline.remove_collector(ended.items),
        temporality=pipeline.config.temporality,
        histogram=pipeline.config.histogram,
    )
    provider = make_meter_provider(attributes, reader, views=views, set_global=set_global)
    pipeline.add_collector(reader.items)
    return provider


def logger_provider(service_name: str | None = None, *, set_global: bool = False) -> LoggerProvider:
    """The stock SDK's logger provider with our processor."""
    from kaizen_otel._sdk_logs import OtlpLogRecordProcessor, make_logger_provider

    pipeline, service = _service(service_name)
    attributes = pipeline.resource_attributes(service.name)
    if pipeline.config.exporter == "stock":
        from kaizen_otel._stock import stock_log_processor

        stock = stock_log_processor(pipeline.config)
        return make_logger_provider(attributes, stock, set_global=set_global)
    processor = OtlpLogRecordProcessor(
        pipeline.offer_log,
        flush=pipeline.exporter.flush,
        redactor=pipeline.redactor,
        own_resource=lambda: service.resource,
    )
    return make_logger_provider(attributes, processor, set_global=set_global)


def _sink_of(pipeline: Pipeline, signal: Signal) -> Callable[[Group], Callable[[bytes], object]]:
    """What opens the way in for items of a group; they go nowhere if the user wants it so."""
    if signal in pipeline.sent:
        return lambda group: pipeline.exporter.sink(signal, group)
    return lambda _: lambda _: None


def _service(service_name: str | None) -> tuple[Pipeline, Service]:
    pipeline = process_pipeline()
    return pipeline, pipeline.service(
        service_name or pipeline.config.service_name or "kaizen-agent"
    )
