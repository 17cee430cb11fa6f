"""The NetworkPolicies of the chart, enforced between pods."""

from __future__ import annotations

import json

from tests.cluster.kit.client import wait_until
from tests.cluster.room import PREFIX, Room, base_values, changed

LABEL = {"kaizen-otel/agent": "true"}
PORTS = {"telemetry": (f"{PREFIX}-gateway", 4318), "audit": (f"{PREFIX}-audit", 4319)}
PROGRAM = """
import concurrent.futures, json, socket, sys

def is_reached(address):
    try:
        socket.create_connection(address, timeout=4).close()
        return True
    except OSError:
        return False

ports = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor() as pool:
    found = pool.map(is_reached, map(tuple, ports.values()))
print(json.dumps(dict(zip(ports, found))))
"""


def try_ports(room: Room, name: str, labels: dict[str, str]) -> None:
    """Start a pod with these labels that tries to connect."""
    room.run_python(name, PROGRAM, json.dumps(PORTS), labels=labels)


def reached(room: Room, name: str) -> dict[str, bool]:
    """What such a pod could connect to."""
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
    try_ports(room, "agent", LABEL)
    try_ports(room, "stranger", {})
    assert reached(room, "agent") == {"telemetry": True, "audit": True}
    assert reached(room, "stranger") == {"telemetry": False, "audit": False}

    room.install(changed(values, networkPolicy={"enabled": False}))
    wait_until(
        lambda: not room.api.list("NetworkPolicy", room.name), lambda: "the policies are there"
    )
    try_ports(room, "later", {})
    assert reached(room, "later") == {"telemetry": True, "audit": True}, "the policy it was"
