"""A stream's directory: who owns it, in which order it is read, what is remembered, what goes."""

from __future__ import annotations

from typing import Unpack

import pytest

from kaizen_otel._spool.cursor import Cursor, Mark, decode_cursor, encode_cursor
from kaizen_otel._spool.files import segment_paths, stream_ids
from kaizen_otel._spool.reader import Record
from kaizen_otel._spool.segment import NewerFormatError
from kaizen_otel._spool.spool import Spool
from kaizen_otel._spool.stream import Stream
from kaizen_otel.testing.memory_filesystem import Fault, MemoryFilesystem, fail_operation
from tests.unit._spool.spool_kit import (
    RESOURCE,
    ROOT,
    SECOND_NS,
    SpoolOptions,
    TurnedClock,
    append,
    make_spool,
    payload,
)


def _stored(filesystem: MemoryFilesystem, count: int, **options: Unpack[SpoolOptions]) -> Spool:
    spool = make_spool(filesystem, **options)
    for number in range(1, count + 1):
        assert append(spool, f"r{number}")
    return spool


def _stream(spool: Spool) -> Stream:
    assert spool.stream is not None
    return spool.stream


def _sequences(records: list[Record]) -> list[int]:
    return [record.sequence for record in records]


def _all(stream: Stream, count_max: int = 64) -> list[Record]:
    found: list[Record] = []
    while records := stream.take(count_max=count_max, bytes_max=1 << 20):
        found += records
        stream.advance(records, now_ns=1, replay_since_ns=0)
    return found


def test_cursor_file_survives_its_own_encoding() -> None:
    cursor = Cursor(
        segment_number=3,
        sequence_next=99,
        delivered_at_ns=5,
        boot_id="b",
        marks=(Mark(1, 2, 3), Mark(4, 5, 6)),
    )
    data = encode_cursor(cursor)
    assert decode_cursor(data) == cursor
    for size in range(len(data) - 1):
        assert decode_cursor(data[:size]) is None
    for place in range(len(data) - 1):
        assert decode_cursor(data[:place] + b"\x00" + data[place + 1 :]) is None


def test_a_cursor_of_another_version_is_not_read() -> None:
    from kaizen_otel._spool.segment import crc32c

    text = b'{"version":2}'
    assert decode_cursor(b"%08x %s\n" % (crc32c(text), text)) is None


def test_records_come_in_order_over_several_segments_with_their_resources() -> None:
    filesystem = MemoryFilesystem()
    spool = make_spool(filesystem, segment_bytes_max=500)
    for number in range(1, 9):
        assert append(spool, f"r{number}", resource=b"other" if number % 2 else b"")
    stream = _stream(spool)
    assert len(segment_paths(filesystem, stream.path)) > 1
    for count_max in (1, 3, 64):
        reader = Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem.kill_process())
        assert reader is not None
        found = _all(reader, count_max)
        assert _sequences(found) == list(range(1, 9))
        assert [r.resource for r in found] == [b"other", RESOURCE] * 4


def test_take_keeps_to_the_byte_bound_but_gives_at_least_one() -> None:
    stream = _stream(_stored(MemoryFilesystem(), 4))
    size = len(payload("r1", 100))
    assert _sequences(stream.take(count_max=64, bytes_max=1)) == [1]
    assert _sequences(stream.take(count_max=64, bytes_max=2 * size)) == [1, 2]


def test_a_stream_is_exhausted_only_when_the_last_take_found_nothing() -> None:
    spool = _stored(MemoryFilesystem(), 1)
    stream = _stream(spool)
    records = stream.take(count_max=64, bytes_max=1 << 20)
    assert not stream.exhausted
    stream.advance(records, now_ns=1, replay_since_ns=0)
    assert stream.take(count_max=64, bytes_max=1 << 20) == []
    assert stream.exhausted
    assert append(spool, "later")
    assert not stream.exhausted


def test_a_read_error_does_not_make_the_stream_look_delivered() -> None:
    filesystem = MemoryFilesystem()
    stream = _stream(_stored(filesystem, 1))
    filesystem.remove(segment_paths(filesystem, stream.path)[0])
    with pytest.raises(FileNotFoundError):
        stream.take(count_max=64, bytes_max=1 << 20)
    assert not stream.exhausted


def test_a_living_owner_keeps_its_stream() -> None:
    filesystem = MemoryFilesystem()
    stream = _stream(_stored(filesystem, 1))
    assert Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem) is None
    stream.close()
    adopted = Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem)
    assert adopted is not None
    assert not adopted.is_own
    assert Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem) is None


