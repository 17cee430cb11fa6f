"""What installing, upgrading, breaking and uninstalling the chart does to a real cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.backends.otlp_probe import Probe
from tests.cluster.kit.client import ApiError
from tests.cluster.kit.images import reference
from tests.cluster.room import CONTAINER_SECURITY, PREFIX, Refused, Room, base_values, changed

#: A typo, an unsafe combination, a Secret that is not there: the key, its value, and what is said.
WRONG = (
    ("gateway__replica", 2, "replica"),
    ("auth__type", "bearer", "tls.enabled to true"),
    ("tools__environmentSecret", "nobody-made-it", "tools.environmentSecret names the Secret"),
)
BROKEN = {"receivers": {"otlp": {"protocols": {"grpc": {"no_such_setting": 1}}}}}


def audit_url(room: Room) -> str:
    return f"http://{room.address(f'{PREFIX}-audit')}:4319"


def trail_of(room: Room) -> Path:
    return room.volume_of(f"data-{PREFIX}-audit-0") / "audit" / "audit.jsonl"


def recorded(trail: Path) -> list[str]:
    """The texts of a trail's records, in order."""
    return [
        record["body"]["stringValue"]
        for line in trail.read_text(encoding="utf-8").splitlines()
        for resource in json.loads(line)["resourceLogs"]
        for scope in resource["scopeLogs"]
        for record in scope["logRecords"]
    ]


def test_a_release_lives_through_upgrade_broken_config_rollback_and_uninstall(room: Room) -> None:
    """One release, because each step starts from what the one before left."""
    room.add_volumes(1)
    values = changed(base_values(room), audit__guard={"enabled": True, "minFreeMebibytes": 16})
    room.install(values)
    probe = Probe()
    probe.send_telemetry(f"http://{room.address(f'{PREFIX}-gateway')}:4318")
    probe.send_audit(audit_url(room), "installed")

    newer = changed(values, podLabels={"changed": "yes"})
    room.install(newer)
    assert all(pod["metadata"]["labels"]["changed"] == "yes" for pod in room.pods("audit"))
    probe.send_audit(audit_url(room), "upgraded")

    before = room.uids()
    for key, value, said in WRONG:
        with pytest.raises(Refused, match=said):
            room.install(changed(newer, **{key: value}))
    with pytest.raises(Refused):
        room.install(changed(newer, gateway__config=BROKEN))
    assert room.uids() == before, "the checks run before anything changes"
    logs = room.kubectl("logs", "--all-containers", f"job/{PREFIX}-validate")
    assert "no_such_setting" in logs
    probe.send_audit(audit_url(room), "refused")

    room.run_helm("rollback", "kaizen", "1", "--wait", "--timeout", "120s")
    assert all("changed" not in pod["metadata"]["labels"] for pod in room.pods("audit"))
    probe.send_audit(audit_url(room), "rolled back")

    trail = trail_of(room)
    room.run_helm("uninstall", "kaizen", "--wait")
    claim = room.api.get("PersistentVolumeClaim", f"data-{PREFIX}-audit-0", room.name)
    assert claim is not None
    room.install(values)
    probe.send_audit(audit_url(room), "installed again")
    assert recorded(trail) == [
        *("installed", "upgraded", "refused", "rolled back", "installed again"),
    ]


def test_a_secret_that_is_not_there_is_named_before_anything_is_made(room: Room) -> None:
    missing = {"enabled": True, "serverSecret": {"name": "nobody-made-it"}}
    with pytest.raises(Refused) as refused:
        room.install(changed(base_values(room), tls=missing))
    assert "nobody-made-it" in str(refused.value)
    assert "tls.serverSecret" in str(refused.value)
    assert room.api.list("Pod", room.name) == []


def test_a_pod_that_asks_for_more_than_the_chart_does_is_not_admitted(room: Room) -> None:
    """So that the chart's pods run here says something."""
    for relaxed in ({}, CONTAINER_SECURITY | {"allowPrivilegeEscalation": True}):
        container = {"name": "main", "image": reference("kaizen-otel-tools")}
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "relaxed"},
            "spec": {"containers": [container | {"securityContext": relaxed}]},
        }
        with pytest.raises(ApiError, match="violates PodSecurity"):
            room.api.apply(pod, room.name)
