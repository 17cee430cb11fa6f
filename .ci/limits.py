"""The house rules that no linter knows: lengths, words, and who may import the SDK.

python .ci/limits.py            checks the tree, prints one line per finding, exits 1 if any
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "kaizen_otel"

MODULE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

#: Words that would say the same as a word of docs/vocabulary.md, in our own identifiers only.
FORBIDDEN_WORDS = {
    "journal": "spool",
    "outbox": "spool",
    "bookmark": "cursor",
    "acked": "delivered",
    "persisted": "durable",
    "scrub": "redact",
    "sanitise": "redact",
    "sanitize": "redact",
    "blockchain": "hash chain",
    "tip": "head",
    "logfile": "segment",
}

#: Who alone may import these, even inside a function; import-linter sees top-level names only.
_SDK_DOOR = (
    "kaizen_otel/_sdk.py",
    "kaizen_otel/_sdk_logs.py",
    "kaizen_otel/_sdk_metrics.py",
    "kaizen_otel/_stock.py",
    "kaizen_otel/_distro.py",
)
RESTRICTED_IMPORTS = {
    "opentelemetry.sdk": _SDK_DOOR,
    "opentelemetry.exporter": _SDK_DOOR,
    "opentelemetry.proto": (),
}

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def words(identifier: str) -> list[str]:
    """The words of a snake_case or CamelCase identifier, in lower case."""
    return [word.lower() for word in _WORD.findall(identifier)]


def forbidden_in(identifier: str) -> str | None:
    """The forbidden word in an identifier, if there is one; a plural counts."""
    for word in words(identifier):
        for candidate in (word, word.removesuffix("s"), word.removesuffix("d")):
            if candidate in FORBIDDEN_WORDS:
                return candidate
    return None


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of everything that a module names itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr


def _is_type_checking(test: ast.expr) -> bool:
    return "TYPE_CHECKING" in (getattr(test, "id", ""), getattr(test, "attr", ""))


def loaded_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those under ``if TYPE_CHECKING:``, which load nothing."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            for other in node.orelse:
                yield other
                yield from loaded_nodes(other)
        else:
            yield node
            yield from loaded_nodes(node)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of every absolute import that is carried out, even lazily."""
    for node in loaded_nodes(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                yield node.lineno, f"{node.module}.{alias.name}"


def check_words(name: str, tree: ast.AST) -> Iterator[str]:
    """Forbidden words in a module's path and identifiers."""
    stem = Path(name).stem
    for line, identifier in [(1, stem), *identifiers(tree)]:
        if word := forbidden_in(identifier):
            yield f"{name}:{line}: {identifier}: say {FORBIDDEN_WORDS[word]!r}, not {word!r}"


def check_lengths(name: str, source: str, tree: ast.AST) -> Iterator[str]:
    """Modules and functions over the limit."""
    count = source.count("\n")
    if count > MODULE_LINES_MAX:
        yield f"{name}:1: {count} lines, the limit is {MODULE_LINES_MAX}: split it by subject"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            length = node.end_lineno - node.lineno + 1
            if length > FUNCTION_LINES_MAX:
                yield (
                    f"{name}:{node.lineno}: {node.name} has {length} lines, the limit is "
                    f"{FUNCTION_LINES_MAX}"
                )


def check_imports(name: str, tree: ast.AST) -> Iterator[str]:
    """Imports that only certain modules may make."""
    for line, imported in imports(tree):
        for prefix, allowed in RESTRICTED_IMPORTS.items():
            if (imported == prefix or imported.startswith(f"{prefix}.")) and name not in allowed:
                where = ", ".join(allowed) or "tests"
                yield f"{name}:{line}: imports {imported}, which belongs in {where} only"


def findings(name: str, source: str) -> list[str]:
    """All findings for one file, named by its path from the root."""
    tree = ast.parse(source, name)
    found = list(check_words(name, tree))
    if name.startswith(f"{PACKAGE}/"):
        found += check_lengths(name, source, tree)
        found += check_imports(name, tree)
    return found


def main() -> int:
    """Check the package, the tests, examples, benchmarks and these scripts."""
    found: list[str] = []
    for folder in (PACKAGE, "tests", "examples", "benchmarks", ".ci"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            found += findings(path.relative_to(ROOT).as_posix(), path.read_text())
    for line in found:
        print(line)
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
