from __future__ import annotations

import gc
import threading
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._export import SIGNALS
from kaizen_otel._export.buffer import Buffer, Group, Item, Ledger
from kaizen_otel._otlp.decode import decode_traces_request
from tests.unit._export.kit import RESOURCE, item, names

if TYPE_CHECKING:
    from kaizen_otel._export import Signal

pytestmark = pytest.mark.unit

MANY = 1 << 40


def make(bytes_max: int = MANY, **options: int) -> tuple[Buffer, Ledger, list[int]]:
    ledger, calls = Ledger(), [0]

    def ready(_signal: Signal) -> None:
        calls[0] += 1

    buffer = Buffer(bytes_max=bytes_max, ledger=ledger, on_ready=ready, **options)
    return buffer, ledger, calls


def dropped(ledger: Ledger, signal: Signal = "traces") -> dict[str, int]:
    snapshot = ledger.snapshot()
    assert snapshot.reconciles()
    return dict(snapshot.signals[signal].dropped)


def test_items_come_out_in_order_and_are_counted_as_buffered_until_they_are_settled() -> None:
    buffer, ledger, _ = make()
    for number in range(5):
        assert buffer.offer("traces", item(str(number)))
    batch = buffer.take("traces", count_max=3, bytes_max=MANY)
    assert batch is not None
    assert names(decode_traces_request(batch.encode())) == ["0", "1", "2"]
    assert ledger.snapshot().signals["traces"].buffered == 5
    buffer.delivered("traces", batch)
    found = ledger.snapshot().signals["traces"]
    assert (found.offered, found.delivered, found.buffered) == (5, 3, 2)
    assert buffer.waiting("traces")[0] == 2


def test_a_full_buffer_drops_the_new_item_and_counts_it_by_points() -> None:
    buffer, ledger, _ = make(bytes_max=1000)
    assert buffer.offer("metrics", item("a", signal="metrics", size=500))
    assert not buffer.offer("metrics", item("b", signal="metrics", size=500, count=1))
    assert not buffer.offer("metrics", item("c", signal="metrics", size=200, count=3))
    assert dropped(ledger, "metrics") == {"buffer_full": 4}


def test_what_is_settled_makes_room_again() -> None:
    buffer, ledger, _ = make(bytes_max=1000)
    for _ in range(50):
        assert buffer.offer("traces", item(size=500))
        batch = buffer.take("traces", count_max=1, bytes_max=MANY)
        assert batch is not None
        assert not buffer.offer("traces", item(size=500)), "held items use up the bound too"
        buffer.dropped("traces", batch, "retry_exhausted")
    assert dropped(ledger) == {"buffer_full": 50, "retry_exhausted": 50}


def test_an_item_that_fits_no_request_is_dropped_at_once() -> None:
    buffer, ledger, _ = make(item_bytes_max=1000)
    assert not buffer.offer("traces", item(size=1000))
    assert dropped(ledger) == {"too_large": 1}


def test_a_batch_stays_below_the_byte_limit_of_a_request() -> None:
    buffer, _, _ = make()
    for number in range(20):
        buffer.offer("traces", item(str(number), size=300))
        buffer.offer("traces", Item(RESOURCE * 9, b"\x0a\x01s", "url", b"\x2a\x01y", 1))
    found: list[str] = []
    while batch := buffer.take("traces", count_max=1000, bytes_max=1200):
        body = batch.encode()
        assert len(body) <= 1200
        found += names(decode_traces_request(body))
        buffer.delivered("traces", batch)
    assert sorted(found) == sorted([str(n) for n in range(20)] + ["y"] * 20)


def test_a_batch_holds_at_least_one_item() -> None:
    buffer, _, _ = make()
    buffer.offer("traces", item(size=300))
    batch = buffer.take("traces", count_max=10, bytes_max=1)
    assert batch is not None
    assert len(batch.items) == 1


def test_partial_success_is_split_into_delivered_and_rejected() -> None:
    buffer, ledger, _ = make()
    for signal in SIGNALS:
        for rejected in (0, 2, 99, -5):
            for _ in range(4):
                buffer.offer(signal, item(signal=signal))
            batch = buffer.take(signal, count_max=9, bytes_max=MANY)
            assert batch is not None
            buffer.delivered(signal, batch, rejected_count=rejected)
        assert dropped(ledger, signal) == {"rejected": 6}
        assert ledger.snapshot().signals[signal].delivered == 10


def test_a_batch_is_settled_once() -> None:
    buffer, ledger, _ = make()
    buffer.offer("traces", item())
    batch = buffer.take("traces", count_max=1, bytes_max=MANY)
    assert batch is not None
    buffer.dropped("traces", batch, "shutdown")
    buffer.delivered("traces", batch)
    buffer.dropped("traces", batch, "unknown")
    assert not buffer.begin(batch)
    assert dropped(ledger) == {"shutdown": 1}
    assert ledger.snapshot().signals["traces"].delivered == 0


