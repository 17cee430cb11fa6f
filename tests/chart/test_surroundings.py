"""What a release brings for agents, Prometheus, Grafana, and a look around."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.chart.kit.parts import (
    agent_environment,
    collector,
    named,
    signals_test,
    tiers_of,
    variables,
    workload,
)
from tests.chart.kit.rendering import COMPONENT, ROOT
from tests.chart.kit.variants import Charts, variant, variants

NAMES = [one.name for one in variants()]

# ------------------------------------------------------------------------------- agents of the user
AGENT_ENVIRONMENT = [
    (
        "dev",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://release-kaizen-otel-gateway.observed:4318",
            "KAIZEN_OTEL_AUDIT_ENDPOINT": "http://release-kaizen-otel-audit.observed:4319",
            "KAIZEN_OTEL_SPOOL_DIR": "/var/lib/kaizen-otel/spool",
            "KAIZEN_OTEL_DURABILITY": "delivered",
            "KAIZEN_OTEL_ON_FAILURE": "continue",
        },
    ),
    (
        "secured",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://release-kaizen-otel-agent.observed:4318",
            "KAIZEN_OTEL_AUDIT_ENDPOINT": "https://release-kaizen-otel-audit.observed:4319",
            "OTEL_EXPORTER_OTLP_CERTIFICATE": "/etc/kaizen-otel/tls/ca.crt",
            "KAIZEN_OTEL_SPOOL_DIR": "/var/lib/kaizen-otel/spool",
            "KAIZEN_OTEL_DURABILITY": "delivered",
            "KAIZEN_OTEL_ON_FAILURE": "continue",
        },
    ),
    (
        "bare",
        {
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://observation-gateway.observed:4318",
            "KAIZEN_OTEL_SPOOL_DIR": "/var/lib/kaizen-otel/spool",
            "KAIZEN_OTEL_DURABILITY": "delivered",
            "KAIZEN_OTEL_ON_FAILURE": "continue",
        },
    ),
]


@pytest.mark.parametrize(("name", "expected"), AGENT_ENVIRONMENT)
def test_the_agents_environment_leads_to_this_release(
    charts: Charts, name: str, expected: dict[str, str]
) -> None:
    assert agent_environment(charts.release(variant(name))) == expected


def test_the_agents_environment_is_read_by_the_package(charts: Charts) -> None:
    """A misspelt variable would be ignored by the agents, and nobody told."""
    page = (ROOT / "docs" / "reference" / "configuration.md").read_text()
    for name in agent_environment(charts.release(variant("secured"))):
        assert f"`{name}`" in page, name


@pytest.mark.parametrize("name", [name for name in NAMES if name != "bare"])
def test_the_addresses_for_agents_are_services_with_those_ports(charts: Charts, name: str) -> None:
    release = charts.release(variant(name))
    ports = {
        f"{item['metadata']['name']}.observed:{port['port']}"
        for item in release.of_kind("Service")
        for port in item["spec"]["ports"]
    }
    urls = [url for key, url in agent_environment(release).items() if key.endswith("ENDPOINT")]
    assert {url.partition("://")[2] for url in urls} <= ports


# --------------------------------------------------------------------------------------------- demo
def test_with_the_demo_every_destination_is_a_service_of_the_release(charts: Charts) -> None:
    release = charts.release(variant("demonstration"))
    known = variables(collector(release, "gateway"))
    pod = signals_test(release)["spec"]["template"]["spec"]
    asked = pod["containers"][0]["args"]
    addresses = [
        *(known[f"{name}_ENDPOINT"] for name in ("JAEGER_OTLP", "ELASTICSEARCH")),
        known["PROMETHEUS_REMOTE_WRITE_ENDPOINT"],
        *asked[2::2],
    ]
    for address in addresses:
        found = re.fullmatch(r"(?:http://)?([\w-]+)\.observed:(\d+)(?:/.*)?", address or "")
        assert found, address
        service = named(release, "Service", found[1])
        assert int(found[2]) in {port["port"] for port in service["spec"]["ports"]}
        backend = workload(release, service["spec"]["selector"][COMPONENT])
        pod = backend["spec"]["template"]
        assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
        ports = {one["name"] for one in pod["spec"]["containers"][0]["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


# ---------------------------------------------------------------------------- alerts and dashboards
def test_the_rules_of_the_operator_are_those_of_the_alerts(charts: Charts) -> None:
    rules = (ROOT / "collector" / "alerts" / "kaizen-otel.rules.yaml").read_text()
    (operator,) = charts.release(variant("monitored")).of_kind("PrometheusRule")
    assert operator["spec"] == yaml.safe_load(rules)
    release = charts.release(variant("monitored-by-service"))
    plain = named(release, "ConfigMap", "release-kaizen-otel-rules")
    assert plain["data"]["kaizen-otel.rules.yaml"] == rules


def test_every_dashboard_is_a_config_map_of_its_own_as_it_is(charts: Charts) -> None:
    release = charts.release(variant("monitored"))
    found = {
        path: text
        for item in release.of_kind("ConfigMap")
        if "-dashboard-" in item["metadata"]["name"]
        for path, text in item["data"].items()
    }
    originals = (ROOT / "collector" / "dashboards").glob("*.json")
    assert found == {f"kaizen-{path.name}": path.read_text() for path in originals}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("monitored", {"PodMonitor", "PrometheusRule"}),
        ("monitored-by-service", {"ServiceMonitor"}),
        ("monitored-without-operator", set()),
    ],
)
def test_objects_of_the_operator_are_made_where_there_is_one(
    charts: Charts, name: str, kinds: set[str]
) -> None:
    objects = charts.release(variant(name)).objects
    found = {item["kind"] for item in objects if item["apiVersion"] == "monitoring.coreos.com/v1"}
    assert found == kinds


def test_a_monitor_selects_the_pods_of_every_tier_and_no_others(charts: Charts) -> None:
    release = charts.release(variant("monitored"))
    (monitor,) = release.of_kind("PodMonitor")
    (expression,) = monitor["spec"]["selector"]["matchExpressions"]
    assert sorted(expression["values"]) == sorted(tiers_of(release))
    assert monitor["spec"]["podMetricsEndpoints"][0]["port"] == "metrics"


# ----------------------------------------------------------------------------------------- examples
EXAMPLES = sorted((ROOT / "examples" / "kubernetes").glob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_valid_restricted_and_delivers_before_it_goes(path: Path) -> None:
    item = yaml.safe_load(path.read_text())
    for version in ("1.30", "1.37"):
        kubernetes_validate.validate(item, version, strict=True)
    pod = item["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
    agent = pod["containers"][0]
    command = agent["lifecycle"]["preStop"]["exec"]["command"]
    assert command[:4] == ["kaizen-otel", "audit", "flush", "--wait"]
    assert int(command[-1]) < pod["terminationGracePeriodSeconds"]
    spool = next(one for one in agent["volumeMounts"] if one["name"] == "spool")
    known = variables(agent)
    folder = known.get("KAIZEN_OTEL_SPOOL_DIR") or "/var/lib/kaizen-otel/spool"
    assert spool["mountPath"] == folder
    is_kept = any(
        one["metadata"]["name"] == "spool" for one in item["spec"].get("volumeClaimTemplates", [])
    )
    assert known["KAIZEN_OTEL_DURABILITY"] == ("durable" if is_kept else "delivered")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_sends_to_the_release_that_the_page_installs(charts: Charts, path: Path) -> None:
    del charts
    text = path.read_text()
    for name in re.findall(r"observability-kaizen-otel-[\w-]+", text):
        assert name in {
            f"observability-kaizen-otel-{part}" for part in ("agent-env", "gateway", "audit")
        }
    labels = yaml.safe_load(text)["spec"]["template"]["metadata"]["labels"]
    for profile in ("prod", "compliance"):
        values = variant(profile).values["networkPolicy"]
        for key in ("telemetryFrom", "auditFrom"):
            (peer,) = values[key]
            assert peer["podSelector"]["matchLabels"].items() <= labels.items()
