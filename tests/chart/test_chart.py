"""What the chart renders: valid, restricted, without secrets, and with the shipped configs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from .conftest import CHART, ROOT, Helm

if TYPE_CHECKING:
    from .conftest import Rendered

PROFILES = sorted(path.stem for path in (CHART / "profiles").glob("*.yaml"))
KUBERNETES_VERSIONS = ("1.30", "1.34", "1.37")


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item for item in pod["containers"][0]["env"]}


def config_map_of(rendered: Rendered, pod: dict[str, Any]) -> dict[str, Any]:
    """The ConfigMap that a pod mounts."""
    name = next(v["configMap"]["name"] for v in pod["volumes"] if "configMap" in v)
    maps = {item["metadata"]["name"]: item for item in rendered.of_kind("ConfigMap")}
    found: dict[str, Any] = maps[name]
    return found


@pytest.mark.parametrize("profile", [None, *PROFILES])
def test_every_profile_passes_helm_lint_in_strict_mode(helm: Helm, profile: str | None) -> None:
    values = ["--values", str(CHART / "profiles" / f"{profile}.yaml")] if profile else []
    done = helm.run("lint", "--strict", str(CHART), *values)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("profile", PROFILES)
def test_every_object_is_valid_for_every_supported_kubernetes(helm: Helm, profile: str) -> None:
    objects = helm.template(profile=profile).objects
    assert objects
    for version in KUBERNETES_VERSIONS:
        for item in objects:
            kubernetes_validate.validate(item, version, strict=True)


@pytest.mark.parametrize("profile", PROFILES)
def test_no_object_is_rendered_twice_and_all_stand_in_the_release_namespace(
    helm: Helm, profile: str
) -> None:
    objects = helm.template(profile=profile).objects
    names = [(item["kind"], item["metadata"]["name"]) for item in objects]
    assert len(names) == len(set(names))
    inside = [item for item in objects if not item["kind"].startswith("ValidatingAdmission")]
    assert {item["metadata"]["namespace"] for item in inside} == {"observed"}


@pytest.mark.parametrize("profile", PROFILES)
def test_no_list_of_a_container_names_a_thing_twice(helm: Helm, profile: str) -> None:
    """Server-side apply, the default of Helm 4, refuses duplicates that Helm 3 let through."""
    for pod in helm.template(profile=profile).pods():
        container = pod["containers"][0]
        for key, field in (("env", "name"), ("ports", "name"), ("volumeMounts", "mountPath")):
            values = [item[field] for item in container[key]]
            assert len(values) == len(set(values)), key


@pytest.mark.parametrize("tier", ["gateway", "agent", "audit"])
def test_the_mounted_config_is_the_shipped_file_byte_for_byte(helm: Helm, tier: str) -> None:
    data = helm.template("--set=agent.enabled=true").one("ConfigMap", tier)["data"]
    assert data[f"{tier}.yaml"] == (ROOT / f"collector/config/{tier}.yaml").read_text()


def test_the_charts_copies_of_configs_alerts_and_dashboards_have_not_drifted() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "chart_files.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_changed_destination_gives_the_config_map_a_new_name(helm: Helm) -> None:
    """A pod that crashes must come back with the config it was made with, not a newer one."""
    plain = helm.template().one("ConfigMap", "gateway")
    changed = helm.template(
        "--set=destinations.jaeger.tls.enabled=true",
    ).one("ConfigMap", "gateway")
    assert plain["immutable"] is changed["immutable"] is True
    assert plain["metadata"]["name"] != changed["metadata"]["name"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_pod_keeps_the_pod_security_level_restricted(helm: Helm, profile: str) -> None:
    pods = helm.template(profile=profile).pods()
    assert len(pods) == 2
    for pod in pods:
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert not any("hostPath" in volume for volume in pod["volumes"])
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert not any("hostPort" in port for port in container["ports"])
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_port_that_a_service_or_policy_names_is_a_port_of_its_pods(
    helm: Helm, profile: str
) -> None:
    rendered = helm.template(profile=profile)
    for workload in rendered.workloads():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        names = {
            port["name"] for port in workload["spec"]["template"]["spec"]["containers"][0]["ports"]
        }
        component = labels["app.kubernetes.io/component"]
        services = [
            item
            for item in rendered.of_kind("Service")
            if item["spec"]["selector"].items() <= labels.items()
        ]
        assert services, component
        assert {port["targetPort"] for item in services for port in item["spec"]["ports"]} <= names
        policy = rendered.one("NetworkPolicy", component)
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
        wanted = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        assert wanted <= names


def test_the_audit_trail_outlives_the_release_and_a_scale_down(helm: Helm) -> None:
    audit = helm.template().one("StatefulSet", "audit")["spec"]
    assert audit["persistentVolumeClaimRetentionPolicy"] == {
        "whenDeleted": "Retain",
        "whenScaled": "Retain",
    }
    assert [claim["metadata"]["name"] for claim in audit["volumeClaimTemplates"]] == ["data"]
    pod = audit["template"]["spec"]
    mounts = {item["name"]: item["mountPath"] for item in pod["containers"][0]["volumeMounts"]}
    folder = environment(pod)["KAIZEN_OTEL_AUDIT_DIR"]["value"]
    assert folder.startswith(f"{mounts['data']}/")


def test_the_gateway_has_a_volume_per_pod_when_its_queue_is_persistent(helm: Helm) -> None:
    rendered = helm.template("--set=gateway.queue.persistent=true")
    gateway = rendered.one("StatefulSet", "gateway")
    assert gateway["spec"]["volumeClaimTemplates"]
    assert not rendered.of_kind("Deployment")
    service = gateway["spec"]["serviceName"]
    assert service in {item["metadata"]["name"] for item in rendered.of_kind("Service")}


def test_the_gateway_is_a_deployment_when_its_queue_is_not(helm: Helm) -> None:
    rendered = helm.template("--set=gateway.queue.persistent=false")
    volumes = rendered.one("Deployment", "gateway")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}} in volumes


def test_selectors_are_what_they_always_were(helm: Helm) -> None:
    """They are immutable in Kubernetes: a change here makes every upgrade fail."""
    for component in ("gateway", "audit"):
        rendered = helm.template(profile="prod").one("StatefulSet", component)
        assert rendered["spec"]["selector"]["matchLabels"] == {
            "app.kubernetes.io/name": "kaizen-otel",
            "app.kubernetes.io/instance": "release",
            "app.kubernetes.io/component": component,
        }
        assert rendered["spec"]["serviceName"] == f"release-kaizen-otel-{component}-pods"


def test_endpoints_reach_the_collector_as_environment_only_on_the_gateway(helm: Helm) -> None:
    rendered = helm.template()
    gateway = environment(rendered.one("Deployment", "gateway")["spec"]["template"]["spec"])
    assert gateway["JAEGER_OTLP_ENDPOINT"]["value"] == "jaeger-collector:4317"
    expected = "http://prometheus:9090/api/v1/write"
    assert gateway["PROMETHEUS_REMOTE_WRITE_ENDPOINT"]["value"] == expected
    assert gateway["ELASTICSEARCH_ENDPOINT"]["value"] == "http://elasticsearch:9200"
    audit = environment(rendered.one("StatefulSet", "audit")["spec"]["template"]["spec"])
    assert not {"JAEGER_OTLP_ENDPOINT", "ELASTICSEARCH_ENDPOINT"} & audit.keys()


def test_every_variable_of_a_config_is_set_by_its_pod_or_has_a_default(helm: Helm) -> None:
    rendered = helm.template(profile="prod")
    for pod in rendered.pods():
        names = environment(pod).keys()
        for text in config_map_of(rendered, pod)["data"].values():
            for reference in text.split("${env:")[1:]:
                name, _, default = reference.split("}")[0].partition(":-")
                assert name in names or default, name


def test_credentials_come_from_existing_secrets_and_stand_in_no_other_object(helm: Helm) -> None:
    rendered = helm.template(profile="prod")
    assert not rendered.of_kind("Secret")
    gateway = rendered.one("StatefulSet", "gateway")["spec"]["template"]["spec"]
    sources = {
        name: (item["valueFrom"]["secretKeyRef"]["name"], item["valueFrom"]["secretKeyRef"]["key"])
        for name, item in environment(gateway).items()
        if "valueFrom" in item
    }
    assert sources == {
        "JAEGER_BEARER_TOKEN": ("jaeger-token", "token"),
        "PROMETHEUS_BEARER_TOKEN": ("prometheus-token", "token"),
        "ELASTICSEARCH_USER": ("elasticsearch-user", "username"),
        "ELASTICSEARCH_PASSWORD": ("elasticsearch-user", "password"),
    }
    added = yaml.safe_load(rendered.one("ConfigMap", "gateway")["data"]["release.yaml"])
    assert added["exporters"]["otlp_grpc/jaeger"]["headers"] == {
        "authorization": "Bearer ${env:JAEGER_BEARER_TOKEN}"
    }
    assert added["exporters"]["elasticsearch"]["password"] == "${env:ELASTICSEARCH_PASSWORD}"


def test_every_exporter_that_the_destinations_change_exists_in_the_shipped_config(
    helm: Helm,
) -> None:
    """A name of its own would make a second exporter that no pipeline uses, without an error."""
    data = helm.template(profile="prod").one("ConfigMap", "gateway")["data"]
    shipped = yaml.safe_load(data["gateway.yaml"])["exporters"]
    assert yaml.safe_load(data["release.yaml"])["exporters"].keys() <= shipped.keys()


def test_a_config_file_is_passed_to_the_collector_if_and_only_if_it_is_mounted(helm: Helm) -> None:
    for profile in PROFILES:
        rendered = helm.template(profile=profile)
        for pod in rendered.pods():
            folder = "--config=/etc/kaizen-otel/config/"
            passed = [argument.removeprefix(folder) for argument in pod["containers"][0]["args"]]
            assert sorted(passed) == sorted(config_map_of(rendered, pod)["data"])
            if "release.yaml" in passed:
                assert passed[-1] == "release.yaml"  # the later file wins


def test_the_gateway_may_reach_the_destinations_ports_and_the_audit_tier_nobody(
    helm: Helm,
) -> None:
    rendered = helm.template(profile="prod")
    egress = rendered.one("NetworkPolicy", "gateway")["spec"]["egress"]
    assert {port["port"] for rule in egress for port in rule["ports"]} == {53, 443, 4317, 9200}
    audit = rendered.one("NetworkPolicy", "audit")["spec"]
    assert audit["egress"] == []
    assert "Egress" in audit["policyTypes"]


def test_without_audit_nothing_of_its_tier_is_rendered(helm: Helm) -> None:
    rendered = helm.template("--set=audit.enabled=false")
    assert len(rendered.workloads()) == 1
    assert not [item for item in rendered.objects if item["metadata"]["name"].endswith("audit")]


def test_an_image_digest_wins_over_the_tag(helm: Helm) -> None:
    digest = "sha256:" + "0" * 64
    for pod in helm.template(f"--set=image.digest={digest}", "--set=image.tag=other").pods():
        assert pod["containers"][0]["image"].endswith(f"contrib@{digest}")


REFUSED = {
    "an unknown key at the top": ("--set=gatway.replicas=2", "gatway"),
    "an unknown key inside": ("--set=audit.replica=2", "replica"),
    "a text where a number belongs": ("--set-string=gateway.replicas=two", "replicas"),
    "no replica at all": ("--set=audit.replicas=0", "replicas"),
    "an endpoint with a password in it": (
        "--set=destinations.elasticsearch.endpoint=https://user:word@elasticsearch:9200",
        "endpoint",
    ),
    "a URL where host and port belong": (
        "--set=destinations.jaeger.endpoint=http://jaeger:4317",
        "endpoint",
    ),
    "a volume size without a unit Kubernetes knows": ("--set=audit.volume.size=20GB", "size"),
    "a missing memory limit": ("--set=audit.resources.limits.memory=null", "memory"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_schema_refuses(helm: Helm, case: str) -> None:
    argument, named = REFUSED[case]
    done = helm.try_template(argument)
    assert done.returncode != 0
    assert named in done.stderr


FAILURES = {
    "destinations.jaeger.endpoint=": "Please set it to host:port of Jaeger's OTLP/gRPC receiver",
    "destinations.prometheus.endpoint=": "Please set it to the URL of a remote-write receiver",
    "destinations.elasticsearch.endpoint=": "Please set it to the URL of Elasticsearch",
    "destinations.jaeger.bearerSecret.name=token": "would travel unencrypted",
    "destinations.jaeger.tls.caSecret.name=ca": "set destinations.jaeger.tls.enabled to true",
    "destinations.prometheus.tls.caSecret.name=ca": "set destinations.prometheus.endpoint to an "
    "https:// URL",
    "destinations.elasticsearch.basicSecret.name=a,"
    "destinations.elasticsearch.apiKeySecret.name=b": "Please set the name of one of them",
}


@pytest.mark.parametrize("setting", FAILURES)
def test_a_combination_that_cannot_work_is_refused_with_what_to_set(
    helm: Helm, setting: str
) -> None:
    done = helm.try_template(f"--set={setting}")
    assert done.returncode != 0
    assert FAILURES[setting] in done.stderr


def test_the_defaults_alone_say_which_value_is_missing(helm: Helm) -> None:
    done = helm.try_template(profile=None)
    assert done.returncode != 0
    assert "destinations.jaeger.endpoint is empty. Please set" in done.stderr


def test_the_schema_is_a_valid_schema_that_knows_every_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    jsonschema.validate(values, schema)
    assert values.keys() == schema["properties"].keys() - {"global"}


def test_the_schema_lets_no_object_of_ours_take_unknown_keys() -> None:
    """Strict from the first version: turning it on later breaks those who had a typo."""
    open_on_purpose = {"global", "nodeSelector", "affinity", "podLabels", "podAnnotations"}
    open_on_purpose |= {"config", "labels", "dashboardLabels"}
    open_on_purpose |= {"podSelector", "namespaceSelector", "ipBlock", "requests", "limits"}
    schema = json.loads((CHART / "values.schema.json").read_text())

    def walk(node: dict[str, Any]) -> None:
        for name, part in node.get("properties", {}).items():
            if part.get("type") == "object" and name not in open_on_purpose:
                assert part["additionalProperties"] is False, name
            walk(part)

    assert schema["additionalProperties"] is False
    walk(schema)


def test_the_notes_give_the_two_settings_of_the_agents(helm_paths: dict[str, str]) -> None:
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
