"""The Helm chart's values.schema.json and README.md, made from the comments of its values.yaml.

``python .ci/chart_docs.py`` writes both; ``--check`` only says whether they are right.

The comment right above a key describes it.  Its last line may say what the value may be::

    # Seconds between leaving the Service and the stop signal.
    # @int 1..300
    preStopSleepSeconds: 5

``@int MIN..MAX`` and ``@number MIN..MAX``, ``@enum ONE TWO``, ``@pattern REGEX`` for a text,
``@list KIND`` for a list of them, or the name of a kind in ``.ci/chart_values.yaml``.  Without such
a line, a key has the kind that that file gives to keys of its name; ``true`` and ``false`` need
none, nor does a mapping with keys, which takes no others.  Every key is required, because a value
that is taken away by ``null`` is as wrong as a misspelt one.
"""

from __future__ import annotations

import fnmatch
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
import chart_network

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "helm" / "kaizen-otel"
BY_HAND = Path(__file__).with_name("chart_values.yaml")
PROSE = ROOT / ".ci" / "chart_readme.md"

NOTE = (
    "<!-- Written by .ci/chart_docs.py from values.yaml and .ci/chart_readme.md; do not edit. -->\n"
)

Schema = dict[str, Any]

_LABEL = "[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
#: What patterns of kinds write as (HOST), a name or an address of version 6; (PORT) is 1 to 65535.
HOST = rf"{_LABEL}(\.{_LABEL})*\.?|\[[0-9a-fA-F]{{0,4}}(:[0-9a-fA-F]{{0,4}}){{2,7}}\]"
PORT = "[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"


@dataclass(slots=True, kw_only=True)
class Value:
    """One key of values.yaml."""

    path: str
    default: Any
    line: int
    description: str = ""
    #: What stands behind the "@" of its comment.
    kind: str = ""
    children: list[Value] = field(default_factory=list)


def comment_above(lines: list[str], line: int) -> tuple[str, str]:
    """The description and the kind in the comment that ends right above a line (from 0)."""
    found: list[str] = []
    while line and lines[line - 1].lstrip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip().removeprefix("#").strip())
    kind = found.pop()[1:] if found and found[-1].startswith("@") else ""
    return " ".join(found), kind


def read_values(text: str) -> list[Value]:
    """The keys of values.yaml with their comments, in order."""
    lines = text.splitlines()

    def children(node: yaml.MappingNode, prefix: str, data: dict[str, Any]) -> list[Value]:
        found = []
        for key, value in node.value:
            line, column = key.start_mark.line, key.start_mark.column
            one = Value(path=f"{prefix}{key.value}", default=data[key.value], line=line + 1)
            if not lines[line][:column].strip():
                one.description, one.kind = comment_above(lines, line)
            if isinstance(value, yaml.MappingNode):
                one.children = children(value, f"{one.path}.", one.default)
            found.append(one)
        return found

    root = yaml.compose(text, Loader=yaml.SafeLoader)
    assert isinstance(root, yaml.MappingNode)
    return children(root, "", yaml.safe_load(text))


def _with_words(node: Any) -> Any:  # noqa: ANN401 - any part of the schema
    """The same with the patterns of a host and a port for the words."""
    if isinstance(node, dict):
        return {key: _with_words(one) for key, one in node.items()}
    if isinstance(node, list):
        return [_with_words(one) for one in node]
    if not isinstance(node, str):
        return node
    return node.replace("(HOST)", f"({HOST})").replace("(PORT)", f"({PORT})")


