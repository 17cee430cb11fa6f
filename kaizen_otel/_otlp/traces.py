"""The Span message.  Source: ``opentelemetry/proto/trace/v1/trace.proto``."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.common import EMPTY, AttributeField, TextCache, extend_attributes
from kaizen_otel._otlp.wire import VARINTS, delimited, fixed32, fixed64, utf8, varint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

TRACE_ID_SIZE: Final = 16
SPAN_ID_SIZE: Final = 8

_pack_times = struct.Struct("<cQcQ").pack

_NAMES: Final = TextCache(5)
_EVENT_NAMES: Final = TextCache(2)
SPAN_ATTRIBUTES: Final = 9  # trace.proto, Span.attributes
_SPAN_ATTRIBUTES: Final = AttributeField(SPAN_ATTRIBUTES)
_EVENT_ATTRIBUTES: Final = AttributeField(3)
_LINK_ATTRIBUTES: Final = AttributeField(4)

_KINDS: Final = tuple(b"\x30" + VARINTS[kind] for kind in range(6))

# What nearly every span has, encoded once: ``flags`` = sampled, parent known to be local or not.
_FLAGS: Final = {flags: b"\x85\x01" + fixed32(flags) for flags in (0x100, 0x101, 0x300, 0x301)}


def encode_span(
    *,
    trace_id: bytes,
    span_id: bytes,
    parent_span_id: bytes = b"",
    name: str,
    kind: int = 1,
    start_ns: int,
    end_ns: int,
    attributes: Mapping[str, object] = EMPTY,
    events: Sequence[tuple[int, str, Mapping[str, object], int]] = (),
    links: Sequence[tuple[bytes, bytes, str, Mapping[str, object], int, int]] = (),
    status_code: int = 0,
    status_message: str = "",
    flags: int = 0x101,
    trace_state: str = "",
    dropped_attributes_count: int = 0,
    dropped_events_count: int = 0,
    dropped_links_count: int = 0,
) -> bytes:
    """Encode one Span message.

    ``kind`` and ``status_code`` are the numbers of the proto (kind 1 = internal, status 2 =
    error).  ``events`` are ``(time_ns, name, attributes, dropped attributes)``, ``links`` are
    ``(trace_id, span_id, trace_state, attributes, flags, dropped attributes)``.  ``flags``: bits
    0-7 are the W3C trace flags, bit 8 says that bit 9 is known, bit 9 says that the parent is
    remote.  Ids must be 16 and 8 bytes.
    """
    assert len(trace_id) == TRACE_ID_SIZE, trace_id
    assert len(span_id) == SPAN_ID_SIZE, span_id
    parts = [b"\x0a\x10", trace_id, b"\x12\x08", span_id]
    append = parts.append
    if parent_span_id:
        assert len(parent_span_id) == SPAN_ID_SIZE, parent_span_id
        append(b"\x22\x08" + parent_span_id)
    append(_NAMES[name])
    if kind:
        append(b"\x30" + varint(kind))
    append(_encode_times(start_ns, end_ns))
    extend_attributes(parts, _SPAN_ATTRIBUTES, attributes)
    for event in events:
        append(delimited(b"\x5a", _encode_event(*event)))
    for link in links:
        append(delimited(b"\x6a", _encode_link(*link)))
    if status_code or status_message:
        append(delimited(b"\x7a", _encode_status(status_code, status_message)))
    if trace_state:
        append(delimited(b"\x1a", utf8(trace_state)))
    if dropped_attributes_count or dropped_events_count or dropped_links_count:
        append(_encode_dropped(dropped_attributes_count, dropped_events_count, dropped_links_count))
    if flags:
        append(_FLAGS.get(flags) or b"\x85\x01" + fixed32(flags))
    return b"".join(parts)


def encode_plain_span(
    trace_id: bytes,
    span_id: bytes,
    parent_span_id: bytes,
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    attributes: Mapping[str, object],
    flags: int,
    field: AttributeField,
) -> bytes:
    """Encode a span that has no events, links, status, trace state or dropped items.

    Most spans are like that, and half of ``encode_span`` is asking.  ``field`` is one for field
    number 9.  Benchmark: ``benchmarks/spans.py``.
    """
    try:
        times = _pack_times(b"\x39", start_ns, b"\x41", end_ns)
    except struct.error:
        times = _encode_times(start_ns, end_ns)
    parts = [
        b"\x0a\x10",
        trace_id,
        b"\x22\x08" + parent_span_id + b"\x12\x08" if parent_span_id else b"\x12\x08",
        span_id,
        _NAMES[name],
        _KINDS[kind],
        times,
        _FLAGS[flags] if flags in _FLAGS else b"\x85\x01" + fixed32(flags),
    ]
    extend_attributes(parts, field, attributes)
    return b"".join(parts)


def link_flags(trace_flags: int, *, is_remote: bool) -> int:
    """The flags of a link: the other span's trace flags, and whether it is remote."""
    return (trace_flags & 0xFF) | (0x300 if is_remote else 0x100)


def _encode_times(start_ns: int, end_ns: int) -> bytes:
    try:
        return _pack_times(b"\x39", start_ns, b"\x41", end_ns)
    except struct.error:  # outside uint64
        return b"\x39" + fixed64(start_ns) + b"\x41" + fixed64(end_ns)


def _encode_dropped(attributes_count: int, events_count: int, links_count: int) -> bytes:
    return b"".join(
        prefix + varint(count)
        for prefix, count in (
            (b"\x50", attributes_count),
            (b"\x60", events_count),
            (b"\x70", links_count),
        )
        if count
    )


def _encode_event(
    time_ns: int, name: str, attributes: Mapping[str, object], dropped_count: int
) -> bytes:
    parts = [b"\x09" + fixed64(time_ns)] if time_ns else []
    parts.append(_EVENT_NAMES[name])
    extend_attributes(parts, _EVENT_ATTRIBUTES, attributes)
    if dropped_count:
        parts.append(b"\x20" + varint(dropped_count))
    return b"".join(parts)


def _encode_link(
    trace_id: bytes,
    span_id: bytes,
    trace_state: str,
    attributes: Mapping[str, object],
    flags: int,
    dropped_count: int,
) -> bytes:
    assert len(trace_id) == TRACE_ID_SIZE, trace_id
    assert len(span_id) == SPAN_ID_SIZE, span_id
    parts = [b"\x0a\x10", trace_id, b"\x12\x08", span_id]
    if trace_state:
        parts.append(delimited(b"\x1a", utf8(trace_state)))
    extend_attributes(parts, _LINK_ATTRIBUTES, attributes)
    if dropped_count:
        parts.append(b"\x28" + varint(dropped_count))
    if flags:
        parts.append(b"\x35" + fixed32(flags))
    return b"".join(parts)


def _encode_status(code: int, message: str) -> bytes:
    text = delimited(b"\x12", utf8(message)) if message else b""
    return text + (b"\x18" + varint(code) if code else b"")
