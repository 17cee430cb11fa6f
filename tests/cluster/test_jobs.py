"""What the chart does on a schedule, and what it reads from Secrets."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from pathlib import Path

from tests.cluster.agents import start_agent, trail_folder, wait_until_in_trail
from tests.cluster.kit.client import Object
from tests.cluster.kit.lifecycle import FOLDERS
from tests.cluster.room import PREFIX, Room, base_values, changed
from tests.trail.query_kit import ACTIVE
from tests.trail.test_prune import FIRST, SECOND, House

USER = 10001
CANARY = "canary-5e1d0b7c"


def verdict_of(room: Room, name: str, *, of: str = "verify") -> str:
    """How the verification of the first volume, or another job of it, ends when it is run now."""
    room.kubectl("create", "job", name, f"--from=cronjob/{PREFIX}-{of}-0")
    job = room.api.wait("Job", name, room.name, lambda job: bool(ends(job)))
    return ends(job)[0]


def ends(job: Object) -> list[str]:
    conditions = job["status"].get("conditions", ())
    return [each["type"] for each in conditions if each["type"] in {"Complete", "Failed"}]


def points_taken(room: Room) -> int:
    """How many data points the gateway says that it took."""
    (pod,) = room.pods("gateway")
    with urllib.request.urlopen(
        f"http://{pod['status']['podIP']}:8888/metrics", timeout=10
    ) as page:
        text = page.read().decode()
    found = re.findall(r"^otelcol_receiver_accepted_metric_points\S* (\S+)$", text, re.MULTILINE)
    return sum(int(float(count)) for count in found)


def test_the_scheduled_verification_fails_once_the_trail_was_altered(room: Room) -> None:
    room.add_volumes(1)
    room.install(changed(base_values(room), audit__verification={"enabled": True}))
    agent = start_agent(room, 20, environment={"KAIZEN_OTEL_DURABILITY": "durable"})
    agent.wait_until_written()
    wait_until_in_trail(room, agent.records())
    assert points_taken(room) == 0
    assert verdict_of(room, "clean") == "Complete", room.kubectl("logs", "job/clean")
    assert points_taken(room) > 0, "the verdict is told as metrics"

    trail = trail_folder(room) / "audit.jsonl"
    text = trail.read_text(encoding="utf-8")
    with trail.open("r+", encoding="utf-8") as file:  # in place: the Collector has it open
        file.write(text.replace('"success"', '"failure"', 1))
    assert verdict_of(room, "altered") == "Failed"


def test_the_scheduled_pruning_removes_what_is_old_and_leaves_a_trail_that_verifies(
    room: Room, tmp_path: Path
) -> None:
    """The files of a year, as the Collector rotates them."""
    house = House(tmp_path)
    for name, path, key in (
        ("trust", house.trust, "trust.json"),
        ("anchors", house.anchors, "anchors.json"),
        ("prune", house.key, "key.pem"),
    ):
        room.api.apply(secret(name, {key: path.read_text(encoding="utf-8")}), room.name)
    room.add_volumes(1)
    prune = {"enabled": True, "keep": "360d", "keySecret": {"name": "prune"}}
    values = changed(
        base_values(room),
        audit__trustSecret={"name": "trust"},
        audit__anchorsSecret={"name": "anchors"},
        audit__verification={"enabled": True, "emit": False},
        audit__prune=prune,
    )
    room.install(values)
    folder = trail_folder(room)
    names = {FIRST: FIRST, SECOND: SECOND, ACTIVE: "audit-2026-11-01T00-00-00.000.jsonl"}
    for name, rotated in names.items():
        copied = folder / rotated
        copied.write_bytes((house.trail / name).read_bytes())
        os.chown(copied, USER, USER)
    assert verdict_of(room, "before") == "Complete", room.kubectl("logs", "job/before")
    assert verdict_of(room, "prune", of="prune") == "Complete", room.kubectl("logs", "job/prune")
    done = json.loads(room.kubectl("logs", "job/prune").splitlines()[-1])
    assert [Path(path).name for path in done["files"]] == [FIRST]
    assert not (folder / FIRST).exists()
    assert (folder / SECOND).exists()
    assert verdict_of(room, "after") == "Complete", room.kubectl("logs", "job/after")


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
