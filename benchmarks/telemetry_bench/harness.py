"""The sink, one process for each measurement, and their results."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.telemetry_bench.environments import Environment

ROOT: Final = Path(__file__).resolve().parents[2]
_SINK: Final = "benchmarks.telemetry_bench.sink"
_WORKER: Final = "benchmarks.telemetry_bench.worker"
_TIMEOUT_S: Final = 240
_CHECK_TIMEOUT_S: Final = 300

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: who does what.  ``what`` is how its requests are checked ("": not)."""

    contender: str
    work: str
    door: str = "spans"
    what: str = ""
    arguments: tuple[tuple[str, Any], ...] = ()
    once: bool = False

    @property
    def environment(self) -> str:
        """The name of the environment that it needs."""
        module, _, variant = self.contender.partition(".")
        if module == "vendors" or variant == "fastotel":
            return variant
        return "ours" if module == "none" else module

    @property
    def label(self) -> str:
        """What a progress line says."""
        details = " ".join(f"{key}={value}" for key, value in self.arguments)
        return f"{self.contender} {self.work} {self.door} {details}".strip()


def case(contender: str, work: str, door: str = "spans", what: str = "", **more: Any) -> Case:  # noqa: ANN401 - JSON values
    """A ``Case`` with its arguments by keyword; ``once`` has only the first round run it."""
    once = bool(more.pop("once", False))
    return Case(contender, work, door, what, tuple(sorted(more.items())), once)


class Sink:
    """The receiver's process."""

    def __init__(self, process: subprocess.Popen[str], http_port: int, grpc_port: int) -> None:
        self.process = process
        self.http = f"http://127.0.0.1:{http_port}"
        self.grpc = f"127.0.0.1:{grpc_port}"

    def clear(self, delay_ms: float = 0) -> None:
        """Forget what came; answers take ``delay_ms`` from now on."""
        self._ask("clear", {"delay_ms": delay_ms})

    def check(self, what: str, count: int, warm: int = 0) -> Result:
        """Decode what came and compare it with what was offered."""
        return self._ask("check", {"what": what, "count": count, "warm": warm})

    def _ask(self, path: str, body: Mapping[str, object]) -> Result:
        request = urllib.request.Request(  # noqa: S310 - our own process
            f"{self.http}/bench/{path}", data=json.dumps(body).encode(), method="POST"
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_CHECK_TIMEOUT_S) as answer:
            found: Result = json.load(answer)
        return found


@contextlib.contextmanager
def running_sink() -> Iterator[Sink]:
    """Start the receiver.  It ends with its standard input, so also when this process is killed."""
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", _SINK],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the harness, which ends it
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        ports = process.stdout.readline().split()
        if len(ports) != 2:  # noqa: PLR2004 - HTTP and gRPC
            raise RuntimeError("the sink did not start: see its message above")
        yield Sink(process, int(ports[0]), int(ports[1]))
    finally:
        process.stdin.close()
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()


def worker_environment(folder: Path) -> dict[str, str]:
    """The environment of a measured process: nothing of the user's settings of telemetry.

    Byte code is written: what is installed has it, so that no import compiles anything.
    """
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("OTEL_", "KAIZEN_OTEL_", "PYTHONDONTWRITE"))
        and not key.lower().endswith("_proxy")
    }
    state = {"XDG_STATE_HOME": str(folder), "KAIZEN_OTEL_SPOOL_DIR": str(folder / "spool")}
    return {**kept, **state, "PYTHONHASHSEED": "0", "PYTHONPATH": str(ROOT)}


