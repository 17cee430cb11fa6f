"""The NetworkPolicies of the chart, enforced between pods."""

from __future__ import annotations

import json

from tests.cluster.kit.client import wait_until
from tests.cluster.room import PREFIX, Room, base_values, changed

LABEL = {"kaizen-otel/agent": "true"}
PORTS = {"telemetry": (f"{PREFIX}-gateway", 4318), "audit": (f"{PREFIX}-audit", 4319)}
PROGRAM = """
import json, socket, sys
reached = {}
for name, (host, port) in json.loads(sys.argv[1]).items():
    try:
        socket.create_connection((host, port), timeout=4).close()
        reached[name] = True
    except OSError:
        reached[name] = False
print(json.dumps(reached))
"""


def reached(room: Room, name: str, labels: dict[str, str]) -> dict[str, bool]:
    """What a pod with these labels can connect to."""
    room.run_python(name, PROGRAM, json.dumps(PORTS), labels=labels)
    room.api.wait("Pod", name, room.name, lambda pod: pod["status"]["phase"] == "Succeeded")
    found: dict[str, bool] = json.loads(room.api.logs(name, room.name))
    return found


def test_only_pods_with_the_label_reach_the_receivers(
    room: Room, helm_paths: dict[str, str]
) -> None:
    """With Helm 3, so that both majors install something here."""
    room.helm = helm_paths["3"]
    room.add_volumes(1)
    peers = [{"podSelector": {"matchLabels": LABEL}}]
    policy = {"telemetryFrom": peers, "auditFrom": peers}
    values = changed(base_values(room), networkPolicy=policy)
    room.install(values)
    assert reached(room, "agent", LABEL) == {"telemetry": True, "audit": True}
    assert reached(room, "stranger", {}) == {"telemetry": False, "audit": False}

    room.install(changed(values, networkPolicy={"enabled": False}))
    wait_until(
        lambda: not room.api.list("NetworkPolicy", room.name), lambda: "the policies are there"
    )
    assert reached(room, "later", {}) == {"telemetry": True, "audit": True}, "the policy it was"
