"""The SDK's door: stock ``opentelemetry-sdk`` providers with our processor behind them.

The only module that imports the SDK.  What other OpenTelemetry instrumentations of the process
produce comes through here; samplers, limits and third-party processors are the SDK's own code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from kaizen_otel._export import Delivered, Rejected
from kaizen_otel._export.buffer import Group
from kaizen_otel._otlp.common import AttributeField, encode_resource, encode_scope
from kaizen_otel._otlp.decode import decode_traces_request, plain_attributes
from kaizen_otel._otlp.traces import SPAN_ATTRIBUTES, encode_plain_span, encode_span, link_flags
from kaizen_otel.errors import NotEnabledError, ProviderExistsError

try:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Event, ReadableSpan, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import SpanExportResult
    from opentelemetry.sdk.util.instrumentation import InstrumentationScope
except ImportError as missing:
    raise NotEnabledError(
        "the SDK's door needs the package opentelemetry-sdk: pip install 'kaizen-otel[sdk]'"
    ) from missing

from opentelemetry import trace
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.span import DEFAULT_TRACE_STATE
from opentelemetry.trace.status import Status, StatusCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import Span as SdkSpan

    from kaizen_otel._export import Outcome, Signal

_SAMPLED: Final = 0x01
# Bits 8 and 9 of Span.flags say whether the parent is remote (trace.proto, SpanFlags).
_IS_LOCAL: Final = 0x100
_IS_REMOTE: Final = 0x300
_UNREDACTED: Final = AttributeField(SPAN_ATTRIBUTES)
_KNOWN_MAX: Final = 1000


class OtlpSpanProcessor(SpanProcessor):
    """Encodes each ended SDK span once and hands it on; no protobuf object is made.

    ``sink_of`` gives what takes the encoded spans of a group.  ``own_resource`` gives the encoded
    Resource of the providers that are ours, which changes after a fork.  ``redact`` takes an
    attribute's name and value and returns the value without secrets.
    """

    def __init__(
        self,
        sink_of: Callable[[Group], Callable[[bytes], object]],
        *,
        flush: Callable[[int], bool],
        own_resource: Callable[[], bytes] | None = None,
        redact: Callable[[str, object], object] | None = None,
    ) -> None:
        self._field = AttributeField(SPAN_ATTRIBUTES, redact)
        self._sink_of = sink_of
        self._flush = flush
        self._own_resource = own_resource
        # By the identity of the scope, which is held, so that the id is not given to another one.
        self._known: dict[
            int, tuple[InstrumentationScope | None, Resource, Callable[[bytes], object]]
        ] = {}

    def on_start(self, span: SdkSpan, parent_context: Context | None = None) -> None:
        """Nothing: all is done when the span ends."""

    def on_end(self, span: ReadableSpan) -> None:
        """Encode a sampled span and offer it."""
        context = span.context
        if context is None or not context.trace_flags & _SAMPLED:
            return
        scope, resource = span.instrumentation_scope, span.resource
        known = self._known.get(id(scope))
        if known is None or known[0] is not scope or known[1] is not resource:
            if len(self._known) >= _KNOWN_MAX:
                self._known.clear()
            known = (scope, resource, self._sink_of(self._group(scope, resource)))
            self._known[id(scope)] = known
        known[2](_encode_plain(span, self._field) or encode_sdk_span(span, self._field))

    def _group(self, scope: InstrumentationScope | None, resource: Resource) -> Group:
        if self._own_resource is not None:
            resource_of = self._own_resource
        else:
            encoded = encode_resource(dict(resource.attributes))

            def resource_of() -> bytes:
                return encoded

        if scope is None:
            return Group(resource_of, b"", "")
        name, version = scope.name, scope.version or ""
        encoded_scope = encode_scope(name, version, dict(scope.attributes or {}))
        return Group(resource_of, encoded_scope, scope.schema_url or "")

    def shutdown(self) -> None:
        """Flush; the process's pipeline goes on."""
        self._flush(5_000)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Send everything within the time."""
        return self._flush(timeout_millis)


def encode_sdk_span(span: ReadableSpan, field: AttributeField = _UNREDACTED) -> bytes:
    """One SDK span as an encoded Span message; ``field`` redacts its attributes, if it is to."""
    context, parent = span.context, span.parent
    assert context is not None
    redact, status = field.redacted, span.status
    is_remote = parent is not None and parent.is_remote
    return encode_span(
        trace_id=context.trace_id.to_bytes(16, "big"),
        span_id=context.span_id.to_bytes(8, "big"),
        parent_span_id=parent.span_id.to_bytes(8, "big") if parent is not None else b"",
        name=span.name,
        kind=span.kind.value + 1,  # the API counts from 0, OTLP from 1
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        attributes=redact(dict(span.attributes or {})),
        events=[
            (e.timestamp, e.name, redact(dict(e.attributes or {})), _dropped_of(e))
            for e in span.events
        ],
        links=[
            (
                link.context.trace_id.to_bytes(16, "big"),
                link.context.span_id.to_bytes(8, "big"),
                link.context.trace_state.to_header(),
                redact(dict(link.attributes or {})),
                link_flags(int(link.context.trace_flags), is_remote=link.context.is_remote),
                _dropped_of(link),
            )
            for link in span.links
        ],
        status_code=status.status_code.value,
        status_message=str(redact({"status": status.description})["status"] or ""),
        flags=context.trace_flags | (_IS_REMOTE if is_remote else _IS_LOCAL),
        trace_state=context.trace_state.to_header(),
        dropped_attributes_count=span.dropped_attributes,
        dropped_events_count=span.dropped_events,
        dropped_links_count=span.dropped_links,
    )


def _encode_plain(span: ReadableSpan, field: AttributeField) -> bytes | None:
    """Encode a span that has attributes only; None if it has more, or the SDK keeps it otherwise.

    What the SDK shows are copies that lock for every item; they cost more than the encoding.  What
    is inside belongs to a span that has ended, and does not change any more.
    """
    if type(span) is not ReadableSpan:
        return None
    inner: Any = span
    try:
        events, links, bounded = inner._events, inner._links, inner._attributes  # noqa: SLF001
        trace_id, span_id, _, trace_flags, state, _ = inner._context  # noqa: SLF001
        if (
            events._dq or links._dq or events.dropped or links.dropped or bounded.dropped  # noqa: SLF001
            or inner._status._status_code is not StatusCode.UNSET  # noqa: SLF001
            or (state is not DEFAULT_TRACE_STATE and state)
        ):  # fmt: skip
            return None
        attributes, kind, parent = bounded._dict, inner._kind._value_ + 1, inner._parent  # noqa: SLF001
        name, start_ns, end_ns = inner._name, inner._start_time, inner._end_time  # noqa: SLF001
    except (AttributeError, TypeError, ValueError):
        return None
    flags, parent_span_id = trace_flags | _IS_LOCAL, b""
    if parent is not None:
        flags |= _IS_REMOTE if parent.is_remote else 0
        parent_span_id = parent.span_id.to_bytes(8, "big")
    return encode_plain_span(
        trace_id.to_bytes(16, "big"), span_id.to_bytes(8, "big"), parent_span_id, name, kind,
        start_ns or 0, end_ns or 0, attributes, flags, field,
    )  # fmt: skip


def _dropped_of(item: Event | Link) -> int:
    """How many attributes of an event or link fell to its limit, in SDKs that say so."""
    found: object = getattr(item, "dropped_attributes", 0)
    return found if isinstance(found, int) else 0


def make_tracer_provider(
    attributes: Mapping[str, object], processor: SpanProcessor, *, set_global: bool = False
) -> TracerProvider:
    """A stock provider with our processor.

    ``set_global`` makes it the process's provider; raises ``ProviderExistsError`` if there is
    one.
    """
    if set_global and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        raise ProviderExistsError(
            "a global tracer provider is set already, and OpenTelemetry sets it only once: leave "
            "set_global off and add kaizen_otel.span_processor() to the provider that is there"
        )
    provider = TracerProvider(
        resource=Resource(cast("Any", dict(attributes))), shutdown_on_exit=False
    )
    provider.add_span_processor(processor)
    if set_global:
        trace.set_tracer_provider(provider)
    return provider


class SpanExporterTransport:
    """Gives our spans to an SDK ``SpanExporter`` (the in-memory one of tests, or any other)."""

    def __init__(self, exporter: object) -> None:
        """``exporter`` has ``export`` and ``shutdown``."""
        self._exporter = cast("Any", exporter)

    @property
    def description(self) -> str:
        """The exporter's class."""
        return f"the SDK exporter {type(self._exporter).__qualname__}"

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        """Export one request of spans."""
        del signal, deadline_ns  # an SDK exporter has its own time-out
        try:
            result = self._exporter.export(list(_readable_spans(decode_traces_request(body))))
        except Exception as error:  # noqa: BLE001 - foreign code; its failure is an outcome
            return Rejected(reason="exporter_failed", message=f"{self.description}: {error}")
        if result is SpanExportResult.SUCCESS:
            return Delivered()
        return Rejected(reason="exporter_failed", message=f"{self.description} reported a failure")

    def close(self) -> None:
        """Shut the exporter down."""
        self._exporter.shutdown()


