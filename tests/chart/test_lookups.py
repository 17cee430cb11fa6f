"""What the chart refuses because Helm, against a cluster, can see that it would go wrong."""

from __future__ import annotations

import http.server
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from .conftest import CHART, NAMESPACE, Helm

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

GATEWAY = "release-kaizen-otel-gateway"


def resources(version: str, *kinds: tuple[str, str]) -> dict[str, Any]:
    listed = [
        {
            "name": name,
            "singularName": "",
            "namespaced": True,
            "kind": kind,
            "verbs": ["get", "list"],
        }
        for name, kind in kinds
    ]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": listed}


GROUPS = {
    "apps": ("Deployment", "StatefulSet", "DaemonSet"),
    "batch": ("Job", "CronJob"),
    "networking.k8s.io": ("NetworkPolicy",),
    "policy": ("PodDisruptionBudget",),
}


def plurals(*kinds: str) -> list[tuple[str, str]]:
    return [
        (f"{kind.lower()[:-1]}ies" if kind.endswith("y") else f"{kind.lower()}s", kind)
        for kind in kinds
    ]


DISCOVERY: dict[str, dict[str, Any]] = {
    "/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.4"},
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {
        "kind": "APIGroupList",
        "groups": [
            {
                "name": group,
                "versions": [{"groupVersion": f"{group}/v1", "version": "v1"}],
                "preferredVersion": {"groupVersion": f"{group}/v1", "version": "v1"},
            }
            for group in GROUPS
        ],
    },
    "/api/v1": resources("v1", *plurals("Secret", "ConfigMap", "Service", "ServiceAccount", "Pod")),
    **{
        f"/apis/{group}/v1": resources(f"{group}/v1", *plurals(*kinds))
        for group, kinds in GROUPS.items()
    },
}


class Cluster:
    """An API server that knows some Secrets and the gateway's StatefulSet, and nothing else."""

    def __init__(self, server: http.server.ThreadingHTTPServer) -> None:
        self.address = f"http://127.0.0.1:{server.server_port}"
        #: Name -> its keys.
        self.secrets: dict[str, list[str]] = {}
        self.gateway_replicas = 0
        #: Size and class of the gateway's claims.
        self.claims = ("20Gi", "")

    def answer(self, path: str) -> dict[str, Any] | None:
        path = path.partition("?")[0]
        secrets = f"/api/v1/namespaces/{NAMESPACE}/secrets"
        if path == secrets:
            items = [self._secret(name) for name in self.secrets]
            return {"kind": "SecretList", "apiVersion": "v1", "metadata": {}, "items": items}
        if path.startswith(f"{secrets}/") and path.rpartition("/")[2] in self.secrets:
            return self._secret(path.rpartition("/")[2])
        gateway = f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{GATEWAY}"
        if path == gateway and self.gateway_replicas:
            return {
                "kind": "StatefulSet",
                "apiVersion": "apps/v1",
                "metadata": {"name": GATEWAY, "namespace": NAMESPACE},
                "spec": {
                    "replicas": self.gateway_replicas,
                    "volumeClaimTemplates": [{"spec": self._claim()}],
                },
            }
        return DISCOVERY.get(path)

    def _claim(self) -> dict[str, Any]:
        size, storage_class = self.claims
        named = {"storageClassName": storage_class} if storage_class else {}
        return {"resources": {"requests": {"storage": size}}, **named}

    def _secret(self, name: str) -> dict[str, Any]:
        metadata = {"name": name, "namespace": NAMESPACE}
        data = dict.fromkeys(self.secrets[name], "eA==")
        return {"kind": "Secret", "apiVersion": "v1", "metadata": metadata, "data": data}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = known.answer(self.path)
            missing = {"kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(found or missing).encode())

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        known = Cluster(server)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield known
        server.shutdown()
        thread.join()


@pytest.fixture
def newest(helm_paths: dict[str, str]) -> Helm:
    """For tables: that both majors look things up alike, three tests say."""
    return Helm(path=helm_paths["4"])


def render(
    helm: Helm, cluster: Cluster, profile: str, *settings: str
) -> subprocess.CompletedProcess[str]:
    return helm.run(
        *("template", "release", str(CHART), "--namespace", NAMESPACE, "--dry-run=server"),
        *("--kube-apiserver", cluster.address, "--kube-token", "none", "--is-upgrade"),
        "--disable-openapi-validation",
        *("--values", str(CHART / "profiles" / f"{profile}.yaml"), *settings),
    )


PROD = {
    "observability-ca": ["ca.crt"],
    "jaeger-token": ["token"],
    "prometheus-token": ["token"],
    "elasticsearch-user": ["username", "password"],
}


def test_secrets_that_are_there_are_taken(helm: Helm, cluster: Cluster) -> None:
    cluster.secrets = PROD
    done = render(helm, cluster, "prod")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("jaeger-token", "destinations.jaeger.bearerSecret names the Secret"),
        ("elasticsearch-user", "destinations.elasticsearch.basicSecret names the Secret"),
        ("observability-ca", "destinations.jaeger.tls.caSecret names the Secret"),
    ],
)
def test_a_missing_secret_is_refused_with_the_value_that_names_it(
    newest: Helm, cluster: Cluster, name: str, says: str
) -> None:
    cluster.secrets = {key: keys for key, keys in PROD.items() if key != name}
    done = render(newest, cluster, "prod")
    assert done.returncode != 0
    assert f'{says} "{name}", and the namespace {NAMESPACE} has none of that name' in done.stderr


