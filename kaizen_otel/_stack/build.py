"""Obtain things once: a cache keyed by a hash of its inputs, a lock, progress while it lasts.

A finished thing is one folder that appears by a single rename, so a build that was interrupted,
by a signal or by power loss, leaves nothing that looks finished.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._collector.resources import cache_directory, collector_directory
from kaizen_otel._collector.run import log_tail
from kaizen_otel._edges import SystemClock
from kaizen_otel.errors import PlatformError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from kaizen_otel._edges import Clock

PROGRESS_EVERY_S = 5.0
BUILD_DEADLINE_S = 3600.0
GO_NEEDED = "Go 1.26"
_GO_FLAGS = ("-trimpath", "-ldflags", "-s -w")
_POLL_NS = 200_000_000
_APT_LOCK = ("-o", "DPkg::Lock::Timeout=300")  # another apt may run; seconds


class ToolMissingError(SetupError):
    """A program is missing that only a person can install; the message names it."""


def say(text: str) -> None:
    """Print one line of progress where people look for it, apart from the results."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def digest_of(files: Sequence[Path], *words: str) -> str:
    """A key that changes with the content of any file, any word, the system and the processor."""
    state = hashlib.sha256()
    for word in (sys.platform, platform.machine(), *words):
        state.update(len(word).to_bytes(4, "big") + word.encode())
    for file in files:
        data = file.read_bytes()
        state.update(file.name.encode() + len(data).to_bytes(8, "big") + data)
    return state.hexdigest()[:16]


