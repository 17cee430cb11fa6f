"""What is stopped goes on, what broke counts for nothing, and results are never mixed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.campaigns.collector_results import Done, Results, Row, summed, table

if TYPE_CHECKING:
    from pathlib import Path

ABOUT: dict[str, object] = {"scale": "full", "seed": 5, "commit": "abc"}
ROW = Row("traces", "reload")


def done(number: int, **values: object) -> Done:
    return Done(route="traces", fault="reload", number=number, **values)  # type: ignore[arg-type]


def test_a_campaign_goes_on_where_it_was_stopped_and_makes_broken_runs_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "build" / "results.jsonl"
    first = Results(path, ABOUT, resume=True)
    first.add(done(0, acknowledged=10, refused=4, lost=1, kills=3))
    first.add(done(1, acknowledged=99, lost=99, broke="AssertionError"))
    again = Results(path, ABOUT, resume=True)
    assert [again.has(ROW, number) for number in (0, 1, 2)] == [True, False, False]
    again.add(done(1, acknowledged=5, kills=3))
    (row,) = summed(Results(path, ABOUT, resume=True).runs)
    assert (row.runs, row.acknowledged, row.lost, row.kills) == (2, 15, 1, 6)
    assert row.broken == []
    assert "| reload | 19 / 14 / 1 / 0 |" in table([row]), "refused: neither delivered nor lost"
    assert "2 runs with 6 kills" in table([row])


def test_a_run_that_broke_is_told_until_it_is_made_again() -> None:
    (row,) = summed([done(0, broke="AssertionError: away")])
    assert row.broken == ["AssertionError: away"]
    assert row.runs == 0


def test_results_of_another_campaign_are_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    Results(path, ABOUT, resume=False).add(done(0))
    with pytest.raises(SystemExit, match="--resume"):
        Results(path, ABOUT, resume=False)
    with pytest.raises(SystemExit, match="another campaign"):
        Results(path, {**ABOUT, "commit": "def"}, resume=True)
    assert json.loads(path.read_text().splitlines()[0]) == ABOUT
