"""Every value does something, and whatever is wrong with one is refused with its name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.kit.fuzz import is_taken_by_the_schema
from tests.chart.kit.generated import default_values, leaves, placed, resolved, schema
from tests.chart.kit.rendering import RefusedError, Values, merged
from tests.chart.kit.variants import STRICT, Charts, Variant, profile_values, profiles, variants

from .conftest import Helm

LEAVES = {".".join(path): (path, node) for path, node in leaves() if path[0] != "global"}
#: Values for those whose kind alone says too little.
OTHERS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("other_values.yaml").read_text())

#: What they do is shown by cases of refusals.yaml, where a Secret is missing.
DECIDE_IN_A_CLUSTER = {"validation.secrets"}


def at(values: Values, path: tuple[str, ...]) -> Any:  # noqa: ANN401 - any value
    node: Any = values
    for name in path:
        node = node[name]
    return node


def others(path: tuple[str, ...], node: dict[str, Any], now: object) -> Iterator[Any]:
    """Values that a key can have, other than the one that it has."""
    if (dotted := ".".join(path)) in OTHERS:
        yield OTHERS[dotted]
    elif node.get("type") == "boolean":
        yield not now
    elif "enum" in node:
        yield from (one for one in node["enum"] if one != now)
    elif node.get("type") == "integer":
        yield from (one for one in (int(str(now)) + 1, int(str(now)) - 1) if one != now)
    else:
        yield OTHERS["kinds"][_kind(node)]


def _kind(node: dict[str, Any]) -> str:
    """The first kind in other_values.yaml whose value this key takes."""
    validator = jsonschema.Draft7Validator({**node, "definitions": schema()["definitions"]})
    for name, value in OTHERS["kinds"].items():
        if validator.is_valid(value):
            return str(name)
    raise AssertionError(f"no value in other_values.yaml fits {node}")


def likely(path: tuple[str, ...]) -> list[Variant]:
    """The variants, first those that say something near the key."""

    def nearness(one: Variant) -> int:
        node: Any = merged(one.values)
        depth = 0
        for name in path:
            if not isinstance(node, dict) or name not in node:
                break
            node, depth = node[name], depth + 1
        return -depth

    return sorted(variants(), key=nearness)


def has_effect(charts: Charts, one: Variant, dotted: str, changed: Values) -> bool:
    """Whether another value gives another render, or a refusal that names the key."""
    if not is_taken_by_the_schema(merged(one.values, changed)):
        # Whatever is said there, this key's own kind allows the value: it changes a rule.
        return dotted == "compliance.enabled"
    try:
        return charts.text(one, changed) != charts.manifests(one)
    except RefusedError as refusal:
        return dotted in refusal.message


@pytest.mark.parametrize("dotted", [one for one in LEAVES if one not in DECIDE_IN_A_CLUSTER])
def test_a_value_changes_what_is_rendered(charts: Charts, dotted: str) -> None:
    """One that changes nothing is a promise that nobody keeps."""
    path, node = LEAVES[dotted]
    assert any(
        has_effect(charts, one, dotted, placed(path, other))
        for one in likely(path)
        for other in others(path, node, at(merged(default_values(), one.values), path))
    )


# -------------------------------------------------------------------------------- the schema
def wrong_for(node: dict[str, Any]) -> object:
    """A value of a type that no key of this schema takes."""
    kinds = {"string": 7.5, "boolean": "yes", "integer": "many", "number": "much"}
    return kinds.get(node.get("type", ""), "text")


def mappings(node: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every mapping whose keys are known."""
    if node.get("additionalProperties") is False and "properties" in node:
        yield path
        for name, part in node["properties"].items():
            if "$ref" not in part:
                yield from mappings(part, (*path, name))


def refused_at(values: Values) -> list[str]:
    """Where the schema refuses, as dotted paths, and the keys that it does not know."""
    errors = jsonschema.Draft7Validator(schema()).iter_errors(merged(default_values(), values))
    found = []
    for error in errors:
        found.append(".".join(map(str, error.absolute_path)))
        found.append(error.message)
    return found


@pytest.mark.parametrize("dotted", LEAVES)
def test_a_value_of_another_type_is_refused_where_it_stands(dotted: str) -> None:
    path, node = LEAVES[dotted]
    assert any(
        one.startswith(dotted) for one in refused_at(placed(path, wrong_for(resolved(node))))
    )


@pytest.mark.parametrize("dotted", LEAVES)
def test_a_value_taken_away_by_null_is_refused_by_its_name(dotted: str) -> None:
    path, _ = LEAVES[dotted]
    values = merged(default_values())
    del at(values, path[:-1])[path[-1]]
    errors = jsonschema.Draft7Validator(schema()).iter_errors(values)
    assert any(path[-1] in error.message for error in errors)


NO_HOSTS = ("no address", "", "a..b", "-a", ".a", "a_b", "[::1", "[no:address:]", "a" * 64)
NO_PORTS = ("", ":0", ":65536", ":no", "::1")


