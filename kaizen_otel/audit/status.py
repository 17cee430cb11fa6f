"""The counts of one process's audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditStatus:
    """Counts of this process: ``emitted == durable + refused + waiting`` at every instant.

    ``undelivered`` are stored and not yet taken by the receiver; ``quarantined`` were refused by
    it and are kept in files; ``gaps`` are gap records.  ``own`` are records that the stream stored
    about itself (its beginning, checkpoints, changes of key, its end); they are delivered too, so
    that ``durable + gaps + own == delivered + quarantined + undelivered``.  ``refusals`` counts
    refused records by reason.  ``sign_failures`` are signatures that the key store did not give,
    ``key_id`` names the key that signs, empty for none.  ``lag_ns`` is the age of the oldest record
    that is not delivered, ``failing_ns`` says how long the receiver has taken nothing, and
    ``failure`` why.
    """

    emitted: int
    durable: int
    delivered: int
    refused: int
    waiting: int
    undelivered: int
    quarantined: int
    gaps: int
    own: int
    refusals: Mapping[str, int]
    sign_failures: int
    key_id: str
    bytes_used: int
    stream_id: str
    lag_ns: int
    failing_ns: int
    failure: str
