"""What the overlays for routes promise: errors survive sampling, metrics survive outages."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from kaizen_otel._collector.resources import config_path
from tests.collector.otlp_json import Sender, counter, span
from tests.collector.processes import collector
from tests.collector.sink import Sink, changed
from tests.collector.store import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kaizen_otel._collector.run import CollectorProcess

REQUESTS = 30


def gateway(
    binary: Path, folder: Path, sink: Sink, overlays: Sequence[str | Path], **environment: str
) -> CollectorProcess:
    """The gateway with another Collector in the place of Jaeger and of Prometheus."""
    return collector(
        binary,
        folder,
        ["gateway", *overlays],
        JAEGER_OTLP_ENDPOINT=f"127.0.0.1:{sink.process.grpc_port}",
        PROMETHEUS_OTLP_ENDPOINT=f"http://127.0.0.1:{sink.process.http_port}/v1/metrics",
        **environment,
    )


def trace(number: int, *, failed: bool) -> dict[str, Any]:
    """A root and one child; the child of a failed trace has an error."""
    request = span("root")
    (scope,) = request["resourceSpans"][0]["scopeSpans"]
    root = {**scope["spans"][0], "traceId": f"{number + 1:032x}"}
    child = {**root, "name": "child", "spanId": "c7ad6b7169203331", "parentSpanId": root["spanId"]}
    if failed:
        child |= {"name": "failed child", "status": {"code": 2}}
    scope["spans"] = [root, child]
    return request


def test_tail_sampling_keeps_traces_with_errors_and_counts_all_of_them(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    sink = Sink(dev_binary, tmp_path)
    soon = tmp_path / "soon.yaml"
    soon.write_text("connectors: {span_metrics: {metrics_flush_interval: 500ms}}\n")
    overlays: list[str | Path] = ["tail-sampling", "metrics-otlp", soon]
    expected = {"root": 10, "child": 8, "failed child": 2}
    process = gateway(
        gateway_binary,
        tmp_path,
        sink,
        overlays,
        KAIZEN_OTEL_SAMPLING_PERCENTAGE="0",
        KAIZEN_OTEL_SAMPLING_WAIT="1s",
    )
    with sink.process, process:
        sender = Sender(process.http_port)
        for number in range(10):
            assert sender.post("traces", trace(number, failed=number % 5 == 0))
        assert wait_until(lambda: len(sink.spans()) >= 4), process.log_tail()
        assert wait_until(lambda: calls(sink) == expected), calls(sink)
    assert Counter(sink.spans()) == {"root": 2, "failed child": 2}


def calls(sink: Sink) -> Counter[str]:
    """How many spans of each name were counted, as the newest point of each series says."""
    found: Counter[str] = Counter()
    for metric in sink.metrics():
        if metric["name"] == "traces.span.metrics.calls":
            for point in metric["sum"]["dataPoints"]:
                attributes = {each["key"]: each["value"] for each in point["attributes"]}
                found[attributes["span.name"]["stringValue"]] = int(point["asInt"])
    return found


def metrics_lost_over_an_outage(
    binary: Path, sink: Sink, folder: Path, overlay: Path, *, patience_s: float = 60
) -> set[str]:
    """What was acknowledged while Prometheus was away and the gateway was killed."""
    names = {f"metric_{number}" for number in range(REQUESTS)}
    with gateway(binary, folder, sink, [overlay]) as process:
        for name in sorted(names):
            assert Sender(process.http_port).post("metrics", counter(name, 1))
        assert wait_until(lambda: "Exporting failed" in process.log_path.read_text())
        process.kill()
    with sink.process, gateway(binary, folder, sink, [overlay]):
        wait_until(lambda: names <= found(sink), seconds=patience_s)
    return names - found(sink)


def found(sink: Sink) -> set[str]:
    return {metric["name"] for metric in sink.metrics()}


def test_metrics_by_otlp_survive_an_outage_and_a_kill(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    sink = Sink(dev_binary, tmp_path)
    overlay = config_path("metrics-otlp")
    assert metrics_lost_over_an_outage(gateway_binary, sink, tmp_path, overlay) == set()


def test_without_a_queue_on_disk_the_same_outage_loses_metrics(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    """The saboteur of the test above (rule R14)."""

    def in_memory(config: dict[str, Any]) -> None:
        del config["exporters"]["otlp_http/prometheus"]["sending_queue"]["storage"]

    sink = Sink(dev_binary, tmp_path)
    overlay = changed(config_path("metrics-otlp"), tmp_path / "overlay.yaml", in_memory)
    assert metrics_lost_over_an_outage(gateway_binary, sink, tmp_path, overlay, patience_s=2)


def test_the_official_exporters_overlay_marks_records_for_its_mode(
    gateway_binary: Path, dev_binary: Path, tmp_path: Path
) -> None:
    """The official exporter reads the mode from the scope; here another Collector shows it."""
    shown = tmp_path / "shown.yaml"
    shown.write_text(
        "exporters:\n"
        "  otlp_grpc/shown:\n"
        '    endpoint: "${env:JAEGER_OTLP_ENDPOINT}"\n'
        "    tls: {insecure: true}\n"
        "service: {pipelines: {logs: {exporters: [otlp_grpc/shown]}}}\n"
    )
    sink = Sink(dev_binary, tmp_path)
    overlays: list[str | Path] = ["opensearch", shown]
    with sink.process:
        with gateway(gateway_binary, tmp_path, sink, overlays) as process:
            assert Sender(process.http_port).record("said")
            assert wait_until(lambda: sink.bodies() == ["said"]), process.log_tail()
        text = (sink.data / "logs.jsonl").read_text(encoding="utf-8")
    assert '{"key":"elastic.mapping.mode","value":{"stringValue":"ecs"}}' in text
