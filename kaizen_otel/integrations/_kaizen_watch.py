"""What is recorded about one Kaizen agent: its runs, tools, memory and permissions.

Each ``open_*`` method begins an operation from a call's arguments, each ``close_*`` ends it from
the call's result; ``_calls.wrap`` calls them.  Where they are put is ``_kaizen_agent``'s matter.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final, cast

from opentelemetry import trace

from kaizen_otel import semconv
from kaizen_otel.errors import AuditUnavailableError
from kaizen_otel.hooks.operations import refusal
from kaizen_otel.integrations import _kaizen_values as values
from kaizen_otel.integrations._scopes import (
    Selection,
    adopt,
    begin,
    current_scope,
    report,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from kaizen_otel.integrations._scopes import Scope, Value
    from kaizen_otel.observability import ObservabilityManager

DECIDED_BY: Final = "kaizen.decision.by"
_BUILTIN_SERVER: Final = "mcp__kaizen_builtin__"


class Watch:
    """The observer of one agent.

    ``agent_name`` becomes ``gen_ai.agent.name``; without it the agent's class name does.
    ``events_to_trace`` limits which spans are sent.  Raises ``ConfigError`` if it holds something
    that is no hook event.
    """

    def __init__(
        self,
        agent: Value,
        manager: ObservabilityManager,
        *,
        agent_name: str | None = None,
        events_to_trace: Iterable[object] | None = None,
    ) -> None:
        self.agent = agent
        self.manager = manager
        self.operations = manager.operations
        self.selection = Selection(values.operations_of(events_to_trace))
        self.name = agent_name or type(agent).__name__
        self.active = False
        self._runs: dict[object, Scope] = {}

    # ---------------------------------------------------------------------------------- runs
    def open_run(self, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
        """Begin a run; part of the enclosing one if ``run`` and ``run_async`` call each other."""
        if not self.active:
            return None
        outer = current_scope()
        if (
            outer is not None
            and outer.owner is self.agent
            and outer.run is outer
            and "strategy" not in outer.notes
        ):
            return None
        return self._begin_run(kwargs.get("session_id"))

    def _begin_run(self, session_id: object) -> Scope:
        agent_id = str(getattr(self.agent, "agent_id", ""))
        shared: dict[str, object] = {
            semconv.GEN_AI_AGENT_NAME: self.name,
            semconv.KAIZEN_AGENT_ID: agent_id,
        }
        if isinstance(session_id, str) and session_id:
            shared[semconv.GEN_AI_CONVERSATION_ID] = session_id
        attributes: dict[str, object] = {
            semconv.KAIZEN_SIGNATURE: type(getattr(self.agent, "signature", None)).__name__,
            # A stand-in reports the class of what it stands for.
            semconv.KAIZEN_STRATEGY: getattr(self.agent, "strategy", None).__class__.__name__,
        }
        if not values.is_default_agent_id(agent_id):
            attributes[semconv.GEN_AI_AGENT_ID] = agent_id
        model = getattr(getattr(self.agent, "config", None), "model", None)
        if isinstance(model, str) and model:
            attributes[semconv.GEN_AI_REQUEST_MODEL] = model
        scope = begin(
            self.operations,
            "invoke_agent",
            name=self.name,
            attributes=attributes,
            owner=self.agent,
            selection=self.selection,
            shared=shared,
        )
        self._runs[scope.key] = scope
        return scope

    def close_run(self, scope: Scope, result: object, error: BaseException | None) -> None:
        """End a run.

        It failed if it raised, if Kaizen handed its exception to ``_handle_error``, or if its
        result says so.
        """
        self._runs.pop(scope.key, None)
        failure: BaseException | str | None = error
        if error is None:
            failure = scope.cause if scope.failed else values.failure_of(result)
        elif scope.cause is not None and scope.cause is not error:
            # Kaizen replaces some exceptions (core/agent_loop.py:364); the first one is the reason.
            kind = semconv.exception_type(scope.cause)
            scope.span.add_event("exception", {semconv.EXCEPTION_TYPE: kind})
        scope.operations.end(scope.key, None, failure)

    def open_strategy(self, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Scope | None:
        """Join the agent's run; a strategy that is called without one is a run itself."""
        if not self.active:
            return None
        run = self._own_run()
        if run is None:
            direct = self._begin_run(None)
            direct.notes["strategy"] = direct.notes["direct"] = True
            return direct
        run.notes["strategy"] = True
        return adopt(run, attach=current_scope() is None)

    def close_strategy(self, scope: Scope, result: object, error: BaseException | None) -> None:
        """Keep the first exception for the run; end a run that the strategy began."""
        run = scope.run
        if run is None:
            return
        if error is not None:
            run.cause = run.cause or error
        if "direct" in scope.notes:
            self.close_run(scope, result, error)

    def open_failure(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
        """Note that Kaizen gave the run up; ``_handle_error`` itself passes straight through."""
        run = self._own_run()
        error = args[0] if args else kwargs.get("error")
        if run is not None and isinstance(error, BaseException):
            run.failed = True
            run.cause = run.cause or error
        return None

    def note_run_id(self, export: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a trace exporter's ``export``: the run it reports is the one under way."""

        @functools.wraps(export)
        def observed(event: Value, *args: Value, **kwargs: Value) -> Value:
            run, run_id = self._own_run(), getattr(event, "run_id", None)
            if run is not None and isinstance(run_id, str):
                run.span.set_attribute(semconv.KAIZEN_RUN_ID, run_id)
            return export(event, *args, **kwargs)

        return observed

    def _own_run(self) -> Scope | None:
        """The agent's run around the caller.

        In a thread that was started without the caller's context it is the only run under way,
        if there is exactly one.
        """
        scope = current_scope()
        if scope is not None:
            run = scope.run
            return run if run is not None and run.owner is self.agent else None
        return self._only_run()

    def _only_run(self) -> Scope | None:
        if trace.get_current_span().get_span_context().is_valid:
            return None
        runs = tuple(self._runs.values())
        return runs[0] if len(runs) == 1 else None

    # --------------------------------------------------------------------------------- tools
    def open_tool(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
        """Begin a tool call; raises ``AuditUnavailableError`` with ``block_action``."""
        return self._guarded_tool(args, kwargs, mcp=False)

    def open_mcp_tool(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
        """Begin a call of an MCP tool; ``execute_tool`` comes here too and is counted once."""
        return self._guarded_tool(args, kwargs, mcp=True)

    def _guarded_tool(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, mcp: bool
    ) -> Scope | None:
        try:
            return self._open_tool(args, kwargs, mcp=mcp)
        except Exception as error:
            # A fault of ours must not let a tool run that nobody will ever know of.
            if self.operations.blocks_actions and not isinstance(error, AuditUnavailableError):
                raise refusal("execute_tool", None) from error
            raise

    def _open_tool(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, mcp: bool
    ) -> Scope | None:
        if not self.active:
            return None
        name = str(args[0] if args else kwargs.get("tool_name", ""))
        outer = current_scope()
        if mcp and outer is not None and self._is_same_call(outer, name):
            outer.span.set_attribute(semconv.GEN_AI_TOOL_TYPE, "extension")
            return None
        extension = mcp or name.startswith("mcp__")
        attributes: dict[str, object] = {
            semconv.GEN_AI_TOOL_TYPE: "extension" if extension else "function",
            # Content: the seam drops it unless its capture was asked for.
            semconv.GEN_AI_TOOL_CALL_ARGUMENTS: args[1] if len(args) > 1 else kwargs.get("params"),
        }
        return self._begin_part("execute_tool", name, attributes, outer or self._only_run())

    def _is_same_call(self, outer: Scope, name: str) -> bool:
        return (
            outer.operation == "execute_tool"
            and outer.owner is self.agent
            and name in {outer.target, _BUILTIN_SERVER + outer.target}
            and outer.first("mcp")
        )

    def close_tool(self, scope: Scope, result: object, error: BaseException | None) -> None:
        """End a tool call; a result that reports a failure is one."""
        failure = error or values.failure_of(result, values.TOOL_ERROR)
        content = getattr(result, "result", result)
        scope.operations.end(scope.key, {semconv.GEN_AI_TOOL_CALL_RESULT: content}, failure)

    def _begin_part(
        self, operation: str, name: str, attributes: dict[str, object], outer: Scope | None
    ) -> Scope:
        mine = outer is not None and outer.run is not None and outer.run.owner is self.agent
        shared = None
        if not mine:
            # Called outside a run of this agent: it says itself whose it is.
            shared = {
                semconv.GEN_AI_AGENT_NAME: self.name,
                semconv.KAIZEN_AGENT_ID: str(getattr(self.agent, "agent_id", "")),
            }
        return begin(
            self.operations,
            operation,
            name=name,
            attributes=attributes,
            owner=self.agent,
            outer=outer,
            selection=self.selection,
            shared=shared,
        )

    # -------------------------------------------------------------------------------- memory
    def open_memory(
        self, operation: str, store: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Scope | None:
        """Begin reading or writing a memory; the first argument is the session."""
        if not self.active:
            return None
        attributes: dict[str, object] = {semconv.GEN_AI_MEMORY_STORE_ID: store}
        session = args[0] if args else kwargs.get("session_id")
        if isinstance(session, str) and session:
            attributes[semconv.GEN_AI_CONVERSATION_ID] = session
        if operation == "upsert_memory":
            turn = args[1] if len(args) > 1 else kwargs.get("turn")
            size = values.text_size(turn)
            if size is not None:
                attributes[semconv.KAIZEN_MEMORY_TURN_SIZE] = size
        return self._begin_part(operation, "", attributes, current_scope() or self._only_run())

    def close_memory(self, scope: Scope, result: object, error: BaseException | None) -> None:
        """End reading or writing a memory."""
        attributes: dict[str, object] = {}
        if scope.operation == "search_memory" and error is None:
            numbers = {
                semconv.KAIZEN_MEMORY_CONTEXT_SIZE: values.text_size(result),
                semconv.GEN_AI_MEMORY_RECORD_COUNT: values.record_count(result),
            }
            attributes.update((k, n) for k, n in numbers.items() if n is not None)
        scope.operations.end(scope.key, attributes, error)

    # --------------------------------------------------------------------------- permissions
    def watch_policy(self, check: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``check_permission``: its answer is a decision, or the question for a human."""

        @functools.wraps(check)
        def observed(*args: Value, **kwargs: Value) -> Value:
            answer = check(*args, **kwargs)
            self._safely(self._policy_answered, _tool_of(args, kwargs), answer)
            return answer

        return observed

    def _policy_answered(self, tool: str, answer: object) -> None:
        allowed: object = (
            cast("tuple[object, ...]", answer)[0] if isinstance(answer, tuple) else None
        )
        if allowed is True:
            self._decided(semconv.EVENT_APPROVAL_DECIDED, tool, "allow", by="policy")
        elif allowed is False or getattr(self.agent, "approval_manager", None) is None:
            # Without someone to ask, Kaizen refuses (core/mcp_mixin.py, execute_mcp_tool).
            self._decided(semconv.EVENT_TOOL_DENIED, tool, "deny", by="policy")

    def watch_approval(self, request: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap ``request_approval``: the question and the human's decision."""
        if not inspect.iscoroutinefunction(request):
            return request

        @functools.wraps(request)
        async def observed(*args: Value, **kwargs: Value) -> Value:
            tool = _tool_of(args, kwargs)
            self._safely(self._decided, semconv.EVENT_APPROVAL_REQUESTED, tool, "ask", "policy")
            try:
                approved = await request(*args, **kwargs)
            except BaseException as error:
                self._safely(self._human_decided, tool, approved=False, error=error)
                raise
            self._safely(self._human_decided, tool, approved=bool(approved))
            return approved

        return observed

    def _human_decided(
        self, tool: str, *, approved: bool, error: BaseException | None = None
    ) -> None:
        decision = "allow" if approved else "deny"
        self._decided(semconv.EVENT_APPROVAL_DECIDED, tool, decision, "human", error)
        if not approved:
            self._decided(semconv.EVENT_TOOL_DENIED, tool, decision, "human", error, counted=False)

    def _decided(
        self,
        event: str,
        tool: str,
        decision: str,
        by: str,
        error: BaseException | None = None,
        *,
        counted: bool = True,
    ) -> None:
        scope = current_scope()
        counted_by = {semconv.KAIZEN_DECISION: decision, semconv.GEN_AI_TOOL_NAME: tool}
        attributes: dict[str, object] = {
            semconv.GEN_AI_AGENT_NAME: self.name,
            semconv.KAIZEN_AGENT_ID: str(getattr(self.agent, "agent_id", "")),
            **(scope.shared if scope is not None else {}),
            **counted_by,
            DECIDED_BY: by,
        }
        if scope is not None and self.selection.sends(values.PERMISSION_CHECK):
            scope.span.add_event(event, attributes)
        key = scope.key if scope is not None else None
        self.operations.event(event, attributes, parent_id=key, audit=True, error=error)
        if counted and self.manager.metrics is not None:
            self.manager.metrics.record(semconv.PERMISSION_DECISIONS, 1, counted_by)

    def _safely(self, function: Callable[..., None], *args: object, **kwargs: Value) -> None:
        if not self.active:
            return
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - ours never hurts the host
            report(error)


def _tool_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    return str(args[0] if args else kwargs.get("tool_name", ""))
