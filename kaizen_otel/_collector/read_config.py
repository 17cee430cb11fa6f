"""Read Collector configs into trees with line numbers; whatever a file holds, the answer is clear.

The only module of the linter that knows YAML.  It builds the tree from the parser's events, which
keeps the bounds in our hands: bytes, depth, and values after aliases are expanded.
"""

from __future__ import annotations

import re
import sys
from bisect import bisect_right
from typing import TYPE_CHECKING, Any, Final

import yaml

from kaizen_otel._collector.config_tree import Allowance, Node, Place, Source, merge
from kaizen_otel._collector.overlays import parse_overlay
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BYTES_MAX: Final = 1024 * 1024
DEPTH_MAX: Final = 64
NODES_MAX: Final = 20_000
EVENTS_MAX: Final = 3 * NODES_MAX

SECTIONS: Final = frozenset(
    {"receivers", "processors", "exporters", "connectors", "extensions", "service"}
)
_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_ALLOW: Final = re.compile(r"#\s*kaizen-lint\s*:\s*(.*)$")
_ALLOWED: Final = re.compile(r"allow\s+(R\d\d(?:\s*,\s*R\d\d)*)(?:\s+because\s+(\S.*))?")
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})


def read_configs(paths: Sequence[Path], *, complete: bool = True) -> Source:
    """Read one config and its overlays, merged as the Collector merges them.

    Raises ConfigError with file and line for what is no usable config.  With ``complete`` one
    without pipelines is none: an overlay says nothing by itself.
    """
    root: Node | None = None
    allowances: list[Allowance] = []
    shared: set[str] = set()
    for path in paths:
        text = _text(path)
        tree = parse(text, str(path))
        allowances += _allowances(text, str(path))
        overlay = parse_overlay(text, str(path))
        if overlay is not None and len(overlay.bases) > 1:
            shared.add(str(path))
        root = tree if root is None else merge(root, tree)
    assert root is not None, "the command line asks for one file at least"
    if (
        complete
        and not (root.get("service", "pipelines") or Node(place=root.place, value=None)).value
    ):
        raise ConfigError(
            f"{', '.join(map(str, paths))}: no service.pipelines, so there is nothing to judge; "
            "give an overlay after the config that it belongs to"
        )
    return Source(
        names=tuple(map(str, paths)),
        root=root,
        allowances=tuple(allowances),
        shared=frozenset(shared),
    )


def parse(text: str, name: str) -> Node:
    """The tree of one YAML text.  Raises ConfigError for anything but one map of sections."""
    try:
        events = list(_bounded(yaml.parse(text, Loader=_LOADER), name))
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: no valid YAML: {_flat(str(error))}") from error
    except RecursionError as error:  # pragma: no cover - the C scanner needs no recursion
        raise ConfigError(f"{name}: nested deeper than {DEPTH_MAX} levels") from error
    documents = [place for place, event in enumerate(events) if _is(event, "DocumentStart")]
    if not documents:
        raise ConfigError(f"{name}: empty, no Collector config")
    if len(documents) > 1:
        line = events[documents[1]].start_mark.line + 1
        raise ConfigError(
            f"{name}:{line}: a second YAML document begins; the Collector reads one per file"
        )
    root = _Builder(name, events).build()
    if not isinstance(root.value, dict):
        raise ConfigError(f"{name}: no Collector config, the top of the file is no map")
    if "apiVersion" in root.value and "kind" in root.value:
        raise ConfigError(
            f"{name}: a Kubernetes object, no Collector config; give the config inside it"
        )
    if root.value and not SECTIONS & set(root.value):
        raise ConfigError(
            f"{name}: no Collector config, it has none of {', '.join(sorted(SECTIONS))}"
        )
    return root


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    if len(content) > BYTES_MAX:
        raise ConfigError(f"{path}: larger than {BYTES_MAX} bytes, no config of a Collector is")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: no UTF-8 text (byte {error.start}), so no YAML") from error
    if "\0" in text:
        raise ConfigError(f"{path}: holds zero bytes, so it is no text")
    return text


def _bounded(events: Iterator[Any], name: str) -> Iterator[Any]:
    depth = 0
    for count, event in enumerate(events):
        if count > EVENTS_MAX:
            raise ConfigError(f"{name}: more than {NODES_MAX} values, no config of a Collector has")
        if _is(event, "MappingStart", "SequenceStart"):
            depth += 1
            if depth > DEPTH_MAX:
                line = event.start_mark.line + 1
                raise ConfigError(f"{name}:{line}: nested deeper than {DEPTH_MAX} levels")
        elif _is(event, "MappingEnd", "SequenceEnd"):
            depth -= 1
        yield event


def _is(event: Any, *kinds: str) -> bool:  # noqa: ANN401 - PyYAML's events have no types of use
    return type(event).__name__.removesuffix("Event") in kinds


def _flat(text: str) -> str:
    return " ".join(text.split())


