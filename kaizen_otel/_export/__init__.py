"""How encoded telemetry leaves the process: transports, their outcomes, and who counts a loss.

A transport moves one request's bytes and answers with a value.  There are three classes of
answer: delivered, retryable and rejected (OTLP specification, "OTLP/HTTP Response" and
"OTLP/gRPC Response").  The exporter decides what to do with them; the ledger counts it.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, Protocol

Signal = Literal["traces", "metrics", "logs"]

SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")


class Delivered(NamedTuple):
    """The server took the request, except ``rejected_count`` of its items (partial success).

    ``is_otlp`` is False if the answer was a success in HTTP's words only: its body is no OTLP
    message, so a proxy or another program may have said it, or it has no length, so a part of it
    may be missing.  ``is_reconnected`` is True if the
    kept-alive connection turned out to be dead and the request went over a new one: the server
    may have been restarted since its last answer.
    """

    rejected_count: int = 0
    message: str = ""
    is_otlp: bool = True
    is_reconnected: bool = False


class Retryable(NamedTuple):
    """The same request may be sent again.

    ``reason`` is a short fixed word (``unreachable``, ``timeout``, ``unavailable``...);
    ``retry_after_ms`` is what the server asked for, if it did.
    """

    reason: str
    message: str
    retry_after_ms: int | None = None


class Rejected(NamedTuple):
    """The server will never take this request.  ``message`` says which setting to change."""

    reason: str
    message: str


Outcome = Delivered | Retryable | Rejected


class Transport(Protocol):
    """Moves one request's bytes to a server.  Used by one thread at a time."""

    @property
    def description(self) -> str:
        """Where it sends to, for messages; holds no secret."""
        ...

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        """Send one encoded ``Export*ServiceRequest`` and return what became of it.

        ``deadline_ns`` is an instant of the monotonic clock; the call returns by then.  The
        world's faults come back as an outcome and are never raised.
        """
        ...

    def close(self) -> None:
        """Release the connection.  May be called twice."""
        ...
