"""What a rule is, and what it may ask; pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kaizen_otel._collector.config_model import Config
    from kaizen_otel._collector.config_tree import Path

Severity = Literal["error", "warning"]

Keys = dict[str, object]
"""The keys that a component takes, with the keys below each; ``*`` stands for any key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """One place that a rule objects to."""

    path: Path
    """As far as it exists it is where the finding points to; the rest says what is missing."""
    text: str
    severity: Severity | None = None
    """Instead of the rule's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentFacts:
    """What the pinned version of the Collector knows, by reflection over its source."""

    version: str
    keys: Mapping[tuple[str, str], Keys] = field(default_factory=dict[tuple[str, str], Keys])
    """Of each component of our distributions, by kind and type."""
    aliases: Mapping[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    """Present names by kind and old name."""
    service: Keys = field(default_factory=dict[str, object])
    """The keys of the section ``service``."""
    contrib: Mapping[str, frozenset[str]] = field(default_factory=dict[str, frozenset[str]])
    """Types of the official contrib distribution by kind, without underscores."""

    def knows(self, kind: str, name: str) -> bool:
        """Whether a component type exists in our distributions or in the official one."""
        return (
            (kind, name) in self.keys
            or (kind, name) in self.aliases
            or name.replace("_", "") in self.contrib.get(kind, frozenset())
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule of the linter."""

    id: str
    topic: str
    title: str
    severity: Severity
    """Of its findings, unless one of them is worse or better for a reason."""
    why: str
    fix: str
    check: Callable[[Config, ComponentFacts], Iterator[Hit]]
