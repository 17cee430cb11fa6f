"""The checks themselves: what they must find, they find; and what they promise holds now."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[2]


def script(name: str) -> ModuleType:
    """A module of .ci, which is no package."""
    spec = importlib.util.spec_from_file_location(f"ci_{name}", ROOT / ".ci" / f"{name}.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


limits = script("limits")

LONG_FUNCTION = "def run() -> None:\n" + "    print()\n" * 60

SEEDED = {
    "a module over the limit": ("kaizen_otel/a.py", "x = 1\n" * 401, "401 lines"),
    "a function over the limit": ("kaizen_otel/a.py", LONG_FUNCTION, "run has 61 lines"),
    "a forbidden word in a function": ("tests/a.py", "def scrub_it(): ...\n", "say 'redact'"),
    "a forbidden word in a class": ("kaizen_otel/a.py", "class AuditJournal: ...\n", "'spool'"),
    "a forbidden word in an argument": ("kaizen_otel/a.py", "def f(acked): ...\n", "'delivered'"),
    "a forbidden word in a plural": ("kaizen_otel/a.py", "bookmarks = []\n", "'cursor'"),
    "a forbidden word in an attribute": ("kaizen_otel/a.py", "self.tip = 1\n", "'head'"),
    "a forbidden word in a file name": ("kaizen_otel/outbox.py", "", "'spool'"),
    "the SDK outside its door": (
        "kaizen_otel/a.py",
        "from opentelemetry.sdk import trace\n",
        "which belongs in kaizen_otel/_sdk.py",
    ),
    "the SDK, loaded lazily": (
        "kaizen_otel/a.py",
        "def f():\n    import opentelemetry.sdk.trace\n",
        "which belongs in kaizen_otel/_sdk.py",
    ),
}


@pytest.mark.parametrize("case", SEEDED)
def test_the_limits_find(case: str) -> None:
    name, source, expected = SEEDED[case]
    found = limits.findings(name, source)
    assert len(found) == 1
    assert expected in found[0]


ALLOWED = {
    "words that only contain one": "def multiple_tips_of_tipping(): ...\n".replace("tips_of_", ""),
    "a foreign name that is only read": "x = module.journal\n",
    "the SDK's type for an annotation": (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from opentelemetry.sdk.trace import TracerProvider\n"
    ),
    "a function at the limit": "def run() -> None:\n" + "    print()\n" * 59,
}


@pytest.mark.parametrize("case", ALLOWED)
def test_the_limits_allow(case: str) -> None:
    assert limits.findings("kaizen_otel/a.py", ALLOWED[case]) == []


VIOLATIONS = {
    "errors.py": ("import kaizen_otel.config\n", "A file imports only files further down"),
    "_otlp/wire.py": ("import time\n", "Bytes and decisions are pure"),
    "_export/retry.py": ("import random\n", "Bytes and decisions are pure"),
    "_spool/segment.py": ("import os\n", "Bytes and decisions are pure"),
    "config.py": ("def f():\n    import grpc\n", "grpc is loaded by its transport"),
    "_otlp/common.py": (
        "from google.protobuf import message\n",
        "protobuf's runtime is loaded behind",
    ),
    "audit_trail.py": ("import opentelemetry.trace\n", "The OpenTelemetry API is known to"),
    "new_module.py": ("", "A file imports only files further down"),
}


@pytest.mark.parametrize("place", VIOLATIONS)
def test_the_import_contracts_find(place: str, tmp_path: Path) -> None:
    """A contract that nothing can break protects nothing."""
    line, expected = VIOLATIONS[place]
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "kaizen_otel", tmp_path / "kaizen_otel", ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "kaizen_otel" / place).open("a") as module:
        module.write(f"\n{line}")
    done = subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    broken = re.findall(r"^(.*) BROKEN", done.stdout, re.MULTILINE)
    assert any(name.startswith(expected) for name in broken), done.stdout


def test_the_architecture_page_shows_the_tree_of_now() -> None:
    tree = script("tree")
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert page == tree.updated(page), "run `python .ci/tree.py`"


def test_the_public_names_are_those_that_were_promised() -> None:
    """A line less is a promise broken: deprecate first.  A line more is a new promise."""
    snapshot = (ROOT / "tests" / "contract" / "public_names.txt").read_text().splitlines()
    assert script("public_names").public_names() == snapshot, (
        "if that is what you want: python .ci/public_names.py --write"
    )


def test_the_package_itself_promises_at_most_twenty_names() -> None:
    names = [
        line
        for line in (ROOT / "tests" / "contract" / "public_names.txt").read_text().splitlines()
        if line.count(".") == 1
    ]
    assert 0 < len(names) <= 20


def test_every_make_target_is_a_task_and_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    line = re.search(r"^TARGETS := (.*)$", makefile, re.MULTILINE)
    assert line
    targets = line.group(1).split()
    command = [sys.executable, str(ROOT / ".ci" / "tasks.py"), "help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    tasks = (ROOT / ".ci" / "tasks.py").read_text()
    stages = (ROOT / ".ci" / "stages.py").read_text()
    for target in set(targets) - {"help"}:
        assert re.search(rf"\b{target}\b", text), target
        assert f'"{target}"' in tasks + stages, target


def test_every_folder_of_tests_belongs_to_a_stage() -> None:
    """Tests that `make test` does not run are not tests."""
    folders = {
        path.relative_to(ROOT / "tests").parts[0] for path in (ROOT / "tests").rglob("test_*.py")
    }
    stages = (ROOT / ".ci" / "stages.py").read_text()
    lanes = re.findall(r"^LANE_\w+ = \((.*?)\)$", stages, re.MULTILINE | re.DOTALL)
    assert folders <= set(re.findall(r'"(\w+)"', " ".join(lanes)))


def test_every_pinned_tool_has_the_version_of_the_constraints() -> None:
    """pip would stop with a conflict, on the next machine rather than on this one."""
    project = (ROOT / "pyproject.toml").read_text()
    pins = dict(re.findall(r'^    "([a-zA-Z0-9-]+)(?:\[\w+\])?==([^"]+)",$', project, re.MULTILINE))
    lines = (ROOT / ".ci" / "constraints.txt").read_text().splitlines()
    installed = dict(line.lower().split("==") for line in lines if "==" in line)
    assert pins
    for name, version in pins.items():
        assert installed[name.lower()] == version, name
