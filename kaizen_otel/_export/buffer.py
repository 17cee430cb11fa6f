"""Items between the producer and the exporter: bounded by bytes, counted by the ledger.

An item is in exactly one place: waiting, or held by a batch that is being sent or waits for its
next attempt.  Both count as buffered, and both use up the byte bound.  Producers append without
a lock; what they appended counts as offered from the moment it is taken in, which whoever looks at
the counts does first.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from kaizen_otel._export import SIGNALS
from kaizen_otel._export.batch import Batch, Chunk, Group, Item, envelope_bytes, take_chunks
from kaizen_otel._export.ledger import Ledger, LedgerSnapshot, SignalLedger

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._export import Signal

__all__ = ["Batch", "Buffer", "Group", "Item", "Ledger", "LedgerSnapshot", "SignalLedger"]

MEBIBYTE: Final = 1024 * 1024
# What CPython needs for one item beside its data: the bytes object, its place in a list, and a
# share of the chunk.
_ITEM_OVERHEAD: Final = 64
# So many items are counted together; a larger item is counted at once.
_SLACK: Final = 63
_LARGE: Final = 16 * 1024


class _Queue:
    """What the buffer knows of one signal.

    ``fresh`` takes what producers append, without the lock; it is counted as offered, and
    accepted or refused, when it is taken in: at the latest with ``slack`` more, at every look at
    the ledger, and before every request.
    """

    __slots__ = ("accepted", "failed", "fresh", "held", "held_count", "is_taking_in", "level",
                 "settled", "slack", "waiting", "waiting_bytes", "waiting_count",
                 "waiting_length")  # fmt: skip

    def __init__(self) -> None:
        self.fresh: deque[tuple[Group, bytes]] = deque()
        self.waiting: deque[Chunk] = deque()
        self.reset()

    def reset(self) -> None:
        """Empty it."""
        self.fresh.clear()
        self.is_taking_in = False
        # 0 while nothing waits: then the next item wakes the worker.
        self.slack = 0
        # What the worker was told: 0 nothing waits, 1 something does, 2 enough for a request.
        self.level = 0
        self.waiting.clear()
        self.waiting_bytes = 0
        self.waiting_count = 0
        self.waiting_length = 0
        self.held: dict[int, Batch] = {}
        self.held_count = 0
        # Numbers of items since the start, for flush: how far are we, and did any get lost?
        self.accepted = 0
        self.settled = 0
        self.failed = 0


class Buffer:
    """Bounded by ``bytes_max``; one item may have ``item_bytes_max``.

    ``on_ready`` is called with the signal, without the lock, when its first item waits and when
    ``count_ready`` items or ``bytes_ready`` bytes of one do.  All methods may be called from any
    thread, also by a signal handler or a finaliser on a thread that is inside one.
    """

    def __init__(
        self,
        *,
        bytes_max: int,
        ledger: Ledger,
        item_bytes_max: int = 4 * MEBIBYTE,
        count_ready: int = 512,
        bytes_ready: int = MEBIBYTE,
        on_ready: Callable[[Signal], None] = lambda _: None,
    ) -> None:
        self._bytes_max = bytes_max
        self._item_bytes_max = item_bytes_max
        self._count_ready = count_ready
        self._bytes_ready = bytes_ready
        self._on_ready = on_ready
        self._ledger = ledger
        self._bytes_used = 0
        self._slack = min(_SLACK, count_ready - 1)
        self._queues: dict[Signal, _Queue] = {signal: _Queue() for signal in SIGNALS}
        self._refusal = ""
        ledger.count_buffered_by(
            self.count, self.sending, before=self._take_in_all, after=self._wake
        )

    def sink(self, signal: Signal, group: Group) -> Callable[[bytes], object]:
        """What takes encoded items of one producer; the cheapest way in.

        It never waits and never raises.  What becomes of an item is known by the ledger.
        """
        queue = self._queues[signal]
        fresh, append, take_in = queue.fresh, queue.fresh.append, self._take_in_and_wake

        def sink(data: bytes) -> None:
            append((group, data))
            if len(fresh) > queue.slack or len(data) > _LARGE:
                take_in(signal)

        return sink

    def offer(self, signal: Signal, item: Item) -> bool:
        """Take one item, or count it as dropped and return False.  Never waits for room."""
        resource, scope, schema_url, data, count = item
        group = Group(lambda: resource, scope, schema_url)
        with self._ledger.lock:
            is_accepted = self._admit(signal, group, data, count)
            is_ready = self._is_ready(signal)
        if is_ready:
            self._on_ready(signal)
        return is_accepted

    def _take_in_and_wake(self, signal: Signal) -> None:
        with self._ledger.lock:
            self._take_in(signal)
            is_ready = self._is_ready(signal)
        if is_ready:
            self._on_ready(signal)

    def _take_in_all(self) -> None:
        for signal in SIGNALS:
            self._take_in(signal)

    def _wake(self) -> None:
        for signal in SIGNALS:
            self._take_in_and_wake(signal)

    def _is_ready(self, signal: Signal) -> bool:
        """Whether items began to wait, or began to be enough for a request, since last asked."""
        queue = self._queues[signal]
        length = queue.waiting_length
        is_enough = length >= self._count_ready or queue.waiting_bytes >= self._bytes_ready
        level = 2 if is_enough else int(length > 0)
        is_ready = level > queue.level
        queue.level = level
        return is_ready

    def _take_in(self, signal: Signal) -> None:
        """Count what producers have appended; for a caller that holds the lock."""
        queue = self._queues[signal]
        fresh = queue.fresh
        # A finaliser or a signal handler may come here while this thread is just below.
        if not fresh or queue.is_taking_in:
            return
        queue.is_taking_in = True
        try:
            pop = fresh.popleft
            group, data = pop()
            datas = [data]
            for _ in range(len(fresh)):
                next_group, data = pop()
                if next_group is not group:
                    self._admit_all(signal, group, datas)
                    group, datas = next_group, []
                datas.append(data)
            self._admit_all(signal, group, datas)
        finally:
            queue.is_taking_in = False

    def _admit_all(self, signal: Signal, group: Group, datas: list[bytes]) -> None:
        """Accept items of one group, or count one by one what cannot be."""
        size, length = sum(map(len, datas)), len(datas)
        cost = size + _ITEM_OVERHEAD * length
        is_simple = (
            not self._refusal
            and self._bytes_used + cost <= self._bytes_max
            and size + envelope_bytes(group) <= self._item_bytes_max
        )
        if is_simple:
            self._ledger.offered(signal, length)
            self._append(signal, Chunk(group, datas, length, size))
        else:
            for data in datas:
                self._admit(signal, group, data, 1)

    def _admit(self, signal: Signal, group: Group, data: bytes, count: int) -> bool:
        """Accept one item, or count why not."""
        ledger, size = self._ledger, len(data)
        ledger.offered(signal, count)
        reason = self._refusal
        if not reason and size + envelope_bytes(group) > self._item_bytes_max:
            reason = "too_large"
        if not reason and self._bytes_used + size + _ITEM_OVERHEAD > self._bytes_max:
            reason = "buffer_full"
        if reason:
            ledger.refused(signal, reason, count)
            return False
        self._append(signal, Chunk(group, [data], count, size))
        return True

    def _append(self, signal: Signal, chunk: Chunk) -> None:
        queue, length = self._queues[signal], len(chunk.datas)
        queue.waiting.append(chunk)
        queue.waiting_count += chunk.count
        queue.waiting_length += length
        queue.waiting_bytes += chunk.size_bytes
        queue.accepted += length
        queue.slack = self._slack
        self._bytes_used += chunk.size_bytes + _ITEM_OVERHEAD * length

    def take(self, signal: Signal, *, count_max: int, bytes_max: int) -> Batch | None:
        """Move the oldest items of a signal into a batch; None if none waits.

        At most ``count_max`` items whose request has at most ``bytes_max`` bytes, but at least
        one item.  None also after ``close``.
        """
        with self._ledger.lock:
            queue = self._queues[signal]
            self._take_in(signal)
            if self._refusal or not queue.waiting:
                return None
            batch = Batch(take_chunks(queue.waiting, count_max, bytes_max))
            queue.waiting_bytes -= batch.size_bytes
            queue.waiting_count -= batch.count
            queue.waiting_length -= batch.length
            if not queue.waiting:
                # In this order: whoever appended before saw the old slack and is taken in below.
                queue.slack = 0
                self._take_in(signal)
            _hold(queue, batch)
            is_ready = self._is_ready(signal)
        if is_ready:
            self._on_ready(signal)
        return batch

    def begin(self, batch: Batch) -> bool:
        """Note that a request with this batch goes out; False if the batch is settled already."""
        with self._ledger.lock:
            batch.is_sending = not batch.is_settled
            return batch.is_sending

    def delivered(self, signal: Signal, batch: Batch, *, rejected_count: int = 0) -> None:
        """Settle a batch that the server took, except ``rejected_count`` of its items."""
        rejected_count = min(max(rejected_count, 0), batch.count)
        with self._ledger.lock:
            if self._settle(signal, batch, is_failed=rejected_count > 0):
                self._ledger.delivered(signal, batch.count - rejected_count)
                if rejected_count:
                    self._ledger.dropped(signal, "rejected", rejected_count)

    def dropped(self, signal: Signal, batch: Batch, reason: str) -> None:
        """Settle a batch that will never be delivered, or of which nobody knows."""
        with self._ledger.lock:
            if self._settle(signal, batch, is_failed=True):
                self._ledger.dropped(signal, reason, batch.count)

    def split(self, signal: Signal, batch: Batch) -> list[Batch]:
        """Return two halves in place of a batch of two or more items; none if it is settled."""
        with self._ledger.lock:
            if batch.is_settled:
                return []
            halves = batch.halves()
            batch.is_settled = True
            queue = self._queues[signal]
            del queue.held[id(batch)]
            queue.held_count -= batch.count
            for half in halves:
                half.is_uncertain = batch.is_uncertain
                _hold(queue, half)
            return halves

    def close(self, reason: str) -> None:
        """Count everything as dropped for this reason, now and from now on.

        A batch whose request is under way or was never answered ends as ``unknown``.
        """
        with self._ledger.lock:
            self._take_in_all()
            self._refusal = reason
            for signal, queue in self._queues.items():
                for batch in tuple(queue.held.values()):
                    is_unknown = batch.is_sending or batch.is_uncertain
                    self.dropped(signal, batch, "unknown" if is_unknown else reason)
                if queue.waiting:
                    rest = Batch(list(queue.waiting))
                    queue.waiting.clear()
                    queue.waiting_bytes = queue.waiting_count = queue.waiting_length = 0
                    queue.slack = queue.level = 0
                    _hold(queue, rest)
                    self._settle(signal, rest, is_failed=True)
                    self._ledger.refused(signal, reason, rest.count)

    def count(self, signal: Signal) -> int:
        """How many spans, log records or data points are in the buffer, held ones included."""
        queue = self._queues[signal]
        return queue.waiting_count + queue.held_count

    def sending(self, signal: Signal) -> int:
        """How many of them are part of a request that is not settled."""
        return self._queues[signal].held_count

    def waiting(self, signal: Signal) -> tuple[int, int]:
        """How many items and bytes wait to be taken."""
        self._take_in_and_wake(signal)
        queue = self._queues[signal]
        return queue.waiting_length, queue.waiting_bytes

    def progress(self, signal: Signal) -> tuple[int, int, int]:
        """How many items were accepted, were settled, and were lost after being accepted."""
        self._take_in_and_wake(signal)
        with self._ledger.lock:
            queue = self._queues[signal]
            return queue.accepted, queue.settled, queue.failed

    def after_fork(self) -> None:
        """Start empty in a forked child: what waits is the parent's to send."""
        self._bytes_used = 0
        for queue in self._queues.values():
            queue.reset()  # the sinks hold them

    def _settle(self, signal: Signal, batch: Batch, *, is_failed: bool) -> bool:
        if batch.is_settled:
            return False
        batch.is_settled = True
        queue = self._queues[signal]
        del queue.held[id(batch)]
        queue.held_count -= batch.count
        queue.settled += batch.length
        queue.failed += is_failed
        self._bytes_used -= batch.size_bytes + _ITEM_OVERHEAD * batch.length
        return True


def _hold(queue: _Queue, batch: Batch) -> None:
    queue.held[id(batch)] = batch
    queue.held_count += batch.count
