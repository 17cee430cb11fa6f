"""The table of the attacks in docs/guarantees/security.md."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.collector.attacks.attack import Attack
    from tests.collector.attacks.target import Door

PAGE: Final = Path(__file__).parents[3] / "docs" / "guarantees" / "security.md"
DOORS: Final[tuple[Door, ...]] = ("gRPC", "HTTP", "audit", "health", "metrics")
BEGIN: Final = "<!-- attacks: made by tests/collector/test_attacks.py -->\n"
_OVERLAYS: Final = {"hasty": "`bearer`, with 1 s and 2 s"}
END: Final = "<!-- end of attacks -->\n"


def table(groups: Mapping[str, Sequence[Attack]]) -> str:
    """Each class with what happens at each door; an attack is a class at a door."""
    attacks = [attack for group in groups.values() for attack in group]
    count = sum(len(attack.expected) for attack in attacks)
    lines = [
        f"{count} attacks: {len(attacks)} classes, each at the ports where it can be tried.",
        "",
    ]
    for title, group in groups.items():
        lines += [f"### {title}", "", f"| class | overlay | {' | '.join(DOORS)} |"]
        lines.append("|---" * (2 + len(DOORS)) + "|")
        for attack in group:
            cells = [attack.name, _OVERLAYS.get(attack.gateway, f"`{attack.gateway}`")]
            cells += [attack.expected.get(door, "-") for door in DOORS]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def shown() -> str:
    """The table that the page has."""
    text = PAGE.read_text(encoding="utf-8")
    return text.partition(BEGIN)[2].partition(END)[0]


def write(text: str) -> None:
    """Put a table into the page."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    PAGE.write_text(before + BEGIN + text + END + rest.partition(END)[2], encoding="utf-8")
