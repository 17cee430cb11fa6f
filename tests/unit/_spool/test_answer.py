"""The future of one record: everyone who waits is woken once, whoever comes first."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._spool.answer import Answer, answer_all, failed_answer
from kaizen_otel._spool.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable

_RACES = 300


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
