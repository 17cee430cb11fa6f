"""The exporter: workers carry all signals from the buffer to their transports.

Threads of the user only append to the buffer.  Workers are daemon threads, are started by the
first item, and again in a forked child, which begins with an empty buffer and a ledger of zeros.
"""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import at_fork
from kaizen_otel._export.buffer import MEBIBYTE, Buffer, Item
from kaizen_otel._export.retry import RetryPolicy
from kaizen_otel._export.sender import MILLISECOND_NS, NEVER_NS, Limits, Sender
from kaizen_otel._export.worker import IDLE_NS, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kaizen_otel._edges import Clock
    from kaizen_otel._export import Signal, Transport
    from kaizen_otel._export.buffer import Group, Ledger

_WARN_INTERVAL_NS: Final = 60 * 1000 * MILLISECOND_NS
_WARNINGS_MAX: Final = 64
LANES_MAX: Final = 4


class _Flush:
    """One caller that waits until what was offered before is out of the buffer."""

    __slots__ = ("deadline_ns", "done", "failed", "is_delivered", "targets")

    def __init__(self, deadline_ns: int, failed: int) -> None:
        self.deadline_ns = deadline_ns
        self.done = threading.Event()
        self.failed = failed
        self.targets: dict[Signal, int] | None = None
        self.is_delivered = False


