"""What was not stored: counted on the spot, warned of, and said in the trail by gap records."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from kaizen_otel.audit._gap import Gaps
from kaizen_otel.audit.chain import draft_of
from kaizen_otel.audit.record import EVENT_GAP, AuditRecord
from kaizen_otel.errors import (
    RecordTooLargeError,
    SpoolFailedError,
    SpoolFullError,
    SubjectKeyError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from kaizen_otel._edges import Clock, Ids
    from kaizen_otel._spool.segment import Gap
    from kaizen_otel._spool.spool import Spool
    from kaizen_otel.audit._gap import Missing

_WARN_INTERVAL_NS: Final = 60 * 10**9

_REASONS: Final[dict[type[BaseException], str]] = {
    SpoolFullError: "spool_full",
    RecordTooLargeError: "too_large",
    SpoolFailedError: "write_failed",
    SubjectKeyError: "subject_key",
}
REASONS: Final = (*_REASONS.values(), "fault")
"""Why records are refused: bounded, as it is a metric's attribute."""


class Refusals:
    """The refused records of one stream, and what else is missing from the trail."""

    def __init__(
        self,
        *,
        resource_hash: Callable[[], str],
        clock: Clock,
        ids: Ids,
        warn: Callable[[str], None],
    ) -> None:
        self.count = 0
        self.gaps_written = 0
        self._resource_hash = resource_hash
        self._clock = clock
        self._ids = ids
        self._warn = warn
        self._lock = threading.Lock()
        self._gaps = Gaps()
        self._reasons: dict[str, int] = {}
        self._warned_at_ns: dict[str, int] = {}

    def __bool__(self) -> bool:
        """Whether a gap record is to be written."""
        return bool(self._gaps)

    def by_reason(self) -> dict[str, int]:
        """Return how many records were refused for each reason."""
        with self._lock:
            return dict(self._reasons)

    def refuse(self, error: BaseException, count: int = 1) -> None:
        """Count records that were not stored; warn at most once a minute for one reason."""
        reason = _REASONS.get(type(error), "fault")
        now_ns, monotonic_ns = self._clock.time_ns(), self._clock.monotonic_ns()
        with self._lock:
            self.count += count
            self._reasons[reason] = self._reasons.get(reason, 0) + count
            self._gaps.refused(reason, now_ns=now_ns, count=count)
            last_ns = self._warned_at_ns.get(reason)
            may_warn = last_ns is None or monotonic_ns - last_ns >= _WARN_INTERVAL_NS
            if may_warn:
                self._warned_at_ns[reason] = monotonic_ns
        if may_warn:
            self._warn(f"an audit record was refused: {error}")

    def report(self, gap: Gap) -> None:
        """Count what the shipper could not deliver."""
        now_ns = self._clock.time_ns()
        with self._lock:
            self._gaps.reported(gap, now_ns=now_ns)

    def write(self, spool: Spool) -> None:
        """Write gap records; what is refused again is kept for the next time."""
        stream = spool.stream
        now_ns = self._clock.time_ns()
        burned = spool.take_burned()
        with self._lock:
            if stream is not None:
                self._gaps.burned(stream.stream_id, burned, now_ns=now_ns)
            taken = self._gaps.take()
        for missing in taken:
            record = AuditRecord(
                record_id=self._ids.uuid7(),
                time_ns=now_ns,
                event_name=EVENT_GAP,
                resource_hash=self._resource_hash(),
                attributes=missing.attributes(),
            )
            answer = spool.append(draft_of(record), is_reserved=True)
            self._count_gap(missing, answer)

    def _count_gap(self, missing: Missing, answer: Future[int]) -> None:
        def done(answer: Future[int]) -> None:
            with self._lock:
                if answer.exception() is None:
                    self.gaps_written += 1
                else:
                    self._gaps.add(missing)

        answer.add_done_callback(done)
