"""Mutual TLS between all parts, agents of the nodes, and claims that nobody deletes by accident."""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaizen_otel._collector.certs import Authority
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._signing import Ed25519Signer
from tests.cluster.agents import AUDIT
from tests.cluster.kit.client import ApiError
from tests.cluster.room import CHART, PREFIX, RELEASE, Refused, Room, base_values, changed

CLAIM = f"data-{AUDIT}-0"
TIERS = ("agent", "gateway", "audit")


def make_secrets(room: Room, folder: Path) -> None:
    """What the profile names: certificates, and for the rest texts that nobody reads."""
    authority = Authority.make(folder, filesystem=OsFilesystem(), clock=SystemClock())
    names = [f"{PREFIX}-{tier}" for tier in TIERS]
    hosts = [f"{name}{end}" for name in names for end in ("", f".{room.name}", f".{room.name}.svc")]
    authority.issue("server", "server", hosts=hosts)
    for client in ("agent", "tools"):
        authority.issue(client, "client")
    trusted = {"ca.crt": (folder / "ca.crt").read_text()}
    made = {
        f"kaizen-otel-{name}": {
            **trusted,
            "tls.crt": (folder / f"{name}.crt").read_text(),
            "tls.key": (folder / f"{name}.key").read_text(),
        }
        for name in ("server", "agent", "tools")
    }
    made |= dict.fromkeys(("observability-ca", "telemetry-clients-ca", "audit-clients-ca"), trusted)
    made |= {name: {"token": "x"} for name in ("jaeger-token", "prometheus-token")}
    made |= {"elasticsearch-user": {"username": "x", "password": "x"}}
    key = Ed25519Signer.generate().to_pem().decode()
    made |= {"tools-environment": {"KAIZEN_OTEL_SIGNING_KEY": key}}
    made |= {"audit-trust": {"trust.json": "{}"}, "audit-anchors": {"anchors.json": "{}"}}
    for name, data in made.items():
        room.api.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data},
            room.name,
        )


def compliance(room: Room) -> dict[str, Any]:
    """The profile, on this room's volumes, with the agent tier and the test."""
    profile = yaml.safe_load((CHART / "profiles" / "compliance.yaml").read_text(encoding="utf-8"))
    base = base_values(room)
    small = {"size": "100Mi", "storageClass": room.name}
    return changed(
        profile,
        image=base["image"],
        preStopSleepSeconds=base["preStopSleepSeconds"],
        gateway__queue={"persistent": True, **small},
        gateway__resources=base["gateway"]["resources"],
        audit__volume=small,
        audit__resources=base["audit"]["resources"],
        audit__guard__minFreeMebibytes=1,
        agent={"enabled": True, "clientSecret": {"name": "kaizen-otel-agent"}},
        test={"enabled": True},
        tools__environmentSecret="tools-environment",
    )


def context(folder: Path) -> ssl.SSLContext:
    """That of somebody who knows the authority and has no certificate."""
    made = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    made.check_hostname = False  # we come by the address
    return made


def sent(url: str, context: ssl.SSLContext) -> bool:
    """Whether an empty request is taken."""
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, context=context, timeout=10) as answer:
        return bool(answer.status == 200)


def test_in_the_compliance_profile_signals_pass_all_tiers_and_the_trail_cannot_be_deleted(
    room: Room, tmp_path: Path
) -> None:
    """Mutual TLS everywhere.  The destinations do not exist: their queues take what is sent."""
    room.add_volumes(3)
    make_secrets(room, tmp_path / "pki")
    try:
        room.install(compliance(room))
        room.run_helm("test", RELEASE, "--timeout", "120s")
        assert "audit: arrived" in room.kubectl("logs", f"job/{PREFIX}-test-signals")
        known = context(tmp_path / "pki")
        known.load_cert_chain(tmp_path / "pki" / "tools.crt", tmp_path / "pki" / "tools.key")
        for tier, port in (("gateway", 4318), ("audit", 4319)):
            url = f"https://{room.address(f'{PREFIX}-{tier}')}:{port}/v1/logs"
            assert sent(url, known)
            with pytest.raises(OSError, match=r"SSL|ssl|EOF|reset"):
                sent(url, context(tmp_path / "pki"))
        with pytest.raises(Refused, match="must be true"):
            room.install(changed(compliance(room), audit__guard__enabled=False))
        room.run_helm("uninstall", RELEASE, "--wait")
        with pytest.raises(ApiError, match="This claim holds an audit trail"):
            room.api.delete("PersistentVolumeClaim", CLAIM, room.name)
        allowed = {"metadata": {"annotations": {"kaizen-otel/allow-delete": "true"}}}
        room.api.merge("PersistentVolumeClaim", CLAIM, room.name, allowed)
        room.api.delete("PersistentVolumeClaim", CLAIM, room.name)
    finally:  # they belong to the whole cluster, and stay on purpose
        room.remove_deletion_guard()
