"""What a work needs of a contender.  Standard library only: it runs in every environment."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Task = dict[str, Any]
"""What the harness asks of one process: contender, work, counts, addresses."""


def _no_counts() -> dict[str, Any]:
    return {}


@dataclass(frozen=True, kw_only=True)
class Door:
    """A contender that is ready.  ``emit(i)`` makes item ``i`` and returns the next number.

    ``flush`` and ``shutdown`` take seconds.  ``counts`` is what the contender itself says about
    what it delivered and dropped, if it says anything.
    """

    emit: Callable[[int], int]
    flush: Callable[[float], object]
    shutdown: Callable[[float], object]
    counts: Callable[[], dict[str, Any]] = field(default=_no_counts)


def _nothing(timeout_s: float) -> None:
    del timeout_s


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What observes a tool call: ``call(i)`` tells of one, before and after."""

    call: Callable[[int], Awaitable[None]]
    flush: Callable[[float], object] = _nothing
    shutdown: Callable[[float], object] = _nothing


def open_door(task: Task) -> Door:
    """Make ready what ``task`` asks for: a module of ours, and in it a function."""
    module, _, variant = task["contender"].partition(".")
    home = importlib.import_module(f"benchmarks.telemetry_bench.contend_{module}")
    made = getattr(home, f"open_{task['door']}")(task, variant)
    assert isinstance(made, Door)
    return made
