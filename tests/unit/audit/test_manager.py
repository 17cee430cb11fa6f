"""The manager: what a caller gets back, which level it stands for, what a failure does."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._audit_intake import Intake
from kaizen_otel._edges import SystemClock, shared_ids
from kaizen_otel._export import Delivered, Outcome, Rejected, Retryable
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._otlp.decode import plain_attributes
from kaizen_otel._spool.store import open_or_explain, read_or_make_key
from kaizen_otel._spool.waiting import Query
from kaizen_otel.audit import AuditRecord
from kaizen_otel.audit._stored import read_spool
from kaizen_otel.audit.chain import Draft, draft_of
from kaizen_otel.audit.record import OWN_EVENTS
from kaizen_otel.audit_trail import AuditTrailManager, Receipt
from kaizen_otel.config import AuditConfig, Config, EndpointConfig
from kaizen_otel.errors import AuditUnavailableError, SpoolFailedError
from kaizen_otel.testing.capture import OtlpCapture
from kaizen_otel.testing.memory_filesystem import (
    Call,
    Fault,
    MemoryFilesystem,
    fail_operation,
)
from tests.unit._spool.spool_kit import ROOT, Receiver, TurnedClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel.audit.query import StoredRecord
    from kaizen_otel.config import Durability, OnFailure

# No attribute makes a record too large (tests/unit/audit/test_size.py); a Resource may.
TOO_LARGE = encode_resource({"service.name": "x" * 70_000})
UNREACHABLE = Retryable(reason="unreachable", message="refused")


class AuditReceiver(Receiver):
    """Remembers event names, of what a stream says about itself apart."""

    @property
    def facts(self) -> list[str]:
        return [name for name in self.taken if name not in OWN_EVENTS]


class House:
    """Makes managers on one disk in memory and shuts them down after the test."""

    def __init__(self) -> None:
        self.filesystem = MemoryFilesystem()
        self.receiver = AuditReceiver()
        self.warnings: list[str] = []
        self.managers: list[AuditTrailManager] = []

    def manager(
        self,
        *,
        durability: Durability = "durable",
        on_failure: OnFailure = "continue",
        trail: str | None = None,
        bytes_max: int = 1 << 30,
        resource: bytes | Callable[[], bytes] = b"",
    ) -> AuditTrailManager:
        config = AuditConfig(
            directory=Path(ROOT),
            endpoint=EndpointConfig(signal="logs", endpoint="http://127.0.0.1:4319/v1/logs"),
            durability=durability,
            on_failure=on_failure,
            bytes_max=bytes_max,
            trail_directory=None if trail is None else Path(trail),
        )
        manager = AuditTrailManager(
            config=config,
            transport=self.receiver,
            resource=resource,
            filesystem=self.filesystem,
            warn=self.warnings.append,
        )
        self.managers.append(manager)
        return manager

    def stored(self) -> list[StoredRecord]:
        """All records but those that a stream writes about itself."""
        return [r for r in self.everything() if r.event_name not in OWN_EVENTS]

    def everything(self) -> list[StoredRecord]:
        return list(read_spool(self.filesystem, ROOT))


@pytest.fixture
def house() -> Iterator[House]:
    house = House()
    yield house
    house.filesystem.fault = None
    house.receiver.refuses = lambda _: None
    for manager in house.managers:
        manager.shutdown(5_000)


def _record(manager: AuditTrailManager, number: int = 0) -> Receipt:
    return manager.record("qa", "tool_execute", {"tool_name": "bash", "n": number}, "success")


def _wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread; the test's own timeout bounds it."""
    never = threading.Event()
    for _ in range(2_000):
        if condition():
            return
        never.wait(0.005)
    raise AssertionError("it did not come to pass")


