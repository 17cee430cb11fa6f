"""Starting and ending programs: small real ones, no backend."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._edges import SystemClock
from kaizen_otel._stack.processes import (
    Launch,
    alive,
    identify,
    leave,
    start,
    stop,
    wait_until_ready,
)
from kaizen_otel.errors import SetupError
from kaizen_otel.testing.backends import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._stack.processes import (
        ProcessIdentity,
    )

CLOCK = SystemClock()
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN);" + SLEEPER
PARENT = (
    "import subprocess, sys;"
    "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']);"
    "print(child.pid, flush=True); child.wait()"
)


def _deadline(seconds: float) -> int:
    return CLOCK.monotonic_ns() + int(seconds * 1e9)


def _launch(program: str, directory: Path) -> Launch:
    return Launch(
        component="small",
        command=(sys.executable, "-c", program),
        environment={},
        working_directory=directory,
        ports={},
        ready_url="http://127.0.0.1:9/",
        url="",
    )


def _started(program: str, directory: Path) -> tuple[ProcessIdentity, str]:
    """A running program that has printed its first line, and that line."""
    log_path = directory / "log"
    process, identity = start(_launch(program, directory), log_path=log_path)
    leave(process)
    line = wait_until(lambda: log_path.read_text(encoding="utf-8").strip(), 30)
    return identity, line


def test_a_number_that_belongs_to_another_process_now_is_left_alone(tmp_path: Path) -> None:
    identity, _ = _started(SLEEPER, tmp_path)
    stale = replace(identity, started="an earlier start")
    stop([stale], deadline_ns=_deadline(0), clock=CLOCK)
    assert alive(identity)
    stop([identity], deadline_ns=_deadline(10), clock=CLOCK)
    assert not alive(identity)


def test_sabotage_without_the_start_time_another_process_would_be_ended(tmp_path: Path) -> None:
    """The same call with the number's present owner ends it: the start time is what protects."""
    identity, _ = _started(SLEEPER, tmp_path)
    present_owner = identify(identity.pid)
    assert present_owner is not None
    stop([present_owner], deadline_ns=_deadline(10), clock=CLOCK)
    assert not alive(identity)


def test_a_process_deaf_to_sigterm_is_ended_at_the_deadline(tmp_path: Path) -> None:
    identity, _ = _started(DEAF, tmp_path)
    stop([identity], deadline_ns=_deadline(0.3), clock=CLOCK)
    assert not alive(identity)


def test_the_children_of_a_process_end_with_it(tmp_path: Path) -> None:
    identity, child_pid = _started(PARENT, tmp_path)
    child = identify(int(child_pid))
    assert child is not None
    stop([identity], deadline_ns=_deadline(10), clock=CLOCK)
    wait_until(lambda: not alive(child), 30)


def test_a_process_that_waits_to_be_reaped_counts_as_ended(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        wait_until(lambda: identify(process.pid) is None, 30)
        assert process.returncode is None


def test_stop_is_idempotent(tmp_path: Path) -> None:
    identity, _ = _started(SLEEPER, tmp_path)
    stop([identity], deadline_ns=_deadline(10), clock=CLOCK)
    stop([identity], deadline_ns=_deadline(10), clock=CLOCK)
    assert not alive(identity)


def test_a_program_that_ends_instead_of_starting_is_quoted(tmp_path: Path) -> None:
    launch = _launch("import sys; sys.exit('the moon is wrong')", tmp_path)
    log_path = tmp_path / "log"
    process, _ = start(launch, log_path=log_path)
    with pytest.raises(SetupError, match=r"(?s)small ended with code 1.*the moon is wrong"):
        wait_until_ready(launch, process, log_path=log_path, deadline_ns=_deadline(30), clock=CLOCK)


def test_a_program_that_never_answers_is_reported_at_the_deadline(tmp_path: Path) -> None:
    launch = _launch(SLEEPER, tmp_path)
    log_path = tmp_path / "log"
    process, identity = start(launch, log_path=log_path)
    with pytest.raises(SetupError, match=r"did not answer at \S+ in time"):
        wait_until_ready(
            launch, process, log_path=log_path, deadline_ns=_deadline(0.2), clock=CLOCK
        )
    stop([identity], deadline_ns=_deadline(10), clock=CLOCK)
    leave(process)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    launch = replace(_launch("", tmp_path), command=("/nowhere/jaeger",))
    with pytest.raises(SetupError, match="/nowhere/jaeger cannot be started"):
        start(launch, log_path=tmp_path / "log")
