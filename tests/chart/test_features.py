"""What each value does to the pods, by tables over renders."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.chart.kit.rendering import CHART, COMPONENT, ROOT, Manifest, Release, Values, merged
from tests.chart.kit.variants import Charts, variant, variants

from .conftest import Helm

NAMES = [one.name for one in variants()]
TIERS = ("gateway", "agent", "audit")
VALIDATED = [one.name for one in variants() if one.values.get("validation", {}).get("enabled", 1)]


def workload(release: Release, tier: str) -> Manifest:
    """The object that makes the pods of a tier."""
    kinds = ("Deployment", "StatefulSet", "DaemonSet")
    found = [
        item
        for kind in kinds
        for item in release.of_kind(kind)
        if item["metadata"]["labels"][COMPONENT] == tier
    ]
    assert len(found) == 1, tier
    return found[0]


def collector(release: Release, tier: str) -> Manifest:
    container: Manifest = workload(release, tier)["spec"]["template"]["spec"]["containers"][0]
    return container


def variables(container: Manifest) -> dict[str, str | None]:
    """Name -> value, None for one from a Secret."""
    return {one["name"]: one.get("value") for one in container["env"]}


def tiers_of(release: Release) -> list[str]:
    there = {item["metadata"]["labels"][COMPONENT] for item in release.objects}
    return [tier for tier in TIERS if tier in there]


def named(release: Release, kind: str, name: str) -> Manifest:
    return next(item for item in release.of_kind(kind) if item["metadata"]["name"] == name)


# ------------------------------------------------------------------ files and where they come from
def mounted_files(container: Manifest, pod: Manifest) -> set[str]:
    """Every file that the container finds below its mounts of ConfigMaps and Secrets."""
    volumes = {one["name"]: one for one in pod["volumes"]}
    found = set()
    for mount in container["volumeMounts"]:
        secret = volumes.get(mount["name"], {}).get("secret")
        for item in (secret or {}).get("items", []):
            found.add(f"{mount['mountPath']}/{item['path']}")
    return found


def files_read(container: Manifest, texts: list[str]) -> set[str]:
    """Every file below /etc/kaizen-otel that the configuration names, as its variables say."""
    known = variables(container)
    found = set()
    for text in texts:
        for name, default in re.findall(r"\$\{env:(\w+):?-?([^}]*)\}", text):
            found.add(known.get(name) or default)
        found |= set(
            re.findall(r"\"?(/etc/kaizen-otel/[\w./-]+)", re.sub(r"\$\{[^}]*\}", "", text))
        )
    return {path for path in found if path.startswith("/etc/kaizen-otel/")}


@pytest.mark.parametrize("name", NAMES)
def test_every_file_that_a_configuration_names_is_mounted_from_a_secret(
    charts: Charts, name: str
) -> None:
    release = charts.release(variant(name))
    for tier in tiers_of(release):
        container = collector(release, tier)
        pod = workload(release, tier)["spec"]["template"]["spec"]
        config = next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
        texts = [
            re.sub(r"(?m)^\s*#.*$", "", text)
            for text in named(release, "ConfigMap", config)["data"].values()
        ]
        assert files_read(container, texts) <= mounted_files(container, pod), (name, tier)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_mounted_that_nobody_reads(charts: Charts, name: str) -> None:
    """A Secret in a pod that does not need it is one more place to steal it from."""
    release = charts.release(variant(name))
    for tier in tiers_of(release):
        container = collector(release, tier)
        pod = workload(release, tier)["spec"]["template"]["spec"]
        config = next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
        texts = list(named(release, "ConfigMap", config)["data"].values())
        assert mounted_files(container, pod) <= files_read(container, texts), (name, tier)


@pytest.mark.parametrize("name", NAMES)
def test_no_tier_has_a_variable_that_its_configuration_does_not_read(
    charts: Charts, name: str
) -> None:
    release = charts.release(variant(name))
    for tier in tiers_of(release):
        pod = workload(release, tier)["spec"]["template"]["spec"]
        config = next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
        text = "\n".join(named(release, "ConfigMap", config)["data"].values())
        unread = {key for key in variables(collector(release, tier)) if f"${{env:{key}" not in text}
        # Read by Go itself, and by our own exporter.
        assert unread <= {"GOMEMLIMIT", "KAIZEN_OTEL_DEAD_LETTER_DIR"}, (name, tier)


# ------------------------------------------------------------------------------- authentication
CREDENTIALS = [
    ("secured", "gateway", "KAIZEN_OTEL_TOKENS_FILE", "telemetry-tokens"),
    ("secured", "gateway", "KAIZEN_OTEL_AUDIT_TOKENS_FILE", "telemetry-tokens"),
    ("secured", "audit", "KAIZEN_OTEL_AUDIT_TOKENS_FILE", "audit-tokens"),
    ("secured", "agent", "KAIZEN_OTEL_GATEWAY_TOKEN_FILE", "agent-token"),
    ("basic", "gateway", "KAIZEN_OTEL_HTPASSWD_FILE", "telemetry-tokens"),
    ("basic", "audit", "KAIZEN_OTEL_AUDIT_HTPASSWD_FILE", "audit-tokens"),
    ("oidc", "agent", "KAIZEN_OTEL_GATEWAY_CLIENT_SECRET_FILE", "agent-token"),
    ("oidc", "gateway", "KAIZEN_OTEL_OIDC_CA_FILE", "provider-ca"),
    ("oidc", "audit", "KAIZEN_OTEL_OIDC_CA_FILE", "provider-ca"),
    ("oidc", "agent", "KAIZEN_OTEL_GATEWAY_OIDC_CA_FILE", "provider-ca"),
    ("secured", "gateway", "KAIZEN_OTEL_TLS_CLIENT_CA_FILE", "telemetry-clients"),
    ("secured", "audit", "KAIZEN_OTEL_TLS_AUDIT_CLIENT_CA_FILE", "audit-clients"),
    ("secured", "agent", "KAIZEN_OTEL_GATEWAY_CERT_FILE", "agent-tls"),
    ("secured", "agent", "KAIZEN_OTEL_GATEWAY_CA_FILE", "receivers-tls"),
    ("cert-manager", "agent", "KAIZEN_OTEL_GATEWAY_CERT_FILE", "release-kaizen-otel-agent-tls"),
]


@pytest.mark.parametrize(("name", "tier", "variable", "secret"), CREDENTIALS)
def test_a_credential_comes_from_the_secret_that_is_meant_for_this_tier(
    charts: Charts, name: str, tier: str, variable: str, secret: str
) -> None:
    release = charts.release(variant(name))
    container = collector(release, tier)
    path = variables(container)[variable]
    assert path is not None
    folder = path.rpartition("/")[0]
    mount = next(one for one in container["volumeMounts"] if one["mountPath"] == folder)
    pod = workload(release, tier)["spec"]["template"]["spec"]
    volume = next(one for one in pod["volumes"] if one["name"] == mount["name"])
    assert volume["secret"]["secretName"] == secret


def test_the_gateway_holds_no_credential_of_the_audit_tier(charts: Charts) -> None:
    """Who takes over the gateway must not be able to write into the trail."""
    text = json.dumps(workload(charts.release(variant("secured")), "gateway"))
    assert "audit-tokens" not in text
    assert "audit-clients" not in text


@pytest.mark.parametrize("tier", ["gateway", "agent"])
def test_only_the_audit_tier_listens_for_audit_records(charts: Charts, tier: str) -> None:
    release = charts.release(variant("secured"))
    pod = workload(release, tier)["spec"]["template"]["spec"]
    config = next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
    added = yaml.safe_load(named(release, "ConfigMap", config)["data"]["release.yaml"])
    assert added["receivers"]["otlp/audit"]["protocols"]["http"]["endpoint"] == "127.0.0.1:4319"
    assert "audit" not in {port["name"] for port in collector(release, tier)["ports"]}


# ------------------------------------------------------------------------------------- validation
def hook_containers(release: Release) -> dict[str, tuple[Manifest, Manifest]]:
    """Tier -> the container that validates its configuration, and its pod."""
    job = next(
        one for one in release.of_kind("Job") if one["metadata"]["name"].endswith("-validate")
    )
    pod = job["spec"]["template"]["spec"]
    return {one["name"].removeprefix("validate-"): (one, pod) for one in pod["containers"]}


@pytest.mark.parametrize("name", VALIDATED)
def test_the_validation_has_the_image_files_environment_and_secrets_of_the_pods(
    charts: Charts, name: str
) -> None:
    release = charts.release(variant(name))
    checked = hook_containers(release)
    assert sorted(checked) == sorted(tiers_of(release))
    for tier, (hook, pod) in checked.items():
        running = collector(release, tier)
        assert hook["args"] == ["validate", *running["args"]]
        for key in ("image", "env", "envFrom", "resources", "securityContext"):
            assert hook.get(key) == running.get(key), key
        spec = workload(release, tier)["spec"]["template"]["spec"]
        assert mounted_files(hook, pod) == mounted_files(running, spec)
        config = next(one["configMap"]["name"] for one in spec["volumes"] if "configMap" in one)
        mine = next(one for one in pod["volumes"] if one["name"] == f"config-{tier}")
        assert (
            named(release, "ConfigMap", mine["configMap"]["name"])["data"]
            == named(release, "ConfigMap", config)["data"]
        )


def test_the_validation_runs_after_its_configuration_is_there_and_before_anything_else(
    charts: Charts,
) -> None:
    release = charts.release(variant("prod"))
    hooks = {
        f"{item['kind']} {item['metadata']['name'].rpartition('-')[2]}": item["metadata"]
        for item in release.objects
        if "pre-upgrade" in item["metadata"].get("annotations", {}).get("helm.sh/hook", "")
    }
    weights = {name: int(one["annotations"]["helm.sh/hook-weight"]) for name, one in hooks.items()}
    assert weights == {"ConfigMap validate": -10, "NetworkPolicy validate": -10, "Job validate": -5}
    for one in hooks.values():
        assert one["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
        assert "hook-failed" not in one["annotations"]["helm.sh/hook-delete-policy"]


def test_the_validation_tries_once_and_not_for_ever(charts: Charts) -> None:
    release = charts.render({"validation": {"timeoutSeconds": 33}})
    job = release.of_kind("Job")[0]["spec"]
    assert job["backoffLimit"] == 0
    assert job["activeDeadlineSeconds"] == 33
    assert job["template"]["spec"]["restartPolicy"] == "Never"


def test_certificates_that_cert_manager_has_yet_to_make_do_not_hold_the_validation_up(
    charts: Charts,
) -> None:
    release = charts.release(variant("cert-manager"))
    _, pod = hook_containers(release)["gateway"]
    optional = {one["name"] for one in pod["volumes"] if one.get("secret", {}).get("optional")}
    assert optional == {"gateway-tls", "agent-tls", "audit-tls"}


# ------------------------------------------------------------------- configurations are immutable
CHANGES: list[dict[str, Any]] = [
    {"destinations": {"jaeger": {"tls": {"enabled": True}}}},
    {"destinations": {"elasticsearch": {"server": "opensearch"}}},
    {"gateway": {"config": {"extensions": {"zpages": {}}}}},
    {"gateway": {"tailSampling": {"enabled": True}}},
    {"tls": {"enabled": True, "serverSecret": {"name": "server"}}},
    {
        "destinations": {
            "extra": [{"name": "x", "protocol": "grpc", "endpoint": "x:1", "signals": ["logs"]}]
        }
    },
]


def config_name(release: Release, tier: str) -> str:
    pod = workload(release, tier)["spec"]["template"]["spec"]
    return str(next(one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one))


@pytest.mark.parametrize("values", CHANGES, ids=lambda values: json.dumps(values)[:60])
def test_every_change_of_a_configuration_is_a_new_immutable_config_map(
    charts: Charts, values: dict[str, Any]
) -> None:
    before = charts.release(variant("dev"))
    after = charts.render(values)
    assert config_name(before, "gateway") != config_name(after, "gateway")
    assert named(after, "ConfigMap", config_name(after, "gateway"))["immutable"] is True


@pytest.mark.parametrize(
    "values",
    [
        {"gateway": {"replicas": 3}},
        {"destinations": {"jaeger": {"endpoint": "other:4317"}}},
        {"podLabels": {"team": "a"}},
        {"image": {"tag": "0.161.1"}},
    ],
    ids=json.dumps,
)
def test_what_is_no_configuration_keeps_the_config_map(
    charts: Charts, values: dict[str, Any]
) -> None:
    before = charts.release(variant("dev"))
    assert config_name(before, "gateway") == config_name(charts.render(values), "gateway")


# ------------------------------------------------------------------------------------------ memory
MEMORY = [
    ("512Mi", 409),
    ("1Gi", 819),
    ("1.5Gi", 1228),
    ("2G", 1525),
    ("600M", 457),
    ("1073741824", 819),
    (536870912, 409),
    ("524288Ki", 409),
]


@pytest.mark.parametrize(("limit", "mebibytes"), MEMORY)
def test_four_fifths_of_the_memory_limit_are_the_collectors_to_use(
    charts: Charts, limit: str | int, mebibytes: int
) -> None:
    resources = {"resources": {"limits": {"memory": limit}}}
    release = charts.render({"gateway": resources, "agent": {"enabled": True, **resources}})
    for tier in ("gateway", "agent"):
        assert variables(collector(release, tier))["GOMEMLIMIT"] == f"{mebibytes}MiB"
    agent = variables(collector(release, "agent"))
    assert agent["KAIZEN_OTEL_MEMORY_MIB"] == str(mebibytes)


# ------------------------------------------------------------------------------------- destinations
@pytest.mark.parametrize(
    ("signals", "pipelines"),
    [
        (["traces"], {"traces": ["span_metrics", "otlp_grpc/jaeger"]}),
        (["metrics"], {"metrics": ["prometheus_remote_write"]}),
        (["logs"], {"logs": ["elasticsearch"]}),
        (
            ["traces", "logs"],
            {"traces": ["span_metrics", "otlp_grpc/jaeger"], "logs": ["elasticsearch"]},
        ),
    ],
)
def test_one_more_destination_gets_its_signals_and_takes_nothing_from_the_others(
    charts: Charts, signals: list[str], pipelines: dict[str, list[str]]
) -> None:
    """A list in an overlay replaces the list: what stood there must stand in it again."""
    one = {"name": "more", "protocol": "grpc", "endpoint": "more:4317", "signals": signals}
    release = charts.render({"destinations": {"extra": [one]}})
    text = named(release, "ConfigMap", config_name(release, "gateway"))["data"]["release.yaml"]
    added = yaml.safe_load(text)
    found = {name: one["exporters"] for name, one in added["service"]["pipelines"].items()}
    expected = {name: [*there, "otlp_grpc/extra_more"] for name, there in pipelines.items()}
    assert found == expected


def test_with_tail_sampling_one_more_destination_gets_what_jaeger_gets(charts: Charts) -> None:
    one = {"name": "more", "protocol": "grpc", "endpoint": "more:4317", "signals": ["traces"]}
    release = charts.render({"destinations": {"extra": [one]}}, base="sampling")
    text = named(release, "ConfigMap", config_name(release, "gateway"))["data"]["release.yaml"]
    pipelines = yaml.safe_load(text)["service"]["pipelines"]
    assert pipelines["traces"]["exporters"] == ["otlp_grpc/jaeger", "otlp_grpc/extra_more"]


def test_a_queue_of_one_more_destination_is_on_disk_and_has_no_end_of_retries(
    charts: Charts,
) -> None:
    release = charts.release(variant("customised"))
    text = named(release, "ConfigMap", config_name(release, "gateway"))["data"]["release.yaml"]
    exporters = yaml.safe_load(text)["exporters"]
    for name in ("otlp_http/extra_archive", "otlp_grpc/extra_second", "otlp_grpc/extra_plain"):
        assert exporters[name]["sending_queue"]["storage"] == "file_storage/queue"
        assert exporters[name]["retry_on_failure"] == {"max_elapsed_time": "0s"}
    assert exporters["otlp_grpc/extra_second"]["tls"]["insecure"] is False
    assert exporters["otlp_grpc/extra_plain"]["tls"]["insecure"] is True


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


def agent_environment(release: Release) -> dict[str, str]:
    found: dict[str, str] = next(
        item["data"]
        for item in release.of_kind("ConfigMap")
        if item["metadata"]["name"].endswith("-agent-env")
    )
    return found


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


# ------------------------------------------------------------------------------------- compliance
WEAKENED: list[tuple[str, dict[str, Any]]] = [
    ("/audit/enabled", {"audit": {"enabled": False}}),
    ("/audit/guard/enabled", {"audit": {"guard": {"enabled": False}}}),
    ("/audit/verification/enabled", {"audit": {"verification": {"enabled": False}}}),
    ("/audit/deletionGuard/enabled", {"audit": {"deletionGuard": {"enabled": False}}}),
    (
        "/audit/volume/retention/whenDeleted",
        {"audit": {"volume": {"retention": {"whenDeleted": "Delete"}}}},
    ),
    (
        "/audit/volume/retention/whenScaled",
        {"audit": {"volume": {"retention": {"whenScaled": "Delete"}}}},
    ),
    ("/audit/config", {"audit": {"config": {"a": 1}}}),
    ("/gateway/config", {"gateway": {"config": {"a": 1}}}),
    ("/agent/config", {"agent": {"config": {"a": 1}}}),
    ("/networkPolicy/enabled", {"networkPolicy": {"enabled": False}}),
    ("/tls/enabled", {"tls": {"enabled": False}}),
    ("/validation/enabled", {"validation": {"enabled": False}}),
    ("/demo/enabled", {"demo": {"enabled": True}}),
    ("/agents/durability", {"agents": {"durability": "none"}}),
    ("/agents/onFailure", {"agents": {"onFailure": "continue"}}),
]


def schema_errors(values: Values) -> list[str]:
    """The places that the schema objects to, in what Helm makes of values and defaults."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    validator = jsonschema.Draft7Validator(schema)
    errors = validator.iter_errors(merged(defaults, values))
    return ["/".join(["", *(str(part) for part in error.absolute_path)]) for error in errors]


