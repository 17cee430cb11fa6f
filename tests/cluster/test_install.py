"""What ``helm install`` brings into being in a real cluster."""

from __future__ import annotations

from tests.backends.otlp_probe import Probe
from tests.cluster.room import PREFIX, Room, base_values


def test_an_installed_chart_takes_telemetry_and_audit_records(room: Room) -> None:
    room.add_volumes(1)
    room.install(base_values(room))
    probe = Probe()
    probe.send_telemetry(f"http://{room.address(f'{PREFIX}-gateway')}:4318")
    probe.send_audit(f"http://{room.address(f'{PREFIX}-audit')}:4319", "first")
    trail = room.volume_of(f"data-{PREFIX}-audit-0") / "audit" / "audit.jsonl"
    assert '"first"' in trail.read_text(encoding="utf-8")
