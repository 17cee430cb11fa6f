"""What an overlay says of itself in its first comment, and whether a selection agrees; pure.

    # kaizen-overlay: for=gateway,agent requires=tls excludes=bearer,oidc environment=NAME

``for`` names the configs it is made for, ``requires`` and ``excludes`` other overlays,
``environment`` the variables that have no default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_HEADER: Final = re.compile(r"^#[ \t]*kaizen-overlay:(.*)$", re.MULTILINE)
_KEYS: Final = ("for", "requires", "excludes", "environment")


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """The header of one overlay."""

    name: str
    bases: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    summary: str = ""
    """The first sentence of the comment below the header."""


def parse_overlay(text: str, name: str) -> Overlay | None:
    """The header of an overlay's text, or None if it has none.

    Raises ConfigError for a key that does not exist.
    """
    match = _HEADER.search(text)
    if match is None:
        return None
    found: dict[str, tuple[str, ...]] = {}
    for field in match[1].split():
        key, equals, value = field.partition("=")
        if not equals or key not in _KEYS:
            raise ConfigError(
                f"{name}: the header kaizen-overlay has {field!r}; it takes {', '.join(_KEYS)}, "
                "each as key=value,value"
            )
        found[key] = tuple(part for part in value.split(",") if part)
    return Overlay(
        name=name,
        bases=found.get("for", ()),
        requires=found.get("requires", ()),
        excludes=found.get("excludes", ()),
        environment=found.get("environment", ()),
        summary=_summary(text[match.end() :]),
    )


def check_selection(base: str, names: Sequence[str], known: Mapping[str, Overlay]) -> None:
    """Refuse overlays that do not go together or not over this base.

    Raises ConfigError with every reason.
    """
    reasons: list[str] = []
    for name in names:
        overlay = known.get(name)
        if overlay is None:
            reasons.append(f"there is no overlay {name}")
            continue
        if base not in overlay.bases:
            reasons.append(f"{name} is for {', '.join(overlay.bases) or 'nothing'}, not {base}")
        reasons += [f"{name} needs {each}" for each in overlay.requires if each not in names]
        reasons += [f"{name} excludes {each}" for each in overlay.excludes if each in names]
    twice = sorted({name for name in names if names.count(name) > 1})
    reasons += [f"{name} is given twice" for name in twice]
    if reasons:
        raise ConfigError("these overlays cannot be used: " + "; ".join(reasons))


def ordered(names: Sequence[str], known: Mapping[str, Overlay]) -> list[str]:
    """The names with each overlay after those that it requires, else as given."""
    done: list[str] = []

    def add(name: str) -> None:
        for each in known[name].requires:
            if each in names and each not in done and name not in known[each].requires:
                add(each)
        if name not in done:
            done.append(name)

    for name in names:
        add(name)
    return done


def _summary(rest: str) -> str:
    lines: list[str] = []
    for line in rest.lstrip("\n").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").rstrip())
    text = " ".join(line for line in lines if line)
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]
