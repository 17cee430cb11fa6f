"""The Collector's figures, and the sizing that is made of them, are those of one recorded run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from benchmarks.collector_bench import report, sizing

DOCS = Path(__file__).parents[2] / "docs"


def recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "benchmarks" / "collector.json").read_text())
    return found


def test_the_page_is_made_of_the_figures_beside_it() -> None:
    assert (DOCS / "benchmarks" / "collector.md").read_text() == report.page(recorded())


def test_the_sizing_is_calculated_from_the_figures() -> None:
    page = (DOCS / "how-to" / "scale-out.md").read_text()
    for line in [*sizing.lines(recorded()), *sizing.facts(recorded())]:
        assert line in page
