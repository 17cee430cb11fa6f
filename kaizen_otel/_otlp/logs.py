"""The LogRecord message.  Source: ``opentelemetry/proto/logs/v1/logs.proto``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.common import (
    EMPTY,
    AttributeField,
    TextCache,
    encode_any_value,
    extend_attributes,
)
from kaizen_otel._otlp.traces import SPAN_ID_SIZE, TRACE_ID_SIZE
from kaizen_otel._otlp.wire import delimited, fixed32, fixed64, varint

if TYPE_CHECKING:
    from collections.abc import Mapping

_SEVERITY_TEXTS: Final = TextCache(3)
_EVENT_NAMES: Final = TextCache(12)
LOG_ATTRIBUTES: Final = 6  # logs.proto, LogRecord.attributes
_ATTRIBUTES: Final = AttributeField(LOG_ATTRIBUTES)


def encode_log_record(
    *,
    time_ns: int,
    observed_ns: int,
    severity_number: int = 0,
    severity_text: str = "",
    body: object = None,
    attributes: Mapping[str, object] = EMPTY,
    trace_id: bytes = b"",
    span_id: bytes = b"",
    flags: int = 0,
    event_name: str = "",
    field: AttributeField | None = None,
) -> bytes:
    """Encode one LogRecord message.

    ``severity_number`` is 0 (unspecified) to 24; a record with an ``event_name`` is an event.
    Ids are empty, or 16 and 8 bytes.  ``flags``: bits 0-7 are the W3C trace flags.  ``field`` is
    one for ``LOG_ATTRIBUTES``; it may redact.
    """
    parts = [b"\x09" + fixed64(time_ns)] if time_ns else []
    append = parts.append
    if severity_number:
        append(b"\x10" + varint(severity_number))
    append(_SEVERITY_TEXTS[severity_text])
    if body is not None:
        append(delimited(b"\x2a", encode_any_value(body)))
    extend_attributes(parts, field or _ATTRIBUTES, attributes)
    if flags:
        append(b"\x45" + fixed32(flags))
    if trace_id:
        assert len(trace_id) == TRACE_ID_SIZE, trace_id
        append(b"\x4a\x10" + trace_id)
    if span_id:
        assert len(span_id) == SPAN_ID_SIZE, span_id
        append(b"\x52\x08" + span_id)
    if observed_ns:
        append(b"\x59" + fixed64(observed_ns))
    append(_EVENT_NAMES[event_name])
    return b"".join(parts)
