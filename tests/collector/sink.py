"""A second Collector as the destination: what it acknowledges is in its files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from tests.collector.otlp_json import bodies_in
from tests.collector.processes import collector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Sink:
    """The dev config on ports that stay the same, so that it can be away and come back."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self.data = folder / "sink" / "data"
        self.process = collector(binary, folder / "sink", ["dev"])

    def bodies(self) -> list[str]:
        """The body texts of all log records."""
        path = self.data / "logs.jsonl"
        return bodies_in(path) if path.is_file() else []

    def spans(self) -> list[str]:
        """The names of all spans."""
        return [
            span["name"]
            for request in self._requests("traces.jsonl")
            for resource in request["resourceSpans"]
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def metrics(self) -> list[dict[str, Any]]:
        """All metrics."""
        return [
            metric
            for request in self._requests("metrics.jsonl")
            for resource in request["resourceMetrics"]
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
        ]

    def _requests(self, name: str) -> list[dict[str, Any]]:
        path = self.data / name
        if not path.is_file():
            return []
        text = path.read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def changed(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """A shipped config with its safety taken out, for the saboteurs."""
    config = yaml.safe_load(source.read_text(encoding="utf-8"))
    change(config)
    target.write_text(yaml.safe_dump(config), encoding="utf-8")
    return target
