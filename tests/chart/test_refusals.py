"""Combinations that cannot work are refused before anything changes, with the key to set."""

from __future__ import annotations

import re

import pytest

from tests.chart.kit.fuzz import names_a_key
from tests.chart.kit.refusals import Case, cases, fault_of
from tests.chart.kit.rendering import chart_files
from tests.chart.kit.variants import Charts

REFUSED = [one for one in cases() if one.says]
ACCEPTED = [one for one in cases() if not one.says]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_the_chart_refuses(charts: Charts, case: Case) -> None:
    assert fault_of(case, charts.text) == ""


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.name)
def test_the_chart_takes(charts: Charts, case: Case) -> None:
    assert fault_of(case, charts.text) == ""


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_the_expected_message_names_a_key(case: Case) -> None:
    assert names_a_key(" ".join(case.says))


def test_every_refusal_in_the_templates_has_a_case() -> None:
    """By the words between two places that a template fills in: each ``fail`` is said by a case."""
    said = [text for case in REFUSED for text in case.says]
    silent = []
    for path, text in chart_files().items():
        if path.startswith("templates/"):
            for found in re.findall(r'fail \(?(?:printf )?"((?:[^"\\]|\\.)*)"', text):
                pieces = [part for part in re.split(r"%[a-z]", found) if len(part) > 12]
                if not any(_overlap(piece, one) for piece in pieces for one in said):
                    silent.append(f"{path}: {found}")
    assert silent == []


def _overlap(piece: str, said: str) -> bool:
    """Whether a case says at least twelve characters of a piece, or names it whole."""
    return any(said[at : at + 12] in piece for at in range(max(1, len(said) - 11)))
