"""The ports of the local stack."""

from __future__ import annotations

from dataclasses import asdict

import pytest

from kaizen_otel._stack import StackPorts
from kaizen_otel.errors import ConfigError


def test_defaults_are_those_of_the_design() -> None:
    ports = StackPorts()
    assert (ports.otlp_grpc, ports.otlp_http, ports.audit) == (4317, 4318, 4319)
    assert (ports.jaeger_query, ports.jaeger_otlp_grpc, ports.jaeger_otlp_http) == (
        16686,
        14317,
        14318,
    )
    assert (ports.prometheus, ports.elasticsearch) == (9090, 9200)
    assert (ports.collector_health, ports.collector_metrics) == (13133, 8888)


def test_no_two_defaults_collide() -> None:
    numbers = list(asdict(StackPorts()).values())
    assert len(set(numbers)) == len(numbers)


def test_a_setting_replaces_one_port_and_leaves_the_others() -> None:
    changed = StackPorts().changed(["jaeger-query=3000", "prometheus=3001"])
    assert changed == StackPorts(jaeger_query=3000, prometheus=3001)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'jager'.*jaeger_query"):
        StackPorts().changed(["jager=1"])


@pytest.mark.parametrize("text", ["prometheus", "prometheus=", "prometheus=0", "prometheus=65536"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="1 to 65535"):
        StackPorts().changed([text])
