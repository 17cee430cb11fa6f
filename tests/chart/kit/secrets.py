"""The Secrets that values name, and where the name of one may stand in what is rendered."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.chart.kit.generated import default_values
from tests.chart.kit.rendering import Release, Values, merged
from tests.chart.kit.variants import Variant

CANARY = "canary-3f9b1c"


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A Secret that a value names, and the keys that are read of it."""

    path: str
    name: str
    keys: tuple[str, ...]


def named_secrets(values: Values) -> Iterator[Named]:
    """All of them, whether the release uses them or not."""
    yield from _walk(merged(default_values(), values), "")


def _walk(node: object, path: str) -> Iterator[Named]:
    if isinstance(node, dict):
        for key, value in node.items():
            here = f"{path}.{key}".lstrip(".")
            if key.endswith("Secret") and isinstance(value, dict):
                keys = tuple(sorted(text for part, text in value.items() if part != "name"))
                yield from (
                    [Named(path=here, name=value["name"], keys=keys)] if value["name"] else []
                )
            elif key in {"environmentSecrets", "pullSecrets"}:
                yield from (Named(path=here, name=name, keys=()) for name in value)
            elif key == "environmentSecret":
                yield from [Named(path=here, name=value, keys=())] if value else []
            else:
                yield from _walk(value, here)
    elif isinstance(node, list):
        for item in node:
            name = item.get("name", "") if isinstance(item, dict) else ""
            yield from _walk(item, f"{path}[{name}]")


def with_canaries(one: Variant, values: Values) -> Variant:
    """The variant in a cluster that has every Secret named, each value of which is the canary."""
    data: dict[str, dict[str, Any]] = {}
    for named in named_secrets(merged(one.values, values)):
        found = data.setdefault(named.name, {"data": {}, "kind": "Secret"})
        for key in named.keys:
            found["data"][key] = base64.b64encode(CANARY.encode()).decode()
    return Variant(
        name=f"{one.name} with canaries",
        values=merged(one.values, values),
        has_apis=one.has_apis,
        cluster={**one.cluster, "Secret": data},
    )


def texts(node: object, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text of a manifest with the names of the fields around it."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{path} {key}", str(key)
            yield from texts(value, f"{path} {key}")
    elif isinstance(node, list):
        for value in node:
            yield from texts(value, path)
    elif isinstance(node, str):
        yield path, node


def holding(release: Release, text: str) -> list[str]:
    """Where a text stands in any form in any object."""
    encoded = base64.b64encode(text.encode()).decode()
    found = []
    for item in release.objects:
        for path, value in texts(item):
            if text in value or encoded in value:
                found.append(f"{item['kind']} {item['metadata']['name']}:{path}")
    return found
