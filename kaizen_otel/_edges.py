"""The only module that touches time, randomness, fork and disk.

Everything else takes these objects by keyword, so that tests can pass a clock that they turn
and a disk that fails on the k-th call.
"""

from __future__ import annotations

import os
import random
import threading
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Clock(Protocol):
    """Wall time for records, monotonic time for deadlines, and waiting."""

    def time_ns(self) -> int:
        """Nanoseconds since the Unix epoch; may step."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds of a clock that never steps back."""
        ...

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        """Wait until the event is set or the time is over; True if it is set."""
        ...


class SystemClock:
    """The clock of the operating system."""

    time_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        """Wait on the event for at most ``timeout_ns``."""
        return event.wait(max(timeout_ns, 0) / 1e9)


class Ids(Protocol):
    """Makes identifiers."""

    def trace_id(self) -> bytes:
        """16 random bytes, not all zero (W3C Trace Context, section 3.2.2.3)."""
        ...

    def span_id(self) -> bytes:
        """8 random bytes, not all zero."""
        ...

    def uuid7(self) -> str:
        """A time-ordered UUID (RFC 9562, section 5.7)."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1), for jitter and sampling."""
        ...


class RandomIds:
    """Identifiers from a private generator, seeded by the operating system, anew after a fork."""

    def __init__(self) -> None:
        """Seed the generator and have it seeded again in every forked child."""
        self._random = random.Random()  # noqa: S311 - identifiers, not secrets
        self._bits = self._random.getrandbits
        at_fork(self._random.seed)

    def trace_id(self) -> bytes:
        """16 random bytes, not all zero."""
        return (self._bits(128) or 1).to_bytes(16, "big")

    def span_id(self) -> bytes:
        """8 random bytes, not all zero."""
        return (self._bits(64) or 1).to_bytes(8, "big")

    def uuid7(self) -> str:
        """A time-ordered UUID with 74 random bits (RFC 9562, section 5.7)."""
        milliseconds = time.time_ns() // 1_000_000
        value = (
            (milliseconds & 0xFFFFFFFFFFFF) << 80
            | 0x7 << 76
            | self._bits(12) << 64
            | 0b10 << 62
            | self._bits(62)
        )
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()


def at_fork(after_in_child: Callable[[], None]) -> None:
    """Have ``after_in_child`` called in every process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_in_child)
