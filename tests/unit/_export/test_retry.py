from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaizen_otel._export.retry import RetryPolicy, delay_ms_or_stop, next_delay_ms

fractions = st.floats(0, 1, exclude_max=True)


@given(
    attempt=st.integers(0, 10_000),
    first=st.integers(1, 10_000),
    longest=st.integers(1, 100_000),
    fraction=fractions,
)
def test_pause_is_between_half_and_whole_of_the_doubled_first_one(
    attempt: int, first: int, longest: int, fraction: float
) -> None:
    delay_ms = next_delay_ms(
        attempt, delay_ms_first=first, delay_ms_max=longest, random_fraction=fraction
    )
    whole = min(first * 2 ** max(attempt - 1, 0), longest)
    assert whole // 2 <= delay_ms <= whole


def test_pauses_double() -> None:
    assert [
        next_delay_ms(n, delay_ms_first=100, delay_ms_max=1000, random_fraction=0.999)
        for n in (1, 2, 3, 4, 5, 6)
    ] == [99, 199, 399, 799, 999, 999]


@given(
    elapsed=st.integers(0, 400_000),
    retry_after=st.none() | st.integers(0, 90_000_000),
    attempt=st.integers(1, 50),
    fraction=fractions,
)
def test_it_stops_only_when_the_time_is_up_and_never_pauses_beyond_it(
    elapsed: int, retry_after: int | None, attempt: int, fraction: float
) -> None:
    policy = RetryPolicy()
    delay_ms = delay_ms_or_stop(
        attempt,
        policy=policy,
        elapsed_ms=elapsed,
        retry_after_ms=retry_after,
        random_fraction=fraction,
    )
    assert (delay_ms is None) == (elapsed >= policy.elapsed_ms_max)
    if delay_ms is not None:
        assert elapsed + delay_ms <= policy.elapsed_ms_max
        assert delay_ms >= min(retry_after or 0, policy.elapsed_ms_max - elapsed)


def test_the_servers_wish_is_longer_than_our_pause() -> None:
    arguments = {"policy": RetryPolicy(), "elapsed_ms": 0, "random_fraction": 0.0}
    assert delay_ms_or_stop(1, retry_after_ms=7_000, **arguments) == 7_000  # type: ignore[arg-type]
    assert delay_ms_or_stop(1, retry_after_ms=1, **arguments) == 250  # type: ignore[arg-type]


pytestmark = pytest.mark.unit
