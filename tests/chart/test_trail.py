"""What keeps the audit trail safe: compliance, guard, jobs, deletion guard."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import yaml

from tests.chart.kit.parts import collector, named, tiers_of, variables, workload
from tests.chart.kit.rendering import CHART, Manifest, Release, Values, merged
from tests.chart.kit.variants import Charts, variant, variants

from .conftest import Helm

NAMES = [one.name for one in variants()]

# --------------------------------------------------------------------------------------- compliance
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


# -------------------------------------------------------------------------------------------- guard
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


# --------------------------------------------------------------------------------------------- jobs
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


# ----------------------------------------------------------------------------------- deletion guard
def test_the_deletion_guard_speaks_of_exactly_the_claims_of_the_trail(charts: Charts) -> None:
    """A StatefulSet gives its selector's labels to its claims."""
    release = charts.release(variant("secured"))
    policy, _ = guards(release, "claims")
    rules = policy["spec"]["matchConstraints"]
    selector = workload(release, "audit")["spec"]["selector"]
    assert rules["objectSelector"] == selector
    (rule,) = rules["resourceRules"]
    assert (rule["operations"], rule["resources"]) == (["DELETE"], ["persistentvolumeclaims"])


def guards(release: Release, what: str) -> tuple[Manifest, Manifest]:
    """The policy that guards claims or Secrets, and its binding; what holds for both."""
    found = [
        named(release, kind, f"observed-release-kaizen-otel-audit-{what}")
        for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
    ]
    policy, binding = found
    constraints = policy["spec"]["matchConstraints"]
    namespace = {"kubernetes.io/metadata.name": "observed"}
    assert constraints["namespaceSelector"]["matchLabels"] == namespace
    assert policy["spec"]["failurePolicy"] == "Fail"
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    assert binding["spec"]["validationActions"] == ["Deny"]
    for item in found:
        assert item["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    return policy, binding


@pytest.mark.parametrize(
    ("audit", "names"),
    [
        ({}, ["trust", "anchors", "prune-key"]),
        ({"prune": {"enabled": False, "keySecret": {"name": ""}}}, ["trust", "anchors"]),
        ({"anchorsSecret": {"name": "trust"}, "prune": {"enabled": False}}, ["trust", "prune-key"]),
    ],
)
def test_the_deletion_guard_speaks_of_the_secrets_that_the_trail_is_judged_with(
    charts: Charts, audit: dict[str, Any], names: list[str]
) -> None:
    policy, _ = guards(charts.render({"audit": audit}, base="secured"), "secrets")
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert (rule["operations"], rule["resources"]) == (["DELETE"], ["secrets"])
    (condition,) = policy["spec"]["matchConditions"]
    assert condition["expression"] == f"oldObject.metadata.name in {json.dumps(names)}".replace(
        ", ", ","
    )


def test_without_such_secrets_the_deletion_guard_speaks_of_the_claims_alone(charts: Charts) -> None:
    release = charts.render({"audit": {"deletionGuard": {"enabled": True}}})
    for kind in ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"):
        (found,) = release.of_kind(kind)
        assert found["metadata"]["name"].endswith("-claims")
