"""When the shipper goes on: at once, after a pause, or a moment later with more to take along."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from kaizen_otel._edges import Clock

# A request costs as much as emitting twenty records and takes the interpreter from whoever does.
# So there is a moment between two, if nobody waits for a delivery: what comes meanwhile goes
# together.  With one producer a request meets one record in forty, which p95 does not see.
GATHER_NS: Final = 2 * 10**7


class Alarm:
    """Wakes one thread.  ``ring`` and ``hurry`` are for any thread, all else is for that one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._is_awaited = False
        self._has_sent = False
        self._commits = 0

    def ring(self) -> None:
        """Have the thread go on, unless it is gathering."""
        self._wake.set()

    def hurry(self, *, is_for_good: bool = False) -> None:
        """Have the thread go on and gather nothing, until ``relax``."""
        self._is_awaited = self._is_awaited or is_for_good
        self._hurry.set()
        self._wake.set()

    def relax(self) -> None:
        """Gather again, unless somebody hurried for good."""
        if not self._is_awaited:
            self._hurry.clear()

    def clear(self) -> None:
        """Forget the rings so far: what they are for is looked at now."""
        self._wake.clear()

    def note_sent(self, *, has_more: bool, commits: int, is_behind: bool) -> None:
        """Hear that a request went out.

        If there is more the next one follows at once, unless producers are at work, who have made
        so many commits, and the shipper is not far behind them.
        """
        is_busy, self._commits = commits != self._commits, commits
        self._has_sent = not has_more or (is_busy and not is_behind)

    def wait(self, pause_ns: int) -> None:
        """Wait for the pause or a ring; after a request whose successor has time, a moment."""
        has_sent, self._has_sent = self._has_sent, False
        if pause_ns > 0:
            self._clock.wait(self._wake, pause_ns)
        elif has_sent:
            self._clock.wait(self._hurry, GATHER_NS)
