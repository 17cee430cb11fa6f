"""The renders that everything is judged by: each profile, and what no profile reaches."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.kit.rendering import CHART, Release, Renderer, Values, chart_files, merged, parse

SCHEMA: Final = "values.schema.json"
_FILE: Final = Path(__file__).parents[1] / "variants.yaml"
#: A template that asks whether the cluster has an API; the worker's cluster has none.
_ASKS: Final = re.compile(r"\.Capabilities\.APIVersions\.Has\s+(\"[^\"]*\"|\S+?)(?=[\s)}])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Values to render the chart with, and whether the cluster has every API that it asks for."""

    name: str
    values: Values
    has_apis: bool = False


@functools.cache
def profiles() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in (CHART / "profiles").glob("*.yaml")))


def profile_values(name: str) -> Values:
    found: Values = yaml.safe_load((CHART / "profiles" / f"{name}.yaml").read_text())
    return found


@functools.cache
def variants() -> tuple[Variant, ...]:
    """The profiles first; one that another is based on comes before it."""
    found = {name: Variant(name=name, values=profile_values(name)) for name in profiles()}
    for name, one in yaml.safe_load(_FILE.read_text()).items():
        base = found[one["base"]]
        found[name] = Variant(
            name=name,
            values=merged(base.values, one.get("values") or {}),
            has_apis=one.get("apis", base.has_apis),
        )
    return tuple(found.values())


def variant(name: str) -> Variant:
    return next(one for one in variants() if one.name == name)


def with_apis(files: Mapping[str, str]) -> dict[str, str]:
    """The chart as it renders where the cluster has every API that it asks for."""
    return {
        path: _ASKS.sub("true", text) if path.startswith("templates/") else text
        for path, text in files.items()
    }


@dataclass(slots=True)
class Charts:
    """The chart, rendered by value; each distinct render of a variant happens once.

    Without the schema, of which Helm compiles every pattern for each render; the chart that is
    called "strict" has it.
    """

    renderer: Renderer
    _kept: dict[str, dict[str, str]] = field(default_factory=dict)

    def load(self) -> None:
        files = chart_files()
        schema = files.pop(SCHEMA)
        self.renderer.load("plain", files)
        self.renderer.load("apis", with_apis(files))
        self.renderer.load("strict", {SCHEMA: schema}, base="plain")

    def manifests(self, one: Variant) -> dict[str, str]:
        if one.name not in self._kept:
            self._kept[one.name] = self.renderer.manifests(one.values, chart=chart_of(one))
        return self._kept[one.name]

    def release(self, one: Variant) -> Release:
        return parse(self.manifests(one))

    def render(self, values: Mapping[str, Any], *, base: str = "dev") -> Release:
        """The base with some values replaced."""
        found = variant(base)
        return parse(self.renderer.manifests(merged(found.values, values), chart=chart_of(found)))


def chart_of(one: Variant) -> str:
    return "apis" if one.has_apis else "plain"
