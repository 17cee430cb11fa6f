"""What runs before a release changes, and `helm test`."""

from __future__ import annotations

import pytest

from tests.chart.kit.parts import (
    agent_environment,
    collector,
    mounted_files,
    named,
    signals_test,
    tiers_of,
    variables,
    workload,
)
from tests.chart.kit.rendering import Manifest, Release
from tests.chart.kit.variants import Charts, variant, variants

VALIDATED = [one.name for one in variants() if one.values.get("validation", {}).get("enabled", 1)]


# --------------------------------------------------------------------------------------- validation
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


# ---------------------------------------------------------------------------------------- helm test
def test_helm_test_asks_each_backend_for_its_signal(charts: Charts) -> None:
    release = charts.release(variant("secured"))
    job = signals_test(release)
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "test"
    container = job["spec"]["template"]["spec"]["containers"][0]
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
    ("audit", "makes_key"),
    [
        ({}, True),
        ({"trustSecret": {"name": "trust"}}, False),
        ({"enabled": False}, False),
    ],
)
def test_the_record_of_helm_test_is_signed_with_a_key_of_its_own_where_nobody_names_trusted_ones(
    charts: Charts, audit: dict[str, object], makes_key: bool
) -> None:
    """A verifier that is told whom to trust would accuse the trail because of it."""
    job = signals_test(charts.render({"audit": audit}, base="demonstration"))
    pod = job["spec"]["template"]["spec"]
    path = variables(pod["containers"][0]).get("KAIZEN_OTEL_SIGNING_KEY")
    made = [one["args"] for one in pod.get("initContainers", [])]
    assert made == ([["audit", "keys", "new", path]] if makes_key else [])
    assert (path is not None) is makes_key


@pytest.mark.parametrize(
    ("replicas", "claims"), [(1, ["data-release-kaizen-otel-audit-0"]), (2, [])]
)
def test_helm_test_looks_into_the_trail_where_there_is_one_volume(
    charts: Charts, replicas: int, claims: list[str]
) -> None:
    values = {"audit": {"replicas": replicas}}
    job = signals_test(charts.render(values, base="demonstration"))
    pod = job["spec"]["template"]["spec"]
    volumes = [
        one["persistentVolumeClaim"] for one in pod["volumes"] if "persistentVolumeClaim" in one
    ]
    assert [one["claimName"] for one in volumes] == claims


# -------------------------------------------------------------------------------------------- notes
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
