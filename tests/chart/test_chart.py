"""What holds for every release: the shipped configs, Pod Security, identities, no secrets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.kit.parts import collector, named, tiers_of, variables, workload
from tests.chart.kit.rendering import COMPONENT, Release, pod_template
from tests.chart.kit.variants import Charts, profiles, variant, variants

from .conftest import CHART, ROOT, Helm

NAMES = [one.name for one in variants()]
FOLDER = "--config=/etc/kaizen-otel/config/"


@pytest.mark.parametrize("profile", [None, *profiles()])
def test_every_profile_passes_helm_lint_in_strict_mode(helm: Helm, profile: str | None) -> None:
    values = ["--values", str(CHART / "profiles" / f"{profile}.yaml")] if profile else []
    done = helm.run("lint", "--strict", str(CHART), *values)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_charts_copies_of_configs_alerts_and_dashboards_have_not_drifted() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "chart_files.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def config_of(release: Release, tier: str) -> dict[str, str]:
    """File name -> text, as the pods of a tier mount them."""
    volumes = workload(release, tier)["spec"]["template"]["spec"]["volumes"]
    name = next(one["configMap"]["name"] for one in volumes if "configMap" in one)
    data: dict[str, str] = named(release, "ConfigMap", name)["data"]
    return data


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_file_is_mounted_byte_for_byte(charts: Charts, name: str) -> None:
    """All but what the release adds and what the user writes."""
    release = charts.release(variant(name))
    for tier in tiers_of(release):
        for file, text in config_of(release, tier).items():
            if file not in {"release.yaml", "custom.yaml"}:
                folder = "config" if file == f"{tier}.yaml" else "config/overlays"
                assert text == (ROOT / "collector" / folder / file).read_text(), (tier, file)


@pytest.mark.parametrize("name", NAMES)
def test_a_config_file_is_passed_to_the_collector_if_and_only_if_it_is_mounted(
    charts: Charts, name: str
) -> None:
    release = charts.release(variant(name))
    for tier in tiers_of(release):
        passed = [one.removeprefix(FOLDER) for one in collector(release, tier)["args"]]
        assert sorted(passed) == sorted(config_of(release, tier))
        assert passed[0] == f"{tier}.yaml"
        # The later file wins: the release over what is shipped, the user over the release.
        added = [file for file in passed if file in {"release.yaml", "custom.yaml"}]
        assert passed[len(passed) - len(added) :] == added == sorted(added, reverse=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_exporter_that_a_release_changes_exists_in_the_shipped_config(
    charts: Charts, name: str
) -> None:
    """A name of its own would make a second exporter that no pipeline uses, without an error."""
    release = charts.release(variant(name))
    for tier in tiers_of(release):
        files = {file: yaml.safe_load(text) for file, text in config_of(release, tier).items()}
        known = {
            exporter
            for file, config in files.items()
            if file not in {"release.yaml", "custom.yaml"}
            for exporter in config.get("exporters", {})
        }
        changed = files.get("release.yaml", {}).get("exporters", {})
        assert {one for one in changed if "/extra_" not in one} <= known, tier


@pytest.mark.parametrize("name", NAMES)
def test_every_pod_keeps_the_pod_security_level_restricted(charts: Charts, name: str) -> None:
    release = charts.release(variant(name))
    for owner, template in release.pods():
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, owner
        assert pod["securityContext"]["runAsNonRoot"] is True, owner
        assert pod["securityContext"]["runAsUser"] > 0, owner
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, owner
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys(), owner
        assert not any("hostPath" in volume for volume in pod["volumes"]), owner
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, owner
            assert context["capabilities"] == {"drop": ["ALL"]}, owner
            # OpenSearch of the demo writes its keystore beside its configuration.
            assert context["readOnlyRootFilesystem"] is not owner.endswith("-demo-opensearch")
            assert not any("hostPort" in port for port in container.get("ports", [])), owner
            assert container["resources"]["limits"]["memory"], owner


@pytest.mark.parametrize("name", NAMES)
def test_every_port_that_a_service_or_policy_names_is_a_port_of_its_pods(
    charts: Charts, name: str
) -> None:
    release = charts.release(variant(name))
    pods = [template for _, template in release.pods()]

    def ports_of(selector: dict[str, str]) -> set[str]:
        found = set()
        for pod in pods:
            labels = pod["metadata"]["labels"]
            if selector.items() <= labels.items():
                for container in pod["spec"]["containers"]:
                    found |= {port["name"] for port in container.get("ports", [])}
        return found

    for service in release.of_kind("Service"):
        wanted = {port["targetPort"] for port in service["spec"]["ports"]}
        assert wanted <= ports_of(service["spec"]["selector"]), service["metadata"]["name"]
    for policy in release.of_kind("NetworkPolicy"):
        rules = policy["spec"].get("ingress") or []
        wanted = {port["port"] for rule in rules for port in rule["ports"]}
        assert wanted <= ports_of(policy["spec"]["podSelector"]["matchLabels"]), policy


@pytest.mark.parametrize("name", NAMES)
def test_no_object_is_rendered_twice_and_all_stand_in_the_release_namespace(
    charts: Charts, name: str
) -> None:
    objects = charts.release(variant(name)).objects
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(names) == len(set(names))
    inside = [item for item in objects if not item["kind"].startswith("ValidatingAdmission")]
    assert {item["metadata"]["namespace"] for item in inside} == {"observed"}


# ------------------------------------------------------------ identities that cannot change later
@pytest.mark.parametrize("tier", ["gateway", "audit"])
def test_selectors_and_names_of_headless_services_are_what_they_always_were(
    charts: Charts, tier: str
) -> None:
    """They are immutable in Kubernetes: a change here makes every upgrade fail."""
    found = workload(charts.release(variant("prod")), tier)
    assert found["kind"] == "StatefulSet"
    assert found["metadata"]["name"] == f"release-kaizen-otel-{tier}"
    assert found["spec"]["selector"]["matchLabels"] == {
        "app.kubernetes.io/name": "kaizen-otel",
        "app.kubernetes.io/instance": "release",
        COMPONENT: tier,
    }
    assert found["spec"]["serviceName"] == f"release-kaizen-otel-{tier}-pods"
    assert found["spec"]["podManagementPolicy"] == "Parallel"
    (claim,) = found["spec"]["volumeClaimTemplates"]
    assert claim["metadata"] == {"name": "data"}
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]


def test_the_audit_trail_outlives_the_release_and_a_scale_down(charts: Charts) -> None:
    release = charts.release(variant("dev"))
    audit = workload(release, "audit")["spec"]
    assert audit["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    container = collector(release, "audit")
    mounts = {item["name"]: item["mountPath"] for item in container["volumeMounts"]}
    folder = variables(container)["KAIZEN_OTEL_AUDIT_DIR"]
    assert folder is not None
    assert folder.startswith(f"{mounts['data']}/")


@pytest.mark.parametrize(("persistent", "kind"), [(True, "StatefulSet"), (False, "Deployment")])
def test_the_gateway_has_a_volume_per_pod_if_and_only_if_its_queue_is_persistent(
    charts: Charts, persistent: bool, kind: str
) -> None:
    release = charts.render({"gateway": {"queue": {"persistent": persistent}}})
    gateway = workload(release, "gateway")
    assert gateway["kind"] == kind
    assert ("volumeClaimTemplates" in gateway["spec"]) is persistent
    volumes = gateway["spec"]["template"]["spec"]["volumes"]
    scratch = {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}}
    assert (scratch in volumes) is not persistent


# ----------------------------------------------------------------------- what the pods are told
def test_endpoints_reach_the_gateway_as_environment_and_nobody_else(charts: Charts) -> None:
    release = charts.render({"agent": {"enabled": True}})
    gateway = variables(collector(release, "gateway"))
    assert gateway["JAEGER_OTLP_ENDPOINT"] == "jaeger-collector:4317"
    expected = "http://prometheus:9090/api/v1/write"
    assert gateway["PROMETHEUS_REMOTE_WRITE_ENDPOINT"] == expected
    assert gateway["ELASTICSEARCH_ENDPOINT"] == "http://elasticsearch:9200"
    for tier in ("audit", "agent"):
        others = variables(collector(release, tier)).keys()
        assert not {"JAEGER_OTLP_ENDPOINT", "ELASTICSEARCH_ENDPOINT"} & others


def test_credentials_come_from_existing_secrets_as_files(charts: Charts) -> None:
    """Not as variables, which a process list, a crash dump and every child show."""
    release = charts.release(variant("prod"))
    assert not release.of_kind("Secret")
    container = collector(release, "gateway")
    assert not [item["name"] for item in container["env"] if "valueFrom" in item]
    mounted = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    volumes = next(one.pod["volumes"] for one in release.containers() if one.component == "gateway")
    files = {
        f"{mounted[one['name']]}/{item['path']}": (one["secret"]["secretName"], item["key"])
        for one in volumes
        if "secret" in one
        for item in one["secret"]["items"]
    }
    folder = "/etc/kaizen-otel/destinations"
    wanted = {
        f"{folder}/jaeger-bearer/token": ("jaeger-token", "token"),
        f"{folder}/prometheus-bearer/token": ("prometheus-token", "token"),
        f"{folder}/elasticsearch-basic/username": ("elasticsearch-user", "username"),
        f"{folder}/elasticsearch-basic/password": ("elasticsearch-user", "password"),
    }
    assert files.items() >= wanted.items()
    text = config_of(release, "gateway")["release.yaml"]
    assert set(re.findall(r"\$\{file:([^}]*)\}", text)) == set(wanted)


def test_without_audit_nothing_of_its_tier_is_rendered(charts: Charts) -> None:
    release = charts.render({"audit": {"enabled": False}})
    assert tiers_of(release) == ["gateway"]
    assert not [item for item in release.objects if "-audit" in item["metadata"]["name"]]


def test_an_image_digest_wins_over_the_tag(charts: Charts) -> None:
    digest = "sha256:" + "0" * 64
    values = {"image": {"digest": digest, "tag": "other"}, "agent": {"enabled": True}}
    release = charts.render(values)
    for tier in tiers_of(release):
        assert collector(release, tier)["image"].endswith(f"contrib@{digest}")


def test_a_job_of_the_release_is_made_of_pods_that_end(charts: Charts) -> None:
    release = charts.release(variant("secured"))
    for item in release.objects:
        template = pod_template(item)
        if template and item["kind"] in {"Job", "CronJob", "Pod"}:
            assert template["spec"]["restartPolicy"] == "Never", item["metadata"]["name"]


# --------------------------------------------------------------------------------------- the schema
def test_the_defaults_alone_say_which_value_is_missing(helm: Helm) -> None:
    done = helm.try_template(profile=None)
    assert done.returncode != 0
    assert "destinations.jaeger.endpoint is empty. Please set" in done.stderr


def test_an_address_at_which_no_receiver_can_listen_is_refused_by_its_key(helm: Helm) -> None:
    """The Collector's own check takes it; refusals.yaml has the others, for one Helm."""
    key = "gateway.config.receivers.otlp.protocols.grpc.endpoint"
    done = helm.try_template("--set", f"{key}=no address")
    assert done.returncode != 0
    assert f'{key} is "no address"' in done.stderr
    assert helm.try_template("--set", f"{key}=0.0.0.0:4317").returncode == 0


