"""Start and end of the one cluster that a machine may have at a time."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._collector.run import log_tail
from kaizen_otel._edges import SystemClock
from kaizen_otel._stack.build import locked, say
from kaizen_otel._stack.processes import ProcessIdentity, alive, identify, leave, stop
from kaizen_otel.errors import SetupError
from tests.cluster.kit import host, snapshot
from tests.cluster.kit.client import Api, ApiError, is_ready
from tests.cluster.kit.components import (
    NODE,
    Folders,
    first_commands,
    other_commands,
    write_files,
)
from tests.cluster.kit.images import PAUSE, load, pause

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from tests.cluster.kit.programs import Programs

FOLDERS = Folders(state=Path("/var/lib/kaizen-otel-cluster"), run=Path("/run/kaizen-otel-cluster"))
_LOCK = Path("/run/kaizen-otel-cluster.lock")
_RECORD = FOLDERS.run / "before.json"
_PROCESSES = FOLDERS.run / "processes.json"
START_DEADLINE_S = 180.0
_POLL_NS = 100_000_000
_DONE = b"done"


@contextmanager
def cluster(programs: Programs) -> Generator[Api]:
    """A cluster while the block runs.

    The machine is put back at the end, also when this process is killed: a child watches it.
    Raises SetupError if a component does not come up, or something of the machine is different
    afterwards.
    """
    with locked(_LOCK, what="the cluster"):
        watcher = subprocess.Popen(
            [sys.executable, "-m", "tests.cluster.kit", "watch"],
            stdin=subprocess.PIPE,
            cwd=Path(__file__).resolve().parents[3],
            start_new_session=True,
        )
        try:
            down()  # what a killed run left
            before = snapshot.machine()
            yield up(programs)
        finally:
            down()
            watcher.communicate(_DONE)
        if left := snapshot.differences(before, snapshot.machine()):
            raise SetupError(f"the cluster left the machine changed: {left}")


def watch() -> None:
    """End the cluster if whoever holds our standard input ends without having done so."""
    if sys.stdin.buffer.read() != _DONE:
        with locked(_LOCK, what="the cluster"):
            down()


@contextmanager
def turn() -> Generator[None]:
    """Wait until nobody else starts, uses or ends a cluster here."""
    with locked(_LOCK, what="the cluster"):
        yield


def up(programs: Programs) -> Api:
    """Start a cluster, ended before if there is one.  Raises SetupError."""
    down()
    try:
        begin()
        write_files(FOLDERS)
        return _start(programs)
    except BaseException:
        down()
        raise


def begin() -> None:
    """Record the machine, then change what a cluster needs changed."""
    FOLDERS.run.mkdir(mode=0o700)
    host.save(host.take_record(), _RECORD)
    FOLDERS.state.mkdir(mode=0o711)
    (FOLDERS.state / "log").mkdir()
    host.prepare()


def ended() -> str:
    """The end of the logs of components that have ended; empty if all run."""
    gone = {each.pid for each in _known() if not alive(each)}
    names = [path.stem for path in FOLDERS.run.glob("*.pid") if int(path.read_text()) in gone]
    return "\n".join(f"--- {name}\n{log_tail(_log(name), 8)}" for name in sorted(names))


def down() -> None:
    """End the cluster and put the machine back; nothing to do is fine.

    The cluster's state is thrown away, so nobody needs to end in order.
    """
    clock = SystemClock()
    stop(_known(), deadline_ns=clock.monotonic_ns(), clock=clock)
    if _RECORD.exists():  # otherwise pods are not ours
        for pid in host.members() | host.processes_with(str(FOLDERS.socket)):
            _kill(pid)
        host.unmount_below(FOLDERS.state)
        host.unmount_below(FOLDERS.run)
        host.remove_cgroups()
        for difference in host.restore(host.load(_RECORD)):
            say(f"the firewall changed meanwhile, not by the cluster: {difference}")
    for folder in (FOLDERS.state, FOLDERS.run):
        shutil.rmtree(folder, ignore_errors=not folder.exists())


def _start(programs: Programs) -> Api:
    for name, command in first_commands(programs, FOLDERS).items():
        _launch(name, command)
    api = Api(FOLDERS.pki)
    _wait(FOLDERS.socket.exists, "the container runtime")
    load(pause(programs.pause), FOLDERS.socket, name=PAUSE)
    _wait(lambda: _answers(api, "readyz"), "the API server")
    for name, command in other_commands(programs, FOLDERS).items():
        _launch(name, command)
    _wait(lambda: is_ready(api.get("Node", NODE) or {}), "the node")
    _wait(lambda: api.get("ServiceAccount", "default", "default") is not None, "the manager")
    return api


def _launch(name: str, command: list[str]) -> None:
    with (FOLDERS.state / "log" / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    identity = identify(process.pid)
    leave(process)
    if identity is None:
        raise SetupError(f"{name} ended at once:\n{log_tail(_log(name))}")
    _PROCESSES.write_text(json.dumps([asdict(each) for each in [*_known(), identity]]))
    (FOLDERS.run / f"{name}.pid").write_text(str(process.pid))


def _known() -> list[ProcessIdentity]:
    try:
        return [ProcessIdentity(**each) for each in json.loads(_PROCESSES.read_text())]
    except FileNotFoundError:
        return []


def _wait(is_so: Callable[[], bool], what: str) -> None:
    clock, never = SystemClock(), threading.Event()
    deadline_ns = clock.monotonic_ns() + int(START_DEADLINE_S * 1e9)
    while not is_so():
        if logs := ended():
            raise SetupError(f"a component of the cluster ended:\n{logs}")
        if clock.monotonic_ns() >= deadline_ns:
            raise SetupError(f"{what} did not come up in time; logs are in {FOLDERS.state}/log")
        clock.wait(never, _POLL_NS)


def _log(name: str) -> Path:
    return FOLDERS.state / "log" / f"{name}.log"


def _answers(api: Api, path: str) -> bool:
    try:
        api.request("GET", path)
    except (OSError, ApiError):
        return False
    return True


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
