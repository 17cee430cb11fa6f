"""What several workers share is made once and ends once, also when one of them is killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.cluster.room import ROOT

PROGRAM = """
import contextlib, pathlib, sys
from tests.cluster.sharing import shared

folder = pathlib.Path(sys.argv[1])

@contextlib.contextmanager
def made():
    (folder / "log").open("a").write("made ")
    yield {"answer": 42}
    (folder / "log").open("a").write("ended ")

with shared(folder, made) as found:
    print(found["answer"], flush=True)
    sys.stdin.read()
"""


def user(folder: Path) -> subprocess.Popen[str]:
    """A process that is in until its input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(folder)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "42\n"
    return process


def leave(process: subprocess.Popen[str]) -> None:
    """Let it go; it may have to wait."""
    assert process.stdin is not None
    process.stdin.close()


def end(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    process.stdout.close()
    process.wait(timeout=60)


def test_it_is_made_once_and_ends_when_the_last_is_gone(tmp_path: Path) -> None:
    first, second = user(tmp_path), user(tmp_path)
    leave(first)
    third = user(tmp_path)
    leave(second)
    end(second)
    assert (tmp_path / "log").read_text() == "made "
    leave(third)
    for process in (third, first):
        end(process)
    assert (tmp_path / "log").read_text() == "made ended "


def test_one_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    first, second = user(tmp_path), user(tmp_path)
    second.kill()
    leave(second)
    end(second)
    leave(first)
    end(first)
    assert (tmp_path / "log").read_text() == "made ended "
    again = user(tmp_path)
    leave(again)
    end(again)
    assert (tmp_path / "log").read_text() == "made ended made ended "
