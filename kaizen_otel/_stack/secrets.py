"""Secrets for the stack in containers: made once, in a folder that its containers can read."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

from kaizen_otel._collector.resources import collector_directory
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: Who the containers run as, where nothing of another user has to be read.
CONTAINER_USER = 10001
#: What this machine calls itself, beside the names that others have for it.
LOCAL_NAMES = ("localhost", "127.0.0.1")
_TIMEOUT_S = 120


def make_secrets(folder: Path, hosts: Sequence[str], *, passwords: bool = False) -> str:
    """Make them in ``folder``, which must not exist; what was made, for people.

    ``passwords`` are those of the overlays for basic authentication; they need bcrypt.

    Made by root they are given to the containers' user, for no container runs as root.  Raises
    ConfigError when the folder exists or cannot be written, or when bcrypt is not installed.
    """
    script = collector_directory() / "compose" / "secrets.example" / "make_secrets.py"
    named = [word for host in (*LOCAL_NAMES, *hosts) for word in ("--host", host)]
    done = subprocess.run(
        [sys.executable, str(script), str(folder), *named, *(["--passwords"] * passwords)],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(done.stderr.strip().splitlines()[-1])
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, CONTAINER_USER, CONTAINER_USER)
    return done.stdout.strip()


def owner_of(folder: Path) -> str:
    """Who the containers must run as to read them, as ``user:group``.

    Raises ConfigError for secrets that only root may read.
    """
    status = folder.stat()
    if status.st_uid == 0:
        raise ConfigError(
            f"{folder} belongs to root, and no container runs as root: give it to another user, "
            f"such as `chown -R {CONTAINER_USER}:{CONTAINER_USER} {folder}`"
        )
    return f"{status.st_uid}:{status.st_gid}"
