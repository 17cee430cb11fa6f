"""Claims about every pod and every container, by component: security, resources, mounts, names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from tests.chart.kit.claims import MISSING, Claim, World, at, makers_of
from tests.chart.kit.rendering import COMPONENT, Container, Manifest

#: Every component that has pods, and its containers.
PODS: Final = {
    "gateway": ("collector",),
    "agent": ("collector",),
    "audit": ("collector", "guard"),
    "validate": ("validate-gateway", "validate-agent", "validate-audit"),
    "verify": ("verify",),
    "prune": ("prune",),
    "test": ("key", "test"),
    "scaledown": ("scaledown",),
    "demo-jaeger": ("backend",),
    "demo-prometheus": ("backend",),
    "demo-opensearch": ("backend",),
}
CONTAINERS: Final = tuple(f"{pod} {name}" for pod, names in PODS.items() for name in names)
#: Writes into its own folder of programs when it starts, and asks for another user.
WRITES_ITS_IMAGE: Final = frozenset({"demo-opensearch backend"})
#: It runs before anything else of the release is there.
EXCUSED: Final = frozenset({("validate", "names a service account")})
TIERS: Final = ("gateway", "agent", "audit")
TASKS: Final = ("validate", "verify", "prune", "test", "scaledown")

_NUMBER_OF: Final = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BINARY: Final = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}

PodTest = Callable[[Manifest], str]
ContainerTest = Callable[[Container], str]


def quantity(text: object) -> float:
    """A Kubernetes quantity as a number."""
    found = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text))
    assert found, text
    return float(found[1]) * {"": 1.0, **_NUMBER_OF, **_BINARY}[found[2]]


def _is(path: str, wanted: object) -> Callable[[Manifest], str]:
    def test(node: Manifest) -> str:
        found = at(node, path)
        if wanted is None:
            return "" if found is MISSING else repr(found)
        same = found == wanted and isinstance(found, bool) == isinstance(wanted, bool)
        return "" if same else "nothing" if found is MISSING else repr(found)

    return test


def _volumes(pod: Manifest, *kinds: str) -> str:
    found = [one["name"] for one in pod.get("volumes") or [] if any(kind in one for kind in kinds)]
    return f"{found}" if found else ""


def _unused_volumes(pod: Manifest) -> str:
    containers = [*(pod.get("initContainers") or []), *pod["containers"]]
    mounted = {mount["name"] for one in containers for mount in one.get("volumeMounts") or []}
    extra = {one["name"] for one in pod.get("volumes") or []} - mounted
    return f"{sorted(extra)}" if extra else ""


def _twice(values: list[Any]) -> str:
    found = [value for value, count in Counter(values).items() if count > 1]
    return f"{found}" if found else ""


def _unbounded(pod: Manifest) -> str:
    found = [
        one["name"]
        for one in pod.get("volumes") or []
        if "emptyDir" in one and not (one["emptyDir"] or {}).get("sizeLimit")
    ]
    return f"{found}" if found else ""


POD_CLAIMS: Final[dict[str, PodTest]] = {
    "gets no token of the service account": _is("automountServiceAccountToken", False),
    "is told of no other Service by its environment": _is("enableServiceLinks", False),
    "must not run as root": _is("securityContext runAsNonRoot", True),
    "has the default seccomp profile": _is("securityContext seccompProfile type", "RuntimeDefault"),
    "has a group for its volumes": lambda pod: (
        "" if isinstance(at(pod, "securityContext fsGroup"), int) else "no fsGroup"
    ),
    "changes a volume's owner only once": _is(
        "securityContext fsGroupChangePolicy", "OnRootMismatch"
    ),
    "runs as a user above those of the host": lambda pod: (
        "" if at(pod, "securityContext runAsUser") >= 1000 else "runAsUser is low"
    ),
    "does not use the host's network": _is("hostNetwork", None),
    "does not see the host's processes": _is("hostPID", None),
    "does not share the host's memory": _is("hostIPC", None),
    "does not let its containers see each other's processes": _is("shareProcessNamespace", None),
    "mounts nothing of the host": lambda pod: _volumes(pod, "hostPath"),
    "mounts no token by hand": lambda pod: _volumes(pod, "projected"),
    "has no two volumes of one name": lambda pod: _twice(
        [one["name"] for one in pod.get("volumes") or []]
    ),
    "has no volume that nobody mounts": _unused_volumes,
    "bounds what it keeps on the node's disk": _unbounded,
    "names a service account": lambda pod: "" if pod.get("serviceAccountName") else "none",
    "has no two containers of one name": lambda pod: _twice(
        [one["name"] for one in [*(pod.get("initContainers") or []), *pod["containers"]]]
    ),
}


def _limit_is_at_least_the_request(one: Container) -> str:
    resources = one.spec["resources"]
    for name, request in resources["requests"].items():
        limit = resources["limits"].get(name)
        if limit is not None and quantity(limit) < quantity(request):
            return f"{name}: {request} of {limit}"
    return ""


def _image(one: Container) -> str:
    image = one.spec["image"]
    is_pinned = "@sha256:" in image or re.search(r":[^:/]+$", image)
    return "" if is_pinned and not image.endswith(":latest") else image


def _mounts_without_volume(one: Container) -> str:
    volumes = {volume["name"] for volume in one.pod.get("volumes") or []} | {"data"}
    missing = {mount["name"] for mount in one.spec.get("volumeMounts") or []} - volumes
    return f"{sorted(missing)}" if missing else ""


def _writable_files(one: Container) -> str:
    """Configs and Secrets are read-only; the kubelet says so too, but a reader sees it here."""
    fixed = {
        volume["name"]
        for volume in one.pod.get("volumes") or []
        if "configMap" in volume or "secret" in volume
    }
    mounts = one.spec.get("volumeMounts") or []
    found = [m["mountPath"] for m in mounts if m["name"] in fixed and not m.get("readOnly")]
    return f"{found}" if found else ""


def _named_twice(key: str, part: str) -> ContainerTest:
    def test(one: Container) -> str:
        values = [(item.get(part), item.get("subPath")) for item in one.spec.get(key) or []]
        return _twice(values)

    return test


def _secret_text(one: Container) -> str:
    """A value of this name belongs into a Secret."""
    found = [
        item["name"]
        for item in one.spec.get("env") or []
        if "value" in item and re.search(r"TOKEN$|PASSWORD|SECRET$|API_KEY", item["name"])
    ]
    return f"{found}" if found else ""


def _container(path: str, wanted: object) -> ContainerTest:
    test = _is(path, wanted)
    return lambda one: test(one.spec)


def _has(path: str) -> ContainerTest:
    return lambda one: "nothing" if at(one.spec, path) in (MISSING, None, "") else ""


CONTAINER_CLAIMS: Final[dict[str, ContainerTest]] = {
    "cannot gain privileges": _container("securityContext allowPrivilegeEscalation", False),
    "cannot write into its image": _container("securityContext readOnlyRootFilesystem", True),
    "must not run as root": _container("securityContext runAsNonRoot", True),
    "drops all capabilities": _container("securityContext capabilities drop", ["ALL"]),
    "adds no capability": _container("securityContext capabilities add", None),
    "is not privileged": _container("securityContext privileged", None),
    "sees the usual /proc": _container("securityContext procMount", None),
    "has a memory limit": _has("resources limits memory"),
    "has a CPU limit": _has("resources limits cpu"),
    "asks for memory": _has("resources requests memory"),
    "asks for CPU": _has("resources requests cpu"),
    "asks for no more than its limits": _limit_is_at_least_the_request,
    "has an image of a fixed version": _image,
    "has the image policy of the values": _container("imagePullPolicy", "IfNotPresent"),
    "takes no port of the host": lambda one: (
        f"{found}" if (found := [p for p in one.spec.get("ports") or [] if "hostPort" in p]) else ""
    ),
    "sets no variable twice": _named_twice("env", "name"),
    "names no port twice": _named_twice("ports", "name"),
    "listens on no port twice": _named_twice("ports", "containerPort"),
    "mounts nothing over another mount": _named_twice("volumeMounts", "mountPath"),
    "mounts only what its pod has": _mounts_without_volume,
    "cannot write its configuration or its Secrets": _writable_files,
    "has no credential in clear in its environment": _secret_text,
    "has a writable place for what it writes": lambda one: (
        "" if any(not m.get("readOnly") for m in one.spec["volumeMounts"]) else "none"
    ),
    "runs no shell": lambda one: (
        f"{found}"
        if (found := {"sh", "bash", "/bin/sh", "-c"} & set(one.spec.get("command") or []))
        else ""
    ),
}


def _probe(name: str) -> ContainerTest:
    """A probe that asks a port of the container by name."""

    def test(one: Container) -> str:
        probe = one.spec.get(name)
        if not probe:
            return "none"
        port = (probe.get("httpGet") or probe.get("tcpSocket") or {}).get("port")
        names = [item["name"] for item in one.spec.get("ports") or []]
        return "" if port in names else f"port {port!r} of {names}"

    return test


SERVERS: Final = (
    *("gateway collector", "agent collector", "audit collector", "audit guard"),
    *("demo-jaeger backend", "demo-prometheus backend", "demo-opensearch backend"),
)


def pod_claims() -> Iterator[Claim]:
    """Every pod with every property."""
    for component in PODS:
        for says, test in POD_CLAIMS.items():
            if (component, says) in EXCUSED:
                continue
            yield Claim(id=f"pod of {component}: {says}", judge=_of_pods(component, test))
        yield Claim(id=f"pod of {component}: is found by its labels", judge=_labels(component))
    for component in TASKS:
        test = _is("restartPolicy", "Never")
        yield Claim(id=f"pod of {component}: is not started again", judge=_of_pods(component, test))


def _of_pods(component: str, test: PodTest) -> Callable[[World], Iterator[str]]:
    def judge(world: World) -> Iterator[str]:
        for variant, template in world.pods(component):
            fault = test(template["spec"])
            yield f"{variant}: {fault}" if fault else ""

    return judge


def _labels(component: str) -> Callable[[World], Iterator[str]]:
    """The selector of whatever makes it is exactly the three labels that never change."""

    def judge(world: World) -> Iterator[str]:
        for variant, maker in makers_of(world, component):
            template = next(
                one for _, one in world.pods(component) if one["metadata"]["labels"][COMPONENT]
            )
            labels = template["metadata"]["labels"]
            selector = at(maker, "spec selector matchLabels")
            if selector is MISSING:
                yield "" if labels[COMPONENT] == component else f"{variant}: {labels}"
                continue
            keys = {f"app.kubernetes.io/{one}" for one in ("name", "instance", "component")}
            own = maker["spec"]["template"]["metadata"]["labels"]
            right = set(selector) == keys and selector.items() <= own.items()
            yield "" if right else f"{variant}: {selector}"

    return judge


def container_claims() -> Iterator[Claim]:
    """Every container with every property that holds for it."""
    for subject in CONTAINERS:
        for says, test in CONTAINER_CLAIMS.items():
            if subject in WRITES_ITS_IMAGE and says == "cannot write into its image":
                continue
            yield Claim(id=f"container {subject}: {says}", judge=_of_containers(subject, test))
    for subject in SERVERS:
        for name in ("startupProbe", "readinessProbe", "livenessProbe"):
            if (subject, name) != ("audit guard", "startupProbe"):
                judge = _of_containers(subject, _probe(name))
                yield Claim(id=f"container {subject}: its {name} asks its own port", judge=judge)


def _of_containers(subject: str, test: ContainerTest) -> Callable[[World], Iterator[str]]:
    def judge(world: World) -> Iterator[str]:
        for variant, one in world.containers(subject):
            fault = test(one)
            yield f"{variant}: {fault}" if fault else ""

    return judge
