"""Runs a peer's program and ours against the same receiver, each in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kaizen_otel.testing.capture import OtlpCapture

if TYPE_CHECKING:
    from pathlib import Path

STOCK = """
import asyncio, os, sys
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer("stock")
"""
"""How the stock SDK's own documentation sets it up."""

OURS = """
import asyncio, os, sys
import kaizen_otel
from kaizen_otel import traced_agent, traced_tool
observed = kaizen_otel.observe("ours", enable_audit=False, enable_logging=False,
                               enable_metrics=False)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a program did: its spans as they arrived, and what it printed."""

    spans: list[dict[str, Any]]
    printed: str
    warned: str

    def names(self) -> list[str]:
        """Names of the spans that arrived, sorted."""
        return sorted(span["name"] for span in self.spans)

    def parent_of(self, name: str) -> str | None:
        """The name of the parent of the span with this name; None if it is a root."""
        (span,) = (one for one in self.spans if one["name"] == name)
        parent = span.get("parentSpanId")
        found = [one["name"] for one in self.spans if one["spanId"] == parent]
        return found[0] if found else None

    def trace_of(self, name: str) -> str:
        """The trace of the span with this name."""
        (span,) = (one for one in self.spans if one["name"] == name)
        return str(span["traceId"])


def run(program: str, folder: Path, **variables: str) -> Outcome:
    """Run a program to its end; it must end well."""
    with OtlpCapture() as capture:
        found = subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={
                **os.environ,
                "OTEL_EXPORTER_OTLP_ENDPOINT": capture.endpoint,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
                "KAIZEN_OTEL_SPOOL_DIR": str(folder / "spool"),
                **variables,
            },
        )
        assert found.returncode == 0, found.stderr
        return Outcome(spans=capture.spans(), printed=found.stdout, warned=found.stderr)
