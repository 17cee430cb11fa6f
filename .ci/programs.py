"""Programs that packages of the Python index carry, kept in the user's cache for the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Where the binaries of one program are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "kaizen-otel" / name


def download(requirement: str, digest: str, scratch: str, *options: str) -> None:
    """Fetch one package into a folder; pip refuses it if its SHA-256 is another one."""
    wanted = Path(scratch) / "requirements.txt"
    wanted.write_text(f"{requirement} --hash=sha256:{digest}\n")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"),
            *("--no-deps", "--require-hashes", *options, "--dest", scratch, "-r", str(wanted)),
        ],
        check=True,
    )


def keep(content: bytes, path: Path) -> None:
    """Make a file that can be run; renamed when complete, so that nobody sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.chmod(0o755)
    partial.replace(path)
