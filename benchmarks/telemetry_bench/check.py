"""Whether what arrived is what was offered, decoded with the official protobuf classes.

Nobody may win by losing or garbling: every span, log record and sum of a run is compared with
what was offered, and so every contender's with every other's.
"""

from __future__ import annotations

import gzip
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from benchmarks.telemetry_bench.shapes import (
    BODIES,
    DIMENSIONS,
    SEVERITIES,
    SHAPES,
    WARM_UP,
    attributes_of,
    expected_span,
    index_of,
    parent_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

Report = dict[str, Any]
_EXAMPLES_MAX: Final = 5
_DROPPED: Final = ("dropped_attributes_count", "dropped_events_count", "dropped_links_count")


def decompressed(body: bytes) -> bytes:
    """The body without gzip, which its first bytes tell: no protobuf request begins like that."""
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


def _value(any_value: Any) -> Any:  # noqa: ANN401 - protobuf's AnyValue holds anything
    kind = any_value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(one) for one in any_value.array_value.values)
    return getattr(any_value, kind) if kind else None


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _same(found: Any, expected: Any) -> bool:  # noqa: ANN401 - as above
    # In Python 1 == 1.0 == True, on the wire they are three things.
    if type(found) is not type(expected):
        return False
    if isinstance(found, dict):
        return found.keys() == expected.keys() and all(
            _same(value, expected[key]) for key, value in found.items()
        )
    if isinstance(found, tuple):
        return len(found) == len(expected) and all(map(_same, found, expected))
    return bool(found == expected)


class Findings:
    """What a check found.  ``wrong`` counts items that arrived, but not as offered."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.seen: Counter[int] = Counter()
        self.wrong = 0
        self.examples: list[str] = []

    def fault(self, text: str) -> None:
        """Note something that is not as offered."""
        self.wrong += 1
        if len(self.examples) < _EXAMPLES_MAX:
            self.examples.append(text)

    def is_offered(self, index: int | None, what: str) -> bool:
        """Note an arrival; False if it is of the warm-up or was never offered."""
        if index is None or index < 0:
            self.fault(f"{what} without its number")
            return False
        if index >= WARM_UP:
            return False
        if index >= self.count:
            self.fault(f"{what} {index} was never offered")
            return False
        self.seen[index] += 1
        return True

    def report(self) -> Report:
        """The figures."""
        return {
            "delivered": len(self.seen),
            "missing": self.count - len(self.seen),
            "duplicates": self.seen.total() - len(self.seen),
            "wrong": self.wrong,
            "examples": self.examples,
        }


def _spans(bodies: Iterable[bytes]) -> Iterator[Any]:
    for body in bodies:
        request = ExportTraceServiceRequest.FromString(decompressed(body))
        for resource_spans in request.resource_spans:
            for scope_spans in resource_spans.scope_spans:
                yield from scope_spans.spans


def check_spans(bodies: Sequence[bytes], count: int) -> Report:
    """Compare spans 0 to ``count`` with what arrived: all fields, and each one's parent."""
    findings = Findings(count)
    numbers: dict[bytes, int] = {}
    parents: list[tuple[int, bytes, bytes]] = []
    traces: dict[bytes, bytes] = {}
    for span in _spans(bodies):
        attributes = _attributes(span.attributes)
        index = index_of(attributes)
        if not findings.is_offered(index, "span") or index is None:
            continue
        expected = expected_span(index)
        for field, found, wanted in (
            ("name", span.name, expected.name),
            ("kind", span.kind, expected.kind),
            ("attributes", attributes, dict(expected.attributes)),
        ):
            if not _same(found, wanted):
                findings.fault(f"span {index}: {field} {found!r}, offered {wanted!r}")
        _check_rest(findings, index, span)
        if findings.seen[index] == 1 and span.span_id in numbers:
            findings.fault(f"span {index} has the id of span {numbers[span.span_id]}")
        numbers[span.span_id] = index
        traces[span.span_id] = span.trace_id
        parents.append((index, span.parent_span_id, span.trace_id))
    _check_parents(findings, numbers, parents, traces)
    return findings.report()


