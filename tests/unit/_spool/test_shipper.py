"""The shipper: every kind of answer, what moves the cursor, what is repeated, what is set aside."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Unpack

import pytest

from kaizen_otel._export import Delivered, Outcome, Rejected, Retryable
from kaizen_otel._spool.cursor import mark_reconciled
from kaizen_otel._spool.files import QUARANTINE_NAME, segment_paths, stream_ids
from kaizen_otel._spool.refusals import IN_A_ROW_MAX
from kaizen_otel._spool.segment import Gap, scan
from kaizen_otel._spool.shipper import KEEP_NS, RECORDS_MAX, Shipper
from kaizen_otel.testing.memory_filesystem import Fault, MemoryFilesystem, fail_operation
from tests.unit._spool.spool_kit import (
    ROOT,
    SECOND_NS,
    Receiver,
    SpoolOptions,
    TurnedClock,
    append,
    make_shipper,
    make_spool,
    payload,
    run_until_idle,
)

if TYPE_CHECKING:
    from kaizen_otel._spool.spool import Spool

UNREACHABLE = Retryable(reason="unreachable", message="refused")
UNAVAILABLE = Retryable(reason="unavailable", message="503")
BAD_REQUEST = Rejected(reason="bad_request", message="400")


class Bench:
    """One process: disk, clock, spool, receiver, shipper; nothing moves but by ``step``."""

    def __init__(
        self, count: int = 0, script: list[Outcome] | None = None, **options: Unpack[SpoolOptions]
    ) -> None:
        self.filesystem = MemoryFilesystem()
        self.clock = TurnedClock()
        self.warnings: list[str] = []
        self.gaps: list[Gap] = []
        self.receiver = Receiver(script or [])
        self.spool: Spool = make_spool(self.filesystem, self.clock, **options)
        self.shipper = self.make_shipper()
        self.append(count)

    def make_shipper(self) -> Shipper:
        return make_shipper(
            self.filesystem,
            self.spool,
            self.receiver,
            self.clock,
            warnings=self.warnings,
            gaps=self.gaps,
        )

    def append(self, count: int, prefix: str = "r") -> None:
        for number in range(1, count + 1):
            assert append(self.spool, f"{prefix}{number}")

    def run(self, seconds: float = 0) -> None:
        """Step until it rests, then turn the clock on and go on, for so many seconds."""
        run_until_idle(self.shipper)
        end_ns = self.clock.now_ns + int(seconds * SECOND_NS)
        while self.clock.now_ns < end_ns:
            self.clock.turn(min(0.25, (end_ns - self.clock.now_ns) / SECOND_NS))
            run_until_idle(self.shipper)

    @property
    def sequence_next(self) -> int:
        assert self.spool.stream is not None
        return self.spool.stream.cursor.sequence_next


def _texts(first: int, last: int) -> list[str]:
    return [f"r{number}" for number in range(first, last + 1)]


def test_an_idle_shipper_sends_one_record_per_request() -> None:
    bench = Bench()
    for number in range(1, 4):
        assert append(bench.spool, f"r{number}")
        bench.run()
    assert bench.receiver.sizes == [1, 1, 1]
    assert bench.receiver.taken == _texts(1, 3)


def test_a_backlog_goes_in_requests_of_at_most_64() -> None:
    bench = Bench(150)
    bench.run()
    assert bench.receiver.sizes == [RECORDS_MAX, RECORDS_MAX, 22]
    assert bench.receiver.taken == _texts(1, 150)


def test_a_request_keeps_to_its_byte_bound() -> None:
    bench = Bench()
    for _ in range(40):
        bench.spool.append(payload("big", 60_000)).result(5)
    bench.run()
    assert max(bench.receiver.sizes) < 20
    assert sum(bench.receiver.sizes) == 40


def test_records_of_several_resources_travel_under_their_own() -> None:
    from kaizen_otel._otlp.common import encode_resource

    bench = Bench()
    for name in ("a", "b", "a"):
        resource = encode_resource({"service.name": name})
        bench.spool.append(payload(name), resource=resource).result(5)
    bench.run()
    assert bench.receiver.sizes == [3]
    names = [
        resource["attributes"][0]["value"]["stringValue"]  # type: ignore[index]
        for resource in bench.receiver.resources
    ]
    assert sorted(names) == ["a", "a", "b"]


@pytest.mark.parametrize(
    "outcome",
    [
        UNREACHABLE,
        UNAVAILABLE,
        Retryable(reason="timeout", message="hung"),
        Retryable(reason="throttled", message="429", retry_after_ms=2_000),
        Rejected(reason="unauthorized", message="401"),
        Rejected(reason="not_found", message="404"),
        Rejected(reason="refused", message="409"),
        Rejected(reason="server_error", message="500"),
        Rejected(reason="internal", message="INTERNAL"),
        Rejected(reason="anything new", message="?"),
        Delivered(is_otlp=False, message="OK, whatever you say"),
        Delivered(rejected_count=1, message="no room"),
        Delivered(rejected_count=3, message="no room"),
    ],
    ids=lambda o: getattr(o, "reason", "2xx"),
)
def test_the_cursor_moves_only_when_everything_was_taken(outcome: Outcome) -> None:
    bench = Bench(3, [outcome, outcome])
    bench.run()
    assert (bench.receiver.taken, bench.sequence_next) == ([], 0)
    bench.run(seconds=20)
    assert set(bench.receiver.taken) == set(_texts(1, 3))
    assert bench.sequence_next == 4
    assert bench.gaps == []


def test_a_malformed_record_is_found_by_halving_and_set_aside() -> None:
    bench = Bench(64)
    bench.receiver.refuses = lambda texts: BAD_REQUEST if "r17" in texts else None
    bench.run()
    assert bench.receiver.taken == [*_texts(1, 16), *_texts(18, 64)]
    stream = bench.spool.stream
    assert stream is not None
    assert bench.gaps == [
        Gap(
            reason="quarantined",
            stream_id=stream.stream_id,
            first_sequence=17,
            last_sequence=17,
        )
    ]
    [path] = segment_paths(bench.filesystem, f"{ROOT}/{QUARANTINE_NAME}")
    assert path in bench.warnings[0]
    # Kept for good: durable, with its Resource, in a file that any tool of ours reads.
    survivor = bench.filesystem.lose_power()
    found = scan(survivor.read(path, 0, 1 << 20))
    assert [entry.payload for entry in found.entries] == [payload("r17", 100)]
    status = bench.shipper.status()
    assert (status.delivered, status.quarantined) == (63, 1)


def test_after_a_halving_requests_grow_again() -> None:
    bench = Bench(64)
    bench.receiver.refuses = lambda texts: BAD_REQUEST if "r1" in texts else None
    bench.run()
    bench.append(100, "later")
    bench.run()
    assert bench.receiver.sizes[-2:] == [RECORDS_MAX, 36]


def test_a_too_large_request_is_halved() -> None:
    bench = Bench(64)
    too_large = Rejected(reason="too_large", message="413")
    bench.receiver.refuses = lambda texts: too_large if len(texts) > 10 else None
    bench.run()
    assert bench.receiver.taken == _texts(1, 64)
    assert bench.gaps == []


def test_a_server_that_refuses_everything_is_blamed_and_no_record_is_set_aside() -> None:
    """A wrong port may answer 400 to whatever comes; that must not empty the spool."""
    bench = Bench(3)
    bench.receiver.refuses = lambda _: BAD_REQUEST
    bench.run(seconds=5)
    assert segment_paths(bench.filesystem, f"{ROOT}/{QUARANTINE_NAME}") == []
    assert bench.sequence_next == 0
    assert "KAIZEN_OTEL_AUDIT_ENDPOINT" in bench.warnings[0]
    bench.receiver.refuses = lambda _: None
    bench.run(seconds=20)
    assert bench.receiver.taken == _texts(1, 3)


def test_a_success_that_is_no_otlp_does_not_put_the_blame_on_a_record() -> None:
    bench = Bench(1)
    bench.receiver.refuses = lambda texts: BAD_REQUEST if texts else Delivered(is_otlp=False)
    bench.run(seconds=5)
    assert (bench.sequence_next, bench.gaps) == (0, [])


def test_a_record_that_cannot_be_set_aside_stays_where_it_is() -> None:
    bench = Bench(1)
    bench.receiver.refuses = lambda texts: BAD_REQUEST if texts else None
    bench.filesystem.fault = fail_operation("sync", Fault())
    bench.run()
    assert (bench.sequence_next, bench.gaps) == (0, [])
    bench.filesystem.fault = None
    bench.run(seconds=2)
    assert bench.sequence_next == 2
    assert len(bench.gaps) == 1


def test_an_internal_error_must_last_for_a_minute_before_a_record_is_to_blame() -> None:
    """It may be the receiver's own and pass; the record that waits for it holds up the rest."""
    bench = Bench(4)
    internal = Rejected(reason="internal", message="INTERNAL")
    bench.receiver.refuses = lambda texts: internal if "r2" in texts else None
    bench.run(seconds=55)
    assert (bench.receiver.taken, bench.gaps) == (["r1"], [])
    bench.run(seconds=20)
    assert bench.receiver.taken == ["r1", "r3", "r4"]
    assert [gap.first_sequence for gap in bench.gaps] == [2]


