"""Under gevent's patches everything is sent, flushes keep their time, and the end is clean."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from kaizen_otel._otlp.decode import (
    decode_logs_request,
    decode_metrics_request,
    decode_traces_request,
)
from tests.export.servers import RawServer, answer, answering
from tests.unit._export.kit import names

pytest.importorskip("gevent", reason="platform: there is no gevent for this Python")
pytestmark = pytest.mark.export

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent, json, sys, time
from kaizen_otel.observability import process_pipeline

pipeline = process_pipeline()
service = pipeline.service("gevent")

def work(number):
    for index in range(50):
        with service.tracing.start_span(f"{number}.{index}"):
            gevent.sleep(0)
        service.metrics.counter("jobs", 1)
        service.logging.emit(f"{number}.{index}")

def flush_on_the_way():
    for _ in range(3):
        pipeline.flush(5_000)
        gevent.sleep(0.01)

gevent.joinall([gevent.spawn(work, n) for n in range(20)] + [gevent.spawn(flush_on_the_way)])
END
signals = pipeline.ledger.snapshot().signals
told = {name: [one.offered, one.delivered, one.buffered] for name, one in signals.items()}
told["reconciles"] = pipeline.ledger.snapshot().reconciles()
print(json.dumps(told))
"""
DECODERS = {
    b"/v1/traces": decode_traces_request,
    b"/v1/metrics": decode_metrics_request,
    b"/v1/logs": decode_logs_request,
}


def run(end: str, port: int, *, timeout_ms: int = 5_000) -> dict[str, list[int]]:
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "KAIZEN_OTEL_"))},
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_METRICS_EXEMPLAR_FILTER": "always_off",
    }
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("END", end).replace("5_000", str(timeout_ms))],
        capture_output=True, text=True, env=environment, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, list[int]] = json.loads(done.stdout)
    assert found["reconciles"]
    return found


@pytest.mark.parametrize(
    "end", ["assert pipeline.flush(20_000)", "assert pipeline.shutdown(20_000)"]
)
def test_spans_logs_and_metrics_of_greenlets_are_delivered(end: str) -> None:
    with RawServer(answering(answer())) as server:
        found = run(end, server.port)
        requests = list(server.requests)
    assert found["traces"] == [1000, 1000, 0]
    assert found["logs"] == [1000, 1000, 0]
    assert found["metrics"][0] == found["metrics"][1]
    sent: dict[bytes, list[str]] = {path: [] for path in DECODERS}
    for head, body in requests:
        path = head.split(b" ", 2)[1]
        sent[path] += names(DECODERS[path](body))
    expected = sorted(f"{number}.{index}" for number in range(20) for index in range(50))
    assert sorted(sent[b"/v1/traces"]) == expected
    assert sorted(sent[b"/v1/logs"]) == expected
    assert "jobs" in sent[b"/v1/metrics"]


def test_what_waits_is_sent_when_the_program_just_ends() -> None:
    with RawServer(answering(answer())) as server:
        run("", server.port)
        spans = [
            name
            for head, body in server.requests
            if head.startswith(b"POST /v1/traces")
            for name in names(decode_traces_request(body))
        ]
    assert len(set(spans)) == 1000


def test_a_dead_collector_keeps_a_flush_no_longer_than_asked() -> None:
    end = (
        # A worker that never pauses once the time is over would let nobody else run, for ever.
        "before = time.monotonic()\n"
        "assert not pipeline.flush(200)\n"
        "assert time.monotonic() - before < 5\n"
        "assert not pipeline.shutdown(200)\n"
        "assert time.monotonic() - before < 10\n"
    )
    found = run(end, 1, timeout_ms=20)
    assert found["traces"][1:] == [0, 0]
