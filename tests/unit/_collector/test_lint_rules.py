"""Each rule against its two files, and each shipped config with one thing undone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from kaizen_otel._collector.component_facts import load_facts
from kaizen_otel._collector.lint import RULES, lint
from kaizen_otel._collector.lint_format import as_text, rules_as_page
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


# What is true of the official examples and still no mistake on a laptop: warnings, and no others.
PATTERNS = {
    "compose": "R01 R03 R13 R14 R16 R25 R31 R32 R46",
    "elastic": "R09 R14 R17 R40",
    "gateway_tls": "R14 R46",
    "kubernetes_agent": "R26 R46 R47",
    "laptop": "",
    "old_names": "R14 R34",
    "own_telemetry": "",
    "tail_sampling": "R14",
    "two_tiers": "",
}


@pytest.mark.parametrize("name", PATTERNS)
def test_configs_in_the_patterns_of_the_official_examples_give_no_error(name: str) -> None:
    report = lint(read_configs([TESTDATA / "accepted" / f"patterns_{name}.yaml"]), FACTS)
    assert report.count("error") == 0, as_text([report])
    assert sorted({finding.rule for finding in report.findings}) == PATTERNS[name].split()


def test_every_pattern_is_in_the_table() -> None:
    files = (TESTDATA / "accepted").glob("patterns_*.yaml")
    assert {path.stem.removeprefix("patterns_") for path in files} == set(PATTERNS)


def test_the_reference_page_is_made_from_the_rules() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "collector-rules.md"
    assert page.read_text(encoding="utf-8") == rules_as_page(RULES), (
        f"run: kaizen-otel collector lint --rules > {page}"
    )