def test_halves_hold_what_the_whole_held() -> None:
    buffer, ledger, _ = make()
    for number in range(5):
        buffer.offer("traces", item(str(number)))
    batch = buffer.take("traces", count_max=9, bytes_max=MANY)
    assert batch is not None
    batch.is_uncertain = True
    halves = buffer.split("traces", batch)
    assert [names(decode_traces_request(h.encode())) for h in halves] == [
        ["0", "1"],
        ["2", "3", "4"],
    ]
    assert all(half.is_uncertain for half in halves)
    assert ledger.snapshot().signals["traces"].buffered == 5
    buffer.delivered("traces", halves[0])
    buffer.dropped("traces", halves[1], "too_large")
    assert dropped(ledger) == {"too_large": 3}
    assert buffer.split("traces", batch) == [], "a settled batch has no halves"


def test_close_counts_everything_and_says_what_nobody_can_know() -> None:
    buffer, ledger, _ = make()
    batches = []
    for _ in range(3):
        buffer.offer("traces", item())
        batch = buffer.take("traces", count_max=1, bytes_max=MANY)
        assert batch is not None
        batches.append(batch)
    buffer.offer("traces", item())
    buffer.begin(batches[0])
    batches[1].is_uncertain = True
    buffer.close("shutdown")
    assert dropped(ledger) == {"unknown": 2, "shutdown": 2}
    assert not buffer.offer("traces", item())
    assert buffer.take("traces", count_max=1, bytes_max=MANY) is None
    assert dropped(ledger) == {"unknown": 2, "shutdown": 3}


def test_the_worker_is_woken_by_the_first_item_and_by_each_threshold() -> None:
    buffer, _, calls = make(count_ready=3, bytes_ready=2000)
    woken = []
    for _ in range(5):
        buffer.offer("traces", item())
        woken.append(calls[0])
    assert woken == [1, 1, 2, 2, 2]
    buffer.offer("traces", item(size=2000))
    assert calls[0] == 2, "it knows already that there is enough for a request"
    buffer.take("traces", count_max=4, bytes_max=MANY)
    assert calls[0] == 2
    buffer.offer("traces", item(size=2000))
    assert calls[0] == 2, "the bytes are still enough"
    buffer.take("traces", count_max=9, bytes_max=MANY)
    buffer.offer("traces", item())
    buffer.offer("traces", item(size=2000))
    assert calls[0] == 4


def group(name: str = "") -> Group:
    return Group(lambda: RESOURCE, name.encode(), "")


def test_what_producers_append_is_counted_at_every_look() -> None:
    buffer, ledger, calls = make(count_ready=1000)
    sink = buffer.sink("traces", group())
    for number in range(300):
        sink(item(str(number)).data)
        found = ledger.snapshot().signals["traces"]
        assert (found.offered, found.buffered) == (number + 1, number + 1)
    assert calls[0] == 1
    assert buffer.waiting("traces")[0] == 300
    assert buffer.progress("traces")[0] == 300


def test_producers_items_come_out_in_order_and_in_their_groups() -> None:
    buffer, _, calls = make(count_ready=100)
    one, two = (buffer.sink("traces", group(f"\x0a\x01{name}")) for name in "ab")
    for number in range(250):
        (one if number % 3 else two)(item(str(number)).data)
    assert calls[0] == 2, "for the first one, and for as many as a request takes"
    found: list[str] = []
    while batch := buffer.take("traces", count_max=70, bytes_max=MANY):
        request = decode_traces_request(batch.encode())
        assert len(request["resourceSpans"][0]["scopeSpans"]) == 2  # type: ignore[index]
        found += names(request)
        buffer.delivered("traces", batch)
    assert sorted(found, key=int) == [str(number) for number in range(250)]
    one(item("next").data)
    assert calls[0] == 3, "nothing waited: the worker sleeps"


def test_the_byte_bound_holds_for_producers_too() -> None:
    buffer, ledger, _ = make(bytes_max=40_000, item_bytes_max=20_000)
    sink = buffer.sink("traces", group())
    for _ in range(500):
        sink(item(size=100).data)
    sink(item(size=30_000).data)
    counts = dropped(ledger)
    assert set(counts) == {"buffer_full", "too_large"}
    assert counts["too_large"] == 1
    buffered = ledger.snapshot().signals["traces"].buffered
    assert buffered + counts["buffer_full"] == 500
    assert buffer.waiting("traces")[1] < 40_000
    buffer.close("shutdown")
    sink(item().data)
    assert dropped(ledger)["shutdown"] == buffered + 1