def test_a_stream_that_is_gone_is_not_adopted() -> None:
    filesystem = MemoryFilesystem()
    _stored(filesystem, 1)
    assert Stream.adopt(ROOT, "01999999-0000-7000-8000-000000000000", filesystem=filesystem) is None


def test_the_lock_is_held_before_the_name_can_be_seen() -> None:
    """Else another process could take the new directory for that of a dead one and remove it."""
    filesystem = MemoryFilesystem()
    _stored(filesystem, 1)
    operations = [call.operation for call in filesystem.calls]
    assert operations.index("try_lock") < operations.index("rename") < operations.index("create")


def test_a_stream_that_could_not_be_made_leaves_nothing() -> None:
    for operation in ("rename", "sync_directory"):
        filesystem = MemoryFilesystem()
        filesystem.make_directory("/state")
        filesystem.make_directory(ROOT)
        calls = 0

        def fault(call: object, operation: str = operation) -> Fault | None:
            nonlocal calls
            is_it = getattr(call, "operation", "") == operation
            calls += is_it
            # The first two directory syncs are those of the parents.
            due = calls == (3 if operation == "sync_directory" else 1)
            return Fault(effect="full") if is_it and due else None

        filesystem.fault = fault
        with pytest.raises(OSError, match="Input/output"):
            Stream.create(ROOT, "01999999-0000-7000-8000-000000000000", filesystem=filesystem)
        assert filesystem.names(ROOT) == []


def test_a_lost_cursor_file_means_duplicates_and_not_loss() -> None:
    filesystem = MemoryFilesystem()
    stream = _stream(_stored(filesystem, 3))
    stream.advance(stream.take(count_max=2, bytes_max=1 << 20), now_ns=SECOND_NS, replay_since_ns=0)
    stream.save_cursor()
    assert not stream.is_cursor_stale

    after = Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem.kill_process())
    assert after is not None
    assert _sequences(_all(after)) == [3]
    # The cursor file is not synced, so a power loss takes it.
    after = Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem.lose_power())
    assert after is not None
    assert _sequences(_all(after)) == [1, 2, 3]


def test_saving_the_cursor_twice_writes_once() -> None:
    filesystem = MemoryFilesystem()
    stream = _stream(_stored(filesystem, 1))
    stream.save_cursor()
    stream.advance(stream.take(count_max=1, bytes_max=9), now_ns=1, replay_since_ns=0)
    stream.save_cursor()
    before = len(filesystem.calls)
    stream.save_cursor()
    assert len(filesystem.calls) == before


def test_a_cursor_that_cannot_be_written_whole_leaves_the_old_one() -> None:
    filesystem = MemoryFilesystem()
    stream = _stream(_stored(filesystem, 2))
    stream.advance(stream.take(count_max=1, bytes_max=9), now_ns=1, replay_since_ns=0)
    stream.save_cursor()
    stream.advance(stream.take(count_max=1, bytes_max=9), now_ns=2, replay_since_ns=0)
    filesystem.fault = fail_operation("write", Fault(effect="short"))
    with pytest.raises(OSError, match="in part"):
        stream.save_cursor()
    assert stream.is_cursor_stale
    after = Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem.kill_process())
    assert after is not None
    assert _sequences(_all(after)) == [2]