def test_a_missing_key_is_refused_with_its_name(helm: Helm, cluster: Cluster) -> None:
    cluster.secrets = {**PROD, "elasticsearch-user": ["username"]}
    done = render(helm, cluster, "prod")
    assert done.returncode != 0
    assert 'basicSecret names the key "password" of the Secret "elasticsearch-user"' in done.stderr


def test_no_secret_at_all_in_the_namespace_is_a_missing_secret(
    newest: Helm, cluster: Cluster
) -> None:
    """An empty list must not be taken for a render without a cluster."""
    assert "has none of that name" in render(newest, cluster, "prod").stderr


def test_who_may_not_read_secrets_can_turn_the_look_up_off(newest: Helm, cluster: Cluster) -> None:
    done = render(newest, cluster, "prod", "--set=validation.secrets=false")
    assert done.returncode == 0, done.stderr


def asked_queues(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The pods whose queues a Job asks before the upgrade."""
    assert done.returncode == 0, done.stderr
    for item in yaml.safe_load_all(done.stdout):
        if item and item["metadata"]["name"].endswith("-scaledown") and item["kind"] == "Job":
            assert item["metadata"]["annotations"]["helm.sh/hook"] == "pre-upgrade"
            container = item["spec"]["template"]["spec"]["containers"][0]
            assert [*container["command"], *container["args"][:2]] == [
                *("kaizen-otel", "collector", "queue")
            ]
            return [str(url) for url in container["args"][2:]]
    return []


def queue_of(pod: int) -> str:
    return f"http://{GATEWAY}-{pod}.{GATEWAY}-pods.{NAMESPACE}:8888/metrics"


REGISTRY = "--set=image.registry=registry.example.com/o"


@pytest.mark.parametrize(
    ("settings", "pods"),
    [
        (["--set=gateway.replicas=1"], [1, 2]),
        (["--set=gateway.replicas=2"], [2]),
        (["--set=gateway.replicas=3"], []),
        (["--set=gateway.replicas=5"], []),
        (["--set=gateway.queue.persistent=false"], [0, 1, 2]),
        (["--set=gateway.replicas=1", "--set=gateway.queue.abandon=true"], []),
    ],
)
def test_the_queues_of_the_pods_that_would_go_are_asked_first(
    newest: Helm, cluster: Cluster, settings: list[str], pods: list[int]
) -> None:
    cluster.secrets, cluster.gateway_replicas = PROD, 3
    done = render(newest, cluster, "prod", REGISTRY, *settings)
    assert asked_queues(done) == [queue_of(pod) for pod in pods]


def test_without_our_tools_fewer_pods_with_queues_are_refused(helm: Helm, cluster: Cluster) -> None:
    cluster.secrets, cluster.gateway_replicas = PROD, 3
    done = render(helm, cluster, "prod", "--set=gateway.replicas=1")
    assert done.returncode != 0
    assert "3 pods of the gateway have a queue on a volume" in done.stderr
    assert "only 1 would" in done.stderr
    assert "set image.registry" in done.stderr
    assert "gateway.queue.abandon to true" in done.stderr


def test_a_first_install_asks_no_queue(newest: Helm, cluster: Cluster) -> None:
    cluster.secrets = PROD
    assert asked_queues(render(newest, cluster, "prod", REGISTRY)) == []


@pytest.mark.parametrize(
    ("claims", "settings", "says"),
    [
        (("20Gi", ""), [], ""),
        (("20480Mi", ""), [], ""),
        (("20Gi", "fast"), ["--set=gateway.queue.storageClass=fast"], ""),
        (("10Gi", ""), [], 'gateway.queue.size is "20Gi"'),
        (("10Gi", ""), ["--set=gateway.queue.persistent=false"], ""),
        (("20Gi", ""), ["--set=gateway.queue.storageClass=fast"], 'storageClass is "fast"'),
        (("20Gi", "fast"), [], 'gateway.queue.storageClass is ""'),
    ],
)
def test_claims_that_kubernetes_would_not_change_are_refused_with_the_way_round(
    newest: Helm, cluster: Cluster, claims: tuple[str, str], settings: list[str], says: str
) -> None:
    cluster.secrets, cluster.gateway_replicas, cluster.claims = PROD, 3, claims
    done = render(newest, cluster, "prod", REGISTRY, *settings)
    assert (done.returncode != 0) is bool(says), done.stderr
    if says:
        assert says in done.stderr
        assert f"delete statefulset {GATEWAY} --cascade=orphan" in done.stderr