def test_an_internal_error_that_passes_costs_nothing() -> None:
    bench = Bench(4)
    internal = Rejected(reason="internal", message="INTERNAL")
    bench.receiver.refuses = lambda texts: internal if texts else None
    bench.run(seconds=50)
    bench.receiver.refuses = lambda _: None
    bench.run(seconds=15)
    assert (bench.receiver.taken, bench.gaps) == (_texts(1, 4), [])


def test_a_receiver_that_takes_nothing_but_empty_requests_does_not_empty_the_spool() -> None:
    """Each gap record would be refused as well, and make another one, for ever."""
    bench = Bench(RECORDS_MAX * 3)
    bench.receiver.refuses = lambda texts: BAD_REQUEST if texts else None
    bench.run(seconds=120)
    kept = segment_paths(bench.filesystem, f"{ROOT}/{QUARANTINE_NAME}")
    assert len(kept) == len(bench.gaps) == IN_A_ROW_MAX
    assert bench.warnings[-1].count("KAIZEN_OTEL_AUDIT_ENDPOINT")
    bench.receiver.refuses = lambda _: None
    bench.run(seconds=20)
    assert bench.receiver.taken == _texts(IN_A_ROW_MAX + 1, RECORDS_MAX * 3)


def test_pauses_grow_and_are_bounded() -> None:
    bench = Bench(1)
    bench.receiver.refuses = lambda _: UNREACHABLE
    bench.run(seconds=10)
    first = len(bench.receiver.sizes)
    bench.run(seconds=60)
    second = len(bench.receiver.sizes) - first
    assert 4 <= first <= 12
    assert 5 <= second <= 12


