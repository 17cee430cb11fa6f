"""The public names: everything whose path has no underscore, one a line.

``python .ci/public_names.py`` prints them; ``--write`` puts them into the snapshot that a test
compares.  A line that goes is a promise broken; a line that comes is a promise made.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
SNAPSHOT = ROOT / "tests" / "contract" / "public_names.txt"


def is_public(name: str) -> bool:
    """True for a name that is promised."""
    return not name.startswith("_")


def exported(tree: ast.Module) -> list[str] | None:
    """What ``__all__`` lists, or None without one."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            names: list[str] = ast.literal_eval(node.value)
            return names
    return None


def members(node: ast.ClassDef) -> Iterator[str]:
    """The public methods and fields of a class."""
    for part in node.body:
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef):
            name = part.name
        elif isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            name = part.target.id
        else:
            continue
        if is_public(name):
            yield f"{node.name}.{name}"


def names(tree: ast.Module) -> Iterator[str]:
    """The public names that a module defines, or says that it has."""
    listed = exported(tree)
    defined = set(listed or ())
    for node in tree.body:
        if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if node.name in defined if listed is not None else is_public(node.name):
            defined.add(node.name)
            if isinstance(node, ast.ClassDef):
                defined.update(members(node))
    yield from sorted(defined)


def public_names() -> list[str]:
    """Full dotted names, sorted by module."""
    found: list[str] = []
    package = ROOT / "kaizen_otel"
    for path in sorted(package.rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        if all(is_public(part) for part in parts):
            module = ".".join(parts)
            found += [f"{module}.{name}" for name in names(ast.parse(path.read_text()))]
    return found


def main() -> int:
    """Print or write the names."""
    text = "\n".join(public_names()) + "\n"
    if sys.argv[1:] == ["--write"]:
        SNAPSHOT.write_text(text)
    else:
        print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
