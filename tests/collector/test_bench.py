"""The Collector's benchmark runs: two small cases, and all that was offered is at its backend."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="platform: processor time is read from /proc"
)

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ("gateway logs 512", {"gateway"}),
        ("audit 64", {"audit"}),
    ],
)
def test_what_a_small_run_offers_is_measured_and_arrives(
    gateway_binary: Path, tmp_path: Path, case: str, names: set[str]
) -> None:
    output = tmp_path / "found.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.collector", "--quick", "--only", case,
         "--json", str(output), "--directory", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(output.read_text())["rows"]
    assert {row["name"] for row in rows} == names
    for row in rows:
        assert row["items"] == row["requests"] * row["items_per_request"]
        assert row["undelivered"] == 0
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["cpu_s"] > 0
        assert row["memory_mib"] > 1
