"""A future that is made for every record and costs little until somebody waits for it.

``concurrent.futures.Future`` makes a condition at once, and awaiting one of them writes to the
loop's pipe for each: with 64 producers that was half of what a record cost.  Here a thread that
waits brings a lock, and a batch of answers wakes each loop once.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, TypeVar, cast

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable

    _Waiter = asyncio.Future[None] | Callable[[], object]
    _Arrived = dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]]

Value = TypeVar("Value")

_WAKES_MAX: Final = 16
_logger: Final = logging.getLogger(__name__)


class Answer(Future[Value]):
    """A future that nobody can cancel, so that answering it cannot fail; it is answered once.

    ``concurrent.futures.wait`` and ``as_completed`` do not know it.  Whoever waits first says how
    it is woken and then looks whether the answer has come; whoever answers does it the other way
    round.  So everyone is woken, and by whoever takes its entry out of the list just once.
    """

    _is_done = False
    _value: Value | None = None
    _error: BaseException | None = None

    def __init__(self) -> None:
        # Future's own is not called: all that uses its condition is replaced here.
        self._waiting: list[_Waiter] = []

    def __repr__(self) -> str:
        """Say whether it is answered."""
        return f"<Answer {'done' if self._is_done else 'pending'}>"

    def cancel(self) -> bool:
        """Refuse: what is under way goes on."""
        return False

    def cancelled(self) -> bool:
        """Never."""
        return False

    def running(self) -> bool:
        """Whether the answer is still to come."""
        return not self._is_done

    def done(self) -> bool:
        """Whether it is answered."""
        return self._is_done

    def result(self, timeout: float | None = None) -> Value:
        """Return the answer or raise it; ``TimeoutError`` if it does not come in ``timeout`` s."""
        error = self.exception(timeout)
        if error is not None:
            raise error
        return cast("Value", self._value)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the error or None; ``TimeoutError`` if no answer comes in ``timeout`` s."""
        if not self._is_done:
            self._wait(timeout)
        return self._error

    def add_done_callback(self, fn: Callable[[Future[Value]], object]) -> None:
        """Have ``fn`` called with this future when it is answered, at once if it is."""

        def call() -> None:
            try:
                fn(self)
            except Exception:
                # Others wait for the thread that answers.
                _logger.exception("a callback of an audit record failed")

        self._add(call)

    def arrival(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Return a future of the running loop that is done when the answer is there."""
        future = loop.create_future()
        self._add(future)
        return future

    def set_result(self, result: Value) -> None:
        """Answer."""
        arrived: _Arrived = {}
        self.settle(result, None, arrived)
        _wake(arrived)

    def set_exception(self, exception: BaseException | None) -> None:
        """Answer with an error."""
        arrived: _Arrived = {}
        self.settle(None, exception, arrived)
        _wake(arrived)

    def settle(self, value: Value | None, error: BaseException | None, arrived: _Arrived) -> None:
        assert not self._is_done, "it is answered once"
        self._value = value
        self._error = error
        self._is_done = True
        if self._waiting:
            self._call_waiters(arrived)

    def _add(self, waiter: _Waiter) -> None:
        self._waiting.append(waiter)
        if self._is_done:
            arrived: _Arrived = {}
            self._call_waiters(arrived)
            _wake(arrived)

    def _call_waiters(self, arrived: _Arrived) -> None:
        waiting = self._waiting
        while waiting:
            try:
                waiter = waiting.pop(0)
            except IndexError:
                return  # another thread has called the last one
            if callable(waiter):
                waiter()
            else:
                arrived.setdefault(waiter.get_loop(), []).append(waiter)

    def _wait(self, timeout: float | None) -> None:
        lock = threading.Lock()
        lock.acquire()
        release = lock.release
        self._waiting.append(release)
        if self._is_done:
            return
        limit = -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)
        if lock.acquire(timeout=limit):
            return
        try:
            self._waiting.remove(release)
        except ValueError:
            return  # it is being answered
        raise TimeoutError


def answer_all(
    answers: Iterable[tuple[Answer[Value], Value]], error: BaseException | None = None
) -> None:
    """Answer each with its value, or all with one error; loops are woken after the last.

    A loop that was woken earlier would take the interpreter from whoever answers the others.
    """
    arrived: _Arrived = {}
    for answer, value in answers:
        answer.settle(value if error is None else None, error, arrived)
    _wake(arrived)


def failed_answer(error: BaseException) -> Answer[int]:
    """Return one that is answered with an error."""
    answer: Answer[int] = Answer()
    answer.set_exception(error)
    return answer


def _wake(arrived: _Arrived) -> None:
    for loop, futures in arrived.items():
        try:
            loop.call_soon_threadsafe(_set_results, loop, futures)
        except RuntimeError:
            continue  # the loop is closed, nobody waits there any more


def _set_results(loop: asyncio.AbstractEventLoop, futures: list[asyncio.Future[None]]) -> None:
    """Wake some tasks now and the others in the loop's next turn: it has more to do than these."""
    for future in futures[:_WAKES_MAX]:
        if not future.done():
            future.set_result(None)
    if len(futures) > _WAKES_MAX:
        loop.call_soon(_set_results, loop, futures[_WAKES_MAX:])