def test_the_receiver_may_ask_for_a_longer_pause() -> None:
    bench = Bench(1, [Retryable(reason="throttled", message="429", retry_after_ms=30_000)])
    bench.run(seconds=29)
    assert bench.receiver.taken == []
    bench.run(seconds=2)
    assert bench.receiver.taken == ["r1"]


class TestWarnings:
    """One warning when it lasts, and it names the variable."""

    def test_an_absent_receiver_is_warned_about_once_after_a_minute(self) -> None:
        bench = Bench(1)
        bench.receiver.refuses = lambda _: UNREACHABLE
        bench.run(seconds=55)
        assert bench.warnings == []
        bench.run(seconds=300)
        assert len(bench.warnings) == 1
        assert "KAIZEN_OTEL_AUDIT_ENDPOINT" in bench.warnings[0]
        assert bench.receiver.description in bench.warnings[0]
        assert "Nothing is lost" in bench.warnings[0]

    def test_a_new_outage_is_warned_about_again(self) -> None:
        bench = Bench(1)
        for expected in (1, 2):
            bench.receiver.refuses = lambda _: UNREACHABLE
            bench.append(1, "more")
            bench.run(seconds=90)
            assert len(bench.warnings) == expected
            bench.receiver.refuses = lambda _: None
            bench.run(seconds=90)

    def test_a_wrong_setting_is_warned_about_at_once_and_then_once_a_minute(self) -> None:
        bench = Bench(1)
        bench.receiver.refuses = lambda _: Rejected(reason="unauthorized", message="set HEADERS")
        bench.run(seconds=1)
        assert len(bench.warnings) == 1
        assert "set HEADERS" in bench.warnings[0]
        bench.run(seconds=179)
        assert len(bench.warnings) <= 5

    def test_status_says_how_long_and_why(self) -> None:
        bench = Bench(1)
        bench.receiver.refuses = lambda _: UNREACHABLE
        bench.run(seconds=5)
        status = bench.shipper.status()
        assert status.failing_ns == 5 * SECOND_NS
        assert status.failure == "unreachable: refused"
        bench.receiver.refuses = lambda _: None
        bench.run(seconds=20)
        status = bench.shipper.status()
        assert (status.failing_ns, status.failure) == (0, "")


