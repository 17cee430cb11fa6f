"""The page of the benchmarks says what was measured, and nothing was written into it by hand."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.telemetry_bench import plot, report

FOLDER = Path(__file__).parents[2] / "docs" / "benchmarks"


def test_page_and_picture_are_made_of_the_figures_beside_them() -> None:
    if not (FOLDER / "figures.json").exists():
        assert "No run is recorded yet" in (FOLDER / "index.md").read_text()
        return
    found = json.loads((FOLDER / "figures.json").read_text())
    lines = report.lines_of(found)
    assert (FOLDER / "index.md").read_text() == report.page(found, lines)
    assert (FOLDER / "figures.svg").read_text() == plot.drawn(lines)