def build_once(
    name: str,
    digest: str,
    make: Callable[[Path], None],
    *,
    cache: Path | None = None,
    progress: Callable[[str], None] = say,
    clock: Clock | None = None,
) -> Path:
    """The folder ``name-digest`` of the cache, filled by ``make`` the first time.

    ``make`` gets an empty folder.  If it raises, the cache is as before.  When another process
    builds the same thing, its result is waited for and used.
    """
    folder = cache or cache_directory(os.environ)
    target = folder / f"{name}-{digest}"
    if target.is_dir():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / f".{name}.lock", what=name, progress=progress, clock=clock):
        if target.is_dir():
            return target
        # We hold the lock, so what is there under this name was left by a build that died.
        temporary = folder / f".{name}.part"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        try:
            make(temporary)
            temporary.replace(target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


@contextmanager
def locked(
    path: Path,
    *,
    what: str,
    progress: Callable[[str], None] = say,
    deadline_s: float = BUILD_DEADLINE_S,
    clock: Clock | None = None,
) -> Generator[None]:
    """Hold the lock file ``path``; the system frees it when the process ends, however it ends.

    Raises SetupError when another process holds it for ``deadline_s`` seconds, PlatformError on
    Windows.
    """
    if sys.platform == "win32":
        raise PlatformError(
            "the local stack runs on Linux and macOS: use WSL, or a Collector and backends of "
            "your own (JAEGER_OTLP_ENDPOINT and the like)"
        )
    import fcntl

    clock = clock or SystemClock()
    deadline_ns = clock.monotonic_ns() + int(deadline_s * 1e9)
    told = False
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if clock.monotonic_ns() >= deadline_ns:
                    raise SetupError(
                        f"{what}: another process holds {path} for more than {deadline_s:g} s; "
                        "wait until it is done or end it"
                    ) from None
            if not told:
                progress(f"{what}: another process works on it, waiting")
                told = True
            clock.wait(threading.Event(), _POLL_NS)
        yield


def run_long(
    command: Sequence[str],
    *,
    what: str,
    log_path: Path,
    working_directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
    deadline_s: float = BUILD_DEADLINE_S,
    progress: Callable[[str], None] = say,
    clock: Clock | None = None,
) -> None:
    """Run a program that may take minutes; print its last line of output every few seconds.

    Runs at low priority.  Raises SetupError, with the end of the output, if it fails or takes
    longer than ``deadline_s``; then, and on an interrupt, the program and its children are ended.
    """
    clock = clock or SystemClock()
    nice = ("nice", "-n", "10") if shutil.which("nice") else ()
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("wb") as log:
        try:
            process = subprocess.Popen(
                [*nice, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=working_directory,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        except OSError as error:
            raise SetupError(f"{what}: {command[0]} cannot be started: {error}") from error
    try:
        _watch(
            process,
            what=what,
            log_path=log_path,
            deadline_s=deadline_s,
            progress=progress,
            clock=clock,
        )
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.returncode != 0:
        raise SetupError(
            f"{what} failed with code {process.returncode}; the end of its output:\n"
            f"{log_tail(log_path, 15)}"
        )


def _watch(
    process: subprocess.Popen[bytes],
    *,
    what: str,
    log_path: Path,
    deadline_s: float,
    progress: Callable[[str], None],
    clock: Clock,
) -> None:
    """Return when the process ended; raise SetupError when its time is over."""
    started_ns = clock.monotonic_ns()
    progress(f"{what} ...")
    while True:
        try:
            process.wait(PROGRESS_EVERY_S)
        except subprocess.TimeoutExpired:
            elapsed_s = (clock.monotonic_ns() - started_ns) / 1e9
            if elapsed_s >= deadline_s:
                raise SetupError(
                    f"{what} was ended after {deadline_s:g} s; the end of its output:\n"
                    f"{log_tail(log_path, 15)}"
                ) from None
            progress(f"{what}: {elapsed_s:.0f} s  {log_tail(log_path, 1)[:100]}")
        else:
            return


def named_program(variable: str) -> Path | None:
    """The program that an environment variable names, if it is set.

    Raises SetupError when there is no such program.
    """
    text = os.environ.get(variable, "")
    if not text:
        return None
    path = Path(text)
    if not (path.is_file() and os.access(path, os.X_OK)):
        raise SetupError(f"{variable}={text} is no program: correct the path or unset {variable}")
    return path.resolve()


def find_go_build(name: str, package: str, *, cache: Path | None) -> Path | None:
    """The program that `build_go` made before, if it is in the cache."""
    folder = (cache or cache_directory(os.environ)) / f"{name}-{_go_digest(name, package)}"
    return folder / name if folder.is_dir() else None


def build_go(
    name: str, package: str, *, cache: Path | None, progress: Callable[[str], None]
) -> Path:
    """Build the tool of ``collector/compose/backends/<name>/go.mod`` once, without cgo (static).

    Raises ToolMissingError without Go.
    """

    def make(folder: Path) -> None:
        go = shutil.which("go")
        if go is None:
            raise ToolMissingError(
                f"{name} cannot be built: no `go` on PATH. Install {GO_NEEDED} or later, or set "
                f"KAIZEN_OTEL_{name.upper()} to a {name} program"
            )
        module = folder / "module"
        module.mkdir()
        for file in _go_module(name):
            shutil.copyfile(file, module / file.name)
        run_long(
            [go, "build", "-v", *_GO_FLAGS, "-o", str(folder / name), package],
            what=f"building {name} (once, some minutes)",
            log_path=folder / "build.log",
            working_directory=module,
            environment={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly -buildvcs=false"},
            progress=progress,
        )

    digest = _go_digest(name, package)
    return build_once(name, digest, make, cache=cache, progress=progress) / name


def lacks_page(program: Path) -> bool:
    """Whether it was built or unpacked here, without the files of its page for people."""
    return re.search(r"/(jaeger|prometheus)(-debian)?-[0-9a-f]{16}/", str(program)) is not None


def _go_module(name: str) -> list[Path]:
    sources = collector_directory() / "compose" / "backends" / name
    return [sources / "go.mod", sources / "go.sum"]


def _go_digest(name: str, package: str) -> str:
    return digest_of(_go_module(name), package, *_GO_FLAGS)


def may_use_apt() -> bool:
    """Whether packages can be installed here: Debian's tools are there and we are root."""
    return sys.platform == "linux" and os.geteuid() == 0 and shutil.which("apt-get") is not None


def apt_update(*, log_path: Path, progress: Callable[[str], None]) -> None:
    """Read Debian's package lists anew.  Raises SetupError."""
    run_long(
        ["apt-get", "update", "-q", *_APT_LOCK],
        what="reading the package lists (apt)",
        log_path=log_path,
        progress=progress,
    )


def apt_install(
    packages: Sequence[str], *, log_path: Path, progress: Callable[[str], None]
) -> None:
    """Install Debian packages without starting what they bring.  Raises SetupError."""
    with _no_services():
        apt_update(log_path=log_path, progress=progress)
        run_long(
            ["apt-get", "install", "-y", "-q", "--no-install-recommends", *_APT_LOCK, *packages],
            what=f"installing {' '.join(packages)} (apt)",
            log_path=log_path,
            environment={"DEBIAN_FRONTEND": "noninteractive"},
            progress=progress,
        )


@contextmanager
def _no_services() -> Generator[None]:
    """Tell Debian's packages to start no service now (Debian Policy, section 9.3.3)."""
    policy = Path("/usr/sbin/policy-rc.d")
    ours = "#!/bin/sh\n# by kaizen-otel, for the time of one installation\nexit 101\n"
    if policy.exists() and policy.read_text(encoding="utf-8") != ours:  # somebody decided already
        yield
        return
    policy.write_text(ours, encoding="utf-8")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink(missing_ok=True)
