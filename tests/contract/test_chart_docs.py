"""The chart's schema and README say what its values.yaml says, and nothing is left undescribed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]
BY_HAND = yaml.safe_load((ROOT / ".ci" / "chart_values.yaml").read_text())


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chart_docs", ROOT / ".ci" / "chart_docs.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["chart_docs"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


docs = load()


def schema(text: str, *, rules: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    found: dict[str, Any] = docs.schema_of(text, {**BY_HAND, "rules": rules or []})
    return found


def accepts(found: dict[str, Any], values: object) -> bool:
    return bool(jsonschema.Draft7Validator(found).is_valid(values))


@pytest.mark.parametrize("name", ["values.schema.json", "README.md"])
def test_what_is_committed_is_what_the_values_say(name: str) -> None:
    wanted = {path.name: (path, text) for path, text in docs.pages().items()}
    path, text = wanted[name]
    assert path.read_text(encoding="utf-8") == text, "run: .venv/bin/python .ci/chart_docs.py"


def test_a_comment_describes_its_key_and_its_last_line_says_what_it_may_be() -> None:
    found = schema("# How many,\n# not how often.\n# @int 1..9\ncount: 3\n")["properties"]["count"]
    assert found == {
        "description": "How many, not how often.",
        "type": "integer",
        "minimum": 1,
        "maximum": 9,
    }


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("int 1..9", 9, 10),
        ("number 0..1", 0.5, 1.5),
        ("enum one two", "two", "three"),
        ("pattern ^[a-z]+$", "abc", "a1"),
        ("list enum one two", ["one", "one"], ["three"]),
        ("port", 65535, 65536),
        ("host-port", "jaeger:65535", "jaeger:65536"),
        ("host-port", "[::1]:4317", "http://jaeger:4317"),
        ("url", "https://host:9200/a/b?c=d", "https://user:word@host:9200"),
        ("url", "http://host", "http://${env:HOST}"),
        (
            "destinations",
            [{"name": "a", "protocol": "grpc", "endpoint": "a:65535", "signals": ["logs"]}],
            [{"name": "a", "protocol": "grpc", "endpoint": "a:65536", "signals": ["logs"]}],
        ),
        ("size", "10Gi", "10GB"),
        ("size", "1", "0"),
        ("labels", {"a.b/c": "d"}, {"a/b/c": "d"}),
        ("labels", {"a": ""}, {"a": "spaces are not allowed"}),
        ("resources", {"limits": {"memory": "1Gi"}}, {"limits": {"cpu": 1}}),
        ("resources", {"limits": {"memory": "1.5Gi", "cpu": 0.5}}, {"limits": {"memory": "0"}}),
        ("tolerations", [{"operator": "Exists"}], [{"operators": "Exists"}]),
        ("peers", [{"ipBlock": {"cidr": "10.0.0.0/8"}}], [{}]),
        ("peers", [{"podSelector": {}}], [{"podSelector": {}, "ipBlock": {"cidr": "10.0.0.0/8"}}]),
        ("affinity", {"podAntiAffinity": {}}, {"podAffnity": {}}),
        ("schedule", "*/5 0-3 * * 1,2", "every day"),
        ("schedule", "@daily", "@reboot"),
    ],
)
def test_a_kind_takes_what_works_and_nothing_else(kind: str, good: object, bad: object) -> None:
    found = schema(f"# Text.\n# @{kind}\nkey: {{}}\n")
    assert accepts(found, {"key": good})
    assert not accepts(found, {"key": bad})


def test_a_key_has_the_kind_of_its_name_unless_its_comment_says_another() -> None:
    text = "own:\n  resources: {limits: {memory: 1Gi}}\n  # Text.\n  # @enum small\n  size: small\n"
    found = schema(text)
    assert accepts(found, {"own": {"resources": {"limits": {"memory": "2Gi"}}, "size": "small"}})
    assert not accepts(found, {"own": {"resources": {"limits": {}}, "size": "small"}})
    assert not accepts(found, {"own": {"resources": {"limits": {"memory": "1"}}, "size": "10Gi"}})


def test_a_value_that_null_takes_away_is_refused_as_one_too_many_is() -> None:
    found = schema("outer:\n  enabled: true\n")
    assert accepts(found, {"outer": {"enabled": False}})
    refused: list[object] = [
        {"outer": {}},
        {},
        {"outer": {"enabled": None}},
        {"outer": {"enabled": 1}},
    ]
    for wrong in refused:
        assert not accepts(found, wrong), wrong
    assert not accepts(found, {"outer": {"enabled": True, "enable": True}})


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('outer:\n  # Text.\n  unheard: ""\n', "line 3: nothing says what outer.unheard may be"),
        ("# @int 1..2\ncount: 1\n", "line 2: count has no description"),
        ("# Text.\n# @sizes\nsize: 1Gi\n", "no kind 'sizes'"),
    ],
)
def test_a_key_that_nobody_described_stops_the_generator_with_its_line(
    text: str, named: str
) -> None:
    with pytest.raises(SystemExit, match=named):
        schema(text)


def test_a_rule_about_a_key_that_is_gone_stops_the_generator() -> None:
    """Else the rule would hold for ever, because nothing it speaks of is ever there."""
    rule = {"if": {"properties": {"gone": {"const": True}}}, "then": False}
    with pytest.raises(SystemExit, match="gone"):
        schema("outer:\n  enabled: true\n", rules=[rule])


def test_every_value_stands_in_the_readme() -> None:
    text = (ROOT / "helm" / "kaizen-otel" / "README.md").read_text()
    kinds = docs.Kinds(BY_HAND)

    def leaves(values: list[Any]) -> list[str]:
        found: list[str] = []
        for one in values:
            found += [one.path] if kinds.is_leaf(one) else leaves(one.children)
        return found

    values = docs.read_values((ROOT / "helm" / "kaizen-otel" / "values.yaml").read_text())
    assert [path for path in leaves(values) if f"| `{path}` |" not in text] == []
