"""What the backends are told."""

from __future__ import annotations

from typing import Any

from kaizen_otel._stack import StackPorts, jaeger, prometheus


def _endpoints(config: object) -> list[str]:
    if not isinstance(config, dict):
        return []
    found: list[str] = []
    for key, value in config.items():
        found += [value] if key == "endpoint" else _endpoints(value)
    return found


def test_jaeger_listens_on_loopback_only() -> None:
    endpoints = _endpoints(jaeger.configuration(StackPorts()))
    assert "http://127.0.0.1:9090" in endpoints, "where it reads the metrics of its monitor"
    endpoints.remove("http://127.0.0.1:9090")
    assert len(endpoints) == 5
    assert all(each.startswith("127.0.0.1:") for each in endpoints)


def test_jaeger_does_not_trace_itself_to_our_collector() -> None:
    config: dict[str, Any] = jaeger.configuration(StackPorts())
    assert config["extensions"]["jaeger_query"]["enable_tracing"] is False


def test_prometheus_listens_on_loopback_and_keeps_a_bounded_store() -> None:
    arguments = prometheus.arguments(
        config="c", data="d", host="127.0.0.1", ports=StackPorts(prometheus=1234)
    )
    assert "--web.listen-address=127.0.0.1:1234" in arguments
    assert any(each.startswith("--storage.tsdb.retention.size=") for each in arguments)
