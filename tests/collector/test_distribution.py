"""The committed Go sources: equal to what the builder makes of the manifests, and sound."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._collector.resources import cache_directory, collector_directory
from tests.collector.regenerate import MANIFESTS, builder, generate

if TYPE_CHECKING:
    from pathlib import Path

OWN_MODULES = ("exporter/elasticsearchexporter", "extension/basicauthextension")

needs_go = pytest.mark.skipif(
    shutil.which("go") is None, reason="needs Go: install it from https://go.dev/dl"
)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@needs_go
def test_the_committed_distributions_are_what_the_builder_makes(tmp_path: Path) -> None:
    generate(builder(cache_directory(os.environ)), tmp_path)
    for name in MANIFESTS:
        made = files(tmp_path / "builder" / "distribution" / name)
        committed = files(collector_directory() / "builder" / "distribution" / name)
        assert set(made) == set(committed)
        drift = [path for path in made if made[path] != committed[path]]
        assert not drift, f"run tests/collector/regenerate.py: {name} differs in {drift}"


@needs_go
@pytest.mark.timeout(900)  # with an empty build cache on a busy machine
@pytest.mark.parametrize("module", OWN_MODULES)
@pytest.mark.parametrize(
    "command",
    [["go", "vet", "./..."], ["go", "test", "./..."], ["gofmt", "-l", "."]],
    ids=lambda command: " ".join(command[:2]),
)
def test_the_own_tests_of_our_modules_pass(module: str, command: list[str]) -> None:
    folder = collector_directory() / module
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    if command[0] == "gofmt":
        assert done.stdout == ""
