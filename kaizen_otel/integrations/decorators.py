"""``@traced_agent`` and ``@traced_tool``: observe the functions of a home-made agent.

Both work with and without arguments, on plain functions, coroutines, generators, asynchronous
generators and methods.  Result and exception are the function's own.  While nobody has called
``observe`` (or enabled an agent), a call passes straight through.

Stability: experimental.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast, overload

from kaizen_otel import semconv
from kaizen_otel.errors import ConfigError
from kaizen_otel.integrations._calls import wrap
from kaizen_otel.integrations._scopes import begin, current_scope

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel.hooks.operations import Operations
    from kaizen_otel.integrations._scopes import Scope
    from kaizen_otel.observability import ObservabilityManager

Function = TypeVar("Function", bound="Callable[..., Any]")
"""The decorated function; type checkers keep its whole signature."""


_Decorated = TypeVar("_Decorated", bound="Callable[..., Any]")


class Decorator(Protocol):
    """Takes a function and gives back one of the same type."""

    def __call__(self, function: _Decorated, /) -> _Decorated:
        """Decorate ``function``."""
        ...


@overload
def traced_agent(function: Function, /) -> Function: ...
@overload
def traced_agent(
    *,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    manager: ObservabilityManager | None = None,
) -> Decorator: ...
def traced_agent(
    function: Function | None = None,
    /,
    *,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    manager: ObservabilityManager | None = None,
) -> Function | Decorator:
    """Make each call of a function one run of an agent: a span ``invoke_agent {name}``.

    Without ``name`` the agent is called as the method's class, or as the function.
    ``attributes`` are set on every span.  ``manager`` is the result of ``observe``; without it
    the enclosing call's is used, else the last one made.  Raises ``ConfigError`` if what is
    decorated is no function.
    """
    return _traced("invoke_agent", "traced_agent", function, name, attributes, manager)


@overload
def traced_tool(function: Function, /) -> Function: ...
@overload
def traced_tool(
    *,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    manager: ObservabilityManager | None = None,
) -> Decorator: ...
def traced_tool(
    function: Function | None = None,
    /,
    *,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    manager: ObservabilityManager | None = None,
) -> Function | Decorator:
    """Make each call of a function one use of a tool: a span ``execute_tool {name}``.

    Without ``name`` the tool is called as the function.  The other arguments are those of
    ``traced_agent``.  With ``on_failure=block_action`` a call raises ``AuditUnavailableError``
    before the function runs if its intent cannot be made durable.
    """
    return _traced("execute_tool", "traced_tool", function, name, attributes, manager)


def _traced(
    operation: str,
    decorator: str,
    function: Function | None,
    name: str | None,
    attributes: Mapping[str, object] | None,
    manager: ObservabilityManager | None,
) -> Function | Decorator:
    fixed = dict(attributes or {})
    if operation == "execute_tool":
        fixed.setdefault(semconv.GEN_AI_TOOL_TYPE, "function")

    def decorate(decorated: _Decorated, /) -> _Decorated:
        for method in (staticmethod, classmethod):
            if isinstance(decorated, method):
                inner: Callable[..., Any] = cast("Any", decorated).__func__
                return cast("_Decorated", method(decorate(inner)))
        if inspect.isclass(decorated) or not callable(decorated):
            raise ConfigError(
                f"@{decorator} was given {decorated!r}, which is no function: decorate the "
                "functions or methods that do the work"
            )
        target = name or _name_of(decorated, operation)
        # What a run's tools and model calls say about it; a tool passes on what it was given.
        shared = {semconv.GEN_AI_AGENT_NAME: target} if operation == "invoke_agent" else None

        def opener(_args: tuple[Any, ...], _kwargs: dict[str, Any]) -> Scope | None:
            operations = _operations(manager)
            if operations is None:
                return None
            return begin(operations, operation, name=target, attributes=fixed, shared=shared)

        return cast("_Decorated", wrap(decorated, opener))

    if function is None:
        return decorate
    return decorate(function)


def _operations(manager: ObservabilityManager | None) -> Operations | None:
    if manager is not None:
        return manager.operations
    scope = current_scope()
    if scope is not None:
        return scope.operations
    # Nobody can have enabled anything in a module that is not loaded.
    module = sys.modules.get("kaizen_otel.observability")
    if module is None:
        return None
    found: ObservabilityManager | None = module.current_manager()
    return found.operations if found is not None else None


def _name_of(function: Callable[..., Any], operation: str) -> str:
    name = getattr(function, "__name__", None) or type(function).__name__
    qualified: str = getattr(function, "__qualname__", name)
    above = qualified.split(".")[:-1]
    if operation == "invoke_agent" and above and above[-1] != "<locals>":
        return above[-1]
    return str(name)