def _readable_spans(request: dict[str, Any]) -> list[ReadableSpan]:
    found: list[ReadableSpan] = []
    for group in request.get("resourceSpans", ()):
        owner: dict[str, Any] = group.get("resource") or {}
        resource = Resource(cast("Any", plain_attributes(owner.get("attributes"))))
        for scoped in group.get("scopeSpans", ()):
            scope: dict[str, Any] = scoped.get("scope") or {}
            library = InstrumentationScope(scope.get("name", ""), scope.get("version"))
            found.extend(_readable(span, resource, library) for span in scoped.get("spans", ()))
    return found


def _readable(
    span: dict[str, Any], resource: Resource, scope: InstrumentationScope
) -> ReadableSpan:
    flags = int(span.get("flags", 0))
    trace_id = int(span["traceId"], 16)
    state = TraceState.from_header([span["traceState"]]) if span.get("traceState") else None
    parent = None
    if span.get("parentSpanId"):
        parent = SpanContext(
            trace_id,
            int(span["parentSpanId"], 16),
            flags & _IS_REMOTE == _IS_REMOTE,
            TraceFlags(flags & 1),
        )
    status: dict[str, Any] = span.get("status") or {}
    return ReadableSpan(
        name=span.get("name", ""),
        context=SpanContext(
            trace_id, int(span["spanId"], 16), is_remote=False,
            trace_flags=TraceFlags(flags & 1), trace_state=state,
        ),
        parent=parent,
        resource=resource,
        attributes=cast("Any", plain_attributes(span.get("attributes"))),
        events=[
            Event(e.get("name", ""), cast("Any", plain_attributes(e.get("attributes"))),
                  int(e.get("timeUnixNano", 0)))
            for e in span.get("events", ())
        ],
        links=[
            Link(SpanContext(int(x["traceId"], 16), int(x["spanId"], 16), is_remote=True),
                 cast("Any", plain_attributes(x.get("attributes"))))
            for x in span.get("links", ())
        ],
        kind=SpanKind(max(int(span.get("kind", 1)) - 1, 0)),
        status=Status(StatusCode(int(status.get("code", 0))), status.get("message")),
        start_time=int(span.get("startTimeUnixNano", 0)),
        end_time=int(span.get("endTimeUnixNano", 0)),
        instrumentation_scope=scope,
    )  # fmt: skip