class Exporter:
    """Batches, sends, retries and counts.  Times are milliseconds.

    ``collect`` returns the current metrics as items; it is called by a worker every
    ``metric_interval_ms`` and at each flush.  ``warn`` is called at most once a minute for one
    cause.  Signals without a transport are counted as dropped (``disabled``).  ``open_more``
    opens a further transport of a signal (None: there is no other), for up to ``LANES_MAX``
    requests in flight under backlog; metrics have one, because they must arrive in order.
    ``concluded`` is told of each export: its signal, nanoseconds, and why it failed or nothing;
    ``collect_last`` gives the metrics that follow everything else at shutdown.
    """

    _worker_kind = Worker

    def __init__(
        self,
        *,
        transports: Mapping[Signal, Transport],
        ledger: Ledger,
        clock: Clock,
        ids_random: Callable[[], float],
        bytes_max: int = 64 * MEBIBYTE,
        batch_size: int = 512,
        request_bytes_max: int = 4 * MEBIBYTE,
        interval_ms: int = 1000,
        metric_interval_ms: int = 60_000,
        timeout_ms: int = 10_000,
        retry_delay_ms_first: int = 500,
        retry_elapsed_ms_max: int = 300_000,
        collect: Callable[[], Iterable[Item]] | None = None,
        warn: Callable[[str], None],
        open_more: Callable[[Signal], Transport | None] = lambda _: None,
        concluded: Callable[[Signal, int, str], None] = lambda _s, _d, _r: None,
        collect_last: Callable[[], Iterable[Item]] | None = None,
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._collect = collect
        self._metric_interval_ns = metric_interval_ms * MILLISECOND_NS
        self._warn_user = warn
        self._warned_ns: dict[str, int] = {}
        self._random_fraction = ids_random
        self._open_more = open_more
        self._concluded = concluded
        self._collect_last = collect_last
        self._limits = Limits(
            batch_size=batch_size,
            request_bytes_max=request_bytes_max,
            interval_ms=interval_ms,
            timeout_ms=timeout_ms,
            retry=RetryPolicy(
                delay_ms_first=retry_delay_ms_first, elapsed_ms_max=retry_elapsed_ms_max
            ),
        )
        self._buffer = Buffer(
            bytes_max=bytes_max,
            ledger=ledger,
            item_bytes_max=request_bytes_max,
            count_ready=batch_size,
            bytes_ready=self._limits.bytes_ready,
            on_ready=self._wake_worker,
        )
        self._lanes = self._first_lanes(transports)
        self._collector = self._lanes["metrics"][0] if "metrics" in self._lanes else None
        self._is_closed = False
        self._is_delivered_at_shutdown = True
        self._reset()
        after_fork = weakref.WeakMethod(self.after_fork)
        at_fork(lambda: None if (method := after_fork()) is None else method())

    def _first_lanes(self, transports: Mapping[Signal, Transport]) -> dict[Signal, list[Worker]]:
        # A transport is used by one thread at a time: signals that share one share a worker.
        shared: dict[int, list[Sender]] = {}
        for signal, transport in transports.items():
            shared.setdefault(id(transport), []).append(self._sender(signal, transport))
        workers = [self._worker(senders) for senders in shared.values()]
        return {sender.signal: [worker] for worker in workers for sender in worker.senders}

    def _reset(self) -> None:
        self._lock = threading.RLock()
        self._shutdown_lock = threading.Lock()
        self._flushes: list[_Flush] = []
        self._shutdown_deadline_ns: int | None = None
        self._running_ended = 0
        self._stopped = threading.Event()
        self._collect_at_ns = self._clock.monotonic_ns() + self._metric_interval_ns
        for worker in self._workers():
            worker.reset()

    def _sender(self, signal: Signal, transport: Transport) -> Sender:
        return Sender(
            signal,
            transport,
            buffer=self._buffer,
            clock=self._clock,
            limits=self._limits,
            random_fraction=self._random_fraction,
            warn=self._warn,
            concluded=self._concluded,
        )

    def _worker(
        self, senders: list[Sender], *, open_senders: Callable[[], list[Sender]] | None = None
    ) -> Worker:
        return self._worker_kind(
            senders,
            clock=self._clock,
            step=self._step,
            is_closed=lambda: self._is_closed,
            on_end=self._ended,
            open_senders=open_senders,
        )

    def _workers(self) -> list[Worker]:
        """Return every worker once."""
        with self._lock:
            found = [worker for lanes in self._lanes.values() for worker in lanes]
        return list({id(worker): worker for worker in found}.values())

    def offer(self, signal: Signal, item: Item) -> bool:
        """Take one item for sending; False if it was dropped, which is counted.

        Never raises and never waits for the network or for room.
        """
        if signal not in self._lanes:
            with self._ledger.lock:
                self._ledger.offered(signal, item.count)
                self._ledger.refused(signal, "disabled", item.count)
            return False
        return self._buffer.offer(signal, item)

    def sink(self, signal: Signal, group: Group) -> Callable[[bytes], object]:
        """What takes encoded items of one producer: as ``offer``, but only the ledger knows."""
        if signal in self._lanes:
            return self._buffer.sink(signal, group)
        return lambda data: self.offer(signal, Item(b"", b"", "", data, 1))

    def start(self) -> None:
        """Start collecting before the first item, so that metrics alone are sent too."""
        if not self._is_closed and self._collector is not None:
            self._collector.wake()

    def flush(self, timeout_ms: int) -> bool:
        """Collect metrics and send all that was offered before, within the time.

        True if the servers took all of it.  Batches that wait for a retry are tried at once.
        """
        deadline_ns = self._clock.monotonic_ns() + timeout_ms * MILLISECOND_NS
        return self._flush_until(deadline_ns)

    def _flush_until(self, deadline_ns: int) -> bool:
        if self._is_closed:
            return self._is_delivered_at_shutdown
        flush = _Flush(deadline_ns, self._failed())
        if self._collect is None or self._collector is None:
            flush.targets = self._targets()
        with self._lock:
            self._flushes.append(flush)
        workers = self._workers()
        for worker in workers:
            worker.is_hurried = True
        # Who has never had anything to send needs no thread for this.
        needed = [worker for worker in workers if self._is_needed(worker)]
        threadless = [worker for worker in needed if not worker.wake()]
        self._finish_flushes()
        if threadless:
            self._run_until(flush, threadless)
        else:
            self._clock.wait(flush.done, deadline_ns - self._clock.monotonic_ns())
        with self._lock:
            if flush in self._flushes:
                self._flushes.remove(flush)
        return flush.is_delivered

    def _is_needed(self, worker: Worker) -> bool:
        return (
            worker.has_thread
            or worker is self._collector
            or any(self._buffer.count(sender.signal) for sender in worker.senders)
        )

    def _targets(self) -> dict[Signal, int]:
        return {signal: self._buffer.progress(signal)[0] for signal in self._lanes}

    def shutdown(self, timeout_ms: int) -> bool:
        """Flush, then stop; what did not arrive in time is counted as dropped.

        True if everything arrived.  A second call does nothing and returns the same.
        """
        deadline_ns = self._clock.monotonic_ns() + timeout_ms * MILLISECOND_NS
        if not self._shutdown_lock.acquire(timeout=max(timeout_ms, 0) / 1000):
            return False
        try:
            if not self._is_closed:
                self._shutdown_until(deadline_ns)
            return self._is_delivered_at_shutdown
        finally:
            self._shutdown_lock.release()

    def _shutdown_until(self, deadline_ns: int) -> None:
        self._shutdown_deadline_ns = deadline_ns
        is_delivered = self._flush_until(deadline_ns)
        if self._collect_last is not None:
            self._collect = self._collect_last
            is_delivered = self._flush_until(deadline_ns) and is_delivered
        self._is_delivered_at_shutdown = is_delivered
        self._is_closed = True
        self._buffer.close("shutdown")
        with self._lock:
            running = [worker for worker in self._workers() if worker.has_thread]
            idle = [worker for worker in self._workers() if not worker.has_thread]
            if not running:
                self._stopped.set()
        for worker in running:
            worker.pause.set()
        for worker in idle:
            self._close_transports(worker)
        self._clock.wait(self._stopped, deadline_ns - self._clock.monotonic_ns())

    def _wake_worker(self, signal: Signal) -> None:
        """Wake who can take the signal's items."""
        first = self._lanes[signal][0]
        if not first.is_sending:
            first.wake()
        elif first.senders[0].is_backlogged(batches=1):
            self._grow(signal)

    def _grow(self, signal: Signal) -> None:
        """Have one more request in flight, if the last one did not fail."""
        lanes = self._lanes[signal]
        if signal == "metrics" or self._is_closed or lanes[0].senders[0].is_failing:
            return
        with self._lock:
            idle = next((lane for lane in lanes if lane.is_extra and not lane.is_sending), None)
            if idle is None and len(lanes) < LANES_MAX:
                idle = self._worker([], open_senders=lambda: self._open_senders(signal))
                lanes.append(idle)
        if idle is not None:
            idle.wake()

    def _open_senders(self, signal: Signal) -> list[Sender]:
        """Open a further transport, on the thread that is to use it."""
        try:
            transport = self._open_more(signal)
        except Exception as error:  # noqa: BLE001 - the first transport goes on as before
            self._warn("", "open", f"no second connection for {signal}: {error!r}")
            return []
        return [] if transport is None else [self._sender(signal, transport)]

    def _run_until(self, flush: _Flush, workers: list[Worker]) -> None:
        """Do the workers' part on the caller's thread."""
        wake = workers[0].pause
        while not flush.done.is_set() and self._clock.monotonic_ns() < flush.deadline_ns:
            pause_ns = min([self._step(worker) for worker in workers])
            pause_ns = min(pause_ns, flush.deadline_ns - self._clock.monotonic_ns())
            if pause_ns > 0 and not flush.done.is_set():
                self._clock.wait(wake, pause_ns)

    def _ended(self, worker: Worker) -> None:
        """A worker's thread ends: after shutdown."""
        self._close_transports(worker)
        with self._lock:
            self._running_ended += 1
            running = sum(one.has_thread for one in self._workers())
            if self._running_ended >= running:
                self._stopped.set()

    def _step(self, worker: Worker) -> int:
        """Make at most one request per signal; return how long there is nothing to do, in ns."""
        try:
            return self._step_once(worker)
        except Exception as error:  # noqa: BLE001 - a worker that dies would lose everything
            self._warn("", "internal_error", f"telemetry could not be sent: {error!r}. It is kept")
            return MILLISECOND_NS * 1000

    def _step_once(self, worker: Worker) -> int:
        now_ns = self._clock.monotonic_ns()
        next_ns = now_ns + IDLE_NS
        if worker is self._collector:
            self._prepare(now_ns)
            next_ns = min(next_ns, self._collect_at_ns)
        due_ns = worker.send_due(
            now_ns,
            deadline_ns=self._shutdown_deadline_ns or NEVER_NS,
            is_flushing=bool(self._flushes),
            before=self._look_for_backlog,
        )
        self._finish_flushes()
        if due_ns is None:
            return 0
        return max(min(next_ns, due_ns) - self._clock.monotonic_ns(), 0)

    def _look_for_backlog(self, sender: Sender) -> None:
        if sender.is_backlogged(batches=2):
            self._grow(sender.signal)

    def _prepare(self, now_ns: int) -> None:
        """Collect metrics if it is time, and note what new flushes wait for."""
        with self._lock:
            new = [flush for flush in self._flushes if flush.targets is None]
        if self._collect is None:
            self._collect_at_ns = NEVER_NS
        elif new or now_ns >= self._collect_at_ns:
            self._collect_at_ns = now_ns + self._metric_interval_ns
            try:
                for item in self._collect():
                    self.offer("metrics", item)
            except Exception as error:  # noqa: BLE001 - an instrument's callback is the user's
                self._warn("", "collect", f"metrics could not be collected: {error!r}")
        for flush in new:
            flush.targets = self._targets()

    def _finish_flushes(self) -> None:
        settled = {signal: self._buffer.progress(signal)[1] for signal in self._lanes}
        with self._lock:
            flushes = tuple(self._flushes)
        for flush in flushes:
            targets = flush.targets
            if targets is None or any(settled[s] < target for s, target in targets.items()):
                continue
            flush.is_delivered = self._failed() == flush.failed
            with self._lock:
                if flush in self._flushes:
                    self._flushes.remove(flush)
            flush.done.set()

    def _failed(self) -> int:
        return sum(self._buffer.progress(signal)[2] for signal in self._lanes)

    def _close_transports(self, worker: Worker) -> None:
        for transport in {id(s.transport): s.transport for s in worker.senders}.values():
            try:
                transport.close()
            except Exception as error:  # noqa: BLE001 - all others must be closed too
                place = transport.description
                self._warn(place, "close", f"{place} could not be closed: {error!r}")

    def _warn(self, place: str, cause: str, text: str) -> None:
        """Tell the user, at most once a minute for one cause at one place, or with one text."""
        now_ns, keys = self._clock.monotonic_ns(), (f"{cause} {place}", text)
        is_new = all(
            now_ns - self._warned_ns.get(key, -_WARN_INTERVAL_NS) >= _WARN_INTERVAL_NS
            for key in keys
        )
        if not is_new:
            return
        if len(self._warned_ns) >= _WARNINGS_MAX:
            self._warned_ns.clear()
        self._warned_ns.update(dict.fromkeys(keys, now_ns))
        self._warn_user(text)

    def after_fork(self) -> None:
        """Begin anew in a forked child; the parent keeps what it holds."""
        self._ledger.after_fork()
        self._buffer.after_fork()
        self._reset()
