"""Audit records from an agent's spool through an agent Collector and a gateway that are killed."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from kaizen_otel._collector.resources import config_path
from kaizen_otel._edges import OsFilesystem
from kaizen_otel._trail.reconcile import reconcile
from kaizen_otel.audit._stored import read_trail
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from tests.collector.processes import collector
from tests.collector.sink import changed

if TYPE_CHECKING:
    from pathlib import Path

AWAY_S = 0.3
RECORDS = 20
ALL_DELIVERED_MS = 60_000
#: So long the spool tries while nobody can have the records.
TRIED_MS = 1_000


def lost_by_kills(binary: Path, folder: Path, agent: str | Path = "agent") -> set[str]:
    """What the manager said was durable and the gateway's trail has not, in the end."""
    gateway = collector(binary, folder / "gateway", ["gateway"])
    beside = collector(
        binary,
        folder / "agent",
        [agent],
        KAIZEN_OTEL_GATEWAY_ENDPOINT=f"127.0.0.1:{gateway.grpc_port}",
        KAIZEN_OTEL_GATEWAY_AUDIT_ENDPOINT=f"http://127.0.0.1:{gateway.audit_port}",
        KAIZEN_OTEL_GATEWAY_INSECURE="true",
    )
    places = {"KAIZEN_OTEL_SPOOL_DIR": str(folder / "spool")}
    places["KAIZEN_OTEL_AUDIT_ENDPOINT"] = f"http://127.0.0.1:{beside.audit_port}"
    manager = AuditTrailManager(config=Config.from_environment(places), warn=lambda _: None)
    durable: set[str] = set()
    pause = threading.Event()

    def record() -> None:
        receipt = manager.record("qa", "tool_execute", {"tool_name": "t"}, "success")
        assert receipt.wait(10)
        durable.add(receipt.record_id)

    def start_what_is_not_there() -> None:
        for process in (gateway, beside):
            if not process.running():
                process.start()

    try:
        for killed in (gateway, beside, gateway):
            start_what_is_not_there()
            for number in range(RECORDS):
                record()
                if number == RECORDS // 2:  # with records on their way
                    killed.kill()
            pause.wait(AWAY_S)
            manager.flush(TRIED_MS)
            # What only the other one holds goes with it.
            beside.kill()
        start_what_is_not_there()
        assert manager.flush(ALL_DELIVERED_MS)
        manager.shutdown(10_000)
    finally:
        for process in (beside, gateway):
            process.kill()
    trail = str(folder / "gateway" / "audit")
    lost = durable - {one.record_id for one in read_trail(OsFilesystem(), trail)}
    found = reconcile(OsFilesystem(), str(folder / "spool"), trail)
    assert (not found.missing and not found.waiting) == (not lost)
    assert len(durable) == 3 * RECORDS
    return lost


def test_kills_of_agent_collector_and_gateway_lose_no_audit_record_of_the_spool(
    gateway_binary: Path, tmp_path: Path
) -> None:
    assert lost_by_kills(gateway_binary, tmp_path) == set()


def test_with_a_queue_before_the_gateway_the_same_kills_lose_audit_records(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """The saboteur (rule R07): the agent Collector answers for what only its memory has."""

    def queued(config: dict[str, Any]) -> None:
        del config["exporters"]["otlp_http/audit"]["sending_queue"]

    config = changed(config_path("agent"), tmp_path / "changed.yaml", queued)
    assert lost_by_kills(gateway_binary, tmp_path, config)
