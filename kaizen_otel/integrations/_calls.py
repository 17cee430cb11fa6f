"""Wrappers that observe each call of a function, by kind of function.

Result, exception, signature and kind stay the function's own.  Nothing here touches an event
loop, but that a coroutine awaits the disk where a plain function blocks (``block_action``).
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, TypeAlias

from opentelemetry import context as otel_context

from kaizen_otel.errors import AuditUnavailableError
from kaizen_otel.integrations._scopes import enter, leave, report

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from opentelemetry.context import Context

    from kaizen_otel.integrations._scopes import Entered, Scope, Value

Opener: TypeAlias = "Callable[[tuple[Any, ...], dict[str, Any]], Scope | None]"
"""Begins the operation of one call; None lets the call pass straight through."""
Closer: TypeAlias = "Callable[[Scope, Any, BaseException | None], None]"
"""Ends the operation with the call's result or its exception."""
Watcher: TypeAlias = "Callable[[Scope, Any], None]"
"""Sees each item of a generator."""


def open_scope(opener: Opener, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
    """Call an opener; a fault of ours is reported, a refused action is raised.

    Blocks until an action that must not run without a durable intent may run.
    """
    scope = _open(opener, args, kwargs)
    if scope is not None and scope.operations.is_unconfirmed(scope.key):
        try:
            scope.operations.confirm(scope.key)
        except BaseException as refused:
            scope.operations.end(scope.key, None, refused)
            raise
    return scope


async def open_scope_async(
    opener: Opener, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Scope | None:
    """Do as ``open_scope`` does while the event loop goes on."""
    scope = _open(opener, args, kwargs)
    if scope is not None and scope.operations.is_unconfirmed(scope.key):
        try:
            await scope.operations.confirm_async(scope.key)
        except BaseException as refused:  # a cancelled task, too
            scope.operations.end(scope.key, None, refused)
            raise
    return scope


def _open(opener: Opener, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Scope | None:
    try:
        return opener(args, kwargs)
    except AuditUnavailableError:
        raise
    except Exception as error:  # noqa: BLE001 - ours never hurts the host
        report(error)
        return None


def close_scope(closer: Closer, scope: Scope, result: object, error: BaseException | None) -> None:
    """Call a closer; a fault of ours is reported and the operation still ends."""
    try:
        closer(scope, result, error)
    except Exception as failure:  # noqa: BLE001 - ours never hurts the host
        report(failure)
        scope.operations.end(scope.key, None, error)


def end(scope: Scope, _result: object, error: BaseException | None) -> None:
    """End a scope's operation: the plainest closer."""
    scope.operations.end(scope.key, None, error)


def wrap(
    function: Callable[..., Any],
    opener: Opener,
    closer: Closer = end,
    watcher: Watcher | None = None,
) -> Callable[..., Any]:
    """A function of the same kind that is observed at each call.

    Result, exception, signature and kind (plain, coroutine, generator, asynchronous generator)
    are those of ``function``.  A generator's operation lasts from its first step to its last.
    """
    if _is(inspect.isasyncgenfunction, function):
        return _wrap_async_generator(function, opener, closer, watcher)
    if _is(inspect.iscoroutinefunction, function):
        return _wrap_coroutine(function, opener, closer)
    if _is(inspect.isgeneratorfunction, function):
        return _wrap_generator(function, opener, closer, watcher)
    return _wrap_plain(function, opener, closer)


def _is(test: Callable[[object], bool], function: Callable[..., Any]) -> bool:
    # Of an object that is called, the method decides.
    return test(function) or test(getattr(type(function), "__call__", None))  # noqa: B004


def _wrap_plain(function: Callable[..., Any], opener: Opener, closer: Closer) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Value, **kwargs: Value) -> Value:
        scope = open_scope(opener, args, kwargs)
        if scope is None:
            return function(*args, **kwargs)
        entered = enter(scope)
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            leave(entered)
            close_scope(closer, scope, None, error)
            raise
        leave(entered)
        close_scope(closer, scope, result, None)
        return result

    return call


def _wrap_coroutine(
    function: Callable[..., Any], opener: Opener, closer: Closer
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def call(*args: Value, **kwargs: Value) -> Value:
        scope = await open_scope_async(opener, args, kwargs)
        if scope is None:
            return await function(*args, **kwargs)
        entered = enter(scope)
        try:
            result = await function(*args, **kwargs)
        except BaseException as error:
            leave(entered)
            close_scope(closer, scope, None, error)
            raise
        leave(entered)
        close_scope(closer, scope, result, None)
        return result

    return call


class _Steps:
    """The current span of a generator between its steps.

    While the generator runs it sees its own span, or whatever it had made current when it last
    yielded; between steps its consumer sees what the consumer had.
    """

    __slots__ = ("_entered", "_resumed", "_scope")

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._resumed: Context | None = None
        self._entered: Entered | None = None

    def __enter__(self) -> None:
        self._entered = enter(self._scope, self._resumed)

    def __exit__(self, *_: object) -> None:
        entered, self._entered = self._entered, None
        if entered is not None:
            self._resumed = otel_context.get_current() if self._scope.attach else None
            leave(entered)


def _wrap_generator(
    function: Callable[..., Any], opener: Opener, closer: Closer, watcher: Watcher | None
) -> Callable[..., Any]:
    @functools.wraps(function)
    def iterate(*args: Value, **kwargs: Value) -> Generator[Any, Any, Any]:
        scope = open_scope(opener, args, kwargs)
        if scope is None:
            generator: Generator[Any, Any, Any] = function(*args, **kwargs)
            return (yield from generator)
        failure: BaseException | None = None
        try:
            return (yield from _drive(function(*args, **kwargs), scope, watcher))
        except GeneratorExit:
            raise  # the consumer has seen enough: no failure
        except BaseException as error:
            failure = error
            raise
        finally:
            close_scope(closer, scope, None, failure)

    return iterate


def _drive(
    generator: Generator[Any, Any, Any], scope: Scope, watcher: Watcher | None
) -> Generator[Any, Any, Any]:
    steps = _Steps(scope)
    sent: Any = None
    thrown: BaseException | None = None
    while True:
        try:
            with steps:
                item = generator.send(sent) if thrown is None else generator.throw(thrown)
        except StopIteration as stop:
            return stop.value
        _watch(watcher, scope, item)
        sent = thrown = None
        try:
            sent = yield item
        except GeneratorExit:
            with steps:
                generator.close()
            raise
        except BaseException as error:  # noqa: BLE001 - it belongs to the generator
            thrown = error


def _wrap_async_generator(
    function: Callable[..., Any], opener: Opener, closer: Closer, watcher: Watcher | None
) -> Callable[..., Any]:
    @functools.wraps(function)
    async def iterate(*args: Value, **kwargs: Value) -> AsyncGenerator[Any, Any]:
        scope = await open_scope_async(opener, args, kwargs)
        steps = _Steps(scope) if scope is not None else None
        failure: BaseException | None = None
        generator: AsyncGenerator[Any, Any] = function(*args, **kwargs)
        sent: Any = None
        thrown: BaseException | None = None
        try:
            while True:
                try:
                    item = await _step(generator, steps, sent, thrown)
                except StopAsyncIteration:
                    return
                if scope is not None:
                    _watch(watcher, scope, item)
                sent = thrown = None
                try:
                    sent = yield item
                except GeneratorExit:
                    await _close(generator, steps)
                    raise
                except BaseException as error:  # noqa: BLE001 - it belongs to the generator
                    thrown = error
        except GeneratorExit:
            raise  # the consumer has seen enough: no failure
        except BaseException as error:
            failure = error
            raise
        finally:
            if scope is not None:
                close_scope(closer, scope, None, failure)

    return iterate


async def _step(
    generator: AsyncGenerator[Any, Any],
    steps: _Steps | None,
    sent: Value,
    thrown: BaseException | None,
) -> Value:
    if steps is None:
        return await (generator.asend(sent) if thrown is None else generator.athrow(thrown))
    with steps:
        return await (generator.asend(sent) if thrown is None else generator.athrow(thrown))


async def _close(generator: AsyncGenerator[Any, Any], steps: _Steps | None) -> None:
    if steps is None:
        await generator.aclose()
        return
    with steps:
        await generator.aclose()


def _watch(watcher: Watcher | None, scope: Scope, item: object) -> None:
    if watcher is None:
        return
    try:
        watcher(scope, item)
    except Exception as error:  # noqa: BLE001 - ours never hurts the host
        report(error)
