"""Gateway, real Jaeger, real Prometheus: what is counted of spans feeds Jaeger's monitor page."""

from __future__ import annotations

import functools
import json
import time
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel._stack import NativeStack, StackPorts
from kaizen_otel.errors import SetupError
from kaizen_otel.testing import query_prometheus, wait_until
from tests.collector.otlp_json import Sender, span

if TYPE_CHECKING:
    from collections.abc import Iterator

DEADLINE_S = 90.0
# What stays without the log store: its records wait in the gateway's queue.
COMPONENTS = ("jaeger", "prometheus", "collector")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    running = NativeStack(directory=tmp_path_factory.mktemp("monitor"), ports=StackPorts.free())
    try:
        running.up(COMPONENTS)
    except SetupError as error:
        pytest.skip(str(error))
    yield running
    running.down()


@pytest.mark.timeout(1200)
def test_spans_are_counted_in_prometheus_and_shown_by_jaegers_monitor(stack: NativeStack) -> None:
    sender = Sender(stack.ports.otlp_http)
    attributes = {"gen_ai.agent.name": "planner", "gen_ai.tool.name": "search"}

    def counted() -> list[dict[str, Any]]:
        # Rates need points of two flushes, so the agent goes on working.
        assert sender.post("traces", span("execute_tool search", attributes))
        return query_prometheus("traces_span_metrics_calls_total > 1", url=stack.urls["prometheus"])

    series = wait_until(counted, DEADLINE_S)
    # Who calls what, from the series alone: agent, tool, model stand beside the service.
    labels = series[0]["metric"]
    assert labels["service_name"] == "agent"
    assert labels["span_name"] == "execute_tool search"
    assert (labels["gen_ai_agent_name"], labels["gen_ai_tool_name"]) == ("planner", "search")
    quantile = (
        "histogram_quantile(0.95, sum by (le, service_name) "
        "(traces_span_metrics_duration_milliseconds_bucket))"
    )
    (duration,) = query_prometheus(quantile, url=stack.urls["prometheus"])
    assert 50 < float(duration["value"][1]) <= 100, "each span took 100 ms"
    for kind in ("calls", "latencies"):
        wait_until(functools.partial(shown, stack, kind), DEADLINE_S)


def shown(stack: NativeStack, kind: str) -> list[dict[str, Any]]:
    """The points that Jaeger's monitor page would draw for the service."""
    assert Sender(stack.ports.otlp_http).post("traces", span("execute_tool search"))
    query = {
        "service": "agent",
        "quantile": "0.95",
        "spanKind": "internal",
        "groupByOperation": "true",
        "endTs": str(int(time.time() * 1000)),
        "lookback": "600000",
        "step": "5000",
        "ratePer": "600000",
    }
    names = ["service", "quantile"] if kind == "latencies" else ["service"]
    names += ["spanKind", "groupByOperation", "endTs", "lookback", "step", "ratePer"]
    text = urllib.parse.urlencode({name: query[name] for name in names})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"{stack.urls['jaeger']}/api/metrics/{kind}?{text}", timeout=10) as answer:
        found = json.load(answer)
    return [
        point
        for metric in found.get("metrics", [])
        for point in metric.get("metricPoints", [])
        if point.get("gaugeValue", {}).get("doubleValue", "NaN") != "NaN"
    ]
