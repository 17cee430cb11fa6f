"""One signal's way through its transport: take, encode, send, settle, retry."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._export.buffer import MEBIBYTE
from kaizen_otel._export.retry import RetryPolicy, delay_ms_or_stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock
    from kaizen_otel._export import Outcome, Signal, Transport
    from kaizen_otel._export.buffer import Batch, Buffer

MILLISECOND_NS: Final = 1_000_000
NEVER_NS: Final = 1 << 62
_FLUSH_DELAY_MS_MAX: Final = 250


class Limits(NamedTuple):
    """When a request is made, how large it may be, and how long it may take."""

    batch_size: int = 512
    request_bytes_max: int = 4 * MEBIBYTE
    bytes_ready: int = MEBIBYTE
    interval_ms: int = 1000
    timeout_ms: int = 10_000
    retry: RetryPolicy = RetryPolicy()


class Sender:
    """Used by one worker only.  ``warn`` takes the place, the cause and the text.

    ``concluded`` takes the signal, how many nanoseconds an export took with all its attempts, and
    why it failed, or nothing.
    """

    def __init__(
        self,
        signal: Signal,
        transport: Transport,
        *,
        buffer: Buffer,
        clock: Clock,
        limits: Limits,
        random_fraction: Callable[[], float],
        warn: Callable[[str, str, str], None],
        concluded: Callable[[Signal, int, str], None] = lambda _s, _d, _r: None,
    ) -> None:
        self.signal: Signal = signal
        self.transport = transport
        self._buffer = buffer
        self._clock = clock
        self._limits = limits
        self._random_fraction = random_fraction
        self._warn_about = warn
        self._concluded = concluded
        self.reset()

    def reset(self) -> None:
        """Forget all batches, as at the start (a forked child begins so)."""
        self._batches: deque[Batch] = deque()
        self._body: bytes | None = None
        self._attempt = 0
        self._first_attempt_ns = 0
        self._retry_at_ns = 0
        self._not_before_ns = 0
        self._ready_at_ns: int | None = None

    def hurry(self) -> None:
        """Make the next attempt as soon as the server allows: somebody waits for a flush."""
        self._retry_at_ns = min(self._retry_at_ns, self._not_before_ns)

    @property
    def has_work(self) -> bool:
        """Whether a batch was taken and is not settled."""
        return bool(self._batches)

    @property
    def is_failing(self) -> bool:
        """Whether the last request came to nothing and is to be made again."""
        return self._attempt > 0

    def is_backlogged(self, *, batches: int) -> bool:
        """Whether at least so many full batches wait."""
        count, waiting_bytes = self._buffer.waiting(self.signal)
        limits = self._limits
        return count >= batches * limits.batch_size or waiting_bytes >= batches * limits.bytes_ready

    def due_ns(self, now_ns: int, *, is_flushing: bool) -> int:
        """Return the instant of the next request; ``NEVER_NS`` if there is nothing to send."""
        if self._batches:
            return self._retry_at_ns
        count, waiting_bytes = self._buffer.waiting(self.signal)
        if not count:
            self._ready_at_ns = None
            return NEVER_NS
        limits = self._limits
        if is_flushing or count >= limits.batch_size or waiting_bytes >= limits.bytes_ready:
            return now_ns
        if self._ready_at_ns is None:
            self._ready_at_ns = now_ns + limits.interval_ms * MILLISECOND_NS
        return self._ready_at_ns

    def send(self, *, deadline_ns: int, is_flushing: bool) -> None:
        """Make one request and settle what it says.  ``deadline_ns`` bounds it further."""
        if not self._batches:
            batch = self._buffer.take(
                self.signal,
                count_max=self._limits.batch_size,
                bytes_max=self._limits.request_bytes_max,
            )
            if batch is None:
                return
            self._batches.append(batch)
        batch = self._batches[0]
        if not self._buffer.begin(batch):  # a shutdown gave it up meanwhile
            self._forget()
            return
        now_ns = self._clock.monotonic_ns()
        deadline_ns = min(deadline_ns, now_ns + self._limits.timeout_ms * MILLISECOND_NS)
        try:
            if self._body is None:
                self._first_attempt_ns = now_ns
                self._body = batch.encode()
            outcome = self.transport.send(self.signal, self._body, deadline_ns=deadline_ns)
        except Exception as error:  # noqa: BLE001 - a transport must not raise; ours or a user's
            outcome = Rejected(
                reason="internal_error", message=f"{self.transport.description}: {error!r}"
            )
        batch.is_sending = False
        if batch.is_settled:  # a shutdown gave it up while the request was under way
            self._forget()
            return
        self._settle(batch, outcome, is_flushing=is_flushing)

    def _settle(self, batch: Batch, outcome: Outcome, *, is_flushing: bool) -> None:
        match outcome:
            case Delivered(rejected_count=rejected_count, message=message):
                self._buffer.delivered(self.signal, batch, rejected_count=rejected_count)
                self._conclude("rejected" if rejected_count else "")
                if rejected_count or message:
                    self._warn("partial", _partial(self.transport, rejected_count, message))
            case Retryable():
                self._retry(batch, outcome, is_flushing=is_flushing)
            case Rejected(reason="too_large") if batch.length > 1:
                self._conclude("too_large")
                self._batches.extendleft(reversed(self._buffer.split(self.signal, batch)))
            case Rejected(reason=reason, message=message):
                self._buffer.dropped(self.signal, batch, reason)
                self._conclude(reason)
                self._warn(reason, f"{message}. What was in the request is dropped and counted")
            case _:
                assert_never(outcome)

    def _retry(self, batch: Batch, outcome: Retryable, *, is_flushing: bool) -> None:
        now_ns = self._clock.monotonic_ns()
        self._attempt += 1
        batch.is_uncertain = batch.is_uncertain or outcome.reason == "timeout"
        policy = self._limits.retry
        delay_ms = delay_ms_or_stop(
            self._attempt,
            policy=policy,
            elapsed_ms=(now_ns - self._first_attempt_ns) // MILLISECOND_NS,
            retry_after_ms=outcome.retry_after_ms,
            random_fraction=self._random_fraction(),
        )
        if delay_ms is None:
            reason = "unknown" if batch.is_uncertain else "retry_exhausted"
            self._buffer.dropped(self.signal, batch, reason)
            self._conclude(reason)
            self._warn(
                "retry_exhausted",
                f"{outcome.message}. After {policy.elapsed_ms_max // 1000} s the request was "
                "given up; what was in it is dropped and counted",
            )
            return
        if is_flushing:
            delay_ms = min(delay_ms, _FLUSH_DELAY_MS_MAX)
        self._not_before_ns = now_ns + (outcome.retry_after_ms or 0) * MILLISECOND_NS
        self._retry_at_ns = max(now_ns + delay_ms * MILLISECOND_NS, self._not_before_ns)
        self._warn(
            outcome.reason,
            f"{outcome.message}. Telemetry is kept in memory and sent again for "
            f"{policy.elapsed_ms_max // 1000} s",
        )

    def _conclude(self, reason: str) -> None:
        duration_ns = self._clock.monotonic_ns() - self._first_attempt_ns
        self._forget()
        self._concluded(self.signal, duration_ns, reason)

    def _forget(self) -> None:
        self._batches.popleft()
        self._body = None
        self._attempt = 0
        self._retry_at_ns = self._not_before_ns = 0
        self._ready_at_ns = None

    def _warn(self, cause: str, text: str) -> None:
        self._warn_about(self.transport.description, cause, text)


def _partial(transport: Transport, rejected_count: int, message: str) -> str:
    if rejected_count:
        return (
            f"{transport.description} rejected {rejected_count} items of a request "
            f"({message or 'it does not say why'}); they are dropped and counted"
        )
    return f"{transport.description} took the request and warns: {message}"
