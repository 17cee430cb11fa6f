"""The tree of the package in docs/architecture.md, made from what the files say of themselves.

``python .ci/tree.py`` writes it; ``python .ci/tree.py --check`` only says whether it is right.
The order is the order of the layers in pyproject.toml: a file imports only files further down.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- tree: begin -->\n", "<!-- tree: end -->\n"


def layers(project: str) -> list[str]:
    """The names of the top-level modules, highest layer first."""
    contracts = tomllib.loads(project)["tool"]["importlinter"]["contracts"]
    lines = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return [name for line in lines for name in re.findall(r"\w+", line)]


def summary(path: Path) -> str:
    """The first line of a module's docstring; SystemExit says which file has none."""
    text = ast.get_docstring(ast.parse(path.read_text()))
    if not text:
        raise SystemExit(f"{path.relative_to(ROOT)} has no docstring: say in one line what it does")
    return text.splitlines()[0].replace("``", "`")


def top_level(path: Path, package: Path) -> str:
    """The module of the layers contract that a file belongs to."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def tree() -> str:
    """The block between the two marks."""
    package = ROOT / "kaizen_otel"
    order = ["__init__", *layers((ROOT / "pyproject.toml").read_text())]
    paths = [path for path in package.rglob("*.py") if "_data" not in path.parts]
    unknown = sorted({top_level(path, package) for path in paths} - set(order))
    if unknown:
        raise SystemExit(f"not in the layers contract of pyproject.toml: {', '.join(unknown)}")
    paths.sort(key=lambda path: (order.index(top_level(path, package)), path.as_posix()))
    rows = [f"| `{path.relative_to(package).as_posix()}` | {summary(path)} |" for path in paths]
    return "\n".join([BEGIN + "| file | what it does |", "|---|---|", *rows, END])


def updated(page: str) -> str:
    """The page with the tree of now."""
    before, rest = page.split(BEGIN)
    return before + tree() + rest.split(END)[1]


def main() -> int:
    """Write the page, or say that it is wrong."""
    page = PAGE.read_text()
    wanted = updated(page)
    if sys.argv[1:] == ["--check"]:
        if page != wanted:
            print("docs/architecture.md has another tree: run `python .ci/tree.py`")
        return int(page != wanted)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