class TestReplay:
    """A receiver whose machine lost power had answered yes and forgot the last half minute."""

    def test_after_a_lost_connection_the_last_minute_is_sent_again(self) -> None:
        bench = Bench()
        for number in range(1, 11):
            assert append(bench.spool, f"r{number}")
            bench.run(seconds=10)
        bench.receiver.script = [UNREACHABLE]
        assert append(bench.spool, "r11")
        before = len(bench.receiver.taken)
        bench.run(seconds=1)
        # r10 was the last one that was answered, 10 s before the failure was noticed.
        assert bench.receiver.taken[before:] == ["r11", *_texts(4, 10)]

    def test_it_is_sent_again_after_an_outage_of_an_hour_too(self) -> None:
        bench = Bench(5)
        bench.run(seconds=5)
        bench.receiver.refuses = lambda _: UNREACHABLE
        bench.append(1, "x")
        bench.run(seconds=3600)
        bench.receiver.refuses = lambda _: None
        before = len(bench.receiver.taken)
        bench.run(seconds=20)
        assert bench.receiver.taken[before:] == ["x1", *_texts(1, 5)]

    def test_segments_that_are_to_be_sent_again_outlast_the_outage(self) -> None:
        bench = Bench(40, segment_bytes_max=1_000)
        bench.run(seconds=5)
        bench.receiver.refuses = lambda _: UNREACHABLE
        bench.append(1, "x")
        bench.run(seconds=3600)
        bench.receiver.refuses = lambda _: None
        bench.run(seconds=20)
        assert all(bench.receiver.taken.count(text) == 2 for text in _texts(1, 40))
        bench.run(seconds=20 * 60)
        stream = bench.spool.stream
        assert stream is not None
        assert len(segment_paths(bench.filesystem, stream.path)) == 1

    def test_an_answer_of_the_receiver_is_no_lost_connection(self) -> None:
        bench = Bench(5)
        bench.run()
        bench.receiver.script = [UNAVAILABLE]
        bench.append(1, "x")
        bench.run(seconds=5)
        assert bench.receiver.taken == [*_texts(1, 5), "x1"]

    def test_it_is_done_at_most_once_a_minute_and_what_is_due_earlier_waits(self) -> None:
        bench = Bench(1)
        bench.run()
        for number in range(2, 8):
            bench.receiver.script = [UNREACHABLE]
            bench.append(1, f"x{number}.")
            bench.run(seconds=5)
        assert bench.receiver.taken.count("r1") == 2
        assert bench.receiver.taken.count("x6.1") == 1
        bench.run(seconds=60)
        assert bench.receiver.taken.count("x6.1") == 2
        assert bench.receiver.taken.count("x7.1") == 1, "it was delivered after the last failure"

    def test_streams_of_dead_processes_are_repeated_as_well(self) -> None:
        bench = Bench(3)
        bench.filesystem = bench.filesystem.kill_process()
        bench.spool = make_spool(bench.filesystem, bench.clock)
        bench.shipper = bench.make_shipper()
        bench.run()
        bench.receiver.script = [UNREACHABLE]
        bench.append(1, "own")
        bench.run(seconds=1)
        assert all(bench.receiver.taken.count(text) == 2 for text in _texts(1, 3))

    def test_it_reaches_a_minute_back_from_the_last_answer_however_late_it_was_noticed(
        self,
    ) -> None:
        """The machine may have lost power just after that answer."""
        bench = Bench(5)
        bench.run()
        bench.receiver.refuses = lambda texts: None if texts else Delivered()
        bench.clock.turn(3000)
        bench.receiver.script = [UNREACHABLE]
        bench.append(1, "x")
        bench.run(seconds=1)
        assert bench.receiver.taken == [*_texts(1, 5), "x1", *_texts(1, 5)]

    def test_the_next_process_makes_good_for_a_connection_that_failed_in_this_one(self) -> None:
        bench = Bench(5)
        bench.run()
        bench.receiver.script = [UNREACHABLE]
        bench.append(1, "x")
        bench.run()
        assert bench.spool.close(5_000)
        assert bench.shipper.stop(5_000)
        bench.spool.release()
        bench.spool = make_spool(bench.filesystem, bench.clock)
        bench.shipper = bench.make_shipper()
        bench.run(seconds=1)
        assert bench.receiver.taken == [*_texts(1, 5), *_texts(1, 5), "x1"]
        assert bench.shipper.stop(5_000)
        bench.shipper = bench.make_shipper()
        bench.run(seconds=1)
        assert len(bench.receiver.taken) == 11, "once is enough"


