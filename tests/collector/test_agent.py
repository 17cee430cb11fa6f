"""The agent Collector: telemetry waits on disk for its gateway, audit records for its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel._collector.resources import config_path
from kaizen_otel.testing.capture import OtlpCapture
from tests.collector.otlp_json import Sender, bodies_in, counter, logs, span
from tests.collector.processes import collector
from tests.collector.sink import Sink, changed
from tests.collector.store import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kaizen_otel._collector.run import CollectorProcess

REQUESTS = 40


def agent(
    binary: Path, folder: Path, sink: Sink, config: str | Path = "agent", **environment: str
) -> CollectorProcess:
    addresses = {
        "KAIZEN_OTEL_GATEWAY_ENDPOINT": f"127.0.0.1:{sink.process.grpc_port}",
        "KAIZEN_OTEL_GATEWAY_AUDIT_ENDPOINT": f"http://127.0.0.1:{sink.process.audit_port}",
    }
    # Each request fails with the same words, of which the log would tell ten.
    unsampled = folder / "unsampled.yaml"
    unsampled.write_text("service: {telemetry: {logs: {sampling: {enabled: false}}}}\n")
    return collector(
        binary,
        folder,
        [config, unsampled],
        KAIZEN_OTEL_GATEWAY_INSECURE="true",
        **{**addresses, **environment},
    )


def test_each_signal_reaches_the_gateway(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    sink = Sink(dev_binary, tmp_path)
    with sink.process, agent(gateway_binary, tmp_path, sink) as process:
        sender = Sender(process.http_port)
        secret = {"note": "sk-" + "x" * 24}
        assert sender.post("traces", span("work", secret))
        assert sender.post("metrics", counter("requests", 3, secret))
        assert sender.post("logs", logs("said", attributes=secret))
        assert Sender(process.audit_port).record("done")
        # Audit: no waiting here is part of the promise.
        assert bodies_in(sink.data / "audit" / "audit.jsonl") == ["done"]
        assert wait_until(lambda: bool(sink.spans() and sink.metrics() and sink.bodies()))
    assert sink.spans() == ["work"]
    assert [metric["name"] for metric in sink.metrics()] == ["requests"]
    assert sink.bodies() == ["said"]
    for name in ("traces", "metrics", "logs"):
        text = (sink.data / f"{name}.jsonl").read_text(encoding="utf-8")
        assert '"note"' in text
        assert "sk-x" not in text


def lost_over_an_outage(
    binary: Path,
    sink: Sink,
    folder: Path,
    config: str | Path = "agent",
    *,
    patience_s: float = 60,
    tried: str = "Exporting failed",
) -> set[str]:
    """What was acknowledged while the gateway was away and the agent Collector was killed."""
    acknowledged: set[str] = set()
    with agent(binary, folder, sink, config) as process:
        for number in range(REQUESTS):
            if Sender(process.http_port).post("logs", logs(f"record {number}")):
                acknowledged.add(f"record {number}")
        assert not Sender(process.audit_port).record("nobody has it")

        def failures() -> int:
            lines = process.log_path.read_text().splitlines()
            # The audit exporter fails at once.
            return sum(tried in line and "otlp_grpc/gateway" in line for line in lines)

        # Part of the test is that the exporter has tried, and failed; and once more, so that what
        # it does after the first failure is done.
        assert wait_until(lambda: failures() > 0)
        before = failures()
        if Sender(process.http_port).post("logs", logs("one more")):
            acknowledged.add("one more")
        assert wait_until(lambda: failures() > before)
        process.kill()
    assert len(acknowledged) == REQUESTS + 1
    with sink.process, agent(binary, folder, sink, config) as process:
        wait_until(lambda: acknowledged <= set(sink.bodies()), seconds=patience_s)
        assert Sender(process.audit_port).record("here")
    assert bodies_in(sink.data / "audit" / "audit.jsonl") == ["here"]
    return acknowledged - set(sink.bodies())


def test_an_outage_of_the_gateway_and_a_kill_lose_nothing_that_was_acknowledged(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    sink = Sink(dev_binary, tmp_path)
    assert lost_over_an_outage(gateway_binary, sink, tmp_path) == set()


def in_memory(config: dict[str, Any]) -> None:
    del config["exporters"]["otlp_grpc/gateway"]["sending_queue"]["storage"]


def impatient(config: dict[str, Any]) -> None:
    retry = config["exporters"]["otlp_grpc/gateway"]["retry_on_failure"]
    retry |= dict.fromkeys(("initial_interval", "max_interval", "max_elapsed_time"), "10ms")
    retry["randomization_factor"] = 0  # else some wait 5 ms and try again


@pytest.mark.parametrize(
    ("sabotage", "tried"), [(in_memory, "Exporting failed"), (impatient, "Dropping data")]
)
def test_without_a_queue_on_disk_or_endless_retries_an_outage_loses_records(
    gateway_binary: Path,
    dev_binary: Path,
    tmp_path: Path,
    sabotage: Callable[[dict[str, Any]], None],
    tried: str,
) -> None:
    """The saboteurs of the test above (rules R14 and R09)."""
    sink = Sink(dev_binary, tmp_path)
    config = changed(config_path("agent"), tmp_path / "changed.yaml", sabotage)
    assert lost_over_an_outage(gateway_binary, sink, tmp_path, config, patience_s=2, tried=tried)


# What the gateway answers, and what its agent Collector makes of it.  The spool sets a record aside
# for 400 and 413, so nothing that speaks of the way may become one of them.
ANSWERS = {200: 200, 400: 400, 401: 401, 403: 403, 404: 404, 413: 500, 429: 429}
ANSWERS |= {500: 500, 502: 503, 503: 503, 504: 503}


def test_an_audit_record_that_the_gateway_refuses_is_not_acknowledged(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    sink = Sink(dev_binary, tmp_path)
    with OtlpCapture() as gateway:
        address = {"KAIZEN_OTEL_GATEWAY_AUDIT_ENDPOINT": gateway.endpoint}
        with agent(gateway_binary, tmp_path, sink, **address) as process:
            sender = Sender(process.audit_port)
            found = {}
            for answer in ANSWERS:
                gateway.answer = answer
                found[answer] = sender.status("logs", logs(f"answered with {answer}"))
            assert found == ANSWERS
            gateway.stop()
            assert sender.status("logs", logs("nobody there")) == 503
    assert [record["body"]["stringValue"] for record in gateway.logs()] == ["answered with 200"]