class Kinds:
    """What a value may be."""

    def __init__(self, by_hand: dict[str, Any]) -> None:
        self._kinds: dict[str, Schema] = _with_words(by_hand["kinds"])
        self._names: dict[str, str] = by_hand["names"]

    def of(self, value: Value, *, covered: bool = False) -> Schema:
        """The schema of a key; SystemExit says what its comment lacks.

        ``covered``: the comment of a mapping around it speaks for it.
        """
        kind = value.kind or self._by_name(value.path)
        if kind:
            found = self._kind(kind, value)
        elif isinstance(value.default, bool):
            found = {"type": "boolean"}
        elif value.children:
            covered = bool(value.description)
            parts = {
                one.path.rpartition(".")[2]: self.of(one, covered=covered) for one in value.children
            }
            found = closed(parts)
        else:
            raise SystemExit(
                f"values.yaml line {value.line}: nothing says what {value.path} may be. Please end "
                "the comment above it with a line such as `# @int 1..10` (see .ci/chart_docs.py)."
            )
        says = found.pop("says", "")
        says = value.description or says
        if not says and not value.children and not covered:
            raise SystemExit(
                f"values.yaml line {value.line}: {value.path} has no description. Please say in a "
                "comment above it, or above the mapping it stands in, what it does."
            )
        return {"description": says, **found} if says else found

    def is_leaf(self, value: Value) -> bool:
        """True for a key that is described as a whole."""
        return not value.children or bool(value.kind or self._by_name(value.path))

    def definition(self, name: str) -> Schema:
        """A kind as it stands among the schema's definitions."""
        return {key: one for key, one in self._kinds[name].items() if key not in {"says", "shared"}}

    def _by_name(self, path: str) -> str:
        for pattern, kind in self._names.items():
            count = pattern.count(".") + 1
            ending = ".".join(path.split(".")[-count:])
            if len(path.split(".")) >= count and fnmatch.fnmatchcase(ending, pattern):
                return kind
        return ""

    def _kind(self, text: str, value: Value) -> Schema:
        name, _, argument = text.partition(" ")
        if name in {"int", "number"}:
            lowest, _, highest = argument.partition("..")
            number = int if name == "int" else float
            kind = "integer" if name == "int" else "number"
            return {"type": kind, "minimum": number(lowest), "maximum": number(highest)}
        if name == "enum":
            return {"type": "string", "enum": [one.strip("\"'") for one in argument.split()]}
        if name == "pattern":
            return {"type": "string", "pattern": argument}
        if name == "list":
            items = self._kind(argument, value)
            items.pop("says", None)
            return {"type": "array", "items": items}
        if name not in self._kinds:
            raise SystemExit(f"values.yaml line {value.line}: {value.path}: no kind {name!r}")
        found = dict(self._kinds[name])
        if base := found.pop("of", ""):
            found = {**self._kind(base, value), **found}
        if found.pop("shared", False):
            says = found.get("says", "")
            return {"says": says, "$ref": f"#/definitions/{name}"}
        return found


def references(node: object) -> set[str]:
    """The definitions that a schema names."""
    if isinstance(node, list):
        return {name for one in node for name in references(one)}
    if not isinstance(node, dict):
        return set()
    found = {name for one in node.values() for name in references(one)}
    if isinstance(node.get("$ref"), str):
        found.add(node["$ref"].removeprefix("#/definitions/"))
    return found


def closed(parts: dict[str, Schema]) -> Schema:
    """An object that has these keys and no others."""
    return {
        "type": "object",
        "additionalProperties": False,
        "required": list(parts),
        "properties": parts,
    }


def unknown_in(rule: object, parts: dict[str, Schema]) -> list[str]:
    """Keys that a rule speaks of and the values do not have: it would never hold."""
    found: list[str] = []
    for name, part in rule.items() if isinstance(rule, dict) else ():
        if name == "properties":
            for key, inner in part.items():
                known = parts.get(key)
                found += [key] if known is None else unknown_in(inner, known.get("properties", {}))
        elif name in {"if", "then", "else", "not"}:
            found += unknown_in(part, parts)
        elif name in {"allOf", "anyOf", "oneOf"}:
            found += [key for one in part for key in unknown_in(one, parts)]
    return found


