"""A parsed config whose every value knows its file and line; merging and expansion; pure.

The reader (``read_config``) makes the tree from YAML, the rules ask it.  Merging is the
Collector's: maps merge key by key, everything else is replaced.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Path = tuple[str, ...]
"""Keys from the top of a config; an item of a list is named by its number."""

# ${env:NAME:-default}, ${file:/path}, ${NAME}; `$$` is an escaped dollar.
_EXPANSION: Final = re.compile(r"\$\$|\$\{([^{}]*)\}")
_ENV: Final = re.compile(r"(?:env:)?([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
_UNKNOWN: Final = "\0"
_DOLLAR: Final = "\1"
_DURATION: Final = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_ROUNDS_MAX: Final = 8
_DURATION_LENGTH_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something is written: file as the user named it, line and column from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One value: a map, a list, or a scalar's text (None for null)."""

    place: Place
    """Of the key that has this value, or of the item of a list."""
    value: dict[str, Node] | list[Node] | str | None
    quoted: bool = False

    @property
    def entries(self) -> Mapping[str, Node]:
        """The keys and values of a map; nothing for any other value."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> list[Node]:
        """The items of a list; nothing for any other value."""
        return self.value if isinstance(self.value, list) else []

    def get(self, *path: str) -> Node | None:
        """The value below ``path``, or None; an item of a list is named by its number."""
        node = self
        for key in path:
            found = node.entries.get(key)
            if found is None and key.isdecimal() and int(key) < len(node.items):
                found = node.items[int(key)]
            if found is None:
                return None
            node = found
        return node

    def walk(self, path: Path = ()) -> Iterator[tuple[Path, Node]]:
        """This value and all below it, each with its path; a map before what it holds."""
        yield path, self
        for key, child in self.entries.items():
            yield from child.walk((*path, key))
        for number, child in enumerate(self.items):
            yield from child.walk((*path, str(number)))

    @property
    def raw(self) -> str:
        """A scalar as it is written, empty for everything else."""
        return self.value if isinstance(self.value, str) else ""

    @property
    def text(self) -> Text:
        """A scalar with its expansions resolved to their defaults."""
        return expand(self.raw)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A scalar after expansion.  Where a value is unknown, so is everything derived from it."""

    parts: str

    @property
    def known(self) -> str | None:
        """The whole text, or None when some of it is only known when the Collector runs."""
        return None if _UNKNOWN in self.parts else self.parts

    @property
    def shown(self) -> str:
        """The text with an ellipsis for what is unknown."""
        return self.parts.replace(_UNKNOWN, "...")

    @property
    def boolean(self) -> bool | None:
        """The truth value, or None if it is none."""
        return {"true": True, "false": False}.get((self.known or "").lower())

    @property
    def number(self) -> float | None:
        """The number, or None if it is none."""
        try:
            return float(self.parts.replace("_", ""))
        except ValueError:
            return None

    @property
    def seconds(self) -> float | None:
        """A duration as Go writes it (``1m30s``, ``0``), or None if it is none."""
        if self.parts in {"0", "+0", "-0"}:
            return 0.0
        if len(self.parts) > _DURATION_LENGTH_MAX:
            return None
        sign, body = (-1, self.parts[1:]) if self.parts.startswith("-") else (1, self.parts)
        found = _DURATION.findall(body)
        if not found or "".join(number + unit for number, unit in found) != body:
            return None
        return sign * sum(float(number) * _SECONDS[unit] for number, unit in found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """A comment that allows findings of some rules in one place."""

    place: Place
    covers_line: int
    """The line that it stands in, or the next one with a value if it has a line for itself."""
    rules: tuple[str, ...]
    """Empty when the comment cannot be understood."""
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What was read: the merged tree and the comments of all its files."""

    names: tuple[str, ...]
    root: Node
    allowances: tuple[Allowance, ...] = ()
    shared: frozenset[str] = frozenset()
    """Files among them that are overlays for several configs, by their own header."""


def expand(raw: str) -> Text:
    """Resolve ``${env:NAME:-default}`` to its default; what has none is unknown."""

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return _DOLLAR
        env = _ENV.fullmatch(match[1])
        return env[2] if env and env[2] is not None else _UNKNOWN

    text = _EXPANSION.sub(replaced, raw)
    # A default may hold another expansion; the inner one has been resolved just now.
    for _ in range(_ROUNDS_MAX):
        if "${" not in text:
            break
        text = _EXPANSION.sub(replaced, text)
    return Text(parts=text.replace(_DOLLAR, "$"))


def merge(base: Node, overlay: Node) -> Node:
    """``overlay`` over ``base``: maps merge, lists and scalars replace.

    A merged map keeps the place of the base: the component is still defined there.
    """
    if not isinstance(base.value, dict) or not isinstance(overlay.value, dict):
        return overlay
    merged = dict(base.value)
    for key, node in overlay.value.items():
        merged[key] = merge(merged[key], node) if key in merged else node
    return Node(place=base.place, value=merged)


def places_along(root: Node, path: Path) -> list[Place]:
    """The places of the keys on the way to ``path``, as far as they exist."""
    places: list[Place] = []
    node = root
    for key in path:
        found = node.get(key)
        if found is None:
            break
        node = found
        places.append(node.place)
    return places
