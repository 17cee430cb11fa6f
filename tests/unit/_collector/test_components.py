"""Which components a config names and a binary has: pure functions."""

from __future__ import annotations

import pytest

from kaizen_otel._collector.components import (
    BinaryFacts,
    describe,
    has_own_exporter,
    objections,
    parse_components,
    parse_version,
    required_components,
    smallest_distribution,
)
from kaizen_otel.errors import ConfigError

NEW_ANSWER = """
buildinfo: {command: otelcol, version: 0.161.0}
receivers:
  - {name: otlp, module: go.opentelemetry.io/collector/receiver/otlpreceiver v0.161.0}
exporters:
  - {name: elasticsearch, module: github.com/contrib/elasticsearchexporter v0.161.0}
providers:
  - {scheme: env, module: go.opentelemetry.io/collector/confmap/provider/envprovider v1.67.0}
"""


def facts(version: tuple[int, int, int] = (0, 161, 0), *, own: bool = True) -> BinaryFacts:
    return BinaryFacts(version=version, components=frozenset({("exporters", "file")}), own=own)


def test_every_named_component_is_required_also_an_idle_one() -> None:
    config = """
receivers: {otlp: {}, otlp/audit: {}}
processors: {batch: }
exporters: {file/a: {path: "${env:X:-${file:/y}}"}, debug: {}}
connectors: {span_metrics: {}}
extensions: {health_check: {}}
service: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}
"""
    assert required_components([config]) == {
        ("receivers", "otlp"),
        ("processors", "batch"),
        ("exporters", "file"),
        ("exporters", "debug"),
        ("connectors", "span_metrics"),
        ("extensions", "health_check"),
        ("providers", "env"),
        ("providers", "file"),
    }


def test_overlays_add_to_what_is_required() -> None:
    required = required_components(["exporters: {file: {}}", "exporters: {debug: {}}"])
    assert {("exporters", "file"), ("exporters", "debug")} <= required


def test_an_escaped_dollar_names_no_provider() -> None:
    assert ("providers", "vault") not in required_components(['a: "$${vault:x}"'])
    assert ("providers", "vault") in required_components(['a: "${vault:x}"'])


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "just words"])
def test_what_is_no_config_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="not a Collector config"):
        required_components([text])


def test_both_forms_of_the_components_answer_are_read() -> None:
    assert parse_components(NEW_ANSWER) == {
        ("receivers", "otlp"),
        ("exporters", "elasticsearch"),
        ("providers", "env"),
    }
    assert parse_components("receivers: [otlp, kafka]") == {
        ("receivers", "otlp"),
        ("receivers", "kafka"),
    }


def test_only_an_elasticsearch_exporter_of_others_is_foreign() -> None:
    assert not has_own_exporter(NEW_ANSWER)
    assert has_own_exporter(
        NEW_ANSWER.replace("github.com/contrib", "kaizen-otel.invalid/exporter")
    )
    assert has_own_exporter("exporters: [{name: file}]")
    assert has_own_exporter("receivers: []")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("otelcol-contrib version 0.161.0", (0, 161, 0)),
        ("kaizen-otelcol version v1.2.3-rc.1\n", (1, 2, 3)),
        ("otelcol version", None),
        ("GNU bash 5.2.0", None),
    ],
)
def test_a_version_is_read(text: str, version: tuple[int, int, int] | None) -> None:
    assert parse_version(text) == version


def test_versions_outside_the_range_are_refused_at_both_ends() -> None:
    required = frozenset({("exporters", "file")})
    assert not objections(facts((0, 158, 0)), required)
    assert not objections(facts((0, 170, 9)), required)
    assert objections(facts((0, 157, 9)), required)
    assert objections(facts((0, 171, 0)), required)


def test_what_is_missing_is_named() -> None:
    required = frozenset({("exporters", "file"), ("extensions", "oidc"), ("exporters", "kafka")})
    assert objections(facts(), required) == ["lacks exporter kafka, extension oidc"]


def test_a_foreign_exporter_is_an_objection_only_where_ours_is_asked_for() -> None:
    assert not objections(facts(own=False), frozenset())
    assert objections(facts(own=False), frozenset(), own=True)


def test_the_smallest_distribution_that_has_all_is_chosen() -> None:
    assert smallest_distribution(frozenset({("exporters", "file")})) == "dev"
    assert smallest_distribution(frozenset({("exporters", "elasticsearch")})) == "gateway"
    assert smallest_distribution(frozenset({("exporters", "kafka")})) is None


def test_components_are_described_in_order() -> None:
    assert describe([("receivers", "b"), ("exporters", "a")]) == "exporter a, receiver b"
