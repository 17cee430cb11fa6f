"""Agents in pods that write audit records, and the trail on the audit tier's volume."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.cluster.kit.client import WAIT_S, is_ready, wait_until
from tests.cluster.kit.images import reference
from tests.cluster.room import PREFIX, PYTHON, ROOT, SPOOL, Room

AUDIT = f"{PREFIX}-audit"
PROGRAM = (Path(__file__).parent / "agent_program.py").read_text(encoding="utf-8")
EXAMPLES = ROOT / "examples" / "kubernetes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """A pod that writes audit records."""

    room: Room
    name: str

    def uid(self) -> str:
        """Which pod of that name it is."""
        pod = self.room.api.get("Pod", self.name, self.room.name)
        assert pod is not None
        return str(pod["metadata"]["uid"])

    def lines(self) -> list[dict[str, Any]]:
        """What it said until now."""
        text = self.room.api.logs(self.name, self.room.name)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def records(self) -> list[str]:
        """The ids of the records that it was told are safe."""
        return [line["id"] for line in self.lines() if line.get("safe")]

    def all_records(self) -> list[str]:
        """The ids of all its records."""
        return [line["id"] for line in self.lines() if "id" in line]

    def reasons(self) -> list[str]:
        """Why records were refused."""
        return [line["reason"] for line in self.lines() if line.get("safe") is False]

    def wait_until_written(self, *, wait_s: float = WAIT_S) -> None:
        """Return when it has written all that it was asked for."""
        wait_until(
            lambda: any("written" in line for line in self.lines()),
            lambda: self.room.api.logs(self.name, self.room.name)[-500:],
            wait_s=wait_s,
        )

    def wait_for(self, count: int) -> None:
        """Return when that many of its records are safe."""
        wait_until(lambda: len(self.records()) >= count, lambda: str(self.lines()[-3:]))


def start_agent(
    room: Room,
    count: int,
    *,
    name: str = "agent",
    pause_s: float = 0.0,
    wait_s: float = 10.0,
    metadata: int = 1,
    environment: dict[str, str] | None = None,
) -> Agent:
    """Start an agent with a spool that goes with its pod."""
    container: dict[str, Any] = {
        "envFrom": [{"configMapRef": {"name": f"{PREFIX}-agent-env", "optional": True}}],
        "env": [
            {"name": key, "value": value}
            for key, value in {
                "HOME": "/tmp",
                "KAIZEN_OTEL_AUDIT_ENDPOINT": f"http://{AUDIT}:4319",
                "KAIZEN_OTEL_SPOOL_DIR": SPOOL,
                **(environment or {}),
            }.items()
        ],
    }
    room.run_python(
        name,
        PROGRAM,
        *(str(count), str(pause_s), str(wait_s), str(metadata)),
        pod={"terminationGracePeriodSeconds": 1},
        container=container,
    )
    room.api.wait_ready(name, room.name)
    return Agent(room=room, name=name)


def start_example(room: Room, count: int, *, name: str, is_flushing: bool) -> Agent:
    """Start the pod of examples/kubernetes/deployment.yaml, with our program for an agent.

    Without the label that lets it in, and, if asked, without its preStop.
    """
    spec = example("deployment")["spec"]["template"]["spec"]
    adapted(room, spec, count, name=name, wait_s=0)
    spec["restartPolicy"] = "Never"
    if not is_flushing:
        del spec["containers"][0]["lifecycle"]
        spec["terminationGracePeriodSeconds"] = 1
    key = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for content in (
        {"kind": "Secret", "name": "agent-signing-key", "stringData": {"key.pem": key.decode()}},
        {"kind": "Pod", "name": name, "spec": spec},
    ):
        metadata = {"name": content.pop("name")}
        room.api.apply({"apiVersion": "v1", "metadata": metadata, **content}, room.name)
    room.api.wait_ready(name, room.name)
    return Agent(room=room, name=name)


def start_stateful_example(room: Room, count: int, *, is_let_in: bool) -> Agent:
    """Start the StatefulSet of examples/kubernetes, or change it and kill the pod that is there.

    Its pod when it has written all.
    """
    content = example("statefulset")
    name, spec = content["metadata"]["name"], content["spec"]
    spec["replicas"] = 1
    spec["volumeClaimTemplates"][0]["spec"] |= {
        "storageClassName": room.name,
        "resources": {"requests": {"storage": "100Mi"}},
    }
    template = spec["template"]
    if not is_let_in:
        del template["metadata"]["labels"]["kaizen-otel/agent"]
    adapted(room, template["spec"], count, name=name, wait_s=10)
    spec["updateStrategy"] = {"type": "OnDelete"}  # else its pod would go in order, not by a kill
    agent = Agent(room=room, name=f"{name}-0")
    place = ("Pod", agent.name, room.name)
    before = room.api.get(*place)
    generation = room.api.apply(content, room.name)["metadata"]["generation"]
    room.api.wait(
        *("StatefulSet", name, room.name),
        lambda one: one["status"].get("observedGeneration", 0) >= generation,
    )
    if before is not None:
        room.api.delete(*place, grace_s=0)
    uid = before and before["metadata"]["uid"]
    room.api.wait(*place, lambda pod: is_ready(pod) and pod["metadata"]["uid"] != uid)
    agent.wait_until_written()
    return agent


def example(name: str) -> dict[str, Any]:
    """What stands in a file of examples/kubernetes."""
    text = (EXAMPLES / f"{name}.yaml").read_text(encoding="utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def adapted(room: Room, spec: dict[str, Any], count: int, *, name: str, wait_s: int) -> None:
    """Have the pod of an example run our program, for the release of the room."""
    metadata = {"name": f"{name}-program"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    room.api.apply(config | {"data": {"main.py": PROGRAM}}, room.name)
    (container,) = spec["containers"]
    container["image"] = reference("kaizen-otel-tools")
    container["command"] = [PYTHON, "/program/main.py", str(count), "0", str(wait_s)]
    container["envFrom"] = [{"configMapRef": {"name": f"{PREFIX}-agent-env"}}]
    container["volumeMounts"].append({"name": "program", "mountPath": "/program"})
    spec.setdefault("volumes", []).append({"name": "program", "configMap": metadata})


def trail_folder(room: Room, replica: int = 0) -> Path:
    """Where the trail of an audit pod is on this machine."""
    return room.volume_of(f"data-{AUDIT}-{replica}") / "audit"


def in_trail(room: Room, records: list[str], *folders: Path) -> set[str]:
    """Those of the records that the trail holds."""
    found = folders or (trail_folder(room),)
    text = "".join(
        path.read_text(encoding="utf-8") for folder in found for path in folder.glob("audit*.jsonl")
    )
    return {record for record in records if record in text}


def wait_until_in_trail(room: Room, records: list[str], *, wait_s: float = WAIT_S) -> None:
    """Return when the trail holds all of them."""
    wait_until(
        lambda: len(in_trail(room, records)) == len(set(records)),
        lambda: f"{len(in_trail(room, records))} of {len(records)} records are in the trail",
        wait_s=wait_s,
    )


def wait_until_clean(folder: Path) -> None:
    """Return when ``audit verify`` finds nothing: the last records may be on their way."""
    wait_until(lambda: verify(folder)["exit_code"] == 0, lambda: json.dumps(verify(folder)))


def declared(verdict: dict[str, Any]) -> int:
    """How many records a trail itself says were refused, if nothing else is found in it."""
    found = [each for each in verdict["findings"] if each["severity"] != "note"]
    assert {each["kind"] for each in found} <= {"gap_declared"}, verdict
    return sum(int(each["text"].split()[0]) for each in found)


def verify(folder: Path) -> dict[str, Any]:
    """The verdict of ``kaizen-otel audit verify``."""
    answer = subprocess.run(
        [
            *(sys.executable, "-c", "from kaizen_otel._cli import main; main()"),
            *("audit", "verify", str(folder), "--json"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    verdict: dict[str, Any] = json.loads(answer.stdout)
    return verdict | {"exit_code": answer.returncode}
