"""A namespace of one test: its volumes, its releases of the chart, its pods."""

from __future__ import annotations

import json
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kit.client import Api, Object, wait_until
from tests.cluster.kit.components import NODE
from tests.cluster.kit.host import led_to
from tests.cluster.kit.images import REGISTRY, TAG, reference
from tests.cluster.kit.lifecycle import FOLDERS

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm" / "kaizen-otel"
RELEASE = "kaizen"
PREFIX = f"{RELEASE}-kaizen-otel"
HELM_WAIT_S = 120
#: Seen once of Helm 4: it gave up waiting after seconds of minutes, and the Job succeeded.
TOO_EARLY = "not ready. status: InProgress, message: Job in progress"

#: What every pod here must say to be admitted: Pod Security's level "restricted".
POD_SECURITY = {
    "runAsNonRoot": True,
    "runAsUser": 10001,
    "fsGroup": 10001,
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
PYTHON = "/python/bin/python3"
SPOOL = "/var/lib/kaizen-otel/spool"


class Refused(Exception):  # noqa: N818 - a verdict of Helm, not a fault of ours
    """Helm ended with an error; the text is what it printed."""


@dataclass(kw_only=True)
class Room:
    """One namespace, under Pod Security "restricted", with a storage class of its own."""

    api: Api
    helm: str
    kube: Path
    name: str = field(default_factory=lambda: f"test-{secrets.token_hex(3)}")
    _volumes: list[Path] = field(default_factory=list)

    def open(self) -> None:
        """Make the namespace and its storage class."""
        labels = {
            f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
        }
        self.api.apply(_object("v1", "Namespace", self.name, labels=labels))
        self.api.apply(
            _object("storage.k8s.io/v1", "StorageClass", self.name)
            | {
                "provisioner": "kubernetes.io/no-provisioner",
                "volumeBindingMode": "WaitForFirstConsumer",
                "reclaimPolicy": "Retain",
            }
        )

    def close(self) -> None:
        """Let everything go; nobody waits for it."""
        for pod in self.api.list("Pod", self.name):
            self.api.delete("Pod", pod["metadata"]["name"], self.name, grace_s=0)
        self.api.delete("Namespace", self.name)
        for path in self._volumes:
            self.api.delete("PersistentVolume", path.name)

    def remove_deletion_guard(self) -> None:
        """Remove what audit.deletionGuard leaves in the whole cluster on purpose."""
        for kind in ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"):
            for each in self.api.list(kind):
                if each["metadata"]["name"].startswith(f"{self.name}-"):
                    self.api.delete(kind, each["metadata"]["name"])

    def add_volumes(self, count: int, *, mebibytes: int | None = None) -> list[Path]:
        """Have volumes for claims of the class ``self.name``; with a size, ones that fill up."""
        return [self._add_volume(mebibytes) for _ in range(count)]

    def _add_volume(self, mebibytes: int | None) -> Path:
        path = FOLDERS.state / "volumes" / f"{self.name}-{len(self._volumes)}"
        path.mkdir(parents=True)
        if mebibytes is not None:
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(path)], check=True
            )
        host = {"key": "kubernetes.io/hostname", "operator": "In", "values": [NODE]}
        self.api.apply(
            _object("v1", "PersistentVolume", path.name)
            | {
                "spec": {
                    "capacity": {"storage": "1Gi"},
                    "accessModes": ["ReadWriteOnce"],
                    "storageClassName": self.name,
                    "persistentVolumeReclaimPolicy": "Retain",
                    "local": {"path": str(path)},
                    "nodeAffinity": {
                        "required": {"nodeSelectorTerms": [{"matchExpressions": [host]}]}
                    },
                }
            }
        )
        self._volumes.append(path)
        return path

    def volume_of(self, claim: str) -> Path:
        """Where the files of a claim are on this machine."""
        found = self.api.get("PersistentVolumeClaim", claim, self.name)
        assert found is not None
        return FOLDERS.state / "volumes" / str(found["spec"]["volumeName"])

    def install(self, values: Object, *, chart: Path = CHART, more: tuple[str, ...] = ()) -> str:
        """Install or upgrade the release and wait until its pods are ready.  Raises Refused."""
        return self.run_helm(
            *("upgrade", "--install", RELEASE, str(chart), "--values", "-"),
            *("--wait", "--timeout", f"{HELM_WAIT_S}s", *more),
            values=values,
        )

    def run_helm(self, *arguments: str, values: Object | None = None) -> str:
        """Run Helm in the namespace; what it printed.  Raises Refused."""
        answer = self._helm(*arguments, values=values)
        if TOO_EARLY in answer.stderr and "deadline" not in answer.stderr:
            answer = self._helm(*arguments, values=values)
        if answer.returncode:
            raise Refused(f"{answer.stdout}\n{answer.stderr}".strip())
        return answer.stdout

    def _helm(self, *arguments: str, values: Object | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.helm, *arguments, "--namespace", self.name],
            input=None if values is None else yaml.safe_dump(values),
            env={"KUBECONFIG": str(FOLDERS.kubeconfig()), "HOME": str(FOLDERS.run)},
            capture_output=True,
            text=True,
            check=False,
        )

    def kubectl(self, *arguments: str) -> str:
        """Run kubectl in the namespace; what it printed.  Raises CalledProcessError."""
        return subprocess.run(
            [str(self.kube), "kubectl", "--namespace", self.name, *arguments],
            env={"KUBECONFIG": str(FOLDERS.kubeconfig()), "HOME": str(FOLDERS.run)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    def pods(self, tier: str) -> list[Object]:
        """The pods of a tier of the release."""
        return self.api.list("Pod", self.name, f"app.kubernetes.io/component={tier}")

    def uids(self) -> dict[str, str]:
        """Who the pods of the release are now, by name; those that are going do not count."""
        found = self.api.list("Pod", self.name, f"app.kubernetes.io/instance={RELEASE}")
        return {
            pod["metadata"]["name"]: pod["metadata"]["uid"]
            for pod in found
            if "batch.kubernetes.io/job-name" not in pod["metadata"]["labels"]
            and "deletionTimestamp" not in pod["metadata"]
        }

    def address(self, service: str) -> str:
        """The cluster's address of a Service, once it leads to exactly its ready pods.

        A pod is ready before the node's rules lead to it, and to an address without rules the
        network outside may answer.
        """
        found = self.api.get("Service", service, self.name)
        assert found is not None
        wait_until(
            lambda: led_to(self.name, service) == self._ready(service),
            lambda: f"{service} leads to {led_to(self.name, service)}, not {self._ready(service)}",
        )
        return str(found["spec"]["clusterIP"])

    def _ready(self, service: str) -> set[str]:
        """Address and port of each ready pod of a Service."""
        found = self.api.get("Endpoints", service, self.name) or {}
        return {
            f"{address['ip']}:{port['port']}"
            for subset in found.get("subsets") or ()
            for address in subset.get("addresses") or ()
            for port in subset["ports"]
        }

    def run_python(
        self,
        name: str,
        program: str,
        *arguments: str,
        labels: dict[str, str] | None = None,
        pod: Object | None = None,
        container: Object | None = None,
    ) -> None:
        """Start a pod that runs a Python program with our tools' image."""
        config = _object("v1", "ConfigMap", f"{name}-program") | {"data": {"main.py": program}}
        self.api.apply(config, self.name)
        main = {
            "name": "main",
            "image": reference("kaizen-otel-tools"),
            "imagePullPolicy": "Never",
            "command": [PYTHON, "/program/main.py", *arguments],
            "securityContext": CONTAINER_SECURITY,
            "volumeMounts": [
                {"name": "program", "mountPath": "/program"},
                {"name": "spool", "mountPath": SPOOL},
                {"name": "tmp", "mountPath": "/tmp"},
            ],
        }
        volumes = [
            {"name": "program", "configMap": {"name": f"{name}-program"}},
            {"name": "spool", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ]
        spec = {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": POD_SECURITY,
            "containers": [main | (container or {})],
            "volumes": volumes,
        }
        content = _object("v1", "Pod", name, labels=labels) | {"spec": spec | (pod or {})}
        self.api.apply(content, self.name)


def base_values(room: Room) -> dict[str, Any]:
    """Our images, the room's volumes, destinations that nobody answers at, little of everything."""
    resources = {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}}
    return {
        "image": {
            "registry": REGISTRY,
            "distribution": "kaizen-otel",
            "tag": TAG,
            "tools": {"tag": TAG},
        },
        "destinations": {
            "jaeger": {"endpoint": "jaeger:14317"},
            "prometheus": {"endpoint": "http://prometheus:9090/api/v1/write"},
            "elasticsearch": {"endpoint": "http://elasticsearch:9200"},
        },
        "gateway": {
            "replicas": 1,
            "queue": {"persistent": False, "size": "100Mi", "storageClass": room.name},
            "resources": resources,
        },
        "audit": {"volume": {"size": "100Mi", "storageClass": room.name}, "resources": resources},
        "preStopSleepSeconds": 2,
    }


def changed(values: dict[str, Any], **changes: object) -> dict[str, Any]:
    """A copy of values with more of them; ``gateway__replicas`` is a path."""
    copied: dict[str, Any] = json.loads(json.dumps(values))
    for path, value in changes.items():
        *parents, last = path.split("__")
        place = copied
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return copied


def _object(
    version: str, kind: str, name: str, *, labels: dict[str, str] | None = None
) -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": kind,
        "metadata": {"name": name, "labels": labels or {}},
    }


assert REGISTRY  # the chart's image.registry