@pytest.mark.parametrize(("path", "values"), WEAKENED)
def test_under_compliance_the_schema_refuses_what_weakens_the_trail(
    path: str, values: dict[str, Any]
) -> None:
    compliance = variant("compliance").values
    assert schema_errors(compliance) == []
    assert schema_errors(merged(compliance, values)) == [path]


@pytest.mark.parametrize(("path", "values"), WEAKENED)
def test_without_compliance_the_schema_leaves_that_to_the_user(
    path: str, values: dict[str, Any]
) -> None:
    without = merged(variant("compliance").values, values, {"compliance": {"enabled": False}})
    assert schema_errors(without) == [], path


def test_helm_itself_refuses_by_the_schema_of_compliance(helm: Helm) -> None:
    done = helm.try_template("--set=audit.guard.enabled=false", profile="compliance")
    assert done.returncode != 0
    assert "guard" in done.stderr
    assert "must be true" in done.stderr.replace("does not match: true", "must be true")


# ------------------------------------------------------------------------------------------- guard
def test_the_guard_is_a_native_sidecar_whose_readiness_is_the_pods(charts: Charts) -> None:
    release = charts.render(
        {"image": {"registry": "r.example"}, "audit": {"guard": {"enabled": True}}}
    )
    pod = workload(release, "audit")["spec"]["template"]["spec"]
    (guard,) = pod["initContainers"]
    assert guard["restartPolicy"] == "Always"
    assert guard["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "guard"}
    assert guard["readinessProbe"]["failureThreshold"] == 1
    assert "httpGet" not in guard["livenessProbe"]  # a full disk is no reason to start again
    assert [*guard["command"], *guard["args"]] == [
        *("kaizen-otel", "audit", "guard", "--directory=/var/lib/kaizen-otel/audit"),
        *("--min-free=1073741824", "--listen=0.0.0.0:13134"),
    ]
    data = next(one for one in guard["volumeMounts"] if one["name"] == "data")
    assert data["mountPath"] == "/var/lib/kaizen-otel"
    assert not data.get("readOnly")
    assert variables(collector(release, "audit"))["KAIZEN_OTEL_AUDIT_DIR"] in guard["args"][0]


@pytest.mark.parametrize("name", NAMES)
def test_only_the_audit_tier_has_a_guard(charts: Charts, name: str) -> None:
    release = charts.release(variant(name))
    guarded = {tier for tier in tiers_of(release) if has_guard(release, tier)}
    wanted = variant(name).values.get("audit", {}).get("guard", {}).get("enabled")
    assert guarded == ({"audit"} if wanted else set())


def has_guard(release: Release, tier: str) -> bool:
    return "initContainers" in workload(release, tier)["spec"]["template"]["spec"]


# -------------------------------------------------------------------------------------------- jobs
JOBS = {
    "image": {"registry": "r.example"},
    "audit": {
        "replicas": 3,
        "trustSecret": {"name": "trust"},
        "anchorsSecret": {"name": "anchors"},
        "verification": {"enabled": True, "schedule": "1 2 * * *"},
        "prune": {"enabled": True, "keep": "13mo", "keySecret": {"name": "prune-key"}},
    },
}


def cron_jobs(release: Release, name: str) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Number of the volume, CronJob, pod."""
    for item in release.of_kind("CronJob"):
        found = re.fullmatch(rf"release-kaizen-otel-{name}-(\d+)", item["metadata"]["name"])
        if found:
            pod = item["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            yield found[1], item, pod


@pytest.mark.parametrize(("name", "read_only"), [("verify", True), ("prune", False)])
def test_each_volume_has_its_job_beside_the_pod_that_holds_it(
    charts: Charts, name: str, read_only: bool
) -> None:
    """ReadWriteOnce means one node."""
    release = charts.render(JOBS)
    audit = workload(release, "audit")
    seen = []
    for number, _, pod in cron_jobs(release, name):
        claim = next(one for one in pod["volumes"] if "persistentVolumeClaim" in one)
        assert (
            claim["persistentVolumeClaim"]["claimName"]
            == f"data-release-kaizen-otel-audit-{number}"
        )
        (term,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        labels = audit["spec"]["template"]["metadata"]["labels"]
        own = {
            **labels,
            "statefulset.kubernetes.io/pod-name": f"{audit['metadata']['name']}-{number}",
        }
        assert term["labelSelector"]["matchLabels"].items() <= own.items()
        assert term["topologyKey"] == "kubernetes.io/hostname"
        mount = next(one for one in pod["containers"][0]["volumeMounts"] if one["name"] == "data")
        assert bool(mount.get("readOnly")) is read_only
        seen.append(number)
    assert seen == ["0", "1", "2"]


def test_a_verification_compares_with_trust_and_anchors_and_tells_the_verdict(
    charts: Charts,
) -> None:
    _, item, pod = next(cron_jobs(charts.render(JOBS), "verify"))
    assert pod["containers"][0]["args"] == [
        *("audit", "verify", "/var/lib/kaizen-otel/audit", "--json"),
        *("--trust", "/etc/kaizen-otel/trust/trust.json"),
        *("--anchors", "/etc/kaizen-otel/anchors/anchors.json", "--emit"),
    ]
    assert item["spec"]["schedule"] == "1 2 * * *"
    assert item["spec"]["concurrencyPolicy"] == "Forbid"
    assert item["spec"]["jobTemplate"]["spec"]["backoffLimit"] == 0


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("trustSecret", {"--trust", "/etc/kaizen-otel/trust/trust.json"}),
        ("anchorsSecret", {"--anchors", "/etc/kaizen-otel/anchors/anchors.json"}),
    ],
)
def test_a_verification_without_a_file_does_not_ask_for_it(
    charts: Charts, name: str, options: set[str]
) -> None:
    without = {"audit": {name: {"name": ""}, "prune": {"enabled": False}}}
    release = charts.render({**JOBS, "audit": {**JOBS["audit"], **without["audit"]}})  # type: ignore[dict-item]
    _, _, pod = next(cron_jobs(release, "verify"))
    assert not options & set(pod["containers"][0]["args"])
    assert not [one for one in pod["volumes"] if one["name"] == name.removesuffix("Secret")]


def test_a_pruning_has_a_key_that_no_other_pod_has(charts: Charts) -> None:
    release = charts.render(JOBS)
    _, _, pod = next(cron_jobs(release, "prune"))
    assert pod["containers"][0]["args"] == [
        *("audit", "prune", "--trail", "/var/lib/kaizen-otel/audit", "--keep", "13mo"),
        *("--key", "/etc/kaizen-otel/key/key.pem", "--trust", "/etc/kaizen-otel/trust/trust.json"),
        *("--anchors", "/etc/kaizen-otel/anchors/anchors.json", "--yes", "--json"),
    ]
    holders = {owner for owner, template in release.pods() if "prune-key" in json.dumps(template)}
    assert holders == {f"CronJob release-kaizen-otel-prune-{number}" for number in range(3)}


# --------------------------------------------------------------------------------- deletion guard
def test_the_deletion_guard_speaks_of_exactly_the_claims_of_the_trail(charts: Charts) -> None:
    """A StatefulSet gives its selector's labels to its claims."""
    release = charts.release(variant("secured"))
    (policy,) = release.of_kind("ValidatingAdmissionPolicy")
    (binding,) = release.of_kind("ValidatingAdmissionPolicyBinding")
    rules = policy["spec"]["matchConstraints"]
    selector = workload(release, "audit")["spec"]["selector"]
    assert rules["objectSelector"] == selector
    assert rules["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": "observed"}
    (rule,) = rules["resourceRules"]
    assert (rule["operations"], rule["resources"]) == (["DELETE"], ["persistentvolumeclaims"])
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["validationActions"] == ["Deny"]
    for item in (policy, binding):
        assert item["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


# --------------------------------------------------------------------------------------- helm test
def test_helm_test_asks_each_backend_for_its_signal(charts: Charts) -> None:
    release = charts.release(variant("secured"))
    pod = release.of_kind("Pod")[0]
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    container = pod["spec"]["containers"][0]
    assert container["args"] == [
        *("doctor", "--elasticsearch", "http://elasticsearch:9200"),
        *("--jaeger", "http://jaeger-query:16686", "--prometheus", "http://prometheus:9090"),
    ]
    known = variables(container)
    assert known["KAIZEN_OTEL_AUDIT_DIR"] == "/var/lib/kaizen-otel/audit"
    environment = agent_environment(release)
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "KAIZEN_OTEL_AUDIT_ENDPOINT"):
        assert known[name] == environment[name]


@pytest.mark.parametrize(
    ("replicas", "claims"), [(1, ["data-release-kaizen-otel-audit-0"]), (2, [])]
)
def test_helm_test_looks_into_the_trail_where_there_is_one_volume(
    charts: Charts, replicas: int, claims: list[str]
) -> None:
    values = {"audit": {"replicas": replicas}}
    pod = charts.render(values, base="demonstration").of_kind("Pod")[0]["spec"]
    volumes = [
        one["persistentVolumeClaim"] for one in pod["volumes"] if "persistentVolumeClaim" in one
    ]
    assert [one["claimName"] for one in volumes] == claims


# -------------------------------------------------------------------------------------------- demo
def test_with_the_demo_every_destination_is_a_service_of_the_release(charts: Charts) -> None:
    release = charts.release(variant("demonstration"))
    known = variables(collector(release, "gateway"))
    asked = release.of_kind("Pod")[0]["spec"]["containers"][0]["args"]
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


# ------------------------------------------------------------------------- alerts and dashboards
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


# ------------------------------------------------------------------------------------------- notes
NOTES = [
    ("dev", "WARNING: gateway.queue.persistent is false", True),
    ("prod", "WARNING", False),
    ("demonstration", "WARNING: demo.enabled is true", True),
    ("demonstration", "helm test release", True),
    ("dev", "kaizen-otel doctor", True),
    ("customised", "traces, logs -> https://archive.example.com (archive)", True),
    ("customised", "WARNING: audit.volume.retention deletes", True),
    ("prod", "they stay when the release is uninstalled", True),
    ("customised", "they stay when the release is uninstalled", False),
    ("bare", "audit records  -> nowhere", True),
    ("bare", "WARNING: networkPolicy.enabled is false", True),
    ("closed", "WARNING: networkPolicy.auditFrom is empty", True),
    ("monitored-without-operator", "they were left out", True),
    ("monitored", "they were left out", False),
]


@pytest.mark.parametrize(("name", "says", "expected"), NOTES)
def test_the_notes_say_what_the_release_is(
    charts: Charts, name: str, says: str, expected: bool
) -> None:
    assert (says in charts.release(variant(name)).notes) is expected


# ---------------------------------------------------------------------------------------- examples
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
