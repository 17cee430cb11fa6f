"""When to try again: attempt, outcome and a random number in, a delay or "stop" out.  Pure.

Source: OTLP specification, "Failures": exponential back-off with jitter, and the server's own
``Retry-After`` or RetryInfo where there is one.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_DOUBLINGS_MAX: Final = 32


class RetryPolicy(NamedTuple):
    """How long to go on, and how the pauses grow.  All in milliseconds."""

    delay_ms_first: int = 500
    delay_ms_max: int = 15_000
    elapsed_ms_max: int = 300_000


def next_delay_ms(
    attempt: int, *, delay_ms_first: int, delay_ms_max: int, random_fraction: float
) -> int:
    """Return the pause after failure number ``attempt`` (1, 2, ...).

    The pause doubles from ``delay_ms_first`` to ``delay_ms_max``; its upper half is random
    (``random_fraction`` in [0, 1)), so that many clients do not come back at one instant.
    """
    base = min(delay_ms_first << min(max(attempt - 1, 0), _DOUBLINGS_MAX), delay_ms_max)
    return base // 2 + int((base - base // 2) * random_fraction)


def delay_ms_or_stop(
    attempt: int,
    *,
    policy: RetryPolicy,
    elapsed_ms: int,
    retry_after_ms: int | None,
    random_fraction: float,
) -> int | None:
    """Return the pause before the next attempt, or None if it is time to give up.

    ``elapsed_ms`` is the time since the first attempt.  The server's wish is honoured up to the
    end of the policy's time; the last attempt is made then.
    """
    left_ms = policy.elapsed_ms_max - elapsed_ms
    if left_ms <= 0:
        return None
    delay_ms = next_delay_ms(
        attempt,
        delay_ms_first=policy.delay_ms_first,
        delay_ms_max=policy.delay_ms_max,
        random_fraction=random_fraction,
    )
    return min(max(delay_ms, retry_after_ms or 0), left_ms)