def schema_of(text: str, by_hand: dict[str, Any]) -> Schema:
    """The schema of the values."""
    kinds = Kinds(by_hand)
    parts = {one.path: kinds.of(one) for one in read_values(text)}
    if unknown := unknown_in({"allOf": by_hand["rules"]}, parts):
        raise SystemExit(f"{BY_HAND.name}: rules about keys there are not: {', '.join(unknown)}")
    found = closed(parts)
    found["properties"] = {**by_hand["extra"], **parts}
    if by_hand["rules"]:
        found["allOf"] = by_hand["rules"]
    definitions: dict[str, Schema] = {}
    while missing := references([found, definitions]) - set(definitions):
        for name in missing:
            definitions[name] = kinds.definition(name)
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$comment": "Written by .ci/chart_docs.py from values.yaml; do not edit.",
        "title": "Values of the kaizen-otel chart",
        **found,
        "definitions": dict(sorted(definitions.items())),
    }


def bounds(schema: Schema) -> str:
    """What a reader must know of a schema, in words."""
    if "enum" in schema:
        return f"One of {', '.join(f'`{one}`' for one in schema['enum'])}."
    if "minimum" in schema and "maximum" in schema:
        return f"{schema['minimum']} to {schema['maximum']}."
    return ""


def rows(value: Value, kinds: Kinds) -> list[str]:
    """The lines of the table for a key and what is in it."""
    if not kinds.is_leaf(value):
        found = [row for one in value.children for row in rows(one, kinds)]
        if not value.description or not found:
            return found
        return [f"| `{value.path}` | | {value.description} |", *found]
    schema = kinds.of(value, covered=True)
    meaning = " ".join(filter(None, [schema.get("description", ""), bounds(schema)]))
    default = json.dumps(value.default).replace("|", "\\|")
    return [f"| `{value.path}` | `{default}` | {meaning} |".replace("  ", " ")]


def values_tables(text: str, by_hand: dict[str, Any]) -> str:
    """A table for each mapping of the top level, and one for the other keys."""
    kinds = Kinds(by_hand)
    head = ["| value | default | meaning |", "|---|---|---|"]
    single: list[str] = []
    lines: list[str] = []
    for one in read_values(text):
        if kinds.is_leaf(one):
            single += rows(one, kinds)
            continue
        description = [one.description, ""] if one.description else []
        inner = [row for child in one.children for row in rows(child, kinds)]
        lines += ["", f"### `{one.path}`", "", *description, *head, *inner]
    return "\n".join([*head, *single, *lines])


def readme(prose: str, text: str, by_hand: dict[str, Any]) -> str:
    """The page: the prose with the tables where it names them."""
    items = chart_network.manifests()
    tables = {
        "values": values_tables(text, by_hand),
        "ports": chart_network.ports(items),
        "flows": chart_network.flows(items),
    }
    for name, table in tables.items():
        prose = prose.replace(f"<!-- {name} -->", table)
    return NOTE + prose


def pages() -> dict[Path, str]:
    """What the two files should hold."""
    text = (CHART / "values.yaml").read_text(encoding="utf-8")
    by_hand = yaml.safe_load(BY_HAND.read_text(encoding="utf-8"))
    schema = json.dumps(schema_of(text, by_hand), indent=2, ensure_ascii=False) + "\n"
    page = readme(PROSE.read_text(encoding="utf-8"), text, by_hand)
    return {CHART / "values.schema.json": schema, CHART / "README.md": page}


def main() -> int:
    """Write the two files, or say which is wrong."""
    wanted = pages()
    wrong = [
        path for path, text in wanted.items() if not path.is_file() or path.read_text() != text
    ]
    if sys.argv[1:] == ["--check"]:
        for path in wrong:
            print(f"{path.relative_to(ROOT)} is not what values.yaml says: run .ci/chart_docs.py")
        return int(bool(wrong))
    for path in wrong:
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
