"""Values drawn from the schema: each key by its own rules, the rules between keys by chance."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator
from typing import Any, Final

import yaml
from hypothesis import strategies as st

from tests.chart.kit.rendering import CHART, Values, merged
from tests.chart.kit.variants import Variant, variants

Schema = dict[str, Any]
Path = tuple[str, ...]

#: Of an object without a schema, and of one with a list of keys that no schema bounds.
_ITEMS_MAX: Final = 3
CHANGES_MAX: Final = 6


@functools.cache
def schema() -> Schema:
    found: Schema = json.loads((CHART / "values.schema.json").read_text())
    return found


@functools.cache
def default_values() -> Values:
    found: Values = yaml.safe_load((CHART / "values.yaml").read_text())
    return found


def resolved(node: Schema) -> Schema:
    """The node itself, or the definition that it names."""
    if "$ref" in node:
        found: Schema = schema()["definitions"][node["$ref"].rpartition("/")[2]]
        return found
    return node


def leaves(node: Schema | None = None, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Every key that is described as a whole."""
    node = schema() if node is None else node
    for name, part in node["properties"].items():
        is_mapping = part.get("additionalProperties") is False and "properties" in part
        if is_mapping:
            yield from leaves(part, (*path, name))
        else:
            yield (*path, name), resolved(part)


def _text(node: Schema) -> st.SearchStrategy[str]:
    if "pattern" not in node:
        return st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=40)
    pattern = node["pattern"].removeprefix("^").removesuffix("$")
    found = st.from_regex(re.compile(f"(?:{pattern})", re.ASCII), fullmatch=True)
    # A class such as [^ ] is no permission for what YAML cannot carry.
    return found.filter(str.isprintable)


def _number(node: Schema) -> st.SearchStrategy[int | float]:
    lowest, highest = node.get("minimum", 0), node.get("maximum", 10**9)
    if node["type"] == "integer":
        return st.integers(lowest, highest)
    open_below = "exclusiveMinimum" in node
    return st.one_of(
        st.integers(max(1, int(lowest)), min(64, highest)),
        st.floats(node.get("exclusiveMinimum", lowest), 64, exclude_min=open_below, width=16),
    )


def _array(node: Schema) -> st.SearchStrategy[list[Any]]:
    items = values_of(node["items"])
    lowest = node.get("minItems", 0)
    unique = json.dumps if node.get("uniqueItems") else None
    return st.lists(items, min_size=lowest, max_size=max(lowest, _ITEMS_MAX), unique_by=unique)


def _object(node: Schema) -> st.SearchStrategy[dict[str, Any]]:
    parts = {name: values_of(part) for name, part in node.get("properties", {}).items()}
    needed = node.get("required", [])
    rest = node.get("additionalProperties", True)
    if rest is False:
        optional = {name: one for name, one in parts.items() if name not in needed}
        found = st.fixed_dictionaries({name: parts[name] for name in needed}, optional=optional)
        if node.get("minProperties") or "not" in node:
            return found.filter(lambda drawn: _is_allowed(node, drawn))
        return found
    keys = values_of({"type": "string", **node.get("propertyNames", {})})
    inside = values_of(rest) if isinstance(rest, dict) else st.booleans() | st.integers(0, 9)
    free = st.dictionaries(keys, inside, max_size=_ITEMS_MAX)
    fixed = st.fixed_dictionaries({name: parts.get(name) or inside for name in needed})
    return st.builds(lambda some, others: {**some, **others}, free, fixed)


def _is_allowed(node: Schema, drawn: dict[str, Any]) -> bool:
    if len(drawn) < node.get("minProperties", 0):
        return False
    forbidden = node.get("not", {})
    return not forbidden or not (
        all(name in drawn for name in forbidden.get("required", []))
        and any(
            all(name in drawn for name in one["required"]) for one in forbidden.get("anyOf", [{}])
        )
    )


def values_of(node: Schema) -> st.SearchStrategy[Any]:
    """What a part of the schema takes."""
    if "$ref" in node:
        return values_of(resolved(node))
    if "enum" in node:
        return st.sampled_from(node["enum"])
    if "anyOf" in node:
        return st.one_of([values_of(one) for one in node["anyOf"]])
    kinds = {"string": _text, "integer": _number, "number": _number, "array": _array}
    if node["type"] == "boolean":
        return st.booleans()
    return kinds.get(node["type"], _object)(node)


def placed(path: Path, value: object) -> Values:
    """Values with one key."""
    found: Any = value
    for name in reversed(path):
        found = {name: found}
    values: Values = found
    return values


@functools.cache
def _changes() -> dict[Path, st.SearchStrategy[Any]]:
    return {path: values_of(node) for path, node in leaves() if path[0] != "global"}


@st.composite
def value_sets(draw: st.DrawFn) -> tuple[Variant, Values]:
    """A variant and what is changed of it: as users do, who start from something that works."""
    base = draw(st.sampled_from(variants()))
    paths = draw(
        st.lists(st.sampled_from(list(_changes())), min_size=1, max_size=CHANGES_MAX, unique=True)
    )
    changed: Values = {}
    for path in paths:
        changed = merged(changed, placed(path, draw(_changes()[path])))
    return base, changed
