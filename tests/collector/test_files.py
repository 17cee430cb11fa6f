"""What the file pipelines keep: across restarts and kills, and with the safety taken out."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.run import CollectorProcess, free_ports
from tests.collector.clients import listening_ports
from tests.collector.otlp_json import Sender, bodies_in, counter, logs, span
from tests.collector.processes import collector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KILLS = 3
RECORDS_BETWEEN_KILLS = 150


def dev(binary: Path, folder: Path, *, config: Path | None = None) -> CollectorProcess:
    return CollectorProcess(
        config or config_path("dev"),
        binary=binary,
        environment={**free_ports(), "KAIZEN_OTEL_DATA_DIR": str(folder / "data")},
        log_path=folder / "collector.log",
    )


def shipped(binary: Path, folder: Path, config: str) -> CollectorProcess:
    audit = {"KAIZEN_OTEL_AUDIT_DIR": str(folder / "data" / "audit")}
    return collector(binary, folder, [config], **audit)


def changed(folder: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The dev config with its audit exporter changed, for the saboteurs."""
    config = yaml.safe_load(config_path("dev").read_text(encoding="utf-8"))
    change(config["exporters"]["file/audit"])
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def without_rotation(exporter: dict[str, Any]) -> None:
    del exporter["rotation"]


def appending_without_rotation(exporter: dict[str, Any]) -> None:
    del exporter["rotation"]
    exporter["append"] = True


def test_each_signal_and_the_audit_records_have_their_file(
    dev_binary: Path, tmp_path: Path
) -> None:
    with dev(dev_binary, tmp_path) as process:
        with_http, audit = Sender(process.http_port), Sender(process.audit_port)
        assert with_http.post("traces", span("work"))
        assert with_http.post("metrics", counter("requests", 3))
        assert with_http.post("logs", logs("said"))
        assert audit.record("done")
        # Written before the answer: no waiting here is part of the promise.
        data = tmp_path / "data"
        assert "work" in (data / "traces.jsonl").read_text(encoding="utf-8")
        assert "requests" in (data / "metrics.jsonl").read_text(encoding="utf-8")
        assert bodies_in(data / "logs.jsonl") == ["said"]
        assert bodies_in(data / "audit" / "audit.jsonl") == ["done"]
        assert data.stat().st_mode & 0o077 == 0
        assert (data / "audit").stat().st_mode & 0o077 == 0, "files are 0644, the folder is not"


def test_the_audit_port_takes_nothing_but_log_records(dev_binary: Path, tmp_path: Path) -> None:
    with dev(dev_binary, tmp_path) as process:
        audit = Sender(process.audit_port)
        assert not audit.post("traces", span("work"))
        assert not audit.post("metrics", counter("requests", 3))


def kept_over_a_restart(binary: Path, folder: Path, config: Path | None = None) -> list[str]:
    for text in ("before", "after"):
        with dev(binary, folder, config=config) as process:
            assert Sender(process.audit_port).record(text)
    return bodies_in(folder / "data" / "audit" / "audit.jsonl")


def test_a_restart_keeps_the_trail_and_the_telemetry(dev_binary: Path, tmp_path: Path) -> None:
    for text in ("before", "after"):
        with dev(dev_binary, tmp_path) as process:
            assert Sender(process.http_port).post("logs", logs(text))
    assert bodies_in(tmp_path / "data" / "logs.jsonl") == ["before", "after"]
    assert kept_over_a_restart(dev_binary, tmp_path) == ["before", "after"]


def test_without_rotation_a_restart_empties_the_trail(dev_binary: Path, tmp_path: Path) -> None:
    """The saboteur of the test above: rotation is what keeps the file (rule R04)."""
    config = changed(tmp_path, without_rotation)
    assert kept_over_a_restart(dev_binary, tmp_path, config) == ["after"]


def acknowledged_but_missing(folder: Path, begin: Callable[[], CollectorProcess]) -> set[str]:
    """Kill the Collector in mid-work several times; what was acknowledged and is not there."""
    acknowledged: set[str] = set()
    for round_number in range(KILLS):
        with begin() as process:
            audit = Sender(process.audit_port)
            killed = threading.Event()

            def kill(process: CollectorProcess = process, killed: threading.Event = killed) -> None:
                process.kill()
                killed.set()

            for number in range(10 * RECORDS_BETWEEN_KILLS):
                text = f"record {round_number}-{number}"
                if audit.record(text):
                    acknowledged.add(text)
                elif killed.is_set():
                    break
                if number == RECORDS_BETWEEN_KILLS:
                    threading.Thread(target=kill).start()
            process.kill()
    assert len(acknowledged) >= KILLS * RECORDS_BETWEEN_KILLS
    return acknowledged - set(bodies_of_whole_lines(folder / "data" / "audit" / "audit.jsonl"))


def bodies_of_whole_lines(path: Path) -> list[str]:
    """The body texts of all whole records.

    A kill can leave a record without its line end, or the first part of one that was not
    acknowledged; the next record is glued to it.
    """
    found: list[str] = []
    start = '{"resourceLogs"'
    for line in path.read_text(encoding="utf-8").splitlines():
        for part in line.split(start)[1:]:
            try:
                request = json.loads(start + part)
            except ValueError:
                continue
            found += [
                record["body"]["stringValue"]
                for resource in request["resourceLogs"]
                for scope in resource["scopeLogs"]
                for record in scope["logRecords"]
            ]
    return found


def test_a_kill_loses_no_acknowledged_audit_record(dev_binary: Path, tmp_path: Path) -> None:
    assert acknowledged_but_missing(tmp_path, lambda: dev(dev_binary, tmp_path)) == set()


def test_a_kill_of_the_gateway_loses_no_acknowledged_audit_record(
    gateway_binary: Path, tmp_path: Path
) -> None:
    assert (
        acknowledged_but_missing(tmp_path, lambda: shipped(gateway_binary, tmp_path, "gateway"))
        == set()
    )


def test_a_kill_of_the_audit_collector_loses_no_acknowledged_audit_record(
    dev_binary: Path, tmp_path: Path
) -> None:
    """And whoever knows its one port can send nothing else."""
    assert (
        acknowledged_but_missing(tmp_path, lambda: shipped(dev_binary, tmp_path, "audit")) == set()
    )
    with shipped(dev_binary, tmp_path, "audit") as process:
        audit = Sender(process.audit_port)
        assert not audit.post("traces", span("work"))
        assert not audit.post("metrics", counter("requests", 3))
        assert listening_ports(process.pid or 0) == {
            process.audit_port,
            process.health_port,
            process.metrics_port,
        }


@pytest.mark.parametrize("sabotage", [without_rotation, appending_without_rotation])
def test_a_kill_loses_records_when_the_trail_is_not_rotated(
    dev_binary: Path, tmp_path: Path, sabotage: Callable[[dict[str, Any]], None]
) -> None:
    """The saboteurs of the tests above: a buffered file loses what it acknowledged (rule R04)."""
    config = changed(tmp_path, sabotage)
    lost = acknowledged_but_missing(tmp_path, lambda: dev(dev_binary, tmp_path, config=config))
    assert lost