@pytest.mark.parametrize("bad", [*(f"{host}:1" for host in NO_HOSTS), *(f"a{p}" for p in NO_PORTS)])
def test_what_is_no_address_is_refused_at_every_destination(bad: str) -> None:
    """So that no rollout waits for pods that cannot start, or send to nobody."""
    url = f"http://{bad}"
    refused = refused_at(
        {
            "destinations": {
                "jaeger": {"endpoint": bad},
                "prometheus": {"endpoint": url if bad != "a" else "a"},
                "elasticsearch": {"endpoint": url if bad != "a" else "http:a"},
                "extra": [{"name": "b", "protocol": "grpc", "endpoint": url, "signals": ["logs"]}],
            }
        }
    )
    for name in ("jaeger.endpoint", "prometheus.endpoint", "elasticsearch.endpoint"):
        assert f"destinations.{name}" in refused
    assert bad == "a" or "destinations.extra.0.endpoint" in refused


@pytest.mark.parametrize("host", ["jaeger", "jaeger.traces.svc.", "10.0.0.1", "[2001:db8::1]"])
def test_every_kind_of_host_is_an_address(host: str) -> None:
    url = f"https://{host}:65535"
    endpoints = {"jaeger": f"{host}:1", "prometheus": url, "elasticsearch": f"https://{host}/path"}
    taken = {name: {"endpoint": endpoint} for name, endpoint in endpoints.items()}
    assert is_taken_by_the_schema(merged(profile_values("dev"), {"destinations": taken}))


@pytest.mark.parametrize("path", list(mappings(schema())), ids=lambda path: ".".join(path) or "top")
def test_a_key_that_nobody_knows_is_refused_by_its_name(path: tuple[str, ...]) -> None:
    assert any("unheard" in one for one in refused_at(placed((*path, "unheard"), 1)))


@pytest.mark.parametrize("name", profiles())
def test_the_schema_takes_every_profile(name: str) -> None:
    assert is_taken_by_the_schema(profile_values(name))


SAMPLES: dict[str, Values] = {
    "gateway": {"gateway": {"replicas": "two"}},
    "endpoint": {"destinations": {"elasticsearch": {"endpoint": "https://user:word@host"}}},
    "gatway": {"gatway": {}},
    "whenDeleted": {"audit": {"volume": {"retention": {"whenDeleted": "Maybe"}}}},
}


@pytest.mark.parametrize("named", SAMPLES)
def test_helm_refuses_what_the_schema_refuses_with_the_same_key(
    helm: Helm, charts: Charts, named: str
) -> None:
    """The other tests ask the schema in Python; here both Helms and the SDK read it."""
    values = merged(profile_values("dev"), SAMPLES[named])
    assert not is_taken_by_the_schema(values)
    with pytest.raises(RefusedError) as refused:
        charts.renderer.manifests(values, chart=STRICT)
    assert refused.value.by == "schema"
    done = helm.run(
        "template", "release", str(helm.chart), "--values", "-", stdin=yaml.safe_dump(values)
    )
    assert done.returncode != 0
    assert named in done.stderr
    assert named in refused.value.message


# ------------------------------------------------------------------------- rules between values
WEAKENED: dict[str, Values] = {
    "audit.enabled": {"audit": {"enabled": False}},
    "audit.guard.enabled": {"audit": {"guard": {"enabled": False}}},
    "audit.verification.enabled": {"audit": {"verification": {"enabled": False}}},
    "audit.deletionGuard.enabled": {"audit": {"deletionGuard": {"enabled": False}}},
    "audit.volume.retention.whenDeleted": {
        "audit": {"volume": {"retention": {"whenDeleted": "Delete"}}}
    },
    "audit.volume.retention.whenScaled": {
        "audit": {"volume": {"retention": {"whenScaled": "Delete"}}}
    },
    "audit.config": {"audit": {"config": {"processors": {}}}},
    "gateway.config": {"gateway": {"config": {"processors": {}}}},
    "agent.config": {"agent": {"config": {"processors": {}}}},
    "agents.durability": {"agents": {"durability": "none"}},
    "agents.onFailure": {"agents": {"onFailure": "continue"}},
    "networkPolicy.enabled": {"networkPolicy": {"enabled": False}},
    "tls.enabled": {"tls": {"enabled": False}},
    "validation.enabled": {"validation": {"enabled": False}},
    "demo.enabled": {"demo": {"enabled": True}},
}


@pytest.mark.parametrize("dotted", WEAKENED)
def test_compliance_refuses_what_weakens_the_trail_and_names_it(dotted: str) -> None:
    strict = profile_values("compliance")
    assert dotted in refused_at(merged(strict, WEAKENED[dotted]))
    free = merged(strict, WEAKENED[dotted], {"compliance": {"enabled": False}})
    assert is_taken_by_the_schema(free), "only compliance forbids it"
