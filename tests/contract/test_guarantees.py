"""What the pages about the audit trail name exists: tests, options of commands, variables."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import click
import pytest

from kaizen_otel._audit_refusals import REASONS
from kaizen_otel._cli import cli
from kaizen_otel.audit._finding import HINTS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "guarantees" / "index.md"
PAGES = [
    *sorted((ROOT / "docs" / "guarantees").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
    ROOT / "SECURITY.md",
]

TEST = re.compile(r"`(tests/[\w/]+\.py)((?:::\w+)+)`")
TEST_FILE = re.compile(r"`(tests/[\w/.]+)`")
PROOF = re.compile(r"^### (\S+)$", re.MULTILINE)
# Not a path that ends so, like that of the chart.
COMMAND = re.compile(r"(?<![/\w])kaizen-otel((?: [a-z][a-z-]*)+)((?:[^\n`|;&]|\\\n)*)")
OPTION = re.compile(r"(?<!\S)--[a-z][a-z-]*")
VARIABLE = re.compile(r"\bKAIZEN_OTEL_[A-Z_]+\b")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def names_in(path: str) -> set[str]:
    """The tests of a file, as ``::function``, ``::Class`` and ``::Class::function``."""
    found: set[str] = set()
    for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(f"::{node.name}")
        elif isinstance(node, ast.Assign):  # what hypothesis makes of a machine
            found |= {f"::{name.id}" for name in node.targets if isinstance(name, ast.Name)}
        elif isinstance(node, ast.ClassDef):
            functions = [n.name for n in node.body if isinstance(n, ast.FunctionDef)]
            found |= {f"::{node.name}", *(f"::{node.name}::{name}" for name in functions)}
    return {name for name in found if name.rsplit("::", 1)[1].lower().startswith("test")}


def rows() -> list[list[str]]:
    """The cells of the table of faults, one list for each fault."""
    table = PAGE.read_text(encoding="utf-8").split("| fault |")[1].split("\n\n")[0]
    return [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in table.splitlines()[2:]
        if line.startswith("|")
    ]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    missing = [path + name for path, name in TEST.findall(text) if name not in names_in(path)]
    assert missing == []
    assert [path for path in TEST_FILE.findall(text) if not (ROOT / path).exists()] == []


def test_every_nothing_is_proven_by_a_test() -> None:
    """A cell that promises leads to a section, and every section names a test."""
    text = PAGE.read_text(encoding="utf-8")
    sections = dict(zip(PROOF.findall(text), PROOF.split(text)[2::2], strict=True))
    assert [name for name, section in sections.items() if not TEST.search(section)] == []
    for fault, *cells in rows():
        assert len(cells) == 4, fault
        for cell in cells:
            proofs = re.findall(r"\[\S+\]\(#(\S+?)\)", cell)
            assert proofs or not cell.startswith("nothing"), f"{fault}: {cell}"
            assert set(proofs) <= {*sections, "what-is-not-promised"}, f"{fault}: {cell}"
    linked = set(re.findall(r"\]\(#(\S+?)\)", text))
    assert set(sections) <= linked, "a proof of nothing that is promised"


def command_of(words: list[str]) -> click.Command:
    """The command that the words name; what follows a command is its argument."""
    context = click.Context(cli)
    command: click.Command = cli
    for word in words:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(context, word)
        assert found is not None, f"no command {' '.join(words)}"
        command = found
    return command


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_option_that_a_page_uses_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for words, rest in COMMAND.findall(text):
        command = command_of(words.split())
        known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
        assert set(OPTION.findall(rest)) <= known, f"kaizen-otel{words}{rest}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_variable_that_a_page_names_is_read(page: Path) -> None:
    folders = ("kaizen_otel", "collector", "helm")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    texts = [path.read_text(encoding="utf-8") for path in files if path.suffix in {".py", ".yaml"}]
    for variable in set(VARIABLE.findall(page.read_text(encoding="utf-8"))):
        assert any(variable in text for text in texts), variable


def test_every_reason_of_a_refusal_is_explained() -> None:
    text = (ROOT / "docs" / "how-to" / "audit-operate.md").read_text(encoding="utf-8")
    assert [reason for reason in REASONS if f"`{reason}`" not in text] == []


def test_every_kind_of_finding_is_explained() -> None:
    text = (ROOT / "docs" / "how-to" / "audit-verify.md").read_text(encoding="utf-8")
    assert [kind for kind in HINTS if f"`{kind}`" not in text] == []
