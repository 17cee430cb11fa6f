"""Docker Compose: where it is, whether it can be used, and why not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from kaizen_otel._stack.build import ToolMissingError
from kaizen_otel._stack.engine import DEFAULT_HOST, find_engine, reachable
from kaizen_otel.errors import SetupError

# `!reset` and `!override`, with which compose.security.yaml closes ports, came in 2.24.4.
VERSION_MIN = (2, 25)
_OTHERWISE = "or use processes of this machine with --engine native"
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ComposeProgram:
    """A Compose that can be used and the engine that it is to talk to, as DOCKER_HOST has it."""

    command: tuple[str, ...]
    host: str


def find_compose() -> ComposeProgram:
    """The Compose and the engine of this machine.

    Raises ToolMissingError when Docker or Compose is not installed, SetupError when the engine
    does not answer.
    """
    host = find_engine() or _context_host()
    if host is None:
        raise _no_engine()
    for command in (("docker", "compose"), ("docker-compose",)):
        version = _version(command)
        if version is not None and version >= VERSION_MIN:
            return ComposeProgram(command=command, host=host)
    wanted = ".".join(map(str, VERSION_MIN))
    raise ToolMissingError(
        f"the Docker engine at {host} answers, but Docker Compose {wanted} or later is missing: "
        f"install the plugin (https://docs.docker.com/compose/install), {_OTHERWISE}"
    )


def _no_engine() -> SetupError:
    named = os.environ.get("DOCKER_HOST")
    if named:
        return SetupError(
            f"the Docker engine of DOCKER_HOST={named} does not answer: start it, correct or unset "
            f"DOCKER_HOST, {_OTHERWISE}"
        )
    socket = Path(urlsplit(DEFAULT_HOST).path)
    if socket.exists() and not os.access(socket, os.R_OK | os.W_OK):
        return SetupError(
            f"the Docker engine at {socket} may not be used by this user: join its group "
            f"({_group(socket)}) and log in again, {_OTHERWISE}"
        )
    if shutil.which("docker") is None:
        return ToolMissingError(
            "Docker is not installed (no `docker` on PATH, no engine answers): install it "
            f"(https://docs.docker.com/engine/install), {_OTHERWISE}"
        )
    return SetupError(
        "Docker is installed, but no engine answers: start it (Docker Desktop, or `systemctl start "
        f"docker`) or set DOCKER_HOST, {_OTHERWISE}"
    )


def _group(path: Path) -> str:
    try:
        return path.group()
    except (KeyError, OSError):
        return "docker"


def _context_host() -> str | None:
    """The engine of Docker's current context, which may be none of the usual sockets."""
    if os.environ.get("DOCKER_HOST"):
        return None
    text = _output(("docker", "context", "inspect", "--format", "{{.Endpoints.docker.Host}}"))
    return text if text and reachable(text) else None


def _version(command: tuple[str, ...]) -> tuple[int, int] | None:
    match = re.match(r"v?(\d+)\.(\d+)", _output((*command, "version", "--short")) or "")
    return (int(match[1]), int(match[2])) if match else None


def _output(command: tuple[str, ...]) -> str | None:
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
