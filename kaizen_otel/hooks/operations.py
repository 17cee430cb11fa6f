"""The one internal seam: ``begin`` and ``end`` with explicit ids.

Hooks, integrations and decorators all call it.  What an operation becomes in each signal is in
one table, ``semconv.RULES``.  Nothing here raises into the host or blocks it, with one exception
that its user chose: with ``on_failure=block_action`` an operation with an intent does not run
before its intent is durable, and ``AuditUnavailableError`` says so.  Whoever may not block begins
with ``confirm=False`` and awaits ``confirm_async``.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final, NamedTuple

from opentelemetry import context as otel_context
from opentelemetry import trace

from kaizen_otel import semconv
from kaizen_otel.errors import AuditUnavailableError
from kaizen_otel.hooks._effects import Effects, audit_attributes
from kaizen_otel.hooks._signals import OpenOperation, OpenOperations, SignalSet

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Mapping, Sequence

    from kaizen_otel.audit_trail import Receipt
    from kaizen_otel.semconv import Instrument, OperationRule
    from kaizen_otel.traces import Span

__all__ = ["OpenOperations", "Operations", "SignalSet"]

# A disk that hangs must not hang the agent for ever: after this the tool is refused.
_INTENT_TIMEOUT_S: Final = 5.0
_EMPTY: Final[Mapping[str, object]] = {}


class _Intent(NamedTuple):
    """An intent that must be durable before its operation may run."""

    receipt: Receipt
    operation: str
    target: str | None


class Operations:
    """The seam of one service."""

    def __init__(self, signals: SignalSet, opened: OpenOperations) -> None:
        self._signals = signals
        self._open = opened
        self._effects = Effects(signals)
        # Apart from the operations under way: who abandons one does not set it free to run.
        self._unconfirmed: dict[Hashable, _Intent] = {}

    def begin(
        self,
        operation: str,
        id: Hashable,  # noqa: A002 - the seam's published name
        parent_id: Hashable | None = None,
        attributes: Mapping[str, object] | None = None,
        *,
        name: str | None = None,
        trace_id: bytes | None = None,
        links: Sequence[tuple[trace.SpanContext, Mapping[str, object]]] = (),
        confirm: bool = True,
    ) -> Span:
        """Begin an operation and return its running span.

        ``name`` is the target (the agent's, tool's or model's name).  Without ``parent_id`` the
        current OpenTelemetry span is the parent.  An id that is under way already is counted as
        a fault, and the older operation is ended with a status.  Raises
        ``AuditUnavailableError`` only with ``on_failure=block_action``; with ``confirm=False`` the
        caller must confirm before the side effect, and end the operation if that fails.
        """
        try:
            span = self._begin(operation, id, parent_id, attributes, name, trace_id, links)
        except Exception as error:
            # Ours is counted and reported; it is raised only where nothing may run unaudited.
            self._effects.internal_error(error)
            if self.blocks_actions and semconv.rule_for(operation).intent:
                raise refusal(operation, name) from error
            return self._signals.tracing.unsent_span(operation)
        if confirm and id in self._unconfirmed:
            try:
                self.confirm(id)
            except BaseException as refused:
                self.end(id, None, refused)
                raise
        return span

    @property
    def blocks_actions(self) -> bool:
        """Whether what has an intent must not run before the intent is durable."""
        return self._signals.block_action and self._signals.audit is not None

    def is_unconfirmed(self, id: Hashable) -> bool:  # noqa: A002 - the seam's published name
        """Whether the operation must not run before ``confirm`` or ``confirm_async``."""
        return id in self._unconfirmed

    def confirm(self, id: Hashable) -> None:  # noqa: A002 - the seam's published name
        """Wait until the intent is durable, 5 seconds at most; else ``AuditUnavailableError``."""
        intent = self._unconfirmed.pop(id, None)
        if intent is not None and not intent.receipt.wait(_INTENT_TIMEOUT_S):
            raise refusal(intent.operation, intent.target)

    async def confirm_async(self, id: Hashable) -> None:  # noqa: A002 - as above
        """Do as ``confirm`` does without blocking an asyncio loop; on another one it blocks."""
        intent = self._unconfirmed.pop(id, None)
        if intent is not None and not await intent.receipt.wait_async(_INTENT_TIMEOUT_S):
            raise refusal(intent.operation, intent.target)

    def _begin(
        self,
        operation: str,
        id: Hashable,  # noqa: A002 - as above
        parent_id: Hashable | None,
        attributes: Mapping[str, object] | None,
        name: str | None,
        trace_id: bytes | None,
        links: Sequence[tuple[trace.SpanContext, Mapping[str, object]]],
    ) -> Span:
        rule = semconv.rule_for(operation)
        known = dict(attributes or _EMPTY)
        known[semconv.GEN_AI_OPERATION_NAME] = operation
        if name and rule.target:
            known[rule.target] = name
        target = name or _text(known.get(rule.target or ""))
        parent = self._open.by_id.get(parent_id) if parent_id is not None else None
        span = self._signals.tracing.start_span(
            self._span_name(rule, target, "pre"),
            parent=parent.span if parent else None,
            kind=rule.kind,
            attributes=self._visible(known),
            trace_id=trace_id,
            links=links,
        )
        opened = OpenOperation(span, rule, parent_id, target)
        if self._signals.prices is not None:
            from kaizen_otel.hooks._costs import join_run

            join_run(opened, parent)
        if rule.intent and not self._effects.defers_audit:
            self._declare_intent(id, opened)
        with self._open.lock:
            older = self._open.by_id.get(id)
            self._open.by_id[id] = opened
        if older is not None:
            self._effects.fault("begin_twice")
            self._finish(older, _EMPTY, "begin_twice")
        self._count_call(parent, rule)
        self._effects.on_begin(opened)
        return span

    def end(
        self,
        id: Hashable,  # noqa: A002 - the seam's published name
        attributes: Mapping[str, object] | None = None,
        error: BaseException | str | None = None,
    ) -> None:
        """End an operation.

        ``error`` is an exception or a short code.  An id that is not under way is counted as a
        fault.
        """
        with self._open.lock:
            opened = self._open.by_id.pop(id, None)
        if opened is None:
            self._effects.fault("end_without_begin")
            return
        try:
            self._finish(opened, attributes or _EMPTY, error)
        except Exception as failure:  # noqa: BLE001 - ours is counted and reported, never raised
            self._effects.internal_error(failure)

    def annotate(
        self,
        id: Hashable,  # noqa: A002 - the seam's published name
        attributes: Mapping[str, object],
    ) -> None:
        """Set attributes on an operation under way; nothing if it is not."""
        with self._open.lock:
            opened = self._open.by_id.get(id)
        if opened is not None:
            opened.span.set_attributes(self._visible(attributes))

    def is_open(self, id: Hashable) -> bool:  # noqa: A002 - the seam's published name
        """Whether the operation is under way."""
        return id in self._open.by_id

    def span(self, id: Hashable) -> Span | None:  # noqa: A002 - the seam's published name
        """The span of an operation under way."""
        opened = self._open.by_id.get(id)
        return opened.span if opened else None

    @contextlib.contextmanager
    def current(self, id: Hashable) -> Generator[Span | None]:  # noqa: A002 - as above
        """Make the operation's span the current one inside, so that others nest under it."""
        span = self.span(id)
        if span is None:
            yield None
            return
        token = otel_context.attach(trace.set_span_in_context(span))
        try:
            yield span
        finally:
            otel_context.detach(token)

    def event(
        self,
        name: str,
        attributes: Mapping[str, object] | None = None,
        *,
        parent_id: Hashable | None = None,
        audit: bool = False,
        error: BaseException | str | None = None,
    ) -> None:
        """One happening without a duration: a log record, and with ``audit`` an audit record."""
        span = self.span(parent_id) if parent_id is not None else None
        visible = self._visible(attributes) if attributes else _EMPTY
        self._effects.on_event(name, visible, span=span, audit=audit, error=error)

    def count(self, instrument: Instrument, attributes: Mapping[str, object]) -> None:
        """Add one to a declared counter."""
        if self._signals.metrics is not None:
            self._signals.metrics.record(instrument, 1, attributes)

    def counter(
        self, instrument: Instrument, attributes: Mapping[str, object]
    ) -> Callable[[float], object]:
        """A declared counter with these attributes, to be called with what is added."""
        if self._signals.metrics is None:
            return _ignore
        return self._signals.metrics.bind(instrument, instrument.kind, attributes).record

    def abandon(self, parent_id: Hashable, reason: str) -> int:
        """End every open descendant of an operation with ``error.type`` = ``reason``.

        Returns how many there were; each is counted as a fault.
        """
        abandoned: list[OpenOperation] = []
        with self._open.lock:
            # Innermost last, so that children end before their parents.
            frontier: list[Hashable] = [parent_id]
            while frontier:
                above = frontier.pop()
                below = [k for k, v in self._open.by_id.items() if v.parent_id == above]
                abandoned.extend(self._open.by_id.pop(key) for key in below)
                frontier.extend(below)
        for opened in reversed(abandoned):
            self._effects.fault("begin_without_end")
            self._finish(opened, _EMPTY, reason)
        return len(abandoned)

    def _finish(
        self,
        opened: OpenOperation,
        attributes: Mapping[str, object],
        error: BaseException | str | None,
    ) -> None:
        span = opened.span
        if attributes:
            span.set_attributes(self._visible(attributes))
        if error is not None:
            span.fail(error, with_message=self._signals.capture_content)
        if self._signals.seed_style and opened.rule.hook_pair:
            post = self._signals.tracing.start_span(
                self._span_name(opened.rule, opened.target, "post"),
                parent=span,
                attributes=span.attributes,
            )
            post.end()
        self._effects.on_end(opened, error)
        if isinstance(error, BaseException):
            with self._open.lock:
                parent = self._open.by_id.get(opened.parent_id)
            if parent is not None:
                parent.logged_error = error

    def _declare_intent(self, id: Hashable, opened: OpenOperation) -> None:  # noqa: A002 - as above
        signals = self._signals
        if signals.audit is None:
            return
        opened.intent_id = signals.ids.uuid7()
        receipt = signals.audit.emit(
            opened.rule.audit_event or opened.rule.operation,
            audit_attributes(opened, phase="intent"),
            trace_id=opened.span.trace_id,
            span_id=opened.span.span_id,
            resource=signals.resource(),
        )
        if signals.block_action:
            self._unconfirmed[id] = _Intent(receipt, opened.rule.operation, opened.target)

    def _count_call(self, parent: OpenOperation | None, rule: OperationRule) -> None:
        # Own calls only: those of a nested agent belong to the nested agent (GenAI conventions,
        # gen_ai.invoke_agent.tool_calls).
        by_id = self._open.by_id
        while parent is not None and parent.rule.operation != "invoke_agent":
            parent = by_id.get(parent.parent_id)
        if parent is not None:
            calls = parent.calls
            parent.calls = {**calls, rule.operation: calls.get(rule.operation, 0) + 1}

    def _visible(self, attributes: Mapping[str, object]) -> Mapping[str, object]:
        return self._effects.visible(attributes)

    def _span_name(self, rule: OperationRule, target: str | None, phase: str) -> str:
        if not self._signals.seed_style or not rule.hook_pair:
            return semconv.span_name(rule, target if rule.target else None)
        with_target = rule.hook_pair in {"tool_use", "llm_call"} and target
        return f"{phase}_{rule.hook_pair}" + (f":{target}" if with_target else "")


def refusal(operation: str, target: str | None) -> AuditUnavailableError:
    """The error for an operation that must not run."""
    return AuditUnavailableError(
        f"{operation} {target or ''} was NOT run: its audit record could not be made durable "
        "(KAIZEN_OTEL_ON_FAILURE=block_action): free space in KAIZEN_OTEL_SPOOL_DIR or mend the "
        "disk"
    )


def _ignore(_value: float) -> None:
    """Take a measurement of metrics that are off."""


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
