"""The cache: a thing is built once, and only a finished thing is ever seen."""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._stack.build import build_once, digest_of, run_long
from kaizen_otel.errors import SetupError
from kaizen_otel.testing.backends import wait_until

if TYPE_CHECKING:
    from pathlib import Path


def _quiet(_text: str) -> None:
    """No progress is wanted."""


def test_the_second_caller_finds_what_the_first_one_built(tmp_path: Path) -> None:
    made: list[Path] = []

    def make(folder: Path) -> None:
        made.append(folder)
        (folder / "program").write_text("x", encoding="utf-8")

    first = build_once("thing", "1", make, cache=tmp_path, progress=_quiet)
    second = build_once("thing", "1", make, cache=tmp_path, progress=_quiet)
    assert first == second
    assert (first / "program").read_text(encoding="utf-8") == "x"
    assert len(made) == 1


def test_a_build_that_fails_leaves_nothing_that_looks_finished(tmp_path: Path) -> None:
    def make(folder: Path) -> None:
        (folder / "half").write_text("x", encoding="utf-8")
        raise SetupError("disk full")

    with pytest.raises(SetupError):
        build_once("thing", "1", make, cache=tmp_path, progress=_quiet)
    assert [path.name for path in tmp_path.iterdir()] == [".thing.lock"]


def test_what_a_killed_build_left_is_not_mixed_into_the_next_one(tmp_path: Path) -> None:
    (tmp_path / ".thing.part").mkdir()
    (tmp_path / ".thing.part" / "half").write_text("x", encoding="utf-8")
    folder = build_once("thing", "1", lambda _: None, cache=tmp_path, progress=_quiet)
    assert list(folder.iterdir()) == []


def test_two_callers_at_once_build_one_thing(tmp_path: Path) -> None:
    """The second caller arrives while the first one builds, waits, and builds nothing."""
    building, waiting = threading.Event(), threading.Event()
    made: list[str] = []
    said: list[str] = []

    def slow(_folder: Path) -> None:
        made.append("slow")
        building.set()
        assert waiting.wait(30)

    def hear(text: str) -> None:
        said.append(text)
        waiting.set()

    def build_slowly() -> None:
        build_once("thing", "1", slow, cache=tmp_path, progress=_quiet)

    other = threading.Thread(target=build_slowly)
    other.start()
    assert building.wait(30)
    build_once("thing", "1", lambda _: made.append("mine"), cache=tmp_path, progress=hear)
    other.join()
    assert made == ["slow"]
    assert said == ["thing: another process works on it, waiting"]


def test_the_key_changes_with_every_byte_name_and_word(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text("1", encoding="utf-8")
    other.write_text("1", encoding="utf-8")
    keys = [digest_of([file], "w"), digest_of([other], "w"), digest_of([file], "v")]
    keys.append(digest_of([file], "w", ""))
    file.write_text("2", encoding="utf-8")
    keys.append(digest_of([file], "w"))
    assert len(set(keys)) == len(keys)


def test_a_program_that_fails_is_reported_with_the_end_of_its_output(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"(?s)weaving failed with code 1.*thread 7 broke"):
        run_long(
            [sys.executable, "-c", "import sys; sys.exit('thread 7 broke')"],
            what="weaving",
            log_path=tmp_path / "log",
            progress=_quiet,
        )


def test_an_interrupt_ends_the_program_and_its_children(tmp_path: Path) -> None:
    """The interrupt comes where Ctrl-C comes: while the program is waited for."""
    mark = tmp_path / "mark"
    child = f"import time, pathlib; time.sleep(1); pathlib.Path({str(mark)!r}).touch()"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"

    def interrupt(_text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_long(
            [sys.executable, "-c", program],
            what="weaving",
            log_path=tmp_path / "log",
            progress=interrupt,
        )
    with pytest.raises(TimeoutError):
        wait_until(mark.exists, 2)
