from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._export.buffer import Buffer, Ledger
from kaizen_otel._export.retry import RetryPolicy
from kaizen_otel._export.sender import MILLISECOND_NS, NEVER_NS, Limits, Sender
from kaizen_otel.testing.fakes import FakeTransport, FixedClock
from tests.unit._export.kit import item, names

if TYPE_CHECKING:
    from kaizen_otel._export import Outcome, Signal

pytestmark = pytest.mark.unit

BUSY = Retryable(reason="unavailable", message="busy")
LIMITS = Limits(
    batch_size=4, interval_ms=1000, retry=RetryPolicy(delay_ms_first=100, elapsed_ms_max=1000)
)


class Bench:
    """A sender with everything around it, on a clock that stands still."""

    def __init__(self, *script: Outcome | Exception, limits: Limits = LIMITS) -> None:
        self.clock = FixedClock()
        self.transport = FakeTransport(script, clock=self.clock)
        self.ledger = Ledger()
        self.buffer = Buffer(bytes_max=1 << 30, ledger=self.ledger)
        self.warnings: list[tuple[str, str, str]] = []
        self.sender = Sender(
            "traces",
            self.transport,
            buffer=self.buffer,
            clock=self.clock,
            limits=limits,
            random_fraction=lambda: 0.0,
            warn=lambda *words: self.warnings.append(words),
        )

    def offer(self, *texts: str) -> None:
        for text in texts:
            self.buffer.offer("traces", item(text))

    def due_ms(self, *, is_flushing: bool = False) -> float:
        now_ns = self.clock.monotonic_ns()
        due_ns = self.sender.due_ns(now_ns, is_flushing=is_flushing)
        return float("inf") if due_ns == NEVER_NS else max(due_ns - now_ns, 0) / MILLISECOND_NS

    def send(self, *, is_flushing: bool = False) -> None:
        self.sender.send(deadline_ns=NEVER_NS, is_flushing=is_flushing)
        assert self.ledger.snapshot().reconciles()

    @property
    def dropped(self) -> dict[str, int]:
        return dict(self.ledger.snapshot().signals["traces"].dropped)

    @property
    def delivered(self) -> int:
        return self.ledger.snapshot().signals["traces"].delivered


def test_a_request_is_due_after_the_interval_or_with_a_full_batch_or_a_flush() -> None:
    bench = Bench()
    assert bench.due_ms() == float("inf")
    bench.offer("a")
    assert bench.due_ms() == 1000
    bench.clock.advance(400)
    assert bench.due_ms() == 600
    assert bench.due_ms(is_flushing=True) == 0
    bench.offer("b", "c", "d")
    assert bench.due_ms() == 0


def test_a_request_is_due_when_enough_bytes_wait() -> None:
    bench = Bench(limits=Limits(bytes_ready=1000))
    bench.buffer.offer("traces", item(size=999))
    assert bench.due_ms() == 0


def test_all_that_waits_is_sent_in_batches_of_the_asked_size() -> None:
    bench = Bench()
    bench.offer(*"abcdefg")
    bench.send()
    bench.send()
    assert [names(r) for r in bench.transport.taken("traces")] == [list("abcd"), list("efg")]
    assert bench.delivered == 7
    bench.send()
    assert len(bench.transport.requests) == 2, "nothing waits, nothing is sent"


def test_the_interval_starts_anew_after_a_request() -> None:
    bench = Bench()
    bench.offer(*"abcd")
    bench.due_ms()
    bench.send()
    bench.clock.advance(5000)
    bench.offer("e")
    assert bench.due_ms() == 1000


def test_a_request_may_take_as_long_as_the_timeout_and_never_longer_than_the_deadline() -> None:
    bench = Bench(BUSY)
    bench.offer("a")
    bench.sender.send(deadline_ns=1234, is_flushing=False)
    bench.sender.send(deadline_ns=NEVER_NS, is_flushing=False)
    now_ns = bench.clock.monotonic_ns()
    assert bench.transport.deadlines_ns == [1234, now_ns + 10_000 * MILLISECOND_NS]


def test_a_retryable_answer_keeps_the_batch_and_pauses() -> None:
    bench = Bench(BUSY, BUSY)
    bench.offer("a")
    bench.send()
    assert bench.due_ms() == 50
    bench.clock.advance(50)
    bench.offer("b")
    bench.send()
    assert bench.due_ms() == 100
    bench.send()
    assert bench.delivered == 1, "the same request again, without what came later"
    bodies = {body for _, body, _ in bench.transport.requests}
    assert len(bodies) == 1
    assert bench.warnings[0][:2] == ("fake", "unavailable")
    assert "kept" in bench.warnings[0][2]


