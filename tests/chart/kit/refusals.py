"""Combinations that the chart must refuse with the key to set, and neighbours that it must take."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from tests.chart.kit.rendering import RefusedError, Values
from tests.chart.kit.variants import Variant, variant

_FOLDER: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Values on top of a variant; with nothing in ``says`` they must be rendered."""

    name: str
    base: str
    values: Values
    says: tuple[str, ...] = ()


@functools.cache
def cases() -> tuple[Case, ...]:
    found = []
    for file in ("refusals.yaml", "accepted.yaml"):
        for name, one in yaml.safe_load((_FOLDER / file).read_text()).items():
            says = tuple(one.get("says") or ())
            found.append(Case(name=name, base=one["base"], values=one["values"], says=says))
    return tuple(found)


def fault_of(case: Case, render: Callable[[Variant, Values], object]) -> str:
    """What is wrong with the chart's answer to a case; empty if nothing."""
    try:
        render(variant(case.base), case.values)
    except RefusedError as refusal:
        if not case.says:
            return f"refused: {refusal.message}"
        if not refusal.is_validation:
            return f"broken, not refused: {refusal.message}"
        missing = [text for text in case.says if text not in refusal.message]
        return f"{refusal.message!r} does not say {missing}" if missing else ""
    return "was rendered" if case.says else ""
