"""The benchmarks run: two small rows, with what this environment has of the peers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks.telemetry_bench import harness

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="platform: memory and processes are read from /proc"
)

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "benchmarks", "--quick", "--no-install"]


def test_two_small_rows_are_measured_and_everything_arrives_as_offered(tmp_path: Path) -> None:
    """No peer is installed for it: the stock SDK is here, and fastotel is said to be missing."""
    output = tmp_path / "found.json"
    done = subprocess.run(
        [*COMMAND, "--only", "span-tight", "counter", "--json", str(output),
         "--plot", str(tmp_path / "figures.svg")],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(output.read_text())
    assert found["faults"] == []
    assert "fastotel is left out" in done.stderr
    assert "] round 1: ours loop spans" in done.stderr
    lines = {(one["row"], one["peer"].partition(" ")[0]): one for one in found["lines"]}
    for key in (("span-tight", "stock"), ("counter", "stock")):
        assert lines[key]["ratio"] > 0
        assert lines[key]["holds"] in {True, False}
    assert lines["span-tight", "fastotel"]["ratio"] is None
    ours = next(one for one in found["raw"] if one["case"].startswith("ours loop spans"))
    assert ours["results"][0]["delivered"] == ours["results"][0]["count"]
    assert (tmp_path / "figures.svg").read_text().startswith("<svg")


def test_an_interrupt_leaves_no_process_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [*COMMAND, "--only", "steady", "--rounds", "100"],
        cwd=ROOT,
        env={**os.environ, "XDG_CACHE_HOME": str(tmp_path), "TMPDIR": str(tmp_path)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stderr is not None
        process.stderr.readline()  # the first step is over: the second is under way
        children = set(_below(process.pid))
        assert children
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
        process.stderr.close()
    finally:
        process.kill()
    deadline = time.monotonic() + 30
    while any(Path(f"/proc/{pid}").exists() for pid in children):
        assert time.monotonic() < deadline, "the sink or a worker still runs"


def test_an_interrupt_while_a_worker_starts_leaves_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    def interrupted(*_: object, **__: object) -> subprocess.Popen[bytes]:
        started.append(real([sys.executable, "-c", "import time; time.sleep(60)"],
                            stdout=subprocess.PIPE, start_new_session=True))  # fmt: skip
        os.kill(os.getpid(), signal.SIGINT)
        return started[0]

    real = subprocess.Popen
    monkeypatch.setattr(harness, "_interrupted", threading.Event())
    monkeypatch.setattr(subprocess, "Popen", interrupted)
    before = signal.signal(signal.SIGINT, harness.on_interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), harness.running_worker(["worker"], tmp_path):
            pytest.fail("went on as if nobody had asked it to stop")
    finally:
        signal.signal(signal.SIGINT, before)
    assert started[0].returncode == -signal.SIGKILL


def _below(pid: int) -> list[int]:
    """The processes that a process started."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(one) for one in text.split()]
