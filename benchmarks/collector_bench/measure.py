"""One case: a fresh Collector, its load, and what its process used until all was out."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.collector_bench.load import offer
from benchmarks.collector_bench.offered import audit_requests, requests_of
from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.run import CollectorProcess, free_ports

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.collector_bench.cases import Case

ROOT: Final = Path(__file__).resolve().parents[2]
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_MIB: Final = 1024
_DRAIN_S: Final = 180
_LOOK_S: Final = 0.2
_DIFFERENT: Final = 16
_WARM_UP: Final = 8
_SENT: Final = re.compile(r"^otelcol_exporter_sent_(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_SENT_NAMES: Final = {"spans": "traces", "metric_points": "metrics", "log_records": "logs"}

Row = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """Where the stand-ins for the backends listen."""

    grpc_port: int
    http_port: int

    def found(self) -> dict[str, float]:
        """What came there so far."""
        found: dict[str, float] = json.loads(_read(self.http_port, "/"))
        return found

    def environment(self) -> dict[str, str]:
        """The variables that lead a shipped config there."""
        http, grpc = f"http://127.0.0.1:{self.http_port}", f"127.0.0.1:{self.grpc_port}"
        return {
            "JAEGER_OTLP_ENDPOINT": grpc,
            "PROMETHEUS_REMOTE_WRITE_ENDPOINT": f"{http}/api/v1/write",
            "PROMETHEUS_OTLP_ENDPOINT": f"{http}/v1/metrics",
            "ELASTICSEARCH_ENDPOINT": http,
            "KAIZEN_OTEL_GATEWAY_ENDPOINT": grpc,
            "KAIZEN_OTEL_GATEWAY_INSECURE": "true",
        }


@contextlib.contextmanager
def running_backends() -> Iterator[Backends]:
    """Start the stand-ins in a process of their own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.collector_bench.backends"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        grpc_port, http_port = map(int, process.stdout.readline().split())
        yield Backends(grpc_port=grpc_port, http_port=http_port)
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


class Bench:
    """Runs cases with one binary against one set of backends."""

    def __init__(self, binary: Path, backends: Backends, directory: Path) -> None:
        self._binary = binary
        self._backends = backends
        self._directory = directory
        self._requests: dict[tuple[str, int], list[bytes]] = {}

    def run(self, case: Case) -> Row:
        """Measure one case; raises what the load raises."""
        requests = self._offered(case)
        with self._collector(case) as (process, port):
            # Connections, queue files and pools are there before the clock runs.
            warm = offer(port, requests, total=_WARM_UP, connections=1).accepted * case.items
            self._drain(process, case, warm)
            before, cpu_s, begun_s = self._backends.found(), _cpu_s(process), time.perf_counter()
            load = offer(port, requests, total=case.requests, connections=case.connections)
            items = load.accepted * case.items
            self._drain(process, case, warm + items)
            seconds = time.perf_counter() - begun_s
            row: Row = {
                "items": items,
                "requests": load.accepted,
                "refused": load.refused,
                "seconds": seconds,
                "offered_s": load.seconds,
                "cpu_s": _cpu_s(process) - cpu_s,
                "generator_cpu_s": load.cpu_s,
                "backends_cpu_s": self._backends.found()["cpu_s"] - before["cpu_s"],
                "memory_mib": _memory_mib(process),
                **_percentiles(load.latencies_s),
            }
            row["undelivered"] = self._undelivered(case, before, items)
        return row

    def _offered(self, case: Case) -> list[bytes]:
        key = case.signal, case.items
        if key not in self._requests:
            if case.signal == "audit":
                made = audit_requests(items=case.items, count=_DIFFERENT)
            else:
                made = requests_of(case.signal, items=case.items, count=_DIFFERENT)
            self._requests[key] = made
        return self._requests[key]

    @contextlib.contextmanager
    def _collector(self, case: Case) -> Iterator[tuple[CollectorProcess, int]]:
        folder = Path(tempfile.mkdtemp(dir=self._directory))
        try:
            for name in ("queue", "audit"):
                (folder / name).mkdir(mode=0o700)
            if case.syncs:
                subprocess.run(["chattr", "+S", str(folder / "audit")], check=True)  # noqa: S603, S607
            overlays = [_written(folder, n, text) for n, text in enumerate(case.overlays)]
            process = CollectorProcess(
                [*(_config(folder, case.config)), *overlays],
                binary=self._binary,
                environment={
                    **free_ports(),
                    **self._backends.environment(),
                    "KAIZEN_OTEL_QUEUE_DIR": str(folder / "queue"),
                    "KAIZEN_OTEL_AUDIT_DIR": str(folder / "audit"),
                    "KAIZEN_OTEL_DEAD_LETTER_DIR": str(folder / "dead"),
                },
                log_path=folder / "log",
            )
            with process:
                audit = case.signal == "audit"
                yield process, process.audit_port if audit else process.http_port
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _drain(self, process: CollectorProcess, case: Case, wanted: int) -> None:
        """Wait until the Collector says that it has sent so many."""
        deadline_s = time.monotonic() + _DRAIN_S
        while case.signal != "audit" and _sent(process.metrics_port, case) < wanted:
            if time.monotonic() > deadline_s:
                raise TimeoutError(f"{case.name}: {process.log_tail()}")
            time.sleep(_LOOK_S)

    def _undelivered(self, case: Case, before: dict[str, float], items: int) -> int:
        """How many spans or log records are not where they belong."""
        kinds = {"traces": ("traces",), "logs": ("documents", "logs")}.get(case.signal)
        if kinds is None:
            return 0
        now = self._backends.found()
        return int(items - sum(now.get(kind, 0) - before.get(kind, 0) for kind in kinds))


def can_sync(directory: Path) -> bool:
    """Whether files of a folder can be made to sync at every write: ``chattr +S``."""
    program = shutil.which("chattr")
    if program is None:
        return False
    with tempfile.TemporaryDirectory(dir=directory) as folder:
        command = [program, "+S", folder]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603


def quick(case: Case, scale: float) -> Case:
    """The same case with fewer requests."""
    return replace(case, requests=max(4, int(case.requests * scale)))


def _config(folder: Path, config: str) -> list[Path]:
    return [_written(folder, "config", config)] if "\n" in config else [config_path(config)]


def _written(folder: Path, name: object, text: str) -> Path:
    if "\n" not in text:
        return config_path(text)
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _sent(port: int, case: Case) -> int:
    text = _read(port, "/metrics").decode()
    return sum(
        int(float(value))
        for name, labels, value in _SENT.findall(text)
        if _SENT_NAMES.get(name.removesuffix("_total").rstrip("_")) == case.signal
        and f'exporter="{case.exporter}"' in labels
    )


def _read(port: int, path: str) -> bytes:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}{path}", timeout=30) as answer:
        body: bytes = answer.read()
        return body


def _cpu_s(process: CollectorProcess) -> float:
    """Processor time of all threads of a process (proc(5), stat, fields 14 and 15)."""
    text = Path(f"/proc/{process.pid}/stat").read_text(encoding="ascii")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _memory_mib(process: CollectorProcess) -> float:
    """The most resident memory that a process ever had."""
    text = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    (line,) = [line for line in text.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / _MIB


def _percentiles(latencies_s: list[float]) -> Row:
    ordered = sorted(latencies_s)
    return {
        f"p{percent}_ms": 1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
        for percent in (50, 95, 99)
    }
