"""Small folders of OTLP/JSON lines, as a Collector with the dev config writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

START_NS = 1_790_000_000 * 10**9
Json = dict[str, Any]


def pairs(values: dict[str, object]) -> list[Json]:
    """Attributes in OTLP/JSON's shape."""
    return [
        {"key": key, "value": {"intValue": str(v)} if isinstance(v, int) else {"stringValue": v}}
        for key, v in values.items()
    ]


def span(trace: int, number: int, *, parent: int = 0, name: str = "", **more: Any) -> Json:  # noqa: ANN401 - JSON
    """One span of 10 ms, a second after the one of the trace before."""
    start_ns = START_NS + trace * 10**9 + number * 10**6
    return {
        "traceId": f"{trace:032x}",
        "spanId": f"{trace * 1000 + number:016x}",
        "parentSpanId": f"{trace * 1000 + parent:016x}" if parent else "",
        "name": name or f"span {number}",
        "kind": 1,
        "startTimeUnixNano": str(start_ns),
        "endTimeUnixNano": str(start_ns + 10 * 10**6),
        "attributes": pairs(more.pop("attributes", {})),
        "status": {"code": 2, "message": "it failed"} if more.pop("failed", False) else {},
        **more,
    }


def record(trace: int, number: int, *, body: str = "", event: str = "", **attributes: Any) -> Json:  # noqa: ANN401 - JSON
    """One log record."""
    return {
        "timeUnixNano": str(START_NS + trace * 10**9 + number * 10**6),
        "severityText": attributes.pop("severity", "INFO"),
        "body": {"stringValue": body},
        "eventName": event,
        "traceId": f"{trace:032x}" if trace else "",
        "spanId": f"{trace * 1000 + 1:016x}" if trace else "",
        "attributes": pairs(attributes),
    }


def line(kind: str, items: list[Json], *, service: str = "shop") -> bytes:
    """One request on one line; ``kind`` is Spans, Metrics or Logs."""
    names = {"Spans": "spans", "Metrics": "metrics", "Logs": "logRecords"}
    request = {
        f"resource{kind}": [
            {
                "resource": {"attributes": pairs({"service.name": service})},
                f"scope{kind}": [{"scope": {}, names[kind]: items}],
            }
        ]
    }
    return json.dumps(request).encode() + b"\n"


def append(path: Path, *lines: bytes) -> None:
    """Write lines at the end of a file, as the Collector does."""
    path.parent.mkdir(exist_ok=True)
    with path.open("ab") as file:
        for each in lines:
            file.write(each)


def histogram(name: str, at_s: int, *, total: float, count: int, **attributes: Any) -> Json:  # noqa: ANN401 - JSON
    """One cumulative histogram with one data point."""
    point = {
        "timeUnixNano": str(START_NS + at_s * 10**9),
        "sum": total,
        "count": str(count),
        "bucketCounts": [str(count), "0"],
        "explicitBounds": [1.0],
        "attributes": pairs(attributes),
    }
    data = {"aggregationTemporality": 2, "dataPoints": [point]}
    return {"name": name, "unit": "s", "description": "", "histogram": data}
