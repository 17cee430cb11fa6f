"""Small OTLP/JSON requests, a sender that says whether it was acknowledged, and a file reader."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from google.protobuf.message import Message

_MESSAGES: dict[str, type[Message]] = {
    "traces": ExportTraceServiceRequest,
    "metrics": ExportMetricsServiceRequest,
    "logs": ExportLogsServiceRequest,
}
_SERVICES = {"traces": "trace.v1.Trace", "metrics": "metrics.v1.Metrics", "logs": "logs.v1.Logs"}
_IDS = {"traceId", "spanId", "parentSpanId"}


class Sender:
    """Posts OTLP/JSON and says whether it was acknowledged."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def post(self, signal: str, body: dict[str, Any]) -> bool:
        return self.status(signal, body) == 200

    def status(self, signal: str, body: dict[str, Any]) -> int:
        """The HTTP status of the answer; 0 if there was none."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/v1/{signal}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with self._opener.open(request, timeout=10) as answer:
                answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except (OSError, urllib.error.URLError):
            return 0

    def record(self, text: str) -> bool:
        return self.post("logs", logs(text))


def logs(*texts: str, attributes: dict[str, str] | None = None) -> dict[str, Any]:
    """One request with one log record for each text."""
    return {
        "resourceLogs": [
            {
                "resource": {"attributes": [_attribute("service.name", "agent")]},
                "scopeLogs": [
                    {
                        "scope": {"name": "test"},
                        "logRecords": [
                            {
                                "timeUnixNano": "1700000000000000000",
                                "body": {"stringValue": text},
                                "attributes": [
                                    _attribute(key, value)
                                    for key, value in (attributes or {}).items()
                                ],
                            }
                            for text in texts
                        ],
                    }
                ],
            }
        ]
    }


def span(name: str, attributes: dict[str, str] | None = None) -> dict[str, Any]:
    """One request with one span."""
    return {
        "resourceSpans": [
            {
                "resource": {"attributes": [_attribute("service.name", "agent")]},
                "scopeSpans": [
                    {
                        "scope": {"name": "test"},
                        "spans": [
                            {
                                "traceId": "0af7651916cd43dd8448eb211c80319c",
                                "spanId": "b7ad6b7169203331",
                                "name": name,
                                "kind": 1,
                                "startTimeUnixNano": "1700000000000000000",
                                "endTimeUnixNano": "1700000000100000000",
                                "attributes": [
                                    _attribute(key, value)
                                    for key, value in (attributes or {}).items()
                                ],
                            }
                        ],
                    }
                ],
            }
        ]
    }


def counter(name: str, value: int, attributes: dict[str, str] | None = None) -> dict[str, Any]:
    """One request with one cumulative counter."""
    return {
        "resourceMetrics": [
            {
                "scopeMetrics": [
                    {
                        "metrics": [
                            {
                                "name": name,
                                "sum": {
                                    "aggregationTemporality": 2,
                                    "isMonotonic": True,
                                    "dataPoints": [
                                        {
                                            "timeUnixNano": "1700000000000000000",
                                            "asInt": str(value),
                                            "attributes": [
                                                _attribute(key, text)
                                                for key, text in (attributes or {}).items()
                                            ],
                                        }
                                    ],
                                },
                            }
                        ]
                    }
                ]
            }
        ]
    }


#: One request of each signal, with one item of a name.
REQUESTS: dict[str, Callable[[str], dict[str, Any]]] = {
    "traces": span,
    "metrics": lambda name: counter(name, 1),
    "logs": logs,
}


def grpc_method(signal: str) -> str:
    """What takes a signal by OTLP/gRPC."""
    return f"/opentelemetry.proto.collector.{_SERVICES[signal]}Service/Export"


def protobuf_of(signal: str, body: dict[str, Any]) -> bytes:
    """A request as protobuf: OTLP/JSON has ids in hex, where protobuf's JSON has base64."""

    def converted(value: Any, key: str = "") -> Any:  # noqa: ANN401 - whatever JSON holds
        if isinstance(value, dict):
            return {name: converted(each, name) for name, each in value.items()}
        if isinstance(value, list):
            return [converted(each) for each in value]
        if key in _IDS and isinstance(value, str):
            return base64.b64encode(bytes.fromhex(value)).decode()
        return value

    return json_format.ParseDict(converted(body), _MESSAGES[signal]()).SerializeToString()


def bodies_in(path: Path) -> list[str]:
    """The body texts of all whole lines of a file written by the file exporter."""
    found: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line:
            continue
        for resource in json.loads(line)["resourceLogs"]:
            for scope in resource["scopeLogs"]:
                found += [record["body"]["stringValue"] for record in scope["logRecords"]]
    return found


def _attribute(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "value": {"stringValue": value}}
