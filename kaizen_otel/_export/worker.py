"""One thread that sends: what it waits for, and when it makes the next request.

Every transport has a worker of its own, so that a server that hangs delays nobody else; under
backlog a transport gets more of them (lanes), because one request at a time carries no more than
one batch per round trip.
"""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING, Final

from kaizen_otel._export.sender import MILLISECOND_NS, NEVER_NS

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock
    from kaizen_otel._export.sender import Sender

# An idle worker still looks up this often, so that no missed wake-up lasts.
IDLE_NS: Final = 60 * 1000 * MILLISECOND_NS


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


class Worker:
    """A daemon thread for the senders of one transport; started by what it is to send.

    ``step`` does one round of work with the worker and returns for how many nanoseconds there is
    none; ``on_end`` is called by the thread when it ends.  A worker with ``open_senders`` is an
    extra lane: it opens them on its own thread, and helps under backlog only.
    """

    def __init__(
        self,
        senders: list[Sender],
        *,
        clock: Clock,
        step: Callable[[Worker], int],
        is_closed: Callable[[], bool],
        on_end: Callable[[Worker], None],
        open_senders: Callable[[], list[Sender]] | None = None,
    ) -> None:
        self.senders = senders
        self.is_extra = open_senders is not None
        self._open_senders = open_senders
        self.is_hurried = False
        self.is_sending = False
        self._clock = clock
        self._step = step
        self._is_closed = is_closed
        self._on_end = on_end
        self.reset()

    def reset(self) -> None:
        """Be as at the start, without a thread (a forked child begins so)."""
        self.is_hurried = self.is_sending = False
        self.pause = WakeUp()
        self._thread: threading.Thread | None = None
        self._thread_lock = threading.RLock()
        self._turn = threading.Lock()
        for sender in self.senders:
            sender.reset()

    @property
    def has_thread(self) -> bool:
        """Whether it was started and has not ended."""
        return self._thread is not None

    def wake(self) -> bool:
        """Have the next round now; False if no thread can be started (at the interpreter's end)."""
        if self._thread is None and not self._start():
            return False
        self.pause.set()
        return True

    def _start(self) -> bool:
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

    def _run(self) -> None:
        try:
            if self._open_senders is not None and not self.senders:
                self.senders = self._open_senders()
            while not self._is_closed():
                self.pause.clear()
                pause_ns = self._step(self)
                if pause_ns > 0 and not self._is_closed():
                    self._clock.wait(self.pause, pause_ns)
        finally:
            self._on_end(self)

    def send_due(
        self, now_ns: int, *, deadline_ns: int, is_flushing: bool, before: Callable[[Sender], None]
    ) -> int | None:
        """Make at most one request per sender.

        Returns None if one was made, else the instant of the next one.  ``before`` is called
        before each request.  Where no thread can be started several callers come here at once:
        one of them sends.
        """
        if not self._turn.acquire(blocking=False):
            return now_ns + MILLISECOND_NS
        try:
            return self._send_due(now_ns, deadline_ns, before, is_flushing=is_flushing)
        finally:
            self._turn.release()

    def _send_due(
        self,
        now_ns: int,
        deadline_ns: int,
        before: Callable[[Sender], None],
        *,
        is_flushing: bool,
    ) -> int | None:
        if self.is_hurried:
            self.is_hurried = False
            for sender in self.senders:
                sender.hurry()
        next_ns = NEVER_NS
        is_busy = False
        for sender in self.senders:
            due_ns = self._due_ns(sender, now_ns, is_flushing=is_flushing)
            if due_ns <= now_ns < deadline_ns and not self._is_closed():
                self.is_sending = True
                try:
                    before(sender)
                    sender.send(deadline_ns=deadline_ns, is_flushing=is_flushing)
                finally:
                    self.is_sending = False
                is_busy = True
            else:
                # What is due and may not go out any more, after the deadline of a shutdown, must
                # not keep the thread busy: under gevent nobody else would get to run.
                next_ns = min(next_ns, max(due_ns, now_ns + MILLISECOND_NS))
        return None if is_busy else next_ns

    def _due_ns(self, sender: Sender, now_ns: int, *, is_flushing: bool) -> int:
        if self.is_extra and not sender.has_work:
            return now_ns if sender.is_backlogged(batches=1) else NEVER_NS
        return sender.due_ns(now_ns, is_flushing=is_flushing)
