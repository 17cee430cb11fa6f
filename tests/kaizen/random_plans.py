"""Random plans of what agents do, and the tree of spans that follows from each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random

NAMES: Final = ("alpha", "beta", "gamma")
CANCELLED: Final = "asyncio.exceptions.CancelledError"
_DEPTH_MAX: Final = 3

Tree = tuple[str, str, tuple["Tree", ...]]
"""Name, ``error.type`` (empty on success), and children in a fixed order."""


@dataclass
class Node:
    """One thing that an agent does.  ``ending`` is how it ends, ``way`` how an agent is called."""

    kind: str
    name: str
    ending: str
    way: str = ""
    parallel: bool = False
    below: list[Node] = field(default_factory=list)


def plan(chance: random.Random, depth: int = 0) -> Node:
    """A random plan whose root is an agent."""
    return _agent(chance, depth, chance.choice(("run", "run_async", "run_in_a_loop")))


def _agent(chance: random.Random, depth: int, way: str) -> Node:
    endings = ["return"] * 3 + ["raise", "fail"] + (["cancel"] if way == "run_async" else [])
    return Node(
        "agent",
        chance.choice(NAMES),
        chance.choice(endings),
        way,
        chance.random() < 0.5,
        _below(chance, depth),
    )


def _below(chance: random.Random, depth: int) -> list[Node]:
    if depth >= _DEPTH_MAX:
        return []
    return [_node(chance, depth + 1) for _ in range(chance.choice((0, 1, 1, 2, 3)))]


def _node(chance: random.Random, depth: int) -> Node:
    kind = chance.choice(("tool", "tool", "tool", "chat", "stream", "agent"))
    if kind == "agent":
        return _agent(chance, depth, chance.choice(("run_async", "run_in_a_loop", "to_thread")))
    if kind == "chat":
        return Node("chat", "gpt-4o", chance.choice(("return", "return", "raise")))
    parallel = chance.random() < 0.5
    if kind == "stream":
        ending = chance.choice(("return", "raise", "leave"))
        return Node("stream", "stream", ending, "", parallel, _below(chance, depth))
    ending = chance.choice(("return", "return", "raise", "fail", "time out", "cancel"))
    # One tool is called again and again, also in parallel; names differ to tell the others apart.
    name = chance.choice(("search", "search", "read", "write"))
    return Node("tool", name, ending, "", parallel, _below(chance, depth))


# ----------------------------------------------------------------------------- what is expected
_ERRORS: Final = {
    ("agent", "raise"): "ValueError",
    ("agent", "fail"): "QuotaError",
    ("agent", "cancel"): CANCELLED,
    ("tool", "raise"): "LookupError",
    ("tool", "fail"): "tool_error",
    ("tool", "time out"): "timeout",
    ("tool", "cancel"): CANCELLED,
    ("chat", "raise"): "ConnectionError",
    ("stream", "raise"): "LookupError",
}
_OPERATIONS: Final = {
    "agent": "invoke_agent", "tool": "execute_tool", "stream": "execute_tool", "chat": "chat"
}  # fmt: skip


def expected(node: Node) -> Tree:
    """The spans of a plan."""
    return (
        f"{_OPERATIONS[node.kind]} {node.name}",
        _ERRORS.get((node.kind, node.ending), ""),
        tuple(sorted(expected(below) for below in node.below)),
    )
