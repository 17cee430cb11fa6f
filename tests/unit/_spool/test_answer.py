"""The future of one record: everyone who waits is woken once, whoever comes first."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._spool.answer import Answer, Arrived, answer_all, failed_answer
from kaizen_otel._spool.waiting import until_done

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_RACES = 300


class Awaitable:
    """An answer as a receipt awaits it."""

    def __init__(self, answer: Future[int]) -> None:
        self._answer = answer

    def __await__(self) -> Generator[object, None, int]:
        yield from until_done(self._answer)
        return self._answer.result()


async def wait_for(answer: Future[int]) -> int:
    return await Awaitable(answer)


class CountingLoop(asyncio.SelectorEventLoop):
    """A real loop that counts how often another thread wakes it."""

    wakes = 0

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: object
    ) -> asyncio.Handle:
        self.wakes += 1
        return super().call_soon_threadsafe(callback, *args)


def test_whoever_waits_before_or_after_the_answer_gets_it() -> None:
    answer: Answer[int] = Answer()
    assert not answer.done()
    assert answer.running()
    answer.set_result(7)
    assert answer.done()
    assert (answer.result(), answer.result(0), answer.exception()) == (7, 7, None)


def test_an_error_is_raised_for_everyone() -> None:
    answer = failed_answer(OSError("no disk"))
    for _ in range(2):
        with pytest.raises(OSError, match="no disk"):
            answer.result()
    assert isinstance(answer.exception(), OSError)


def test_nobody_can_cancel_it() -> None:
    answer: Answer[int] = Answer()
    assert not answer.cancel()
    answer.set_result(1)
    assert not answer.cancelled()
    assert answer.result() == 1


def test_time_that_is_up_leaves_nothing_behind() -> None:
    """Polling with a timeout must not grow the list of those to be woken."""
    answer: Answer[int] = Answer()
    for timeout_s in (0, 0, 0.001, -1):
        with pytest.raises(TimeoutError):
            answer.result(timeout_s)
    assert not answer._waiting
    answer.set_result(1)
    assert answer.result(1e12) == 1


def test_no_thread_that_waits_is_forgotten_however_close_the_answer_is() -> None:
    """Waiters and the answer race; one that was overlooked would wait until its timeout."""
    with ThreadPoolExecutor(4) as pool:
        for number in range(_RACES):
            answer: Answer[int] = Answer()
            start = threading.Barrier(5)

            def wait(answer: Answer[int] = answer, start: threading.Barrier = start) -> int:
                start.wait(30)
                return answer.result(30)

            waiting = [pool.submit(wait) for _ in range(4)]
            start.wait(30)
            answer.set_result(number)
            assert [future.result(30) for future in waiting] == [number] * 4


def test_every_callback_is_called_once_however_close_the_answer_is() -> None:
    with ThreadPoolExecutor(2) as pool:
        for number in range(_RACES):
            answer: Answer[int] = Answer()
            start = threading.Barrier(3)
            called: list[int] = []

            def add(
                answer: Answer[int] = answer,
                start: threading.Barrier = start,
                called: list[int] = called,
            ) -> None:
                start.wait(30)
                for _ in range(3):
                    answer.add_done_callback(lambda done: called.append(done.result()))

            adding = [pool.submit(add) for _ in range(2)]
            start.wait(30)
            answer.set_result(number)
            for future in adding:
                future.result(30)
            assert called == [number] * 6


def test_a_callback_that_fails_is_reported_and_takes_nothing_from_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer: Answer[int] = Answer()
    called: list[str] = []

    def fail(done: Future[int]) -> None:
        raise ValueError(done.result())

    answer.add_done_callback(fail)
    answer.add_done_callback(lambda _: called.append("second"))
    answer.set_result(1)
    assert called == ["second"]
    assert "a callback of an audit record failed" in caplog.text


def test_a_batch_wakes_a_loop_once() -> None:
    loop = CountingLoop()

    async def scenario() -> list[int]:
        answers: list[Answer[int]] = [Answer() for _ in range(64)]
        waiting = [asyncio.ensure_future(wait_for(answer)) for answer in answers]
        await asyncio.sleep(0)
        thread = threading.Thread(target=lambda: answer_all(zip(answers, range(64), strict=True)))
        thread.start()
        found = await asyncio.gather(*waiting)
        thread.join()
        return found

    try:
        assert loop.run_until_complete(scenario()) == list(range(64))
        assert loop.wakes == 1
    finally:
        loop.close()


def test_a_loop_turns_while_a_large_batch_is_woken() -> None:
    """Whatever else the loop has to do waits for some of the tasks, not for all of them."""

    async def scenario() -> list[str]:
        order: list[str] = []
        loop = asyncio.get_running_loop()
        answers: list[Answer[int]] = [Answer() for _ in range(64)]

        async def wait(answer: Answer[int]) -> None:
            if await wait_for(answer) == 0:
                loop.call_soon(order.append, "other")
            order.append("woken")

        waiting = [asyncio.ensure_future(wait(answer)) for answer in answers]
        await asyncio.sleep(0)
        answer_all(zip(answers, range(64), strict=True))
        await asyncio.gather(*waiting)
        return order

    order = asyncio.run(scenario())
    assert order.count("woken") == 64
    assert order.index("other") <= 32


def test_a_future_of_another_kind_is_awaited_too() -> None:
    async def scenario() -> list[int]:
        futures: list[Future[int]] = [Future() for _ in range(2)]
        waiting = [asyncio.ensure_future(wait_for(future)) for future in futures]
        await asyncio.sleep(0)
        for number, future in enumerate(futures):
            threading.Thread(target=future.set_result, args=(number,)).start()
        return await asyncio.gather(*waiting)

    assert asyncio.run(scenario()) == [0, 1]


def test_a_batch_fails_as_a_whole() -> None:
    answers: list[Answer[int]] = [Answer(), Answer()]
    answer_all(zip(answers, (1, 2), strict=True), OSError("no disk"))
    assert [str(answer.exception()) for answer in answers] == ["no disk"] * 2


def test_a_task_that_gave_up_and_a_loop_that_is_closed_are_passed_over() -> None:
    first: Answer[int] = Answer()
    second: Answer[int] = Answer()

    async def give_up() -> None:
        task = asyncio.ensure_future(wait_for(first))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        second.arrival(asyncio.get_running_loop())
        first.set_result(1)
        await asyncio.sleep(0)

    asyncio.run(give_up())
    answer_all([(second, 2)])
    assert (first.result(), second.result()) == (1, 2)


class TestThreadsOfOneBatch:
    """They wake each other, so that none may be left asleep, however another one leaves."""

    @staticmethod
    def _sleeping(
        answers: list[Answer[int]], timeouts: dict[int, float]
    ) -> tuple[list[threading.Thread], dict[int, object]]:
        found: dict[int, object] = {}

        def wait(number: int) -> None:
            try:
                found[number] = answers[number].result(timeouts.get(number))
            except TimeoutError:
                found[number] = "too late"

        threads = [threading.Thread(target=wait, args=(n,)) for n in range(len(answers))]
        for thread in threads:
            thread.start()
        return threads, found

    def test_all_of_a_large_batch_are_woken(self) -> None:
        answers: list[Answer[int]] = [Answer() for _ in range(64)]
        threads, found = self._sleeping(answers, {})
        while not all(answer._waiting for answer in answers):
            threading.Event().wait(0.001)
        answer_all(zip(answers, range(64), strict=True))
        for thread in threads:
            thread.join(0.9)  # well before anyone looks by itself
        assert found == {number: number for number in range(64)}

    @pytest.mark.parametrize("gives_up", [range(4), range(0, 64, 3), range(60)])
    def test_those_who_give_up_at_that_moment_hold_nobody_up(self, gives_up: range) -> None:
        """Their time is over just before, while, or just after they would be woken."""
        for turn in range(5):
            answers: list[Answer[int]] = [Answer() for _ in range(64)]
            timeouts = {number: 0.002 + number * 1e-4 for number in gives_up}
            threads, found = self._sleeping(answers, timeouts)
            threading.Event().wait(0.001 + turn * 0.001)
            answer_all(zip(answers, range(64), strict=True))
            for thread in threads:
                thread.join(5)
            assert all(found[number] in {number, "too late"} for number in range(64))
            assert all(found[number] == number for number in range(64) if number not in gives_up)

    def test_a_batch_in_which_nobody_is_woken_is_noticed(self) -> None:
        """As if a signal had stopped a thread between being woken and waking the next one."""
        answers: list[Answer[int]] = [Answer() for _ in range(8)]
        threads, found = self._sleeping(answers, {})
        for number, answer in enumerate(answers):
            answer.settle(number, None, Arrived())
        for thread in threads:
            thread.join(10)
        assert found == {number: number for number in range(8)}

    def test_an_exception_that_ends_one_wait_leaves_the_others_theirs(self) -> None:
        """A signal reaches the main thread while it waits for a record of the batch."""
        mine: Answer[int] = Answer()
        answers = [mine, *(Answer[int]() for _ in range(8))]
        threads, found = self._sleeping(answers, {})

        def stop(signum: int, frame: object) -> None:
            del signum, frame
            raise KeyboardInterrupt

        def interrupt_and_answer() -> None:
            os.kill(os.getpid(), signal.SIGUSR1)
            answer_all(zip(answers, range(9), strict=True))

        def wait_on() -> None:
            while True:
                mine.result(10)

        before = signal.signal(signal.SIGUSR1, stop)
        other = threading.Timer(0.05, interrupt_and_answer)
        try:
            other.start()
            with pytest.raises(KeyboardInterrupt):
                wait_on()
        finally:
            signal.signal(signal.SIGUSR1, before)
        for thread in (other, *threads):
            thread.join(10)
        assert found == {number: number for number in range(9)}
