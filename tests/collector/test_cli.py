"""``kaizen-otel collector``: what a user at a terminal sees."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

from kaizen_otel._cli.collector import collector
from kaizen_otel._collector.resources import SHIPPED_CONFIGS
from kaizen_otel._collector.run import free_ports
from kaizen_otel.errors import ConfigError
from kaizen_otel.testing.backends import wait_until
from tests.collector.otlp_json import Sender, bodies_in

RUN = "from kaizen_otel._cli.collector import collector; collector()"


def test_obtain_prints_the_path_or_json(dev_binary: Path) -> None:
    plain = CliRunner().invoke(collector, ["obtain"], catch_exceptions=False)
    assert plain.exit_code == 0
    assert plain.stdout.strip() == str(dev_binary)
    as_json = CliRunner().invoke(collector, ["obtain", "--json"], catch_exceptions=False)
    answer = json.loads(as_json.stdout)
    assert answer["path"] == str(dev_binary)
    assert set(answer) == {"path", "source", "version", "own"}


def test_validate_checks_all_shipped_configs_unless_told(gateway_binary: Path) -> None:
    result = CliRunner().invoke(collector, ["validate"], catch_exceptions=False)
    assert result.stdout.splitlines() == [f"{name}: valid" for name in SHIPPED_CONFIGS]


def test_overlays_are_known_by_name(gateway_binary: Path) -> None:
    names = ["gateway", "tls", "bearer"]
    arguments = [text for name in names for text in ("--config", name)]
    result = CliRunner().invoke(collector, ["validate", *arguments], catch_exceptions=False)
    assert result.stdout.splitlines() == ["gateway+tls+bearer: valid"]


def test_an_invalid_config_is_an_error_of_the_config(dev_binary: Path, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("exporters: {file: {pathh: x}}\n")
    result = CliRunner().invoke(collector, ["validate", "--config", str(config)])
    assert isinstance(result.exception, ConfigError)
    assert "pathh" in str(result.exception)


def test_run_serves_until_it_is_interrupted(dev_binary: Path, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        **free_ports(),
        "KAIZEN_OTEL_COLLECTOR": str(dev_binary),
        "XDG_STATE_HOME": str(tmp_path),
    }
    environment.pop("KAIZEN_OTEL_DATA_DIR", None)
    with subprocess.Popen(
        [sys.executable, "-c", RUN, "run", "--json"],
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        running = json.loads(process.stdout.readline())
        assert running["binary"]["source"] == "environment"
        # Only what the config uses: another folder would be looked into in vain.
        assert list(running["folders"]) == ["KAIZEN_OTEL_DATA_DIR"]
        assert Sender(int(running["endpoints"]["audit"].rpartition(":")[2])).record("done")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
    assert not Path(f"/proc/{running['pid']}").exists()
    assert bodies_in(tmp_path / "kaizen-otel" / "dev" / "audit" / "audit.jsonl") == ["done"]


def test_run_is_interrupted_also_while_it_waits_for_a_start(
    dev_binary: Path, tmp_path: Path
) -> None:
    """A config without health_check is waited for; nobody should have to wait along."""
    (tmp_path / "mine.yaml").write_text(
        "receivers:\n  otlp: {protocols: {http: "
        "{endpoint: '127.0.0.1:${env:KAIZEN_OTEL_HTTP_PORT}'}}}\n"
        f"exporters: {{file: {{path: '{tmp_path / 'out'}'}}}}\n"
        "service: {pipelines: {logs: {receivers: [otlp], exporters: [file]}}}\n"
    )
    environment = {
        **os.environ,
        **free_ports(),
        "KAIZEN_OTEL_COLLECTOR": str(dev_binary),
        "XDG_STATE_HOME": str(tmp_path),
    }
    with subprocess.Popen(
        [sys.executable, "-c", RUN, "run", "--config", str(tmp_path / "mine.yaml")],
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        log = tmp_path / "kaizen-otel" / "collector" / "collector.log"
        wait_until(lambda: log.exists() and "Everything is ready" in log.read_text(), 20)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode != 0
    left = subprocess.run(["pgrep", "-f", str(tmp_path)], check=False, capture_output=True)
    assert left.stdout == b""


def test_run_ends_with_the_reason_when_the_collector_ends_by_itself(
    dev_binary: Path, tmp_path: Path
) -> None:
    environment = {
        **os.environ,
        **free_ports(),
        "KAIZEN_OTEL_COLLECTOR": str(dev_binary),
        "XDG_STATE_HOME": str(tmp_path),
    }
    with subprocess.Popen(
        [sys.executable, "-c", RUN, "run", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        os.kill(json.loads(process.stdout.readline())["pid"], signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "ended by itself with code -9" in errors
