"""Spans: a light span of the OpenTelemetry API's class, samplers, and the tracing manager.

A span here is encoded when it ends and handed to the exporter as bytes; no SDK object is made.
It is an ``opentelemetry.trace.Span``, so it can be the current span and others nest under it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, cast

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import SpanContext, Status, StatusCode, TraceFlags

from kaizen_otel import semconv
from kaizen_otel._observations import capture
from kaizen_otel._otlp import common
from kaizen_otel._otlp.traces import SPAN_ATTRIBUTES, encode_plain_span, encode_span, link_flags
from kaizen_otel._sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.trace import TraceState
    from opentelemetry.util.types import Attributes, AttributeValue

    from kaizen_otel._redaction import Redactor
    from kaizen_otel.config import SpanLimits

__all__ = ["Sampler", "Span", "SpanSettings", "current_span", "parent_of", "safe_text"]

_TEXT_MAX: Final = 4096
_SAMPLED: Final = 0x01
# Bits 8 and 9 of Span.flags say whether the parent is remote (trace.proto, SpanFlags).
_IS_LOCAL: Final = 0x100
_IS_REMOTE: Final = 0x300
_EMPTY: Final[Mapping[str, object]] = {}


class SpanSettings:
    """What all spans of one resource share: where they go, their limits, their clock."""

    __slots__ = ("attribute_count", "field", "is_cutting", "limits", "redactor", "sink", "time_ns")

    def __init__(
        self,
        *,
        sink: Callable[[bytes], object] | None,
        limits: SpanLimits,
        redactor: Redactor,
        time_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """``sink`` takes one encoded span; None keeps the span to itself (tracing is off)."""
        self.sink = sink
        self.limits = limits
        self.redactor = redactor
        self.time_ns = time_ns
        self.attribute_count = limits.attribute_count
        self.is_cutting = limits.attribute_length is not None
        self.field = common.AttributeField(SPAN_ATTRIBUTES, redactor.redact_value)


class Span(trace.Span):
    """One unit of work.  All methods are safe after ``end`` and then do nothing."""

    # What most spans never have is a default of the class: not set, it costs nothing.
    # No events, links, status, trace state; nothing dropped.
    _is_plain = True
    _events: list[tuple[int, str, Mapping[str, object]]] | None = None
    _links: list[tuple[SpanContext, Mapping[str, object]]] | None = None
    _status: tuple[int, str] = (0, "")
    # Dropped for the limits: attributes, events, links.
    _dropped: tuple[int, int, int] = (0, 0, 0)
    _context: SpanContext | None = None
    _ended = False
    end_ns: int | None = None
    parent_span_id = b""
    kind: int = semconv.INTERNAL
    flags = _SAMPLED
    parent_remote = False
    trace_state: TraceState | None = None

    def __init__(
        self,
        name: str,
        settings: SpanSettings,
        trace_id: bytes,
        span_id: bytes,
        parent_span_id: bytes = b"",
        kind: int = semconv.INTERNAL,
        attributes: Mapping[str, object] = _EMPTY,
        *,
        parent_remote: bool = False,
        sampled: bool = True,
        trace_state: TraceState | None = None,
        start_ns: int | None = None,
        links: Sequence[tuple[SpanContext, Mapping[str, object]]] = (),
    ) -> None:
        self._settings = settings
        self.name = name
        self.trace_id = trace_id
        self.span_id = span_id
        if parent_span_id:
            self.parent_span_id = parent_span_id
        if kind != semconv.INTERNAL:
            self.kind = kind
        if not sampled:
            self.flags = 0
        if parent_remote:
            self.parent_remote = True
        if trace_state is not None:
            self.trace_state = trace_state
            self._is_plain = not trace_state
        if links:
            self._links = list(links[: settings.limits.link_count])
            self._drop(links=len(links) - len(self._links))
        self.start_ns = settings.time_ns() if start_ns is None else start_ns
        self._attributes: dict[str, object]
        if settings.is_cutting or len(attributes) > settings.attribute_count:
            self._attributes = {}
            for key, value in attributes.items():
                self._set(key, value)
        else:
            self._attributes = dict(attributes)

    def _set(self, key: str, value: object) -> None:
        attributes = self._attributes
        limits = self._settings.limits
        if key not in attributes and len(attributes) >= limits.attribute_count:
            self._drop(attributes=1)
            return
        if isinstance(value, str) and limits.attribute_length is not None:
            value = value[: limits.attribute_length]
        attributes[key] = value

    def _drop(self, *, attributes: int = 0, events: int = 0, links: int = 0) -> None:
        self._is_plain = False
        dropped = self._dropped
        self._dropped = (dropped[0] + attributes, dropped[1] + events, dropped[2] + links)

    @property
    def attributes(self) -> Mapping[str, object]:
        """The attributes as they stand; read only by convention."""
        return self._attributes

    @property
    def status(self) -> tuple[int, str]:
        """Status code (0 unset, 1 ok, 2 error) and description."""
        return self._status

    @property
    def duration_ns(self) -> int:
        """Nanoseconds from start to end, or to now while it runs."""
        end_ns = self.end_ns
        return (self._settings.time_ns() if end_ns is None else end_ns) - self.start_ns

    def get_span_context(self) -> SpanContext:
        """The identity of this span, built on first use."""
        if self._context is None:
            self._context = SpanContext(
                int.from_bytes(self.trace_id, "big"),
                int.from_bytes(self.span_id, "big"),
                is_remote=False,
                trace_flags=TraceFlags(self.flags),
                trace_state=self.trace_state,
            )
        return self._context

    def is_recording(self) -> bool:
        """True until ``end``, if the span is sampled."""
        return not self._ended and bool(self.flags & _SAMPLED)

    def set_attribute(self, key: str, value: AttributeValue | object) -> None:
        """Set one attribute; one over the limit is counted as dropped in the span itself."""
        if not self._ended and value is not None:
            self._set(key, value)

    def set_attributes(
        self, attributes: Mapping[str, AttributeValue] | Mapping[str, object]
    ) -> None:
        """Set several attributes."""
        for key, value in attributes.items():
            self.set_attribute(key, value)

    def add_event(
        self, name: str, attributes: Attributes | Mapping[str, object] = None,
        timestamp: int | None = None,
    ) -> None:  # fmt: skip
        """Add an event at ``timestamp`` (ns since the epoch) or now."""
        if self._ended:
            return
        if self._events is None:
            self._events = []
            self._is_plain = False
        if len(self._events) >= self._settings.limits.event_count:
            self._drop(events=1)
            return
        at_ns = self._settings.time_ns() if timestamp is None else timestamp
        self._events.append((at_ns, name, dict(attributes or _EMPTY)))

    def add_link(self, context: SpanContext, attributes: Attributes = None) -> None:
        """Link another span."""
        if self._ended:
            return
        if self._links is None:
            self._links = []
            self._is_plain = False
        if len(self._links) >= self._settings.limits.link_count:
            self._drop(links=1)
            return
        self._links.append((context, dict(attributes or _EMPTY)))

    def update_name(self, name: str) -> None:
        """Rename the span."""
        if not self._ended:
            self.name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; OK is final and UNSET is ignored (Trace API, "Set Status")."""
        if isinstance(status, Status):
            code, text = status.status_code, status.description
        else:
            code, text = status, description
        if self._ended or self._status[0] == StatusCode.OK.value or code is StatusCode.UNSET:
            return
        self._is_plain = False
        message = (text or "") if code is StatusCode.ERROR else ""
        self._status = (code.value, self._settings.redactor.redact(message) if message else "")

    def record_exception(
        self,
        exception: BaseException,
        attributes: Attributes = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - the API's signature
    ) -> None:
        """Add an ``exception`` event with the type and the redacted message."""
        del escaped  # deprecated by the conventions
        merged: dict[str, object] = {
            semconv.EXCEPTION_TYPE: semconv.exception_type(exception),
            semconv.EXCEPTION_MESSAGE: self._settings.redactor.redact(safe_text(exception)),
        }
        merged.update(attributes or {})
        self.add_event("exception", merged, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End the span, encode it and hand it on.  A second call does nothing."""
        if self._ended:
            return
        self._ended = True
        settings, start_ns = self._settings, self.start_ns
        end_ns = settings.time_ns() if end_time is None else end_time
        if end_ns < start_ns:  # noqa: PLR1730 - a call of max costs a tenth of the rest
            end_ns = start_ns
        self.end_ns = end_ns
        if settings.sink is not None and self.flags & _SAMPLED:
            self.send()

    def close(self, end_time: int | None = None) -> int:
        """End the span without encoding it; ``send`` does that later, on any thread.

        Values that could change until then are replaced by what they are now.  Returns how many
        bytes of text it holds, or -1 if there is nothing to send.  A second call does nothing.
        """
        if self._ended:
            return -1
        self._ended = True
        settings = self._settings
        end_ns = settings.time_ns() if end_time is None else end_time
        self.end_ns = max(end_ns, self.start_ns)
        if settings.sink is None or not self.flags & _SAMPLED:
            capture(self._attributes)
            return -1
        size = capture(self._attributes)
        for _, _, attributes in self._events or ():
            size += capture(cast("dict[str, object]", attributes))
        if self._links:
            # These may be the caller's own.
            self._links = [(context, dict(attributes)) for context, attributes in self._links]
            for _, attributes in self._links:
                size += capture(cast("dict[str, object]", attributes))
        return size

    def add_late(self, attributes: Mapping[str, object]) -> None:
        """Set attributes of a span that was closed and is not sent yet."""
        for key, value in attributes.items():
            self._set(key, value)

    def send(self) -> None:
        """Encode the span, which has ended, and hand it on."""
        settings = self._settings
        sink = settings.sink
        assert sink is not None
        assert self.end_ns is not None
        flags = self.flags | (_IS_REMOTE if self.parent_remote else _IS_LOCAL)
        if self._is_plain:
            data = encode_plain_span(
                self.trace_id,
                self.span_id,
                self.parent_span_id,
                self.name,
                self.kind,
                self.start_ns,
                self.end_ns,
                self._attributes,
                flags,
                settings.field,
            )
        else:
            data = self._encode(flags)
        sink(data)

    def _encode(self, flags: int) -> bytes:
        assert self.end_ns is not None
        redact = self._settings.redactor.redact_attributes
        return encode_span(
            trace_id=self.trace_id,
            span_id=self.span_id,
            parent_span_id=self.parent_span_id,
            name=self.name,
            kind=self.kind,
            start_ns=self.start_ns,
            end_ns=self.end_ns,
            attributes=redact(self._attributes),
            events=[(at_ns, name, redact(a), 0) for at_ns, name, a in self._events or ()],
            links=[
                (c.trace_id.to_bytes(16, "big"), c.span_id.to_bytes(8, "big"),
                 c.trace_state.to_header(), redact(a),
                 link_flags(c.trace_flags, is_remote=c.is_remote), 0)
                for c, a in self._links or ()
            ],
            status_code=self._status[0],
            status_message=self._status[1],
            flags=flags,
            trace_state=self.trace_state.to_header() if self.trace_state else "",
            dropped_attributes_count=self._dropped[0],
            dropped_events_count=self._dropped[1],
            dropped_links_count=self._dropped[2],
        )  # fmt: skip

    def fail(self, error: BaseException | str, *, with_message: bool = True) -> None:
        """Mark the span as failed: ``error.type``, the status, and for an exception its event.

        An exception's message often quotes what a tool or a model was given, so it is content:
        without ``with_message`` only the type is told.
        """
        kind = semconv.error_type(error)
        self.set_attribute(semconv.ERROR_TYPE, kind)
        if isinstance(error, BaseException):
            if with_message:
                self.record_exception(error)
            else:
                self.add_event("exception", {semconv.EXCEPTION_TYPE: semconv.exception_type(error)})
        self.set_status(StatusCode.ERROR, safe_text(error) if with_message else kind)

    def __exit__(self, exc_type: object, exc_val: BaseException | None, exc_tb: object) -> None:
        """End the span; an exception marks it as failed and goes on."""
        if exc_val is not None and self.is_recording():
            self.fail(exc_val)
        self.end()


def safe_text(value: object) -> str:
    """Return a value's text for an attribute: at most 4,096 characters, whatever it raises."""
    return common.safe_text(value)[:_TEXT_MAX]


# The key under which the API keeps the current span; it has no public name.
_CURRENT: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, Context())))


def current_span() -> Span | trace.Span | None:
    """The current span of whatever class; None if there is none."""
    return get_current().get(_CURRENT)  # type: ignore[return-value]


def parent_of(context: Context | None = None) -> SpanContext | None:
    """The current span's identity if it is valid, of our spans and of anyone else's."""
    span = trace.get_current_span(context)
    if span is trace.INVALID_SPAN:
        return None
    current = span.get_span_context()
    return current if current.is_valid else None