class TestConfirm:
    """A receiver that loses power while nothing is sent to it is noticed by its connection."""

    def test_a_connection_that_had_to_be_made_anew_counts_as_a_lost_one(self) -> None:
        bench = Bench(3)
        bench.run()
        bench.receiver.script = [Delivered(is_reconnected=True)]
        bench.append(1, "x")
        bench.run(seconds=1)
        assert bench.receiver.taken[3:] == ["x1", *_texts(1, 3)]

    @pytest.mark.parametrize(
        "outcome",
        [
            Delivered(is_reconnected=True, rejected_count=1, message="no room"),
            Delivered(is_reconnected=True, is_otlp=False),
        ],
        ids=["partial", "no OTLP"],
    )
    def test_also_if_the_first_answer_on_it_is_no_yes(self, outcome: Outcome) -> None:
        bench = Bench(3)
        bench.run()
        bench.receiver.script = [outcome]
        bench.append(1, "x")
        bench.run(seconds=2)
        assert bench.receiver.taken[3:] == ["x1", *_texts(1, 3)]

    def test_also_if_it_answers_the_question_about_a_refused_record(self) -> None:
        bench = Bench(3)
        bench.run()
        bench.receiver.script = [BAD_REQUEST, Delivered(is_reconnected=True)]
        bench.append(1, "x")
        bench.run(seconds=2)
        assert bench.receiver.taken[3:] == _texts(1, 3)
        assert [gap.first_sequence for gap in bench.gaps] == [4]

    def test_one_empty_request_follows_45_seconds_after_the_last_delivery(self) -> None:
        bench = Bench(3)
        bench.run(seconds=44)
        assert bench.receiver.sizes == [3]
        bench.run(seconds=600)
        assert bench.receiver.sizes == [3, 0]

    @pytest.mark.parametrize("outcome", [UNAVAILABLE, BAD_REQUEST], ids=["503", "400"])
    def test_any_answer_over_the_old_connection_will_do(self, outcome: Outcome) -> None:
        bench = Bench(3)
        bench.run()
        bench.receiver.script = [outcome]
        bench.run(seconds=600)
        assert bench.receiver.sizes == [3, 0]
        assert (bench.shipper.status().failing_ns, bench.warnings) == (0, [])

    def test_if_the_connection_is_a_new_one_the_last_minute_is_delivered_again(self) -> None:
        bench = Bench(3)
        bench.run()
        bench.receiver.script = [Delivered(is_reconnected=True)]
        bench.run(seconds=46)
        assert bench.receiver.sizes == [3, 0, 3]
        bench.run(seconds=600)
        assert bench.receiver.sizes == [3, 0, 3, 0]

    def test_a_receiver_that_is_gone_then_is_asked_until_it_is_back(self) -> None:
        bench = Bench(3)
        bench.run()
        bench.receiver.refuses = lambda _: UNREACHABLE
        bench.run(seconds=30 * 60)
        assert len(bench.warnings) == 1
        bench.receiver.refuses = lambda _: None
        bench.run(seconds=20)
        assert bench.receiver.taken == [*_texts(1, 3), *_texts(1, 3)]
        assert bench.shipper.status().failing_ns == 0

    def test_what_the_receiver_says_when_it_is_back_is_heard_until_it_takes_requests(self) -> None:
        bench = Bench(3)
        bench.run()
        bench.receiver.script = [UNREACHABLE, Rejected(reason="unauthenticated", message="401")]
        bench.run(seconds=60)
        assert bench.receiver.taken == [*_texts(1, 3), *_texts(1, 3)]

    def test_flush_does_not_wait_for_it(self) -> None:
        bench = Bench(3)
        bench.run()
        bench.receiver.refuses = lambda _: UNREACHABLE
        bench.clock.turn(46)
        bench.shipper.start()
        assert bench.shipper.flush(10_000)
        assert bench.shipper.stop(10_000)


