"""The hook manager: register, trigger, a deadline for each hook, and counted failures."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Final, cast

from kaizen_otel.errors import ConfigError
from kaizen_otel.hook_types import HookContext, HookEvent, HookPriority, HookResult, event_value
from kaizen_otel.traces import safe_text

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping

    from kaizen_otel.hook_types import AnyEvent

    _Coroutine = CoroutineType[Any, Any, Any]

DEFAULT_TIMEOUT_S: Final = 0.5
_NAMES_MAX: Final = 1024


class _Counts:
    __slots__ = ("calls", "failures", "max_ms", "timeouts", "total_ms")

    def __init__(self) -> None:
        self.calls = self.failures = self.timeouts = 0
        self.total_ms = self.max_ms = 0.0


class _Registration:
    __slots__ = ("call", "counts", "handler", "name", "priority")

    def __init__(
        self, name: str, handler: object, call: Callable[[HookContext], object], priority: int
    ) -> None:
        self.name = name
        self.handler = handler
        self.call = call
        self.priority = priority
        self.counts = _Counts()


class HookManager:
    """Calls hooks for events.  A failing hook never reaches the agent; it is counted.

    Handlers are objects with ``handle(context)`` or plain functions, synchronous or not.  A
    synchronous handler runs in the caller's thread and cannot be cut off.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hooks: dict[str, list[_Registration]] = {}
        # Asking an enumeration's member for its value costs more than looking it up.
        self._names: dict[object, str] = {}

    def register(
        self,
        event_type: AnyEvent,
        handler: object,
        priority: HookPriority = HookPriority.NORMAL,
    ) -> None:
        """Call ``handler`` for one event.

        The event is a ``HookEvent``, a custom event or its name.  Raises ``ConfigError`` for a
        handler that is neither a hook nor callable.
        """
        try:
            event = event_value(event_type)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        handle = getattr(handler, "handle", None)
        call = handle if callable(handle) else handler
        if not callable(call):
            raise ConfigError(
                f"{handler!r} is no hook: pass a function or an object with handle(context)"
            )
        name = getattr(handler, "name", None) or getattr(handler, "__name__", None)
        registration = _Registration(
            name if isinstance(name, str) else type(handler).__name__,
            handler,
            call,
            priority.value,
        )
        with self._lock:
            # Copied, so that a trigger under way goes on over the old list.
            hooks = [*self._hooks.get(event, ()), registration]
            hooks.sort(key=lambda one: one.priority)
            self._hooks[event] = hooks

    def register_hook(self, hook: object, priority: HookPriority = HookPriority.NORMAL) -> None:
        """Register a hook for the events it declares in ``events``.

        Raises ``ConfigError`` if it declares none.
        """
        events = getattr(hook, "events", None)
        if not events:
            raise ConfigError(
                f"{type(hook).__name__} declares no events: set its 'events' to a list of "
                "HookEvent, or use register(event, hook)"
            )
        for event in dict.fromkeys(map(event_value, events)):
            self.register(event, hook, priority)

    def unregister(self, event_type: AnyEvent, handler: object | None = None) -> int:
        """Remove one handler of an event, or all; returns how many were removed."""
        event = event_value(event_type)
        with self._lock:
            before = self._hooks.get(event, [])
            kept = [] if handler is None else [one for one in before if one.handler is not handler]
            self._hooks[event] = kept
        return len(before) - len(kept)

    def registered_hook_names(self) -> set[str]:
        """Names of all registered hooks."""
        return {one.name for hooks in self._hooks.values() for one in hooks}

    async def trigger(
        self,
        event_type: AnyEvent,
        agent_id: str,
        data: Mapping[str, object],
        timeout: float = DEFAULT_TIMEOUT_S,  # noqa: ASYNC109 - Kaizen's signature
        metadata: Mapping[str, object] | None = None,
        trace_id: str | None = None,
    ) -> list[HookResult]:
        """Call the event's hooks in order and return their results.

        ``timeout`` is seconds for each hook.  Failures and time-outs come back as results with
        ``success=False``; only the caller's own cancellation is raised.
        """
        event = self._names.get(event_type) or self._name(event_type)
        hooks = self._hooks.get(event)
        if not hooks:
            return []
        context = HookContext(
            event_type=event_type,
            agent_id=agent_id,
            timestamp=time.time(),
            data=data,
            metadata=metadata or {},
            trace_id=trace_id,
        )
        return [await self._call(one, context, timeout) for one in hooks]

    def _name(self, event_type: AnyEvent) -> str:
        name = event_value(event_type)
        if len(self._names) >= _NAMES_MAX:
            self._names.clear()
        self._names[event_type] = name
        return name

    async def _call(self, one: _Registration, context: HookContext, timeout_s: float) -> HookResult:
        start_ns = time.perf_counter_ns()
        try:
            answer = one.call(context)
            if isinstance(answer, CoroutineType):
                coroutine = cast("_Coroutine", cast("object", answer))
                try:
                    # Most hooks never wait: those need neither a task nor a timer.
                    waits_for = coroutine.send(None)
                except StopIteration as stop:
                    answer = stop.value
                else:
                    async with asyncio.timeout(timeout_s):
                        answer = await _Begun(coroutine, waits_for)
            elif inspect.isawaitable(answer):
                answer = await asyncio.wait_for(answer, timeout_s)
            result = _as_result(answer)
        except TimeoutError:
            one.counts.timeouts += 1
            result = HookResult(success=False, error=f"hook {one.name} exceeded {timeout_s} s")
        except Exception as error:  # noqa: BLE001 - isolation is the promise; counted below
            result = HookResult(success=False, error=safe_text(error) or type(error).__name__)
            await _tell(one.handler, error, context)
        elapsed_ms = (time.perf_counter_ns() - start_ns) / 1e6
        counts = one.counts
        counts.calls += 1
        counts.failures += not result.success
        counts.total_ms += elapsed_ms
        if elapsed_ms > counts.max_ms:  # noqa: PLR1730 - a call of max costs more than the rest
            counts.max_ms = elapsed_ms
        return HookResult(result.success, result.data, result.error, elapsed_ms)

    def get_stats(self) -> dict[str, dict[str, float]]:
        """Calls, failures, time-outs and durations in milliseconds, by hook name."""
        stats: dict[str, dict[str, float]] = {}
        for one in {id(h): h for hooks in self._hooks.values() for h in hooks}.values():
            entry = stats.setdefault(
                one.name,
                {
                    "call_count": 0,
                    "success_count": 0,
                    "failure_count": 0,
                    "timeout_count": 0,
                    "total_duration_ms": 0.0,
                    "max_duration_ms": 0.0,
                },
            )
            counts = one.counts
            entry["call_count"] += counts.calls
            entry["success_count"] += counts.calls - counts.failures
            entry["failure_count"] += counts.failures
            entry["timeout_count"] += counts.timeouts
            entry["total_duration_ms"] += counts.total_ms
            entry["max_duration_ms"] = max(entry["max_duration_ms"], counts.max_ms)
        return stats


