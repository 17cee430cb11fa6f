"""Claims about every object: its names and labels, and what it refers to."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from tests.chart.kit.claims import Claim, World, role_of
from tests.chart.kit.rendering import COMPONENT, NAMESPACE, Manifest, Release, pod_template

DASHBOARDS: Final = (
    *("agent", "audit", "collector", "emitter", "errors", "fleet", "memory", "model-latency"),
    *("slo", "tokens", "tools", "topology"),
)
#: Every object that some variant has.
ROLES: Final = (
    *(f"Certificate {tier}" for tier in ("gateway", "agent", "audit", "tools")),
    *(f"ConfigMap {tier}-HASH" for tier in ("gateway", "agent", "audit")),
    *(f"ConfigMap {tier}-validate" for tier in ("gateway", "agent", "audit")),
    *(f"ConfigMap dashboard-{name}" for name in DASHBOARDS),
    *("ConfigMap agent-env", "ConfigMap rules", "ConfigMap demo-prometheus"),
    *("CronJob verify-0", "CronJob verify-1", "CronJob prune-0", "CronJob prune-1"),
    *("DaemonSet agent", "Deployment gateway", "StatefulSet gateway", "StatefulSet audit"),
    *(f"Deployment demo-{name}" for name in ("jaeger", "prometheus", "opensearch")),
    "HorizontalPodAutoscaler gateway",
    *("Job validate", "Job scaledown", "Job test-signals"),
    *(f"NetworkPolicy {name}" for name in ("gateway", "agent", "audit", "demo", "validate")),
    *(f"NetworkPolicy {name}" for name in ("verify", "prune", "test", "scaledown")),
    *("PodDisruptionBudget gateway", "PodDisruptionBudget audit"),
    *("PodMonitor metrics", "ServiceMonitor metrics", "PrometheusRule rules"),
    *(f"Service {name}" for name in ("gateway", "agent", "audit", "metrics")),
    *("Service gateway-pods", "Service audit-pods"),
    *(f"Service demo-{name}" for name in ("jaeger", "prometheus", "opensearch")),
    "ServiceAccount",
    *(f"ValidatingAdmissionPolicy audit-{what}" for what in ("claims", "secrets")),
    *(f"ValidatingAdmissionPolicyBinding audit-{what}" for what in ("claims", "secrets")),
)
CLUSTER_WIDE: Final = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_OWN_LABELS: Final = {
    *(f"app.kubernetes.io/{one}" for one in ("name", "instance", "component", "version")),
    *("app.kubernetes.io/managed-by", "helm.sh/chart"),
}

ObjectTest = Callable[[Release, Manifest], str]


def _labels(_: Release, item: Manifest) -> str:
    missing = _OWN_LABELS - item["metadata"]["labels"].keys()
    return f"without {sorted(missing)}" if missing else ""


def _namespace(_: Release, item: Manifest) -> str:
    wanted = None if item["kind"] in CLUSTER_WIDE else NAMESPACE
    found = item["metadata"].get("namespace")
    return "" if found == wanted else f"in {found}"


def _name(_: Release, item: Manifest) -> str:
    name = item["metadata"]["name"]
    longest = 52 if item["kind"] == "CronJob" else 63
    return "" if _NAME.fullmatch(name) and len(name) <= longest else name


OBJECT_CLAIMS: Final[dict[str, ObjectTest]] = {
    "carries the labels of the chart": _labels,
    "stands where the release stands": _namespace,
    "has a name that everything takes": _name,
}


def object_claims() -> Iterator[Claim]:
    """Every object with every property."""
    for role in ROLES:
        for says, test in OBJECT_CLAIMS.items():
            yield Claim(id=f"{role}: {says}", judge=_of_objects(role, test))
    for role in SELECTING:
        yield Claim(
            id=f"{role}: selects pods of its own component", judge=_of_objects(role, selects)
        )
    for role in ROLES:
        if role.startswith("Service ") and role != "Service metrics":
            judge = _of_objects(role, targets_exist)
            yield Claim(id=f"{role}: forwards to ports that its pods have", judge=judge)
        if role.startswith("NetworkPolicy "):
            judge = _of_objects(role, policy_ports_exist)
            yield Claim(id=f"{role}: lets in only at ports that its pods have", judge=judge)
            judge = _of_objects(role, _both_directions)
            yield Claim(id=f"{role}: rules both directions", judge=judge)
    for role in ("StatefulSet gateway", "StatefulSet audit"):
        judge = _of_objects(role, _headless)
        yield Claim(id=f"{role}: its Service names the single pods", judge=judge)
    for role in ("ConfigMap gateway-HASH", "ConfigMap agent-HASH", "ConfigMap audit-HASH"):
        judge = _of_objects(role, _is_mounted)
        yield Claim(id=f"{role}: is mounted by the pods of its tier", judge=judge)
        judge = _of_objects(role, _files_are_arguments)
        yield Claim(id=f"{role}: each file is an argument and each argument a file", judge=judge)
        judge = _of_objects(role, _validated)
        yield Claim(id=f"{role}: the same content is validated before", judge=judge)


SELECTING: Final = (
    *(f"Service {name}" for name in ("gateway", "agent", "audit", "gateway-pods", "audit-pods")),
    *(f"Service demo-{name}" for name in ("jaeger", "prometheus", "opensearch")),
    *(f"NetworkPolicy {name}" for name in ("gateway", "agent", "audit", "demo", "validate")),
    *(f"NetworkPolicy {name}" for name in ("verify", "prune", "test")),
    *("PodDisruptionBudget gateway", "PodDisruptionBudget audit"),
)


def _of_objects(role: str, test: ObjectTest) -> Callable[[World], Iterator[str]]:
    def judge(world: World) -> Iterator[str]:
        for variant, item in world.objects(role):
            fault = test(world.releases[variant], item)
            yield f"{variant}: {fault}" if fault else ""

    return judge


def selected_pods(release: Release, item: Manifest) -> list[Manifest]:
    """The pods that a Service, a policy or a budget is about."""
    from tests.chart.kit.policy import matches

    spec = item["spec"]
    selector = spec.get("podSelector") or spec["selector"]
    if item["kind"] == "Service":
        selector = {"matchLabels": selector}
    return [one for _, one in release.pods() if matches(selector, one["metadata"]["labels"])]


def selects(release: Release, item: Manifest) -> str:
    component = item["metadata"]["labels"][COMPONENT]
    found = {one["metadata"]["labels"][COMPONENT] for one in selected_pods(release, item)}
    wanted = {component} if component != "demo" else {f"demo-{one}" for one in _DEMO}
    return "" if found == wanted else f"{sorted(found)}"


_DEMO: Final = ("jaeger", "prometheus", "opensearch")


def _port_names(pods: list[Manifest]) -> set[str]:
    return {
        port["name"]
        for pod in pods
        for one in [*(pod["spec"].get("initContainers") or []), *pod["spec"]["containers"]]
        for port in one.get("ports") or []
    }


def targets_exist(release: Release, item: Manifest) -> str:
    targets = {port["targetPort"] for port in item["spec"]["ports"]}
    missing = targets - _port_names(selected_pods(release, item))
    return f"{sorted(missing)}" if missing or not targets else ""


def policy_ports_exist(release: Release, item: Manifest) -> str:
    rules = item["spec"].get("ingress") or []
    wanted = {port["port"] for rule in rules for port in rule["ports"]}
    missing = wanted - _port_names(selected_pods(release, item))
    return f"{sorted(missing)}" if missing else ""


def _both_directions(_: Release, item: Manifest) -> str:
    types = item["spec"].get("policyTypes")
    return "" if types == ["Ingress", "Egress"] else f"{types}"


def _headless(release: Release, item: Manifest) -> str:
    name = item["spec"]["serviceName"]
    services = {one["metadata"]["name"]: one["spec"] for one in release.of_kind("Service")}
    found = services.get(name, {}).get("clusterIP")
    same = services.get(name, {}).get("selector") == item["spec"]["selector"]["matchLabels"]
    return "" if found == "None" and same else f"{name}: {found}"


def _pods_of_tier(release: Release, item: Manifest) -> list[Manifest]:
    component = item["metadata"]["labels"][COMPONENT]
    return [one for _, one in release.pods() if one["metadata"]["labels"][COMPONENT] == component]


def _is_mounted(release: Release, item: Manifest) -> str:
    for template in _pods_of_tier(release, item):
        names = [one.get("configMap", {}).get("name") for one in template["spec"]["volumes"]]
        if item["metadata"]["name"] not in names:
            return f"{names}"
    return "" if item.get("immutable") is True else "it can be changed"


def _files_are_arguments(release: Release, item: Manifest) -> str:
    for template in _pods_of_tier(release, item):
        arguments = template["spec"]["containers"][0]["args"]
        files = [one.rpartition("/")[2] for one in arguments if one.startswith("--config=")]
        if sorted(files) != sorted(item["data"]):
            return f"{files} of {sorted(item['data'])}"
    return ""


def _validated(release: Release, item: Manifest) -> str:
    if not release.of_kind("Job"):
        return ""
    tier = item["metadata"]["labels"][COMPONENT]
    copies = [one for one in release.of_kind("ConfigMap") if role_of(one).endswith("-validate")]
    same = [one for one in copies if f"ConfigMap {tier}-validate" == role_of(one)]
    return "" if [one["data"] for one in same] == [item["data"]] else "another content"


def own_objects(release: Release) -> Iterator[Manifest]:
    """What is no pod's maker."""
    return (item for item in release.objects if pod_template(item) is None)
