"""What a real Collector wrote, read back for one process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaizen_otel._otlp.decode import plain_attributes
from kaizen_otel._otlp.json import read_lines
from kaizen_otel._render import build_trees, iter_logs, iter_metrics, iter_spans
from kaizen_otel.audit.record import OWN_EVENTS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kaizen_otel._collector.run import CollectorProcess
    from kaizen_otel._render import SpanNode

Items = list[dict[str, Any]]


def _without_own(records: Items) -> Items:
    """Leave out what a stream of audit records says about itself."""
    return [record for record in records if record.get("eventName") not in OWN_EVENTS]


@dataclass(frozen=True)
class World:
    data: Path
    collector: CollectorProcess

    def spans(self, instance: str) -> Items:
        return self._items("traces.jsonl", iter_spans, instance)

    def metrics(self, instance: str) -> Items:
        return self._items("metrics.jsonl", iter_metrics, instance)

    def logs(self, instance: str) -> Items:
        return _without_own(self._items("logs.jsonl", iter_logs, instance))

    def anchors(self, instance: str) -> Items:
        """What the audit trail says about itself, as it came through the logs."""
        found = self._items("logs.jsonl", iter_logs, instance)
        return [record for record in found if record.get("eventName") in OWN_EVENTS]

    def audit(self, instance: str) -> Items:
        return _without_own(self.trail("audit/audit.jsonl", instance))

    def trail(self, name: str, instance: str) -> Items:
        found = self._items(name, iter_logs, instance)
        return list({str(r["attributes"]["audit.record.id"]): r for r in found}.values())

    def tree(self, instance: str) -> dict[str, str | None]:
        """Each span's name and its parent's."""
        parents: dict[str, str | None] = {}

        def walk(node: SpanNode, parent: str | None) -> None:
            parents[node.span["name"]] = parent
            for child in node.children:
                walk(child, node.span["name"])

        for roots in build_trees((s, s["resource"]) for s in self.spans(instance)).values():
            for root in roots:
                walk(root, None)
        return parents

    def series(self, instance: str, name: str) -> dict[tuple[tuple[str, object], ...], float]:
        """The newest count (of a histogram) or value of each series of one metric."""
        found: dict[tuple[tuple[str, object], ...], float] = {}
        for metric in self.metrics(instance):
            if metric["name"] != name:
                continue
            kind = next(k for k in ("sum", "gauge", "histogram") if k in metric)
            for point in metric[kind]["dataPoints"]:
                key = tuple(sorted(plain_attributes(point.get("attributes")).items()))
                value = point.get("count", point.get("asDouble", point.get("asInt", 0)))
                found[key] = float(str(value))
        return found

    def _items(self, name: str, iterate: Callable[[dict[str, Any]], Any], instance: str) -> Items:
        path = self.data / name
        if not path.is_file():
            return []
        with path.open("rb") as file:
            requests = list(read_lines(iter(lambda: file.read(1 << 20), b"")))
        return [
            {**item, "attributes": plain_attributes(item.get("attributes")), "resource": resource}
            for request in requests
            for item, resource in iterate(request)
            if resource.get("service.instance.id") == instance
        ]