def _check_rest(findings: Findings, index: int, span: Any) -> None:  # noqa: ANN401 - protobuf's
    expected = expected_span(index)
    if span.events or expected.events:
        events = tuple((one.name, _attributes(one.attributes)) for one in span.events)
        if not _same(events, expected.events):
            findings.fault(f"span {index}: events {events!r}, offered {expected.events!r}")
    if span.links or expected.links:
        links = tuple(
            (
                int.from_bytes(one.trace_id, "big"),
                int.from_bytes(one.span_id, "big"),
                _attributes(one.attributes),
            )
            for one in span.links
        )
        if not _same(links, expected.links):
            findings.fault(f"span {index}: links {links!r}, offered {expected.links!r}")
    if span.status.code or any(getattr(span, name) for name in _DROPPED):
        findings.fault(f"span {index}: a status or a dropped count that nobody asked for")
    if not 0 < span.start_time_unix_nano <= span.end_time_unix_nano:
        findings.fault(f"span {index}: it ends before it starts")
    if len(span.trace_id) != 16 or len(span.span_id) != 8:  # noqa: PLR2004 - sizes of the ids
        findings.fault(f"span {index}: ids of a wrong size")


def _check_parents(
    findings: Findings,
    numbers: dict[bytes, int],
    parents: Iterable[tuple[int, bytes, bytes]],
    traces: dict[bytes, bytes],
) -> None:
    for index, parent_id, trace_id in parents:
        wanted = parent_of(index)
        found = numbers.get(parent_id) if parent_id else None
        if wanted is not None and wanted not in findings.seen and parent_id:
            continue  # the parent is lost, which is counted where it is missing
        if found != wanted or (parent_id and found is None):
            findings.fault(f"span {index}: its parent is span {found}, offered {wanted}")
        elif found is not None and traces[parent_id] != trace_id:
            findings.fault(f"span {index}: in another trace than its parent")


def check_nested(bodies: Sequence[bytes], count: int, warm: int = 0) -> Report:
    """Compare names, parents and counts alone: vendors add attributes of their own.

    What was emitted to warm up is among it.
    """
    agents: dict[bytes, bytes] = {}
    children: list[tuple[bytes, bytes]] = []
    wrong: list[str] = []
    for span in _spans(bodies):
        if span.name == "agent" and not span.parent_span_id:
            agents[span.span_id] = span.trace_id
        elif span.name == "tool":
            children.append((span.parent_span_id, span.trace_id))
        else:
            wrong.append(f"{span.name!r} was never offered")
    orphans = sum(agents.get(parent) != trace for parent, trace in children)
    if orphans:
        wrong.append(f"{orphans} tools without their agent")
    if len(children) > len(agents):
        wrong.append(f"{len(children)} tools of {len(agents)} agents")
    delivered = min(len(agents), len(children)) - warm
    return {
        "delivered": min(count, max(0, delivered)),
        "missing": max(0, count - delivered),
        "duplicates": max(0, delivered - count),
        "wrong": len(wrong),
        "examples": wrong[:_EXAMPLES_MAX],
    }


def check_logs(bodies: Sequence[bytes], count: int) -> Report:
    """Compare log records 0 to ``count``: body, severity and attributes."""
    findings = Findings(count)
    for body in bodies:
        request = ExportLogsServiceRequest.FromString(decompressed(body))
        for resource_logs in request.resource_logs:
            for scope_logs in resource_logs.scope_logs:
                for record in scope_logs.log_records:
                    _check_log(findings, record)
    return findings.report()


def _check_log(findings: Findings, record: Any) -> None:  # noqa: ANN401 - protobuf's
    attributes = _attributes(record.attributes)
    index = index_of(attributes)
    if not findings.is_offered(index, "log record") or index is None:
        return
    wanted = dict(attributes_of(SHAPES[index % len(SHAPES)], index))
    if not _same(attributes, wanted):
        findings.fault(f"log record {index}: attributes {attributes!r}, offered {wanted!r}")
    if record.body.string_value != BODIES[index % len(BODIES)]:
        findings.fault(f"log record {index}: body {record.body.string_value!r}")
    if record.severity_number != SEVERITIES[index % len(SEVERITIES)][1]:
        findings.fault(f"log record {index}: severity {record.severity_number}")


def _points(bodies: Iterable[bytes], name: str) -> Iterator[tuple[str, Any]]:
    for body in bodies:
        request = ExportMetricsServiceRequest.FromString(decompressed(body))
        for resource_metrics in request.resource_metrics:
            for scope_metrics in resource_metrics.scope_metrics:
                for metric in scope_metrics.metrics:
                    if metric.name == name:
                        kind = str(metric.WhichOneof("data"))
                        for point in getattr(metric, kind).data_points:
                            yield kind, point


