"""The ledger: what became of every item that was offered.

``offered == delivered + dropped (by reason) + buffered`` holds at every instant.  The first
three are counted here, on the lines where it happens; the fourth is counted by the buffer, from
what it really holds, so that a drop that nobody counted shows.

Words of ``dropped``: ``buffer_full`` and ``too_large`` (the item was refused or can never be
sent), ``shutdown``, ``disabled`` (no transport for the signal), ``rejected`` (partial success)
and the reason of a rejected request (``bad_request``, ``unauthenticated``...),
``retry_exhausted``, ``unknown`` (it was sent, the answer never came), ``internal_error``.
"""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._export import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._export import Signal

_UNITS: Final[Mapping[Signal, str]] = {"traces": "span", "logs": "log", "metrics": "metric"}


class SignalLedger(NamedTuple):
    """The counts of one signal: spans, log records or data points.

    ``refused`` are those of ``dropped`` that never were part of a request, ``sending`` those of
    ``buffered`` that are.
    """

    dropped: Mapping[str, int]
    offered: int = 0
    delivered: int = 0
    buffered: int = 0
    refused: Mapping[str, int] = MappingProxyType({})
    sending: int = 0

    def reconciles(self) -> bool:
        """Whether nothing is unaccounted for."""
        return self.offered == self.delivered + sum(self.dropped.values()) + self.buffered


class LedgerSnapshot(NamedTuple):
    """All counts at one instant."""

    signals: Mapping[Signal, SignalLedger]

    def reconciles(self) -> bool:
        """Whether nothing is unaccounted for, in any signal."""
        return all(signal.reconciles() for signal in self.signals.values())

    def line(self) -> str:
        """One line for people: ``12 spans, 4 logs, 9 metrics delivered, 0 dropped``."""
        delivered = ", ".join(
            _amount(self.signals[signal].delivered, unit) for signal, unit in _UNITS.items()
        )
        reasons = [
            f"{_amount(count, unit)} {reason}"
            for signal, unit in _UNITS.items()
            for reason, count in sorted(self.signals[signal].dropped.items())
            if count
        ]
        dropped = sum(sum(signal.dropped.values()) for signal in self.signals.values())
        buffered = sum(signal.buffered for signal in self.signals.values())
        return (
            f"{delivered} delivered, {dropped} dropped"
            + (f" ({', '.join(reasons)})" if reasons else "")
            + (f", {buffered} waiting" if buffered else "")
        )


class _Counts:
    """The counts of one signal, changed under the ledger's lock."""

    __slots__ = ("delivered", "dropped", "offered", "refused")

    def __init__(self) -> None:
        self.offered = 0
        self.delivered = 0
        self.dropped: dict[str, int] = {}
        self.refused: dict[str, int] = {}


class Ledger:
    """Counts of one process.  Every method may be called from any thread.

    The lock is re-entrant because a signal handler or a finaliser may end a span on a thread
    that is counting just now.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._counts: dict[Signal, _Counts] = {signal: _Counts() for signal in SIGNALS}
        self._buffered: list[Callable[[Signal], int]] = []
        self._sending: list[Callable[[Signal], int]] = []
        self._pending: list[Callable[[Signal], int]] = []
        self._before: list[Callable[[], None]] = []
        self._after: list[Callable[[], None]] = []
        self._version = 0

    def count_buffered_by(
        self,
        buffered: Callable[[Signal], int],
        sending: Callable[[Signal], int] = lambda _: 0,
        *,
        before: Callable[[], None] = lambda: None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        """Take what a buffer holds, and what of it is part of a request, from these functions.

        They are called under the lock.  ``before`` is called under it too, before every look:
        what came in without being counted is counted now; ``after`` is called without it.
        """
        self._buffered.append(buffered)
        self._sending.append(sending)
        self._before.append(before)
        self._after.append(after)

    def count_pending_by(self, pending: Callable[[Signal], int]) -> None:
        """Take from this function what is not encoded yet: it is offered, and it is buffered.

        It is called under the lock.
        """
        self._pending.append(pending)

    def offered(self, signal: Signal, count: int) -> None:
        """Count items that came in, for a caller that holds the lock."""
        self._counts[signal].offered += count
        self._version += 1

    def delivered(self, signal: Signal, count: int) -> None:
        """Count items that the server took."""
        with self.lock:
            self._counts[signal].delivered += count

    def dropped(self, signal: Signal, reason: str, count: int) -> None:
        """Count items that will never arrive, or of which nobody can say whether they did."""
        with self.lock:
            dropped = self._counts[signal].dropped
            dropped[reason] = dropped.get(reason, 0) + count

    def refused(self, signal: Signal, reason: str, count: int) -> None:
        """Count items that are dropped before they were part of a request."""
        with self.lock:
            self.dropped(signal, reason, count)
            refused = self._counts[signal].refused
            refused[reason] = refused.get(reason, 0) + count

    def snapshot(self) -> LedgerSnapshot:
        """All counts at one instant."""
        snapshot = self._snapshot_now()
        for after in self._after:
            after()
        return snapshot

    def _snapshot_now(self) -> LedgerSnapshot:
        with self.lock:
            while True:
                for before in self._before:
                    before()
                version = self._version
                snapshot = LedgerSnapshot(
                    signals={signal: self._snapshot(signal) for signal in SIGNALS}
                )
                # A finaliser that ran while we counted may have offered something.
                if version == self._version:
                    return snapshot

    def _snapshot(self, signal: Signal) -> SignalLedger:
        counts = self._counts[signal]
        pending = sum(pending(signal) for pending in self._pending)
        return SignalLedger(
            offered=counts.offered + pending,
            delivered=counts.delivered,
            dropped=dict(counts.dropped),
            buffered=sum(buffered(signal) for buffered in self._buffered) + pending,
            refused=dict(counts.refused),
            sending=sum(sending(signal) for sending in self._sending),
        )

    def after_fork(self) -> None:
        """Start from zero in a forked child: what the parent holds is the parent's."""
        self.lock = threading.RLock()
        self._counts = {signal: _Counts() for signal in SIGNALS}


def _amount(count: int, unit: str) -> str:
    return f"{count} {unit}" + ("" if count == 1 else "s")
