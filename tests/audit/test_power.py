"""The machine of a real Collector loses its power: what it had taken is delivered again."""

from __future__ import annotations

import pytest

from tests.campaigns.kit import Unavailable
from tests.campaigns.power import cut_the_collector


def test_what_the_collectors_disk_loses_in_a_power_cut_is_in_the_trail_in_the_end() -> None:
    """Its file exporter syncs nothing, so that the disk loses everything of the last moments."""
    try:
        tally = cut_the_collector(cuts=1)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert tally.counts["lost by the disk"] > 100
    assert (tally.lost, tally.losses) == (0, [])


def test_the_same_test_finds_the_loss_when_nothing_is_delivered_again() -> None:
    try:
        tally = cut_the_collector(cuts=1, replays=False)
    except Unavailable as reason:
        pytest.skip(str(reason))
    assert tally.lost > 100
