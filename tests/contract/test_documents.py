"""What README and documentation say can be done, can be done."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RUNNER = Path(__file__).with_name("run_document.py")

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON_BLOCK = re.compile(r"^```(?:\{code-block\} )?python", re.MULTILINE)
COMMAND = re.compile(r"(?:\$ |`|^)kaizen-otel((?: [a-z][a-z-]*)+)", re.MULTILINE)
TARGET = re.compile(r"(?:\$ |`|^)(?:[A-Z]+=\S+ )*make ([a-z-]+)", re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "document", [path for path in DOCUMENTS if PYTHON_BLOCK.search(path.read_text())], ids=named
)
def test_every_python_block_runs(document: Path, tmp_path: Path) -> None:
    """Against no Collector: what cannot be delivered must not break what is shown."""
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(tmp_path),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",  # the discard port: nobody listens
        "KAIZEN_OTEL_AUDIT_ENDPOINT": "http://127.0.0.1:9",
    }
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(document)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_inside_the_repository_leads_to_a_file(document: Path) -> None:
    text = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    for target in LINK.findall(text):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_make_target_that_a_document_names_exists(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    line = re.search(r"^TARGETS := (.*)$", makefile, re.MULTILINE)
    assert line
    assert set(TARGET.findall(document.read_text())) <= set(line.group(1).split())


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_that_a_document_names_exists(document: Path) -> None:
    program = str(Path(sys.executable).with_name("kaizen-otel"))
    for words in sorted(set(COMMAND.findall(document.read_text()))):
        # `audit verify my-file` ends in an argument: the words before it must be commands.
        done = subprocess.run(
            [program, *words.split(), "--help"], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"kaizen-otel{words}: {done.stderr}"
