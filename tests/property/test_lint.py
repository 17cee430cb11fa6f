"""Any YAML and any text is judged or refused by the linter, never thrown at the user."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen_otel._collector.component_facts import load_facts
from kaizen_otel._collector.config_tree import Source
from kaizen_otel._collector.lint import lint
from kaizen_otel._collector.lint_format import as_github, as_json, as_text
from kaizen_otel._collector.read_config import parse, read_configs
from kaizen_otel._collector.render import dump
from kaizen_otel.errors import ConfigError

FACTS = load_facts()
KEYS = st.sampled_from(
    [
        *("receivers", "processors", "exporters", "connectors", "extensions", "service"),
        *("pipelines", "traces", "logs/audit", "otlp", "otlp/audit", "file", "file/audit"),
        *("protocols", "http", "grpc", "endpoint", "tls", "auth", "headers", "sending_queue"),
        *("elasticsearch", "retry", "rotation", "telemetry", "metrics", "readers", "password"),
        *("batch", "memory_limiter", "file_storage", "span_metrics", "health_check", "0", "*"),
    ]
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    KEYS,
    st.sampled_from(["0.0.0.0:4317", "[::]:1", "${env:A:-b}", "${file:/x}", "5m", "$$", "${", "]"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.one_of(KEYS, st.text(max_size=5)), inner)
    ),
    max_leaves=40,
)
CONFIGS = st.fixed_dictionaries(
    {"service": st.one_of(VALUES, st.fixed_dictionaries({"pipelines": VALUES}))},
    optional=dict.fromkeys(("receivers", "processors", "exporters", "extensions"), VALUES),
)


@settings(max_examples=60)
@given(config=CONFIGS)
def test_any_tree_is_judged_and_written_again(config: object) -> None:
    text = yaml.safe_dump(config)
    try:
        root = parse(text, "any")
    except ConfigError:
        return
    report = lint(Source(names=("any",), root=root), FACTS)
    for form in (as_text, as_json, as_github):
        form([report])
    again = parse(dump(root), "any")
    assert [(path, node.raw) for path, node in again.walk()] == [
        (path, node.raw) for path, node in root.walk()
    ]


@settings(max_examples=100)
@given(content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_refused_or_judged(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(content)
        try:
            source = read_configs([path])
        except ConfigError:
            return
        lint(source, FACTS)
