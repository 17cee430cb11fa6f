"""The linter and the Collector itself: what one accepts the other takes, and their tables agree."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from kaizen_otel._collector.components import DISTRIBUTIONS, required_components
from kaizen_otel._collector.render import render
from kaizen_otel._collector.resources import collector_directory
from kaizen_otel._collector.validate import validate
from kaizen_otel.errors import ConfigError
from tests.collector import component_facts

TESTDATA = collector_directory() / "testdata"


def runnable(path: Path) -> bool:
    """Whether our own distribution has every component of a file."""
    return required_components([path.read_text(encoding="utf-8")]) <= DISTRIBUTIONS["gateway"]


ACCEPTED = [path for path in sorted((TESTDATA / "accepted").glob("R*.yaml")) if runnable(path)]


def test_the_collector_takes_what_the_linter_accepts(gateway_binary: Path, tmp_path: Path) -> None:
    environment = {
        "KAIZEN_OTEL_QUEUE_DIR": str(tmp_path / "queue"),
        "KAIZEN_OTEL_AUDIT_DIR": str(tmp_path / "audit"),
        "BACKEND": "backend.example.com:4317",
        "BACKEND_TOKEN": "not-a-secret",
    }
    assert len(ACCEPTED) >= 40
    for path in ACCEPTED:
        validate([path], binary=gateway_binary, environment=environment)


@pytest.mark.parametrize("rule", ["R05", "R08", "R19", "R22", "R26"])
def test_the_collectors_own_check_says_nothing_of_what_the_rules_find(
    rule: str, gateway_binary: Path, tmp_path: Path
) -> None:
    (path,) = (TESTDATA / "rejected").glob(f"{rule}_*.yaml")
    environment = {"KAIZEN_OTEL_QUEUE_DIR": str(tmp_path), "KAIZEN_OTEL_AUDIT_DIR": str(tmp_path)}
    validate([path], binary=gateway_binary, environment=environment)


@pytest.mark.parametrize("rule", ["R35", "R36"])
def test_the_collector_refuses_the_same_names_and_settings(
    rule: str, gateway_binary: Path, tmp_path: Path
) -> None:
    (path,) = (TESTDATA / "rejected").glob(f"{rule}_*.yaml")
    with pytest.raises(ConfigError):
        validate(
            [path],
            binary=gateway_binary,
            environment={"KAIZEN_OTEL_QUEUE_DIR": str(tmp_path)},
        )


def test_a_rendered_config_is_what_the_collector_reads_from_its_parts(
    gateway_binary: Path, tmp_path: Path
) -> None:
    rendered = render("gateway", ["bearer", "tls", "tail-sampling", "metrics-otlp"])
    path = tmp_path / "rendered.yaml"
    path.write_text(rendered.text, encoding="utf-8")
    assert yaml.safe_load(rendered.text)["receivers"]["otlp"]["protocols"]["http"]["tls"]
    validate(
        [path], binary=gateway_binary, environment={"KAIZEN_OTEL_QUEUE_DIR": str(tmp_path / "q")}
    )


@pytest.mark.skipif(
    shutil.which("go") is None, reason="needs Go: install it from https://go.dev/dl"
)
def test_the_tables_of_settings_are_those_of_the_pinned_components() -> None:
    text = component_facts.TARGET.read_text(encoding="utf-8")
    contrib = yaml.safe_load(text)["contrib"]
    assert component_facts.rendered(component_facts.facts(contrib)) == text, (
        "run python -m tests.collector.component_facts"
    )
