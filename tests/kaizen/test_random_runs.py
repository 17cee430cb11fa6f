"""Whatever agents do: every operation ends, hangs where it belongs, and changes no result.

``KAIZEN_OTEL_RANDOM_RUNS`` says how many runs (300 unless set), ``KAIZEN_OTEL_RANDOM_SEED`` from
which seed.
"""

from __future__ import annotations

import os

import pytest

from tests.kaizen.random_runs import execute

COUNT = int(os.environ.get("KAIZEN_OTEL_RANDOM_RUNS", "300"))
SEED = int(os.environ.get("KAIZEN_OTEL_RANDOM_SEED", "1"))


@pytest.mark.timeout(60 + COUNT)
def test_every_span_of_random_runs_ends_and_has_the_right_parent() -> None:
    outcome = execute(COUNT, SEED)
    assert outcome.faults == []
    assert outcome.runs == COUNT
    assert outcome.spans > COUNT
    # The plans really held every ending.
    assert {
        "success", "LookupError", "ValueError", "ConnectionError", "timeout", "tool_error",
        "QuotaError", "asyncio.exceptions.CancelledError",
    } == set(outcome.endings)  # fmt: skip


def test_the_comparison_finds_an_agent_that_is_not_observed() -> None:
    """The saboteur of the test above: with one agent left out it must fail."""
    outcome = execute(20, SEED, unobserved=["beta"])
    assert outcome.faults
