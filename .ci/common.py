"""Where things are, and how a long command is run so that one sees it live."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
CI = ROOT / ".ci"

#: One word of life after this many silent seconds.
HEARTBEAT_S = 15.0

_print_lock = threading.Lock()


def say(text: str) -> None:
    """Print whole lines at once, so that two lanes never mix within a line."""
    with _print_lock:
        print(text, flush=True)


def cache_from_environment() -> Path | None:
    """The folder named by ``CACHE``, made absolute; None if the user's own caches are meant."""
    name = os.environ.get("CACHE", "").strip()
    return Path(name).resolve() if name else None


def venv_folder() -> Path:
    """The virtual environment: ``.venv``, or inside ``CACHE`` so that a cold run is cold."""
    cache = cache_from_environment()
    return cache / "venv" if cache else ROOT / ".venv"


def tool(name: str) -> str:
    """Path of a program of the virtual environment."""
    return str(venv_folder() / "bin" / name)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for every command: the venv first on PATH, caches where ``CACHE`` says."""
    values = dict(os.environ)
    values["VIRTUAL_ENV"] = str(venv_folder())
    values["PATH"] = f"{venv_folder() / 'bin'}{os.pathsep}{values.get('PATH', '')}"
    values["PYTHONUNBUFFERED"] = "1"
    values.pop("PYTHONHOME", None)
    cache = cache_from_environment()
    if cache:
        values["XDG_CACHE_HOME"] = str(cache)
        values["PIP_CACHE_DIR"] = str(cache / "pip")
        values["GOCACHE"] = str(cache / "go-build")
        values["GOMODCACHE"] = str(cache / "go-mod")
        # Go makes its module cache read-only, which `rm -r` of the folder would stumble over.
        values["GOFLAGS"] = f"{values.get('GOFLAGS', '')} -modcacherw".strip()
        repository = f"-Dmaven.repo.local={cache / 'maven'}"
        values["MAVEN_OPTS"] = f"{values.get('MAVEN_OPTS', '')} {repository}".strip()
        values["npm_config_cache"] = str(cache / "npm")
    values.update(extra or {})
    return values


def run_quietly(title: str, command: Sequence[str], *, log: Path) -> int:
    """Run a command into ``log``, saying what it does and that it is alive; its exit code.

    The log is shown when the command fails.
    """
    say(f"--- {title}")
    log.parent.mkdir(parents=True, exist_ok=True)
    started_s = time.monotonic()
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=output, stderr=subprocess.STDOUT
        )
        while True:
            try:
                code = process.wait(timeout=HEARTBEAT_S)
                break
            except subprocess.TimeoutExpired:
                say(f"    ... {title}: {time.monotonic() - started_s:.0f} s")
    if code:
        sys.stdout.flush()
        say(log.read_text(errors="replace"))
    say(f"    {title}: {'done' if code == 0 else f'FAILED ({code})'}")
    return code


def run_prefixed(title: str, command: Sequence[str], *, log: Path) -> int:
    """Run a command, each line of its output behind ``[title]``, and into ``log``; its code."""
    log.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    with log.open("a") as output:
        for line in process.stdout:
            output.write(line)
            say(f"[{title}] {line.rstrip()}")
    return process.wait()
