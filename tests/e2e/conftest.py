"""One real Collector (the embedded default) for all tests of this folder, found or built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kaizen_otel import observability
from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.run import CollectorProcess, free_ports
from tests.e2e.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._collector.obtain import Obtained


@pytest.fixture(scope="session")
def binary() -> Obtained:
    return obtain([config_path("dev")], progress=print)


@pytest.fixture(scope="session")
def collector(
    binary: Obtained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CollectorProcess]:
    data = tmp_path_factory.mktemp("collector")
    process = CollectorProcess(
        config_path("dev"),
        binary=binary.path,
        environment={**free_ports(), "KAIZEN_OTEL_DATA_DIR": str(data)},
        log_path=data / "collector.log",
    )
    with process:
        yield process


@pytest.fixture
def world(
    collector: CollectorProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[World]:
    """The environment of a user whose agent sends to the Collector, and what it wrote."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.http_port}")
    monkeypatch.setenv("KAIZEN_OTEL_AUDIT_ENDPOINT", f"http://127.0.0.1:{collector.audit_port}")
    monkeypatch.setenv("KAIZEN_OTEL_SPOOL_DIR", str(tmp_path / "spool"))
    monkeypatch.setenv("KAIZEN_ALLOW_KEYLESS_MOCK", "1")
    yield World(Path(collector.environment["KAIZEN_OTEL_DATA_DIR"]), collector)
    manager = observability.current_manager()
    if manager is not None:
        manager.shutdown()
    assert observability.active_pipeline() is None, "a manager was not shut down"
