"""Generated values against the chart: accepted and good, or refused with the key to change."""

from __future__ import annotations

import functools
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import jsonschema
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.chart.kit import kubernetes
from tests.chart.kit.generated import default_values, leaves, schema, value_sets
from tests.chart.kit.rendering import RefusedError, Release, Values, merged, parse
from tests.chart.kit.variants import Charts, Variant

#: What makes two faults of one kind look different.
_DETAIL: Final = re.compile(r"[0-9a-f]{10}|\"[^\"]*\"|'[^']*'|\d+")


@dataclass
class Tally:
    """What became of the value sets, and for each kind of fault the first that showed it."""

    outcomes: Counter[str] = field(default_factory=Counter[str])
    faults: dict[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return self.outcomes.total()

    @property
    def accepted_share(self) -> float:
        return self.outcomes["accepted"] / max(1, self.total)

    def add(self, base: Variant, changed: Values, outcome: str, faults: list[str]) -> None:
        self.outcomes[outcome] += 1
        for fault in faults[:1]:
            shown = f"{base.name} with {json.dumps(changed)}: {fault[:500]}"
            self.faults.setdefault(_DETAIL.sub("_", fault), shown)


def names_a_key(message: str) -> bool:
    """Whether a refusal names a value by its path, so that a user knows where to look."""
    known = [".".join(path) for path, _ in leaves()]
    words = re.findall(r"[A-Za-z][A-Za-z0-9]*(?:(?:\.[A-Za-z][A-Za-z0-9]*)+|(?=\[))", message)
    return any(
        f"{path}.".startswith(f"{word}.") or f"{word}.".startswith(f"{path}.")
        for word in words
        for path in known
    )


def faults_of(release: Release) -> list[str]:
    """What is wrong with a render whatever its values were."""
    found = [one for item in release.objects if (one := kubernetes.problem(item))]
    titles = Counter((item["kind"], item["metadata"]["name"]) for item in release.objects)
    found += [f"{kind} {name} is there twice" for (kind, name), n in titles.items() if n > 1]
    for container in release.containers():
        where = f"{container.owner}, {container.name}"
        for key, part in (("env", "name"), ("ports", "name"), ("volumeMounts", "mountPath")):
            names = Counter(one[part] for one in container.spec.get(key) or [])
            found += [f"{where}: {key} {name} is there twice" for name, n in names.items() if n > 1]
        volumes = {one["name"] for one in container.pod.get("volumes") or []}
        mounted = {one["name"] for one in container.spec.get("volumeMounts") or []}
        claims = {"data"}  # of a volumeClaimTemplate, which no pod names
        found += [f"{where}: no volume {name}" for name in mounted - volumes - claims]
    return found


@functools.cache
def _validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(schema())


def is_taken_by_the_schema(values: Values) -> bool:
    """The schema's verdict on values as a user gives them."""
    return bool(_validator().is_valid(merged(default_values(), values)))


def judge(charts: Charts, base: Variant, changed: Values) -> tuple[str, list[str]]:
    """The outcome of one value set, and what is wrong with it."""
    values = merged(base.values, changed)
    if not is_taken_by_the_schema(values):
        return "refused by the schema", []
    try:
        text = charts.text(base, changed)
    except RefusedError as refusal:
        if refusal.is_validation and names_a_key(refusal.message):
            return "refused by the chart", []
        return "broken", [refusal.message]
    try:
        faults = faults_of(parse(text))
    except yaml.YAMLError as error:
        return "broken", [str(error)]
    return ("broken", faults) if faults else ("accepted", [])


def run(
    charts: Charts, count: int, *, number: int | None = None, progress: Callable[[int], None]
) -> Tally:
    """Judge ``count`` value sets, drawn from ``number``; a fault does not end it."""
    tally = Tally()

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=number is None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(value_sets())
    def judged(drawn: tuple[Variant, Values]) -> None:
        tally.add(*drawn, *judge(charts, *drawn))
        progress(tally.total)

    if number is not None:
        judged = seed(number)(judged)
    judged()
    return tally