class TestRewind:
    """After a lost connection the last minute before it is delivered once more."""

    def _delivered(self, filesystem: MemoryFilesystem, clock: TurnedClock) -> Stream:
        """Ten records, delivered one every ten seconds."""
        stream = _stream(_stored(filesystem, 10, segment_bytes_max=600))
        for _ in range(10):
            clock.turn(10)
            self._deliver_one(stream, clock)
        return stream

    def _deliver_one(self, stream: Stream, clock: TurnedClock) -> None:
        stream.advance(
            stream.take(count_max=1, bytes_max=9),
            now_ns=clock.time_ns(),
            replay_since_ns=clock.time_ns() - 60 * SECOND_NS,
        )

    def test_what_was_delivered_before_is_not_sent_again(self) -> None:
        clock = TurnedClock()
        stream = self._delivered(MemoryFilesystem(), clock)
        stream.note_disconnect()
        stream.rewind(clock.time_ns() - 35 * SECOND_NS)
        assert _sequences(stream.take(count_max=64, bytes_max=1 << 20)) == [7, 8, 9, 10]

    def test_what_was_delivered_after_the_disconnect_is_not_sent_again(self) -> None:
        clock = TurnedClock()
        filesystem = MemoryFilesystem()
        spool = _stored(filesystem, 4)
        stream = _stream(spool)
        for number in range(4):
            if number == 2:
                stream.note_disconnect()
            clock.turn(1)
            self._deliver_one(stream, clock)
        assert append(spool, "r5")
        stream.rewind(0)
        assert _sequences(_all(stream)) == [1, 2, 5]
        assert stream.exhausted

    def test_without_a_disconnect_nothing_is_repeated(self) -> None:
        clock = TurnedClock()
        stream = self._delivered(MemoryFilesystem(), clock)
        stream.rewind(0)
        assert _all(stream) == []

    def test_a_second_rewind_does_not_forget_where_delivery_was(self) -> None:
        clock = TurnedClock()
        filesystem = MemoryFilesystem()
        spool = _stored(filesystem, 3)
        stream = _stream(spool)
        stream.advance(stream.take(count_max=3, bytes_max=999), now_ns=5, replay_since_ns=0)
        assert append(spool, "r4")
        for _ in range(2):
            stream.note_disconnect()
            stream.rewind(0)
            assert _sequences(stream.take(count_max=1, bytes_max=9)) == [1]
            self._deliver_one(stream, clock)
        assert _sequences(_all(stream)) == [2, 3, 4]

    def test_the_cursor_does_not_move_back(self) -> None:
        clock = TurnedClock()
        stream = self._delivered(MemoryFilesystem(), clock)
        before = stream.cursor
        stream.note_disconnect()
        stream.rewind(clock.time_ns() - 60 * SECOND_NS)
        self._deliver_one(stream, clock)
        assert stream.cursor.sequence_next == before.sequence_next
        assert stream.cursor.delivered_at_ns == before.delivered_at_ns
        assert stream.delivered_count == 10

    def test_marks_are_bounded(self) -> None:
        clock = TurnedClock()
        stream = self._delivered(MemoryFilesystem(), clock)
        assert len(stream.cursor.marks) <= 8
        assert stream.cursor.marks[0].time_ns <= clock.time_ns() - 60 * SECOND_NS

    def test_nothing_delivered_means_nothing_to_repeat(self) -> None:
        stream = _stream(_stored(MemoryFilesystem(), 1))
        stream.note_disconnect()
        stream.rewind(0)
        assert _sequences(stream.take(count_max=9, bytes_max=1 << 20)) == [1]

    def test_after_another_boot_the_last_minute_is_delivered_once_more(self) -> None:
        """A Collector on the same machine lost what it had not synced."""
        clock = TurnedClock()
        filesystem = MemoryFilesystem()
        stream = self._delivered(filesystem, clock)
        stream.save_cursor()
        for handle in list(filesystem._handles):
            filesystem.sync(handle)
        filesystem.sync_directory(stream.path)
        same_boot = Stream.adopt(ROOT, stream.stream_id, filesystem=filesystem.kill_process())
        assert same_boot is not None
        assert _all(same_boot) == []
        other = filesystem.kill_process()
        other.boot = "another"
        other_boot = Stream.adopt(ROOT, stream.stream_id, filesystem=other)
        assert other_boot is not None
        assert _sequences(_all(other_boot)) == [4, 5, 6, 7, 8, 9, 10]
        # Only now is the replay done, and only now does the cursor say so.
        other_boot.save_cursor()
        again = Stream.adopt(ROOT, stream.stream_id, filesystem=other.kill_process())
        assert again is not None
        assert _all(again) == []


class TestRetire:
    """Delivered segments are removed, nothing else is."""

    def test_only_sealed_and_delivered_segments_go_and_only_when_old_enough(self) -> None:
        filesystem = MemoryFilesystem()
        stream = _stream(_stored(filesystem, 9, segment_bytes_max=600))
        before = segment_paths(filesystem, stream.path)
        assert stream.retire(1 << 62) == 0
        stream.advance(stream.take(count_max=7, bytes_max=1 << 20), now_ns=1000, replay_since_ns=0)
        assert stream.retire(999) == 0
        assert stream.retire(1000) > 0
        left = segment_paths(filesystem, stream.path)
        assert 0 < len(left) < len(before)
        assert _sequences(_all(stream)) == [8, 9]

    def test_the_age_of_a_segment_is_that_of_its_last_record(self) -> None:
        """Found by test_any_order: a segment that was caught up with early went too soon."""
        filesystem = MemoryFilesystem()
        spool = _stored(filesystem, 1, segment_bytes_max=600)
        stream = _stream(spool)
        stream.advance(stream.take(count_max=9, bytes_max=999), now_ns=10, replay_since_ns=0)
        assert append(spool, "same segment")
        stream.advance(stream.take(count_max=9, bytes_max=999), now_ns=1000, replay_since_ns=0)
        assert append(spool, "next")
        assert append(spool, "next")
        stream.take(count_max=9, bytes_max=999)
        assert stream.retire(999) == 0
        stream.advance(stream.take(count_max=9, bytes_max=9999), now_ns=1001, replay_since_ns=0)
        assert stream.retire(1000) == 0
        assert stream.retire(1001) > 0

    def test_the_active_segment_stays(self) -> None:
        filesystem = MemoryFilesystem()
        stream = _stream(_stored(filesystem, 2))
        _all(stream)
        assert stream.retire(1 << 62) == 0
        assert len(segment_paths(filesystem, stream.path)) == 1

    def test_a_segment_that_is_to_be_delivered_again_stays(self) -> None:
        filesystem = MemoryFilesystem()
        stream = _stream(_stored(filesystem, 9, segment_bytes_max=600))
        _all(stream)
        stream.note_disconnect()
        stream.rewind(0)
        assert stream.retire(1 << 62) == 0

    def test_a_delivered_orphan_is_removed_whole(self) -> None:
        filesystem = MemoryFilesystem()
        stream_id = _stream(_stored(filesystem, 3)).stream_id
        filesystem = filesystem.kill_process()
        stream = Stream.adopt(ROOT, stream_id, filesystem=filesystem)
        assert stream is not None
        _all(stream)
        stream.save_cursor()
        assert stream.retire(1 << 62) > 0
        assert stream.is_empty
        stream.remove()
        assert stream_ids(filesystem, ROOT) == []


