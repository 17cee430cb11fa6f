"""The built-in hook: hook events become operations, correlated by us.

Kaizen gives every event a new trace id, so pairing by it never works; what pairs a PRE with its
POST here is the run (its trace id if the caller hands the same one to all events, else the
agent), the event pair, the tool or model, and a call id where there is one.  Two calls of one
tool without call ids are paired in the order in which they began.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from kaizen_otel import semconv
from kaizen_otel.errors import ConfigError
from kaizen_otel.hook_types import HookEvent, HookResult, event_value
from kaizen_otel.hooks.operations import OpenOperations, Operations, SignalSet
from kaizen_otel.tracing import hook_attributes, trace_id_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kaizen_otel.hook_types import AnyEvent, HookContext
    from kaizen_otel.traces import Span
    from kaizen_otel.tracing import TracingManager

_OPERATIONS: Final = {
    "agent_loop": "invoke_agent",
    "tool_use": "execute_tool",
    "llm_call": "chat",
    "memory_load": "search_memory",
    "memory_save": "upsert_memory",
    "memory_write": "upsert_memory",
    "specialist_invoke": "invoke_agent",
    "plan_generation": "plan",
    "checkpoint_save": semconv.EVENT_CHECKPOINT_SAVE,
    "permission_check": "kaizen.permission.check",
    "interrupt": semconv.EVENT_INTERRUPT,
}
_TARGETS: Final = {"tool_use": "tool_name", "llm_call": "model", "specialist_invoke": "specialist"}
_LOOP: Final = "agent_loop"
_PLANS_MAX: Final = 1024
_Key = tuple[Hashable, ...]


class _Plan(NamedTuple):
    """What one event is to us."""

    event: str
    phase: str
    pair: str
    operation: str
    target: str
    is_wanted: bool
    add: Callable[[float], object]


class TelemetryHook:
    """Turns every hook event into spans, metrics, logs and audit records.

    Register it on our ``HookManager`` or on Kaizen's own.  ``events_to_trace`` limits it to
    those events (their names or ``HookEvent`` members); naming one of a pair is naming both.
    """

    name: ClassVar[str] = "telemetry_hook"

    def __init__(
        self, operations: Operations, events_to_trace: Sequence[AnyEvent] | None = None
    ) -> None:
        self.operations = operations
        self._filter = _pairs_of(events_to_trace)
        self._lock = threading.Lock()
        # Operations under way by pairing key, oldest first.
        self._under_way: dict[_Key, list[Hashable]] = {}
        self._loops: dict[Hashable, list[Hashable]] = {}
        # What an event is, worked out once for each.
        self._plans: dict[object, _Plan] = {}

    @property
    def events(self) -> list[object]:
        """The events to be registered for: Kaizen's own members where Kaizen is loaded."""
        return list(_kaizen_events() or HookEvent)

    async def handle(self, context: HookContext) -> HookResult:
        """React to one event; never raises."""
        return self.on_event(context)

    def on_event(self, context: HookContext) -> HookResult:
        """``handle`` for synchronous callers."""
        plan = self._plans.get(context.event_type) or self._plan(context.event_type)
        if not plan.is_wanted:
            return _result({"span_created": False, "reason": "event_filtered"})
        plan.add(1)
        if plan.event == "pre_interrupt":
            mode = context.data.get("mode")
            known = {semconv.KAIZEN_INTERRUPT_MODE: mode} if isinstance(mode, str) else {}
            self.operations.count(semconv.INTERRUPTS, known)
        if plan.phase == "pre":
            return self._begin(context, plan)
        if plan.phase == "post":
            return self._end(context, plan)
        run = self._run(context)
        self.operations.event(plan.event, hook_attributes(context), parent_id=self._loop_of(run))
        return _result({"span_created": False, "event": plan.event})

    def _plan(self, event_type: AnyEvent) -> _Plan:
        event = event_value(event_type)
        phase, pair = _split(event)
        # Names of custom events are the user's and may be many: as a metric they are one.
        known = event if pair in _OPERATIONS else "custom"
        plan = _Plan(
            event=event,
            phase=phase,
            pair=pair,
            operation=_OPERATIONS.get(pair, pair),
            target=_TARGETS.get(pair, ""),
            is_wanted=self._filter is None or pair in self._filter,
            add=self.operations.counter(semconv.HOOK_EVENTS, {semconv.KAIZEN_HOOK_EVENT: known}),
        )
        if len(self._plans) >= _PLANS_MAX:
            self._plans.clear()
        self._plans[event_type] = plan
        return plan

    def _run(self, context: HookContext) -> Hashable:
        # One run is one trace id that several events share; Kaizen's own never repeat, so the
        # agent stands for its run as soon as no loop is open under the event's trace id.
        trace_id, loops = context.trace_id, self._loops
        if trace_id and (trace_id in loops or not loops.get(context.agent_id)):
            return trace_id
        return context.agent_id

    def _loop_of(self, run: Hashable) -> Hashable | None:
        with self._lock:
            loops = self._loops.get(run)
            return loops[-1] if loops else None

    def _begin(self, context: HookContext, plan: _Plan) -> HookResult:
        run = self._run(context)
        key = (run, plan.pair, *_identity(context, plan))
        number = object()
        span = self._start(context, plan, number, run)
        with self._lock:
            self._under_way.setdefault(key, []).append(number)
            if plan.pair == _LOOP:
                # A run without a shared trace id is found by its agent.
                for owner in {run, context.agent_id}:
                    self._loops.setdefault(owner, []).append(number)
        return HookResult(
            True,  # noqa: FBT003 - the first field of a result says whether it is a success
            {
                "span_created": True,
                "span_name": span.name,
                "span_id": span.span_id.hex(),
                "trace_id": span.trace_id.hex(),
                "agent_id": context.agent_id,
            },
        )

    def _start(self, context: HookContext, plan: _Plan, number: object, run: Hashable) -> Span:
        target = context.data.get(plan.target) if plan.target else None
        name = target if isinstance(target, str) else None
        if plan.pair == _LOOP:
            name = _agent_name(context)
        trace_id = context.trace_id
        return self.operations.begin(
            plan.operation,
            number,
            self._loop_of(run),
            hook_attributes(context),
            name=name,
            trace_id=trace_id_of(trace_id) if trace_id else None,
        )

    def _end(self, context: HookContext, plan: _Plan) -> HookResult:
        number = self._take(context, plan)
        attributes, error = hook_attributes(context), _error(context)
        if number is None:
            # A POST whose PRE was never seen: a span without a length, counted as a fault.
            self.operations.end(("hook", id(self), "unseen"))
            created = object()
            span = self._start(context, plan, created, self._run(context))
            self.operations.end(created, error=error)
            return _result({"span_created": True, "span_name": span.name, "orphan": True})
        span_or_none = self.operations.span(number)
        if plan.pair == _LOOP:
            self.operations.abandon(number, "orphaned")
            self._forget_ended()
        self.operations.end(number, attributes, error)
        if span_or_none is None:
            return _result({"span_updated": False})
        return HookResult(
            True,  # noqa: FBT003 - as above
            {
                "span_updated": True,
                "span_name": span_or_none.name,
                "span_id": span_or_none.span_id.hex(),
                "trace_id": span_or_none.trace_id.hex(),
                "agent_id": context.agent_id,
                "duration_ms": span_or_none.duration_ns / 1e6,
            },
        )

    def _take(self, context: HookContext, plan: _Plan) -> Hashable | None:
        """Take what this POST belongs to out of the books; the oldest where several would do."""
        identity, pair = _identity(context, plan), plan.pair
        with self._lock:
            for owner in (self._run(context), context.trace_id, context.agent_id):
                key = (owner, pair, *identity)
                waiting = self._under_way.get(key)
                if waiting:
                    number = waiting.pop(0)
                    if not waiting:
                        del self._under_way[key]
                    break
            else:
                if pair != _LOOP:
                    return None
                # Its trace id was never seen (Kaizen makes a new one for every event).
                number = next(iter(self._loops.get(context.agent_id, ())), None)
                if number is None:
                    return None
                _remove(self._under_way, number)
            if pair == _LOOP:
                _remove(self._loops, number)
        return number

    def _forget_ended(self) -> None:
        # What a loop abandoned is no longer open and must not pair with a later POST.
        with self._lock:
            is_open = self.operations.is_open
            for number in [n for waiting in self._under_way.values() for n in waiting]:
                if not is_open(number):
                    _remove(self._under_way, number)


