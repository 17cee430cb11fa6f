"""What the chart promises, one claim at a time, over every render."""

from __future__ import annotations

import copy
from collections import Counter

import pytest

from tests.chart.kit.claims import Claim, World, role_of, table, value_claims
from tests.chart.kit.claims_objects import ROLES, object_claims
from tests.chart.kit.claims_pods import CONTAINERS, PODS, container_claims, pod_claims
from tests.chart.kit.refusals import cases
from tests.chart.kit.rendering import COMPONENT, Manifest, Release
from tests.chart.kit.variants import Charts

CLAIMS = [*value_claims(), *pod_claims(), *container_claims(), *object_claims()]
DISTINCT_MIN = 500


@pytest.fixture(scope="module")
def world(charts: Charts) -> World:
    return World.of(charts)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_claim(world: World, claim: Claim) -> None:
    assert claim.faults(world) == []


def test_at_least_five_hundred_claims_say_something_else() -> None:
    """Parameters of one claim (variants, Helms, versions of Kubernetes) do not count."""
    said = [claim.id for claim in CLAIMS] + [f"refusal: {case.name}" for case in cases()]
    assert [one for one, count in Counter(said).items() if count > 1] == []
    assert len(said) >= DISTINCT_MIN


def test_each_claim_of_the_table_fails_where_the_place_holds_something_else(world: World) -> None:
    blind = []
    for claim in value_claims():
        role, path = claim.id.partition(": ")[0], claim.id.partition(": ")[2].rpartition(" is ")[0]
        other = World({variant: Release(objects=[]) for variant in world.releases})
        for variant, item in world.objects(role):
            spoilt = copy.deepcopy(item)
            spoil(spoilt, path)
            other.releases[variant].objects.append(spoilt)
        if not claim.faults(other):
            blind.append(claim.id)
    assert blind == []


def spoil(item: Manifest, path: str) -> None:
    """Put something else at a place of an object, which need not be there yet."""
    *steps, last = path.split(" ")
    node: dict[str, object] = item
    for step in steps:
        key, _, chosen = step.partition("[")
        inside = node.setdefault(key, [] if chosen else {})
        if isinstance(inside, list):
            inside = listed(inside, chosen.removesuffix("]"))
        assert isinstance(inside, dict)
        node = inside
    key, _, chosen = last.partition("[")
    if chosen:
        items = node.setdefault(key, [])
        assert isinstance(items, list)
        name = chosen.removesuffix("]")
        if name.isdecimal():
            items[int(name) : int(name) + 1] = ["something else"]
        else:
            items.append({"name": name})
    else:
        node[key] = "something else"


def listed(items: list[object], name: str) -> object:
    """The item of a list that a step chooses, made if it is not there."""
    if name.isdecimal():
        return items[int(name)]
    for one in items:
        if isinstance(one, dict) and name in (
            one.get("name"),
            one.get("mountPath"),
            one.get("key"),
        ):
            return one
    items.append({"name": name})
    return items[-1]


def test_every_container_and_every_object_has_claims(world: World) -> None:
    """Something new in the templates has to be looked at here as well."""
    roles, containers, components = set(), set(), set()
    for release in world.releases.values():
        roles |= {role_of(item) for item in release.objects}
        containers |= {f"{one.component} {one.name}" for one in release.containers()}
        components |= {one["metadata"]["labels"][COMPONENT] for _, one in release.pods()}
    assert roles == set(ROLES)
    assert containers == set(CONTAINERS)
    assert components == set(PODS)
    assert {role.partition(" in ")[0] for role in table()} <= roles