class TestReceipt:
    """One receipt for threads, loops and whoever throws it away."""

    def test_a_durable_record_survives_a_power_loss(self, house: House) -> None:
        assert _record(house.manager()).wait(5)
        house.filesystem = house.filesystem.lose_power()
        [record] = house.stored()
        assert (record.action, record.agent, record.result) == ("tool_execute", "qa", "success")

    def test_it_can_be_awaited_and_waited_for_and_both_again(self, house: House) -> None:
        manager = house.manager()

        async def use() -> None:
            receipt = _record(manager)
            assert await receipt
            assert await receipt
            assert receipt.wait(1)
            assert receipt.is_done
            assert receipt.reason == ""
            assert await asyncio.gather(*(_record(manager, n) for n in range(10))) == [True] * 10
            assert await asyncio.create_task(_record(manager))
            assert await asyncio.wait_for(_record(manager), 5)

        asyncio.run(use())
        assert manager.status().durable == 13

    def test_asyncio_run_takes_it_like_kaizens_coroutine(self, house: House) -> None:
        assert asyncio.run(_record(house.manager()))

    def test_without_an_asyncio_loop_awaiting_blocks_and_gives_the_same(self, house: House) -> None:
        """What a trio task sees."""
        receipt = _record(house.manager())
        with pytest.raises(StopIteration) as done:
            receipt.send(None)
        assert done.value.value is True
        receipt.close()

    def test_a_cancelled_wait_does_not_cancel_the_record(self, house: House) -> None:
        manager = house.manager(durability="delivered")
        gate = threading.Event()

        def hold(_: list[str]) -> Outcome | None:
            assert gate.wait(20)
            return None

        house.receiver.refuses = hold

        async def use() -> Receipt:
            receipt = _record(manager)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(receipt, 0.01)
            return receipt

        receipt = asyncio.run(use())
        gate.set()
        assert receipt.wait(10)

    def test_it_may_be_thrown_away(self, house: House) -> None:
        manager = house.manager()
        for number in range(100):
            _record(manager, number)
        assert manager.flush(10_000)
        status = manager.status()
        assert status.delivered == 100 + status.own

    def test_an_exception_can_be_thrown_into_it(self, house: House) -> None:
        receipt = _record(house.manager())
        with pytest.raises(KeyError):
            receipt.throw(KeyError, "x")
        unused = _record(house.manager())
        unused.close()
        with pytest.raises(ValueError, match="y"):
            _record(house.manager()).throw(ValueError("y"))

    def test_ids_are_time_ordered_and_in_the_record(self, house: House) -> None:
        manager = house.manager()
        receipts = [_record(manager, number) for number in range(3)]
        assert all(receipt.wait(5) for receipt in receipts)
        assert [record.record_id for record in house.stored()] == [r.record_id for r in receipts]


class TestRecord:
    """Kaizen's signature."""

    def test_nothing_of_details_metadata_and_user_is_stored_in_plain_text(
        self, house: House
    ) -> None:
        manager = house.manager()
        manager.record(
            "qa",
            "tool_execute",
            {"command": "cat /canary/one", "nested": {"k": ["canary two"]}},
            "success",
            user_id="canary@example.org",
            metadata={"note": "canary three"},
        ).wait(5)
        assert manager.flush(5_000)
        for stream in house.filesystem.names(ROOT):
            path = f"{ROOT}/{stream}"
            if stream.startswith("0"):
                for name in house.filesystem.names(path):
                    assert b"canary" not in house.filesystem.read(f"{path}/{name}", 0, 1 << 20)
        [record] = house.stored()
        assert record.user == manager.pseudonym("canary@example.org")

    def test_a_denial_is_a_failure_with_a_decision(self, house: House) -> None:
        house.manager().record("qa", "permission_deny", None, "denied").wait(5)
        [record] = house.stored()
        assert record.event_name == "kaizen.approval.decided"
        assert record.attributes["audit.outcome"] == "failure"
        assert record.attributes["kaizen.decision"] == "deny"

    def test_the_record_carries_its_place_its_trace_and_its_resource(self, house: House) -> None:
        manager = house.manager(resource=encode_resource({"service.name": "one"}))
        other = encode_resource({"service.name": "other"})
        first = manager.emit("my.event", {}, trace_id=b"t" * 16, span_id=b"s" * 8)
        second = manager.emit("my.event", {}, trace_id=b"odd", resource=other)
        assert first.wait(5)
        assert second.wait(5)
        one, two = house.stored()
        assert one.trace_id == (b"t" * 16).hex()
        assert one.attributes["audit.sequence.number"] == 2
        assert one.attributes["audit.sequence.stream_id"] == manager.status().stream_id
        assert one.resource["service.name"] == "one"
        assert (two.trace_id, two.resource["service.name"]) == ("", "other")
        assert manager.flush(5_000)
        names = {plain_attributes(r["attributes"])["service.name"]  # type: ignore[index]
                 for r in house.receiver.resources}  # fmt: skip
        assert names == {"one", "other"}

    def test_hostile_attributes_do_not_break_the_agent(self, house: House) -> None:
        class Hostile:
            def __str__(self) -> str:
                raise RuntimeError("no")

            def __bool__(self) -> bool:
                raise RuntimeError("no")

        manager = house.manager()
        assert manager.emit("e", {"kaizen.x": Hostile(), "y": Hostile(), 5: 1}).wait(5)  # type: ignore[dict-item]
        refused = manager.emit("e", {"gen_ai.agent.id": "a"}, resource=5)  # type: ignore[arg-type]
        assert not refused.wait(5)
        assert manager.status().refused == 1


