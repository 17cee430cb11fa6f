"""Make the virtual environment: nothing is installed by hand.

Two levels: ``demo`` installs the package with its extras, ``test`` adds the pinned tools.  A
marker file holds a hash of everything that decides what is installed, so a second call costs
nothing.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import re
import subprocess
import sys
import tomllib
import venv
from typing import TYPE_CHECKING, Any

from common import BUILD, CI, ROOT, run_quietly, say, venv_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEVELS = ("demo", "test")
EXTRAS = {
    "demo": ("kaizen", "grpc", "sdk", "view"),
    "test": ("kaizen", "grpc", "sdk", "view", "testing"),
}
CONSTRAINTS = CI / "constraints.txt"


def requirements(project: dict[str, Any], level: str) -> list[str]:
    """What pip is asked for, by level."""
    tables = project["project"]
    wanted: list[str] = list(tables["dependencies"])
    for extra in EXTRAS[level]:
        wanted += tables["optional-dependencies"][extra]
    # The build backend, because the package is installed without an isolated build.
    groups: list[str] = project["dependency-groups"]["dev"]
    if level == "test":
        wanted += groups
    else:
        wanted += [line for line in groups if re.match(r"(hatchling|editables)\b", line)]
    return wanted


def fingerprint(project: dict[str, Any], level: str) -> str:
    """A hash of the interpreter and of everything that decides what is installed."""
    parts = [sys.version, str(ROOT), level, *requirements(project, level)]
    parts += [json.dumps(project["project"], sort_keys=True), CONSTRAINTS.read_text()]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def marker(level: str) -> Path:
    """The file that says that a level is installed."""
    return venv_folder() / f"kaizen-otel-{level}"


def is_ready(project: dict[str, Any], level: str) -> bool:
    """True if this level, or the one that includes it, is installed as asked now."""
    return any(
        marker(name).is_file() and marker(name).read_text() == fingerprint(project, name)
        for name in LEVELS[LEVELS.index(level) :]
    )


def commands(project: dict[str, Any], level: str) -> Iterator[tuple[str, list[str]]]:
    """Titles and pip commands, in order."""
    pip = [str(venv_folder() / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    install = [*pip, "install", "--progress-bar", "off", "--constraint", str(CONSTRAINTS)]
    count = len(requirements(project, level))
    yield (
        f"installing {count} requirements and what they need (one or two minutes when cold)",
        [*install, *requirements(project, level)],
    )
    yield (
        "installing kaizen-otel from this folder",
        [*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)],
    )


def setup(level: str) -> int:
    """Bring the virtual environment to ``level``; the exit code of what failed, else 0."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    folder = venv_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    (BUILD / "setup").mkdir(parents=True, exist_ok=True)
    # Two `make` at once would install into each other's half-made folder.
    with (BUILD / "setup" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if is_ready(project, level):
            return 0
        if not (folder / "bin" / "python").exists() or _runs_no_more(folder):
            version = ".".join(map(str, sys.version_info[:3]))
            say(f"--- making {folder} with Python {version}")
            venv.create(folder, with_pip=True, clear=folder.exists())
        for number, (title, command) in enumerate(commands(project, level)):
            log = BUILD / "setup" / f"{level}-{number}.log"
            if code := run_quietly(title, command, log=log):
                return code
        marker(level).write_text(fingerprint(project, level))
    return 0


def _runs_no_more(folder: Path) -> bool:
    """True if the interpreter that the environment was made with is gone."""
    check = [str(folder / "bin" / "python"), "-c", "import pip"]
    return subprocess.run(check, capture_output=True, check=False).returncode != 0
