"""What an operation's begin and end do to metrics, logs and the audit trail.

What is needed of a call is taken in the call; measurements, log records and audit records are
derived from it later where the service has ``Observations``, and at once where it has none.
Benchmark: ``benchmarks/hook_pair.py``.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from opentelemetry import trace

from kaizen_otel import semconv
from kaizen_otel._observations import VALUE_BYTES, Observation, capture
from kaizen_otel.hooks._measurements import agent_attributes, measure
from kaizen_otel.traces import Span, parent_of, safe_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._export import Signal
    from kaizen_otel.hooks._signals import OpenOperation, SignalSet

_CONTENT: Final = frozenset(
    {
        semconv.GEN_AI_TOOL_CALL_ARGUMENTS,
        semconv.GEN_AI_TOOL_CALL_RESULT,
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.memory.query.text",
        "gen_ai.memory.records",
    }
)
"""Attributes that hold what users, models and tools said (opt-in by the GenAI conventions)."""

_AUDITED: Final = (
    semconv.GEN_AI_OPERATION_NAME, semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_AGENT_ID,
    semconv.GEN_AI_TOOL_NAME, semconv.GEN_AI_TOOL_TYPE, semconv.GEN_AI_TOOL_CALL_ID,
    semconv.GEN_AI_REQUEST_MODEL, semconv.GEN_AI_PROVIDER_NAME, semconv.GEN_AI_CONVERSATION_ID,
    semconv.GEN_AI_MEMORY_STORE_ID, semconv.KAIZEN_AGENT_ID, semconv.KAIZEN_RUN_ID,
    semconv.KAIZEN_DECISION, semconv.SERVER_ADDRESS, semconv.ERROR_TYPE,
)  # fmt: skip


class _Event(NamedTuple):
    """One happening: ``span`` is what its log record belongs to, ``ids`` its audit record."""

    name: str
    attributes: dict[str, object]
    span: Span | None
    ids: tuple[bytes, bytes]
    is_audited: bool
    failed: bool
    time_ns: int


_NO_IDS: Final = (b"", b"")


def audit_attributes(
    opened: OpenOperation,
    *,
    phase: str,
    failed: bool = False,
    found: Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Attributes of the audit record of one operation (OTEP 0267's names).

    ``found`` are the operation's attributes, if they are not those that its span has now.
    """
    if found is None:
        found = opened.span.attributes
    attributes: dict[str, object] = {key: found[key] for key in _AUDITED if key in found}
    attributes["audit.action"] = opened.rule.audit_action
    attributes["kaizen.audit.phase"] = phase
    if opened.intent_id:
        attributes["kaizen.audit.intent_id"] = opened.intent_id
    if opened.target:
        attributes["audit.target.id"] = opened.target
        attributes["audit.target.type"] = opened.rule.operation
    actor = found.get(semconv.GEN_AI_AGENT_NAME) or found.get(semconv.KAIZEN_AGENT_ID)
    if actor:
        attributes["audit.actor.id"] = actor
        attributes["audit.actor.type"] = "service"
    if phase == "outcome":
        attributes["audit.outcome"] = "failure" if failed else "success"
    return attributes


