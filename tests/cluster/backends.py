"""What the gateway sends to, as pods: real backends, or a Collector that writes a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from kaizen_otel._stack import jaeger, prometheus, templates
from kaizen_otel._stack.ports import StackPorts
from tests.cluster.kit.images import reference
from tests.cluster.kit.lifecycle import FOLDERS
from tests.cluster.room import CONTAINER_SECURITY, POD_SECURITY, Room

ALL = "0.0.0.0"  # in the pod's own network
_SINK = {
    "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"{ALL}:14317"}}}},
    "exporters": {"file": {"path": "/data/spans.jsonl"}},
    "service": {
        "telemetry": {"metrics": {"level": "none"}},
        "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["file"]}},
    },
}


def start_backend(
    room: Room,
    name: str,
    image: str,
    ports: tuple[int, ...],
    *,
    args: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    ready: tuple[int, str] | None = None,
    config_maps: dict[str, str] | None = None,
) -> None:
    """Start a pod and a Service of that name; its folder ``/data`` is the pod's.

    ``config_maps`` are names of ConfigMaps by the path of their files.
    """
    mounted = {f"config-{name}": (name, path) for path, name in (config_maps or {}).items()}
    container: dict[str, Any] = {
        "name": "main",
        "image": reference(image),
        "imagePullPolicy": "Never",
        "args": list(args),
        "env": [{"name": key, "value": value} for key, value in (environment or {}).items()],
        "securityContext": CONTAINER_SECURITY,
        "volumeMounts": [
            {"name": "data", "mountPath": path, "subPath": path.strip("/")}
            for path in ("/data", "/tmp", "/prometheus")
        ]
        + [{"name": volume, "mountPath": path} for volume, (_, path) in mounted.items()],
    }
    if ready is not None:
        check = {"path": ready[1], "port": ready[0]}
        container["readinessProbe"] = {"httpGet": check, "periodSeconds": 1}
    room.api.apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "labels": {"backend": name}},
            "spec": {
                "automountServiceAccountToken": False,
                "enableServiceLinks": False,
                "terminationGracePeriodSeconds": 1,
                "securityContext": POD_SECURITY,
                "containers": [container],
                "volumes": [
                    {"name": "data", "emptyDir": {}},
                    *(
                        {"name": volume, "configMap": {"name": name}}
                        for volume, (name, _) in mounted.items()
                    ),
                ],
            },
        },
        room.name,
    )
    room.api.apply(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {
                "selector": {"backend": name},
                "ports": [{"name": f"port-{port}", "port": port} for port in ports],
            },
        },
        room.name,
    )


def start_jaeger(room: Room) -> None:
    """Jaeger with traces in memory."""
    config = yaml.safe_dump(jaeger.configuration(StackPorts(), host=ALL))
    start_backend(
        room,
        "jaeger",
        "jaeger",
        (14317, 16686),
        args=("--config=env:CONFIG",),
        environment={"CONFIG": config},
        ready=(13134, "/status"),
    )


def start_prometheus(
    room: Room,
    *,
    config: str = "/etc/prometheus/prometheus.yml",
    config_maps: dict[str, str] | None = None,
) -> None:
    """Prometheus that takes remote writes."""
    start_backend(
        room,
        "prometheus",
        "prometheus",
        (9090,),
        args=prometheus.arguments(config=config, data="/prometheus", host=ALL, ports=StackPorts()),
        ready=(9090, "/-/ready"),
        config_maps=config_maps,
    )


def start_elasticsearch(room: Room) -> None:
    """OpenSearch under the name that the gateway knows."""
    health = "/_cluster/health?wait_for_status=yellow&timeout=1s"
    start_backend(room, "elasticsearch", "elasticsearch", (9200,), ready=(9200, health))


def put_templates(room: Room) -> None:
    """Give the store the index template that `kaizen-otel stack` and compose give it."""
    templates.put_all(f"http://{room.address('elasticsearch')}:9200")


def start_sink(room: Room) -> None:
    """A Collector in Jaeger's place that writes each span to a file."""
    start_backend(
        room,
        "jaeger",
        "kaizen-otel-collector",
        (14317,),
        args=("--config=env:CONFIG",),
        environment={"CONFIG": yaml.safe_dump(_SINK)},
    )
    room.api.wait_ready("jaeger", room.name)


def sunk(room: Room) -> str:
    """What the Collector of ``start_sink`` wrote."""
    pod = room.api.get("Pod", "jaeger", room.name)
    assert pod is not None
    pods = FOLDERS.state / "kubelet" / "pods"
    path = pods / pod["metadata"]["uid"] / "volumes/kubernetes.io~empty-dir/data/data/spans.jsonl"
    return Path(path).read_text(encoding="utf-8") if path.exists() else ""
