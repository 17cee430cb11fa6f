"""Fakes with the real ones' interfaces: a transport that answers by a script, a clock you turn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Delivered, Retryable
from kaizen_otel._otlp.decode import (
    decode_logs_request,
    decode_metrics_request,
    decode_traces_request,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kaizen_otel._edges import Clock
    from kaizen_otel._export import Outcome, Signal

    Step = Outcome | Exception | Callable[[Signal, bytes], Outcome]

_MILLISECOND_NS: Final = 1_000_000
_LOOK_S: Final = 0.002
_DECODERS: Final[Mapping[str, Callable[[bytes], dict[str, object]]]] = {
    "traces": decode_traces_request,
    "metrics": decode_metrics_request,
    "logs": decode_logs_request,
}


class FixedClock:
    """A clock that stands still until ``advance`` is called.  May be shared by threads."""

    def __init__(self, *, time_ns: int = 1_700_000_000_000_000_000, monotonic_ns: int = 1) -> None:
        self._lock = threading.Lock()
        self._time_ns = time_ns
        self._monotonic_ns = monotonic_ns

    def time_ns(self) -> int:
        """Wall time."""
        return self._time_ns

    def monotonic_ns(self) -> int:
        """Monotonic time."""
        return self._monotonic_ns

    def advance(self, milliseconds: float) -> None:
        """Let that much time pass."""
        with self._lock:
            self._time_ns += round(milliseconds * _MILLISECOND_NS)
            self._monotonic_ns += round(milliseconds * _MILLISECOND_NS)

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        """Wait until the event is set or another thread has advanced the clock far enough."""
        end_ns = self._monotonic_ns + timeout_ns
        while self._monotonic_ns < end_ns:
            if event.wait(_LOOK_S):
                return True
        return event.is_set()


class FakeTransport:
    """A transport that answers by a script and keeps every request.

    ``script`` holds outcomes, exceptions to raise, or functions of ``(signal, body)``; when it
    is used up, ``after`` is the answer.  While ``is_open`` is cleared the server hangs: ``send``
    returns ``Retryable("timeout")`` at its deadline.
    """

    def __init__(
        self,
        script: Iterable[Step] = (),
        *,
        after: Step | None = None,
        description: str = "fake",
        clock: Clock | None = None,
    ) -> None:
        self.description = description
        self.after: Step = after or Delivered()
        self.is_open = threading.Event()
        self.is_open.set()
        self.is_sending = threading.Event()
        self.is_closed = False
        self.requests: list[tuple[Signal, bytes, Outcome]] = []
        self.deadlines_ns: list[int] = []
        self._script = list(script)
        self._clock: Clock = clock or SystemClock()

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        """Answer by the script."""
        self.deadlines_ns.append(deadline_ns)
        self.is_sending.set()
        try:
            if not self._clock.wait(self.is_open, deadline_ns - self._clock.monotonic_ns()):
                outcome: Outcome = Retryable(reason="timeout", message="no answer in time")
            else:
                step = self._script.pop(0) if self._script else self.after
                if isinstance(step, Exception):
                    raise step
                outcome = step(signal, body) if callable(step) else step
        finally:
            self.is_sending.clear()
        self.requests.append((signal, body, outcome))
        return outcome

    def close(self) -> None:
        """Note that it was closed."""
        self.is_closed = True

    def taken(self, signal: Signal) -> list[dict[str, object]]:
        """Return the decoded requests of a signal that were answered with ``Delivered``."""
        decode = _DECODERS[signal]
        return [
            decode(body)
            for found, body, outcome in self.requests
            if found == signal and isinstance(outcome, Delivered)
        ]
