"""Claims about what is rendered: each has one subject and says one thing of it.

A claim's id is what it says.  The same claim over several renders, Helms or versions of Kubernetes
is one claim.  ``claims.yaml`` holds those that compare one place with one value.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.kit.rendering import COMPONENT, Container, Manifest, Release, pod_template
from tests.chart.kit.variants import Charts, variants

_FILE: Final = Path(__file__).parents[1] / "claims.yaml"
_PREFIX: Final = re.compile(
    r"^(?:observed-)?(?:release-kaizen-otel|release-telemetry|observation|an-observer[a-z-]{28}"
    r"|release-a-name[a-z-]{26})-?"
)
_HASH: Final = re.compile(r"-[0-9a-f]{10}$")
MISSING: Final = object()

#: What a claim says of each thing it is about: what contradicts it, or nothing.
Faults = Iterator[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One statement; ``judge`` gives a line for each thing it is held against, "" if it holds."""

    id: str
    judge: Callable[[World], Iterator[str]]

    def faults(self, world: World) -> list[str]:
        """What contradicts it; a claim about nothing is contradicted."""
        found = list(self.judge(world))
        return [one for one in found if one] if found else ["there is nothing that it is about"]


@dataclass(slots=True)
class World:
    """The renders of all variants."""

    releases: dict[str, Release] = field(default_factory=dict)

    @classmethod
    def of(cls, charts: Charts) -> World:
        return cls({one.name: charts.release(one) for one in variants()})

    def objects(self, role: str) -> Iterator[tuple[str, Manifest]]:
        """Variant and object, for a role such as "Service audit" or "Service audit in dev"."""
        name, _, where = role.partition(" in ")
        wanted = where.split(", ") if where else list(self.releases)
        for variant in wanted:
            for item in self.releases[variant].objects:
                if role_of(item) == name:
                    yield variant, item

    def pods(self, component: str) -> Iterator[tuple[str, Manifest]]:
        """Variant and pod template, of a component."""
        for variant, release in self.releases.items():
            for _, template in release.pods():
                if template["metadata"]["labels"][COMPONENT] == component:
                    yield variant, template

    def containers(self, subject: str) -> Iterator[tuple[str, Container]]:
        """Variant and container, for a subject such as "audit guard"."""
        component, name = subject.split(" ")
        for variant, release in self.releases.items():
            for one in release.containers():
                if one.name == name and one.component == component:
                    yield variant, one


def role_of(item: Manifest) -> str:
    """Kind, and name without the release's prefix and the hash of the content."""
    name = _HASH.sub("-HASH", _PREFIX.sub("", item["metadata"]["name"]))
    return f"{item['kind']} {name}".strip()


def at(node: Any, path: str) -> Any:  # noqa: ANN401 - whatever a manifest holds there
    """What stands at "spec ports[http] port"; MISSING if nothing does."""
    for step in path.split(" "):
        key, _, chosen = step.partition("[")
        if not isinstance(node, dict) or key not in node:
            return MISSING
        node = node[key]
        if chosen:
            node = _item(node, chosen.removesuffix("]"))
            if node is MISSING:
                return MISSING
    return node


def _item(items: Any, chosen: str) -> Any:  # noqa: ANN401 - as above
    if not isinstance(items, list):
        return MISSING
    if chosen.isdecimal():
        return items[int(chosen)] if int(chosen) < len(items) else MISSING
    named = ("name", "mountPath", "key", "alert")
    return next((one for one in items if any(one.get(field) == chosen for field in named)), MISSING)


def _value_claim(role: str, path: str, wanted: object) -> Claim:
    def judge(world: World) -> Iterator[str]:
        for variant, item in world.objects(role):
            found = at(item, path)
            if wanted is None:
                yield "" if found is MISSING else f"{variant}: {found!r}"
            else:
                same = found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
                shown = "nothing" if found is MISSING else repr(found)
                yield "" if same else f"{variant}: {shown}"

    said = "not there" if wanted is None else repr(wanted)
    return Claim(id=f"{role}: {path} is {said}", judge=judge)


@functools.cache
def table() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(_FILE.read_text())
    return found


def value_claims() -> Iterator[Claim]:
    """Those of ``claims.yaml``."""
    for role, places in table().items():
        for path, wanted in places.items():
            yield _value_claim(role, path, wanted)


def makers_of(world: World, component: str) -> Iterator[tuple[str, Manifest]]:
    """Variant and object that makes the pods of a component."""
    for variant, release in world.releases.items():
        for item in release.objects:
            template = pod_template(item)
            if template and template["metadata"]["labels"][COMPONENT] == component:
                yield variant, item