def test_the_schema_is_a_valid_schema_that_knows_every_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    assert values.keys() == schema["properties"].keys() - {"global"}


def test_the_schema_lets_no_object_of_ours_take_unknown_keys() -> None:
    """Strict from the first version: turning it on later breaks those who had a typo."""
    open_on_purpose = {"global", "nodeSelector", "affinity", "podLabels", "podAnnotations"}
    open_on_purpose |= {"podSelector", "namespaceSelector", "ipBlock", "requests", "limits"}
    open_on_purpose |= {"config", "labels", "dashboardLabels"}
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(node: dict[str, Any]) -> None:
        for name, part in node.get("properties", {}).items():
            if part.get("type") == "object" and name not in open_on_purpose:
                assert part["additionalProperties"] is False, name
            walk(part)

    assert schema["additionalProperties"] is False
    walk(schema)


def test_helm_prints_the_notes(helm_paths: dict[str, str]) -> None:
    """Helm 4 only: Helm 3 prints notes for nobody without a cluster."""
    done = Helm(path=helm_paths["4"]).run(
        *("install", "release", str(CHART), "--namespace", "observed", "--dry-run=client"),
        *("--values", str(CHART / "profiles" / "dev.yaml")),
    )
    assert done.returncode == 0, done.stderr
    gateway = "http://release-kaizen-otel-gateway.observed:4318"
    assert f"OTEL_EXPORTER_OTLP_ENDPOINT={gateway}" in done.stdout
    audit = "http://release-kaizen-otel-audit.observed:4319"
    assert f"KAIZEN_OTEL_AUDIT_ENDPOINT={audit}" in done.stdout
    assert "WARNING: gateway.queue.persistent is false" in done.stdout
