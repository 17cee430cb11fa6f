"""The shipped configs and overlays, as real Collectors read them."""

from __future__ import annotations

import functools
import itertools
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
from kaizen_otel._collector.overlays import Overlay, check_selection, parse_overlay
from kaizen_otel._collector.resources import (
    SHIPPED_CONFIGS,
    collector_directory,
    config_path,
    shipped_overlays,
)
from kaizen_otel._collector.validate import validate
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

# The smallest of our distributions that has all of a config's parts.
DISTRIBUTION_OF = {"dev": "dev", "audit": "dev", "agent": "gateway", "gateway": "gateway"}


def header(name: str) -> Overlay:
    overlay = parse_overlay(config_path(name).read_text(encoding="utf-8"), name)
    assert overlay is not None, f"{name}.yaml needs a first line `# kaizen-overlay: for=...`"
    return overlay


HEADERS = {name: header(name) for name in shipped_overlays()}


def fits(config: str, overlays: tuple[str, ...]) -> bool:
    try:
        check_selection(config, overlays, HEADERS)
    except ConfigError:
        return False
    return True


def combinations(config: str) -> list[tuple[str, ...]]:
    """Each set of overlays that the headers allow for a config, in an order that works."""
    names = sorted(HEADERS, key=lambda name: (len(HEADERS[name].requires), name))
    names = [name for name in names if config in HEADERS[name].bases]
    return [
        chosen
        for size in range(len(names) + 1)
        for chosen in itertools.combinations(names, size)
        if fits(config, chosen)
    ]


def environment(names: tuple[str, ...]) -> dict[str, str]:
    """What the overlays say must be set."""
    values = {name: "dmFsdWU=" for each in names for name in HEADERS[each].environment}
    return {
        name: "http://127.0.0.1:1/" if name.endswith(("_ISSUER", "_URL")) else value
        for name, value in values.items()
    }


def telling(sets: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The largest sets: what is in a larger one too would find nothing more."""
    return [one for one in sets if not any(set(one) < set(other) for other in sets)]


@pytest.mark.parametrize("config", SHIPPED_CONFIGS)
def test_every_config_is_valid_with_every_set_of_its_overlays(
    dev_binary: Path, gateway_binary: Path, tmp_path: Path, config: str
) -> None:
    """Also with folders that do not exist: the Collector makes them."""
    folders = {"KAIZEN_OTEL_QUEUE_DIR": str(tmp_path / "queue")}
    binary = dev_binary if DISTRIBUTION_OF[config] == "dev" else gateway_binary
    validate([config_path(config)], binary=binary, environment={})
    for names in combinations(config):
        validate(
            [config_path(config), *map(config_path, names)],
            binary=gateway_binary,
            environment={**folders, **environment(names)},
        )


@pytest.mark.parametrize("name", shipped_overlays())
def test_every_overlay_is_valid_with_no_more_than_it_requires(
    gateway_binary: Path, name: str
) -> None:
    for config in HEADERS[name].bases:
        names = (*HEADERS[name].requires, name)
        assert fits(config, names)
        paths = [config_path(config), *map(config_path, names)]
        validate(paths, binary=gateway_binary, environment=environment(names))


@pytest.mark.parametrize("name", shipped_overlays())
def test_the_header_of_an_overlay_is_right(name: str) -> None:
    own = HEADERS[name]
    assert own.bases
    assert set(own.bases) <= set(SHIPPED_CONFIGS)
    assert set(own.requires) <= set(HEADERS)
    assert own.summary
    for other in own.excludes:
        assert name in HEADERS[other].excludes
    text = config_path(name).read_text(encoding="utf-8")
    assert set(own.environment) == set(re.findall(r"\$\{env:([A-Z_]+)\}", text))


def test_overlays_that_would_undo_each_other_exclude_each_other() -> None:
    """A list in an overlay replaces the whole list: of two with one list the first does nothing."""
    for config in SHIPPED_CONFIGS:
        for names in combinations(config):
            lists = [path for name in names for path in lists_in(yaml_of(name))]
            assert len(lists) == len(set(lists)), names


def lists_in(node: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(node, list):
        return [path]
    if isinstance(node, dict):
        return [one for key, each in node.items() for one in lists_in(each, (*path, str(key)))]
    return []


@functools.cache
def yaml_of(name: str) -> object:
    return yaml.safe_load(config_path(name).read_text(encoding="utf-8"))


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
        # For dev that may be gateway's, where only that one was built.
        if "kaizen-otelcol" in binary.name:
            assert facts.components in set(DISTRIBUTIONS.values())


@pytest.mark.parametrize("name", SHIPPED_CONFIGS)
def test_each_config_needs_the_distribution_that_the_readme_names(name: str) -> None:
    text = config_path(name).read_text(encoding="utf-8")
    assert smallest_distribution(required_components([text])) == DISTRIBUTION_OF[name]


@pytest.mark.parametrize("name", [*SHIPPED_CONFIGS, *shipped_overlays()])
def test_every_rule_in_a_config_is_explained_in_the_readme(name: str) -> None:
    readme = (collector_directory() / "README.md").read_text(encoding="utf-8")
    used = set(re.findall(r"\bR\d\d\b", config_path(name).read_text(encoding="utf-8")))
    assert used or name not in SHIPPED_CONFIGS
    assert used <= set(re.findall(r"^\| (R\d\d) \|", readme, re.MULTILINE))


@pytest.mark.parametrize("name", SHIPPED_CONFIGS)
def test_an_audit_pipeline_has_nothing_between_receiver_and_destination(name: str) -> None:
    config = yaml.safe_load(config_path(name).read_text(encoding="utf-8"))
    pipeline = config["service"]["pipelines"]["logs/audit"]
    exporter = "otlp_http/audit" if name == "agent" else "file/audit"
    assert pipeline == {
        "receivers": ["otlp/audit"],
        "processors": ["memory_limiter"],
        "exporters": [exporter],
    }
    settings = config["exporters"][exporter]
    if name == "agent":
        assert settings["sending_queue"] == {"enabled": False}
        assert settings["retry_on_failure"] == {"enabled": False}
    else:
        rotation = settings["rotation"]
        assert (rotation["max_backups"], rotation["max_days"]) == (0, 0)


@pytest.mark.parametrize("name", shipped_overlays())
def test_no_overlay_touches_the_audit_pipeline_or_its_file(name: str) -> None:
    overlay = yaml_of(name)
    assert isinstance(overlay, dict)
    assert "logs/audit" not in overlay.get("service", {}).get("pipelines", {})
    assert "file/audit" not in overlay.get("exporters", {})


def test_the_gateway_and_the_agent_redact_the_same() -> None:
    texts = [config_path(name).read_text(encoding="utf-8") for name in ("agent", "gateway")]
    parts = [yaml.safe_load(text)["processors"]["redaction/telemetry"] for text in texts]
    assert parts[0] == parts[1]
