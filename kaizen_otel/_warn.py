"""One warning per cause and minute, on the logger ``kaizen_otel``."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERVAL_S: Final = 60.0
_CAUSES_MAX: Final = 256
_logger: Final = logging.getLogger("kaizen_otel")


class RateLimitedWarnings:
    """Callable that logs a text unless the same was logged within the last minute."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last: dict[str, float] = {}

    def __call__(self, text: str) -> None:
        """Log ``text`` as a warning, at most once a minute."""
        now = self._monotonic()
        with self._lock:
            last = self._last.get(text)
            if last is not None and now - last < _INTERVAL_S:
                return
            if len(self._last) >= _CAUSES_MAX:
                self._last.clear()
            self._last[text] = now
        _logger.warning("%s", text)
