"""Scopes: the observed calls under way, and which span is the current one while they run.

A scope travels in a context variable next to OpenTelemetry's own, so that a call finds the run
it belongs to wherever its framework carries the context: tasks, ``asyncio.to_thread``, copied
contexts.  Nothing here touches an event loop.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from opentelemetry import context as otel_context
from opentelemetry import trace

from kaizen_otel._warn import RateLimitedWarnings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

    from opentelemetry.context import Context

    from kaizen_otel.hooks.operations import Operations
    from kaizen_otel.traces import Span

_warn: Final = RateLimitedWarnings()

Value: TypeAlias = Any
"""A value of the host's, passed on unseen."""


class Selection(NamedTuple):
    """Which operations' spans are sent; metrics, logs and audit of all others go on."""

    operations: frozenset[str] | None = None

    def sends(self, operation: str) -> bool:
        """Whether the operation's spans are sent."""
        return self.operations is None or operation in self.operations


EVERYTHING: Final = Selection()


class Scope:
    """One operation under way, and what its wrappers note about it.

    ``run`` is the nearest enclosing run of an agent (or this), ``anchor`` the nearest enclosing
    scope whose span is sent (or this), ``shared`` what the operations inside have in common.
    ``cause`` is an exception seen inside; ``failed`` says that the framework itself gave the run
    up.  ``attach`` says whether entering the scope makes its span the current one.
    """

    __slots__ = (
        "anchor",
        "attach",
        "cause",
        "failed",
        "key",
        "notes",
        "operation",
        "operations",
        "owner",
        "run",
        "selection",
        "shared",
        "span",
        "target",
    )

    def __init__(
        self,
        operations: Operations,
        operation: str,
        *,
        span: Span,
        key: object,
        owner: object,
        target: str,
        outer: Scope | None,
        selection: Selection,
        shared: Mapping[str, object],
        attach: bool,
    ) -> None:
        self.operations = operations
        self.operation = operation
        self.span = span
        self.key = key
        self.owner = owner
        self.target = target
        self.selection = selection
        self.shared = shared
        self.attach = attach
        outer_anchor = outer.anchor if outer is not None else None
        outer_run = outer.run if outer is not None else None
        self.anchor: Scope | None = self if attach else outer_anchor
        self.run: Scope | None = self if operation == _RUN else outer_run
        self.cause: BaseException | None = None
        self.failed = False
        self.notes: dict[str, Any] = {}

    def first(self, note: str) -> bool:
        """Whether this is asked for the first time."""
        if note in self.notes:
            return False
        self.notes[note] = True
        return True


_RUN: Final = "invoke_agent"
_PART: Final = "kaizen_otel.part"
_scope: Final[ContextVar[Scope | None]] = ContextVar("kaizen_otel_scope", default=None)


def current_scope() -> Scope | None:
    """The innermost observed call around the caller."""
    return _scope.get()


def begin(
    operations: Operations,
    operation: str,
    *,
    name: str,
    attributes: Mapping[str, object],
    owner: object = None,
    outer: Scope | None = None,
    selection: Selection | None = None,
    shared: Mapping[str, object] | None = None,
) -> Scope:
    """Begin an operation under ``outer`` or, without it, under the innermost observed call.

    ``selection`` and ``shared`` are the outer call's unless given; what is shared is set on the
    span.  Where the selection does not send the span, children hang on the next one outwards.
    The caller confirms the operation before the call runs, as ``_calls`` does.
    """
    outer = outer or _scope.get()
    if selection is None:
        selection = outer.selection if outer is not None else EVERYTHING
    if shared is None:
        shared = outer.shared if outer is not None else {}
    key = object()
    span = operations.begin(
        operation,
        key,
        _parent_id(outer),
        {**shared, **attributes},
        name=name or None,
        confirm=False,
    )
    sent = selection.sends(operation)
    if not sent:
        span.flags = 0
    return Scope(
        operations,
        operation,
        span=span,
        key=key,
        owner=owner,
        target=name,
        outer=outer,
        selection=selection,
        shared=shared,
        attach=sent,
    )


def adopt(run: Scope, *, attach: bool) -> Scope:
    """A scope for a part of a run that has no operation of its own.

    ``attach`` makes the run's span the current one inside: for a thread that its framework
    started without the caller's context.
    """
    scope = Scope(
        run.operations,
        _PART,
        span=run.span,
        key=object(),
        owner=run.owner,
        target=run.target,
        outer=run,
        selection=run.selection,
        shared=run.shared,
        attach=attach and run.attach,
    )
    scope.anchor = run.anchor
    return scope


def _parent_id(outer: Scope | None) -> object | None:
    """The enclosing operation's id, unless a span of someone else's lies in between."""
    anchor = outer.anchor if outer else None
    if anchor is None:
        return None
    span = trace.get_current_span()
    between = span is not anchor.span and span.get_span_context().is_valid
    return None if between else anchor.key


class Entered(NamedTuple):
    """What has to be set back when a scope is left."""

    scope: Token[Scope | None]
    span: Token[Context] | None


def enter(scope: Scope, resumed: Context | None = None) -> Entered:
    """Make a scope and its span the current ones (or the context it was left in)."""
    if resumed is not None:
        span = otel_context.attach(resumed)
    elif scope.attach:
        span = otel_context.attach(trace.set_span_in_context(scope.span))
    else:
        span = None
    return Entered(_scope.set(scope), span)


def leave(entered: Entered) -> None:
    """Set back what ``enter`` changed."""
    try:
        _scope.reset(entered.scope)
    except ValueError:
        # The interpreter closes an abandoned coroutine in a context that never entered the
        # scope: there is nothing to set back (opentelemetry-python#2606).
        return
    if entered.span is not None:
        otel_context.detach(entered.span)


def report(error: BaseException) -> None:
    """Say, at most once a minute, that our own code failed; the host goes on."""
    _warn(f"a call was not recorded: {type(error).__qualname__} in {_place(error)}")


def _place(error: BaseException) -> str:
    trace_back = error.__traceback__
    while trace_back is not None and trace_back.tb_next is not None:
        trace_back = trace_back.tb_next
    return trace_back.tb_frame.f_code.co_qualname if trace_back else "kaizen_otel"