def test_the_servers_pause_is_honoured_even_by_a_flush() -> None:
    bench = Bench(Retryable(reason="throttled", message="", retry_after_ms=700), BUSY)
    bench.offer("a")
    bench.send(is_flushing=True)
    assert bench.due_ms() == 700
    bench.sender.hurry()
    assert bench.due_ms() == 700
    bench.clock.advance(700)
    bench.send()
    bench.sender.hurry()
    assert bench.due_ms() == 0


def test_pauses_are_short_while_somebody_waits() -> None:
    slow = Limits(retry=RetryPolicy(delay_ms_first=60_000, delay_ms_max=60_000))
    bench = Bench(BUSY, limits=slow)
    bench.offer("a")
    bench.send(is_flushing=True)
    assert bench.due_ms() == 250


def test_a_batch_that_was_refused_to_the_end_is_retry_exhausted() -> None:
    bench = Bench(*[BUSY] * 9)
    bench.offer("a")
    for _ in range(9):
        bench.send()
        bench.clock.advance(bench.due_ms() if bench.due_ms() < float("inf") else 0)
    assert bench.dropped == {"retry_exhausted": 1}
    assert bench.clock.monotonic_ns() <= 1 + 1000 * MILLISECOND_NS
    assert bench.warnings[-1][1] == "retry_exhausted"


def test_a_batch_whose_answer_never_came_is_unknown() -> None:
    bench = Bench(Retryable(reason="timeout", message=""), *[BUSY] * 20)
    bench.offer("a")
    while not bench.dropped:
        bench.send()
        bench.clock.advance(200)
    assert bench.dropped == {"unknown": 1}


def test_a_rejected_batch_is_dropped_under_its_reason_and_the_next_goes_on() -> None:
    bench = Bench(Rejected(reason="unauthenticated", message="set X"))
    bench.offer(*"abcde")
    bench.send()
    bench.send()
    assert bench.dropped == {"unauthenticated": 4}
    assert bench.delivered == 1
    assert "set X" in bench.warnings[0][2]


def test_partial_success_counts_the_rejected_ones_and_warns() -> None:
    bench = Bench(
        Delivered(rejected_count=3, message="too old"),
        Delivered(message="deprecated"),
        Delivered(rejected_count=1),
    )
    bench.offer(*"abcdefghi")
    bench.send()
    bench.send()
    bench.send()
    assert bench.dropped == {"rejected": 4}
    assert bench.delivered == 5
    texts = [text for _, _, text in bench.warnings]
    assert "rejected 3 items" in texts[0]
    assert "too old" in texts[0]
    assert "deprecated" in texts[1]
    assert "does not say why" in texts[2]


def too_large_above(count: int) -> FakeTransport:
    """A server that takes at most ``count`` items in one request."""

    def answer(signal: Signal, body: bytes) -> Outcome:
        del signal
        if body.count(b"t" * 16) > count:
            return Rejected(reason="too_large", message="413")
        return Delivered()

    return FakeTransport(after=answer)


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_request_that_is_too_large_is_halved_until_it_fits(limit: int) -> None:
    bench = Bench()
    bench.sender.transport = bench.transport = too_large_above(limit)
    bench.offer(*"abcd", *"efgh")
    while bench.due_ms(is_flushing=True) == 0:
        bench.send()
    assert bench.delivered == 8
    found = [name for request in bench.transport.taken("traces") for name in names(request)]
    assert found == list("abcdefgh"), "each once, in order"


def test_a_single_item_that_is_too_large_is_dropped_alone() -> None:
    bench = Bench()
    bench.sender.transport = too_large_above(0)
    bench.offer(*"abc")
    while bench.due_ms(is_flushing=True) == 0:
        bench.send()
    assert bench.dropped == {"too_large": 3}


def test_a_transport_that_raises_costs_its_batch_and_not_the_worker() -> None:
    bench = Bench(RuntimeError("bug"))
    bench.offer(*"abcde")
    bench.send()
    bench.send()
    assert bench.dropped == {"internal_error": 4}
    assert bench.delivered == 1


def test_a_batch_that_shutdown_gave_up_is_not_sent() -> None:
    bench = Bench(BUSY)
    bench.offer("a")
    bench.send()
    bench.buffer.close("shutdown")
    bench.send()
    assert len(bench.transport.requests) == 1
    assert bench.dropped == {"shutdown": 1}