class Effects:
    """Turns begins, ends and events into measurements, log records and audit records."""

    def __init__(self, signals: SignalSet) -> None:
        self._signals = signals
        self._observations = signals.observations
        self.defers_audit = signals.observations is not None and signals.defers_audit

    @cached_property
    def _unrelated(self) -> Span:
        """A span without ids, for what belongs to no trace."""
        span = self._signals.tracing.unsent_span("")
        span.trace_id = span.span_id = b""
        return span

    def visible(self, attributes: Mapping[str, object]) -> Mapping[str, object]:
        """The attributes without content, unless its capture was asked for."""
        if self._signals.capture_content or _CONTENT.isdisjoint(attributes):
            return attributes
        return {key: value for key, value in attributes.items() if key not in _CONTENT}

    def fault(self, kind: str) -> None:
        """Count a begin without an end, or the other way round."""
        if self._signals.metrics is not None:
            self._signals.metrics.record(semconv.PAIRING_FAULTS, 1, {"kaizen.fault": kind})

    def internal_error(self, error: BaseException) -> None:
        """Count and report, at most once a minute, that our own code failed."""
        self.fault("internal_error")
        # Without its text, which may quote a value of the agent's.
        self._signals.warn(f"an operation was not recorded: {type(error).__qualname__}")

    def _not_sent(self, signal: Signal, error: BaseException) -> None:
        self.internal_error(error)
        if self._observations is not None:
            self._observations.lost(signal)

    def _leave(
        self,
        derive: Callable[[Any], object],
        send: Callable[[Any], object],
        value: object,
        *,
        size_bytes: int = 0,
        spans: int = 0,
        logs: int = 0,
    ) -> None:
        observations = self._observations
        if observations is None:
            derive(value)
            send(value)
            return
        if not self._signals.sends_logs:
            logs = 0
        size = VALUE_BYTES + size_bytes
        observations.put(Observation(derive, send, value, size, spans, logs))

    def on_begin(self, opened: OpenOperation) -> None:
        """The start event, the start's audit record, and the number of agents at work."""
        rule, signals = opened.rule, self._signals
        name = rule.audit_start_event
        is_audited = signals.audit is not None and bool(name or rule.intent)
        if is_audited and not self.defers_audit:
            if name:
                self._audit_begin(name, opened, opened.span.attributes, {})
            is_audited = False
        is_logged = rule.start_event is not None and signals.logging is not None
        if is_audited or is_logged or rule.operation == "invoke_agent":
            found = dict(opened.span.attributes)
            size = capture(found)
            value = (opened, found, is_audited)
            self._leave(
                self._derive_begin, self._send_begin, value, size_bytes=size, logs=is_logged
            )

    def _derive_begin(self, value: tuple[OpenOperation, dict[str, object], bool]) -> None:
        opened, found, is_audited = value
        rule, signals = opened.rule, self._signals
        if rule.operation == "invoke_agent" and signals.metrics is not None:
            signals.metrics.record(semconv.AGENT_ACTIVE, 1, agent_attributes(opened))
        if is_audited:
            name = rule.audit_start_event or rule.audit_event or rule.operation
            self._audit_begin(name, opened, found, {"time_ns": opened.span.start_ns})

    def _audit_begin(
        self,
        name: str,
        opened: OpenOperation,
        found: Mapping[str, object],
        when: Mapping[str, int],
    ) -> None:
        signals = self._signals
        assert signals.audit is not None
        # The end's record names it, so that a verifier knows which start has an end.
        opened.intent_id = signals.ids.uuid7()
        signals.audit.emit(
            name,
            audit_attributes(opened, phase="intent", found=found),
            trace_id=opened.span.trace_id,
            span_id=opened.span.span_id,
            resource=signals.resource(),
            **when,
        )

    def _send_begin(self, value: tuple[OpenOperation, dict[str, object], bool]) -> None:
        opened, found, _ = value
        rule, logging = opened.rule, self._signals.logging
        if rule.start_event and logging is not None:
            logging.emit(
                f"agent {opened.target or ''} started".replace("  ", " "),
                event_name=rule.start_event,
                attributes=_event_attributes(found),
                span=opened.span,
                time_ns=opened.span.start_ns,
            )

    def on_end(self, opened: OpenOperation, error: BaseException | str | None) -> None:
        """End the span; durations, counts, the end event, the exception event, the outcome."""
        rule, signals, span = opened.rule, self._signals, opened.span
        size = span.close()
        opened.is_sent = size >= 0
        opened.failed = error is not None
        logs = 0
        if signals.logging is not None:
            if isinstance(error, BaseException) and opened.logged_error is not error:
                opened.exception_type = semconv.exception_type(error)
                if signals.capture_content:
                    opened.exception_message = safe_text(error)
                logs = 1
            logs += rule.end_event is not None
        if opened.logged_error is not None:
            # It would keep the frames of the traceback alive.
            opened.logged_error = None
        if rule.audit_event and signals.audit is not None and not self.defers_audit:
            self._audit_end(opened, {})
        self._leave(
            self._derive_end,
            self._send_end,
            opened,
            size_bytes=max(size, 0),
            spans=opened.is_sent,
            logs=logs,
        )

    def _derive_end(self, opened: OpenOperation) -> None:
        if self._signals.prices is not None:
            from kaizen_otel.hooks._costs import charge

            charge(opened, self._signals.prices, self._signals.metrics)
        if self._signals.metrics is not None:
            measure(opened, self._signals, self._signals.metrics)
        if self.defers_audit and opened.rule.audit_event and self._signals.audit is not None:
            assert opened.span.end_ns is not None
            self._audit_end(opened, {"time_ns": opened.span.end_ns})

    def _audit_end(self, opened: OpenOperation, when: Mapping[str, int]) -> None:
        signals, name = self._signals, opened.rule.audit_event
        assert signals.audit is not None
        assert name is not None
        signals.audit.emit(
            name,
            audit_attributes(opened, phase="outcome", failed=opened.failed),
            trace_id=opened.span.trace_id,
            span_id=opened.span.span_id,
            resource=signals.resource(),
            **when,
        )

    def _send_end(self, opened: OpenOperation) -> None:
        if opened.is_sent:
            try:
                opened.span.send()
            except Exception as error:  # noqa: BLE001 - ours is counted, and the log goes on
                self._not_sent("traces", error)
        if self._signals.logging is not None:
            try:
                self._log_end(opened)
            except Exception as error:  # noqa: BLE001 - ours is counted
                self._not_sent("logs", error)

    def on_event(
        self,
        name: str,
        attributes: Mapping[str, object],
        *,
        span: Span | None,
        audit: bool,
        error: BaseException | str | None,
    ) -> None:
        """A log record, and an audit record if it is one of those."""
        signals = self._signals
        merged = dict(attributes)
        if error is not None:
            merged[semconv.ERROR_TYPE] = semconv.error_type(error)
        is_audited, is_logged = audit and signals.audit is not None, signals.logging is not None
        ids = (span.trace_id, span.span_id) if span is not None else _NO_IDS
        failed, time_ns, size = error is not None, signals.tracing.time_ns(), 0
        if self._observations is not None:
            size = capture(merged)
            # The thread that derives has another current span.
            span = self._current() if span is None else span
        event = _Event(name, merged, span, ids, is_audited, failed, time_ns)
        if is_audited and not self.defers_audit:
            self._audit_event(event, {})
            event = event._replace(is_audited=False)
            is_audited = False
        if is_logged or is_audited:
            self._leave(
                self._derive_event, self._send_event, event, size_bytes=size, logs=is_logged
            )

    def _current(self) -> Span:
        """Who is current in the caller's context, as far as a log record needs it."""
        found = trace.get_current_span()
        if isinstance(found, Span):
            return found
        context = parent_of()
        if context is None:
            return self._unrelated
        span = self._signals.tracing.unsent_span("")
        span.trace_id = context.trace_id.to_bytes(16, "big")
        span.span_id = context.span_id.to_bytes(8, "big")
        span.flags = int(context.trace_flags)
        return span

    def _derive_event(self, event: _Event) -> None:
        if event.is_audited:
            self._audit_event(event, {"time_ns": event.time_ns})

    def _audit_event(self, event: _Event, when: Mapping[str, int]) -> None:
        signals = self._signals
        assert signals.audit is not None
        attributes = {
            "audit.action": "EXECUTE",
            "audit.outcome": "failure" if event.failed else "success",
            **event.attributes,
        }
        signals.audit.emit(
            event.name,
            attributes,
            trace_id=event.ids[0],
            span_id=event.ids[1],
            resource=signals.resource(),
            **when,
        )

    def _send_event(self, event: _Event) -> None:
        if self._signals.logging is not None:
            self._signals.logging.emit(
                event.name,
                severity="ERROR" if event.failed else "INFO",
                event_name=event.name,
                attributes=event.attributes,
                span=event.span,
                time_ns=event.time_ns,
            )

    def _log_end(self, opened: OpenOperation) -> None:
        rule, span, logging = opened.rule, opened.span, self._signals.logging
        assert logging is not None
        if opened.exception_type:
            is_model = rule.exception_event == semconv.EVENT_MODEL_EXCEPTION
            attributes = _event_attributes(span.attributes)
            attributes[semconv.EXCEPTION_TYPE] = opened.exception_type
            if self._signals.capture_content:
                attributes[semconv.EXCEPTION_MESSAGE] = opened.exception_message
            logging.emit(
                f"{semconv.span_name(rule, opened.target)} failed",
                severity="WARNING" if is_model else "ERROR",
                event_name=rule.exception_event,
                attributes=attributes,
                span=span,
                time_ns=span.end_ns,
            )
        if rule.end_event:
            verb = "failed" if opened.failed else "finished"
            logging.emit(
                f"agent {opened.target or ''} {verb}".replace("  ", " "),
                severity="ERROR" if opened.failed else "INFO",
                event_name=rule.end_event,
                attributes=_event_attributes(span.attributes),
                span=span,
                time_ns=span.end_ns,
            )


def _event_attributes(found: Mapping[str, object]) -> dict[str, object]:
    keys = (
        semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_CONVERSATION_ID, semconv.KAIZEN_AGENT_ID,
        semconv.KAIZEN_RUN_ID, semconv.GEN_AI_TOOL_NAME, semconv.GEN_AI_REQUEST_MODEL,
        semconv.ERROR_TYPE,
    )  # fmt: skip
    return {key: found[key] for key in keys if key in found}
