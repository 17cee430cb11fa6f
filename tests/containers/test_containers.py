"""The Collector and its backends as real containers."""

from __future__ import annotations

import json
import urllib.error
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from testcontainers.core.network import Network

from kaizen_otel.testing.backends import (
    is_jaeger_available,
    query_jaeger_traces,
    query_prometheus,
    search_logs,
)
from kaizen_otel.testing.containers import (
    CollectorContainer,
    ElasticsearchContainer,
    JaegerContainer,
    PrometheusContainer,
)
from tests.backends.otlp_probe import Probe, post

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Backends:
    """The three backends on one network, where they are called as their component."""

    network: Network
    jaeger: JaegerContainer
    prometheus: PrometheusContainer
    elasticsearch: ElasticsearchContainer

    def collector(self) -> CollectorContainer:
        """A Collector on the network, not started, that routes to the three."""
        return (
            CollectorContainer(
                environment={
                    "JAEGER_OTLP_ENDPOINT": "jaeger:14317",
                    "PROMETHEUS_REMOTE_WRITE_ENDPOINT": "http://prometheus:9090/api/v1/write",
                    "ELASTICSEARCH_ENDPOINT": "http://elasticsearch:9200",
                }
            )
            .with_network(self.network)
            .with_network_aliases("collector")
        )


@pytest.fixture(scope="module")
def backends(engine: str) -> Iterator[Backends]:
    with (
        Network() as network,
        JaegerContainer().with_network(network).with_network_aliases("jaeger") as jaeger,
        PrometheusContainer().with_network(network).with_network_aliases("prometheus") as metrics,
        ElasticsearchContainer()
        .with_network(network)
        .with_network_aliases("elasticsearch") as store,
    ):
        yield Backends(network=network, jaeger=jaeger, prometheus=metrics, elasticsearch=store)


def _writable_by_all(directory: Path) -> Path:
    """The container's user is not ours."""
    directory.chmod(0o777)
    return directory


def _audited(trail: Path) -> set[str]:
    """The texts of all records in a trail."""
    return {
        record["body"]["stringValue"]
        for line in trail.read_text(encoding="utf-8").splitlines()
        for resource in json.loads(line)["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    }


def test_the_backends_come_up_and_answer(backends: Backends) -> None:
    assert is_jaeger_available(backends.jaeger.url)
    assert query_jaeger_traces("nobody", url=backends.jaeger.url) == []
    assert query_prometheus("vector(1)", url=backends.prometheus.url)[0]["value"][1] == "1"
    assert search_logs(trace_id=Probe().trace_id, url=backends.elasticsearch.url) == []


def test_each_kind_of_telemetry_goes_its_whole_way_between_containers(backends: Backends) -> None:
    probe = Probe()
    with backends.collector() as collector:
        probe.send_telemetry(collector.otlp_http_url)
        assert probe.wait_for_trace(backends.jaeger.url) == {
            probe.root_id: "",
            probe.child_id: probe.root_id,
        }
        assert probe.wait_for_counter(backends.prometheus.url) == "7"
        assert probe.wait_for_log(backends.elasticsearch.url)["trace_id"] == probe.trace_id


def test_an_answered_audit_record_survives_sigkill_and_start_on_the_same_volume(
    engine: str, tmp_path: Path
) -> None:
    probe = Probe()
    with CollectorContainer(data_directory=_writable_by_all(tmp_path)) as collector:
        for number in range(3):
            probe.send_audit(collector.audit_url, f"before {number}")
        collector.kill()
        collector.start_again()
        probe.send_audit(collector.audit_url, "after")
        trail = tmp_path / "audit" / "audit.jsonl"
        assert _audited(trail) == {"before 0", "before 1", "before 2", "after"}


def test_telemetry_queued_for_an_absent_backend_arrives_after_sigkill_and_start(
    engine: str, tmp_path: Path, backends: Backends
) -> None:
    """The first Collector knows no Jaeger; the second takes over its volume and does."""
    probe = Probe()
    data = _writable_by_all(tmp_path)
    nowhere = {
        "JAEGER_OTLP_ENDPOINT": "127.0.0.1:9",
        "ELASTICSEARCH_ENDPOINT": "http://127.0.0.1:9",
    }
    with CollectorContainer(data_directory=data, environment=nowhere) as collector:
        probe.send_telemetry(collector.otlp_http_url)
        collector.kill()
    second = backends.collector().with_volume_mapping(data, "/data", "rw")
    second.tmpfs.clear()
    with second:
        assert set(probe.wait_for_trace(backends.jaeger.url)) == {probe.root_id, probe.child_id}


def test_a_collector_runs_without_root_and_without_a_writable_root_file_system(
    engine: str,
) -> None:
    with CollectorContainer(config="dev") as collector:
        facts = collector.get_wrapped_container().attrs
        assert facts["HostConfig"]["ReadonlyRootfs"] is True
        assert facts["HostConfig"]["CapDrop"] == ["ALL"]
        assert str(facts["Config"]["User"]).startswith("10001")
        host = facts["NetworkSettings"]["Ports"]["4318/tcp"][0]["HostIp"]
        assert host == "127.0.0.1"


def test_a_stopped_collector_refuses_and_loses_nothing_that_it_answered(
    engine: str, tmp_path: Path
) -> None:
    probe = Probe()
    with CollectorContainer(data_directory=_writable_by_all(tmp_path)) as collector:
        probe.send_audit(collector.audit_url, "answered")
        url = collector.audit_url
        collector.get_wrapped_container().stop(timeout=20)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            post(f"{url}/v1/logs", {"resourceLogs": []})
    assert _audited(tmp_path / "audit" / "audit.jsonl") == {"answered"}
