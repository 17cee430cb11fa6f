"""What a stream says about itself: when it begins, how far it has come, by whose key, its end."""

from __future__ import annotations

import errno
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._audit_anchors import Anchors
from kaizen_otel._audit_own import OwnRecords
from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._otlp.decode import decode_log_record, plain_attributes
from kaizen_otel._otlp.json import iter_log_records
from kaizen_otel._signing import Ed25519Signer
from kaizen_otel.audit import record as names
from kaizen_otel.audit._stored import read_spool
from kaizen_otel.audit.canonical import canonical_record, record_hash
from kaizen_otel.audit.chain import Draft, draft_of
from kaizen_otel.audit.rotation import read_rotation
from kaizen_otel.audit.signatures import decode_base64, verify_signature
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import AuditConfig, EndpointConfig
from kaizen_otel.errors import SpoolFailedError
from kaizen_otel.testing import FixedClock
from kaizen_otel.testing.memory_filesystem import (
    Call,
    Fault,
    MemoryFilesystem,
    fail_operation,
)
from tests.unit._spool.spool_kit import ROOT, CountedIds, Receiver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sized

    from kaizen_otel._signing import Signer
    from kaizen_otel.audit.query import StoredRecord
    from kaizen_otel.config import AnchorsTo

ANCHOR_FILE = "/anchors.jsonl"
_KEY = Ed25519Signer.generate()


class BrokenKey:
    """A key store that can be switched off."""

    def __init__(self) -> None:
        self._key = Ed25519Signer.generate()
        self.key_id, self.public_key = self._key.key_id, self._key.public_key
        self.is_broken = False

    def sign(self, data: bytes) -> bytes:
        if self.is_broken:
            raise ConnectionError("the key store does not answer")
        return self._key.sign(data)


class World:
    """One disk in memory, and managers on it."""

    def __init__(self) -> None:
        self.filesystem = MemoryFilesystem()
        self.receiver = Receiver()
        self.warnings: list[str] = []
        self.anchored: list[bytes] = []
        self.managers: list[AuditTrailManager] = []

    def manager(
        self,
        *,
        signer: Signer | None = _KEY,
        clock: FixedClock | None = None,
        anchors: AnchorsTo = "logs",
        anchor_file: str | None = None,
        bytes_max: int = 1 << 30,
    ) -> AuditTrailManager:
        manager = AuditTrailManager(
            config=AuditConfig(
                directory=Path(ROOT),
                endpoint=EndpointConfig(signal="logs"),
                anchors=anchors,
                anchor_file=None if anchor_file is None else Path(anchor_file),
                bytes_max=bytes_max,
            ),
            transport=self.receiver,
            resource=encode_resource({"service.name": "own"}),
            filesystem=self.filesystem,
            clock=clock or SystemClock(),
            warn=self.warnings.append,
            signer=signer,
            anchor=self.anchored.append,
        )
        self.managers.append(manager)
        return manager

    def stored(self) -> list[StoredRecord]:
        return list(read_spool(self.filesystem, ROOT))

    def events(self) -> list[str]:
        return [record.event_name for record in self.stored()]

    def anchor_lines(self) -> list[dict[str, object]]:
        data = self.filesystem.read(ANCHOR_FILE, 0, 1 << 20)
        return [json.loads(line) for line in data.splitlines() if line]


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.filesystem.fault = None
    for manager in world.managers:
        manager.shutdown(5_000)


def _fact(manager: AuditTrailManager) -> bool:
    return manager.emit("kaizen.tool.execute", {}).wait(10)


def _wait_until(condition: Callable[[], bool]) -> None:
    never = threading.Event()
    for _ in range(2_000):
        if condition():
            return
        never.wait(0.005)
    raise AssertionError("it did not come to pass")


