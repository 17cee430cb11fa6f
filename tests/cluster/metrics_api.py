"""metrics.k8s.io for one namespace: what the autoscaler is told of its pods is the test's choice.

https://kubernetes.io/docs/tasks/extend-kubernetes/configure-aggregation-layer
"""

from __future__ import annotations

import datetime as dt
import http.server
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kaizen_otel._collector.certs import Authority
from kaizen_otel._edges import OsFilesystem, SystemClock
from tests.cluster.kit.client import is_ready
from tests.cluster.kit.host import NODE_ADDRESS
from tests.cluster.room import Room
from tests.collector.background import BackgroundServer

GROUP, VERSION = "metrics.k8s.io", "v1beta1"
BASE = f"/apis/{GROUP}/{VERSION}"
SERVICE = "metrics"
_RESOURCE = {"name": "pods", "namespaced": True, "kind": "PodMetrics", "verbs": ["get", "list"]}


class MetricsApi(BackgroundServer):
    """Says of every container of the room's ready pods that it uses ``cpu``."""

    def __init__(self, room: Room, cpu: str) -> None:
        super().__init__((NODE_ADDRESS, 0), _Asked)
        self.room, self.cpu = room, cpu

    def pods(self) -> list[dict[str, Any]]:
        now = dt.datetime.now(dt.UTC).isoformat()
        return [
            {
                "metadata": {"name": pod["metadata"]["name"], "namespace": self.room.name},
                "timestamp": now,
                "window": "1s",
                "containers": [
                    {"name": one["name"], "usage": {"cpu": self.cpu, "memory": "64Mi"}}
                    for one in pod["spec"]["containers"]
                ],
            }
            for pod in self.room.pods("gateway")
            if is_ready(pod)
        ]


class _Asked(http.server.BaseHTTPRequestHandler):
    server: MetricsApi

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].rstrip("/")
        kind = f"{GROUP}/{VERSION}"
        if path == BASE:
            resources = {"groupVersion": kind, "resources": [_RESOURCE]}
            self._answer({"kind": "APIResourceList", "apiVersion": "v1", **resources})
        elif path == f"{BASE}/namespaces/{self.server.room.name}/pods":
            items = self.server.pods()
            self._answer({"kind": "PodMetricsList", "apiVersion": kind, "items": items})
        else:
            self.send_error(404)

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        pass


@contextmanager
def served_metrics(room: Room, folder: Path, *, cpu: str) -> Iterator[None]:
    """The API server passes questions about metrics to us while the block runs."""
    authority = Authority.make(folder, filesystem=OsFilesystem(), clock=SystemClock())
    authority.issue(SERVICE, "server", hosts=[NODE_ADDRESS])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / f"{SERVICE}.crt", folder / f"{SERVICE}.key")
    name = f"{VERSION}.{GROUP}"
    with MetricsApi(room, cpu) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        for content in _objects(room, server.server_address[1]):
            room.api.apply(content, room.name)
        try:
            room.api.wait(
                *("APIService", name, ""),
                lambda found: any(
                    each["type"] == "Available" and each["status"] == "True"
                    for each in found.get("status", {}).get("conditions", ())
                ),
            )
            yield
        finally:
            room.api.delete("APIService", name)


def _objects(room: Room, port: int) -> list[dict[str, Any]]:
    def made(version: str, kind: str, name: str, **content: object) -> dict[str, Any]:
        return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content}

    ports = [{"port": port}]
    subsets = [{"addresses": [{"ip": NODE_ADDRESS}], "ports": ports}]
    spec = {
        "group": GROUP,
        "version": VERSION,
        "groupPriorityMinimum": 100,
        "versionPriority": 100,
        "insecureSkipTLSVerify": True,
        "service": {"name": SERVICE, "namespace": room.name, "port": port},
    }
    return [
        made("v1", "Service", SERVICE, spec={"ports": ports}),
        made("v1", "Endpoints", SERVICE, subsets=subsets),
        made("apiregistration.k8s.io/v1", "APIService", f"{VERSION}.{GROUP}", spec=spec),
    ]
