"""What an attack is: a class, the doors it is tried at, and what must happen there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.collector.attacks.target import Door, Gateway, Target


@dataclass(frozen=True)
class Attack:
    """One class; each door of ``expected`` is one attack."""

    name: str
    expected: Mapping[Door, str]
    """The words that ``run`` must answer."""
    run: Callable[[Target, Door], str]
    gateway: Gateway = "bearer"
    comes_in: int = 0
    """Records that the receivers accept by it: 0 unless the sender has the right credentials."""


def at(doors: tuple[Door, ...], answer: str) -> dict[Door, str]:
    """The same answer at several doors."""
    return dict.fromkeys(doors, answer)


REFUSED: Mapping[Door, str] = {"gRPC": "UNAUTHENTICATED", "HTTP": "401", "audit": "401"}
