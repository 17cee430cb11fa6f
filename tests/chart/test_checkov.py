"""checkov, the scanner that users' pipelines run, finds nothing, and nothing is hidden from it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.kit.rendering import Release
from tests.chart.kit.variants import Charts, profiles

#: Digests stand for those that a user copies from a registry: only they pin an image.
DIGEST = "sha256:" + "0" * 64
PINNED = {"image": {"digest": DIGEST, "tools": {"digest": DIGEST}}}


def scan(python: str, folder: Path) -> dict[str, Any]:
    """checkov's report, without asking anybody outside."""
    program = str(Path(python).with_name("checkov"))
    command = [program, "--directory", str(folder), "--framework", "kubernetes", "--skip-download"]
    done = subprocess.run(
        [*command, "--output", "json", "--compact", "--quiet", "--soft-fail"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def save(release: Release, path: Path) -> None:
    path.write_text(yaml.safe_dump_all(release.objects))


@pytest.fixture(scope="module")
def report(
    charts: Charts, chart_tools: str, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """One scan of all profiles, and of a saboteur: a pod as a naive chart writes it."""
    folder = tmp_path_factory.mktemp("rendered")
    for name in profiles():
        save(charts.render(PINNED, base=name), folder / f"{name}.yaml")
    naive = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "naive", "namespace": "default"},
        "spec": {"containers": [{"name": "collector", "image": "collector"}]},
    }
    (folder / "naive.yaml").write_text(yaml.safe_dump(naive))
    return scan(chart_tools, folder)


def failed(report: dict[str, Any]) -> list[str]:
    return sorted(
        f"{one['check_id']} {one['check_name']}: {one['file_path']} {one['resource']}"
        for one in report["results"]["failed_checks"]
    )


def test_no_check_fails_for_any_profile(report: dict[str, Any]) -> None:
    assert [line for line in failed(report) if "naive" not in line] == []


def test_no_check_is_skipped(report: dict[str, Any]) -> None:
    assert report["summary"]["skipped"] == 0
    assert report["summary"]["parsing_errors"] == 0
    assert report["summary"]["passed"] > 100


def test_the_same_scan_finds_fault_with_a_naive_pod(report: dict[str, Any]) -> None:
    assert len([line for line in failed(report) if "naive" in line]) >= 10
