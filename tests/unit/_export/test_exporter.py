"""The exporter with its real thread and clock, and transports that answer by a script."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._edges import SystemClock
from kaizen_otel._export import SIGNALS, Delivered, Rejected, Retryable
from kaizen_otel._export.buffer import Ledger
from kaizen_otel._export.exporter import LANES_MAX, Exporter
from kaizen_otel._export.worker import WakeUp, Worker
from kaizen_otel.testing.fakes import FakeTransport, FixedClock
from tests.unit._export.kit import Warnings, item, make_exporter, names, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel._export import Outcome, Signal
    from kaizen_otel._export.buffer import Item

pytestmark = pytest.mark.unit

CLOCK = SystemClock()
BUSY = Retryable(reason="unavailable", message="busy")
REFUSED = Retryable(reason="unreachable", message="nobody there")
# The machine may be busy: what is promised is 50 ms, what is checked is that it is no hang.
SLACK_MS = 2_000


def elapsed_ms(start_ns: int) -> float:
    return (CLOCK.monotonic_ns() - start_ns) / 1e6


def advance_until(clock: FixedClock, condition: Callable[[], bool], *, step_ms: int) -> None:
    def look() -> bool:
        clock.advance(step_ms)
        return condition()

    wait_for(look)


def dropped(ledger: Ledger) -> dict[str, int]:
    snapshot = ledger.snapshot()
    assert snapshot.reconciles()
    return dict(snapshot.signals["traces"].dropped)


def test_what_is_offered_arrives_without_a_flush() -> None:
    transport = FakeTransport()
    exporter, ledger, _ = make_exporter({"traces": transport})
    assert exporter.offer("traces", item("a"))
    wait_for(lambda: ledger.snapshot().signals["traces"].delivered == 1)
    exporter.offer("traces", item("b"))
    wait_for(lambda: ledger.snapshot().signals["traces"].delivered == 2)
    assert [names(r) for r in transport.taken("traces")] == [["a"], ["b"]]
    assert exporter.shutdown(5000)


def test_a_full_batch_is_sent_before_the_interval() -> None:
    transport = FakeTransport()
    exporter, ledger, _ = make_exporter({"traces": transport}, interval_ms=1 << 30, batch_size=3)
    for _ in range(7):
        exporter.offer("traces", item())
    wait_for(lambda: ledger.snapshot().signals["traces"].delivered == 6)
    assert ledger.snapshot().signals["traces"].buffered == 1
    assert exporter.shutdown(5000)


def test_no_thread_runs_before_the_first_item_and_none_after_shutdown() -> None:
    def running() -> int:
        return sum("kaizen-otel-exporter" in t.name for t in threading.enumerate())

    before = running()
    exporter, _, _ = make_exporter({"traces": FakeTransport()})
    assert running() == before
    exporter.offer("traces", item())
    assert running() == before + 1
    exporter.shutdown(5000)
    wait_for(lambda: running() == before)


def test_flush_returns_true_when_all_that_was_offered_is_delivered() -> None:
    transport = FakeTransport([BUSY, BUSY])
    exporter, ledger, _ = make_exporter({"traces": transport}, interval_ms=1 << 30, batch_size=64)
    for _ in range(1000):
        exporter.offer("traces", item())
    assert exporter.flush(20_000)
    assert ledger.snapshot().signals["traces"].delivered == 1000
    assert exporter.shutdown(5000)


def test_flush_of_nothing_is_true() -> None:
    exporter, _, _ = make_exporter({"traces": FakeTransport()})
    assert exporter.flush(5000)
    assert exporter.shutdown(5000)
    assert exporter.flush(5000)


@pytest.mark.parametrize(
    "answer", [Rejected(reason="not_found", message="no"), Delivered(rejected_count=1)]
)
def test_flush_returns_false_when_something_was_lost(answer: Rejected | Delivered) -> None:
    exporter, _, _ = make_exporter({"traces": FakeTransport([answer])}, interval_ms=1 << 30)
    exporter.offer("traces", item())
    assert not exporter.flush(5000)
    exporter.offer("traces", item())
    assert exporter.flush(5000), "the next one knows nothing of it"
    assert exporter.shutdown(5000)


@pytest.mark.parametrize("is_hanging", [True, False])
def test_flush_and_shutdown_keep_their_deadlines(is_hanging: bool) -> None:
    transport = FakeTransport(after=REFUSED)
    if is_hanging:
        transport.is_open.clear()
    exporter, ledger, _ = make_exporter({"traces": transport})
    exporter.offer("traces", item())
    start_ns = CLOCK.monotonic_ns()
    assert not exporter.flush(100)
    assert 100 <= elapsed_ms(start_ns) < 100 + SLACK_MS
    start_ns = CLOCK.monotonic_ns()
    assert not exporter.shutdown(100)
    assert elapsed_ms(start_ns) < 100 + SLACK_MS
    assert dropped(ledger) == ({"unknown": 1} if is_hanging else {"shutdown": 1})
    transport.is_open.set()


@pytest.mark.parametrize("answer", [Delivered(), BUSY, Rejected(reason="r", message="m")])
def test_an_answer_after_the_shutdown_changes_nothing_and_says_nothing(
    answer: Delivered | Retryable | Rejected,
) -> None:
    transport = FakeTransport([answer])
    transport.is_open.clear()
    exporter, ledger, warnings = make_exporter({"traces": transport})
    exporter.offer("traces", item())
    wait_for(transport.is_sending.is_set)
    assert not exporter.shutdown(20)
    transport.is_open.set()
    wait_for(lambda: transport.is_closed)
    assert dropped(ledger) == {"unknown": 1}
    assert ledger.snapshot().signals["traces"].delivered == 0
    assert warnings == []


def test_shutdown_sends_what_waits_and_then_refuses_and_counts() -> None:
    transport = FakeTransport()
    exporter, ledger, _ = make_exporter({"traces": transport}, interval_ms=1 << 30)
    exporter.offer("traces", item())
    assert exporter.shutdown(5000)
    assert transport.is_closed
    assert not exporter.offer("traces", item())
    assert exporter.shutdown(5000), "twice is once"
    assert dropped(ledger) == {"shutdown": 1}
    exporter.start()


def test_shutdown_without_a_single_item_closes_the_transports() -> None:
    transport = FakeTransport()
    exporter, _, _ = make_exporter({"traces": transport, "logs": transport})
    assert exporter.shutdown(0) in {True, False}
    wait_for(lambda: transport.is_closed)


def test_two_shutdowns_at_once_agree() -> None:
    transport = FakeTransport()
    exporter, _, _ = make_exporter({"traces": transport}, interval_ms=1 << 30)
    exporter.offer("traces", item())
    results: list[bool] = []
    threads = [
        threading.Thread(target=lambda: results.append(exporter.shutdown(10_000))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 4


def test_a_second_shutdown_keeps_its_own_deadline_while_the_first_hangs() -> None:
    transport = FakeTransport()
    transport.is_open.clear()
    exporter, _, _ = make_exporter({"traces": transport})
    exporter.offer("traces", item())
    first = threading.Thread(target=exporter.shutdown, args=(5_000,))
    first.start()
    wait_for(transport.is_sending.is_set)
    start_ns = CLOCK.monotonic_ns()
    assert not exporter.shutdown(10)
    assert elapsed_ms(start_ns) < 4_000
    transport.is_open.set()
    first.join()


def test_a_dead_endpoint_of_one_signal_does_not_stop_the_others() -> None:
    dead, alive = FakeTransport(after=REFUSED), FakeTransport()
    exporter, ledger, _ = make_exporter({"traces": dead, "logs": alive, "metrics": alive})
    for number in range(50):
        exporter.offer("traces", item())
        exporter.offer("logs", item(signal="logs"))
        wait_for(lambda n=number: ledger.snapshot().signals["logs"].delivered > n)
    assert ledger.snapshot().signals["traces"].buffered == 50
    assert not exporter.shutdown(10)
    assert dropped(ledger) == {"shutdown": 50}


def test_a_signal_without_a_transport_is_counted() -> None:
    exporter, ledger, _ = make_exporter({"traces": FakeTransport()})
    assert not exporter.offer("logs", item(signal="logs"))
    assert ledger.snapshot().signals["logs"].dropped == {"disabled": 1}
    assert ledger.snapshot().reconciles()
    exporter.shutdown(5000)


def test_metrics_are_collected_at_the_interval_at_flush_and_at_shutdown() -> None:
    numbers = iter(range(1000))

    def collect() -> Iterator[Item]:
        yield item(f"m{next(numbers)}", signal="metrics", count=2)

    transport = FakeTransport()
    exporter, ledger, _ = make_exporter(
        {"metrics": transport}, collect=collect, metric_interval_ms=5
    )
    exporter.start()
    wait_for(lambda: ledger.snapshot().signals["metrics"].delivered >= 4)
    assert exporter.flush(5000)
    assert exporter.shutdown(5000)
    found = [name for request in transport.taken("metrics") for name in names(request)]
    assert found == [f"m{number}" for number in range(len(found))]
    assert ledger.snapshot().signals["metrics"].delivered == 2 * len(found)


def test_metrics_that_cannot_be_collected_cost_a_warning_only() -> None:
    def collect() -> Iterator[Item]:
        yield item(signal="metrics")
        raise ZeroDivisionError("instrument")

    exporter, ledger, warnings = make_exporter(
        {"metrics": FakeTransport(), "traces": FakeTransport()}, collect=collect
    )
    exporter.offer("traces", item())
    assert exporter.flush(5000)
    assert exporter.shutdown(5000)
    assert ledger.snapshot().signals["metrics"].delivered == 2
    assert sum("ZeroDivisionError" in text for text in warnings) == 1


def test_the_user_is_told_of_one_cause_once_a_minute() -> None:
    clock = FixedClock()
    transports = {s: FakeTransport(after=REFUSED, clock=clock) for s in SIGNALS}
    exporter, _, warnings = make_exporter(dict(transports), clock=clock)

    def attempts() -> int:
        return sum(len(t.requests) for t in transports.values())

    for signal in SIGNALS:
        exporter.offer(signal, item(signal=signal))
    advance_until(clock, lambda: attempts() > 20, step_ms=100)
    assert len(warnings) == 1, "three signals, one place, one text"
    assert "nobody there" in warnings[0]
    clock.advance(60_000)
    before = attempts()
    advance_until(clock, lambda: attempts() > before + 6, step_ms=1000)
    assert len(warnings) >= 2
    for transport in transports.values():
        transport.after = Delivered()
    thread = threading.Thread(target=exporter.shutdown, args=(1000,))
    thread.start()
    advance_until(clock, lambda: not thread.is_alive(), step_ms=1)


def test_warnings_stay_bounded() -> None:
    numbers = iter(range(10_000))
    transport = FakeTransport(
        after=lambda *_: Rejected(reason=f"r{next(numbers)}", message=f"m{next(numbers)}")
    )
    exporter, _, warnings = make_exporter({"traces": transport})
    for _ in range(200):
        exporter.offer("traces", item())
        exporter.flush(5000)
    assert len(warnings) == 200
    assert len(exporter._warned_ns) <= 64
    exporter.shutdown(5000)


def test_a_transport_that_cannot_be_closed_does_not_keep_the_others_open() -> None:
    class Stubborn(FakeTransport):
        def close(self) -> None:
            raise OSError("stuck")

    good = FakeTransport()
    exporter, _, warnings = make_exporter({"traces": Stubborn(), "logs": good})
    exporter.offer("traces", item())
    assert exporter.shutdown(5000)
    assert good.is_closed
    assert any("stuck" in text for text in warnings)


def test_an_exporter_that_nobody_uses_can_be_collected() -> None:
    exporter, _, _ = make_exporter({"traces": FakeTransport()})
    reference = weakref.ref(exporter)
    del exporter
    gc.collect()
    assert reference() is None


def test_a_mistake_of_ours_costs_a_warning_and_not_the_worker() -> None:
    ledger_warnings = Warnings()
    fractions = iter([ValueError("no fraction")])

    def fraction() -> float:
        for error in fractions:
            raise error
        return 0.5

    transport = FakeTransport([BUSY])
    exporter, ledger, warnings = make_exporter({"traces": transport}, ids_random=fraction)
    exporter.offer("traces", item())
    assert exporter.flush(20_000)
    assert ledger.snapshot().signals["traces"].delivered == 1
    assert any("no fraction" in text for text in warnings)
    assert not ledger_warnings
    exporter.shutdown(5000)


def test_wake_up_is_taken_by_the_one_who_waits() -> None:
    wake = WakeUp()
    assert not wake.is_set()
    assert not wake.wait(0)
    wake.set()
    wake.set()
    assert wake.is_set()
    assert wake.wait(None)
    assert not wake.wait(0.001)
    wake.set()
    wake.clear()
    assert not wake.is_set()


def test_a_forked_child_begins_anew_and_leaves_the_parents_items_alone() -> None:
    transport = FakeTransport([BUSY])
    exporter, ledger, _ = make_exporter({"traces": transport}, interval_ms=1 << 30)
    exporter.offer("traces", item("parent"))
    assert exporter.flush(20_000)
    exporter.offer("traces", item("parent's too"))
    exporter.after_fork()  # what the child's side of os.fork() calls
    assert ledger.snapshot().signals["traces"].offered == 0
    exporter.offer("traces", item("child"))
    assert exporter.flush(20_000)
    found = [name for request in transport.taken("traces") for name in names(request)]
    assert found == ["parent", "child"]
    assert ledger.snapshot().reconciles()
    exporter.shutdown(5000)


def test_a_server_that_hangs_delays_no_other_signal() -> None:
    hanging, healthy = FakeTransport(), FakeTransport()
    hanging.is_open.clear()
    exporter, _, _ = make_exporter({"traces": hanging, "logs": healthy})
    exporter.offer("traces", item())
    wait_for(hanging.is_sending.is_set)
    exporter.offer("logs", item(signal="logs"))
    wait_for(lambda: healthy.taken("logs"))
    assert hanging.is_sending.is_set()
    hanging.is_open.set()
    assert exporter.shutdown(20_000)


class Crowd:
    """A server that answers nobody before ``size`` requests were under way at the same time."""

    def __init__(self, size: int) -> None:
        self.missing = threading.Semaphore(size - 1)
        self.is_complete = threading.Event()
        self.opened: list[FakeTransport] = []

    def open(self, signal: Signal) -> FakeTransport:
        assert signal != "metrics", "metrics must arrive in order"
        self.opened.append(FakeTransport(after=self.answer))
        return self.opened[-1]

    def answer(self, signal: Signal, body: bytes) -> Outcome:
        del signal, body
        if not self.missing.acquire(blocking=False):
            self.is_complete.set()
        assert self.is_complete.wait(20)
        return Delivered()


def test_under_backlog_several_requests_are_in_flight_and_every_item_arrives_once() -> None:
    """One request at a time carries no more than one batch per round trip."""
    crowd = Crowd(LANES_MAX)
    first = FakeTransport(after=crowd.answer)
    count = 10 * LANES_MAX
    exporter, ledger, _ = make_exporter(
        {"traces": first}, batch_size=10, interval_ms=1 << 20, open_more=crowd.open
    )
    for number in range(count * 10):
        exporter.offer("traces", item(str(number)))
    assert exporter.flush(20_000)
    transports = [first, *crowd.opened]
    assert len(transports) == LANES_MAX
    found = [name for one in transports for r in one.taken("traces") for name in names(r)]
    assert sorted(found, key=int) == [str(number) for number in range(count * 10)]
    assert ledger.snapshot().signals["traces"].delivered == count * 10
    assert exporter.shutdown(20_000)
    assert all(transport.is_closed for transport in transports)


def test_while_a_server_fails_no_further_request_is_opened() -> None:
    opened: list[Signal] = []
    failing = FakeTransport(after=REFUSED)
    exporter, ledger, _ = make_exporter({"traces": failing}, batch_size=5, open_more=opened.append)
    exporter.offer("traces", item())
    wait_for(lambda: len(failing.requests) > 1)
    for _ in range(100):
        exporter.offer("traces", item())
    wait_for(lambda: len(failing.requests) > 5)
    assert not opened
    exporter.shutdown(10)
    assert ledger.snapshot().reconciles()


class Threadless(Worker):
    """As at the end of the interpreter, where no thread can be started."""

    def _start(self) -> bool:
        return False


class WithoutThreads(Exporter):
    """All its workers are threadless."""

    _worker_kind = Threadless


@pytest.mark.parametrize("is_dead", [True, False])
def test_without_a_thread_flush_and_shutdown_do_the_work(is_dead: bool) -> None:
    transport = FakeTransport([BUSY], after=REFUSED if is_dead else Delivered())
    ledger, warnings = Ledger(), Warnings()
    exporter = WithoutThreads(
        transports={"traces": transport},
        ledger=ledger,
        clock=CLOCK,
        ids_random=lambda: 0.5,
        retry_delay_ms_first=4,
        warn=warnings,
    )
    exporter.offer("traces", item())
    timeout_ms = 50 if is_dead else 20_000
    assert exporter.flush(timeout_ms) is not is_dead
    exporter.offer("traces", item())
    assert exporter.shutdown(timeout_ms) is not is_dead
    assert transport.is_closed
    assert ledger.snapshot().reconciles()
    assert ledger.snapshot().signals["traces"].delivered == (0 if is_dead else 2)
