"""No audit record that was called safe is lost, whatever happens to the pods and the disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from kaizen_otel._edges import SystemClock
from tests.cluster.agents import (
    AUDIT,
    declared,
    in_trail,
    start_agent,
    start_example,
    start_stateful_example,
    trail_folder,
    verify,
    wait_until_clean,
    wait_until_in_trail,
)
from tests.cluster.alerts import start_alerting, wait_until_fires, wait_until_silent
from tests.cluster.kit.client import ApiError, wait_until
from tests.cluster.kit.images import REGISTRY, TAG
from tests.cluster.room import Room, base_values, changed

# The chart of before the three tiers, packed as version 0.0.9.
PREVIOUS = Path(__file__).parent / "previous" / "kaizen-otel-0.0.9.tgz"
LABEL = "kaizen-otel/agent"


def previous_values(room: Room) -> dict[str, object]:
    """The same for the chart before, which knew fewer keys."""
    values = base_values(room)
    values["image"] = {"repository": f"{REGISTRY}/kaizen-otel-collector", "tag": TAG}
    return values


def test_the_chain_goes_on_through_an_upgrade_of_the_chart_and_killed_pods(room: Room) -> None:
    room.add_volumes(1)
    room.install(previous_values(room), chart=PREVIOUS)
    agent = start_agent(room, 300, pause_s=0.05, environment={"KAIZEN_OTEL_DURABILITY": "durable"})
    agent.wait_for(20)
    room.install(base_values(room))
    room.api.delete("Pod", f"{AUDIT}-0", room.name, grace_s=0)
    agent.wait_until_written()
    room.api.wait_ready(f"{AUDIT}-0", room.name)
    records = agent.records()
    assert len(records) == 300
    wait_until_in_trail(room, records)
    wait_until_clean(trail_folder(room))


def fill(path: Path) -> None:
    """Leave no room where the file is."""
    with path.open("wb", buffering=0) as file:
        while os.statvfs(path).f_bavail:
            with suppress(OSError):
                file.write(b"\0" * (1 << 20))


def test_a_full_disk_refuses_or_lets_the_spool_grow_tells_and_loses_nothing(
    room: Room, need_images: Callable[..., None]
) -> None:
    """What an alert waits for is shorter here, in a copy of one rule: see ``alerts``."""
    need_images("prometheus")
    (volume,) = room.add_volumes(1, mebibytes=64)
    guard = {"enabled": True, "minFreeMebibytes": 32}
    rules = {"rulesConfigMap": True}
    room.install(changed(base_values(room), audit__guard=guard, monitoring=rules))
    start_alerting(room, "KaizenAuditLag")
    filler = volume / "filler"
    fill(filler)
    room.api.wait(
        *("Pod", f"{AUDIT}-0", room.name),
        lambda pod: any(
            each["type"] == "Ready" and each["status"] == "False"
            for each in pod["status"]["conditions"]
        ),
    )
    strict = {"KAIZEN_OTEL_DURABILITY": "delivered", "KAIZEN_OTEL_ON_FAILURE": "block_action"}
    delivered = start_agent(room, 3, name="delivered", wait_s=2, environment=strict)
    small = {
        "KAIZEN_OTEL_DURABILITY": "durable",
        "KAIZEN_OTEL_SPOOL_BYTES_MAX": str(1 << 20),
        "AGENT_HAS_METRICS": "yes",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }
    durable = start_agent(room, 400, name="durable", pause_s=0.02, environment=small, metadata=60)
    delivered.wait_until_written()
    assert delivered.records() == []
    assert all("the action is refused" in reason for reason in delivered.reasons())
    durable.wait_until_written()
    assert durable.records(), "the spool takes what it has room for"
    assert any("KAIZEN_OTEL_SPOOL_BYTES_MAX" in reason for reason in durable.reasons())
    assert in_trail(room, durable.records()) == set()
    wait_until_fires(room, "KaizenAuditLag", job="agent", impatient="true")
    wait_until_fires(room, "KaizenAuditRefused", job="agent", error_type="spool_full")

    filler.unlink()
    wait_until_in_trail(room, durable.records())
    wait_until_silent(room, "KaizenAuditLag")
    refused = len(durable.reasons())
    wait_until(
        lambda: declared(verify(trail_folder(room))) == refused,
        lambda: f"{refused} were refused: {verify(trail_folder(room))}",
    )


def drained(room: Room, *, is_flushing: bool) -> list[str]:
    """The records of an agent that is evicted with 1,000 of them undelivered.

    Three seconds after the eviction, and not before, the policy lets it send.
    """
    name = "flushing" if is_flushing else "naive"
    agent = start_example(room, 1000, name=name, is_flushing=is_flushing)
    agent.wait_until_written()
    records = agent.all_records()
    assert len(records) == 1000
    assert in_trail(room, records) == set(), "the policy keeps them away"
    room.api.evict(agent.name, room.name)
    SystemClock().wait(threading.Event(), 3_000_000_000)
    with suppress(ApiError):  # without the hook it is gone
        room.api.merge("Pod", agent.name, room.name, {"metadata": {"labels": {LABEL: "true"}}})
    room.api.wait_gone("Pod", agent.name, room.name, wait_s=90)
    return records


def test_a_drained_agent_delivers_its_spool_first_and_one_without_the_hook_does_not(
    room: Room,
) -> None:
    """The pod of examples/kubernetes/deployment.yaml, as it stands there."""
    room.add_volumes(1)
    peers = [{"podSelector": {"matchLabels": {LABEL: "true"}}}]
    room.install(changed(base_values(room), networkPolicy={"auditFrom": peers}))
    records = drained(room, is_flushing=True)
    assert in_trail(room, records) == set(records)
    wait_until_clean(trail_folder(room))

    lost = drained(room, is_flushing=False)
    assert in_trail(room, lost) == set()


def test_what_waits_on_the_claim_of_an_agent_that_was_killed_is_delivered_by_the_next_pod(
    room: Room,
) -> None:
    """The StatefulSet of examples/kubernetes; nobody asks the pod that goes to flush."""
    room.add_volumes(2)
    peers = [{"podSelector": {"matchLabels": {LABEL: "true"}}}]
    room.install(changed(base_values(room), networkPolicy={"auditFrom": peers}))
    killed = start_stateful_example(room, 300, is_let_in=False)
    uid, records = killed.uid(), killed.records()
    assert len(records) == 300, "durable without a Collector"
    assert in_trail(room, records) == set(), "the policy keeps them away"
    following = start_stateful_example(room, 10, is_let_in=True)
    assert following.uid() != uid
    wait_until_in_trail(room, [*records, *following.records()])
    wait_until_clean(trail_folder(room))
