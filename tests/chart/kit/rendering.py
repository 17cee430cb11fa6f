"""The chart rendered in a worker, and what a render is asked for."""

from __future__ import annotations

import copy
import functools
import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[3]
CHART: Final = ROOT / "helm" / "kaizen-otel"
RELEASE: Final = "release"
NAMESPACE: Final = "observed"
POD_MAKERS: Final = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")
COMPONENT: Final = "app.kubernetes.io/component"

Manifest = dict[str, Any]
Values = dict[str, Any]


class RefusedError(Exception):
    """The chart was not rendered; ``by`` is "schema", "template" or "chart"."""

    def __init__(self, by: str, message: str) -> None:
        super().__init__(message)
        self.by = by
        self.message = message

    @property
    def is_validation(self) -> bool:
        """True for the chart's own ``fail``, false for a template that broke."""
        return self.by == "template" and "execution error at" in self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container and the pod it is in."""

    owner: str
    name: str
    spec: Manifest
    pod: Manifest
    is_init: bool
    component: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """The objects of one render."""

    objects: list[Manifest]
    notes: str = ""

    def of_kind(self, kind: str) -> list[Manifest]:
        return [item for item in self.objects if item["kind"] == kind]

    def pods(self) -> Iterator[tuple[str, Manifest]]:
        """What makes each pod, as "Kind name", and the pod's template."""
        for item in self.objects:
            if template := pod_template(item):
                yield f"{item['kind']} {item['metadata']['name']}", template

    def containers(self) -> Iterator[Container]:
        for owner, template in self.pods():
            pod = template["spec"]
            for key in ("initContainers", "containers"):
                for spec in pod.get(key) or []:
                    yield Container(
                        owner=owner,
                        name=spec["name"],
                        spec=spec,
                        pod=pod,
                        is_init=key == "initContainers",
                        component=template["metadata"]["labels"][COMPONENT],
                    )


def pod_template(item: Manifest) -> Manifest | None:
    """The pod that an object makes, with metadata and spec."""
    if item["kind"] == "Pod":
        return item
    spec: Manifest = item.get("spec") or {}
    if item["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return spec["template"] if item["kind"] in POD_MAKERS else None


def chart_files() -> dict[str, str]:
    """What ``helm package`` would take, by path."""
    files = (path for path in sorted(CHART.rglob("*")) if path.is_file())
    return {path.relative_to(CHART).as_posix(): path.read_text() for path in files}


def merged(base: Values, *overlays: Mapping[str, Any]) -> Values:
    """Values as Helm merges them: mappings by key, everything else replaced."""
    found = copy.deepcopy(base)
    for overlay in overlays:
        for key, value in overlay.items():
            if isinstance(value, Mapping) and isinstance(found.get(key), dict):
                found[key] = merged(found[key], value)
            else:
                found[key] = copy.deepcopy(value)
    return found


@functools.lru_cache(maxsize=4096)
def _parsed(text: str) -> list[Manifest]:
    return [item for item in yaml.load_all(text, Loader=yaml.CSafeLoader) if item]


def parse(manifests: Mapping[str, str]) -> Release:
    """The objects of all files, in the order of their paths."""
    objects: list[Manifest] = []
    notes = ""
    for path, text in sorted(manifests.items()):
        if path.endswith("NOTES.txt"):
            notes = text
        elif text.strip():
            objects += _parsed(text)
    return Release(objects=objects, notes=notes)


@dataclass(slots=True)
class Renderer:
    """One worker, which keeps charts by name."""

    python: str
    _process: subprocess.Popen[str] | None = None

    def load(self, chart: str, files: Mapping[str, str], *, base: str = "") -> None:
        """Keep a chart, with those files of ``base`` that are not given; it may be refused."""
        self._ask({"chart": chart, "base": base, "files": dict(files)})

    def manifests(
        self, values: Values, *, chart: str, namespace: str = NAMESPACE, is_upgrade: bool = False
    ) -> dict[str, str]:
        """Text by path; RefusedError if the schema or a template refuses the values."""
        request = {"chart": chart, "values": values, "name": RELEASE, "namespace": namespace}
        answer = self._ask({**request, "is_upgrade": is_upgrade})
        found: dict[str, str] = answer["manifests"]
        return found

    def close(self) -> None:
        if self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process.wait()
            if self._process.stdout:
                self._process.stdout.close()
            self._process = None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process is None:
            worker = str(Path(__file__).with_name("worker.py"))
            self._process = subprocess.Popen(
                [self.python, "-I", worker],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"the worker ended with {self._process.wait()}"
        answer: dict[str, Any] = json.loads(line)
        if "refusal" in answer:
            raise RefusedError(answer["refusal"], answer["message"])
        return answer