def check_metrics(bodies: Sequence[bytes], count: int, *, name: str, warm: int = 0) -> Report:
    """Compare the last cumulative counts (and sums) of the 40 attribute sets.

    The ``warm`` measurements of the warm-up are in them as well.
    """
    counts: Counter[int] = Counter()
    sums: Counter[int] = Counter()
    wrong: list[str] = []
    keys = {_key(dimensions): number for number, dimensions in enumerate(DIMENSIONS)}
    for kind, point in _points(bodies, name):
        number = keys.get(_key(_attributes(point.attributes)))
        if number is None:
            wrong.append(f"attributes that were never offered: {point.attributes}")
        elif kind == "histogram":
            counts[number] = max(counts[number], point.count)
            sums[number] = max(sums[number], round(point.sum * 1000))
        else:
            counts[number] = max(counts[number], round(point.as_double or point.as_int))
    offered, offered_sums = Counter[int](), Counter[int]()
    for index in chain(range(count), range(WARM_UP, WARM_UP + warm)):
        offered[index % len(DIMENSIONS)] += 1
        offered_sums[index % len(DIMENSIONS)] += index & 1023
    for number in offered:
        if counts[number] != offered[number]:
            wrong.append(f"set {number}: counted {counts[number]}, offered {offered[number]}")
        elif sums and sums[number] != offered_sums[number]:
            wrong.append(f"set {number}: sum {sums[number]}, offered {offered_sums[number]} ms")
    return {
        "delivered": max(0, counts.total() - warm),
        "missing": max(0, offered.total() - counts.total()),
        "duplicates": max(0, counts.total() - offered.total()),
        "wrong": len(wrong),
        "examples": wrong[:_EXAMPLES_MAX],
    }


def _key(attributes: Any) -> tuple[tuple[str, Any], ...]:  # noqa: ANN401 - values of any type
    return tuple(sorted(attributes.items()))


def check_pairs(bodies: Mapping[str, Sequence[bytes]], count: int, warm: int) -> Report:
    """Count what tells of ``count`` tool calls: spans, measured durations, log records.

    Of the log records one a call is the audit record and one is not; there may be more.
    """
    spans = sum(1 for _ in _spans(bodies.get("traces", ())))
    durations: Counter[Any] = Counter()
    for _, point in _points(bodies.get("metrics", ()), "gen_ai.execute_tool.duration"):
        key = _key(_attributes(point.attributes))
        durations[key] = max(durations[key], point.count)
    requests = map(ExportLogsServiceRequest.FromString, map(decompressed, bodies.get("logs", ())))
    logs = sum(
        len(scope_logs.log_records)
        for request in requests
        for resource_logs in request.resource_logs
        for scope_logs in resource_logs.scope_logs
    )
    wanted = count + warm
    found = {"spans": spans, "durations": durations.total(), "log records": logs}
    wrong = [
        f"{amount} {name} of {wanted} calls"
        for name, amount in found.items()
        if (amount < 2 * wanted if name == "log records" else amount != wanted)
    ]
    delivered = max(0, min(spans, durations.total(), logs // 2) - warm)
    return {
        "delivered": delivered,
        "missing": max(0, count - delivered),
        "duplicates": 0,
        "wrong": len(wrong),
        "examples": wrong,
    }


def check_any(bodies: Sequence[bytes], count: int) -> Report:
    """Only count the spans that arrived."""
    found = sum(1 for _ in _spans(bodies))
    return {
        "delivered": found,
        "missing": max(0, count - found),
        "duplicates": 0,
        "wrong": 0,
        "examples": [],
    }


def check(bodies: dict[str, list[bytes]], what: str, count: int, warm: int = 0) -> Report:
    """Check what arrived: ``what`` is the door, ``pairs``, or ``any`` to count spans only."""
    if what == "pairs":
        return check_pairs(bodies, count, warm)
    if what in {"counter", "histogram"}:
        metrics = bodies.get("metrics", [])
        return check_metrics(metrics, count, name=f"bench.{what}", warm=warm)
    if what == "logs":
        return check_logs(bodies.get("logs", []), count)
    if what == "nested":
        return check_nested(bodies.get("traces", []), count, warm)
    of_spans: dict[str, Callable[[Sequence[bytes], int], Report]] = {
        "spans": check_spans,
        "any": check_any,
    }
    return of_spans[what](bodies.get("traces", []), count)
