"""The API server as tests speak to it: requests over HTTP, and waiting for a state."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import urllib.parse
from typing import TYPE_CHECKING, Any

from kaizen_otel._edges import SystemClock
from tests.cluster.kit.host import NODE_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

Object = dict[str, Any]

WAIT_S = 60.0
_POLL_NS = 150_000_000
_NOT_FOUND = 404
_ERRORS_FROM = 400

#: Kind -> where its objects are; those in the second set belong to no namespace.
_PLACES = {
    "Endpoints": "api/v1/endpoints",
    "Event": "api/v1/events",
    "ConfigMap": "api/v1/configmaps",
    "Namespace": "api/v1/namespaces",
    "Node": "api/v1/nodes",
    "PersistentVolume": "api/v1/persistentvolumes",
    "PersistentVolumeClaim": "api/v1/persistentvolumeclaims",
    "Pod": "api/v1/pods",
    "Secret": "api/v1/secrets",
    "Service": "api/v1/services",
    "ServiceAccount": "api/v1/serviceaccounts",
    "APIService": "apis/apiregistration.k8s.io/v1/apiservices",
    "CronJob": "apis/batch/v1/cronjobs",
    "DaemonSet": "apis/apps/v1/daemonsets",
    "Deployment": "apis/apps/v1/deployments",
    "HorizontalPodAutoscaler": "apis/autoscaling/v2/horizontalpodautoscalers",
    "Job": "apis/batch/v1/jobs",
    "NetworkPolicy": "apis/networking.k8s.io/v1/networkpolicies",
    "PodDisruptionBudget": "apis/policy/v1/poddisruptionbudgets",
    "Role": "apis/rbac.authorization.k8s.io/v1/roles",
    "RoleBinding": "apis/rbac.authorization.k8s.io/v1/rolebindings",
    "StatefulSet": "apis/apps/v1/statefulsets",
    "StorageClass": "apis/storage.k8s.io/v1/storageclasses",
    "ValidatingAdmissionPolicy": (
        "apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    ),
    "ValidatingAdmissionPolicyBinding": (
        "apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings"
    ),
}
_WITHOUT_NAMESPACE = {
    *("APIService", "Namespace", "Node", "PersistentVolume", "StorageClass"),
    *("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"),
}


class ApiError(Exception):
    """The API server refused."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Api:
    """The API server, as its administrator."""

    def __init__(self, pki: Path) -> None:
        self._context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        self._context.load_cert_chain(pki / "admin.crt", pki / "admin.key")

    def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> bytes:
        """One request; the answer's body.  Raises ApiError, or OSError if nobody answers."""
        connection = http.client.HTTPSConnection(
            NODE_ADDRESS, 6443, context=self._context, timeout=30
        )
        content = None if body is None else json.dumps(body)
        try:
            target = f"/{path}?{urllib.parse.urlencode(query or {})}"
            connection.request(method, target, body=content, headers={"Content-Type": content_type})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= _ERRORS_FROM:
            try:
                message = str(json.loads(data)["message"])
            except (ValueError, KeyError):
                message = data.decode("utf-8", "replace")
            raise ApiError(answer.status, message)
        return data

    def get(self, kind: str, name: str, namespace: str = "") -> Object | None:
        """One object; None if there is none of that name."""
        try:
            found: Object = json.loads(self.request("GET", _path(kind, namespace, name)))
        except ApiError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return found

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        """All objects of a kind that carry the labels of the selector."""
        answer = self.request("GET", _path(kind, namespace), query={"labelSelector": selector})
        items: list[Object] = json.loads(answer)["items"]
        return items

    def apply(self, content: Object, namespace: str = "", *, dry_run: bool = False) -> Object:
        """Create or change an object as ``kubectl apply --server-side`` does."""
        metadata = content["metadata"]
        path = _path(content["kind"], metadata.get("namespace", namespace), metadata["name"])
        query = {"fieldManager": "test", "force": "true"}
        if dry_run:
            query["dryRun"] = "All"
        answer = self.request(
            "PATCH", path, content, content_type="application/apply-patch+yaml", query=query
        )
        applied: Object = json.loads(answer)
        return applied

    def merge(self, kind: str, name: str, namespace: str, change: Object, part: str = "") -> None:
        """Change some fields of an object, or of a part of it such as ``scale``."""
        path = _path(kind, namespace, name) + (f"/{part}" if part else "")
        self.request("PATCH", path, change, content_type="application/merge-patch+json")

    def scale(self, kind: str, name: str, namespace: str, replicas: int) -> None:
        """Ask for that many pods."""
        self.merge(kind, name, namespace, {"spec": {"replicas": replicas}}, "scale")

    def delete(
        self, kind: str, name: str, namespace: str = "", *, grace_s: int | None = None
    ) -> None:
        """Delete an object; it may take a while to go."""
        body: Object = {"propagationPolicy": "Background"}
        if grace_s is not None:
            body["gracePeriodSeconds"] = grace_s
        self.request("DELETE", _path(kind, namespace, name), body)

    def evict(self, pod: str, namespace: str) -> None:
        """Ask a pod to go as ``kubectl drain`` does.  ApiError 429 if a budget forbids it."""
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": pod, "namespace": namespace},
        }
        self.request("POST", f"{_path('Pod', namespace, pod)}/eviction", body)

    def logs(self, pod: str, namespace: str, container: str = "") -> str:
        """What a container printed."""
        query = {"container": container} if container else {}
        return self.request("GET", f"{_path('Pod', namespace, pod)}/log", query=query).decode()

    def wait(
        self,
        kind: str,
        name: str,
        namespace: str,
        is_so: Callable[[Object], bool],
        *,
        wait_s: float = WAIT_S,
    ) -> Object:
        """Return the object once it is so.  Raises AssertionError with its last state."""
        last: Object | None = None

        def ask() -> bool:
            nonlocal last
            last = self.get(kind, name, namespace)
            return last is not None and is_so(last)

        wait_until(ask, lambda: f"{kind} {namespace}/{name}: {_state(last)}", wait_s=wait_s)
        assert last is not None
        return last

    def wait_gone(
        self, kind: str, name: str, namespace: str = "", *, wait_s: float = WAIT_S
    ) -> None:
        """Return once there is no such object."""
        wait_until(
            lambda: self.get(kind, name, namespace) is None,
            lambda: f"{kind} {namespace}/{name} is still there",
            wait_s=wait_s,
        )

    def wait_ready(self, pod: str, namespace: str, *, wait_s: float = WAIT_S) -> Object:
        """Return the pod once it is ready."""
        return self.wait("Pod", pod, namespace, is_ready, wait_s=wait_s)


def is_ready(content: Object) -> bool:
    """Whether a node or pod says that it is ready."""
    conditions = content.get("status", {}).get("conditions", ())
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def wait_until(
    is_so: Callable[[], bool], describe: Callable[[], str], *, wait_s: float = WAIT_S
) -> None:
    """Return once it is so.  Raises AssertionError after ``wait_s``."""
    clock, never = SystemClock(), threading.Event()
    deadline_ns = clock.monotonic_ns() + int(wait_s * 1e9)
    while not is_so():
        if clock.monotonic_ns() >= deadline_ns:
            raise AssertionError(f"not within {wait_s:g} s: {describe()}")
        clock.wait(never, _POLL_NS)


def _path(kind: str, namespace: str = "", name: str = "") -> str:
    prefix, _, plural = _PLACES[kind].rpartition("/")
    parts = [prefix]
    if namespace and kind not in _WITHOUT_NAMESPACE:
        parts += ["namespaces", namespace]
    return "/".join([*parts, plural, *([name] if name else [])])


def _state(content: Object | None) -> str:
    return "there is none" if content is None else json.dumps(content.get("status"))[:1500]
