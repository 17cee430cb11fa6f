"""The tracing manager: the seed's and Kaizen's interface to spans, over our own pipeline."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry.trace import Status, StatusCode

from kaizen_otel import semconv
from kaizen_otel._edges import shared_ids
from kaizen_otel.config import Config
from kaizen_otel.hook_types import event_value
from kaizen_otel.traces import Sampler, Span, SpanSettings, current_span, parent_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from opentelemetry.trace import SpanContext

    from kaizen_otel._edges import Ids
    from kaizen_otel.hook_types import HookContext, HookResult

_SECONDS_TO_MS: Final = 1000
_EMPTY: Final[Mapping[str, object]] = {}
_TRACE_ID: Final = re.compile(r"[0-9a-f]{32}")

_RENAMED: Final[Mapping[str, str]] = {
    "tool_name": semconv.GEN_AI_TOOL_NAME,
    "tool_call_id": semconv.GEN_AI_TOOL_CALL_ID,
    "model": semconv.GEN_AI_REQUEST_MODEL,
    "provider": semconv.GEN_AI_PROVIDER_NAME,
    "session_id": semconv.GEN_AI_CONVERSATION_ID,
    "signature": semconv.KAIZEN_SIGNATURE,
    "cycle": semconv.KAIZEN_CYCLE,
    "context_size": semconv.KAIZEN_MEMORY_CONTEXT_SIZE,
    "turn_size": semconv.KAIZEN_MEMORY_TURN_SIZE,
    "mode": semconv.KAIZEN_INTERRUPT_MODE,
    "source": semconv.KAIZEN_INTERRUPT_SOURCE,
}
"""Data keys of Kaizen's own events and the conventions' names for them."""

_CONTENT: Final = frozenset(
    {
        "inputs", "result", "tool_params", "tool_result", "tool_input", "tool_output", "message",
        "messages", "prompt", "completion", "response", "content", "arguments", "query",
    }
)  # fmt: skip
"""Data keys that hold what users and models said: never an attribute by default."""
_NAMES: Final = {**_RENAMED, **dict.fromkeys(_CONTENT, ""), "parent_span_id": ""}
_TEXT_MAX: Final = 256


class TracingBackend(NamedTuple):
    """What a tracing manager works with; made by the process's pipeline."""

    settings: SpanSettings
    sampler: Sampler
    ids: Ids
    flush: Callable[[int], bool]
    shutdown: Callable[[int], bool]
    seed_style: bool
    warn: Callable[[str], None]


