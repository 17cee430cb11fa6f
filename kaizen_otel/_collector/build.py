"""Build one of our distributions from its committed sources with plain ``go build``."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._collector.resources import executable_name
from kaizen_otel._collector.run import log_tail
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from kaizen_otel._edges import Clock

BUILD_FLAGS = ("-trimpath", "-buildvcs=false", "-ldflags", "-s -w")
BUILD_NS_MAX = 60 * 60 * 1_000_000_000
PROGRESS_NS = 5_000_000_000
_POLL_NS = 250_000_000
PROGRAM = "kaizen-otelcol"

# What each distribution is built from, below collector/.
_SOURCES = {
    "dev": ("builder/distribution/dev",),
    "gateway": (
        "builder/distribution/gateway",
        "exporter/elasticsearchexporter",
        "extension/basicauthextension",
    ),
}


def source_files(collector: Path, distribution: str) -> list[Path]:
    """The files that decide what the binary will be, sorted; tests are left out."""
    return sorted(
        path
        for folder in _SOURCES[distribution]
        for path in (collector / folder).rglob("*")
        if path.name in {"go.mod", "go.sum"}
        or (path.suffix == ".go" and not path.name.endswith("_test.go"))
    )


def inputs_hash(collector: Path, distribution: str) -> str:
    """SHA-256 over sources, build flags and platform: the key of the cache."""
    digest = hashlib.sha256()
    for path in source_files(collector, distribution):
        content = path.read_bytes()
        name = path.relative_to(collector).as_posix()
        digest.update(f"{name}\0{len(content)}\0".encode())
        digest.update(content)
    digest.update("\0".join((*BUILD_FLAGS, sys.platform, platform.machine())).encode())
    return digest.hexdigest()


def cached_binary(cache: Path, collector: Path, distribution: str) -> Path:
    """Where the binary of these sources is, or will be, in the cache."""
    key = f"{distribution}-{inputs_hash(collector, distribution)[:20]}"
    return cache / "collector" / key / executable_name(PROGRAM)


def build(
    distribution: str,
    *,
    collector: Path,
    target: Path,
    environment: Mapping[str, str],
    clock: Clock,
    progress: Callable[[str], None],
) -> None:
    """Build into ``target``, all of it or nothing; one process at a time builds one target.

    Sources are copied first, because those of an installed wheel may be read-only.  Raises
    SetupError when Go is missing, or with the end of its output when it fails.
    """
    go = shutil.which("go", path=environment.get("PATH"))
    if go is None:
        raise SetupError("no `go` on PATH to build it with: install Go from https://go.dev/dl")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_suffix(".lock"), clock=clock, progress=progress):
        if target.is_file():  # the process that held the lock has built it
            return
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="build-") as scratch:
            work = Path(scratch)
            for path in source_files(collector, distribution):
                copy = work / path.relative_to(collector)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            output = work / target.name
            _run(
                [
                    go,
                    "build",
                    "-v",
                    *BUILD_FLAGS,  # -v: the last package is the progress
                    "-o",
                    str(output),
                    ".",
                ],
                folder=work / _SOURCES[distribution][0],
                log_path=work / "build.log",
                environment={**environment, "CGO_ENABLED": "0"},
                clock=clock,
                progress=lambda text: progress(f"building the {distribution} Collector: {text}"),
            )
            output.replace(target)


def _run(
    command: Sequence[str],
    *,
    folder: Path,
    log_path: Path,
    environment: Mapping[str, str],
    clock: Clock,
    progress: Callable[[str], None],
) -> None:
    started_ns = shown_ns = clock.monotonic_ns()
    never = threading.Event()
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    progress("started (about two minutes on two idle cores when nothing is cached)")
    try:
        while process.poll() is None:
            clock.wait(never, _POLL_NS)
            now_ns = clock.monotonic_ns()
            elapsed_s = (now_ns - started_ns) // 1_000_000_000
            if now_ns - started_ns > BUILD_NS_MAX:
                raise SetupError(f"`go build` was ended after {elapsed_s} s")
            if now_ns - shown_ns >= PROGRESS_NS:
                shown_ns = now_ns
                progress(f"{elapsed_s} s {log_tail(log_path, 1)}".rstrip())
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode != 0:
        raise SetupError(f"`go build` ended with code {process.returncode}:\n{log_tail(log_path)}")


@contextmanager
def _locked(path: Path, *, clock: Clock, progress: Callable[[str], None]) -> Generator[None]:
    if sys.platform == "win32":  # the rename alone keeps a half-built binary from being seen
        yield
        return
    import fcntl

    started_ns = shown_ns = clock.monotonic_ns()
    never = threading.Event()
    # flock, not lockf: the lock belongs to this open file and goes with it, even after a crash.
    with path.open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                now_ns = clock.monotonic_ns()
                if now_ns - started_ns > BUILD_NS_MAX:
                    raise SetupError(
                        f"another process has held {path} for an hour: end it, then try again"
                    ) from None
                if now_ns - shown_ns >= PROGRESS_NS:
                    shown_ns = now_ns
                    progress(f"waiting for another process that builds it ({os.fspath(path)})")
                clock.wait(never, _POLL_NS)
        yield
