"""What the chart does on a schedule, and what it reads from Secrets."""

from __future__ import annotations

import json

from tests.cluster.agents import start_agent, trail_folder, wait_until_in_trail
from tests.cluster.kit.client import Object
from tests.cluster.kit.lifecycle import FOLDERS
from tests.cluster.room import PREFIX, Room, base_values, changed

CANARY = "canary-5e1d0b7c"


def verdict_of(room: Room, name: str) -> str:
    """How the verification of the first volume ends when it is run now."""
    room.kubectl("create", "job", name, f"--from=cronjob/{PREFIX}-verify-0")
    job = room.api.wait("Job", name, room.name, lambda job: bool(ends(job)))
    return ends(job)[0]


def ends(job: Object) -> list[str]:
    conditions = job["status"].get("conditions", ())
    return [each["type"] for each in conditions if each["type"] in {"Complete", "Failed"}]


def test_the_scheduled_verification_fails_once_the_trail_was_altered(room: Room) -> None:
    room.add_volumes(1)
    verification = {"enabled": True, "emit": False}
    room.install(changed(base_values(room), audit__verification=verification))
    agent = start_agent(room, 20, environment={"KAIZEN_OTEL_DURABILITY": "durable"})
    agent.wait_until_written()
    wait_until_in_trail(room, agent.records())
    assert verdict_of(room, "clean") == "Complete", room.kubectl("logs", "job/clean")

    trail = trail_folder(room) / "audit.jsonl"
    text = trail.read_text(encoding="utf-8")
    with trail.open("r+", encoding="utf-8") as file:  # in place: the Collector has it open
        file.write(text.replace('"success"', '"failure"', 1))
    assert verdict_of(room, "altered") == "Failed"


def secret(name: str, data: dict[str, str]) -> Object:
    metadata = {"name": name}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def test_credentials_reach_the_collector_and_stand_in_nothing_but_their_secret(
    room: Room,
) -> None:
    room.api.apply(secret("store", {"username": "writer", "password": CANARY}), room.name)
    store = {"endpoint": "https://elasticsearch:9200", "basicSecret": {"name": "store"}}
    values = changed(base_values(room), audit__enabled=False, destinations__elasticsearch=store)
    room.install(values)
    (pod,) = room.pods("gateway")
    volumes = FOLDERS.state / "kubelet" / "pods" / pod["metadata"]["uid"] / "volumes"
    files = (volumes / "kubernetes.io~secret").rglob("*")
    assert CANARY in {path.read_text(encoding="utf-8") for path in files if path.is_file()}
    for kind in ("ConfigMap", "Pod", "Deployment", "Job", "Event"):
        assert CANARY not in json.dumps(room.api.list(kind, room.name)), kind
