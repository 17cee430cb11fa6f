"""No request fails while the gateway's pods are replaced, and one does without what prevents it."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.cluster.requests import Requests
from tests.cluster.room import PREFIX, Room, base_values, changed

GATEWAY = f"{PREFIX}-gateway"


def rolled_out(room: Room, change: Callable[[], object]) -> Requests:
    """Requests that were sent from before a change until after the last pod was replaced."""
    before = {pod["metadata"]["name"] for pod in room.pods("gateway")}
    with Requests(room.address(GATEWAY)) as requests:
        requests.wait_for(100)
        change()
        for name in before:
            room.api.wait_gone("Pod", name, room.name)
        requests.wait_for(1000)
    assert before.isdisjoint(pod["metadata"]["name"] for pod in room.pods("gateway"))
    return requests


def test_no_request_fails_during_a_rolling_update_but_some_do_without_the_pause(
    room: Room,
) -> None:
    """The number of pods is the autoscaler's, which without metrics knows the least of them."""
    scaling = {"enabled": True, "minReplicas": 2, "maxReplicas": 3}
    values = changed(base_values(room), gateway__autoscaling=scaling, audit__enabled=False)
    room.install(values)
    room.api.wait(
        *("Deployment", GATEWAY, room.name),
        lambda found: found["status"].get("readyReplicas") == scaling["minReplicas"],
    )

    def upgrade() -> None:
        room.install(changed(values, podLabels={"changed": "yes"}))

    requests = rolled_out(room, upgrade)
    assert requests.count >= 1000
    assert requests.failures == []

    def naive() -> None:
        """What most charts do: the pod is told to stop while it still is in the Service."""
        container = {"name": "collector", "lifecycle": None}
        change = {"spec": {"containers": [container]}, "metadata": {"labels": {"naive": "yes"}}}
        room.kubectl(
            "patch", "deployment", GATEWAY, "--patch", json.dumps({"spec": {"template": change}})
        )
        room.kubectl("rollout", "status", f"deployment/{GATEWAY}", "--timeout=120s")

    naive()

    def again() -> None:
        room.kubectl("rollout", "restart", f"deployment/{GATEWAY}")
        room.kubectl("rollout", "status", f"deployment/{GATEWAY}", "--timeout=120s")

    assert any(rolled_out(room, again).failures for _ in range(3))
