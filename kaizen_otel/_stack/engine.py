"""A Docker engine: the one that is there, else a private one for as long as somebody uses it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from kaizen_otel._collector.run import log_tail
from kaizen_otel._edges import SystemClock
from kaizen_otel._environment import home_directory
from kaizen_otel._stack.build import ToolMissingError, apt_install, locked, may_use_apt, say
from kaizen_otel._stack.processes import POLL_NS, ProcessIdentity, identify, leave, stop
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from kaizen_otel._edges import Clock

DEFAULT_HOST = "unix:///var/run/docker.sock"
RUN_DIRECTORY = Path("/run/kaizen-otel-docker")
# Images stay here from run to run; it must be on a disk that overlay2 works on.
DATA_DIRECTORY = Path("/var/lib/kaizen-otel-docker")
PRIVATE_HOST = f"unix://{RUN_DIRECTORY}/docker.sock"
BRIDGE_ADDRESS = "172.31.251.1/24"
START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 30.0
_DEBIAN = ("docker.io", "iptables")
_PING = b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n"


def reachable(host: str) -> bool:
    """Whether a Docker engine answers at an address as DOCKER_HOST has it (unix:// or tcp://)."""
    parts = urlsplit(host)
    try:
        if parts.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(5)
            target: str | tuple[str, int] = parts.path
        elif parts.scheme in {"tcp", "http"} and parts.port:
            connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            connection.settimeout(5)
            target = (parts.hostname or "localhost", parts.port)
        else:
            return False
        with connection:
            connection.connect(target)
            connection.sendall(_PING)
            return b" 200 " in connection.recv(4096).split(b"\r\n", 1)[0]
    except OSError:
        return False


def find_engine() -> str | None:
    """The address of an engine that answers: DOCKER_HOST, else the usual sockets; None if none."""
    named = os.environ.get("DOCKER_HOST")
    if named:
        return named if reachable(named) else None
    home, runtime = home_directory(), os.environ.get("XDG_RUNTIME_DIR")
    candidates = [DEFAULT_HOST, f"unix://{home}/.docker/run/docker.sock"]
    if runtime:
        candidates.append(f"unix://{runtime}/docker.sock")
    return next((host for host in candidates if reachable(host)), None)


@contextmanager
def docker_engine(
    *, progress: Callable[[str], None] = say, clock: Clock | None = None
) -> Generator[str]:
    """The address of a Docker engine while the block runs, for DOCKER_HOST.

    Without an engine, root on Debian gets a private one: its packages are installed without
    starting their services, and it is ended with the last of the processes that use it.  It
    changes neither the firewall nor IP forwarding, so its containers reach each other and the
    host their published ports, but they do not reach the internet.  Raises SetupError saying
    what to install.
    """
    found = find_engine()
    if found is not None:
        yield found
        return
    if not may_use_apt():
        raise ToolMissingError(
            "no Docker engine answers: start Docker (https://docs.docker.com/engine/install) or "
            "set DOCKER_HOST to one; root on Debian or Ubuntu gets a private one by itself"
        )
    import fcntl  # not on Windows, which never comes here

    clock = clock or SystemClock()
    RUN_DIRECTORY.mkdir(parents=True, exist_ok=True)
    turn = RUN_DIRECTORY / "lock"
    # Everyone who uses the engine holds this file shared; who gets it alone is the last one.
    with (RUN_DIRECTORY / "users").open("a", encoding="utf-8") as users:
        with locked(turn, what="docker", progress=progress, clock=clock):
            fcntl.flock(users, fcntl.LOCK_SH)
            if not reachable(PRIVATE_HOST):
                _start(progress, clock)
        try:
            yield PRIVATE_HOST
        finally:
            with locked(turn, what="docker", progress=progress, clock=clock):
                _stop_if_last(users.fileno(), clock)


def _start(progress: Callable[[str], None], clock: Clock) -> None:
    if shutil.which("dockerd") is None or shutil.which("iptables") is None:
        apt_install(_DEBIAN, log_path=RUN_DIRECTORY / "apt.log", progress=progress)
    progress("docker: starting a private engine")
    had_bridge = Path("/sys/class/net/docker0").exists()
    (RUN_DIRECTORY / "remove-bridge").unlink(missing_ok=True)
    if not had_bridge:
        (RUN_DIRECTORY / "remove-bridge").touch()
    log_path = RUN_DIRECTORY / "dockerd.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [
                "dockerd",
                *("--host", PRIVATE_HOST),
                *("--data-root", str(DATA_DIRECTORY)),
                *("--exec-root", str(RUN_DIRECTORY / "exec")),
                *("--pidfile", str(RUN_DIRECTORY / "dockerd.pid")),
                *("--bip", BRIDGE_ADDRESS),
                *("--log-level", "warn"),
                # Published ports go through Docker's own proxy; the host's rules stay as they are.
                *("--iptables=false", "--ip-forward=false", "--ip-masq=false"),
                # No name server is reachable, and Docker leaves a question that it cannot answer
                # without any answer (gRPC asks for a TXT record first): give up after a second.
                *("--dns", "127.0.0.1", "--dns-opt", "timeout:1", "--dns-opt", "attempts:1"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _wait_until_reachable(process, log_path, clock)
    leave(process)
    # It outlives this process when others use it; whoever is last ends it by its pid file.
    identity = identify(process.pid)
    started = identity.started if identity else ""
    (RUN_DIRECTORY / "identity").write_text(f"{process.pid} {started}", encoding="utf-8")


def _wait_until_reachable(process: subprocess.Popen[bytes], log_path: Path, clock: Clock) -> None:
    deadline_ns = clock.monotonic_ns() + int(START_DEADLINE_S * 1e9)
    never = threading.Event()
    while not reachable(PRIVATE_HOST):
        ended = process.poll() is not None
        if ended or clock.monotonic_ns() >= deadline_ns:
            if not ended:
                process.kill()
                process.wait()
            raise SetupError(
                f"the private Docker engine did not start; the end of {log_path}:\n"
                f"{log_tail(log_path)}\nSet DOCKER_HOST to an engine that works here"
            )
        clock.wait(never, POLL_NS)


def _stop_if_last(users: int, clock: Clock) -> None:
    """End the private engine unless another process still uses it."""
    import fcntl

    fcntl.flock(users, fcntl.LOCK_UN)
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    try:
        pid, _, started = (RUN_DIRECTORY / "identity").read_text(encoding="utf-8").partition(" ")
    except FileNotFoundError:
        return
    stop(
        [ProcessIdentity(pid=int(pid), started=started)],
        deadline_ns=clock.monotonic_ns() + int(STOP_DEADLINE_S * 1e9),
        clock=clock,
    )
    (RUN_DIRECTORY / "identity").unlink(missing_ok=True)
    if (RUN_DIRECTORY / "remove-bridge").exists() and shutil.which("ip"):
        subprocess.run(
            ["ip", "link", "delete", "docker0"], check=False, capture_output=True, timeout=30
        )
