"""The spool: what is acknowledged, what is refused with which words, and what a fault does."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, cast

import pytest

from kaizen_otel._spool.files import segment_paths, stream_ids
from kaizen_otel._spool.framing import FINISH_BYTES_MAX
from kaizen_otel._spool.segment import scan
from kaizen_otel._spool.spool import RECORD_BYTES_MAX, Spool
from kaizen_otel._spool.stream import Stream
from kaizen_otel.errors import RecordTooLargeError, SpoolFailedError, SpoolFullError
from kaizen_otel.testing.memory_filesystem import (
    Call,
    Fault,
    MemoryFilesystem,
    fail_operation,
)
from tests.unit._spool.spool_kit import ROOT, TurnedClock, append, make_spool, payload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence, Sized


def _texts(filesystem: MemoryFilesystem) -> list[bytes]:
    """All record payloads under the root, segment by segment."""
    found: list[bytes] = []
    for stream_id in stream_ids(filesystem, ROOT):
        for path in segment_paths(filesystem, f"{ROOT}/{stream_id}"):
            entries = scan(filesystem.read(path, 0, 1 << 30)).entries
            found += [entry.payload for entry in entries if not entry.is_resource]
    return found


def _fail_nth(operation: str, number: int, fault: Fault, path_part: str = "") -> object:
    count = 0

    def plan(call: Call) -> Fault | None:
        nonlocal count
        if call.operation != operation or path_part not in call.path:
            return None
        count += 1
        return fault if count == number else None

    return plan


def test_an_acknowledged_record_survives_a_power_loss() -> None:
    filesystem = MemoryFilesystem()
    spool = make_spool(filesystem)
    assert append(spool, "kept")
    assert _texts(filesystem.lose_power()) == [payload("kept", 100)]


def test_the_first_record_makes_its_directory_durable_before_it_is_acknowledged() -> None:
    filesystem = MemoryFilesystem()
    append(make_spool(filesystem), "first")
    steps = [call.operation for call in filesystem.calls]
    last = steps[steps.index("rename") :]
    segment = ["create", "write", "sync", "sync_directory"]
    assert last == ["rename", "sync_directory", *segment, "write", "sync"]


def test_nothing_touches_the_disk_before_the_first_record() -> None:
    filesystem = MemoryFilesystem()
    spool = make_spool(filesystem)
    assert (filesystem.calls, spool.stream, spool.bytes_used) == ([], None, 0)
    assert spool.flush(0)
    assert spool.close(1000)


def test_numbers_begin_at_one_and_have_no_holes() -> None:
    spool = make_spool(MemoryFilesystem())
    assert [spool.append(payload("x")).result(5) for _ in range(4)] == [1, 2, 3, 4]


def test_appends_that_wait_together_share_one_sync() -> None:
    """Group commit: the disk holds the first one up, all others go together."""
    gate, entered = threading.Event(), threading.Event()

    class Slow(MemoryFilesystem):
        def write(self, handle: int, data: bytes) -> int:
            if b"first" in data:
                entered.set()
                assert gate.wait(10)
            return super().write(handle, data)

    filesystem = Slow()
    spool = make_spool(filesystem)
    futures = [spool.append(payload("first"))]
    assert entered.wait(10)
    futures += [spool.append(payload(f"r{n}")) for n in range(50)]
    gate.set()
    assert [future.result(10) for future in futures] == list(range(1, 52))
    assert [call.operation for call in filesystem.calls].count("sync") == 3  # header, 1, 50


def test_only_the_first_entry_of_a_group_commit_promises_that_all_before_is_durable() -> None:
    gate, entered = threading.Event(), threading.Event()

    class Slow(MemoryFilesystem):
        def write(self, handle: int, data: bytes) -> int:
            if b"first" in data:
                entered.set()
                assert gate.wait(10)
            return super().write(handle, data)

    filesystem = Slow()
    spool = make_spool(filesystem)
    spool.append(payload("first"))
    assert entered.wait(10)
    futures = [spool.append(payload(f"r{n}")) for n in range(3)]
    gate.set()
    for future in futures:
        future.exception(10)
    stream = spool.stream
    assert stream is not None
    path = segment_paths(filesystem, stream.path)[0]
    entries = scan(filesystem.read(path, 0, 1 << 20)).entries
    assert [entry.begins_commit for entry in entries] == [True, True, False, False]


def test_finish_is_called_in_order_with_whole_commits() -> None:
    calls: list[tuple[list[Sized], int]] = []

    def finish(items: Sequence[Sized], *, stream_id: str, first_sequence: int) -> list[bytes]:
        assert len(stream_id) == 36
        calls.append((list(items), first_sequence))
        return [cast("bytes", item) + b"!" for item in items]

    filesystem = MemoryFilesystem()
    spool = make_spool(filesystem, finish=finish)
    for text in (b"a", b"b"):
        spool.append(text).result(5)
    assert calls == [([b"a"], 1), ([b"b"], 2)]
    assert _texts(filesystem) == [b"a!", b"b!"]


def test_a_fault_of_finish_refuses_the_record_and_the_writer_lives_on() -> None:
    def finish(items: Sequence[Sized], *, stream_id: str, first_sequence: int) -> list[bytes]:
        if b"bad" in items:
            raise KeyError("bug")
        return [cast("bytes", item) for item in items]

    spool = make_spool(MemoryFilesystem(), finish=finish)
    with pytest.raises(SpoolFailedError, match="a fault of kaizen-otel"):
        spool.append(b"bad").result(5)
    assert spool.append(b"good").result(5) == 1


def test_without_durability_nothing_is_synced_and_nothing_is_promised() -> None:
    filesystem = MemoryFilesystem()
    spool = make_spool(filesystem, is_durable=False)
    assert append(spool, "a")
    stream = spool.stream
    assert stream is not None
    path = segment_paths(filesystem, stream.path)[0]
    assert "sync" not in {call.operation for call in filesystem.calls}
    assert not scan(filesystem.read(path, 0, 1 << 20)).entries[0].begins_commit


class TestLimits:
    """Everything has a bound, and the refusal says which setting to change."""

    def test_a_record_over_64_kib_is_refused(self) -> None:
        spool = make_spool(MemoryFilesystem())
        fits = RECORD_BYTES_MAX - FINISH_BYTES_MAX - 100
        assert spool.append(b"x" * fits).result(5) == 1
        with pytest.raises(RecordTooLargeError, match="shorten its attributes"):
            spool.append(b"x" * RECORD_BYTES_MAX).result(5)
        with pytest.raises(RecordTooLargeError):
            spool.append(b"x", resource=b"r" * RECORD_BYTES_MAX).result(5)

    def _full(
        self,
        filesystem: MemoryFilesystem,
        clock: TurnedClock | None = None,
        warn: Callable[[str], None] = lambda _: None,
    ) -> Spool:
        spool = make_spool(filesystem, clock, bytes_max=20_000, segment_bytes_max=2_000, warn=warn)
        while append(spool, "fill"):
            pass
        return spool

    def test_a_full_spool_refuses_and_names_the_setting(self) -> None:
        spool = self._full(MemoryFilesystem())
        with pytest.raises(SpoolFullError, match="KAIZEN_OTEL_SPOOL_BYTES_MAX") as caught:
            spool.append(payload("one more", 100)).result(5)
        assert caught.value.limit_bytes == 20_000
        assert spool.bytes_used <= 20_000

    def test_a_gap_record_still_fits_into_a_full_spool(self) -> None:
        spool = self._full(MemoryFilesystem())
        assert spool.append(b"gap", is_reserved=True).result(5) > 0

    def test_delivered_segments_give_way_before_a_record_is_refused(self) -> None:
        clock = TurnedClock()
        spool = self._full(MemoryFilesystem(), clock)
        stream = spool.stream
        assert stream is not None
        while records := stream.take(count_max=64, bytes_max=1 << 20):
            stream.advance(records, now_ns=clock.time_ns(), replay_since_ns=0)
        before = spool.bytes_used
        assert append(spool, "fits now")
        assert spool.bytes_used < before

    def test_a_segment_that_cannot_be_removed_does_not_break_the_append(self) -> None:
        filesystem = MemoryFilesystem()
        spool = self._full(filesystem)
        stream = spool.stream
        assert stream is not None
        while records := stream.take(count_max=64, bytes_max=1 << 20):
            stream.advance(records, now_ns=1, replay_since_ns=0)
        filesystem.fault = fail_operation("remove", Fault())
        assert not append(spool, "still full")

    def test_adopted_streams_count(self) -> None:
        spool = make_spool(MemoryFilesystem(), bytes_max=20_000)
        spool.adopted_bytes = 19_999
        assert spool.is_under_pressure
        assert not append(spool, "no room")

    def test_filling_is_warned_about_once(self) -> None:
        warnings: list[str] = []
        self._full(MemoryFilesystem(), warn=warnings.append)
        assert len(warnings) == 1
        assert "KAIZEN_OTEL_AUDIT_ENDPOINT" in warnings[0]

    def test_what_waits_for_a_hung_disk_is_bounded(self) -> None:
        gate = threading.Event()

        class Hung(MemoryFilesystem):
            def sync(self, handle: int) -> None:
                assert gate.wait(20)
                super().sync(handle)

        spool = make_spool(Hung())
        big = b"x" * (RECORD_BYTES_MAX - 2000)
        futures = [spool.append(big) for _ in range(600)]
        refused = [future for future in futures if future.done()]
        assert len(refused) > 50
        assert "KAIZEN_OTEL_SPOOL_DIR" in str(refused[0].exception())
        assert not spool.flush(1)
        assert not spool.close(1)
        gate.set()
        assert spool.close(20_000)

    def test_segments_roll_at_their_size(self) -> None:
        filesystem = MemoryFilesystem()
        spool = make_spool(filesystem, segment_bytes_max=1_000)
        for number in range(20):
            assert append(spool, f"r{number}")
        stream = spool.stream
        assert stream is not None
        paths = segment_paths(filesystem, stream.path)
        assert len(paths) > 3
        assert all(filesystem.size(path) <= 1_000 for path in paths)
        headers = [scan(filesystem.read(path, 0, 1 << 20)).header for path in paths]
        assert [h.segment_number for h in headers if h] == list(range(1, len(paths) + 1))


class TestFaults:
    """A record is acknowledged if and only if it will be found again."""

    def test_after_a_failed_sync_the_record_goes_to_a_new_file_written_or_not(self) -> None:
        """The rolled segment holds the record a second time: equal bytes, dropped by readers."""
        for effect in ("none", "full"):
            filesystem = MemoryFilesystem(
                fault=_fail_nth("sync", 3, Fault(effect=effect))  # type: ignore[arg-type]
            )
            spool = make_spool(filesystem)
            assert append(spool, "a")
            assert append(spool, "b")
            assert append(spool, "c")
            found = _texts(filesystem.lose_power())
            expected = [payload(text, 100) for text in "abc"]
            assert sorted(set(found)) == sorted(expected)
            stream = spool.stream
            assert stream is not None
            assert len(segment_paths(filesystem, stream.path)) == 2

    def test_a_file_whose_sync_failed_is_never_written_again(self) -> None:
        filesystem = MemoryFilesystem(
            fault=_fail_nth("sync", 3, Fault())  # type: ignore[arg-type]
        )
        spool = make_spool(filesystem)
        for text in "abcd":
            assert append(spool, text)
        writes = [call for call in filesystem.calls if call.operation == "write"]
        paths = [call.path for call in writes]
        assert paths == sorted(paths), "once rolled, never back"

    def test_when_the_second_file_fails_too_the_record_is_refused_and_the_number_burned(
        self,
    ) -> None:
        filesystem = MemoryFilesystem()
        spool = make_spool(filesystem)
        assert append(spool, "a")
        filesystem.fault = fail_operation("sync", Fault())
        with pytest.raises(SpoolFailedError, match="KAIZEN_OTEL_SPOOL_DIR"):
            spool.append(payload("b")).result(5)
        filesystem.fault = None
        assert spool.append(payload("c")).result(5) == 3
        assert spool.take_burned() == [(2, 2)]
        assert spool.take_burned() == []

    def test_burned_numbers_in_a_row_are_one_range(self) -> None:
        filesystem = MemoryFilesystem()
        spool = make_spool(filesystem)
        assert append(spool, "a")
        filesystem.fault = fail_operation("write", Fault(error=errno.ENOSPC))
        for _ in range(3):
            assert not append(spool, "refused")
        filesystem.fault = None
        assert append(spool, "b")
        filesystem.fault = fail_operation("write", Fault(error=errno.ENOSPC))
        assert not append(spool, "refused")
        assert spool.take_burned() == [(2, 4), (6, 6)]

    def test_a_full_disk_tears_nothing_and_the_file_is_used_again_when_there_is_room(self) -> None:
        filesystem = MemoryFilesystem(bytes_max=1_000)
        spool = make_spool(filesystem)
        results = [append(spool, f"r{n}") for n in range(10)]
        assert results == sorted(results, reverse=True), "first stored, then refused"
        assert {True, False} == set(results)
        stored = results.count(True)
        assert len(_texts(filesystem)) == stored
        filesystem.bytes_max = None
        assert append(spool, "room again")
        assert len(_texts(filesystem.lose_power())) == stored + 1
        stream = spool.stream
        assert stream is not None
        assert len(segment_paths(filesystem, stream.path)) == 1

    def test_a_short_write_goes_on_where_it_stopped(self) -> None:
        filesystem = MemoryFilesystem(
            fault=_fail_nth("write", 2, Fault(effect="short"))  # type: ignore[arg-type]
        )
        spool = make_spool(filesystem)
        assert append(spool, "whole")
        assert _texts(filesystem.lose_power()) == [payload("whole", 100)]

    def test_a_write_of_nothing_is_an_error_and_no_endless_loop(self) -> None:
        class Stuck(MemoryFilesystem):
            def write(self, handle: int, data: bytes) -> int:
                return 0 if b"stuck" in data else super().write(handle, data)

        spool = make_spool(Stuck())
        assert append(spool, "a")
        assert not append(spool, "stuck")
        assert append(spool, "b")

    def test_when_cutting_back_fails_the_file_is_given_up(self) -> None:
        filesystem = MemoryFilesystem()
        spool = make_spool(filesystem)
        assert append(spool, "a")

        def plan(call: Call) -> Fault | None:
            fails = call.operation in {"write", "truncate"}
            return Fault(error=errno.ENOSPC) if fails else None

        filesystem.fault = plan
        assert not append(spool, "b")
        filesystem.fault = None
        assert append(spool, "c")
        stream = spool.stream
        assert stream is not None
        assert len(segment_paths(filesystem, stream.path)) == 2

    def test_a_full_disk_does_not_collect_empty_files(self) -> None:
        filesystem = MemoryFilesystem()
        spool = make_spool(filesystem)
        assert append(spool, "a")
        filesystem.fault = fail_operation("sync", Fault())
        assert not append(spool, "b")
        filesystem.fault = fail_operation("write", Fault(error=errno.ENOSPC))
        for _ in range(20):
            assert not append(spool, "c")
        stream = spool.stream
        assert stream is not None
        assert len(segment_paths(filesystem, stream.path)) <= 2

    def test_a_failing_close_loses_nothing(self) -> None:
        warnings: list[str] = []
        filesystem = MemoryFilesystem()
        spool = make_spool(filesystem, segment_bytes_max=500, warn=warnings.append)
        filesystem.fault = fail_operation("close", Fault())
        for number in range(6):
            assert append(spool, f"r{number}")
        assert spool.close(5_000)
        assert len(_texts(filesystem.lose_power())) == 6
        assert "every acknowledged record is stored" in warnings[0]

    def test_a_directory_that_cannot_be_made_refuses_and_is_tried_again(self) -> None:
        filesystem = MemoryFilesystem(fault=fail_operation("make_directory", Fault()))
        spool = make_spool(filesystem)
        assert not append(spool, "a")
        assert spool.take_burned() == []
        filesystem.fault = None
        assert append(spool, "b")

    def test_a_parent_that_may_not_be_read_does_not_stop_the_spool(self) -> None:
        """Where others own the parents, their names are not ours to make durable."""
        filesystem = MemoryFilesystem()
        filesystem.make_directory("/state")
        filesystem.make_directory(ROOT)

        def plan(call: Call) -> Fault | None:
            is_parent = call.operation == "sync_directory" and call.path in {"/", "/state"}
            return Fault(error=errno.EACCES) if is_parent else None

        filesystem.fault = plan
        assert append(make_spool(filesystem), "a")


class TestEnd:
    """Close, release, fork."""

    def test_close_stores_what_waits_and_refuses_what_comes(self) -> None:
        filesystem = MemoryFilesystem()
        spool = make_spool(filesystem)
        futures = [spool.append(payload(f"r{n}")) for n in range(100)]
        assert spool.close(10_000)
        assert spool.close(10_000)
        assert all(future.result(0) for future in futures)
        with pytest.raises(SpoolFailedError, match="shut down"):
            spool.append(b"late").result(1)
        assert len(_texts(filesystem.lose_power())) == 100

    def test_release_gives_the_stream_to_the_next_process(self) -> None:
        filesystem = MemoryFilesystem()
        spool = make_spool(filesystem)
        spool.release()
        assert append(spool, "a")
        assert spool.close(5_000)
        stream = spool.stream
        assert stream is not None
        assert Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem) is None
        spool.release()
        assert Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem) is not None

    def test_abandoning_writes_nothing(self) -> None:
        filesystem = MemoryFilesystem()
        unused = make_spool(filesystem)
        unused.abandon()
        spool = make_spool(filesystem)
        assert append(spool, "a")
        before = len(filesystem.calls)
        spool.abandon()
        assert {call.operation for call in filesystem.calls[before:]} == {"close"}
        assert not append(spool, "b")

    def test_flush_waits_for_what_was_appended_before(self) -> None:
        spool = make_spool(MemoryFilesystem())
        futures = [spool.append(payload(f"r{n}")) for n in range(50)]
        assert spool.flush(10_000)
        assert all(future.done() for future in futures)

    def test_a_waiter_cannot_cancel_a_record(self) -> None:
        spool = make_spool(MemoryFilesystem())
        future = spool.append(payload("a"))
        assert not future.cancel()
        assert future.result(5) == 1


def test_many_resources_are_announced_once_per_segment() -> None:
    filesystem = MemoryFilesystem()
    spool = make_spool(filesystem)
    for number in range(9):
        assert append(spool, f"r{number}", resource=b"res%d" % (number % 3))
    stream = spool.stream
    assert stream is not None
    path = segment_paths(filesystem, stream.path)[0]
    entries = scan(filesystem.read(path, 0, 1 << 20)).entries
    assert sum(entry.is_resource for entry in entries) == 3
    assert [e.resource_index for e in entries if not e.is_resource] == [1, 2, 3] * 3


def test_a_resource_announced_in_a_write_that_failed_is_announced_again() -> None:
    filesystem = MemoryFilesystem()
    spool = make_spool(filesystem)
    assert append(spool, "a")
    filesystem.fault = fail_operation("write", Fault(error=errno.ENOSPC))
    assert not append(spool, "b", resource=b"new")
    filesystem.fault = None
    assert append(spool, "c", resource=b"new")
    assert append(spool, "d", resource=b"newer")
    stream = spool.stream
    assert stream is not None
    found = stream.take(count_max=9, bytes_max=1 << 20)
    assert [record.resource for record in found][1:] == [b"new", b"newer"]
