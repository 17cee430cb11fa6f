"""Run a Collector for a user at a terminal: obtain it, start it, say where it listens, wait."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import run_environment, state_directory
from kaizen_otel._collector.run import CollectorProcess
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from types import FrameType

    from kaizen_otel._collector.obtain import Obtained

LOG_BYTES_MAX = 10 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A Collector that answers, and what a user needs to know of it."""

    binary: Obtained
    pid: int
    endpoints: Mapping[str, str]
    """Addresses by purpose: ``grpc``, ``http``, ``audit``, ``health``."""
    folders: Mapping[str, str]
    """Folders by the variable that names them."""
    log_path: Path


def run_foreground(
    configs: Sequence[Path],
    *,
    progress: Callable[[str], None],
    ready: Callable[[Running], None],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run until SIGINT or SIGTERM, then stop in order; call from the main thread.

    ``ready`` is called once the Collector answers.  Raises SetupError when none can be obtained
    or started, or when it ends by itself, and KeyboardInterrupt for a signal before it was ready.
    """
    given = os.environ if environment is None else environment
    binary = obtain(configs, environment=given, progress=progress)
    folders = run_environment(given)
    process = CollectorProcess(
        configs,
        binary=binary.path,
        environment={**given, **folders},
        log_path=_log_path(state_directory(given)),
    )
    stopped, started = threading.Event(), threading.Event()

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        if not started.is_set():
            raise KeyboardInterrupt

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        process.start()
        started.set()
        ready(_running(process, binary, _used(folders, configs)))
        code = process.wait(stopped)
        if code is not None:
            raise SetupError(
                f"the Collector ended by itself with code {code}; the end of "
                f"{process.log_path}:\n{process.log_tail()}"
            )
    finally:
        process.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)


def _running(process: CollectorProcess, binary: Obtained, folders: Mapping[str, str]) -> Running:
    assert process.pid is not None, "ready before start"
    host = process.bind
    return Running(
        binary=binary,
        pid=process.pid,
        endpoints={
            "grpc": f"{host}:{process.grpc_port}",
            "http": f"http://{host}:{process.http_port}",
            "audit": f"http://{host}:{process.audit_port}",
            "health": f"http://{host}:{process.health_port}",
        },
        folders=folders,
        log_path=process.log_path,
    )


def _used(folders: Mapping[str, str], configs: Sequence[Path]) -> dict[str, str]:
    """Return the folders that the configs name: the others would only mislead."""
    texts = [config.read_text() for config in configs]
    return {
        name: folder
        for name, folder in folders.items()
        if any(f"${{env:{name}:" in text for text in texts)
    }


def _log_path(state: Path) -> Path:
    path = state / "collector" / "collector.log"
    # Bounded: one old file is kept beside the current one.
    if path.is_file() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_suffix(".log.old"))
    return path