class TestQueries:
    """Found again by everything one asks for, from spool and trail together, each once."""

    def _fill(self, manager: AuditTrailManager) -> None:
        receipts = [
            manager.record("a1", "tool_execute", {"tool_name": "bash"}, "success", "bob"),
            manager.record("a2", "tool_execute", {"tool_name": "bash"}, "failure", "eve"),
            manager.record("a1", "checkpoint_save", {}, "denied"),
            manager.record("a1", "went to the shop", {}, "success"),
        ]
        assert all(receipt.wait(5) for receipt in receipts)

    def test_every_query_finds_its_own(self, house: House) -> None:
        manager = house.manager()
        self._fill(manager)
        assert len(manager.query_all().wait()) == 4
        assert [e.result for e in manager.query_by_agent("a2").wait()] == ["failure"]
        assert len(manager.query_by_action("tool_execute").wait()) == 2
        assert len(manager.query_by_action("went to the shop").wait()) == 1
        assert [e.action for e in manager.query_by_result("denied").wait()] == ["checkpoint_save"]
        [entry] = manager.query_by_user("bob").wait()
        assert entry.user_id == "bob"
        assert entry.details["tool_name"] == "bash"
        [same] = manager.query_by_user(manager.pseudonym("bob")).wait()
        assert same.user_id == manager.pseudonym("bob")

    def test_time_ranges_include_both_ends(self, house: House) -> None:
        manager = house.manager()
        self._fill(manager)
        entries = manager.query_all().wait()
        first, last = entries[0].timestamp, entries[-1].timestamp
        assert len(manager.query_by_timerange(first, last).wait()) == 4
        assert manager.query_by_timerange(last + dt.timedelta(seconds=1), last).wait() == []

    def test_they_can_be_awaited(self, house: House) -> None:
        manager = house.manager()
        self._fill(manager)

        async def ask() -> int:
            return len(await manager.query_all()) + len(await manager.query_by_agent("a1"))

        assert asyncio.run(ask()) == 7
        with pytest.raises(StopIteration) as done:
            manager.query_all().send(None)
        assert len(done.value.value) == 4

    def test_the_trail_is_read_as_well_and_duplicates_come_once(self, house: House) -> None:
        manager = house.manager(trail="/trail")
        self._fill(manager)
        assert len(manager.query_all().wait()) == 4, "a trail folder that is not there is empty"
        house.filesystem.make_directory("/trail")
        ids = [record.record_id for record in house.stored()]
        lines = [_line(ids[0], "a1"), _line("only in the trail", "a1")]
        handle = house.filesystem.create("/trail/audit.jsonl")
        house.filesystem.write(handle, b"".join(lines))
        assert len(manager.query_all().wait()) == 5
        assert len(manager.query_by_agent("a1").wait()) == 4

    def test_a_query_sees_what_was_just_recorded(self, house: House) -> None:
        manager = house.manager()
        for number in range(20):
            _record(manager, number)
        assert len(manager.query_all().wait()) == 20

    def test_a_query_is_asked_anew_each_time(self) -> None:
        answers = iter([1, 2])
        query = Query(lambda: next(answers))
        assert (query.wait(), query.wait(1.0)) == (1, 2)


