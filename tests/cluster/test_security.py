"""Mutual TLS between all parts, agents of the nodes, and claims that nobody deletes by accident."""

from __future__ import annotations

import ssl
import urllib.request
from pathlib import Path

import pytest

from kaizen_otel._collector.certs import Authority
from kaizen_otel._edges import OsFilesystem, SystemClock
from tests.cluster.agents import AUDIT
from tests.cluster.kit.client import ApiError
from tests.cluster.room import PREFIX, RELEASE, Room, base_values, changed

CLAIM = f"data-{AUDIT}-0"
TIERS = ("agent", "gateway", "audit")


def make_secrets(room: Room, folder: Path) -> None:
    """Certificates of ``kaizen-otel certs``: one for the Services, one for each client."""
    authority = Authority.make(folder, filesystem=OsFilesystem(), clock=SystemClock())
    names = [f"{PREFIX}-{tier}" for tier in TIERS]
    hosts = [f"{name}{end}" for name in names for end in ("", f".{room.name}", f".{room.name}.svc")]
    authority.issue("server", "server", hosts=hosts)
    for client in ("agent", "tools"):
        authority.issue(client, "client")
    for name in ("server", "agent", "tools"):
        data = {
            "ca.crt": (folder / "ca.crt").read_text(),
            "tls.crt": (folder / f"{name}.crt").read_text(),
            "tls.key": (folder / f"{name}.key").read_text(),
        }
        room.api.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data},
            room.name,
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


def test_signals_pass_all_tiers_with_mutual_tls_and_the_claim_of_the_trail_cannot_be_deleted(
    room: Room, tmp_path: Path
) -> None:
    room.add_volumes(1)
    make_secrets(room, tmp_path / "pki")
    clients = {"required": True}
    values = changed(
        base_values(room),
        tls={"enabled": True, "serverSecret": {"name": "server"}, "clients": clients},
        agent={"enabled": True, "clientSecret": {"name": "agent"}},
        tools={"clientSecret": {"name": "tools"}},
        audit__guard={"enabled": True, "minFreeMebibytes": 1},
        audit__deletionGuard={"enabled": True},
        test={"enabled": True},
    )
    try:
        room.install(values)
        room.run_helm("test", RELEASE, "--timeout", "120s")
        known = context(tmp_path / "pki")
        known.load_cert_chain(tmp_path / "pki" / "tools.crt", tmp_path / "pki" / "tools.key")
        for tier, port in (("gateway", 4318), ("audit", 4319)):
            url = f"https://{room.address(f'{PREFIX}-{tier}')}:{port}/v1/logs"
            assert sent(url, known)
            with pytest.raises(OSError, match=r"SSL|ssl|EOF|reset"):
                sent(url, context(tmp_path / "pki"))
        room.run_helm("uninstall", RELEASE, "--wait")
        with pytest.raises(ApiError, match="This claim holds an audit trail"):
            room.api.delete("PersistentVolumeClaim", CLAIM, room.name)
        allowed = {"metadata": {"annotations": {"kaizen-otel/allow-delete": "true"}}}
        room.api.merge("PersistentVolumeClaim", CLAIM, room.name, allowed)
        room.api.delete("PersistentVolumeClaim", CLAIM, room.name)
    finally:  # they belong to the whole cluster, and stay on purpose
        for kind in ("ValidatingAdmissionPolicyBinding", "ValidatingAdmissionPolicy"):
            for each in room.api.list(kind):
                if each["metadata"]["name"].startswith(f"{room.name}-"):
                    room.api.delete(kind, each["metadata"]["name"])
