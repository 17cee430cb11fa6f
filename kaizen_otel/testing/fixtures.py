"""Pytest fixtures: ``pytest_plugins = ["kaizen_otel.testing.fixtures"]`` in a ``conftest.py``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kaizen_otel.testing.capture import OtlpCapture

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kaizen_otel.testing.containers import (
        CollectorContainer,
        ElasticsearchContainer,
        JaegerContainer,
        PrometheusContainer,
    )


@pytest.fixture
def otlp_capture(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[OtlpCapture]:
    """An in-memory OTLP receiver; the environment of the test points at it."""
    with OtlpCapture() as capture:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", capture.endpoint)
        monkeypatch.setenv("KAIZEN_OTEL_AUDIT_ENDPOINT", capture.endpoint)
        monkeypatch.setenv("KAIZEN_OTEL_SPOOL_DIR", str(tmp_path / "spool"))
        yield capture


@pytest.fixture
def collector_container() -> Iterator[CollectorContainer]:
    """A Collector in a container; needs a Docker engine."""
    from kaizen_otel.testing.containers import CollectorContainer

    with CollectorContainer() as container:
        yield container


@pytest.fixture
def jaeger_container() -> Iterator[JaegerContainer]:
    """A Jaeger in a container; needs a Docker engine."""
    from kaizen_otel.testing.containers import JaegerContainer

    with JaegerContainer() as container:
        yield container


@pytest.fixture
def prometheus_container() -> Iterator[PrometheusContainer]:
    """A Prometheus in a container; needs a Docker engine."""
    from kaizen_otel.testing.containers import PrometheusContainer

    with PrometheusContainer() as container:
        yield container


@pytest.fixture
def elasticsearch_container() -> Iterator[ElasticsearchContainer]:
    """An Elasticsearch-compatible store in a container; needs a Docker engine."""
    from kaizen_otel.testing.containers import ElasticsearchContainer

    with ElasticsearchContainer() as container:
        yield container
