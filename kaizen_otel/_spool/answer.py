"""A future that is made for every record and costs little until somebody waits for it.

``concurrent.futures.Future`` makes a condition at once, and awaiting one of them writes to the
loop's pipe for each: with 64 producers that was half of what a record cost.  Here a thread that
waits brings a lock, and a batch of answers wakes each loop once.

Threads that wait for one batch wake each other: sixty that are woken together only wait for the
interpreter, and each of them twice.  Whoever answers wakes the first few, and each of these the
next one before it goes on.
"""

from __future__ import annotations

import logging
import math
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Final, TypeVar, cast

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    _Waiter: TypeAlias = "asyncio.Future[None] | Callable[[], object] | _Sleeper"

Value = TypeVar("Value")

_WAKES_MAX: Final = 16
# More than one, so that a thread that must wait for the interpreter does not hold up all others.
_RELAYS: Final = 4
# A thread that is stopped by a signal at the wrong moment may fail to wake the next one.
_LOOK_S: Final = 1.0
_logger: Final = logging.getLogger(__name__)


class Arrived:
    """Who is to be told of a batch of answers: tasks by their loops, and threads."""

    __slots__ = ("loops", "sleepers")

    def __init__(self) -> None:
        self.loops: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        self.sleepers: deque[_Sleeper] = deque()

    def wake(self) -> None:
        """Wake the loops and the first threads."""
        for _ in range(min(_RELAYS, len(self.sleepers))):
            _wake_next(self.sleepers)
        for loop, futures in self.loops.items():
            try:
                loop.call_soon_threadsafe(_set_results, loop, futures)
            except RuntimeError:
                continue  # the loop is closed, nobody waits there any more


class _Sleeper:
    """A thread that waits.  When it goes on, for whatever reason, it wakes the next of its batch.

    Whoever wakes it says first who is next, then releases the lock, then looks whether the thread
    has left; a thread that leaves says so first, and then looks whether it was woken.  So one of
    the two wakes the next thread, or both do.
    """

    __slots__ = ("_batch", "_is_gone", "_lock")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._batch: deque[_Sleeper] | None = None
        self._is_gone = False

    def sleep(self, seconds: float) -> bool:
        """Sleep until woken or for so long; whether it was woken.  Then it must not sleep again."""
        is_woken = False
        try:
            is_woken = self._lock.acquire(timeout=seconds)
        finally:
            if is_woken:
                self._pass_on()
        return is_woken

    def leave(self) -> None:
        """Sleep no more, though it may have been woken meanwhile."""
        self._is_gone = True
        if self._lock.acquire(blocking=False):
            self._pass_on()

    def wake(self, batch: deque[_Sleeper]) -> bool:
        """Wake it; False if it has left and somebody else is to be woken."""
        self._batch = batch
        self._lock.release()
        return not self._is_gone

    def _pass_on(self) -> None:
        if self._batch:
            _wake_next(self._batch)


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
        arrived = Arrived()
        self.settle(result, None, arrived)
        arrived.wake()

    def set_exception(self, exception: BaseException | None) -> None:
        """Answer with an error."""
        arrived = Arrived()
        self.settle(None, exception, arrived)
        arrived.wake()

    def settle(self, value: Value | None, error: BaseException | None, arrived: Arrived) -> None:
        """Answer; who waits is added to those who are to be woken."""
        assert not self._is_done, "it is answered once"
        self._value = value
        self._error = error
        self._is_done = True
        if self._waiting:
            self._call_waiters(arrived)

    def _add(self, waiter: _Waiter) -> None:
        self._waiting.append(waiter)
        if self._is_done:
            arrived = Arrived()
            self._call_waiters(arrived)
            arrived.wake()

    def _call_waiters(self, arrived: Arrived) -> None:
        waiting = self._waiting
        while waiting:
            try:
                waiter = waiting.pop(0)
            except IndexError:
                return  # another thread has called the last one
            if isinstance(waiter, _Sleeper):
                arrived.sleepers.append(waiter)
            elif callable(waiter):
                waiter()
            else:
                arrived.loops.setdefault(waiter.get_loop(), []).append(waiter)

    def _wait(self, timeout: float | None) -> None:
        sleeper = _Sleeper()
        waiting = self._waiting
        waiting.append(sleeper)
        left_s = math.inf if timeout is None else max(timeout, 0)
        try:
            while not self._is_done and left_s >= 0:
                if sleeper.sleep(min(left_s, _LOOK_S)):
                    return
                left_s = left_s - _LOOK_S if left_s > _LOOK_S else -1
        except BaseException:
            self._leave(sleeper)
            raise
        self._leave(sleeper)
        if not self._is_done:
            raise TimeoutError

    def _leave(self, sleeper: _Sleeper) -> None:
        try:
            self._waiting.remove(sleeper)
        except ValueError:
            sleeper.leave()  # it is being answered


def answer_all(
    answers: Iterable[tuple[Answer[Value], Value]], error: BaseException | None = None
) -> None:
    """Answer each with its value, or all with one error; loops are woken after the last.

    A loop that was woken earlier would take the interpreter from whoever answers the others.
    """
    arrived = Arrived()
    for answer, value in answers:
        answer.settle(value if error is None else None, error, arrived)
    arrived.wake()


def failed_answer(error: BaseException) -> Answer[int]:
    """Return one that is answered with an error."""
    answer: Answer[int] = Answer()
    answer.set_exception(error)
    return answer


def _wake_next(batch: deque[_Sleeper]) -> None:
    """Wake the next thread that is still there."""
    while batch:
        try:
            sleeper = batch.popleft()
        except IndexError:
            return  # another thread has woken the last one
        if sleeper.wake(batch):
            return


def _set_results(loop: asyncio.AbstractEventLoop, futures: list[asyncio.Future[None]]) -> None:
    """Wake some tasks now and the others in the loop's next turn: it has more to do than these."""
    for future in futures[:_WAKES_MAX]:
        if not future.done():
            future.set_result(None)
    if len(futures) > _WAKES_MAX:
        loop.call_soon(_set_results, loop, futures[_WAKES_MAX:])
