"""Committed renders, compared as objects and not as text."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path
from typing import Any, Final

import yaml

from tests.chart.kit.rendering import CHART, Manifest, Release

FOLDER: Final = Path(__file__).parents[1] / "golden"
UPDATE: Final = "KAIZEN_OTEL_UPDATE_GOLDEN"
#: What makes a name change with its content; the content is compared instead.
_HASH: Final = re.compile(r"(?<=-)[0-9a-f]{10}\b")


@functools.cache
def _files() -> dict[str, str]:
    folder = CHART / "files"
    return {
        path.read_text().strip(): f"<files/{path.relative_to(folder).as_posix()}>"
        for path in folder.rglob("*")
        if path.is_file()
    }


@functools.cache
def _trees() -> list[tuple[Any, str]]:
    """The rule files as they stand in an object that is made of one."""
    folder = CHART / "files"
    paths = sorted((folder / "alerts").glob("*.yaml"))
    return [
        (yaml.load(path.read_text(), Loader=yaml.CSafeLoader), f"<files/alerts/{path.name}>")
        for path in paths
    ]


def normal(release: Release) -> dict[str, Any]:
    """The objects by kind and name; a copy of a file of the chart is only named."""
    files = _files()

    def visit(node: object) -> object:
        if isinstance(node, dict):
            if named := next((name for tree, name in _trees() if tree == node), ""):
                return named
            return {_HASH.sub("HASH", str(key)): visit(one) for key, one in node.items()}
        if isinstance(node, list):
            return [visit(one) for one in node]
        if isinstance(node, str):
            return files.get(node.strip()) or _HASH.sub("HASH", node)
        return node

    objects = {_title(item): visit(item) for item in sorted(release.objects, key=_title)}
    return {**objects, "notes": _HASH.sub("HASH", release.notes)}


def _title(item: Manifest) -> str:
    return _HASH.sub("HASH", f"{item['kind']} {item['metadata']['name']}")


def path_of(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path_of(name).read_text(), Loader=yaml.CSafeLoader)
    return found


def is_update() -> bool:
    return bool(os.environ.get(UPDATE))


def write(name: str, objects: dict[str, Any]) -> None:
    FOLDER.mkdir(exist_ok=True)
    head = (
        f"# Written by the tests when {UPDATE} is set; read the difference before you commit it.\n"
    )
    body = yaml.dump(objects, Dumper=_Dumper, sort_keys=False, width=100)
    head += "# yamllint disable rule:line-length\n"
    path_of(name).write_text(head + body)


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as blocks, and no anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)  # lists stand further in, as in our own YAML


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def differences(found: object, wanted: object, at: str = "") -> list[str]:
    """Where two trees differ, one line each."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        lines: list[str] = []
        for key in sorted({*found, *wanted}):
            if key not in found:
                lines.append(f"{at}/{key} is gone")
            elif key not in wanted:
                lines.append(f"{at}/{key} is new")
            else:
                lines += differences(found[key], wanted[key], f"{at}/{key}")
        return lines
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = zip(found, wanted, strict=True)
        return [
            line
            for number, (left, right) in enumerate(pairs)
            for line in differences(left, right, f"{at}/{number}")
        ]
    same = found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
    return [] if same else [f"{at} is {found!r}, was {wanted!r}"]
