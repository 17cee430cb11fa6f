"""Puts a watch onto one Kaizen agent, and takes it off so that nothing is left.

Every change is to the agent's own ``__dict__``, remembered with what was there before.  The
points were chosen in the source of kailash-kaizen 2.46.1:

* ``run`` and ``run_async`` of the instance: the only place that covers loading memory, the loop
  and saving memory, and that sees a cancelled run (``attach_trace_exporter`` reports neither a
  ``BaseException`` nor the reason, and costs as much as half a run);
* ``_handle_error``: where Kaizen hands over every exception before it makes a result of it;
* stand-ins for strategy, memory, permission policy, approval manager and an attached trace
  exporter, renewed at each run and tool call in case the agent was given another one;
* ``execute_tool`` and ``execute_mcp_tool``: every tool of every strategy.
"""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from kaizen_otel.integrations._calls import wrap
from kaizen_otel.integrations._kaizen_models import model_calls
from kaizen_otel.integrations._kaizen_proxies import is_stand_in, stand_in
from kaizen_otel.integrations._scopes import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel.integrations._calls import Closer, Opener
    from kaizen_otel.integrations._kaizen_proxies import Interceptor
    from kaizen_otel.integrations._kaizen_watch import Watch
    from kaizen_otel.integrations._scopes import Scope, Value

ATTRIBUTE: Final = "_kaizen_otel"
CLEANUP_TIMEOUT_S: Final = 2.0
"""How long ``agent.cleanup()`` may wait for telemetry to arrive."""


class _Change(NamedTuple):
    existed: bool
    before: object
    installed: object


class AgentObservation:
    """The wiring of one agent.  ``owns_manager``: the manager is shut down with it."""

    framework = "kaizen"

    def __init__(self, watch: Watch, *, owns_manager: bool) -> None:
        self.watch = watch
        self.manager = watch.manager
        self._owns_manager = owns_manager
        self._changes: dict[str, _Change] = {}
        # A run in another thread must not put a stand-in back while the agent is unwired.
        self._lock = threading.RLock()
        self._stand_ins = self._interceptors()
        self._release_models: weakref.finalize[Any, Any] | None = None

    @property
    def enabled(self) -> bool:
        """Whether the agent is observed now."""
        return self.watch.active

    def enable(self) -> None:
        """Wire the agent.  A second call does nothing."""
        if self.enabled:
            return
        agent, watch = self.watch.agent, self.watch
        self._release_models = weakref.finalize(agent, model_calls.release, model_calls.acquire())
        self._release_models.atexit = False
        watch.active = True
        self._change(ATTRIBUTE, self)
        self._change("_observability_manager", self.manager)
        for name, opener, closer in (
            ("run", watch.open_run, watch.close_run),
            ("run_async", watch.open_run, watch.close_run),
            ("execute_tool", watch.open_tool, watch.close_tool),
            ("execute_mcp_tool", watch.open_mcp_tool, watch.close_tool),
        ):
            self._wrap(name, self._renewing(opener), closer)
        self._wrap("_handle_error", watch.open_failure)
        self._wrap_cleanup()
        self._renew()

    def unwire(self) -> None:
        """Take the wiring out.  Runs under way still end what they began."""
        if not self.enabled:
            return
        with self._lock:
            self.watch.active = False
            held = self._held()
            for name, change in reversed(self._changes.items()):
                # What somebody else put there since is theirs.
                if held.get(name) is not change.installed:
                    continue
                if change.existed:
                    held[name] = change.before
                else:
                    del held[name]
            self._changes.clear()
        if self._release_models is not None:
            self._release_models()

    def disable(self, timeout: float) -> bool:
        """Take the wiring out and flush for at most ``timeout`` seconds.

        True if everything arrived.  A second call does nothing.
        """
        if not self.enabled:
            return True
        self.unwire()
        if self._owns_manager:
            return self.manager.shutdown(timeout)
        return self.manager.flush(timeout)

    def retire(self) -> None:
        """Give the manager up without waiting: another observation of the agent goes on."""
        if self._owns_manager:
            self.manager.shutdown(0.0)

    def _renewing(self, opener: Opener) -> Opener:
        def opening(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
            if self.enabled:
                self._renew()
            return opener(args, kwargs)

        return opening

    def _wrap(self, name: str, opener: Opener, closer: Closer | None = None) -> None:
        original = getattr(self.watch.agent, name, None)
        if not callable(original) or not self._assignable(name):
            return
        wrapped = wrap(original, opener) if closer is None else wrap(original, opener, closer)
        self._change(name, wrapped)

    def _wrap_cleanup(self) -> None:
        original: Callable[..., Any] | None = getattr(self.watch.agent, "cleanup", None)
        if original is None:
            return
        bound = original

        @functools.wraps(bound)
        def cleanup(*args: Value, **kwargs: Value) -> Value:
            try:
                self.disable(CLEANUP_TIMEOUT_S)
            except Exception as error:  # noqa: BLE001 - ours never hurts the host
                report(error)
            return bound(*args, **kwargs)

        self._change("cleanup", cleanup)

    def _held(self) -> dict[str, object]:
        return cast("dict[str, object]", self.watch.agent.__dict__)

    def _assignable(self, name: str) -> bool:
        found: object = inspect.getattr_static(self.watch.agent.__class__, name, None)
        return not hasattr(found, "__set__")

    def _change(self, name: str, value: object) -> None:
        held = self._held()
        earlier = self._changes.get(name)
        if earlier is not None and held.get(name) is earlier.installed:
            self._changes[name] = earlier._replace(installed=value)
        else:
            self._changes[name] = _Change(name in held, held.get(name), value)
        held[name] = value

    def _renew(self) -> None:
        """Stand in for what the agent has now; it may have been given another since."""
        held = self._held()
        for name, methods in self._stand_ins.items():
            value = held.get(name)
            if value is None or is_stand_in(value):
                continue
            with self._lock:
                if self.enabled and held.get(name) is value:
                    self._change(name, stand_in(value, methods(type(value).__name__)))

    def _interceptors(self) -> dict[str, Callable[[str], dict[str, Interceptor]]]:
        watch = self.watch

        def strategy(_: str) -> dict[str, Interceptor]:
            def observe(method: Callable[..., Any]) -> Callable[..., Any]:
                return wrap(method, watch.open_strategy, watch.close_strategy)

            return {"execute": observe, "execute_async": observe, "stream": observe}

        def memory(store: str) -> dict[str, Interceptor]:
            def observing(operation: str) -> Interceptor:
                opener = functools.partial(watch.open_memory, operation, store)
                return lambda method: wrap(method, opener, watch.close_memory)

            return {
                "load_context": observing("search_memory"),
                "save_turn": observing("upsert_memory"),
            }

        return {
            "strategy": strategy,
            "memory": memory,
            "permission_policy": lambda _: {"check_permission": watch.watch_policy},
            "approval_manager": lambda _: {"request_approval": watch.watch_approval},
            "_trace_exporter": lambda _: {"export": watch.note_run_id},
        }


def observation_of(agent: object) -> AgentObservation | None:
    """The wiring of an agent that is observed."""
    found = getattr(agent, "__dict__", {}).get(ATTRIBUTE)
    return found if isinstance(found, AgentObservation) else None