class TestDamage:
    """Bytes that were durable and cannot be read any more are told apart from a torn tail."""

    def _files(self) -> tuple[MemoryFilesystem, str, str]:
        filesystem = MemoryFilesystem()
        stream = _stream(_stored(filesystem, 5))
        return filesystem, stream.stream_id, segment_paths(filesystem, stream.path)[0]

    def test_the_records_around_the_damage_are_read(self) -> None:
        filesystem, stream_id, path = self._files()
        filesystem.flip_bit(path, filesystem.size(path) // 2)
        stream = Stream.adopt(ROOT, stream_id, filesystem=filesystem.kill_process())
        assert stream is not None
        assert len(_all(stream)) == 4
        assert len(stream.take_damages()) == 1

    def test_a_torn_tail_is_no_damage(self) -> None:
        filesystem, stream_id, path = self._files()
        filesystem = filesystem.kill_process()
        size = filesystem.size(path)
        filesystem._file(path).content[size - 10 :] = b""
        stream = Stream.adopt(ROOT, stream_id, filesystem=filesystem)
        assert stream is not None
        assert _sequences(_all(stream)) == [1, 2, 3, 4]
        assert (stream.take_damages(), stream.exhausted) == ([], True)

    def test_in_the_own_stream_every_unreadable_byte_is_damage(self) -> None:
        filesystem = MemoryFilesystem()
        stream = _stream(_stored(filesystem, 2))
        path = segment_paths(filesystem, stream.path)[0]
        size = filesystem.size(path)
        filesystem.flip_bit(path, size - 1)
        assert _sequences(_all(stream)) == [1]
        [found] = stream.take_damages()  # once, however often it was passed
        assert found.offset + found.size == size

    def test_a_segment_without_a_header_gives_its_entries(self) -> None:
        filesystem, stream_id, path = self._files()
        filesystem.flip_bit(path, 20)
        stream = Stream.adopt(ROOT, stream_id, filesystem=filesystem.kill_process())
        assert stream is not None
        found = _all(stream)
        assert len(found) == 5
        assert {record.resource for record in found} == {b""}

    def test_a_large_entry_is_read_across_the_read_size(self) -> None:
        filesystem = MemoryFilesystem()
        spool = make_spool(filesystem)
        big = "x" * 60_000
        for number in range(10):
            assert append(spool, f"{number}{big}")
        assert len(_all(_stream(spool))) == 10

    def test_a_newer_format_is_left_alone(self) -> None:
        filesystem, stream_id, path = self._files()
        filesystem = filesystem.kill_process()
        filesystem._file(path).content[8] = 9
        with pytest.raises(NewerFormatError):
            Stream.adopt(ROOT, stream_id, filesystem=filesystem)
        # Its lock is free again for a process that can read it.
        assert filesystem.try_lock(f"{ROOT}/{stream_id}/lock") is not None


def test_abandoning_closes_without_unlocking() -> None:
    """A forked child holds the parent's lock open; unlocking there would free the parent's."""
    filesystem = MemoryFilesystem()
    stream = _stream(_stored(filesystem, 1))
    before = len(filesystem.calls)
    stream.abandon()
    stream.abandon()
    stream.close()
    assert [call.operation for call in filesystem.calls[before:]] == ["close"]
