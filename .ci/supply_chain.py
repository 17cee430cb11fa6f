"""What the bills of materials and the search for advisories share: tools, wheel and binaries.

Run with the virtual environment's Python.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

from common import BUILD, CI, ROOT

from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import cache_directory, config_path
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FOLDER = BUILD / "supply-chain"
PINS = CI / "supply_chain.txt"
GOVULNCHECK = "golang.org/x/vuln/cmd/govulncheck"
GOVULNCHECK_VERSION = "v1.9.0"
#: Our distributions, by the config that needs them.
DISTRIBUTIONS = ("gateway", "dev")


def quietly(
    *command: str | Path, cwd: Path = ROOT, environment: dict[str, str] | None = None
) -> None:
    """Run a command that says nothing unless it fails; then SetupError with what it said."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SetupError(f"{command[0]} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def tools() -> Path:
    """The folder with the programs of cyclonedx-bom and pip-audit, in the user's cache."""
    digest = hashlib.sha256(f"{sys.version}\n{PINS.read_text()}".encode()).hexdigest()[:12]
    folder = cache_directory(os.environ) / f"supply-chain-{digest}"
    if not (folder / "complete").is_file():
        _install(folder, ["--no-deps", "--requirement", str(PINS)])
        (folder / "complete").touch()
    return folder / "bin"


def wheel_environment() -> Path:
    """The Python of a new environment that has our wheel and what it requires, nothing else."""
    shutil.rmtree(FOLDER / "wheel", ignore_errors=True)
    (FOLDER / "wheel").mkdir(parents=True)
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir")
    quietly(*build, FOLDER / "wheel", ROOT)
    (wheel,) = (FOLDER / "wheel").glob("*.whl")
    folder = FOLDER / "environment"
    _install(folder, ["--constraint", str(CI / "constraints.txt"), str(wheel)])
    return folder / "bin" / "python"


def binaries() -> dict[str, Path]:
    """Our Collectors, obtained as a user's would be."""
    return {
        name: obtain([config_path(name)], progress=print, own=True).path for name in DISTRIBUTIONS
    }


def govulncheck() -> Path:
    """The Go project's own search for advisories, built once into the user's cache."""
    folder = cache_directory(os.environ) / f"govulncheck-{GOVULNCHECK_VERSION}"
    program = folder / "govulncheck"
    if not program.is_file():
        if shutil.which("go") is None:
            raise SetupError("govulncheck needs Go: install it from https://go.dev/dl")
        quietly(
            "go", "install", f"{GOVULNCHECK}@{GOVULNCHECK_VERSION}",
            environment={"GOBIN": str(folder), "CGO_ENABLED": "0"},
        )  # fmt: skip
    return program


def _install(folder: Path, wanted: Sequence[str]) -> None:
    """A new environment without pip, into which ours installs."""
    venv.create(folder, with_pip=False, clear=True)
    quietly(
        sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet",
        "--disable-pip-version-check", "--no-compile", *wanted,
    )  # fmt: skip
