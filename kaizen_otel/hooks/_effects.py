"""What an operation's begin and end do to metrics, logs and the audit trail."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel import semconv
from kaizen_otel.traces import safe_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel.hooks._signals import OpenOperation, SignalSet
    from kaizen_otel.semconv import Instrument
    from kaizen_otel.traces import Span

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


def audit_attributes(
    opened: OpenOperation, *, phase: str, failed: bool = False
) -> dict[str, object]:
    """Attributes of the audit record of one operation (OTEP 0267's names)."""
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

    def visible(self, attributes: Mapping[str, object]) -> Mapping[str, object]:
        """The attributes without content, unless its capture was asked for."""
        if self._signals.capture_content or not any(key in _CONTENT for key in attributes):
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

    def on_begin(self, opened: OpenOperation) -> None:
        """The start event, the start's audit record, and the number of agents at work."""
        rule, signals = opened.rule, self._signals
        if rule.operation == "invoke_agent" and signals.metrics is not None:
            signals.metrics.record(semconv.AGENT_ACTIVE, 1, _agent(opened))
        if rule.start_event and signals.logging is not None:
            signals.logging.emit(
                f"agent {opened.target or ''} started".replace("  ", " "),
                event_name=rule.start_event,
                attributes=_event_attributes(opened),
                span=opened.span,
            )
        if rule.audit_start_event and signals.audit is not None:
            # The end's record names it, so that a verifier knows which start has an end.
            opened.intent_id = signals.ids.uuid7()
            signals.audit.emit(
                rule.audit_start_event,
                audit_attributes(opened, phase="intent"),
                trace_id=opened.span.trace_id,
                span_id=opened.span.span_id,
                resource=signals.resource(),
            )

    def on_end(self, opened: OpenOperation, error: BaseException | str | None) -> None:
        """Durations, counts, the end event, the exception event and the outcome's record."""
        rule, signals = opened.rule, self._signals
        if signals.metrics is not None:
            self._measure(opened)
        if signals.logging is not None:
            self._log_end(opened, error)
        if rule.audit_event and signals.audit is not None:
            signals.audit.emit(
                rule.audit_event,
                audit_attributes(opened, phase="outcome", failed=error is not None),
                trace_id=opened.span.trace_id,
                span_id=opened.span.span_id,
                resource=signals.resource(),
            )

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
        if signals.logging is not None:
            severity = "INFO" if error is None else "ERROR"
            signals.logging.emit(
                name, severity=severity, event_name=name, attributes=merged, span=span
            )
        if audit and signals.audit is not None:
            merged.setdefault("audit.action", "EXECUTE")
            merged.setdefault("audit.outcome", "success" if error is None else "failure")
            signals.audit.emit(
                name,
                merged,
                trace_id=span.trace_id if span else b"",
                span_id=span.span_id if span else b"",
                resource=signals.resource(),
            )

    def _measure(self, opened: OpenOperation) -> None:
        metrics, rule, span = self._signals.metrics, opened.rule, opened.span
        assert metrics is not None
        found = span.attributes
        attributes = {key: found[key] for key in rule.metric_attributes if key in found}
        if rule.duration and rule.operation not in {"invoke_agent", "invoke_workflow"}:
            attributes[semconv.GEN_AI_OPERATION_NAME] = rule.operation
        base = dict(attributes)
        if semconv.ERROR_TYPE in found:
            attributes[semconv.ERROR_TYPE] = found[semconv.ERROR_TYPE]
        # A metric that is reported with its span has the span's own duration (conventions).
        for instrument in self._instruments(rule.duration, rule.duration_latest):
            metrics.record(instrument, span.duration_ns / 1e9, attributes)
        if rule.operation == "invoke_agent":
            metrics.record(semconv.AGENT_ACTIVE, -1, _agent(opened))
            if self._signals.vocabulary != "default":
                calls = opened.calls
                tools, models = calls.get("execute_tool", 0), calls.get("chat", 0)
                metrics.record(semconv.INVOKE_AGENT_TOOL_CALLS, tools, base)
                metrics.record(semconv.INVOKE_AGENT_INFERENCE_CALLS, models, base)
        # A whole run may carry the sum of its calls: only the calls themselves are counted.
        if rule.kind == semconv.CLIENT:
            self._count_tokens(base, attributes, found)

    def _instruments(
        self, default: tuple[Instrument, ...], latest: tuple[Instrument, ...]
    ) -> tuple[Instrument, ...]:
        vocabulary = self._signals.vocabulary
        if vocabulary == "dup":
            return tuple(dict.fromkeys(default + latest))
        return default if vocabulary == "default" else latest

    def _count_tokens(
        self, base: Mapping[str, object], attributes: Mapping[str, object],
        found: Mapping[str, object],
    ) -> None:  # fmt: skip
        metrics, vocabulary = self._signals.metrics, self._signals.vocabulary
        assert metrics is not None
        for kind, key, counter, histogram in (
            ("input", semconv.GEN_AI_USAGE_INPUT_TOKENS, semconv.INFERENCE_INPUT_TOKENS,
             semconv.INFERENCE_OPERATION_INPUT_TOKENS),
            ("output", semconv.GEN_AI_USAGE_OUTPUT_TOKENS, semconv.INFERENCE_OUTPUT_TOKENS,
             semconv.INFERENCE_OPERATION_OUTPUT_TOKENS),
        ):  # fmt: skip
            tokens = found.get(key)
            if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
                continue
            if vocabulary in {"default", "dup"}:
                metrics.record(
                    semconv.TOKEN_USAGE, tokens, {**base, semconv.GEN_AI_TOKEN_TYPE: kind}
                )
            if vocabulary in {"latest", "dup"}:
                metrics.record(counter, tokens, {**base, semconv.GEN_AI_TOKEN_MODALITY: "text"})
                metrics.record(histogram, tokens, attributes)

    def _log_end(self, opened: OpenOperation, error: BaseException | str | None) -> None:
        signals, rule = self._signals, opened.rule
        logging = signals.logging
        assert logging is not None
        if isinstance(error, BaseException) and opened.logged_error is not error:
            logging.emit(
                f"{semconv.span_name(rule, opened.target)} failed",
                severity="WARNING" if rule.exception_event == semconv.EVENT_MODEL_EXCEPTION
                else "ERROR",
                event_name=rule.exception_event,
                attributes={
                    **_event_attributes(opened),
                    semconv.EXCEPTION_TYPE: semconv.exception_type(error),
                    **(
                        {semconv.EXCEPTION_MESSAGE: safe_text(error)}
                        if signals.capture_content
                        else {}
                    ),
                },
                span=opened.span,
            )  # fmt: skip
        if rule.end_event:
            verb = "finished" if error is None else "failed"
            logging.emit(
                f"agent {opened.target or ''} {verb}".replace("  ", " "),
                severity="INFO" if error is None else "ERROR",
                event_name=rule.end_event,
                attributes=_event_attributes(opened),
                span=opened.span,
            )


def _agent(opened: OpenOperation) -> dict[str, object]:
    return {semconv.GEN_AI_AGENT_NAME: opened.target} if opened.target else {}


def _event_attributes(opened: OpenOperation) -> dict[str, object]:
    found = opened.span.attributes
    keys = (
        semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_CONVERSATION_ID, semconv.KAIZEN_AGENT_ID,
        semconv.KAIZEN_RUN_ID, semconv.GEN_AI_TOOL_NAME, semconv.GEN_AI_REQUEST_MODEL,
        semconv.ERROR_TYPE,
    )  # fmt: skip
    return {key: found[key] for key in keys if key in found}
