"""Prometheus's own tool reads every query and runs the tests of the alerts."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from kaizen_otel._stack import prometheus

ROOT = Path(__file__).parents[2]
ALERTS = ROOT / "collector" / "alerts"


@pytest.fixture(scope="module")
def promtool() -> str:
    beside = prometheus.obtain(progress=print).with_name("promtool")
    found = str(beside) if beside.is_file() else shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not beside prometheus: install Prometheus's release or package")
    return found


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_every_query_of_the_dashboards_is_promql(promtool: str, tmp_path: Path) -> None:
    """As the expressions of rules, with what Grafana puts in for its variables."""
    rules = []
    for path in sorted((ROOT / "collector" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel.get("targets", []):
                text = target["expr"]
                for variable, value in (("$__rate_interval", "1m"), ("$__range", "1h")):
                    text = text.replace(variable, value)
                rules.append({"record": f"q:{path.stem.replace('-', '_')}", "expr": text})
    assert len(rules) > 80
    # A rule that is there twice is an error, so each has a label of its own.
    for number, rule in enumerate(rules):
        rule["labels"] = {"n": str(number)}
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    done = run(promtool, "check", "rules", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
    file.write_text(file.read_text().replace("sum", "sum sum", 1))
    assert run(promtool, "check", "rules", str(file)).returncode != 0, "the check checks nothing"


def test_every_alert_fires_and_is_silent_when_it_should(promtool: str, tmp_path: Path) -> None:
    done = run(promtool, "test", "rules", str(ALERTS / "tests.yaml"))
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_alert_that_never_fires_is_caught(promtool: str, tmp_path: Path) -> None:
    """The saboteur: a threshold that nothing reaches."""
    text = (ALERTS / "kaizen-otel.rules.yaml").read_text()
    assert "kaizen_audit_lag_seconds) > 120" in text
    broken = text.replace("kaizen_audit_lag_seconds) > 120", "kaizen_audit_lag_seconds) > 1e9")
    (tmp_path / "kaizen-otel.rules.yaml").write_text(broken)
    tests = yaml.safe_load((ALERTS / "tests.yaml").read_text())
    tests["tests"] = [each for each in tests["tests"] if each["name"].startswith("KaizenAuditLag")]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(tests))
    done = run(promtool, "test", "rules", str(tmp_path / "tests.yaml"))
    assert done.returncode != 0
    assert "KaizenAuditLag" in done.stdout + done.stderr
