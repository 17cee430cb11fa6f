"""Start programs, wait until they answer, end them; never end a program that is not ours."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._collector.resources import inherited_environment
from kaizen_otel._collector.run import log_tail
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kaizen_otel._edges import Clock

POLL_NS = 100_000_000
_HTTP_OK = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How one component is started: its command, its ports, and where it says that it is ready."""

    component: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    working_directory: Path
    ports: Mapping[str, int]
    ready_url: str
    url: str
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessIdentity:
    """A process, and proof that the number still means that process: when it was started."""

    pid: int
    started: str


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a running process; None if there is none or it only waits to be reaped."""
    started = _started_linux(pid) if sys.platform == "linux" else _started_ps(pid)
    return ProcessIdentity(pid=pid, started=started) if started else None


def alive(identity: ProcessIdentity) -> bool:
    """Whether this very process still runs (not another one that got its number later)."""
    return identify(identity.pid) == identity


def _started_linux(pid: int) -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        # proc(5): the second field, in parentheses, may hold spaces; state is field 3 and the
        # start time, in clock ticks since boot, is field 22.
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except OSError:
        return ""
    words = after_name.split()
    return "" if words[0] in "ZX" else f"{boot} {words[19]}"


def _started_ps(pid: int) -> str:
    answer = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    state, _, started = answer.stdout.strip().partition(" ")
    return "" if not state or state.startswith("Z") else started.strip()


def start(launch: Launch, *, log_path: Path) -> tuple[subprocess.Popen[bytes], ProcessIdentity]:
    """Start a program in a session of its own, its output in ``log_path``.

    Raises SetupError if it cannot be started.
    """
    launch.working_directory.mkdir(parents=True, exist_ok=True)
    log_path.parent.mkdir(parents=True, exist_ok=True)
    inherited = inherited_environment(os.environ)
    with log_path.open("wb") as log:
        try:
            process = subprocess.Popen(
                launch.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=launch.working_directory,
                env={**inherited, **launch.environment},
                # Ctrl-C in the terminal reaches us, and we end it in order.
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(
                f"{launch.component}: {launch.command[0]} cannot be started: {error}"
            ) from error
    identity = identify(process.pid)
    if identity is None:  # ended already; wait_until_ready says so with the log
        identity = ProcessIdentity(pid=process.pid, started="")
    return process, identity


def leave(process: subprocess.Popen[bytes]) -> None:
    """Let a process outlive its Popen object, which would warn while the process runs.

    From here on the process is known by its identity only; `stop` takes its exit code.
    """
    process.returncode = 0


def wait_until_ready(
    launch: Launch,
    process: subprocess.Popen[bytes],
    *,
    log_path: Path,
    deadline_ns: int,
    clock: Clock,
) -> None:
    """Return when the component answers.  Raises SetupError if it ended or its time is over."""
    never = threading.Event()
    while not answers(launch.ready_url):
        if process.poll() is not None:
            raise SetupError(
                f"{launch.component} ended with code {process.returncode} instead of starting; "
                f"the end of {log_path}:\n{log_tail(log_path)}"
            )
        if clock.monotonic_ns() >= deadline_ns:
            raise SetupError(
                f"{launch.component} did not answer at {launch.ready_url} in time and was ended "
                f"(--deadline gives it longer); the end of {log_path}:\n{log_tail(log_path)}"
            )
        clock.wait(never, POLL_NS)


def answers(url: str) -> bool:
    """Whether a GET of ``url`` is answered with 200 now.  Proxies are not asked: it is local."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2) as answer:
            return bool(answer.status == _HTTP_OK)
    except (OSError, urllib.error.URLError):
        return False


def stop(identities: Iterable[ProcessIdentity], *, deadline_ns: int, clock: Clock) -> None:
    """End processes and return when they are gone: SIGTERM, and SIGKILL once the time is over.

    A number that now belongs to another process is left alone.  Each process leads a session of
    its own, so its children are ended with it.  Idempotent.
    """
    never = threading.Event()
    remaining = [each for each in identities if _signal(each, signal.SIGTERM)]
    while remaining and clock.monotonic_ns() < deadline_ns:
        clock.wait(never, POLL_NS // 2)
        remaining = [each for each in remaining if _running(each)]
    for each in remaining:
        _signal(each, signal.SIGKILL)
    while remaining:  # the kernel keeps SIGKILL's promise
        clock.wait(never, POLL_NS // 2)
        remaining = [each for each in remaining if _running(each)]


def _signal(identity: ProcessIdentity, number: signal.Signals) -> bool:
    """Signal the process's group if it is still that process; whether it was."""
    if not _running(identity):
        return False
    try:
        os.killpg(identity.pid, number)
    except ProcessLookupError:
        return False
    return True


def _running(identity: ProcessIdentity) -> bool:
    _reap(identity.pid)
    return alive(identity)


def _reap(pid: int) -> None:
    """Take the exit code of a child of ours that ended, else it stays in the process table."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return
