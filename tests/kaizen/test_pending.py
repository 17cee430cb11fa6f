"""What waits when a process forks or ends: in real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._edges import OsFilesystem
from kaizen_otel.audit._stored import read_stored
from kaizen_otel.audit.record import OWN_EVENTS
from kaizen_otel.testing import OtlpCapture

if TYPE_CHECKING:
    from pathlib import Path

START = """
import os, sys
import kaizen_otel
from kaizen_otel._observations import Observations
if "saboteur" in sys.argv:
    Observations.drain = lambda self: None
    Observations._start = lambda self: None
manager = kaizen_otel.observe("pending")
ops = manager.operations
def call(name):
    ops.begin("execute_tool", name, name=name)
    ops.event("billing.checked", {"name": name}, parent_id=name)
    ops.end(name)
"""
EXIT = """
for number in range(300):
    call(f"tool{number}")
"""
FORK = """
for number in range(100):
    call(f"parent{number}")
pid = os.fork()
if pid == 0:
    for number in range(20):
        call(f"child{number}")
    is_delivered = manager.flush(20)
    os._exit(0 if is_delivered and manager.ledger().reconciles() else 1)
assert os.waitpid(pid, 0)[1] == 0
"""


def run(program: str, capture: OtlpCapture, folder: Path, *arguments: str) -> Counter[str]:
    """Run a program that leaves values behind; how often each span arrived."""
    environ = {
        **os.environ,
        "OTEL_EXPORTER_OTLP_ENDPOINT": capture.endpoint,
        "KAIZEN_OTEL_AUDIT_ENDPOINT": capture.endpoint,
        "KAIZEN_OTEL_SPOOL_DIR": str(folder / "spool"),
        "KAIZEN_OTEL_DURABILITY": "none",
    }
    done = subprocess.run(
        [sys.executable, "-c", START + program, *arguments],
        env=environ, timeout=120, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return Counter(span["name"].removeprefix("execute_tool ") for span in capture.spans())


@pytest.mark.parametrize(("arguments", "is_complete"), [((), True), (("saboteur",), False)])
def test_what_waits_at_the_end_of_the_process_arrives(
    arguments: tuple[str, ...], tmp_path: Path, *, is_complete: bool
) -> None:
    with OtlpCapture() as capture:
        spans = run(EXIT, capture, tmp_path, *arguments)
        logs = capture.logs()
    expected = Counter(f"tool{number}" for number in range(300))
    assert (spans == expected) is is_complete
    assert (sum(one["eventName"] == "billing.checked" for one in logs) == 300) is is_complete
    # The receiver may be too slow for the end of a process; the spool keeps every record.
    stored = read_stored(OsFilesystem(), str(tmp_path / "spool"), None)
    phases = Counter(
        one.attributes["kaizen.audit.phase"] for one in stored if one.event_name not in OWN_EVENTS
    )
    assert (phases == {"intent": 300, "outcome": 300}) is is_complete


def test_a_fork_with_values_that_wait_sends_each_of_them_once(tmp_path: Path) -> None:
    with OtlpCapture() as capture:
        spans = run(FORK, capture, tmp_path)
    expected = [f"parent{n}" for n in range(100)] + [f"child{n}" for n in range(20)]
    assert spans == Counter(expected)