def test_a_producer_inside_the_counting_loses_nothing() -> None:
    """A finaliser may end a span while the same thread takes in what was appended."""
    ledger = Ledger()
    buffer = Buffer(bytes_max=MANY, ledger=ledger)
    sink = buffer.sink("traces", group())

    class Finalised:
        def __init__(self) -> None:
            self.me = self  # only the garbage collector can free it

        def __del__(self) -> None:
            with ledger.lock:
                for _ in range(70):
                    sink(item("finaliser").data)

    gc.collect()
    for number in range(1000):
        Finalised()
        sink(item(str(number)).data)
        if number % 100 == 0:
            assert ledger.snapshot().reconciles()
    gc.collect()
    assert ledger.snapshot().reconciles()
    assert ledger.snapshot().signals["traces"].offered == 71_000


def test_no_append_of_many_threads_is_lost_or_left_asleep() -> None:
    """Whoever takes it in, the worker is told of what begins to wait."""
    ready = threading.Semaphore(0)
    ledger = Ledger()
    buffer = Buffer(bytes_max=MANY, ledger=ledger, on_ready=lambda _: ready.release())

    def produce(number: int) -> None:
        sink = buffer.sink("traces", group(str(number)))
        for _ in range(2000):
            sink(item().data)

    threads = [threading.Thread(target=produce, args=(n,)) for n in range(4)]
    taken = 0
    for thread in threads:
        thread.start()
    while taken < 8000:
        assert ready.acquire(timeout=20), "something waits and nobody was told"
        while batch := buffer.take("traces", count_max=500, bytes_max=MANY):
            taken += batch.length
            buffer.delivered("traces", batch)
        ledger.snapshot()
    for thread in threads:
        thread.join()
    last = ledger.snapshot().signals["traces"]
    assert (last.offered, last.delivered, last.buffered) == (8000, 8000, 0)


def test_an_offer_inside_an_offer_is_counted() -> None:
    """A finaliser may end a span while the same thread counts another."""
    ledger = Ledger()
    buffer = Buffer(bytes_max=MANY, ledger=ledger)

    class Finalised:
        def __init__(self) -> None:
            self.me = self  # only the garbage collector can free it

        def __del__(self) -> None:
            with ledger.lock:
                buffer.offer("traces", item("finaliser"))

    gc.collect()
    for number in range(3000):
        Finalised()
        buffer.offer("traces", item(str(number)))
        if number % 100 == 0:
            assert ledger.snapshot().reconciles()
    gc.collect()
    assert ledger.snapshot().reconciles()
    assert ledger.snapshot().signals["traces"].offered == 6000


def test_a_forked_child_starts_with_nothing() -> None:
    buffer, ledger, _ = make(bytes_max=1000)
    buffer.offer("traces", item(size=500))
    buffer.sink("traces", group())(item().data)
    ledger.after_fork()
    buffer.after_fork()
    snapshot = ledger.snapshot()
    assert snapshot.reconciles()
    assert snapshot.signals["traces"].offered == 0
    assert buffer.offer("traces", item(size=500))


def test_the_ledgers_line_is_for_people() -> None:
    buffer, ledger, _ = make()
    assert ledger.snapshot().line() == "0 spans, 0 logs, 0 metrics delivered, 0 dropped"
    for signal, number in (("traces", 12), ("logs", 1), ("metrics", 3)):
        ledger.offered(signal, number)  # type: ignore[arg-type]
        ledger.delivered(signal, number)  # type: ignore[arg-type]
    assert ledger.snapshot().line() == "12 spans, 1 log, 3 metrics delivered, 0 dropped"
    ledger.offered("logs", 1)
    ledger.offered("traces", 3)
    ledger.dropped("logs", "rejected", 1)
    ledger.dropped("traces", "buffer_full", 2)
    ledger.dropped("traces", "unknown", 1)
    buffer.offer("metrics", item(signal="metrics", count=2))
    assert ledger.snapshot().line() == (
        "12 spans, 1 log, 3 metrics delivered, 4 dropped "
        "(2 spans buffer_full, 1 span unknown, 1 log rejected), 2 waiting"
    )


def test_the_ledger_shows_a_drop_that_nobody_counted() -> None:
    class Forgetful(Ledger):
        def dropped(self, signal: Signal, reason: str, count: int) -> None:
            pass

    ledger = Forgetful()
    buffer = Buffer(bytes_max=1, ledger=ledger)
    assert ledger.snapshot().reconciles()
    assert not buffer.offer("traces", item())
    assert not ledger.snapshot().reconciles()
