"""What the shipper knows about a receiver that does not take records: when to try, what to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel._export.retry import next_delay_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock

_SECOND_NS: Final = 10**9
_MILLISECOND_NS: Final = 10**6
ABSENT_NS: Final = 60 * _SECOND_NS
REPLAY_INTERVAL_NS: Final = 60 * _SECOND_NS
_WARN_INTERVAL_NS: Final = 60 * _SECOND_NS
_DELAY_MS_FIRST: Final = 100
_DELAY_MS_MAX: Final = 10_000
_DELAY_MS_HURRY: Final = 250
_RETRY_AFTER_MS_MAX: Final = 60_000

# After these the receiver may have been another process, or its machine may have lost power.
CONNECTION_FAILED: Final = frozenset({"unreachable", "timeout"})
# These pass by themselves; the operator hears of them when they last.
_TRANSIENT: Final = CONNECTION_FAILED | {"unavailable", "throttled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShipperStatus:
    """How delivery stands.  ``failing_ns`` is 0 while the receiver takes records."""

    delivered: int
    quarantined: int
    adopted_streams: int
    failing_ns: int
    failure: str


class Outage:
    """Counts failures in a row, spaces the attempts, warns, and says when to deliver again.

    ``where`` names the spool and the receiver in the warnings.  ``is_hurried`` makes the pauses
    short while somebody waits for a flush.
    """

    def __init__(
        self,
        *,
        where: str,
        clock: Clock,
        random_fraction: Callable[[], float],
        warn: Callable[[str], None],
    ) -> None:
        self.retry_at_ns = 0
        self.failure = ""
        self.is_hurried = False
        self._where = where
        self._clock = clock
        self._random_fraction = random_fraction
        self._warn = warn
        self._attempt = 0
        self._since_ns: int | None = None
        self._has_warned_absent = False
        self._warned_at_ns: dict[str, int] = {}
        self._answered_at_ns = 0
        self._disconnected_at_ns: int | None = None
        self._replayed_at_ns: int | None = None

    @property
    def failing_ns(self) -> int:
        """How long nothing was taken; 0 if the last request was."""
        return 0 if self._since_ns is None else self._clock.monotonic_ns() - self._since_ns

    @property
    def replay_since_ns(self) -> int | None:
        """When the receiver last answered on a connection that failed; None if that is made good.

        A time of the Unix epoch; 0 if it never answered this process.  The receiver's machine may
        have lost power at any moment since, however late that was noticed.
        """
        return self._disconnected_at_ns

    def fail(self, reason: str, message: str, retry_after_ms: int = 0) -> None:
        """Note one failure: sets the instant of the next attempt and may warn."""
        now_ns = self._clock.monotonic_ns()
        if self._since_ns is None:
            self._since_ns = now_ns
        self.failure = f"{reason}: {message}"
        if reason in CONNECTION_FAILED:
            self.disconnect()
        self._attempt += 1
        delay_ms = next_delay_ms(
            self._attempt,
            delay_ms_first=_DELAY_MS_FIRST,
            delay_ms_max=_DELAY_MS_MAX,
            random_fraction=self._random_fraction(),
        )
        delay_ms = max(delay_ms, min(retry_after_ms, _RETRY_AFTER_MS_MAX))
        if self.is_hurried:
            delay_ms = min(delay_ms, _DELAY_MS_HURRY)
        self.retry_at_ns = now_ns + delay_ms * _MILLISECOND_NS
        self._tell(reason, now_ns - self._since_ns)

    def disconnect(self) -> None:
        """Note that the connection on which the receiver last answered is gone."""
        if self._disconnected_at_ns is None:
            self._disconnected_at_ns = self._answered_at_ns

    def recover(self) -> None:
        """Note that a request was taken."""
        self._answered_at_ns = self._clock.time_ns()
        self._attempt = 0
        self.retry_at_ns = 0
        self.failure = ""
        self._since_ns = None
        self._has_warned_absent = False

    def take_replay(self) -> int | None:
        """Return since when delivery is to be repeated, once, if that is due now.

        It is due when records are taken again after a connection had failed, at most once a
        minute: what is due earlier waits.
        """
        now_ns, last_ns = self._clock.monotonic_ns(), self._replayed_at_ns
        if self._disconnected_at_ns is None or self._since_ns is not None:
            return None
        if last_ns is not None and now_ns - last_ns < REPLAY_INTERVAL_NS:
            return None
        since_ns, self._disconnected_at_ns = self._disconnected_at_ns, None
        self._replayed_at_ns = now_ns
        return since_ns

    def warn_at_most(self, cause: str, message: str) -> None:
        """Warn, unless the same cause was warned about within a minute."""
        now_ns, last_ns = self._clock.monotonic_ns(), self._warned_at_ns.get(cause)
        if last_ns is None or now_ns - last_ns >= _WARN_INTERVAL_NS:
            self._warned_at_ns[cause] = now_ns
            self._warn(message)

    def _tell(self, reason: str, failing_ns: int) -> None:
        if failing_ns >= ABSENT_NS and not self._has_warned_absent:
            self._has_warned_absent = True
            self._warn(
                f"audit records wait: {self._where} has taken none for "
                f"{ABSENT_NS // _SECOND_NS} s ({self.failure}). Nothing is lost. Start the "
                "Collector's audit receiver, or set KAIZEN_OTEL_AUDIT_ENDPOINT"
            )
        elif reason not in _TRANSIENT:
            self.warn_at_most(
                reason,
                f"audit records wait: {self._where} did not take them ({self.failure}). Nothing "
                "is lost, they are sent again (KAIZEN_OTEL_AUDIT_ENDPOINT)",
            )
