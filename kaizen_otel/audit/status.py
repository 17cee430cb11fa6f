"""The counts of one process's audit trail."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStatus:
    """Counts of this process: ``emitted == durable + refused + waiting`` at every instant.

    ``undelivered`` are stored and not yet taken by the receiver; ``quarantined`` were refused by
    it and are kept in files; ``gaps`` are gap records.  ``failing_ns`` says how long the receiver
    has taken nothing, and ``failure`` why.
    """

    emitted: int
    durable: int
    delivered: int
    refused: int
    waiting: int
    undelivered: int
    quarantined: int
    gaps: int
    bytes_used: int
    stream_id: str
    failing_ns: int
    failure: str
