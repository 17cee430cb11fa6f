"""Results that sync code waits for and async code awaits, on whatever loop it runs."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Generic, TypeVar

from kaizen_otel._spool.answer import Answer, answer_all

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Future
    from types import TracebackType

Value = TypeVar("Value")


class Waitable(Coroutine[object, None, Value], Generic[Value]):
    """Something that is under way: ``await`` it or call ``wait``; both may be done repeatedly.

    It is a coroutine to asyncio, so that ``asyncio.run(x)`` and ``create_task(x)`` take it; unlike
    one, it may be thrown away without a warning.
    """

    _coroutine: Coroutine[object, None, Value] | None = None

    def wait(self, timeout_s: float | None = None) -> Value:
        """Block until the result is there, at most ``timeout_s`` seconds."""
        raise NotImplementedError

    async def _wait_async(self) -> Value:
        raise NotImplementedError

    def __await__(self) -> Generator[object, None, Value]:
        """Wait without blocking the loop."""
        return self._wait_async().__await__()

    def send(self, value: None) -> object:
        """Run on until the next suspension (PEP 342)."""
        if self._coroutine is None:
            self._coroutine = self._wait_async()
        return self._coroutine.send(value)

    def throw(
        self,
        kind: type[BaseException] | BaseException,
        value: object = None,
        traceback: TracebackType | None = None,
    ) -> object:
        """Raise an exception where the coroutine is suspended (PEP 342)."""
        error = (
            kind if isinstance(kind, BaseException) else kind(*([] if value is None else [value]))
        )
        if self._coroutine is None:
            self._coroutine = self._wait_async()
        return self._coroutine.throw(error.with_traceback(traceback))

    def close(self) -> None:
        """Give up waiting; what is under way goes on."""
        if self._coroutine is not None:
            self._coroutine.close()


def until_done(future: Future[Value]) -> Generator[object, None, None]:
    """Suspend a task of an asyncio loop until the future is answered; elsewhere do nothing.

    No coroutine, for it is done for every record that is awaited.
    """
    if future.done():
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return
    if isinstance(future, Answer):
        yield from future.arrival(loop).__await__()
    else:
        yield from asyncio.wait([asyncio.wrap_future(future)]).__await__()


class Query(Waitable[Value]):
    """A question to stored data, asked when it is waited for, in a thread when it is awaited."""

    def __init__(self, ask: Callable[[], Value]) -> None:
        self._ask = ask

    def wait(self, timeout_s: float | None = None) -> Value:
        """Ask, in this thread; ``timeout_s`` is there for symmetry and not looked at."""
        del timeout_s
        return self._ask()

    async def _wait_async(self) -> Value:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._ask()
        return await asyncio.to_thread(self._ask)


class Deliveries:
    """Futures of records whose delivery somebody waits for, in the order of their numbers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiters: deque[tuple[int, Answer[bool]]] = deque()

    def wait_for(self, sequence: int, sequence_next: Callable[[], int]) -> Future[bool]:
        """Return a future of the record; true at once if it is before ``sequence_next()``."""
        future: Answer[bool] = Answer()
        with self._lock:
            if sequence >= sequence_next():
                self._waiters.append((sequence, future))
                return future
        future.set_result(True)
        return future

    def answer(self, sequence_next: int, *, is_delivered: bool) -> None:
        """Answer for all records before a number."""
        ready: list[Answer[bool]] = []
        with self._lock:
            while self._waiters and self._waiters[0][0] < sequence_next:
                ready.append(self._waiters.popleft()[1])
        answer_all((future, is_delivered) for future in ready)
