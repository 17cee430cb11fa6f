"""One raw OTLP/JSON item of each kind, sent without any of our emitter, and where it must be."""

from __future__ import annotations

import json
import secrets
import time
import urllib.request
from dataclasses import dataclass, field
from typing import Any

from kaizen_otel.testing.backends import (
    query_jaeger_traces,
    query_prometheus,
    search_logs,
    wait_until,
)

ARRIVAL_DEADLINE_S = 60.0


def _attributes(**values: str) -> list[dict[str, Any]]:
    return [
        {"key": key.replace("__", "."), "value": {"stringValue": value}}
        for key, value in values.items()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A trace of two spans, a counter, a log record and an audit record of one service."""

    service: str = field(default_factory=lambda: f"probe-{secrets.token_hex(4)}")
    trace_id: str = field(default_factory=lambda: secrets.token_hex(16))
    root_id: str = field(default_factory=lambda: secrets.token_hex(8))
    child_id: str = field(default_factory=lambda: secrets.token_hex(8))
    time_ns: int = field(default_factory=time.time_ns)

    def send_telemetry(self, otlp_http_url: str) -> None:
        """Send traces, metrics and logs to an OTLP/HTTP receiver."""
        start, end = str(self.time_ns - 10**9), str(self.time_ns)
        times = {"startTimeUnixNano": start, "endTimeUnixNano": end}
        spans = [
            {"spanId": self.root_id, "name": "invoke_agent planner", **times},
            {
                "spanId": self.child_id,
                "parentSpanId": self.root_id,
                "name": "execute_tool search",
                **times,
            },
        ]
        point = {"asInt": "7", "startTimeUnixNano": start, "timeUnixNano": end}
        counter = {
            "name": "probe.runs",
            "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": [point]},
        }
        post(
            f"{otlp_http_url}/v1/traces",
            self._request("Spans", "spans", [{"traceId": self.trace_id, **each} for each in spans]),
        )
        post(f"{otlp_http_url}/v1/metrics", self._request("Metrics", "metrics", [counter]))
        post(
            f"{otlp_http_url}/v1/logs",
            self._request("Logs", "logRecords", [self._record("tool finished with 3 plans")]),
        )

    def send_audit(self, audit_url: str, text: str) -> None:
        """Send one record to the audit receiver; returns when it was answered with success."""
        post(f"{audit_url}/v1/logs", self._request("Logs", "logRecords", [self._record(text)]))

    def wait_for_trace(self, jaeger_url: str) -> dict[str, str]:
        """The trace's spans in Jaeger: the parent's id (empty for a root) by span id."""

        def both() -> dict[str, str] | None:
            traces = query_jaeger_traces(self.service, url=jaeger_url, trace_id=self.trace_id)
            if not traces or len(traces[0]["spans"]) < 2:
                return None
            return {
                span["spanID"]: next((ref["spanID"] for ref in span["references"]), "")
                for span in traces[0]["spans"]
            }

        found = wait_until(both, ARRIVAL_DEADLINE_S)
        assert found is not None
        return found

    def wait_for_counter(self, prometheus_url: str) -> str:
        """The counter's value in Prometheus, as text."""
        query = f'probe_runs_total{{job="{self.service}"}}'
        series = wait_until(lambda: query_prometheus(query, url=prometheus_url), ARRIVAL_DEADLINE_S)
        return str(series[0]["value"][1])

    def wait_for_log(self, elasticsearch_url: str) -> dict[str, Any]:
        """The log record's document in the store."""
        found = wait_until(
            lambda: search_logs("plans", trace_id=self.trace_id, url=elasticsearch_url),
            ARRIVAL_DEADLINE_S,
        )
        assert len(found) == 1
        return found[0]

    def _record(self, text: str) -> dict[str, Any]:
        return {
            "timeUnixNano": str(self.time_ns),
            "severityNumber": 9,
            "severityText": "INFO",
            "body": {"stringValue": text},
            "attributes": _attributes(gen_ai__tool__name="search"),
            "traceId": self.trace_id,
            "spanId": self.child_id,
        }

    def _request(self, kind: str, items_key: str, items: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            f"resource{kind}": [
                {
                    "resource": {"attributes": _attributes(service__name=self.service)},
                    f"scope{kind}": [{"scope": {"name": "probe"}, items_key: items}],
                }
            ]
        }


def post(url: str, content: object) -> None:
    """POST a JSON body; raises urllib's HTTPError unless it was answered with success."""
    request = urllib.request.Request(
        url, data=json.dumps(content).encode(), headers={"Content-Type": "application/json"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    opener.open(request, timeout=30).close()
