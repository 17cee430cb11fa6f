"""The configuration that the chart makes, as a real Collector reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "kaizen-otel"


@pytest.fixture(scope="module")
def helm() -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "helm.py")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs Helm 3 and 4: {done.stderr.strip()}")
    return done.stdout.splitlines()[-1].split(" ", 1)[1]


def gateway_config(helm: str, profile: str) -> dict[str, str]:
    """The files that the gateway of a profile mounts."""
    values = str(CHART / "profiles" / f"{profile}.yaml")
    command = [helm, "template", "release", str(CHART), "--values", values]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for item in yaml.safe_load_all(done.stdout):
        if item and item["kind"] == "ConfigMap" and "-gateway-" in item["metadata"]["name"]:
            data: dict[str, str] = item["data"]
            return data
    raise AssertionError("the chart renders no ConfigMap for the gateway")


def validate(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Have the Collector check the files in the order in which the pod passes them."""
    program = str(Path(sys.executable).with_name("kaizen-otel"))
    command = [program, "collector", "validate"]
    for name in ("gateway.yaml", "release.yaml"):
        if name in files:
            (folder / name).write_text(files[name])
            command += ["--config", str(folder / name)]
    environment = {
        **os.environ,
        "KAIZEN_OTEL_QUEUE_DIR": str(folder / "queue"),
        "JAEGER_OTLP_ENDPOINT": "jaeger.example.com:4317",
        "JAEGER_BEARER_TOKEN": "not-a-secret",
        "PROMETHEUS_BEARER_TOKEN": "not-a-secret",
        "ELASTICSEARCH_USER": "user",
        "ELASTICSEARCH_PASSWORD": "not-a-secret",
    }
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.parametrize("profile", ["dev", "prod"])
def test_the_collector_accepts_the_configuration_of_every_profile(
    helm: str, profile: str, tmp_path: Path
) -> None:
    files = gateway_config(helm, profile)
    done = validate(tmp_path, files)
    if done.returncode == 4:
        pytest.skip(f"needs a Collector: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


def test_the_collector_refuses_a_setting_that_its_exporter_does_not_have(
    helm: str, tmp_path: Path
) -> None:
    """What the test above relies on: a typo of ours in the destinations would be seen."""
    files = gateway_config(helm, "prod")
    files["release.yaml"] = files["release.yaml"].replace("ca_file", "ca_fiel")
    done = validate(tmp_path, files)
    if done.returncode == 4:
        pytest.skip(f"needs a Collector: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 2
    assert "ca_fiel" in done.stderr
