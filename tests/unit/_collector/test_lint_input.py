"""Whatever a file holds: a clear message, never a stack trace, never a long wait."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaizen_otel._collector.component_facts import load_facts
from kaizen_otel._collector.config_tree import expand
from kaizen_otel._collector.lint import lint
from kaizen_otel._collector.read_config import BYTES_MAX, read_configs
from kaizen_otel.errors import ConfigError

PIPELINE = "service: {pipelines: {traces: {receivers: [otlp]}}}\n"
FACTS = load_facts()


def read(folder: Path, content: bytes | str) -> None:
    path = folder / "config.yaml"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    lint(read_configs([path]), FACTS)


def aliases(depth: int) -> str:
    lines = ["receivers: &a0 {x: 1}"]
    lines += [f"k{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, depth)]
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("- a\n", "no map"),
        ("just text", "no map"),
        ("a: [", "no valid YAML"),
        ("a: !!python/object:os.system x\nb: c\n", "no Collector config"),
        ("receivers: {}\n---\nservice: {}\n", ":2: a second YAML document"),
        ("receivers: {}\nreceivers: {}\n", ":2: the key 'receivers' is there twice"),
        ("receivers: {? [a, b] : c}\n", "a key that is no plain text"),
        ("receivers: &a {b: *a}\n", "contains itself"),
        ("receivers: *nothing\n", "nothing"),
        ("apiVersion: v1\nkind: ConfigMap\ndata: {}\n", "a Kubernetes object"),
        ("mode: deployment\n", "it has none of"),
        ("receivers: {otlp: {}}\n", "no service.pipelines"),
        ("service: {pipelines: {}}\n", "no service.pipelines"),
        (b"\x00\x01", "zero bytes"),
        (b"\xff\xfe\xfd", "no UTF-8"),
        (b"#" * (BYTES_MAX + 1), "larger than"),
        ("receivers: " + "[" * 5000, "nest"),
        ("receivers: " + "{a: " * 500, "nested deeper"),
        ("receivers: [" + "a," * 70_000 + "]", "values"),
        (aliases(8), "that is a bomb"),
        (
            "\n".join(["k0: &k0 {}", *(f"k{n}: &k{n} {{x: *k{n - 1}}}" for n in range(1, 200))]),
            "deep",
        ),
    ],
)
def test_what_is_no_config_is_refused_with_the_reason(
    content: bytes | str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, content)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_configs([tmp_path / "missing.yaml"])
    with pytest.raises(ConfigError, match="cannot be read"):
        read_configs([tmp_path])


@pytest.mark.parametrize(
    "content",
    [
        PIPELINE + "receivers: " + "text",
        PIPELINE + "receivers: [a, b]\nexporters: 3\nprocessors: null\nconnectors: {a: [b]}\n",
        "service: {pipelines: {traces: text, logs: [a], metrics: {receivers: otlp}}}\n",
        "service: {pipelines: [traces], extensions: text}\n",
        PIPELINE + "exporters: {file: {path: [a], rotation: text, sending_queue: [x]}}\n",
        PIPELINE + 'receivers: {otlp: {protocols: {grpc: {endpoint: "[::1"}}}}\n',
        PIPELINE + "receivers: {otlp: {endpoint: '" + "a://" * 50_000 + "'}}\n",
        PIPELINE + "receivers: {otlp: {endpoint: '" + "${env:A:-" * 5000 + "}" * 5000 + "'}}\n",
        PIPELINE + "# kaizen-lint: allow R04 because " + " " * 100_000 + "x\n",
        PIPELINE
        + "exporters: {e: {retry_on_failure: {max_elapsed_time: "
        + "1" * 100_000
        + "}}}\n",
        "service:\n  pipelines:\n" + "".join(f"    traces/{n}: {{}}\n" for n in range(1000)),
    ],
    ids=range(11),
)
def test_what_is_a_config_of_the_wrong_shape_is_judged_and_not_thrown_at(
    content: str, tmp_path: Path
) -> None:
    read(tmp_path, content)


@pytest.mark.parametrize(
    ("raw", "known"),
    [
        ("a", "a"),
        ("${env:A:-127.0.0.1}:${env:B:-4317}", "127.0.0.1:4317"),
        ("${A:-x}", "x"),
        ("${env:A:-}", ""),
        ("${env:A}", None),
        ("Bearer ${file:/token}", None),
        ("$$A", "$A"),
        ("${env:A:-${env:B:-deep}}", "deep"),
        ("$${env:A}", "${env:A}"),
    ],
)
def test_expansions_are_read_as_the_collector_does(raw: str, known: str | None) -> None:
    assert expand(raw).known == known
