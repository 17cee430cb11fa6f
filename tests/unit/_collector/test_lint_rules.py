"""Each rule against its two files, and each shipped config with one thing undone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kaizen_otel._collector.component_facts import load_facts
from kaizen_otel._collector.lint import RULES, lint
from kaizen_otel._collector.lint_format import as_text
from kaizen_otel._collector.read_config import read_configs
from kaizen_otel._collector.resources import collector_directory

TESTDATA = collector_directory() / "testdata"
FACTS = load_facts()
REJECTED = sorted((TESTDATA / "rejected").glob("*.yaml"))
ACCEPTED = sorted((TESTDATA / "accepted").glob("R*.yaml"))


def rules_in(*paths: Path) -> list[str]:
    return sorted({finding.rule for finding in lint(read_configs(paths), FACTS).findings})


@pytest.mark.parametrize("path", REJECTED, ids=lambda path: path.stem)
def test_a_rejected_file_breaks_the_rule_of_its_name_and_no_other(path: Path) -> None:
    assert rules_in(path) == [path.name[:3]]


@pytest.mark.parametrize("path", ACCEPTED, ids=lambda path: path.stem)
def test_an_accepted_file_is_clean(path: Path) -> None:
    report = lint(read_configs([path]), FACTS)
    assert report.findings == (), as_text([report])


def test_every_rule_has_a_rejected_and_an_accepted_file() -> None:
    ids = [rule.id for rule in RULES]
    assert [path.name[:3] for path in REJECTED] == ids
    assert [path.name for path in ACCEPTED] == [path.name for path in REJECTED]


def test_rules_say_what_why_and_how_in_sentences() -> None:
    for rule in RULES:
        assert re.fullmatch(r"R\d\d", rule.id)
        assert not rule.title.endswith(".")
        assert rule.why.endswith("."), rule.id
        assert rule.fix.endswith("."), rule.id
    assert len({rule.id for rule in RULES}) == len(RULES) >= 25
