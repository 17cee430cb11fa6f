"""The exporter: one worker thread carries all signals from the buffer to their transports.

Threads of the user only append to the buffer.  The thread is a daemon, is started by the first
item, and again in a forked child, which begins with an empty buffer and a ledger of zeros.
"""

from __future__ import annotations

import queue
import threading
import weakref
from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import at_fork
from kaizen_otel._export.buffer import MEBIBYTE, Buffer
from kaizen_otel._export.retry import RetryPolicy
from kaizen_otel._export.sender import MILLISECOND_NS, NEVER_NS, Limits, Sender

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kaizen_otel._edges import Clock
    from kaizen_otel._export import Signal, Transport
    from kaizen_otel._export.buffer import Item, Ledger

_WARN_INTERVAL_NS: Final = 60 * 1000 * MILLISECOND_NS
_WARNINGS_MAX: Final = 64
# An idle worker still looks up this often, so that no missed wake-up lasts.
_IDLE_NS: Final = 60 * 1000 * MILLISECOND_NS


class WakeUp(threading.Event):
    """An event for one waiter that may be set inside a signal handler or a finaliser.

    ``threading.Event`` holds a lock that is not re-entrant; ``queue.SimpleQueue.put`` is
    documented to be re-entrant.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tokens: queue.SimpleQueue[None] = queue.SimpleQueue()

    def set(self) -> None:
        """Wake the waiter, now or when it next waits."""
        if self._tokens.empty():
            self._tokens.put(None)

    def is_set(self) -> bool:
        """Whether the next wait returns at once."""
        return not self._tokens.empty()

    def clear(self) -> None:
        """Forget what was set."""
        while self.wait(0):
            pass

    def wait(self, timeout: float | None = None) -> bool:
        """Wait, and take what was set."""
        try:
            self._tokens.get(block=timeout != 0, timeout=timeout or None)
        except queue.Empty:
            return False
        return True


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

    ``collect`` returns the current metrics as items; it is called by the worker every
    ``metric_interval_ms`` and at each flush.  ``warn`` is called at most once a minute for one
    cause.  Signals without a transport are counted as dropped (``disabled``).
    """

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
    ) -> None:
        self._clock = clock
        self._ledger = ledger
        self._collect = collect
        self._metric_interval_ns = metric_interval_ms * MILLISECOND_NS
        self._warn_user = warn
        self._warned_ns: dict[str, int] = {}
        limits = Limits(
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
            bytes_ready=limits.bytes_ready,
            on_ready=self._wake_worker,
        )
        self._senders: dict[Signal, Sender] = {
            signal: Sender(
                signal,
                transport,
                buffer=self._buffer,
                clock=clock,
                limits=limits,
                random_fraction=ids_random,
                warn=self._warn,
            )
            for signal, transport in transports.items()
        }
        self._is_closed = False
        self._is_delivered_at_shutdown = True
        self._reset()
        after_fork = weakref.WeakMethod(self.after_fork)
        at_fork(lambda: _call_if_alive(after_fork))

    def _reset(self) -> None:
        self._wake = WakeUp()
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.RLock()
        self._shutdown_lock = threading.Lock()
        self._flushes: list[_Flush] = []
        self._shutdown_deadline_ns: int | None = None
        self._stopped = threading.Event()
        self._collect_at_ns = self._clock.monotonic_ns() + self._metric_interval_ns

    def offer(self, signal: Signal, item: Item) -> bool:
        """Take one item for sending; False if it was dropped, which is counted.

        Never raises and never waits for the network or for room.
        """
        if signal not in self._senders:
            with self._ledger.lock:
                self._ledger.offered(signal, item.count)
                self._ledger.dropped(signal, "disabled", item.count)
            return False
        return self._buffer.offer(signal, item)

    def start(self) -> None:
        """Start the worker before the first item, so that metrics alone are collected too."""
        if not self._is_closed:
            self._wake_worker()

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
        with self._thread_lock:
            self._flushes.append(flush)
        if self._start_worker():
            self._wake.set()
            self._clock.wait(flush.done, deadline_ns - self._clock.monotonic_ns())
        else:
            self._run_until(flush)
        with self._thread_lock:
            if flush in self._flushes:
                self._flushes.remove(flush)
        return flush.is_delivered

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
        self._is_delivered_at_shutdown = self._flush_until(deadline_ns)
        self._is_closed = True
        self._buffer.close("shutdown")
        self._wake.set()
        with self._thread_lock:
            is_running = self._thread is not None
        if is_running:
            self._clock.wait(self._stopped, deadline_ns - self._clock.monotonic_ns())
        else:
            self._close_transports()

    def _wake_worker(self) -> None:
        if self._start_worker():
            self._wake.set()

    def _start_worker(self) -> bool:
        """Have a worker; False if no thread can be started (the interpreter is ending)."""
        if self._thread is not None:
            return True
        with self._thread_lock:
            if self._thread is not None:
                return True
            thread = threading.Thread(target=self._run, name="kaizen-otel-exporter", daemon=True)
            self._thread = thread
            try:
                thread.start()
            except RuntimeError:  # Python 3.12+: "can't create new thread at interpreter shutdown"
                self._thread = None
                return False
            return True

    def _run_until(self, flush: _Flush) -> None:
        """Do the worker's part on the caller's thread."""
        while not flush.done.is_set() and self._clock.monotonic_ns() < flush.deadline_ns:
            pause_ns = min(self._step(), flush.deadline_ns - self._clock.monotonic_ns())
            if pause_ns > 0 and not flush.done.is_set():
                self._clock.wait(self._wake, pause_ns)

    def _run(self) -> None:
        try:
            while not self._is_closed:
                self._wake.clear()
                pause_ns = self._step()
                if pause_ns > 0 and not self._is_closed:
                    self._clock.wait(self._wake, pause_ns)
        finally:
            self._close_transports()
            self._stopped.set()

    def _step(self) -> int:
        """Make at most one request per signal; return how long there is nothing to do, in ns."""
        try:
            return self._step_once()
        except Exception as error:  # noqa: BLE001 - a worker that dies would lose everything
            self._warn("", "internal_error", f"telemetry could not be sent: {error!r}. It is kept")
            return MILLISECOND_NS * 1000

    def _step_once(self) -> int:
        now_ns = self._clock.monotonic_ns()
        self._prepare(now_ns)
        is_flushing = bool(self._flushes)
        deadline_ns = self._shutdown_deadline_ns or NEVER_NS
        next_ns = min(now_ns + _IDLE_NS, self._collect_at_ns)
        is_busy = False
        for sender in self._senders.values():
            due_ns = sender.due_ns(now_ns, is_flushing=is_flushing)
            if due_ns <= now_ns < deadline_ns and not self._is_closed:
                sender.send(deadline_ns=deadline_ns, is_flushing=is_flushing)
                is_busy = True
            else:
                next_ns = min(next_ns, due_ns)
        self._finish_flushes()
        return 0 if is_busy else max(next_ns - self._clock.monotonic_ns(), 0)

    def _prepare(self, now_ns: int) -> None:
        """Collect metrics if it is time, and note what new flushes wait for."""
        with self._thread_lock:
            new = [flush for flush in self._flushes if flush.targets is None]
        if self._collect is not None and (new or now_ns >= self._collect_at_ns):
            self._collect_at_ns = now_ns + self._metric_interval_ns
            try:
                for item in self._collect():
                    self.offer("metrics", item)
            except Exception as error:  # noqa: BLE001 - an instrument's callback is the user's
                self._warn("", "collect", f"metrics could not be collected: {error!r}")
        elif self._collect is None:
            self._collect_at_ns = NEVER_NS
        for flush in new:
            flush.targets = {signal: self._buffer.progress(signal)[0] for signal in self._senders}
        if new:
            for sender in self._senders.values():
                sender.hurry()

    def _finish_flushes(self) -> None:
        settled = {signal: self._buffer.progress(signal)[1] for signal in self._senders}
        with self._thread_lock:
            flushes = tuple(self._flushes)
        for flush in flushes:
            targets = flush.targets
            if targets is None or any(settled[s] < target for s, target in targets.items()):
                continue
            flush.is_delivered = self._failed() == flush.failed
            with self._thread_lock:
                if flush in self._flushes:
                    self._flushes.remove(flush)
            flush.done.set()

    def _failed(self) -> int:
        return sum(self._buffer.progress(signal)[2] for signal in self._senders)

    def _close_transports(self) -> None:
        for transport in {id(s.transport): s.transport for s in self._senders.values()}.values():
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
        for sender in self._senders.values():
            sender.reset()
        self._reset()


def _call_if_alive(method: weakref.WeakMethod[Callable[[], None]]) -> None:
    function = method()
    if function is not None:
        function()
