"""The end of a process, in every way there is: what was sent, what is said, and by whom."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kaizen_otel._export.ledger import LedgerSnapshot, SignalLedger
from kaizen_otel._export.losses import advice, loss_line
from kaizen_otel.testing.capture import OtlpCapture

pytestmark = pytest.mark.export

START = """
import atexit, json, os, signal, sys, threading
import kaizen_otel
def tell():
    one = observed.ledger().signals["traces"]
    assert observed.ledger().reconciles()
    text = {"offered": one.offered, "delivered": one.delivered, "dropped": dict(one.dropped),
            "buffered": one.buffered}
    os.write(1, json.dumps(text).encode() + b"\\n")
atexit.register(tell)  # the first one that is registered is the last one that is called
observed = kaizen_otel.observe("exit", enable_audit=False, enable_logging=False,
                               enable_metrics=False)
def work(count, name="span"):
    for number in range(count):
        observed.operations.begin("execute_tool", number, name=f"{name}{number}")
        observed.operations.end(number)
"""
HANDLED = """
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
os.kill(os.getpid(), signal.SIGTERM)
signal.pause()
"""
SAID = "telemetry was dropped"


def run(program: str, endpoint: str, **variables: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, what the program told of its ledger, and what it printed for people."""
    found = subprocess.run(
        [sys.executable, "-c", START + program],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            # Nothing leaves before the end by itself: the end has to send it.
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
            **variables,
        },
    )
    return found.returncode, [json.loads(line) for line in found.stdout.splitlines()], found.stderr


def names_of(capture: OtlpCapture) -> list[str]:
    return sorted(span["name"].removeprefix("execute_tool ") for span in capture.spans())


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise LookupError('the program failed')", 1),
        (HANDLED, 7),
        ("threading.Thread(target=work, args=(3, 'late')).start()", 0),
    ],
    ids=["end", "sys.exit", "exception", "SIGTERM handled", "thread"],
)  # fmt: skip
def test_an_end_of_the_interpreter_sends_everything_and_says_nothing(
    ending: str, code: int
) -> None:
    with OtlpCapture() as capture:
        found, told, printed = run(f"work(5)\n{ending}\n", capture.endpoint)
        names = names_of(capture)
    late = 3 if "late" in ending else 0
    assert found == code
    assert len(names) == len(set(names)) == 5 + late
    assert told == [{"offered": 5 + late, "delivered": 5 + late, "dropped": {}, "buffered": 0}]
    assert SAID not in printed


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("os._exit(4)", 4),
        ("os.kill(os.getpid(), signal.SIGTERM)\nsignal.pause()", -signal.SIGTERM),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
    ids=["os._exit", "SIGTERM by default", "SIGKILL"],
)
def test_an_end_without_the_interpreter_keeps_what_was_flushed_and_can_say_nothing(
    ending: str, code: int
) -> None:
    """Nobody can: the process is gone.  What the program flushed before is safe."""
    with OtlpCapture() as capture:
        program = f"work(3)\nassert observed.flush(60)\ntell()\nwork(2, 'late')\n{ending}\n"
        found, told, printed = run(program, capture.endpoint)
        names = names_of(capture)
    assert found == code
    assert told == [{"offered": 3, "delivered": 3, "dropped": {}, "buffered": 0}]
    assert names == ["span0", "span1", "span2"]
    assert printed == ""


def test_a_loss_is_one_line_at_the_end_with_the_reason_and_the_setting() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        code, told, printed = run("work(5)", endpoint)
    assert code == 0
    assert told == [{"offered": 5, "delivered": 0, "dropped": {"shutdown": 5}, "buffered": 0}]
    (line,) = [line for line in printed.splitlines() if SAID in line]
    assert line == printed.splitlines()[-1]
    assert "5 spans shutdown" in line
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in line


def test_a_refusal_for_missing_credentials_names_the_headers_at_the_end() -> None:
    with OtlpCapture() as capture:
        capture.answer = 401
        _, told, printed = run("work(5)", capture.endpoint)
    assert told[0]["dropped"] == {"unauthenticated": 5}
    (line,) = [line for line in printed.splitlines() if SAID in line]
    assert "OTEL_EXPORTER_OTLP_HEADERS" in line


MULTIPROCESSING = """
import multiprocessing
def child(number):
    work(number, f"child{number}.")
    if number == 2:
        raise SystemExit(2)
if __name__ == "__main__":
    work(2, "parent")
    context = multiprocessing.get_context("fork")
    children = [context.Process(target=child, args=(number,)) for number in (1, 2, 3)]
    for one in children:
        one.start()
    for one in children:
        one.join()
    assert [one.exitcode for one in children] == [0, 2, 0]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="platform: this system has no fork")
def test_a_child_of_multiprocessing_sends_its_spans_at_its_end() -> None:
    """Such a child never runs what ``atexit`` holds; nobody in it can call ``shutdown`` for us."""
    with OtlpCapture() as capture:
        _, told, printed = run(MULTIPROCESSING, capture.endpoint)
        names = names_of(capture)
    children = [f"child{child}.{number}" for child in (1, 2, 3) for number in range(child)]
    assert names == [*children, "parent0", "parent1"], printed
    assert told[-1] == {"offered": 2, "delivered": 2, "dropped": {}, "buffered": 0}


WORKERS = """
import multiprocessing, sys
import kaizen_otel
def child(number):
    observed = kaizen_otel.observe("worker", enable_audit=False, enable_logging=False,
                                   enable_metrics=False)
    observed.operations.begin("execute_tool", number, name=f"child{number}")
    observed.operations.end(number)
if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    children = [context.Process(target=child, args=(number,)) for number in (1, 2)]
    for one in children:
        one.start()
    for one in children:
        one.join()
    assert [one.exitcode for one in children] == [0, 0]
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="platform: this system has no fork")
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_child_that_is_observed_only_in_itself_sends_its_spans_at_its_end(
    method: str, tmp_path: Path
) -> None:
    """As workers are that set up their telemetry after the fork, which is the usual advice."""
    program = tmp_path / "workers.py"
    program.write_text(WORKERS)
    with OtlpCapture() as capture:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": capture.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        found = subprocess.run(
            [sys.executable, str(program), method],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **variables},
        )
        assert found.returncode == 0, found.stderr
        assert names_of(capture) == ["child1", "child2"], found.stderr
    assert SAID not in found.stderr


REASONS = [
    *("bad_request", "buffer_full", "disabled", "exhausted", "forbidden", "internal"),
    *("internal_error", "not_found", "redirect", "refused", "rejected", "retry_exhausted"),
    *("server_error", "shutdown", "too_large", "unauthenticated", "unknown", "unsupported"),
    "wrong_protocol",
]


def snapshot(dropped: dict[str, int]) -> LedgerSnapshot:
    count = sum(dropped.values())
    empty = SignalLedger(dropped={})
    return LedgerSnapshot(
        signals={
            "traces": SignalLedger(offered=count, dropped=dropped),
            "metrics": empty,
            "logs": empty,
        }
    )


@pytest.mark.parametrize("reason", REASONS)
def test_the_line_advises_on_the_largest_loss(reason: str) -> None:
    line = loss_line(snapshot({reason: 5, "rejected": 1} if reason != "rejected" else {reason: 5}))
    assert line.endswith(f"{reason}: {advice(reason)}")
    assert "\n" not in line


def test_no_loss_is_no_line() -> None:
    assert loss_line(snapshot({})) == ""
    assert loss_line(snapshot({"rejected": 0})) == ""