def _remove(books: dict[Any, list[Hashable]], number: Hashable) -> None:
    for key in [key for key, numbers in books.items() if number in numbers]:
        books[key].remove(number)
        if not books[key]:
            del books[key]


class TracingHook(TelemetryHook):
    """The seed's name: a telemetry hook that only traces, over one ``TracingManager``."""

    name: ClassVar[str] = "tracing_hook"

    def __init__(
        self,
        tracing_manager: TracingManager,
        events_to_trace: Sequence[AnyEvent] | None = None,
    ) -> None:
        self.tracing_manager = tracing_manager
        self.events_to_trace = list(events_to_trace or ())
        super().__init__(
            Operations(
                SignalSet(
                    tracing=tracing_manager,
                    ids=tracing_manager.ids,
                    seed_style=tracing_manager.seed_style,
                    warn=tracing_manager.warn,
                ),
                OpenOperations(),
            ),
            events_to_trace,
        )


def _pairs_of(events: Sequence[AnyEvent] | None) -> frozenset[str] | None:
    if not events:
        return None
    pairs: set[str] = set()
    for event in events:
        try:
            value = event_value(event)
        except ValueError as error:
            raise ConfigError(f"events_to_trace: {error}") from error
        phase, pair = _split(value)
        if not phase and pair not in _OPERATIONS and "." not in pair:
            raise ConfigError(
                f"events_to_trace: {value!r} is no event: use names such as 'pre_tool_use' or "
                "HookEvent.custom('billing.checked')"
            )
        pairs.add(pair)
    return frozenset(pairs)