def _is_signed_by(data: bytes, signer: Signer) -> bool:
    record = decode_log_record(data)
    values = plain_attributes(record["attributes"])
    signature = decode_base64(str(values.get(names.INTEGRITY_VALUE)), 64)
    digest = record_hash(canonical_record(record))
    return (
        values.get(names.INTEGRITY_CERTIFICATE) == signer.key_id
        and signature is not None
        and verify_signature(signer.public_key, signature, digest)
    )


class TestBeginningAndEnd:
    """Number 1 says who signs, the last number says that nothing follows."""

    def test_a_stream_begins_with_its_key_and_ends_with_its_end(self, world: World) -> None:
        manager = world.manager()
        assert _fact(manager)
        assert manager.shutdown(5_000)
        first, fact, last = world.stored()
        assert (first.event_name, fact.event_name, last.event_name) == (
            names.EVENT_STARTED,
            "kaizen.tool.execute",
            names.EVENT_STOPPED,
        )
        assert [r.attributes[names.SEQUENCE] for r in (first, fact, last)] == [1, 2, 3]
        assert first.attributes[names.KEY_ID] == _KEY.key_id
        assert decode_base64(str(first.attributes[names.PUBLIC_KEY]), 32) == _KEY.public_key
        assert first.attributes[names.ACTION] == "START"
        assert (last.attributes[names.ACTION], last.attributes[names.END]) == ("END", "true")
        certificates = [r.attributes.get(names.INTEGRITY_CERTIFICATE) for r in (first, fact, last)]
        assert certificates == [_KEY.key_id] * 3

    def test_they_are_counted_apart_from_what_was_emitted(self, world: World) -> None:
        manager = world.manager()
        assert _fact(manager)
        assert manager.flush(5_000)
        status = manager.status()
        assert (status.emitted, status.durable, status.own, status.undelivered) == (1, 1, 1, 0)
        assert status.key_id == _KEY.key_id
        manager.shutdown(5_000)
        status = manager.status()
        assert (status.emitted, status.own, status.delivered) == (1, 2, 3)

    def test_the_counts_add_up_whatever_happens(self, world: World) -> None:
        world.receiver.script = [Rejected(reason="bad_request", message="400"), Delivered()]
        manager = world.manager()
        for number in range(200):
            fault = fail_operation("write", Fault(error=errno.ENOSPC))
            world.filesystem.fault = fault if number % 50 == 49 else None
            _fact(manager)
        world.filesystem.fault = None
        _wait_until(lambda: manager.status().gaps > 0)
        assert manager.flush(10_000)
        manager.shutdown(10_000)
        found = manager.status()
        assert found.emitted == 200 == found.durable + found.refused + found.waiting
        assert found.refusals == {"write_failed": 4}
        stored = found.durable + found.gaps + found.own
        assert stored == found.delivered + found.quarantined + found.undelivered
        assert stored == len(world.stored()) - found.quarantined, "quarantined ones are there twice"

    def test_who_records_nothing_stores_nothing(self, world: World) -> None:
        manager = world.manager()
        manager.start()
        assert manager.shutdown(5_000)
        assert world.events() == []

    def test_the_beginning_is_written_as_soon_as_anything_can_be(self, world: World) -> None:
        """A disk that is full at first does not make a stream without a beginning."""
        manager = world.manager()
        world.filesystem.fault = fail_operation("write", Fault(error=errno.ENOSPC))
        assert not _fact(manager)
        world.filesystem.fault = None
        assert _fact(manager)
        events = world.events()
        assert events[0] == names.EVENT_STARTED
        assert events.count(names.EVENT_STARTED) == 1

    def test_the_end_is_the_last_number_also_when_a_gap_is_to_be_said(self, world: World) -> None:
        manager = world.manager()
        assert _fact(manager)
        world.filesystem.fault = fail_operation("write", Fault())
        assert not _fact(manager)
        world.filesystem.fault = None
        manager.shutdown(5_000)
        last = max(world.stored(), key=lambda r: int(str(r.attributes[names.SEQUENCE])))
        assert last.event_name == names.EVENT_STOPPED
        assert names.EVENT_GAP in world.events()

    def test_the_root_gets_a_key_that_is_told_once(self, world: World) -> None:
        for _ in range(2):
            manager = world.manager(signer=None)
            assert _fact(manager)
            key_id = manager.status().key_id
            assert len(key_id) == 32
            manager.shutdown(5_000)
        assert [key_id in text for text in world.warnings] == [True]
        keys = {r.attributes[names.KEY_ID] for r in world.stored() if names.KEY_ID in r.attributes}
        assert keys == {key_id}

    def test_without_a_usable_key_records_are_stored_unsigned_and_it_is_said(
        self, world: World
    ) -> None:
        def plan(call: Call) -> Fault | None:
            return Fault() if "signing" in call.path else None

        world.filesystem.fault = plan
        manager = world.manager(signer=None)
        assert _fact(manager)
        assert "UNSIGNED" in world.warnings[0]
        assert names.KEY_ID not in world.stored()[0].attributes
        assert manager.status().key_id == ""


