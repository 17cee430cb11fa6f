"""The whole way with a real Collector that is killed while records come: nothing is missing."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.run import CollectorProcess, free_ports
from kaizen_otel._edges import OsFilesystem
from kaizen_otel._trail.reconcile import reconcile
from kaizen_otel.audit._stored import Report, read_trail
from kaizen_otel.audit.record import OWN_EVENTS
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.collector

_KILLS = 3


@pytest.fixture(scope="module")
def binary() -> Path:
    try:
        return obtain([config_path("dev")], progress=print).path
    except SetupError as error:
        pytest.skip(str(error))


class Place:
    """A Collector that writes files, and a manager that sends to it."""

    def __init__(self, root: Path, binary: Path) -> None:
        self.root = root
        self.spool = root / "spool"
        self.trail = root / "data" / "audit"
        ports = free_ports()
        self.warnings: list[str] = []
        self.collector = CollectorProcess(
            config_path("dev"),
            binary=binary,
            environment={**ports, "KAIZEN_OTEL_DATA_DIR": str(root / "data")},
            log_path=root / "collector.log",
        )
        self.environment = {
            "KAIZEN_OTEL_SPOOL_DIR": str(self.spool),
            "KAIZEN_OTEL_AUDIT_DIR": str(self.trail),
            "KAIZEN_OTEL_AUDIT_ENDPOINT": f"http://127.0.0.1:{self.collector.audit_port}",
        }

    def manager(self) -> AuditTrailManager:
        return AuditTrailManager(
            config=Config.from_environment(self.environment), warn=self.warnings.append
        )

    def ids_in_trail(self) -> list[str]:
        """Of the facts, without what the stream says about itself."""
        found = read_trail(OsFilesystem(), str(self.trail))
        return [record.record_id for record in found if record.event_name not in OWN_EVENTS]


@pytest.fixture
def place(tmp_path: Path, binary: Path) -> Place:
    return Place(tmp_path, binary)


def test_one_idle_record_is_one_line_with_its_place_and_resource(place: Place) -> None:
    with place.collector:
        manager = place.manager()
        receipt = manager.record(
            "qa", "tool_execute", {"tool_name": "bash", "command": "rm -rf"}, "success", "bob"
        )
        assert receipt.wait(10)
        assert manager.flush(10_000)
        start, record = read_trail(OsFilesystem(), str(place.trail))
        assert start.event_name == "kaizen.audit.started"
        assert record.record_id == receipt.record_id
        assert record.attributes["audit.sequence.number"] == 2
        assert record.attributes["audit.sequence.stream_id"] == manager.status().stream_id
        assert record.resource["service.name"]
        text = (place.trail / "audit.jsonl").read_text()
        assert "rm -rf" not in text
        assert "bob" not in text
        assert [e.user_id for e in manager.query_by_user("bob").wait()] == ["bob"]
        manager.shutdown(10_000)


def test_a_collector_that_is_killed_in_mid_run_loses_no_record(place: Place) -> None:
    acknowledged: set[str] = set()
    done = threading.Event()
    manager = place.manager()

    def work() -> None:
        while not done.is_set():
            receipt = manager.record("qa", "tool_execute", {"tool_name": "t"}, "success")
            if receipt.wait(10):
                acknowledged.add(receipt.record_id)

    place.collector.start()
    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    pause = threading.Event()
    for _ in range(_KILLS):
        pause.wait(0.4)  # the moment of the kill is what is being varied
        place.collector.kill()
        pause.wait(0.3)
        place.collector.start()
    done.set()
    for worker in workers:
        worker.join(30)
    assert manager.flush(60_000)
    status = manager.status()
    assert (status.refused, status.undelivered, status.quarantined) == (0, 0, 0)
    assert len(acknowledged) == status.durable > 100
    report = Report()
    found = [r.record_id for r in read_trail(OsFilesystem(), str(place.trail), report=report)]
    assert acknowledged - set(found) == set()
    manager.shutdown(10_000)
    result = reconcile(OsFilesystem(), str(place.spool), str(place.trail))
    assert (result.missing, result.waiting) == ([], [])
    place.collector.stop()


def test_records_of_a_time_without_a_collector_arrive_once_it_is_there(place: Place) -> None:
    manager = place.manager()
    receipts = [manager.record("qa", "tool_execute", {}, "success") for _ in range(200)]
    assert all(receipt.wait(10) for receipt in receipts)
    assert not manager.shutdown(400)
    with place.collector:
        # Another process comes, which audits nothing itself.
        following = place.manager()
        following.start()
        never = threading.Event()
        wanted = {receipt.record_id for receipt in receipts}
        for _ in range(400):
            if (place.trail / "audit.jsonl").exists() and wanted <= set(place.ids_in_trail()):
                break
            never.wait(0.05)
        ids = place.ids_in_trail()
        assert sorted(ids) == sorted(wanted), "each of them, and once"
        lines = (place.trail / "audit.jsonl").read_text().splitlines()
        assert len(lines) < 10, "a backlog goes in requests of up to 64"
        following.shutdown(10_000)