class TestOrphans:
    """What a dead process left is shipped by the next one, with its own Resource, and removed."""

    def _next_process(self, bench: Bench) -> None:
        bench.filesystem = bench.filesystem.kill_process()
        bench.spool = make_spool(bench.filesystem, bench.clock)
        bench.shipper = bench.make_shipper()

    def test_they_are_shipped_by_a_process_that_audits_nothing_itself(self) -> None:
        bench = Bench(5)
        self._next_process(bench)
        bench.run()
        assert bench.receiver.taken == _texts(1, 5)
        assert bench.shipper.status().adopted_streams == 1

    def test_they_take_turns_with_the_own_stream(self) -> None:
        bench = Bench(200)
        self._next_process(bench)
        bench.append(100, "own")
        bench.run()
        first_own = bench.receiver.taken.index("own1")
        assert first_own <= RECORDS_MAX
        assert len(bench.receiver.taken) == 300

    def test_their_directory_goes_when_delivered_segments_go(self) -> None:
        bench = Bench(5)
        self._next_process(bench)
        bench.run(seconds=60)
        assert len(stream_ids(bench.filesystem, ROOT)) == 1
        bench.clock.turn(KEEP_NS / SECOND_NS)
        bench.run()
        assert stream_ids(bench.filesystem, ROOT) == []

    def test_the_stream_of_a_living_process_is_left_alone(self) -> None:
        bench = Bench(5)
        other = make_shipper(bench.filesystem, None, bench.receiver, bench.clock)
        run_until_idle(other)
        assert bench.receiver.taken == []
        bench.clock.turn(KEEP_NS / SECOND_NS)
        run_until_idle(other)
        assert len(stream_ids(bench.filesystem, ROOT)) == 1

    def test_it_is_adopted_when_its_owner_ends_later(self) -> None:
        bench = Bench(5)
        other = make_shipper(bench.filesystem, None, bench.receiver, bench.clock)
        run_until_idle(other)
        assert bench.spool.close(5_000)
        bench.spool.release()
        bench.clock.turn(31)
        run_until_idle(other)
        assert bench.receiver.taken == _texts(1, 5)

    def test_more_than_can_be_held_at_a_time_are_shipped_one_after_the_other(self) -> None:
        bench = Bench()
        for number in range(70):
            self._next_process(bench)
            bench.append(1, f"p{number}.")
        self._next_process(bench)
        bench.run(seconds=120)
        assert len(set(bench.receiver.taken)) == 70
        assert bench.shipper.status().adopted_streams == 64
        bench.clock.turn(KEEP_NS / SECOND_NS)
        bench.run(seconds=120)
        assert stream_ids(bench.filesystem, ROOT) == []

    def test_one_that_cannot_be_read_is_warned_about_once_and_kept(self) -> None:
        bench = Bench(1)
        stream = bench.spool.stream
        assert stream is not None
        [path] = segment_paths(bench.filesystem, stream.path)
        self._next_process(bench)
        bench.filesystem._file(path).content[8] = 9
        bench.run(seconds=120)
        assert len(bench.warnings) == 1
        assert "upgrade kaizen-otel" in bench.warnings[0]
        assert stream_ids(bench.filesystem, ROOT) == [stream.stream_id]

    def test_a_root_that_cannot_be_read_is_warned_about(self) -> None:
        bench = Bench(1)

        class Unreadable(MemoryFilesystem):
            def names(self, path: str) -> list[str]:
                raise PermissionError(13, "Permission denied", path)

        shipper = make_shipper(
            Unreadable(), None, bench.receiver, bench.clock, warnings=bench.warnings
        )
        run_until_idle(shipper)
        assert "Permission denied" in bench.warnings[0]

    def test_a_directory_whose_maker_died_before_it_was_a_stream_goes_after_an_hour(self) -> None:
        bench = Bench(1)
        hidden = f"{ROOT}/.{bench.spool._writer._ids.uuid7()}"
        bench.filesystem.make_directory(hidden)
        handle = bench.filesystem.try_lock(f"{hidden}/lock")
        assert handle is not None
        bench.filesystem.unlock(handle)
        bench.run()
        assert any(name.startswith(".") for name in bench.filesystem.names(ROOT))
        bench.clock.turn(3700)
        bench.run()
        assert not any(name.startswith(".") for name in bench.filesystem.names(ROOT))

    def test_damage_in_what_was_durable_is_reported_as_a_gap(self) -> None:
        bench = Bench(5)
        stream = bench.spool.stream
        assert stream is not None
        [path] = segment_paths(bench.filesystem, stream.path)
        bench.filesystem.flip_bit(path, bench.filesystem.size(path) // 2)
        self._next_process(bench)
        bench.run()
        assert len(bench.receiver.taken) == 4
        assert [gap.reason for gap in bench.gaps] == ["damaged"]
        assert "damaged" in bench.warnings[0]


class TestHouse:
    """Cursors, retention, pressure."""

    def test_delivered_segments_are_kept_for_15_minutes(self) -> None:
        bench = Bench(40, segment_bytes_max=1_000)
        bench.run()
        stream = bench.spool.stream
        assert stream is not None
        before = len(segment_paths(bench.filesystem, stream.path))
        bench.run(seconds=14 * 60)
        assert len(segment_paths(bench.filesystem, stream.path)) == before
        used = bench.spool.bytes_used
        bench.run(seconds=2 * 60)
        assert len(segment_paths(bench.filesystem, stream.path)) == 1
        assert bench.spool.bytes_used < used

    def test_what_is_known_to_be_in_the_trail_goes_after_a_minute(self) -> None:
        bench = Bench(40, segment_bytes_max=1_000)
        bench.run()
        stream = bench.spool.stream
        assert stream is not None
        before = segment_paths(bench.filesystem, stream.path)
        mark_reconciled(bench.filesystem, stream.path, 21)
        bench.run(seconds=40)
        assert segment_paths(bench.filesystem, stream.path) == before
        bench.run(seconds=40)
        left = segment_paths(bench.filesystem, stream.path)
        first = scan(bench.filesystem.read(left[0], 0, 1 << 20)).entries[0].sequence
        assert 1 < first <= 21, "no record behind the mark went"
        mark_reconciled(bench.filesystem, stream.path, 41)
        mark_reconciled(bench.filesystem, stream.path, 3)
        bench.run(seconds=20)
        assert len(segment_paths(bench.filesystem, stream.path)) == 1, "the one being written"

    def test_a_reconciled_stream_of_a_dead_process_goes_with_its_mark(self) -> None:
        bench = Bench(5)
        stream = bench.spool.stream
        assert stream is not None
        bench.run(seconds=1)
        TestOrphans()._next_process(bench)
        mark_reconciled(bench.filesystem, stream.path, 6)
        bench.run(seconds=50)
        assert len(stream_ids(bench.filesystem, ROOT)) == 1
        bench.run(seconds=30)
        assert stream_ids(bench.filesystem, ROOT) == []

    def test_a_torn_mark_is_no_mark(self) -> None:
        bench = Bench(40, segment_bytes_max=1_000)
        bench.run()
        stream = bench.spool.stream
        assert stream is not None
        before = segment_paths(bench.filesystem, stream.path)
        mark_reconciled(bench.filesystem, stream.path, 41)
        handle = bench.filesystem.create(f"{stream.path}/torn")
        bench.filesystem.write(handle, b"0000")
        bench.filesystem.rename(f"{stream.path}/torn", f"{stream.path}/reconciled")
        bench.run(seconds=120)
        assert segment_paths(bench.filesystem, stream.path) == before

    def test_under_pressure_delivered_segments_go_at_once(self) -> None:
        bench = Bench(segment_bytes_max=1_000, bytes_max=20_000)
        while append(bench.spool, "fill"):
            pass
        assert bench.spool.is_under_pressure
        bench.run()
        assert not bench.spool.is_under_pressure
        assert append(bench.spool, "room again")

    def test_after_a_kill_only_what_was_delivered_in_the_last_moment_comes_twice(self) -> None:
        bench = Bench(100)
        bench.run(seconds=1)
        TestOrphans()._next_process(bench)
        bench.run()
        assert len(bench.receiver.taken) == 100

    def test_a_cursor_that_cannot_be_written_is_warned_about_and_delivery_goes_on(self) -> None:
        bench = Bench(3)
        bench.filesystem.fault = fail_operation("rename", Fault())
        bench.run(seconds=30)
        assert bench.receiver.taken == _texts(1, 3)
        assert len(bench.warnings) == 1
        assert "delivered twice" in bench.warnings[0]

    def test_a_spool_that_cannot_be_read_is_tried_again(self) -> None:
        bench = Bench(1)
        stream = bench.spool.stream
        assert stream is not None
        [path] = segment_paths(bench.filesystem, stream.path)
        bench.filesystem.rename(path, "/state/elsewhere")
        bench.run(seconds=1)
        assert "cannot be read" in bench.warnings[0]
        bench.filesystem.rename("/state/elsewhere", path)
        bench.run(seconds=20)
        assert bench.receiver.taken == ["r1"]

    def test_the_callers_step_is_called_and_heard(self) -> None:
        bench = Bench()
        calls: list[int] = []

        def on_step() -> int:
            calls.append(1)
            return 7

        shipper = Shipper(
            ROOT,
            spool=bench.spool,
            transport=bench.receiver,
            filesystem=bench.filesystem,
            clock=bench.clock,
            random_fraction=lambda: 0.5,
            warn=bench.warnings.append,
            on_step=on_step,
        )
        assert shipper.step() == 7
        assert calls == [1]


class TestThread:
    """The same with its thread: flush, stop, faults of ours."""

    def _shipper(self, bench: Bench) -> Shipper:
        shipper = bench.make_shipper()
        bench.spool._on_stored = shipper.notice_stored
        shipper.start()
        shipper.start()
        return shipper

    def test_flush_waits_until_everything_is_delivered(self) -> None:
        bench = Bench(100)
        shipper = self._shipper(bench)
        assert shipper.flush(10_000)
        assert bench.receiver.taken == _texts(1, 100)
        assert shipper.stop(10_000)
        assert bench.receiver.is_closed

    def test_flush_keeps_its_deadline_while_nothing_is_taken(self) -> None:
        bench = Bench(1)
        bench.receiver.refuses = lambda _: UNREACHABLE
        shipper = self._shipper(bench)
        assert not shipper.flush(50)
        assert shipper.stop(10_000)

    def test_flush_without_a_spool_waits_for_the_adopted(self) -> None:
        bench = Bench(10)
        filesystem = bench.filesystem.kill_process()
        shipper = make_shipper(filesystem, None, bench.receiver, bench.clock)
        shipper.start()
        assert shipper.flush(10_000)
        assert bench.receiver.taken == _texts(1, 10)
        assert shipper.stop(10_000)
        # Given back: another process may take it.
        again = make_shipper(filesystem, None, Receiver(), bench.clock)
        run_until_idle(again)
        assert again.status().adopted_streams == 1
        again.abandon()
        assert again.status().adopted_streams == 0

    def test_flush_of_nothing_is_done_at_once(self) -> None:
        bench = Bench()
        shipper = self._shipper(bench)
        assert shipper.flush(10_000)
        assert shipper.stop(10_000)

    def test_who_waits_for_delivery_is_told(self) -> None:
        bench = Bench(2)
        bench.receiver.refuses = lambda texts: BAD_REQUEST if "r2" in texts else None
        first, second = bench.shipper.when_delivered(1), bench.shipper.when_delivered(2)
        bench.run()
        assert (first.result(0), second.result(0)) == (True, False)
        assert bench.shipper.when_delivered(1).result(0)

    def test_stop_keeps_its_deadline_while_a_request_hangs(self) -> None:
        gate = threading.Event()
        bench = Bench(1)
        entered = threading.Event()

        def hang(_: list[str]) -> Outcome | None:
            entered.set()
            assert gate.wait(20)
            return None

        bench.receiver.refuses = hang
        shipper = self._shipper(bench)
        assert entered.wait(10)
        assert not shipper.stop(10)
        gate.set()
        assert shipper.stop(10_000)

    def test_a_fault_of_ours_does_not_end_the_thread(self) -> None:
        bench = Bench(1)
        faults = iter([ValueError("bug")])

        def once(_: list[str]) -> Outcome | None:
            error = next(faults, None)
            if error is not None:
                raise error
            return None

        bench.receiver.refuses = once
        shipper = self._shipper(bench)
        bench.clock.turn(60)
        assert shipper.flush(10_000)
        assert shipper.stop(10_000)
        assert "a fault of kaizen-otel" in bench.warnings[0]
