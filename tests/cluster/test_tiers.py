"""The agent tier outlives a gateway that is away; the cluster keeps the claims of the trail."""

from __future__ import annotations

import subprocess

import pytest

from tests.cluster.backends import start_sink, sunk
from tests.cluster.kit.client import wait_until
from tests.cluster.requests import send_span
from tests.cluster.room import PREFIX, RELEASE, Room, base_values, changed

AGENT = f"{PREFIX}-agent"
GATEWAY = f"{PREFIX}-gateway"
CLAIM = f"data-{PREFIX}-audit-0"
PORT = 4318
FAST = {"exporters": {"otlp_grpc/gateway": {"retry_on_failure": {"max_interval": "2s"}}}}


def test_what_the_agent_tier_took_arrives_after_an_outage_of_the_gateway(room: Room) -> None:
    """By the Service of the sender's own node, through the queue in front of the gateway."""
    values = changed(
        base_values(room),
        audit__enabled=False,
        agent__enabled=True,
        agent__config=FAST,
    )
    room.install(values)
    start_sink(room)
    address = room.address(AGENT)
    before = send_span(address, PORT)
    wait_until(lambda: before in sunk(room), lambda: "nothing arrives through the agent tier")

    room.kubectl("scale", "deployment", GATEWAY, "--replicas=0")
    wait_until(lambda: not room.pods("gateway"), lambda: "the gateway stays")
    meanwhile = {send_span(address, PORT) for _ in range(50)}
    assert not any(span in sunk(room) for span in meanwhile), "the gateway is away"
    room.kubectl("scale", "deployment", GATEWAY, "--replicas=1")
    wait_until(
        lambda: all(span in sunk(room) for span in meanwhile),
        lambda: f"{sum(span in sunk(room) for span in meanwhile)} of 50 arrived",
    )


def test_the_cluster_refuses_to_delete_the_trails_claims_and_secrets_even_after_the_release(
    room: Room,
) -> None:
    for name in ("trust", "other"):
        content = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
        room.api.apply(content | {"stringData": {"trust.json": "{}"}}, room.name)
    room.add_volumes(1)
    guard = {"audit__deletionGuard": {"enabled": True}, "audit__trustSecret": {"name": "trust"}}
    room.install(changed(base_values(room), **guard))
    room.run_helm("uninstall", RELEASE, "--wait")
    try:
        room.kubectl("delete", "secret", "other")
        for kind, name, says in (
            ("persistentvolumeclaim", CLAIM, "This claim holds an audit trail"),
            ("secret", "trust", "An audit trail is verified or pruned with this Secret"),
        ):
            for which in (name, name, "--all"):  # what is refused is refused again
                with pytest.raises(subprocess.CalledProcessError) as refused:
                    room.kubectl("delete", kind, which, "--wait=false")
                assert says in refused.value.stderr
            room.kubectl("annotate", kind, name, "kaizen-otel/allow-delete=true")
            room.kubectl("delete", kind, name, "--wait=false")
        room.api.wait_gone("PersistentVolumeClaim", CLAIM, room.name)
        assert room.api.get("Secret", "trust", room.name) is None
    finally:
        # Of the whole cluster, and kept when the release goes: else the namespace could not go.
        room.remove_deletion_guard()