class TestSignatures:
    """The key may be in a store elsewhere, which fails."""

    def test_a_key_store_that_fails_is_told_once_a_minute_and_counted(self, world: World) -> None:
        key, clock = BrokenKey(), FixedClock()
        manager = world.manager(signer=key, clock=clock)
        assert _fact(manager)
        key.is_broken = True
        for _ in range(3):
            assert _fact(manager)
        assert manager.status().sign_failures == 3
        told = [text for text in world.warnings if "does not answer" in text]
        assert len(told) == 1
        assert "UNSIGNED" in told[0]
        key.is_broken = False
        assert _fact(manager)
        certificates = [r.attributes.get(names.INTEGRITY_CERTIFICATE) for r in world.stored()]
        assert certificates == [key.key_id] * 2 + [None] * 3 + [key.key_id]

    def test_no_repr_shows_the_key(self) -> None:
        config = AuditConfig(
            directory=Path(ROOT), endpoint=EndpointConfig(signal="logs"), signing_key="c4n4ry"
        )
        assert "c4n4ry" not in repr(config)


def _own(clock: FixedClock, anchored: list[bytes] | None = None) -> OwnRecords:
    anchors = Anchors(
        sink=(anchored if anchored is not None else []).append,
        path=None,
        resource=bytes,
        filesystem=MemoryFilesystem(),
        clock=clock,
        warn=lambda _: None,
    )
    return OwnRecords(
        make_signer=lambda: _KEY,
        resource_hash=str,
        anchors=anchors,
        clock=clock,
        ids=CountedIds(),
        warn=lambda _: None,
    )


class Commits:
    """What the spool's writer does with own records, without a spool."""

    def __init__(self, own: OwnRecords) -> None:
        self.own = own
        self.sequence = 1

    def commit(self, count: int, *, error: SpoolFailedError | None = None) -> str:
        """Commit so many records; the reason of the checkpoint that followed."""
        before = self.own.before() if self.sequence == 1 else ()
        after = self.own.after(count + len(before), is_end=False, has_room=True)
        facts = [draft_of(names.AuditRecord(record_id="r", time_ns=1, event_name="e"))] * count
        items: list[Sized] = [*before, *facts, *after]
        if not items:
            return ""
        sealed = self.own.seal(items, stream_id="s", first_sequence=self.sequence)
        self.own.committed(len(before) + len(after), error)
        self.sequence += len(sealed)
        if not after:
            return ""
        last = plain_attributes(decode_log_record(sealed[-1])["attributes"])
        return str(last[names.CHECKPOINT_REASON])


