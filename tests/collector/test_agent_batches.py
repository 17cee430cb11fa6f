"""What waited in a queue fits into the messages that gateway and Jaeger take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from kaizen_otel._collector.resources import config_path
from tests.collector.otlp_json import Sender, logs, span
from tests.collector.processes import collector
from tests.collector.sink import Sink, changed
from tests.collector.store import wait_until
from tests.collector.test_agent import agent

REQUESTS = 30
RECORDS = 50
TEXT = "x" * 20_000


def arrived(sink: Sink, signal: str) -> int:
    """How many large items the sink has written; a line may be half written while we look."""
    path = sink.data / f"{signal}.jsonl"
    return path.read_bytes().count(TEXT.encode()) if path.is_file() else 0


def lost_after_an_outage(
    gateway_binary: Path, dev_binary: Path, folder: Path, config: str | Path
) -> int:
    """How many of 1,500 large records (30 MB) that were acknowledged never came to the gateway."""
    sink = Sink(dev_binary, folder)
    with agent(gateway_binary, folder, sink, config) as process:
        for number in range(REQUESTS):
            texts = [f"{number} {each} {TEXT}" for each in range(RECORDS)]
            assert Sender(process.http_port).post("logs", logs(*texts))
        # What waits is then read at once, in the largest batches that the queue makes.
        process.kill()
    with sink.process, agent(gateway_binary, folder, sink, config) as process:
        wait_until(
            lambda: (
                "Dropping data" in process.log_path.read_text()
                or arrived(sink, "logs") == REQUESTS * RECORDS
            )
        )
        return REQUESTS * RECORDS - arrived(sink, "logs")


def test_large_records_that_waited_for_the_gateway_all_arrive(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    assert lost_after_an_outage(gateway_binary, dev_binary, tmp_path, "agent") == 0


def test_batches_counted_in_records_become_too_large_and_are_lost(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    """The saboteur: the gateway refuses the message for good, and the queue drops it."""

    def in_records(config: dict[str, Any]) -> None:
        queue = config["exporters"]["otlp_grpc/gateway"]["sending_queue"]
        # Else the batch is counted as the queue is, in bytes.
        size = {"sizer": "items", "min_size": 1_000, "max_size": 4_000}
        queue["batch"] = {"flush_timeout": "10s", **size}

    config = changed(config_path("agent"), tmp_path / "changed.yaml", in_records)
    assert lost_after_an_outage(gateway_binary, dev_binary, tmp_path, config)


def test_large_spans_that_waited_for_jaeger_all_arrive(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    """Jaeger's own limit is the OTLP receiver's default of 4 MiB."""
    default = tmp_path / "default.yaml"
    default.write_text("receivers: {otlp: {protocols: {grpc: {max_recv_msg_size_mib: 4}}}}\n")
    sink = Sink(dev_binary, tmp_path)
    sink.process = collector(dev_binary, tmp_path / "sink", ["dev", default])
    jaeger = {"JAEGER_OTLP_ENDPOINT": f"127.0.0.1:{sink.process.grpc_port}"}
    (resource,) = span("large", {"text": TEXT})["resourceSpans"]
    (scope,) = resource["scopeSpans"]
    with collector(gateway_binary, tmp_path, ["gateway"], **jaeger) as process:
        for _ in range(REQUESTS):
            spans = [{**resource, "scopeSpans": [{**scope, "spans": scope["spans"] * RECORDS}]}]
            assert Sender(process.http_port).post("traces", {"resourceSpans": spans})
        process.kill()
    with sink.process, collector(gateway_binary, tmp_path, ["gateway"], **jaeger) as process:
        assert wait_until(lambda: arrived(sink, "traces") == REQUESTS * RECORDS), process.log_tail()