class _Builder:
    """Builds nodes from the events of one document."""

    def __init__(self, name: str, events: list[Any]) -> None:
        self._name = name
        self._events = events
        self._next = 0
        self._count = 0
        self._depth = 0
        self._anchors: dict[str, Node | None] = {}

    def build(self) -> Node:
        """The top node."""
        while not _is(self._events[self._next], "DocumentStart"):
            self._next += 1
        self._next += 1
        return self._value(None)

    def _place(self, event: Any) -> Place:  # noqa: ANN401
        mark = event.start_mark
        return Place(file=self._name, line=mark.line + 1, column=mark.column + 1)

    def _refuse(self, place: Place, text: str) -> ConfigError:
        return ConfigError(f"{self._name}:{place.line}: {text}")

    def _spend(self, place: Place, count: int = 1) -> None:
        self._count += count
        if self._count > NODES_MAX:
            raise self._refuse(
                place, f"more than {NODES_MAX} values once aliases are expanded; that is a bomb"
            )

    def _value(self, key_place: Place | None) -> Node:
        event = self._events[self._next]
        self._next += 1
        place = key_place or self._place(event)
        self._spend(place)
        if _is(event, "Alias"):
            return self._alias(event, place)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._depth += 1
        if _is(event, "Scalar"):
            node = _scalar(event, place)
        elif _is(event, "SequenceStart"):
            node = Node(place=place, value=self._sequence())
        else:
            node = Node(place=place, value=self._mapping())
        self._depth -= 1
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _alias(self, event: Any, place: Place) -> Node:  # noqa: ANN401
        node = self._anchors.get(event.anchor)
        if node is None:
            known = event.anchor in self._anchors
            raise self._refuse(
                place, f"*{event.anchor} {'contains itself' if known else 'has no anchor'}"
            )
        paths = [path for path, _ in node.walk()]
        self._spend(place, len(paths))
        if self._depth + max(map(len, paths)) > DEPTH_MAX:
            raise self._refuse(place, f"nested deeper than {DEPTH_MAX} levels by *{event.anchor}")
        return Node(place=place, value=node.value, quoted=node.quoted)

    def _sequence(self) -> list[Node]:
        items: list[Node] = []
        while not _is(self._events[self._next], "SequenceEnd"):
            items.append(self._value(None))
        self._next += 1
        return items

    def _mapping(self) -> dict[str, Node]:
        found: dict[str, Node] = {}
        inherited: dict[str, Node] = {}
        while not _is(self._events[self._next], "MappingEnd"):
            event = self._events[self._next]
            place = self._place(event)
            if not _is(event, "Scalar"):
                raise self._refuse(place, "a key that is no plain text")
            self._next += 1
            key = event.value
            if key == "<<" and event.implicit[0]:
                self._inherit(inherited, self._value(place))
                continue
            if key in found:
                raise self._refuse(
                    place, f"the key {key!r} is there twice, first in line {found[key].place.line}"
                )
            found[key] = self._value(place)
        self._next += 1
        return {**inherited, **found}

    def _inherit(self, inherited: dict[str, Node], node: Node) -> None:
        for each in reversed(node.items or [node]):
            inherited.update(each.entries)


def _scalar(event: Any, place: Place) -> Node:  # noqa: ANN401
    quoted = not event.implicit[0]
    if not quoted and event.value in _NULLS:
        return Node(place=place, value=None)
    return Node(place=place, value=event.value, quoted=quoted)


def _allowances(text: str, name: str) -> list[Allowance]:
    if "kaizen-lint" not in text:
        return []
    lines = text.splitlines()
    covered = _covered_lines(lines)
    scalars = _scalar_spans(text)
    found: list[Allowance] = []
    for number, line in enumerate(lines, 1):
        match = _ALLOW.search(line)
        if match is None or _inside(scalars, number, match.start()):
            continue
        allowed = _ALLOWED.fullmatch(match[1].strip())
        rules = tuple(re.findall(r"R\d\d", allowed[1])) if allowed and allowed[2] else ()
        found.append(
            Allowance(
                place=Place(file=name, line=number, column=match.start() + 1),
                covers_line=covered[number - 1],
                rules=rules,
                reason=(allowed[2] if allowed else None) or "",
            )
        )
    return found


def _covered_lines(lines: Sequence[str]) -> list[int]:
    """For each line itself, or for a comment that has its line alone the next one with a value."""
    covered: list[int] = []
    below = len(lines)
    for number in range(len(lines), 0, -1):
        content = lines[number - 1].strip()
        if content and not content.startswith("#"):
            below = number
        covered.append(below)
    return covered[::-1]


_Span = tuple[tuple[int, int], tuple[int, int]]


def _scalar_spans(text: str) -> list[_Span]:
    """Where scalars begin and end, in order."""
    events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
    return [
        (
            (event.start_mark.line + 1, event.start_mark.column),
            (event.end_mark.line + 1, event.end_mark.column),
        )
        for event in events
        if _is(event, "Scalar")
    ]


def _inside(spans: list[_Span], line: int, column: int) -> bool:
    before = bisect_right(spans, ((line, column), (sys.maxsize, 0)))
    return before > 0 and (line, column) < spans[before - 1][1]
