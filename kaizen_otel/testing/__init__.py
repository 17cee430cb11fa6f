"""What users test with: fakes, an OTLP capture, questions to backends, containers.

``pytest_plugins = ["kaizen_otel.testing.fixtures"]`` in a ``conftest.py`` gives all of it as
fixtures.  Nothing here is imported by the emitter.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaizen_otel.testing.backends import (
        is_jaeger_available,
        query_jaeger_traces,
        query_prometheus,
        search_logs,
        wait_until,
    )
    from kaizen_otel.testing.capture import OtlpCapture
    from kaizen_otel.testing.containers import (
        CollectorContainer,
        ElasticsearchContainer,
        JaegerContainer,
        PrometheusContainer,
    )
    from kaizen_otel.testing.fakes import FakeTransport, FixedClock
    from kaizen_otel.testing.memory_filesystem import MemoryFilesystem

_HOME = {
    "CollectorContainer": "containers",
    "ElasticsearchContainer": "containers",
    "FakeTransport": "fakes",
    "FixedClock": "fakes",
    "JaegerContainer": "containers",
    "MemoryFilesystem": "memory_filesystem",
    "OtlpCapture": "capture",
    "PrometheusContainer": "containers",
    "is_jaeger_available": "backends",
    "query_jaeger_traces": "backends",
    "query_prometheus": "backends",
    "search_logs": "backends",
    "wait_until": "backends",
}

__all__ = [
    "CollectorContainer",
    "ElasticsearchContainer",
    "FakeTransport",
    "FixedClock",
    "JaegerContainer",
    "MemoryFilesystem",
    "OtlpCapture",
    "PrometheusContainer",
    "is_jaeger_available",
    "query_jaeger_traces",
    "query_prometheus",
    "search_logs",
    "wait_until",
]


def __getattr__(name: str) -> object:
    """Load a name on first use: containers need the extra ``kaizen-otel[testing]``."""
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'kaizen_otel.testing' has no attribute {name!r}")
    return getattr(importlib.import_module(f"kaizen_otel.testing.{home}"), name)
