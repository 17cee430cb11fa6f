"""Times are learned by several processes as by one, and a fault of theirs is nobody's."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._trail import learn
from kaizen_otel._trail.blocks import iter_blocks
from kaizen_otel._trail.learn import learn_times
from kaizen_otel._trail.range import read_range
from kaizen_otel._trail.times import TimeIndex
from kaizen_otel.audit._stored import Report
from kaizen_otel.audit.query import Filter
from tests.trail.big_trail import START_NS, STEP_NS, write_big_trail

if TYPE_CHECKING:
    from pathlib import Path

DISK = OsFilesystem()
ASKED = Filter(since_ns=START_NS + 300 * STEP_NS, until_ns=START_NS + 340 * STEP_NS)


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trail of several rotated files, which have stood still for an hour."""
    folder = tmp_path_factory.mktemp("learn")
    write_big_trail(folder, 2_000, file_bytes=300_000)
    for path in (folder / "trail").iterdir():
        status = path.stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns - 3600 * 10**9))
    return folder / "trail"


def rotated(trail: Path) -> list[str]:
    return sorted(str(path) for path in trail.iterdir() if path.name != "audit.jsonl")


class Later(SystemClock):
    """Looks an hour later, for the time of an inode's change cannot be set."""

    def time_ns(self) -> int:
        return super().time_ns() + 3600 * 10**9


def index_in(folder: Path) -> TimeIndex:
    return TimeIndex(str(folder), filesystem=DISK, clock=Later())


def answer(trail: Path, index: TimeIndex | None) -> list[str]:
    found = read_range(DISK, str(trail), ASKED, report=Report(), index=index)
    return [one.record.record_id for one in found]


def test_what_was_learned_is_what_a_question_would_learn(trail: Path, tmp_path: Path) -> None:
    index = index_in(tmp_path)
    learn_times(index, DISK, str(trail), jobs=2, worth_it_bytes=1)
    assert len(rotated(trail)) > 2
    for path in rotated(trail):
        expected = [block for block, _, _ in iter_blocks(DISK, path)]
        assert index.known(path, is_sealed=True).blocks == expected
    assert answer(trail, index) == answer(trail, None)
    assert len(answer(trail, None)) >= 40


@pytest.mark.parametrize(("jobs", "bytes_"), [(1, 1), (2, 1 << 40)])
def test_where_it_is_not_worth_it_nothing_is_started(
    trail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, bytes_: int
) -> None:
    started: list[int] = []
    monkeypatch.setattr(learn, "spawned", started.append)
    learn_times(index_in(tmp_path), DISK, str(trail), jobs=jobs, worth_it_bytes=bytes_)
    assert not started
    learn_times(index_in(tmp_path), DISK, str(trail), jobs=2, worth_it_bytes=1)
    assert started == [2]


def _ends_itself(path: str) -> None:
    del path
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_costs_no_record(
    trail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learn, "blocks_of", _ends_itself)
    index = index_in(tmp_path)
    learn_times(index, DISK, str(trail), jobs=2, worth_it_bytes=1)
    assert not list(tmp_path.iterdir())
    assert answer(trail, index) == answer(trail, None)


def test_a_machine_without_shared_memory_costs_no_record(
    trail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(jobs: int) -> None:
        raise OSError(38, f"no semaphores for {jobs} processes")

    monkeypatch.setattr(learn, "spawned", refuse)
    index = index_in(tmp_path)
    learn_times(index, DISK, str(trail), jobs=2, worth_it_bytes=1)
    assert answer(trail, index) == answer(trail, None)


def test_a_file_that_is_gone_is_left_out(tmp_path: Path) -> None:
    assert learn.blocks_of(str(tmp_path / "audit-1.jsonl")) == []
