"""``kaizen-otel stack`` as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel.testing.backends import is_jaeger_available, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kaizen_otel._stack import NativeStack

COMMAND = [sys.executable, "-c", "from kaizen_otel._cli.stack import stack; stack()"]


def _run(home: Path, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    answer = subprocess.run(
        [*COMMAND, *arguments],
        env={**os.environ, "XDG_STATE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert answer.returncode == code, answer.stderr
    return answer


def test_up_status_logs_and_down_tell_one_story(tmp_path: Path, stack: NativeStack) -> None:
    """`stack` is asked for so that everything is obtained and a skip has been decided."""
    up = _run(tmp_path, "up", "--native", "--component", "jaeger", "--free-ports", "--json")
    found: dict[str, Any] = json.loads(up.stdout)
    assert found["components"][0]["state"] == "ready"
    assert is_jaeger_available(found["urls"]["jaeger"])
    assert "jaeger: ready at" in up.stderr

    status = _run(tmp_path, "status")
    assert found["urls"]["jaeger"] in status.stdout
    assert "native processes" in status.stderr
    assert "jaeger" in _run(tmp_path, "logs", "--component", "jaeger", "--lines", "3").stdout

    assert _run(tmp_path, "down", "--json").stdout.strip() == '{"ended": ["jaeger"]}'
    assert not is_jaeger_available(found["urls"]["jaeger"])
    assert _run(tmp_path, "down").stdout.strip() == "ended: none"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_up_leaves_no_process(
    tmp_path: Path, stack: NativeStack, number: signal.Signals
) -> None:
    """Prometheus runs, Jaeger never gets ready; then the interrupt."""
    never_ready = tmp_path / "jaeger"
    never_ready.write_text("#!/bin/sh\nexec sleep 600\n", encoding="utf-8")
    never_ready.chmod(0o755)
    with subprocess.Popen(
        [
            *(*COMMAND, "up", "--engine", "native", "--free-ports"),
            *("--component", "jaeger", "--component", "prometheus"),
        ],
        env={
            **os.environ,
            "XDG_STATE_HOME": str(tmp_path),
            "KAIZEN_OTEL_JAEGER": str(never_ready),
        },
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        state = tmp_path / "kaizen-otel" / "stack" / "state.json"

        def both() -> dict[str, Any] | None:
            found = json.loads(state.read_text(encoding="utf-8"))["components"]
            return found if len(found) == 2 else None

        running = wait_until(both, 60)
        assert running is not None
        process.send_signal(number)
        said = process.stderr.read()
        assert process.wait(60) != 0
    assert "ending what was started" in said
    assert not state.exists()
    for item in running.values():
        with pytest.raises(ProcessLookupError):
            os.kill(item["pid"], 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("platform: a file system of its own needs root on Linux")
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(["mount", *options], check=False, capture_output=True).returncode != 0:
        pytest.skip("platform: this root may not mount")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_is_too_small_is_said_before_anything_is_started(
    small_disk: Path, stack: NativeStack
) -> None:
    """`stack` is asked for so that everything is obtained and a skip has been decided."""
    arguments = ("up", "--engine", "native", "--free-ports", "--component", "prometheus")
    said = _run(small_disk, *arguments, code=1).stderr
    assert "16 MiB are free on the disk" in said
    assert not (small_disk / "kaizen-otel" / "stack" / "state.json").exists()
    _run(small_disk, *arguments, "--any-size")
    assert _run(small_disk, "down", "--json").stdout.strip() == '{"ended": ["prometheus"]}'


def test_down_with_volumes_removes_what_was_stored_but_not_the_trail(
    tmp_path: Path, stack: NativeStack
) -> None:
    """`stack` is asked for so that everything is obtained and a skip has been decided."""
    _run(tmp_path, "up", "--engine", "native", "--component", "prometheus", "--free-ports")
    folder = tmp_path / "kaizen-otel" / "stack"
    trail = folder / "collector" / "audit" / "audit.jsonl"
    trail.parent.mkdir(parents=True)
    trail.write_text("{}\n", encoding="utf-8")
    assert (folder / "prometheus" / "data").is_dir()
    _run(tmp_path, "down", "--volumes")
    assert not (folder / "prometheus").exists()
    assert trail.is_file()
