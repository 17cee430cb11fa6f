"""The gateway's pods become as many as their work needs, up to what the values allow."""

from __future__ import annotations

from pathlib import Path

from tests.cluster.kit.client import Object
from tests.cluster.metrics_api import served_metrics
from tests.cluster.room import PREFIX, Room, base_values, changed

GATEWAY = f"{PREFIX}-gateway"


def test_the_autoscaler_adds_pods_while_they_use_more_than_asked_for(
    room: Room, tmp_path: Path
) -> None:
    """The cluster's autoscaler, asked by the chart; how busy the pods are is what we say."""
    scaling = {"enabled": True, "minReplicas": 1, "maxReplicas": 3, "cpuPercent": 70}
    room.install(changed(base_values(room), audit__enabled=False, gateway__autoscaling=scaling))
    assert len(room.pods("gateway")) == 1

    def has_all(found: Object) -> bool:
        return bool(found["status"].get("readyReplicas") == scaling["maxReplicas"])

    with served_metrics(room, tmp_path, cpu="20m"):  # of 10m that each asks for
        room.api.wait("Deployment", GATEWAY, room.name, has_all)
        autoscaler = room.api.get("HorizontalPodAutoscaler", GATEWAY, room.name)
    assert autoscaler is not None
    (seen,) = autoscaler["status"]["currentMetrics"]
    assert seen["resource"]["current"]["averageUtilization"] == 200
    assert autoscaler["status"]["desiredReplicas"] == scaling["maxReplicas"]
