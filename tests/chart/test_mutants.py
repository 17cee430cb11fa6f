"""Faults in the templates are noticed: a sample here, all of them in ``make campaign-chart``."""

from __future__ import annotations

from random import Random

import pytest

from tests.chart.kit.mutants import Judge, Mutant, mutants
from tests.chart.kit.refusals import cases
from tests.chart.kit.rendering import chart_files
from tests.chart.kit.variants import Charts

SAMPLE = 30
NOTICED_SHARE_MIN = 0.95


@pytest.fixture(scope="module")
def judge(charts: Charts) -> Judge:
    return Judge(charts)


def test_at_least_95_percent_of_a_sample_of_mutants_are_noticed(judge: Judge) -> None:
    sample = Random(0).sample(mutants(), SAMPLE)
    missed = [str(one) for one in sample if not judge.noticed_by(one)]
    assert len(missed) <= SAMPLE * (1 - NOTICED_SHARE_MIN), "\n".join(missed)


def test_a_template_that_says_the_same_is_not_noticed(charts: Charts) -> None:
    """Else everything would be, for a reason that has nothing to do with the mutant."""
    path = "templates/gateway/service.yaml"
    lines = chart_files()[path].split("\n")
    before = lines[-1]
    same = Mutant(path=path, line=len(lines), kind="none", before=before, after=before + "\n")
    assert Judge(charts, cases()[:5]).noticed_by(same) == ""


LINES = {
    "      readOnlyRootFilesystem: true": {"drop the field", "flip"},
    "{{- if and .a (eq .b 1) }}": {"negate", "other operator", "add one"},
    "  - {protocol: TCP, port: otlp-grpc}": {"drop the item", "other word"},
    '{{- fail "a is empty" -}}': {"drop the refusal"},
    '  {{- include "labels" . | nindent 4 }}': {"drop what is included"},
    '{{ ternary "a" "b" .c }}': {"swap the branches"},
    "# a comment: true": set(),
    "{{/* if true */}}": set(),
}


@pytest.mark.parametrize("line", LINES)
def test_the_mutants_of_a_line(line: str) -> None:
    found = mutants({"templates/a.yaml": line, "values.yaml": line})
    assert {one.kind for one in found} == LINES[line]
    assert len({one.after for one in found}) == len(found)
    assert all(one.applied({one.path: line})[one.path] == one.after for one in found)
