"""The Collector is away, wrong or refuses: the agent goes on, and every loss is counted."""

from __future__ import annotations

import logging
import socket
import time
from typing import TYPE_CHECKING

import pytest

import kaizen_otel
from kaizen_otel import AuditTrailManager
from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.run import CollectorProcess, free_ports
from kaizen_otel._doctor import examine
from kaizen_otel._doctor_findings import worst
from kaizen_otel._edges import OsFilesystem
from kaizen_otel._trail.verify import Settings, Sources
from kaizen_otel._trail.verify import verify as verify_trail
from kaizen_otel.errors import ConfigError
from kaizen_otel.testing.capture import OtlpCapture
from tests.e2e.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._collector.obtain import Obtained
    from kaizen_otel.hooks.operations import Operations


def work(operations: Operations, first: int, count: int) -> float:
    """Run ``count`` observed tools; the longest that one begin and end took, in seconds."""
    longest = 0.0
    for number in range(first, first + count):
        started = time.perf_counter()
        operations.begin("execute_tool", number, name=f"tool-{number % 7}")
        operations.end(number)
        longest = max(longest, time.perf_counter() - started)
    return longest


def test_a_collector_stopped_in_mid_run_costs_no_audit_record_and_no_agent_time(
    binary: Obtained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = free_ports()
    data = tmp_path / "data"

    def start() -> CollectorProcess:
        process = CollectorProcess(
            config_path("dev"),
            binary=binary.path,
            environment={**ports, "KAIZEN_OTEL_DATA_DIR": str(data)},
            log_path=tmp_path / "collector.log",
        )
        process.start()
        return process

    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{ports['KAIZEN_OTEL_HTTP_PORT']}"
    )
    monkeypatch.setenv(
        "KAIZEN_OTEL_AUDIT_ENDPOINT", f"http://127.0.0.1:{ports['KAIZEN_OTEL_AUDIT_PORT']}"
    )
    monkeypatch.setenv("KAIZEN_OTEL_SPOOL_DIR", str(tmp_path / "spool"))
    collector = start()
    observed = kaizen_otel.observe("mid-run")
    try:
        with_collector = work(observed.operations, 0, 200)
        collector.kill()
        without = work(observed.operations, 200, 400)
        assert not observed.flush(timeout=0.5), "the Collector is away"
        collector = start()
        work(observed.operations, 600, 200)
        assert observed.flush(timeout=60)
        ledger = observed.ledger()
        world = World(data, collector)
        audit = world.audit(observed.instance_id)
        spans = world.spans(observed.instance_id)
    finally:
        observed.shutdown(timeout=5)
        collector.stop()
    assert without < max(20 * with_collector, 0.5), "an absent Collector must not be waited for"
    assert len(audit) == 2 * 800, "one intent and one outcome each, none lost"
    traces = ledger.signals["traces"]
    assert ledger.reconciles()
    assert traces.offered == 800
    assert traces.delivered + sum(traces.dropped.values()) == 800
    distinct = {span["spanId"] for span in spans}
    assert len(distinct) >= traces.delivered, "what is called delivered is in the file"