class _Begun:
    """The rest of a coroutine that has made its first step and waits for something."""

    __slots__ = ("_coroutine", "_waits_for")

    def __init__(self, coroutine: _Coroutine, waits_for: object) -> None:
        self._coroutine = coroutine
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, object]:
        """Hand on what it waits for, and give it what comes of that."""
        coroutine, waits_for = self._coroutine, self._waits_for
        while True:
            try:
                try:
                    sent = yield waits_for
                except BaseException as error:  # noqa: BLE001 - it belongs to the coroutine
                    waits_for = coroutine.throw(error)
                else:
                    waits_for = coroutine.send(sent)
            except StopIteration as stop:
                return stop.value


def _as_result(answer: object) -> HookResult:
    """A hook's answer as our result; Kaizen's and anything with ``success`` are taken."""
    if isinstance(answer, HookResult):
        return answer
    success = bool(getattr(answer, "success", True))
    data, error = getattr(answer, "data", None), getattr(answer, "error", None)
    return HookResult(
        success=success,
        data=cast("dict[str, object]", data) if isinstance(data, dict) else None,
        error=error if success or error else "hook failed without a reason",
    )


async def _tell(handler: object, error: Exception, context: HookContext) -> None:
    on_error = getattr(handler, "on_error", None)
    if on_error is None:
        return
    try:
        answer = on_error(error, context)
        if inspect.isawaitable(answer):
            await asyncio.wait_for(answer, DEFAULT_TIMEOUT_S)
    except Exception as second:  # noqa: BLE001 - its first failure is counted by the caller
        error.add_note(f"on_error of the hook failed too: {safe_text(second)}")


ALL_EVENTS: Final = tuple(HookEvent)
