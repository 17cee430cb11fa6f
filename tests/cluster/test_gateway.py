"""What waits in the gateway's queues outlives the pods that held it."""

from __future__ import annotations

import pytest

from tests.cluster.backends import start_sink, sunk
from tests.cluster.kit.client import wait_until
from tests.cluster.requests import send_span
from tests.cluster.room import PREFIX, Refused, Room, base_values, changed

GATEWAY = f"{PREFIX}-gateway"
PORT = 4318
SPANS = 300
FAST = {"exporters": {"otlp_grpc/jaeger": {"retry_on_failure": {"max_interval": "2s"}}}}


def arrived(room: Room, spans: set[str]) -> set[str]:
    text = sunk(room)
    return {span for span in spans if span in text}


def test_full_queues_refuse_a_scale_down_and_outlive_one_that_nobody_asked_about(
    room: Room,
) -> None:
    """Helm refuses with the count; where Helm is not asked, the claims keep the queues."""
    room.add_volumes(3)
    values = changed(
        base_values(room),
        audit__enabled=False,
        gateway__queue__persistent=True,
        gateway__replicas=3,
        gateway__config=FAST,
    )
    room.install(values)
    address, before = room.address(GATEWAY), room.uids()
    spans = {send_span(address, PORT) for _ in range(SPANS)}
    with pytest.raises(Refused, match=r"\d+ wait in 2 Collectors"):
        room.install(changed(values, gateway__replicas=1))
    assert room.uids() == before

    room.kubectl("scale", "statefulset", GATEWAY, "--replicas=1")
    for replica in (1, 2):
        room.api.wait_gone("Pod", f"{GATEWAY}-{replica}", room.name)
    start_sink(room)
    wait_until(lambda: bool(arrived(room, spans)), lambda: "nothing has arrived")
    assert arrived(room, spans) != spans, "two of three queues have no pod now"

    room.kubectl("scale", "statefulset", GATEWAY, "--replicas=3")
    wait_until(
        lambda: arrived(room, spans) == spans,
        lambda: f"{len(arrived(room, spans))} of {SPANS} arrived",
    )
    # Server-side apply (Helm 4) would not take the number of pods back from kubectl otherwise.
    room.install(changed(values, gateway__replicas=1), more=("--force-conflicts",))
    for replica in (1, 2):
        room.api.wait_gone("Pod", f"{GATEWAY}-{replica}", room.name)
