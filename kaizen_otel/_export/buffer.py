"""Items between the producer and the exporter: bounded by bytes, counted by the ledger.

An item is in exactly one place: waiting, or held by a batch that is being sent or waits for its
next attempt.  Both count as buffered, and both use up the byte bound.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._export import SIGNALS
from kaizen_otel._export.ledger import Ledger, LedgerSnapshot, SignalLedger
from kaizen_otel._otlp.common import encode_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._export import Signal

__all__ = ["Batch", "Buffer", "Item", "Ledger", "LedgerSnapshot", "SignalLedger"]

MEBIBYTE: Final = 1024 * 1024
# What CPython needs for one item beside its data: the tuple, the bytes object, the deque's slot.
_ITEM_OVERHEAD: Final = 120
# Tags and lengths that the request puts around an item and around a group.
_ITEM_ENVELOPE: Final = 6
_GROUP_ENVELOPE: Final = 24


class Item(NamedTuple):
    """One encoded span, log record or metric, and who produced it.

    ``count`` is 1, or the number of data points of a metric.
    """

    resource: bytes
    scope: bytes
    schema_url: str
    data: bytes
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks an item for


class Batch:
    """Items that go into one request.  Settled exactly once, by the buffer, under its lock."""

    __slots__ = ("count", "is_sending", "is_settled", "is_uncertain", "items", "size_bytes")

    def __init__(self, items: list[Item], size_bytes: int) -> None:
        self.items = items
        self.count = sum(item.count for item in items)
        self.size_bytes = size_bytes
        self.is_settled = False
        self.is_sending = False
        # A request with these items was sent and not answered: perhaps the server has them.
        self.is_uncertain = False

    def encode(self) -> bytes:
        """Return the request's bytes."""
        groups: dict[tuple[bytes, bytes, str], list[bytes]] = {}
        for resource, scope, schema_url, data, _ in self.items:
            groups.setdefault((resource, scope, schema_url), []).append(data)
        return encode_request((*key, datas) for key, datas in groups.items())


class _Queue:
    """What the buffer knows of one signal."""

    __slots__ = ("accepted", "failed", "held", "held_count", "settled", "waiting",
                 "waiting_bytes", "waiting_count")  # fmt: skip

    def __init__(self) -> None:
        self.waiting: deque[Item] = deque()
        self.waiting_bytes = 0
        self.waiting_count = 0
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
        self._queues: dict[Signal, _Queue] = {signal: _Queue() for signal in SIGNALS}
        self._refusal = ""
        ledger.count_buffered_by(self.count, self.sending)

    def offer(self, signal: Signal, item: Item) -> bool:
        """Take one item, or count it as dropped and return False.  Never waits for room."""
        resource, scope, schema_url, data, count = item
        size = len(data)
        cost = size + _ITEM_OVERHEAD
        ledger = self._ledger
        with ledger.lock:
            ledger.offered(signal, count)
            queue = self._queues[signal]
            if self._refusal:
                ledger.refused(signal, self._refusal, count)
                return False
            envelope = len(resource) + len(scope) + len(schema_url) + _GROUP_ENVELOPE
            if size + envelope > self._item_bytes_max:
                ledger.refused(signal, "too_large", count)
                return False
            if self._bytes_used + cost > self._bytes_max:
                ledger.refused(signal, "buffer_full", count)
                return False
            waiting = queue.waiting
            waiting.append(item)
            self._bytes_used += cost
            waiting_bytes = queue.waiting_bytes = queue.waiting_bytes + size
            queue.waiting_count += count
            queue.accepted += 1
            length = len(waiting)
        if (
            length in (1, self._count_ready)
            or waiting_bytes >= self._bytes_ready > waiting_bytes - size
        ):
            self._on_ready(signal)
        return True

    def take(self, signal: Signal, *, count_max: int, bytes_max: int) -> Batch | None:
        """Move the oldest items of a signal into a batch; None if none waits.

        At most ``count_max`` items whose request has at most ``bytes_max`` bytes, but at least
        one item.  None also after ``close``.
        """
        items: list[Item] = []
        seen: set[tuple[bytes, bytes, str]] = set()
        request_bytes = size_bytes = 0
        with self._ledger.lock:
            queue = self._queues[signal]
            waiting = queue.waiting
            if self._refusal:
                return None
            while waiting and len(items) < count_max:
                item = waiting[0]
                request_bytes += len(item.data) + _ITEM_ENVELOPE
                if item[:3] not in seen:
                    seen.add(item[:3])
                    request_bytes += len(item.resource) + len(item.scope) + _envelope(item)
                if items and request_bytes > bytes_max:
                    break
                items.append(waiting.popleft())
                size_bytes += len(item.data)
            if not items:
                return None
            batch = Batch(items, size_bytes)
            queue.waiting_bytes -= size_bytes
            queue.waiting_count -= batch.count
            _hold(queue, batch)
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
        middle = len(batch.items) // 2
        assert middle > 0, "a single item cannot be split"
        with self._ledger.lock:
            if batch.is_settled:
                return []
            batch.is_settled = True
            queue = self._queues[signal]
            del queue.held[id(batch)]
            queue.held_count -= batch.count
            halves = [
                Batch(part, sum(len(item.data) for item in part))
                for part in (batch.items[:middle], batch.items[middle:])
            ]
            for half in halves:
                half.is_uncertain = batch.is_uncertain
                _hold(queue, half)
            return halves

    def close(self, reason: str) -> None:
        """Count everything as dropped for this reason, now and from now on.

        A batch whose request is under way or was never answered ends as ``unknown``.
        """
        with self._ledger.lock:
            self._refusal = reason
            for signal, queue in self._queues.items():
                for batch in tuple(queue.held.values()):
                    is_unknown = batch.is_sending or batch.is_uncertain
                    self.dropped(signal, batch, "unknown" if is_unknown else reason)
                if queue.waiting:
                    rest = Batch(list(queue.waiting), queue.waiting_bytes)
                    queue.waiting.clear()
                    queue.waiting_bytes = queue.waiting_count = 0
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
        queue = self._queues[signal]
        return len(queue.waiting), queue.waiting_bytes

    def progress(self, signal: Signal) -> tuple[int, int, int]:
        """How many items were accepted, were settled, and were lost after being accepted."""
        with self._ledger.lock:
            queue = self._queues[signal]
            return queue.accepted, queue.settled, queue.failed

    def after_fork(self) -> None:
        """Start empty in a forked child: what waits is the parent's to send."""
        self._bytes_used = 0
        self._queues = {signal: _Queue() for signal in SIGNALS}

    def _settle(self, signal: Signal, batch: Batch, *, is_failed: bool) -> bool:
        if batch.is_settled:
            return False
        batch.is_settled = True
        queue = self._queues[signal]
        del queue.held[id(batch)]
        queue.held_count -= batch.count
        queue.settled += len(batch.items)
        queue.failed += is_failed
        self._bytes_used -= batch.size_bytes + _ITEM_OVERHEAD * len(batch.items)
        return True


def _hold(queue: _Queue, batch: Batch) -> None:
    queue.held[id(batch)] = batch
    queue.held_count += batch.count


def _envelope(item: Item) -> int:
    return _GROUP_ENVELOPE + len(item.schema_url)
