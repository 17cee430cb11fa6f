"""Starting and stopping a Collector: ports, errors, logs."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.run import PORTS, CollectorProcess, free_ports
from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from pathlib import Path


def collector(
    binary: Path, folder: Path, *, config: Path | None = None, **environment: str
) -> CollectorProcess:
    return CollectorProcess(
        config or config_path("dev"),
        binary=binary,
        environment={
            **free_ports(),
            "KAIZEN_OTEL_DATA_DIR": str(folder / "data"),
            **environment,
        },
        log_path=folder / "collector.log",
    )


def test_it_answers_when_start_returns_and_is_gone_when_stop_returns(
    dev_binary: Path, tmp_path: Path
) -> None:
    process = collector(dev_binary, tmp_path)
    with process:
        for port in (process.grpc_port, process.http_port, process.audit_port):
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        assert process.running()
    assert not process.running()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", process.http_port), timeout=5).close()
    assert process.stop() is None, "stopping twice is harmless"
    assert "Shutdown complete" in process.log_tail()


def test_a_collector_can_be_started_again(dev_binary: Path, tmp_path: Path) -> None:
    process = collector(dev_binary, tmp_path)
    for _ in range(2):
        process.start()
        assert process.stop() == 0


def test_the_ports_are_those_of_the_design_unless_told(tmp_path: Path) -> None:
    process = CollectorProcess(
        config_path("dev"), binary=tmp_path, environment={}, log_path=tmp_path / "log"
    )
    assert (process.grpc_port, process.http_port, process.audit_port) == (4317, 4318, 4319)
    assert (process.health_port, process.metrics_port) == (13133, 8888)


def test_a_taken_port_is_named_with_its_variable(dev_binary: Path, tmp_path: Path) -> None:
    """Otherwise the health check of another Collector would answer for this one."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = str(server.getsockname()[1])
        process = collector(dev_binary, tmp_path, KAIZEN_OTEL_HEALTH_PORT=taken)
        with pytest.raises(SetupError, match=f"{taken} \\(KAIZEN_OTEL_HEALTH_PORT\\)"):
            process.start()
    assert process.pid is None


def test_a_port_that_is_no_port_is_refused(tmp_path: Path) -> None:
    for value in ("http", "0", "65536", "-1"):
        with pytest.raises(ConfigError, match="KAIZEN_OTEL_GRPC_PORT"):
            CollectorProcess(
                config_path("dev"),
                binary=tmp_path,
                environment={"KAIZEN_OTEL_GRPC_PORT": value},
                log_path=tmp_path / "log",
            )


def test_a_collector_that_ends_shows_the_end_of_its_log(dev_binary: Path, tmp_path: Path) -> None:
    config = tmp_path / "broken.yaml"
    config.write_text("exporters: {file: {pathh: x}}\n")
    with pytest.raises(SetupError, match="ended with code 1") as raised:
        collector(dev_binary, tmp_path, config=config).start()
    assert "pathh" in str(raised.value)


def test_a_collector_that_never_answers_is_ended(tmp_path: Path) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\necho I am up\nexec sleep 60\n")
    silent.chmod(0o755)
    process = collector(silent, tmp_path)
    with pytest.raises(SetupError, match="not healthy") as raised:
        process.start(deadline_s=0.3)
    assert "I am up" in str(raised.value)
    assert not process.running()


def test_a_binary_that_cannot_be_run_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(SetupError, match=str(missing)):
        collector(missing, tmp_path).start()


def test_a_collector_that_ignores_the_request_to_stop_is_killed(tmp_path: Path) -> None:
    stubborn = tmp_path / "stubborn"
    stubborn.write_text(
        "#!/usr/bin/env python3\n"
        "import http.server, os, signal\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "class Healthy(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200)\n"
        "        self.end_headers()\n"
        "address = ('127.0.0.1', int(os.environ['KAIZEN_OTEL_HEALTH_PORT']))\n"
        "http.server.HTTPServer(address, Healthy).serve_forever()\n"
    )
    stubborn.chmod(0o755)
    process = collector(stubborn, tmp_path)
    process.start()
    assert process.stop(deadline_s=0.2) == -9


def test_the_agents_own_variables_do_not_reach_the_collector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere")
    process = collector(tmp_path, tmp_path)
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in process.environment


def test_free_ports_are_different_and_for_every_variable() -> None:
    ports = free_ports()
    assert set(ports) == set(PORTS)
    assert len(set(ports.values())) == len(PORTS)