def run_case(one: Case, environment: Environment, sink: Sink) -> Result:
    """Run one measurement; ``error`` in its result if it failed."""
    arguments = dict(one.arguments)
    task = {
        "contender": one.contender, "work": one.work, "door": one.door,
        "http": sink.http, "grpc": sink.grpc, **arguments,
    }  # fmt: skip
    _stop_if_interrupted()
    sink.clear(arguments.get("delay_ms", 0))
    folder = Path(tempfile.mkdtemp(prefix="kaizen-otel-bench-"))
    try:
        command = [environment.python, "-m", _WORKER, json.dumps({**task, "folder": str(folder)})]
        result = _run(command, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if one.what and "error" not in result:
        result.update(sink.check(one.what, result["count"], result.get("warm", 0)))
        if result["delivered"] and "cpu_s" in result:
            result["cpu_us"] = result["cpu_s"] / result["delivered"] * 1e6
    return result


_interrupted = threading.Event()
_starting = threading.Event()


def on_interrupt(number: int, frame: object) -> None:
    """End the run at Ctrl-C, at the next step if it comes where Python swallows exceptions.

    While a process is being started, once the harness holds it: nobody else would end it.
    """
    del number, frame
    _interrupted.set()
    if not _starting.is_set():
        raise KeyboardInterrupt


def _stop_if_interrupted() -> None:
    if _interrupted.is_set():
        raise KeyboardInterrupt


@contextlib.contextmanager
def running_worker(
    command: Sequence[str], folder: Path, errors: IO[bytes] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a measured process in a session of its own; it is killed if the block fails."""
    _starting.set()
    process = subprocess.Popen(  # noqa: S603 - an environment of ours
        command, cwd=folder, stdout=subprocess.PIPE, stderr=errors,
        env=worker_environment(folder), start_new_session=True,
    )  # fmt: skip
    late = threading.Timer(_TIMEOUT_S, lambda: os.killpg(process.pid, signal.SIGKILL))
    late.daemon = True
    assert process.stdout is not None
    try:
        _starting.clear()
        _stop_if_interrupted()
        late.start()
        yield process
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        late.cancel()
        process.stdout.close()


def _run(command: Sequence[str], folder: Path) -> Result:
    with tempfile.TemporaryFile() as errors:
        with running_worker(command, folder, errors) as process:
            assert process.stdout is not None
            output = process.stdout.read()
            _, status, used = os.wait4(process.pid, 0)
        ended = time.monotonic()
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip()
    lines = output.decode(errors="replace").strip().splitlines()
    if process.returncode or not lines:
        return {"error": f"exit code {process.returncode}: {said[-600:]}"}
    result: Result = json.loads(lines[-1])
    if "cpu_before_s" in result:
        # The whole process, threads included, from the first item to its death.
        result["cpu_s"] = used.ru_utime + used.ru_stime - result["cpu_before_s"]
    if "left_at" in result:
        result["exit_s"] = ended - result["left_at"]
    return result


@dataclass(slots=True)
class Results:
    """All results of all rounds."""

    rows: dict[Case, list[Result]] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, one: Case, result: Result) -> None:
        """Keep one result."""
        self.rows.setdefault(one, []).append(result)

    def values(self, one: Case, name: str) -> list[float]:
        """A figure in every round that has it."""
        return [float(row[name]) for row in self.rows.get(one, []) if row.get(name) is not None]

    def median(self, one: Case, name: str) -> float | None:
        """The median of a figure, or None if nobody measured it."""
        found = self.values(one, name)
        return statistics.median(found) if found else None

    def reason(self, one: Case) -> str:
        """Why there is no figure."""
        errors = [row["error"] for row in self.rows.get(one, []) if "error" in row]
        if errors:
            return str(errors[0]).splitlines()[-1][:200]
        return self.missing.get(one.environment, "not measured")

    def faults(self) -> list[str]:
        """What arrived otherwise than offered, or was lost where nothing may be lost."""
        found: list[str] = []
        for one, rows in self.rows.items():
            for row in rows:
                if row.get("wrong") or row.get("duplicates"):
                    found.append(
                        f"{one.label}: {row['wrong']} wrong, {row['duplicates']} twice: "
                        f"{'; '.join(row['examples'])[:400]}"
                    )
                if one.work == "loop" and row.get("missing"):
                    found.append(f"{one.label}: {row['missing']} of {row['count']} missing")
                if row.get("reconciles") is False:
                    found.append(f"{one.label}: its ledger does not reconcile")
                said = row.get("said_dropped")
                if said is not None and one.what == "spans" and said != row.get("missing", 0):
                    found.append(f"{one.label}: {row['missing']} missing, {said} said dropped")
        return list(dict.fromkeys(found))
