"""The SDK's door for logs: a processor that encodes each record once and hands it on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, cast

from kaizen_otel._otlp.common import AttributeField, encode_resource, encode_scope
from kaizen_otel._otlp.logs import LOG_ATTRIBUTES, encode_log_record
from kaizen_otel._otlp.traces import SPAN_ID_SIZE, TRACE_ID_SIZE
from kaizen_otel.errors import NotEnabledError, ProviderExistsError

try:
    from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
    from opentelemetry.sdk.resources import Resource
except ImportError as missing:
    raise NotEnabledError(
        "the SDK's door needs the package opentelemetry-sdk: pip install 'kaizen-otel[sdk]'"
    ) from missing

from opentelemetry import _logs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._redaction import Redactor

Untyped: TypeAlias = Any
"""What the SDK gives a processor: its class has another name in every few versions."""


class OtlpLogRecordProcessor(LogRecordProcessor):
    """``offer`` takes resource, scope, schema URL and record, all encoded.

    The SDK has renamed what a processor gets (1.35, 1.39): what is used of it here is in all of
    them.
    """

    def __init__(
        self,
        offer: Callable[[bytes, bytes, str, bytes], object],
        *,
        flush: Callable[[int], bool],
        redactor: Redactor,
        own_resource: Callable[[], bytes] | None = None,
    ) -> None:
        self._offer = offer
        self._flush = flush
        self._redactor = redactor
        self._field = AttributeField(LOG_ATTRIBUTES, redactor.redact_value)
        self._own_resource = own_resource

    def on_emit(self, log_record: Untyped) -> None:
        """Encode and offer one record."""
        record = log_record.log_record
        scope = log_record.instrumentation_scope
        scope_bytes = encode_scope(scope.name, scope.version or "") if scope is not None else b""
        schema_url = (scope.schema_url if scope is not None else None) or ""
        self._offer(
            self._resource(log_record),
            scope_bytes,
            schema_url,
            encode_sdk_log(record, self._redactor, self._field),
        )

    emit = on_emit  # the method's name before 1.35

    def _resource(self, data: Untyped) -> bytes:
        if self._own_resource is not None:
            return self._own_resource()
        resource = getattr(data, "resource", None) or getattr(data.log_record, "resource", None)
        return encode_resource(dict(resource.attributes)) if resource is not None else b""

    def shutdown(self) -> None:
        """Flush; the process's pipeline goes on."""
        self._flush(5_000)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send everything within the time."""
        return self._flush(timeout_millis)


def encode_sdk_log(record: Untyped, redactor: Redactor, field: AttributeField) -> bytes:
    """One SDK log record as an encoded LogRecord message, without secrets (``field`` redacts)."""
    severity = record.severity_number
    body = record.body
    return encode_log_record(
        time_ns=record.timestamp or 0,
        observed_ns=record.observed_timestamp or 0,
        severity_number=severity.value if severity is not None else 0,
        severity_text=record.severity_text or "",
        body=None if body is None else redactor.redact_value("body", body),
        attributes=_attributes_of(record),
        trace_id=record.trace_id.to_bytes(TRACE_ID_SIZE, "big") if record.trace_id else b"",
        span_id=record.span_id.to_bytes(SPAN_ID_SIZE, "big") if record.span_id else b"",
        flags=int(record.trace_flags or 0),
        event_name=getattr(record, "event_name", None) or "",
        field=field,
    )


def _attributes_of(record: Untyped) -> Mapping[str, object]:
    """Return a record's attributes: the dictionary inside, if there is one, needs no copy."""
    attributes = record.attributes
    inner: Untyped = getattr(attributes, "_dict", None)
    return cast("Mapping[str, object]", dict(attributes or {}) if inner is None else inner)


def make_logger_provider(
    attributes: Mapping[str, object], processor: LogRecordProcessor, *, set_global: bool = False
) -> LoggerProvider:
    """A stock provider with our processor; raises ``ProviderExistsError`` like its siblings."""
    if set_global and isinstance(_logs.get_logger_provider(), LoggerProvider):
        raise ProviderExistsError(
            "a global logger provider is set already, and OpenTelemetry sets it only once: leave "
            "set_global off"
        )
    provider = LoggerProvider(
        resource=Resource(cast("Any", dict(attributes))), shutdown_on_exit=False
    )
    provider.add_log_record_processor(processor)
    if set_global:
        _logs.set_logger_provider(provider)
    return provider
