"""The configurations that the chart makes, as a real Collector and our linter read them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaizen_otel._collector.component_facts import load_facts
from kaizen_otel._collector.lint import lint
from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.read_config import read_configs
from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.validate import validate
from kaizen_otel.errors import ConfigError, SetupError

ROOT = Path(__file__).parents[2]
CHART = ROOT / "helm" / "kaizen-otel"
FOLDER = "--config=/etc/kaizen-otel/config/"

_TLS = {"enabled": True, "serverSecret": {"name": "server"}}
_SECRETS = {name: {"name": "secret"} for name in ("telemetrySecret", "auditSecret", "agentSecret")}
_AGENT = {"enabled": True, "clientSecret": {"name": "client"}}

#: Name -> profile, values, and the overlays that the gateway then has.
CASES: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "dev": ("dev", {"agent": {"enabled": True}}, []),
    "prod": ("prod", {}, []),
    "compliance": ("compliance", {}, ["tls", "mtls"]),
    "airgap": ("airgap", {}, []),
    "bearer": (
        "dev",
        {"agent": _AGENT, "tls": _TLS, "auth": {"type": "bearer", **_SECRETS}},
        ["tls", "bearer"],
    ),
    "basic, with client certificates": (
        "dev",
        {
            "agent": _AGENT,
            "tls": {**_TLS, "clients": {"required": True}},
            "auth": {"type": "basic", **_SECRETS},
        },
        ["tls", "mtls", "basic"],
    ),
    "oidc": (
        "dev",
        {
            "agent": _AGENT,
            "tls": _TLS,
            "auth": {
                "type": "oidc",
                **_SECRETS,
                "oidc": {
                    "issuer": "https://id.example.com",
                    "agentTokenUrl": "https://id.example.com/token",
                    "agentClientId": "agents",
                },
            },
        },
        ["tls", "oidc"],
    ),
    "tail sampling, metrics by OTLP, OpenSearch, more destinations": (
        "dev",
        {
            "gateway": {"tailSampling": {"enabled": True}},
            "destinations": {
                "prometheus": {"protocol": "otlp"},
                "elasticsearch": {"server": "opensearch"},
                "extra": [
                    {
                        "name": "archive",
                        "protocol": "http",
                        "endpoint": "https://archive.example.com",
                        "signals": ["traces", "metrics", "logs"],
                        "tls": {"caSecret": {"name": "ca", "key": "ca.crt"}},
                    },
                    {
                        "name": "second",
                        "protocol": "grpc",
                        "endpoint": "second.example.com:4317",
                        "signals": ["logs"],
                        "tls": {"enabled": True},
                        "bearerSecret": {"name": "token", "key": "token"},
                    },
                ],
            },
        },
        ["tail-sampling", "metrics-otlp", "opensearch"],
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """What the pod of a tier is given: its files in the order of merging, and its environment."""

    name: str
    files: dict[str, str]
    environment: dict[str, str]

    def written(self, folder: Path) -> list[Path]:
        """The files below a folder, in their order, with the Secrets' files that they read."""
        for name, text in self.files.items():
            for path in re.findall(r"\$\{file:(/etc/[^}]*)\}", text):
                secret = folder / path[1:]
                secret.parent.mkdir(parents=True, exist_ok=True)
                secret.write_text("x")
            (folder / name).write_text(text.replace("${file:/etc/", f"${{file:{folder}/etc/"))
        return [folder / name for name in self.files]


@pytest.fixture(scope="module")
def helm() -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "helm.py")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"needs Helm 3 and 4: {done.stderr.strip()}")
    return done.stdout.splitlines()[-1].split(" ", 1)[1]


@pytest.fixture(scope="module")
def collector() -> Path:
    try:
        return obtain([config_path("gateway")], progress=print).path
    except SetupError as error:
        pytest.skip(f"needs a Collector: {error}")


def tiers(helm: str, case: str) -> list[Tier]:
    """The tiers of a release."""
    profile, values, _ = CASES[case]
    command = [helm, "template", "release", str(CHART)]
    command += ["--values", str(CHART / "profiles" / f"{profile}.yaml"), "--values", "-"]
    done = subprocess.run(
        command, input=yaml.safe_dump(values), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    objects = [item for item in yaml.safe_load_all(done.stdout) if item]
    maps = {item["metadata"]["name"]: item for item in objects if item["kind"] == "ConfigMap"}
    found = []
    for item in objects:
        if item["kind"] in {"Deployment", "StatefulSet", "DaemonSet"}:
            pod = item["spec"]["template"]["spec"]
            mounted = next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
            container = pod["containers"][0]
            names = [argument.removeprefix(FOLDER) for argument in container["args"]]
            data = maps[mounted]["data"]
            found.append(
                Tier(
                    name=item["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"],
                    files={name: data[name] for name in names},
                    environment={one["name"]: one.get("value", "x") for one in container["env"]},
                )
            )
    return found


@pytest.mark.parametrize("case", CASES)
def test_the_collector_and_the_linter_accept_what_every_tier_is_given(
    helm: str, collector: Path, case: str, tmp_path: Path
) -> None:
    facts = load_facts()
    for tier in tiers(helm, case):
        folder = tmp_path / tier.name
        folder.mkdir()
        paths = tier.written(folder)
        environment = {**os.environ, **tier.environment, "KAIZEN_OTEL_QUEUE_DIR": str(tmp_path)}
        validate(paths, binary=collector, environment=environment)
        report = lint(read_configs(paths), facts)
        assert [(one.rule, one.message) for one in report.findings] == [], tier.name


@pytest.mark.parametrize("case", CASES)
def test_the_gateway_has_the_overlays_that_its_values_ask_for(helm: str, case: str) -> None:
    gateway = next(tier for tier in tiers(helm, case) if tier.name == "gateway")
    expected = ["gateway", *CASES[case][2], "release"]
    assert [name.removesuffix(".yaml") for name in gateway.files] == expected


def test_the_collector_refuses_a_setting_that_its_exporter_does_not_have(
    helm: str, collector: Path, tmp_path: Path
) -> None:
    """What the test above relies on: a typo of ours in the destinations would be seen."""
    gateway = next(tier for tier in tiers(helm, "prod") if tier.name == "gateway")
    gateway.files["release.yaml"] = gateway.files["release.yaml"].replace("ca_file", "ca_fiel")
    with pytest.raises(ConfigError, match="ca_fiel"):
        validate(gateway.written(tmp_path), binary=collector)