class TracingManager:
    """Makes spans and flushes them.

    ``TracingManager("my-agent")`` alone builds a pipeline of its own from the environment;
    ``jaeger_host`` or ``jaeger_port`` select OTLP over gRPC.  ``batch_size`` sets the size of a
    request: only the byte bound of the buffer drops.  ``exporter`` may be an SDK
    ``SpanExporter`` and is then used in place of our transport.
    """

    def __init__(
        self,
        service_name: str,
        jaeger_host: str | None = None,
        jaeger_port: int | None = None,
        insecure: bool = True,  # noqa: FBT001, FBT002 - the seed's signature
        batch_size: int = 512,
        batch_timeout_ms: int = 5000,
        max_export_batch_size: int = 512,
        exporter: object | None = None,
        *,
        backend: TracingBackend | None = None,
    ) -> None:
        self.service_name = service_name
        if backend is None:
            backend = _standalone_backend(
                service_name,
                Config.from_environment(jaeger_host=jaeger_host, jaeger_port=jaeger_port),
                insecure=insecure or jaeger_host is None,
                batch_size=min(batch_size, max_export_batch_size),
                interval_ms=batch_timeout_ms,
                exporter=exporter,
            )
        self._backend = backend
        self.ids = backend.ids
        self.seed_style = backend.seed_style
        self.warn = backend.warn
        self._settings, self._is_full = backend.settings, backend.sampler.is_full
        self._trace_id, self._span_id = backend.ids.trace_id, backend.ids.span_id

    def start_span(
        self,
        name: str,
        *,
        parent: Span | SpanContext | None = None,
        kind: int = semconv.INTERNAL,
        attributes: Mapping[str, object] | None = None,
        links: Sequence[tuple[SpanContext, Mapping[str, object]]] = (),
        start_ns: int | None = None,
        trace_id: bytes | None = None,
    ) -> Span:
        """Start a span.

        Without ``parent`` the current span is the parent; without one of those the span is a
        root, with ``trace_id`` (16 bytes) if given.
        """
        if self._is_full and not links and start_ns is None and trace_id is None:
            # What nearly every span is: everything is sampled, the parent is none or ours.
            found = current_span() if parent is None else parent
            if found is None:
                return Span(
                    name, self._settings, self._trace_id(), self._span_id(), b"", kind,
                    attributes or _EMPTY,
                )  # fmt: skip
            if type(found) is Span and found.flags & 1 and found.trace_state is None:
                return Span(
                    name, self._settings, found.trace_id, self._span_id(), found.span_id, kind,
                    attributes or _EMPTY,
                )  # fmt: skip
        return self._start_span(name, parent, kind, attributes, links, start_ns, trace_id)

    def _start_span(
        self,
        name: str,
        parent: Span | SpanContext | None,
        kind: int,
        attributes: Mapping[str, object] | None,
        links: Sequence[tuple[SpanContext, Mapping[str, object]]],
        start_ns: int | None,
        trace_id: bytes | None,
    ) -> Span:
        backend = self._backend
        if isinstance(parent, Span):
            trace_bytes, parent_bytes = parent.trace_id, parent.span_id
            sampled_parent, state, remote = bool(parent.flags & 1), parent.trace_state, False
        else:
            context = parent_of() if parent is None else parent
            if context is None:
                trace_bytes, parent_bytes = trace_id or backend.ids.trace_id(), b""
                sampled_parent, state, remote = None, None, False
            else:
                trace_bytes = context.trace_id.to_bytes(16, "big")
                parent_bytes = context.span_id.to_bytes(8, "big")
                sampled_parent = bool(context.trace_flags & 1)
                state, remote = context.trace_state, context.is_remote
        return Span(
            name,
            backend.settings,
            trace_bytes,
            backend.ids.span_id(),
            parent_bytes,
            kind,
            attributes or _EMPTY,
            parent_remote=remote,
            sampled=backend.sampler.sampled(trace_bytes, parent=sampled_parent),
            trace_state=state or None,
            start_ns=start_ns,
            links=links,
        )

    def time_ns(self) -> int:
        """Nanoseconds since the Unix epoch, by the clock that spans have."""
        return self._backend.settings.time_ns()

    def unsent_span(self, name: str) -> Span:
        """A span that goes nowhere, for the caller to hold when ours has failed."""
        backend = self._backend
        settings = SpanSettings(
            sink=None, limits=backend.settings.limits, redactor=backend.settings.redactor
        )
        ids = backend.ids
        return Span(name, settings, trace_id=ids.trace_id(), span_id=ids.span_id(), sampled=False)

    def create_span_from_context(
        self, context: HookContext, parent_span: Span | None = None
    ) -> Span:
        """A running span for one hook event, named after it.

        Data keys become attributes under the conventions' names; what users and models said
        does not (see ``hook_attributes``).
        """
        return self.start_span(
            event_value(context.event_type),
            parent=parent_span,
            attributes=hook_attributes(context),
            trace_id=trace_id_of(context.trace_id),
        )

    def update_span_from_result(self, span: Span, result: HookResult) -> None:
        """Set the status from a hook's result: OK, or ERROR with its text."""
        if result.success:
            span.set_status(Status(StatusCode.OK))
        else:
            span.set_status(Status(StatusCode.ERROR, result.error or "hook failed"))

    def record_exception(self, span: Span, exception: BaseException) -> None:
        """Record the exception in the span and mark it as failed."""
        span.fail(exception)

    def force_flush(self, timeout: float = 30) -> bool:
        """Send everything now; True if all of it was delivered within ``timeout`` seconds."""
        return self._backend.flush(round(timeout * _SECONDS_TO_MS))

    def shutdown(self, timeout: float = 30) -> bool:
        """Flush, then stop; True if everything was delivered within ``timeout`` seconds.

        A manager that shares the process's pipeline only flushes: the pipeline goes on.
        """
        return self._backend.shutdown(round(timeout * _SECONDS_TO_MS))


def _standalone_backend(
    service_name: str,
    config: Config,
    *,
    insecure: bool,
    batch_size: int,
    interval_ms: int,
    exporter: object | None,
) -> TracingBackend:
    from kaizen_otel._standalone import open_standalone

    endpoint = config.endpoints["traces"]
    if not insecure:
        endpoint = dataclasses.replace(
            endpoint, endpoint=endpoint.endpoint.replace("http://", "https://", 1)
        )
    config = dataclasses.replace(
        config,
        batch_size=max(batch_size, 1),
        interval_ms=max(interval_ms, 1),
        endpoints={**config.endpoints, "traces": endpoint},
    )
    transport = None
    if exporter is not None:
        from kaizen_otel._sdk import SpanExporterTransport

        transport = SpanExporterTransport(exporter)
    opened = open_standalone("traces", service_name, config, transport=transport)
    silent = config.disabled or (exporter is None and config.exporters["traces"] == "none")
    return TracingBackend(
        settings=SpanSettings(
            sink=None if silent else opened.sink, limits=config.limits, redactor=opened.redactor
        ),
        sampler=Sampler(config.sampler, config.sampler_argument, warn=opened.warn),
        ids=shared_ids(),
        flush=opened.exporter.flush,
        shutdown=opened.exporter.shutdown,
        seed_style=config.span_style == "seed",
        warn=opened.warn,
    )


def trace_id_of(text: str | None) -> bytes | None:
    """The 16 bytes of a trace id given as 32 hexadecimal digits or a UUID, else None."""
    digits = (text or "").replace("-", "").lower()
    return bytes.fromhex(digits) if _TRACE_ID.fullmatch(digits) and int(digits, 16) else None


def hook_attributes(context: HookContext) -> dict[str, object]:
    """Attributes of one hook event.

    Known keys get the conventions' names.  Keys that hold content are left out, and so is every
    value that is no short string, number or boolean.
    """
    attributes: dict[str, object] = {}
    if context.agent_id:
        attributes[semconv.KAIZEN_AGENT_ID] = context.agent_id
    for source in (context.data, context.metadata):
        if not source:
            continue
        for key, value in source.items():
            if isinstance(value, str):
                if len(value) > _TEXT_MAX:  # longer is content
                    continue
            elif not isinstance(value, (int, float)):
                continue
            if name := _NAMES.get(key, key):
                attributes[name] = value
    return attributes