def test_what_a_dead_collector_never_took_is_dropped_counted_and_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    point_at(monkeypatch, tmp_path, f"http://127.0.0.1:{unused_port()}")
    observed = kaizen_otel.observe("dead", enable_audit=False)
    with caplog.at_level(logging.WARNING, "kaizen_otel"):
        work(observed.operations, 0, 10)
        started = time.monotonic()
        assert not observed.shutdown(timeout=0.5)
        took = time.monotonic() - started
    assert took < 2.0, "a dead Collector must not hold the exit"
    traces = observed.ledger().signals["traces"]
    assert (traces.offered, traces.delivered, traces.buffered) == (10, 0, 0)
    assert sum(traces.dropped.values()) == 10
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in caplog.text
    assert observed.ledger().line() in caplog.text


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{closed}"},
         "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{grpc}"}, "OTEL_EXPORTER_OTLP"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{http}",
          "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://no-such-host.invalid:4318"},
         "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:{http}/wrong"},
         "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"OTEL_EXPORTER_OTLP_HEADERS": "no-value"}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "pigeon"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "https://127.0.0.1:{http}"},
         "OTEL_EXPORTER_OTLP"),
    ],
    ids=["wrong port", "gRPC port by HTTP", "HTTP port by gRPC", "unknown host", "wrong path",
         "bad header", "unknown protocol", "TLS to a plain port"],
)  # fmt: skip
def test_a_wrong_setting_is_one_warning_that_names_it_and_a_finding_of_the_doctor(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    variables: dict[str, str],
    named: str,
) -> None:
    collector = world.collector
    for name, value in variables.items():
        text = value.format(
            closed=unused_port(), grpc=collector.grpc_port, http=collector.http_port
        )
        monkeypatch.setenv(name, text)
    with caplog.at_level(logging.WARNING, "kaizen_otel"):
        observed = kaizen_otel.observe("wrong", enable_audit=False, enable_metrics=False,
                                       enable_logging=False)  # fmt: skip
        work(observed.operations, 0, 3)
        observed.flush(timeout=3)
        work(observed.operations, 3, 3)
        observed.flush(timeout=1)
        observed.shutdown(timeout=1)
    own = [r.getMessage() for r in caplog.records if r.name == "kaizen_otel"]
    causes = [text for text in own if not text.startswith("telemetry was dropped")]
    assert len(causes) == 1, causes
    assert named in causes[0]
    findings = examine()
    assert worst(findings) in {"warning", "error"}
    assert any(named in finding.message + finding.fix for finding in findings)


def test_an_unknown_keyword_or_metric_kind_is_one_clear_error(world: World) -> None:
    with pytest.raises(TypeError, match="jaeger_hots"):
        kaizen_otel.observe("typo", jaeger_hots="x")  # type: ignore[call-arg]
    observed = kaizen_otel.observe("typo")
    with pytest.raises(ConfigError, match="counter, gauge or histogram"):
        observed.record_metric("x", 1, "sum").send(None)  # type: ignore[arg-type]
    assert world.collector.running()


def test_the_doctor_says_where_each_signal_arrived(world: World) -> None:
    findings = {f.subject: f for f in examine() if f.subject != "Kaizen"}
    for subject in ("traces", "metrics", "logs"):
        assert findings[subject].level == "ok"
        assert "arrival not checked" in findings[subject].message
    assert findings["audit"].level == "ok"
    assert world.collector.running()


def test_the_doctor_finds_its_record_in_the_trail_which_verifies_as_before(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a key of the agents it sends none: a stranger's record would be tampering."""
    trail = world.data / "audit"
    monkeypatch.setenv("KAIZEN_OTEL_AUDIT_DIR", str(trail))
    (audit,) = [finding for finding in examine() if finding.subject == "audit"]
    assert audit.level == "ok"
    assert "no agent has made a signing key" in audit.message
    make_key()
    (audit,) = [finding for finding in examine() if finding.subject == "audit"]
    assert audit.message.startswith("arrived in")
    verdict = verify_trail(
        Sources(trails=(str(trail),)), settings=Settings(jobs=1), filesystem=OsFilesystem()
    )
    assert verdict.count("tampering") == 0, verdict.findings


def test_the_doctor_says_when_a_backend_does_not_show_the_canary(world: World) -> None:
    closed = f"http://127.0.0.1:{unused_port()}"
    findings = {f.subject: f for f in examine(jaeger=closed, arrival_s=0.3)}
    assert findings["traces"].level == "error"
    assert closed in findings["traces"].message
    assert world.collector.running()


def test_a_server_that_refuses_is_told_from_one_that_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with OtlpCapture() as capture:
        point_at(monkeypatch, tmp_path, capture.endpoint)
        capture.answer = 401
        findings = {f.subject: f for f in examine()}
    assert findings["traces"].level == "error"
    assert "OTEL_EXPORTER_OTLP_HEADERS" in findings["traces"].message


def make_key() -> None:
    """As the first agent with this spool does."""
    audit = AuditTrailManager()
    assert audit.record("agent", "tool_execute", {}, "success").wait(10)
    audit.shutdown(timeout_ms=5_000)


def point_at(monkeypatch: pytest.MonkeyPatch, folder: Path, endpoint: str) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    monkeypatch.setenv("KAIZEN_OTEL_AUDIT_ENDPOINT", endpoint)
    monkeypatch.setenv("KAIZEN_OTEL_SPOOL_DIR", str(folder / "spool"))


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