class TestCheckpoints:
    """After 64 records, a second, or a minute of silence, by a clock that is turned."""

    def test_one_follows_every_64_records(self) -> None:
        commits = Commits(_own(FixedClock()))
        reasons = [commits.commit(1) for _ in range(200)]
        # The first commit also holds the stream's beginning.
        assert [n for n, reason in enumerate(reasons, 1) if reason == "count"] == [63, 127, 191]
        assert set(reasons) == {"", "count"}
        assert commits.commit(1000) == "count"

    def test_a_record_has_one_after_a_second_and_then_there_is_silence(self) -> None:
        clock = FixedClock()
        own = _own(clock)
        commits = Commits(own)
        assert own.pause_s() is None
        assert commits.commit(1) == ""
        assert own.pause_s() == 1.0
        clock.advance(999)
        assert commits.commit(0) == ""
        clock.advance(1)
        assert commits.commit(0) == "time"
        assert own.pause_s() == 60.0
        clock.advance(30_000)
        assert commits.commit(0) == ""

    def test_while_records_come_it_shares_a_commit_with_one_of_them(self) -> None:
        clock = FixedClock()
        commits = Commits(_own(clock))
        reasons: list[str] = []
        for _ in range(25):
            reasons.append(commits.commit(1))
            clock.advance(100)
        assert [n for n, reason in enumerate(reasons) if reason == "time"] == [10, 21]

    def test_silence_is_said_every_minute(self) -> None:
        clock = FixedClock()
        commits = Commits(_own(clock))
        assert commits.commit(0) == "", "a stream that stored nothing says nothing"
        commits.commit(1)
        clock.advance(1000)
        assert commits.commit(0) == "time"
        for _ in range(3):
            clock.advance(60_000)
            assert commits.commit(0) == "heartbeat"
            assert commits.commit(0) == ""

    def test_one_that_was_not_stored_is_tried_again_later(self) -> None:
        clock = FixedClock()
        own = _own(clock)
        commits = Commits(own)
        commits.commit(1)
        clock.advance(1000)
        assert commits.commit(0, error=SpoolFailedError("no")) == "time"
        assert own.pause_s() == 1.0, "and not at once, for ever"
        assert commits.commit(0) == ""
        clock.advance(1000)
        assert commits.commit(0) == "time"

    def test_a_full_spool_has_no_room_for_heartbeats_and_takes_the_end(self) -> None:
        clock = FixedClock()
        own = _own(clock)
        commits = Commits(own)
        commits.commit(1)
        clock.advance(1000)
        assert own.after(0, is_end=False, has_room=False) == ()
        assert own.pause_s() == 1.0
        [draft] = own.after(0, is_end=True, has_room=False)
        assert isinstance(draft, Draft)
        assert draft.event_name == names.EVENT_STOPPED

    def test_the_writer_asks_by_itself(self, world: World) -> None:
        """With the real thread: a second after the last record there is a checkpoint."""
        clock = FixedClock()
        manager = world.manager(clock=clock)
        assert _fact(manager)
        clock.advance(1_000)
        manager.query_all().wait()  # wakes the writer, which looks at the clock
        _wait_until(lambda: names.EVENT_CHECKPOINT in world.events())
        assert manager.status().own == 2

    def test_the_age_of_the_oldest_undelivered_record_is_known(self, world: World) -> None:
        clock = FixedClock()
        world.receiver.refuses = lambda _: Retryable(reason="unreachable", message="no")
        manager = world.manager(clock=clock)
        assert _fact(manager)
        clock.advance(5_000)
        assert manager.status().lag_ns == 5 * 10**9
        world.receiver.refuses = lambda _: None
        assert manager.flush(5_000)
        assert manager.status().lag_ns == 0

    def test_a_long_outage_keeps_the_first_age_and_bounded_memory(self) -> None:
        clock = FixedClock()
        own = _own(clock)
        commits = Commits(own)
        for _ in range(6_000):
            commits.commit(1)
            clock.advance(1)
        assert own.oldest_ns(1) == FixedClock().time_ns()
        later = own.oldest_ns(5_000)
        assert later is not None
        assert later > FixedClock().time_ns()