def _line(record_id: str, agent: str) -> bytes:
    attributes = [
        {"key": "audit.record.id", "value": {"stringValue": record_id}},
        {"key": "gen_ai.agent.id", "value": {"stringValue": agent}},
    ]
    record = {"timeUnixNano": "5", "eventName": "e", "attributes": attributes}
    request = {"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}
    return json.dumps(request).encode() + b"\n"


class TestLevels:
    """``durability`` says what a receipt stands for."""

    def test_delivered_waits_for_the_receiver(self, house: House) -> None:
        manager = house.manager(durability="delivered")
        house.receiver.script = [UNREACHABLE]
        receipt = _record(manager)
        assert not receipt.wait(0.02)
        assert receipt.wait(10)
        assert house.receiver.facts == ["kaizen.tool.execute"]

    def test_delivered_is_refused_when_the_record_is_set_aside(self, house: House) -> None:
        manager = house.manager(durability="delivered")
        assert _record(manager).wait(10)
        refusal = Rejected(reason="bad_request", message="400")
        house.receiver.script = [refusal, Delivered()]
        receipt = _record(manager)
        assert not receipt.wait(10)
        assert "quarantine" in receipt.reason
        _wait_until(lambda: manager.status().gaps == 1)
        status = manager.status()
        assert (status.quarantined, status.durable, status.refused) == (1, 2, 0)

    def test_none_syncs_nothing_after_the_key(self, house: House) -> None:
        manager = house.manager(durability="none")
        assert manager.pseudonym("x")
        before = len(house.filesystem.calls)
        assert _record(manager).wait(5)
        later = house.filesystem.calls[before:]
        synced = {call.path for call in later if call.operation == "sync"}
        assert {path for path in synced if "signing.key" not in path} == set()


def _draft(text: str) -> Draft:
    """A record whose id is the text."""
    return draft_of(AuditRecord(record_id=text, time_ns=1, event_name=text))


class TestFailures:
    """Counted on the spot, said in the trail once that is possible, never silent."""

    def test_continue_counts_warns_and_writes_a_gap_record_afterwards(self, house: House) -> None:
        manager = house.manager()
        assert _record(manager).wait(5)
        house.filesystem.fault = fail_operation("write", Fault(error=errno.ENOSPC))
        receipts = [_record(manager, number) for number in range(3)]
        assert [receipt.wait(5) for receipt in receipts] == [False] * 3
        assert "KAIZEN_OTEL_SPOOL_DIR" in receipts[0].reason
        status = manager.status()
        assert (status.emitted, status.durable, status.refused, status.gaps) == (4, 1, 3, 0)
        assert len([text for text in house.warnings if "refused" in text]) == 1
        house.filesystem.fault = None
        _wait_until(lambda: manager.status().gaps >= 1)
        assert manager.flush(5_000)
        gaps = [record for record in house.stored() if record.event_name == "kaizen.audit.gap"]
        assert gaps
        assert gaps[0].attributes["kaizen.audit.gap.count"] == 3
        ranges = [
            str(r) for gap in gaps for r in [gap.attributes.get("kaizen.audit.gap.sequences")]
        ]
        assert "3-" in "".join(ranges)
        assert house.receiver.facts.count("kaizen.audit.gap") == len(gaps)
        assert manager.status().undelivered == 0

    def test_a_full_spool_still_takes_the_gap_record(self, house: House) -> None:
        house.receiver.refuses = lambda _: UNREACHABLE
        manager = house.manager(bytes_max=60_000)
        while _record(manager).wait(5):
            pass
        _wait_until(lambda: manager.status().gaps == 1)
        reasons = {r.attributes.get("kaizen.audit.gap.reason") for r in house.stored()}
        assert "spool_full" in reasons

    def test_a_record_that_is_too_large_is_refused_and_said(self, house: House) -> None:
        manager = house.manager()
        receipt = manager.emit("e", {}, resource=TOO_LARGE)
        assert not receipt.wait(5)
        assert "shorten" in receipt.reason
        _wait_until(lambda: manager.status().gaps == 1)

    def test_wait_stores_everything_once_the_disk_is_back(self, house: House) -> None:
        manager = house.manager(on_failure="wait")
        house.filesystem.fault = fail_operation("write", Fault(error=errno.ENOSPC))
        receipts = [_record(manager, number) for number in range(5)]
        assert not receipts[0].wait(0.05)
        status = manager.status()
        assert (status.waiting, status.refused) == (5, 0)
        house.filesystem.fault = None
        assert all(receipt.wait(10) for receipt in receipts)
        ids = {record.record_id for record in house.stored()}
        assert {receipt.record_id for receipt in receipts} <= ids
        assert manager.status().durable == 5

    def test_wait_refuses_what_can_never_be_stored(self, house: House) -> None:
        manager = house.manager(on_failure="wait")
        assert not manager.emit("e", {}, resource=TOO_LARGE).wait(5)

    def _intake(self, house: House, waiting_max: int) -> Intake:
        return Intake(
            ROOT,
            config=AuditConfig(
                directory=Path(ROOT), endpoint=EndpointConfig(signal="logs"), on_failure="wait"
            ),
            transport=house.receiver,
            resource=bytes,
            clock=SystemClock(),
            ids=shared_ids(),
            filesystem=house.filesystem,
            warn=house.warnings.append,
            waiting_max=waiting_max,
        )

    def test_wait_keeps_the_order_and_is_bounded(self, house: House) -> None:
        """Who comes when too many wait already is held up until there is room."""
        intake = self._intake(house, 3)
        assert intake.put(_draft("r0"), b"").result(5) == 2
        house.filesystem.fault = fail_operation("write", Fault(error=errno.ENOSPC))
        first = intake.put(_draft("r1"), b"")
        _wait_until(lambda: len(intake._waiting) == 1)
        futures = [first, intake.put(_draft("r2"), b""), intake.put(_draft("r3"), b"")]
        held_up = threading.Thread(target=lambda: futures.append(intake.put(_draft("r4"), b"")))
        held_up.start()
        house.filesystem.fault = None
        held_up.join(10)
        assert not held_up.is_alive()
        numbers = [future.result(10) for future in futures]
        assert numbers[:3] == sorted(numbers[:3])
        assert intake.status().waiting == 0
        assert intake.shutdown(5_000)

    def test_shutdown_lets_go_who_is_held_up(self, house: House) -> None:
        intake = self._intake(house, 1)
        house.filesystem.fault = fail_operation("make_directory", Fault())
        futures = [intake.put(_draft("r1"), b"")]
        _wait_until(lambda: len(intake._waiting) == 1)
        held_up = threading.Thread(target=lambda: futures.append(intake.put(_draft("r2"), b"")))
        held_up.start()
        intake.shutdown(1_000)
        held_up.join(10)
        assert [isinstance(future.exception(5), SpoolFailedError) for future in futures] == [
            True
        ] * 2
        status = intake.status()
        assert (status.emitted, status.refused, status.waiting) == (2, 2, 0)

    def test_an_exit_does_not_wait_for_a_receiver_that_takes_nothing(self, house: House) -> None:
        house.receiver.refuses = lambda _: UNREACHABLE
        intake = self._intake(house, 1)
        assert intake.put(_draft("r1"), b"").result(5) == 2
        _wait_until(lambda: intake.status().failing_ns > 0)
        before = SystemClock().monotonic_ns()
        assert not intake.shutdown(30_000, is_hurried=True)
        assert SystemClock().monotonic_ns() - before < 20 * 10**9

    def test_a_fork_begins_anew(self, house: House) -> None:
        """The hook of a forked child, called here in the same process."""
        intake = self._intake(house, 1)
        assert intake.put(_draft("r1"), b"").result(5) == 2
        stream_id = intake.status().stream_id
        intake.after_fork()
        assert intake.status().emitted == 0
        assert intake.put(_draft("r2"), b"").result(5) == 2
        assert intake.status().stream_id != stream_id
        assert intake.shutdown(5_000)
        first = {r.attributes["audit.sequence.stream_id"]: r for r in house.everything()[::-1]}
        starts = [first[one].attributes.get("kaizen.audit.previous_stream_id") for one in first]
        assert sorted(map(str, starts)) == sorted(["None", stream_id])
        house.filesystem.fault = fail_operation("write", Fault())
        failed = self._intake(house, 1)
        failed.put(_draft("r3"), b"")
        _wait_until(lambda: failed.status().stream_id != "")
        failed.after_fork()
        house.filesystem.fault = None
        assert failed.put(_draft("r4"), b"").result(5) == 2
        assert failed.shutdown(5_000)
        last = [r for r in house.everything() if r.event_name == "kaizen.audit.started"][-1]
        assert "kaizen.audit.previous_stream_id" not in last.attributes, "it would be missed"
        unused = self._intake(house, 1)
        unused.after_fork()
        assert unused.shutdown(0)

    def test_wait_ends_with_the_shutdown(self, house: House) -> None:
        manager = house.manager(on_failure="wait")
        house.filesystem.fault = fail_operation("write", Fault(error=errno.ENOSPC))
        receipt = _record(manager)
        assert not receipt.wait(0.05)
        manager.shutdown(2_000)
        assert not receipt.wait(5)
        status = manager.status()
        assert (status.emitted, status.refused, status.waiting) == (1, 1, 0)

    def test_block_action_cannot_be_overlooked(self, house: House) -> None:
        manager = house.manager(on_failure="block_action")
        assert _record(manager).wait(5)
        house.filesystem.fault = fail_operation("sync", Fault())
        with pytest.raises(AuditUnavailableError, match="KAIZEN_OTEL_SPOOL_DIR"):
            _record(manager).wait(5)

        async def use() -> None:
            await _record(manager)

        with pytest.raises(AuditUnavailableError):
            asyncio.run(use())
        # The seam decides for itself what to do with a refused intent.
        assert not manager.emit("kaizen.tool.execute", {}).wait(5)

    def test_block_action_refuses_when_the_disk_hangs(self, house: House) -> None:
        gate = threading.Event()

        class Hung(MemoryFilesystem):
            def create(self, path: str) -> int:
                if path.endswith(".segment"):
                    assert gate.wait(20)
                return super().create(path)

        house.filesystem = Hung()
        manager = house.manager(on_failure="block_action")
        with pytest.raises(AuditUnavailableError, match="within the time"):
            _record(manager).wait(0.02)
        gate.set()

    def test_without_a_key_pseudonyms_still_hide(self, house: House) -> None:
        def plan(call: Call) -> Fault | None:
            return Fault() if "pseudonym" in call.path else None

        house.filesystem.fault = plan
        manager = house.manager()
        assert _record(manager).wait(5)
        assert "cannot be recognised" in house.warnings[0]
        assert manager.pseudonym("a") == manager.pseudonym("a")


class TestLife:
    """Open late, shut down once, leave the rest to the next process."""

    def test_nothing_is_opened_before_the_first_record(self, house: House) -> None:
        manager = house.manager()
        assert manager.flush(0)
        status = manager.status()
        assert (status.emitted, status.stream_id, status.bytes_used) == (0, "", 0)
        assert manager.shutdown(0)
        assert house.filesystem.calls == []

    def test_after_shutdown_records_are_refused_and_counted(self, house: House) -> None:
        for used in (True, False):
            manager = house.manager()
            if used:
                assert _record(manager).wait(5)
            assert manager.shutdown(5_000)
            assert manager.shutdown(5_000)
            assert not _record(manager).wait(5)
            assert manager.status().refused == 1

    def test_what_was_not_delivered_is_shipped_by_the_next_process(self, house: House) -> None:
        house.receiver.refuses = lambda _: UNREACHABLE
        manager = house.manager()
        assert _record(manager).wait(5)
        assert not manager.shutdown(400)
        assert manager.status().undelivered == 3, "with the records that begin and end the stream"
        house.receiver.refuses = lambda _: None
        following = house.manager()
        following.start()
        _wait_until(lambda: house.receiver.facts == ["kaizen.tool.execute"])

    def test_shutdown_keeps_its_deadline_while_the_disk_hangs(self, house: House) -> None:
        gate = threading.Event()

        class Hung(MemoryFilesystem):
            def create(self, path: str) -> int:
                if path.endswith(".segment"):
                    assert gate.wait(20)
                return super().create(path)

        house.filesystem = Hung()
        manager = house.manager()
        receipt = _record(manager)
        assert not manager.shutdown(20)
        gate.set()
        assert receipt.wait(10), "what was handed over before is still stored"

    def test_everything_comes_from_the_environment_when_nothing_is_given(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("KAIZEN_OTEL_SPOOL_DIR", str(tmp_path / "deep" / "spool"))
        monkeypatch.setenv("KAIZEN_OTEL_AUDIT_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "from the environment")
        manager = AuditTrailManager()
        assert _record(manager).wait(10)
        [entry] = manager.query_all().wait()
        assert entry.agent_id == "qa"
        manager.shutdown(10)
        stored = (tmp_path / "deep" / "spool").rglob("*.segment")
        assert any(b"from the environment" in path.read_bytes() for path in stored)
        modes = {oct(path.stat().st_mode & 0o777) for path in tmp_path.rglob("*") if path.is_file()}
        assert modes == {"0o600"}
        assert oct((tmp_path / "deep" / "spool").stat().st_mode & 0o777) == "0o700"

    def test_whole_configurations_are_taken_too(self, house: House) -> None:
        config = Config.from_environment({"KAIZEN_OTEL_SPOOL_DIR": "/elsewhere"})
        manager = AuditTrailManager(
            config=config, directory=ROOT, transport=house.receiver, filesystem=house.filesystem
        )
        assert _record(manager).wait(5)
        assert manager.shutdown(5_000)
        assert len(house.stored()) == 1


class TestKey:
    """One random key per spool root, made once."""

    def _make(self, filesystem: MemoryFilesystem) -> bytes:
        return read_or_make_key(ROOT, filesystem=filesystem, clock=SystemClock())

    def test_it_is_made_once_and_survives_a_power_loss(self) -> None:
        filesystem = MemoryFilesystem()
        key = self._make(filesystem)
        assert len(key) == 32
        assert self._make(filesystem) == key
        assert self._make(filesystem.lose_power()) == key
        assert self._make(MemoryFilesystem()) != key

    def test_an_incomplete_key_file_is_made_anew(self) -> None:
        filesystem = MemoryFilesystem()
        self._make(filesystem)
        filesystem._file(f"{ROOT}/pseudonym.key").content[10:] = b""
        assert len(self._make(filesystem)) == 32

    def test_two_processes_make_one(self) -> None:
        filesystem = MemoryFilesystem()
        filesystem.make_directory("/state")
        filesystem.make_directory(ROOT)
        lock = filesystem.try_lock(f"{ROOT}/pseudonym.lock")
        assert lock is not None
        keys: list[bytes] = []
        thread = threading.Thread(target=lambda: keys.append(self._make(filesystem)))
        thread.start()
        handle = filesystem.create(f"{ROOT}/pseudonym.key")
        filesystem.write(handle, b"k" * 32)
        thread.join(10)
        assert keys == [b"k" * 32]

    def test_a_lock_that_is_never_given_up_is_an_error_and_no_hang(self) -> None:
        class Instant(TurnedClock):
            def wait(self, event: threading.Event, timeout_ns: int) -> bool:
                del event, timeout_ns
                return False

        filesystem = MemoryFilesystem()
        filesystem.make_directory("/state")
        filesystem.make_directory(ROOT)
        filesystem.try_lock(f"{ROOT}/pseudonym.lock")
        with pytest.raises(TimeoutError, match="another process"):
            read_or_make_key(ROOT, filesystem=filesystem, clock=Instant())


def test_a_transport_that_cannot_be_opened_says_why_and_records_are_kept(tmp_path: Path) -> None:
    endpoint = EndpointConfig(
        signal="logs",
        endpoint="https://127.0.0.1:4319/v1/logs",
        certificate=str(tmp_path / "none.pem"),
    )
    transport = open_or_explain(endpoint, clock=SystemClock())
    outcome = transport.send("logs", b"", deadline_ns=1)
    assert not isinstance(outcome, Delivered)
    assert "none.pem" in outcome.message
    assert transport.description
    transport.close()


def test_a_token_that_comes_later_than_the_agent_counts_without_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "token"
    with OtlpCapture() as capture:
        endpoint = EndpointConfig(
            signal="logs", endpoint=f"{capture.endpoint}/v1/logs", token_file=str(path)
        )
        transport = open_or_explain(endpoint, clock=SystemClock())
        deadline_ns = SystemClock().monotonic_ns() + 20 * 10**9
        refused = transport.send("logs", b"", deadline_ns=deadline_ns)
        assert isinstance(refused, Rejected)
        assert "KAIZEN_OTEL_TOKEN_FILE cannot be read" in refused.message
        path.write_text("late\n")
        assert isinstance(transport.send("logs", b"", deadline_ns=deadline_ns), Delivered)
        assert capture.headers[-1]["authorization"] == "Bearer late"
        transport.close()


def test_ids_are_unique_across_threads() -> None:
    ids = shared_ids()
    found: set[str] = set()
    threads = [
        threading.Thread(target=lambda: found.update([ids.uuid7() for _ in range(500)]))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 2000
    assert os.getpid() > 0
