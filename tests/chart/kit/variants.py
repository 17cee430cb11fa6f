"""The renders that everything is judged by: each profile, and what no profile reaches."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.kit.rendering import CHART, Release, Renderer, Values, chart_files, merged, parse

SCHEMA: Final = "values.schema.json"
#: The name of the chart with its schema.
STRICT: Final = "strict"
_BARE: Final = "bare"
_FILE: Final = Path(__file__).parents[1] / "variants.yaml"
#: A template that asks whether the cluster has an API; the worker's cluster has none.
_ASKS: Final = re.compile(r"\.Capabilities\.APIVersions\.Has\s+(\"[^\"]*\"|\S+?)(?=[\s)}])")


#: A template that looks for an object in the cluster, or for the list of all of a kind.
_LOOKS: Final = re.compile(r"lookup \"[^\"]+\" \"(\w+)\" \S+ (\"\"|\$\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """Values to render the chart with, and what the cluster is told to have."""

    name: str
    values: Values
    #: Whether it has every API that the chart asks for.
    has_apis: bool = False
    #: Its objects by kind and name; nothing stands for no cluster at all, as in ``helm template``.
    cluster: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def chart(self) -> str:
        """The name under which the worker keeps the chart for such a cluster."""
        return json.dumps([self.has_apis, self.cluster], sort_keys=True)

    def adapted(self, files: Mapping[str, str]) -> dict[str, str]:
        """The chart with this cluster's answers in the text of its templates."""
        found = with_apis(files) if self.has_apis else dict(files)
        return with_objects(found, self.cluster) if self.cluster else found


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
            cluster=one.get("cluster", base.cluster),
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


def with_objects(
    files: Mapping[str, str], cluster: Mapping[str, Mapping[str, Any]]
) -> dict[str, str]:
    """The chart as it renders where the cluster has these objects."""

    def answer(found: re.Match[str]) -> str:
        objects = f"(fromJson `{json.dumps(cluster.get(found[1], {}))}`)"
        return objects if found[2] == '""' else f"get {objects} {found[2]}"

    return {
        path: _LOOKS.sub(answer, text) if path.startswith("templates/") else text
        for path, text in files.items()
    }


@dataclass(slots=True)
class Charts:
    """The chart, rendered by value; each distinct render of a variant happens once.

    Without the schema, of which Helm compiles every pattern for each render: the worker has it as
    ``STRICT``, and both Helm programs render every variant with it.
    """

    renderer: Renderer
    _files: dict[str, str] = field(default_factory=dict)
    _kept: dict[str, dict[str, str]] = field(default_factory=dict)
    _loaded: set[str] = field(default_factory=set)

    def load(self) -> None:
        self._files = chart_files()
        schema = self._files.pop(SCHEMA)
        self.renderer.load(_BARE, self._files)
        self.renderer.load(STRICT, {SCHEMA: schema}, base=_BARE)

    def file(self, path: str) -> str:
        """A file of the chart."""
        return self._files[path]

    def text(self, one: Variant, changed: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Text by path, of a variant with some values replaced; RefusedError if it is refused."""
        if one.chart not in self._loaded:
            adapted = one.adapted(self._files)
            changed_files = {path: t for path, t in adapted.items() if t != self._files[path]}
            self.renderer.load(one.chart, changed_files, base=_BARE)
            self._loaded.add(one.chart)
        return self.renderer.manifests(merged(one.values, changed or {}), chart=one.chart)

    def manifests(self, one: Variant) -> dict[str, str]:
        if one.name not in self._kept:
            self._kept[one.name] = self.text(one)
        return self._kept[one.name]

    def release(self, one: Variant) -> Release:
        return parse(self.manifests(one))

    def render(self, values: Mapping[str, Any], *, base: str = "dev") -> Release:
        """The base with some values replaced."""
        return parse(self.text(variant(base), values))
