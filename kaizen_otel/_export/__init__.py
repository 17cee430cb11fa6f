"""How encoded telemetry leaves the process: transports, their outcomes, and who counts a loss.

A transport moves one request's bytes and answers with a value.  There are three classes of
answer: delivered, retryable and rejected (OTLP specification, "OTLP/HTTP Response" and
"OTLP/gRPC Response").  The exporter decides what to do with them; the ledger counts it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

Signal = Literal["traces", "metrics", "logs"]

SIGNALS: tuple[Signal, ...] = ("traces", "metrics", "logs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """The server took the request, except ``rejected_count`` of its items (partial success)."""

    rejected_count: int = 0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retryable:
    """The same request may be sent again.

    ``reason`` is a short fixed word (``unreachable``, ``timeout``, ``unavailable``...);
    ``retry_after_ms`` is what the server asked for, if it did.
    """

    reason: str
    message: str
    retry_after_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
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