def _split(event: str) -> tuple[str, str]:
    for phase in ("pre", "post"):
        if event.startswith(f"{phase}_"):
            return phase, event.removeprefix(f"{phase}_")
    return "", event


def _identity(context: HookContext, plan: _Plan) -> tuple[Hashable, ...]:
    data, metadata = context.data, context.metadata
    target = data.get(plan.target) if plan.target else None
    found: tuple[Hashable, ...] = (target,) if isinstance(target, str) else ()
    for key in ("tool_call_id", "call_id"):
        value = data.get(key) or (metadata.get(key) if metadata else None)
        if value is not None and isinstance(value, (str, int)):
            return (*found, ("call", value))
    return found


def _agent_name(context: HookContext) -> str | None:
    name = context.data.get("agent_name") or context.metadata.get("agent_name")
    if isinstance(name, str) and name:
        return name
    # Kaizen's default id is an address: it may be no name, for names become metric attributes.
    agent_id = context.agent_id
    return None if agent_id.removeprefix("agent_").isdigit() else agent_id or None


def _error(context: HookContext) -> str | BaseException | None:
    error = context.data.get("error") or context.data.get("exception")
    if isinstance(error, BaseException):
        return error
    kind = context.data.get("error_type")
    if error or context.data.get("success") is False:
        return kind if isinstance(kind, str) and kind else "_OTHER"
    return None


def _result(data: dict[str, object]) -> HookResult:
    return HookResult(success=True, data=data)


def _kaizen_events() -> list[object]:
    import sys

    module = sys.modules.get("kaizen.core.autonomy.hooks.types")
    return list(module.HookEvent) if module is not None else []
