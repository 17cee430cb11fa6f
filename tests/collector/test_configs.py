"""The shipped configs, as real Collectors read them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import yaml

from kaizen_otel._collector.components import (
    DISTRIBUTIONS,
    required_components,
    smallest_distribution,
)
from kaizen_otel._collector.obtain import inspect_binary
from kaizen_otel._collector.resources import SHIPPED_CONFIGS, collector_directory, config_path
from kaizen_otel._collector.validate import validate
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

OVERLAYS = sorted((collector_directory() / "config" / "overlays").glob("*.yaml"))


def test_the_dev_config_is_valid(dev_binary: Path) -> None:
    validate([config_path("dev")], binary=dev_binary)


def test_the_gateway_config_is_valid(gateway_binary: Path, tmp_path: Path) -> None:
    """Also with folders that do not exist: the Collector makes them."""
    environment = {
        "KAIZEN_OTEL_QUEUE_DIR": str(tmp_path / "queue"),
        "KAIZEN_OTEL_AUDIT_DIR": str(tmp_path / "audit"),
    }
    validate([config_path("gateway")], binary=gateway_binary, environment=environment)
    validate([config_path("gateway")], binary=gateway_binary, environment={})


@pytest.mark.parametrize("overlay", OVERLAYS, ids=lambda path: path.stem)
def test_every_overlay_is_valid_over_the_gateway(gateway_binary: Path, overlay: Path) -> None:
    validate([config_path("gateway"), overlay], binary=gateway_binary)


def test_an_invalid_config_is_refused_in_the_collectors_words(
    gateway_binary: Path, tmp_path: Path
) -> None:
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text("exporters: {elasticsearch: {pipeline: x, retry: {max_retries: 3}}}\n")
    with pytest.raises(ConfigError, match=re.escape("index.default_pipeline")):
        validate([config_path("gateway"), overlay], binary=gateway_binary)


def test_the_table_of_distributions_is_what_the_binaries_say(
    dev_binary: Path, gateway_binary: Path
) -> None:
    for name, binary in (("dev", dev_binary), ("gateway", gateway_binary)):
        facts = inspect_binary(binary)
        assert facts.own
        # A binary from PATH or the environment may have more.
        assert facts.components >= DISTRIBUTIONS[name]
        if "kaizen-otelcol" in binary.name:
            assert facts.components == DISTRIBUTIONS[name]


@pytest.mark.parametrize("name", SHIPPED_CONFIGS)
def test_each_config_needs_the_distribution_of_its_name(name: str) -> None:
    text = config_path(name).read_text(encoding="utf-8")
    assert smallest_distribution(required_components([text])) == name


@pytest.mark.parametrize("name", SHIPPED_CONFIGS)
def test_every_rule_in_a_config_is_explained_in_the_readme(name: str) -> None:
    readme = (collector_directory() / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"\bR\d\d\b", config_path(name).read_text(encoding="utf-8")))
    assert used
    assert used <= set(re.findall(r"^\| (R\d\d) \|", readme, re.MULTILINE))


@pytest.mark.parametrize("name", SHIPPED_CONFIGS)
def test_an_audit_pipeline_has_nothing_between_receiver_and_file(name: str) -> None:
    config = yaml.safe_load(config_path(name).read_text(encoding="utf-8"))
    pipeline = config["service"]["pipelines"]["logs/audit"]
    assert pipeline == {
        "receivers": ["otlp/audit"],
        "processors": ["memory_limiter"],
        "exporters": ["file/audit"],
    }
    rotation = config["exporters"]["file/audit"]["rotation"]
    assert (rotation["max_backups"], rotation["max_days"]) == (0, 0)