class TestAnchors:
    """The same signed bytes, outside of the trail."""

    def test_every_own_record_is_anchored_as_it_is_in_the_trail_and_nothing_else(
        self, world: World
    ) -> None:
        manager = world.manager(anchor_file=ANCHOR_FILE)
        for _ in range(130):
            assert _fact(manager)
        manager.shutdown(5_000)
        own = {r.record_id for r in world.stored() if r.event_name in names.OWN_EVENTS}
        records = [decode_log_record(data) for data in world.anchored]
        ids = [plain_attributes(record["attributes"])[names.RECORD_ID] for record in records]
        assert set(ids) == own
        assert len(ids) == len(own) >= 4
        assert all(_is_signed_by(data, _KEY) for data in world.anchored)
        lines = world.anchor_lines()
        found = [record for line in lines for record, _ in iter_log_records(line)]
        assert found == records
        [(_, resource)] = iter_log_records(lines[0])
        assert plain_attributes(resource["attributes"]) == {"service.name": "own"}

    def test_the_logs_can_be_switched_off(self, world: World) -> None:
        manager = world.manager(anchors="none")
        assert _fact(manager)
        manager.shutdown(5_000)
        assert world.anchored == []

    def test_nothing_is_anchored_that_is_not_durable(self, world: World) -> None:
        manager = world.manager()
        world.filesystem.fault = fail_operation("sync", Fault())
        assert not _fact(manager)
        assert world.anchored == []

    def test_a_file_that_cannot_be_written_is_warned_of_and_refuses_nothing(
        self, world: World
    ) -> None:
        manager = world.manager(anchor_file="/no/such/folder/anchors.jsonl")
        assert _fact(manager)
        _wait_until(lambda: any("KAIZEN_OTEL_ANCHOR_FILE" in text for text in world.warnings))
        assert manager.shutdown(5_000)
        assert len([text for text in world.warnings if "ANCHOR_FILE" in text]) == 1
        assert manager.status().refused == 0

    def test_what_waited_for_the_file_is_written_later(self, world: World) -> None:
        def plan(call: Call) -> Fault | None:
            return Fault() if call.path == ANCHOR_FILE else None

        world.filesystem.fault = plan
        manager = world.manager(anchor_file=ANCHOR_FILE)
        assert _fact(manager)
        _wait_until(lambda: bool(world.warnings))
        world.filesystem.fault = None
        manager.shutdown(5_000)
        assert len(world.anchor_lines()) == 2

    def test_a_line_that_some_process_left_torn_spoils_no_other(self, world: World) -> None:
        handle = world.filesystem.create(ANCHOR_FILE)
        world.filesystem.write(handle, b'{"resourceLogs":[{"torn')
        manager = world.manager(anchor_file=ANCHOR_FILE)
        assert _fact(manager)
        manager.shutdown(5_000)
        lines = world.filesystem.read(ANCHOR_FILE, 0, 1 << 20).splitlines()
        assert lines[0] == b'{"resourceLogs":[{"torn'
        assert [len(json.loads(line)["resourceLogs"]) for line in lines[1:]] == [1, 1]

    def test_a_sink_that_raises_breaks_nothing(self, world: World) -> None:
        def sink(_: bytes) -> None:
            raise ValueError("no")

        anchors = Anchors(
            sink=sink,
            path=None,
            resource=bytes,
            filesystem=world.filesystem,
            clock=SystemClock(),
            warn=world.warnings.append,
        )
        anchors.take([b"x"])
        anchors.take([b"x"])
        assert len(world.warnings) == 1

    def test_what_waits_for_a_file_is_bounded(self, world: World) -> None:
        anchors = Anchors(
            sink=None,
            path=Path("/no/where"),
            resource=bytes,
            filesystem=world.filesystem,
            clock=FixedClock(),
            warn=world.warnings.append,
        )
        for _ in range(5_000):
            anchors.take([b""])
        assert anchors.write() < 60 * 10**9
        assert "4096 wait, 904 were given up" in world.warnings[0]


