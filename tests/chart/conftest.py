"""Helm of both majors, and a way to render the chart with it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chart.kit.rendering import Renderer
from tests.chart.kit.variants import Charts

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "kaizen-otel"
NAMESPACE = "observed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Helm:
    """One Helm binary."""

    path: str
    chart: Path = CHART

    def run(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        command = [self.path, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, input=stdin)

    def try_template(
        self, *arguments: str, profile: str | None = "dev"
    ) -> subprocess.CompletedProcess[str]:
        values = ["--values", str(CHART / "profiles" / f"{profile}.yaml")] if profile else []
        return self.run(
            "template", "release", str(CHART), "--namespace", NAMESPACE, *values, *arguments
        )


@pytest.fixture(scope="session")
def helm_paths() -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "helm.py")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs Helm 3 and 4: {done.stderr.strip()}")
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.fixture(params=["3", "4"], ids=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, helm_paths: dict[str, str]) -> Helm:
    return Helm(path=helm_paths[request.param])


@pytest.fixture(scope="session")
def chart_tools() -> str:
    """The interpreter that has checkov and Helm's SDK."""
    command = [sys.executable, str(ROOT / ".ci" / "chart_tools.py")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs checkov and Helm's SDK: {done.stderr.strip()}")
    return done.stdout.strip()


@pytest.fixture(scope="session")
def charts(chart_tools: str) -> Iterator[Charts]:
    renderer = Renderer(chart_tools)
    found = Charts(renderer)
    found.load()
    yield found
    renderer.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever test comes first installs the tools, which takes minutes when nothing is cached."""
    for item in items:
        if item.path.is_relative_to(ROOT / "tests" / "chart"):
            item.add_marker(pytest.mark.timeout(900))
