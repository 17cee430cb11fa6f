"""What is missing from the trail and has not been said in it yet.

Every refused record is counted here on the line that refuses it, and comes out as the attributes
of one gap record as soon as a record can be stored again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kaizen_otel.audit import record as names

if TYPE_CHECKING:
    from kaizen_otel._spool.segment import Gap

_REASONS_MAX: Final = 16
_RANGES_MAX: Final = 32


@dataclass(slots=True, kw_only=True)
class Missing:
    """Records that are missing for one reason from one stream, since ``since_ns`` (Unix epoch)."""

    reason: str
    stream_id: str
    since_ns: int
    count: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])

    def attributes(self) -> dict[str, object]:
        """Return the attributes of the gap record."""
        ranges = [f"{first}-{last}" for first, last in self.ranges[:_RANGES_MAX]]
        more = len(self.ranges) - len(ranges)
        return {
            names.ACTION: "WRITE",
            names.OUTCOME: "failure",
            names.ACTOR_ID: "kaizen-otel",
            names.ACTOR_TYPE: "system",
            names.GAP_REASON: self.reason,
            names.GAP_COUNT: self.count,
            names.GAP_SINCE: str(self.since_ns),
            **({names.GAP_STREAM_ID: self.stream_id} if self.stream_id else {}),
            **({names.GAP_RANGES: [*ranges, *([f"+{more}"] if more else [])]} if ranges else {}),
        }

    def merge(self, other: Missing) -> None:
        """Add what the other one counts."""
        self.count += other.count
        self.since_ns = min(self.since_ns, other.since_ns)
        for first, last in other.ranges:
            if self.ranges and self.ranges[-1][1] + 1 == first:
                self.ranges[-1] = (self.ranges[-1][0], last)
            else:
                self.ranges.append((first, last))


class Gaps:
    """Collects what is missing until it is written.  The caller guards it with a lock."""

    def __init__(self) -> None:
        self._missing: dict[tuple[str, str], Missing] = {}

    def __bool__(self) -> bool:
        """Whether anything is to be said."""
        return bool(self._missing)

    def refused(self, reason: str, *, now_ns: int, count: int = 1) -> None:
        """Count records that were not stored."""
        self.add(Missing(reason=reason, stream_id="", since_ns=now_ns, count=count))

    def burned(self, stream_id: str, ranges: list[tuple[int, int]], *, now_ns: int) -> None:
        """Name sequence numbers that no stored record has; their records are counted as refused."""
        if ranges:
            self.add(
                Missing(reason="write_failed", stream_id=stream_id, since_ns=now_ns, ranges=ranges)
            )

    def reported(self, gap: Gap, *, now_ns: int) -> None:
        """Count what the shipper could not deliver."""
        ranges = [(gap.first_sequence, gap.last_sequence)] if gap.first_sequence else []
        self.add(
            Missing(
                reason=gap.reason, stream_id=gap.stream_id, since_ns=now_ns, count=1, ranges=ranges
            )
        )

    def add(self, missing: Missing) -> None:
        """Count it, with others of its reason and stream; beyond a bound under ``other``."""
        key = (missing.reason, missing.stream_id)
        if key not in self._missing and len(self._missing) >= _REASONS_MAX:
            key = ("other", "")
            missing.reason, missing.stream_id = key
        known = self._missing.get(key)
        if known is None:
            self._missing[key] = missing
        else:
            known.merge(missing)

    def take(self) -> list[Missing]:
        """Return everything and forget it; what cannot be written is to be added again."""
        taken = list(self._missing.values())
        self._missing.clear()
        return taken