class TestRotation:
    """Another key signs from here on, and the old one says so."""

    def test_the_old_key_signs_the_change_and_the_new_one_what_follows(self, world: World) -> None:
        new = Ed25519Signer.generate()
        manager = world.manager()
        assert _fact(manager)
        assert manager.rotate_key(new).wait(10)
        assert _fact(manager)
        assert manager.status().key_id == new.key_id
        _, _, change, fact = world.stored()
        assert change.event_name == names.EVENT_KEY_ROTATED
        assert change.attributes[names.INTEGRITY_CERTIFICATE] == _KEY.key_id
        assert fact.attributes[names.INTEGRITY_CERTIFICATE] == new.key_id
        stream_id = manager.status().stream_id
        rotation = read_rotation(change.attributes, old_key_id=_KEY.key_id, stream_id=stream_id)
        assert rotation.public_key == new.public_key

    def test_before_the_first_record_it_begins_the_stream(self, world: World) -> None:
        new = Ed25519Signer.generate()
        manager = world.manager()
        assert manager.rotate_key(new).wait(10)
        assert world.events() == [
            names.EVENT_STARTED,
            names.EVENT_CHECKPOINT,
            names.EVENT_KEY_ROTATED,
        ]
        assert manager.status().emitted == 0
        assert manager.status().own == 3

    def test_a_change_that_is_not_stored_is_none(self, world: World) -> None:
        manager = world.manager()
        assert _fact(manager)
        world.filesystem.fault = fail_operation("write", Fault())
        receipt = manager.rotate_key(Ed25519Signer.generate())
        assert not receipt.wait(10)
        world.filesystem.fault = None
        assert _fact(manager)
        assert manager.status().key_id == _KEY.key_id
        keys = {r.attributes.get(names.INTEGRITY_CERTIFICATE) for r in world.stored()}
        assert keys <= {_KEY.key_id, None}
        assert manager.rotate_key(Ed25519Signer.generate()).wait(10), "and can be tried again"

    def test_a_change_that_the_old_key_does_not_sign_is_none(self, world: World) -> None:
        old = BrokenKey()
        manager = world.manager(signer=old)
        assert _fact(manager)
        old.is_broken = True
        receipt = manager.rotate_key(Ed25519Signer.generate())
        assert not receipt.wait(10)
        assert "did not sign" in receipt.reason
        old.is_broken = False
        assert _fact(manager)
        assert world.stored()[-1].attributes[names.INTEGRITY_CERTIFICATE] == old.key_id

    def test_a_new_key_that_does_not_sign_changes_nothing(self, world: World) -> None:
        new = BrokenKey()
        new.is_broken = True
        manager = world.manager()
        assert _fact(manager)
        receipt = manager.rotate_key(new)
        assert not receipt.wait(10)
        assert "does not answer" in receipt.reason
        assert manager.rotate_key(Ed25519Signer.generate()).wait(10)

    def test_an_unsigned_stream_and_one_that_is_shut_down_have_no_change(
        self, world: World
    ) -> None:
        def plan(call: Call) -> Fault | None:
            return Fault() if "signing" in call.path else None

        world.filesystem.fault = plan
        manager = world.manager(signer=None)
        assert _fact(manager)
        receipt = manager.rotate_key(Ed25519Signer.generate())
        assert not receipt.wait(10)
        assert "not signed" in receipt.reason
        manager.shutdown(5_000)
        assert not manager.rotate_key(Ed25519Signer.generate()).wait(10)
        unused = world.manager()
        unused.shutdown(0)
        assert not unused.rotate_key(Ed25519Signer.generate()).wait(10)

    def test_on_a_disk_that_refuses_everything_it_is_refused(self, world: World) -> None:
        world.filesystem.fault = fail_operation("make_directory", Fault())
        manager = world.manager()
        assert not manager.rotate_key(Ed25519Signer.generate()).wait(10)
