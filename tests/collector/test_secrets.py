"""The templates for secrets: complete, and what the generator makes opens a gateway."""

from __future__ import annotations

import re
import stat
import subprocess
import sys
from pathlib import Path

from kaizen_otel._collector.resources import config_path, shipped_overlays
from tests.collector.clients import Client, bearer
from tests.collector.processes import collector

EXAMPLE = Path(__file__).parents[2] / "collector" / "compose" / "secrets.example"


def variables(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / "make_secrets.py"), str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_example_names_every_secret_file_of_the_overlays_with_its_default() -> None:
    found: dict[str, str] = {}
    for name in shipped_overlays():
        text = config_path(name).read_text(encoding="utf-8")
        found |= dict(re.findall(r"\$\{env:(\w+_FILE):-(/[^}]+)\}", text))
    assert variables(EXAMPLE / "collector.env") == found


def test_what_the_generator_makes_opens_a_gateway_to_its_owners_only(
    gateway_binary: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "made"
    assert make(folder).returncode == 0
    environment = variables(folder / "collector.env")
    process = collector(
        gateway_binary, tmp_path, ["gateway", "tls", "mtls", "bearer"], **environment
    )
    ca = folder / "tls" / "ca.crt"
    telemetry, audit = (
        (folder / "secrets" / name).read_text().split()[0]
        for name in ("telemetry.tokens", "audit.tokens")
    )
    agents, auditors = folder / "tls" / "agents.crt", folder / "audit-tls" / "agents.crt"
    with process:
        port = process.audit_port
        right = Client(authority=ca, certificate=auditors, headers=bearer(audit))
        assert right.by_http(port, "right")
        assert not Client(authority=ca, certificate=agents, headers=bearer(audit)).by_http(port, "")
        assert not Client(authority=ca, certificate=auditors).by_http(port, "")
        sender = Client(authority=ca, certificate=agents, headers=bearer(telemetry))
        assert sender.by_grpc(process.grpc_port, "right")
        process.kill()


def test_what_is_made_is_its_owners_alone_and_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    make(folder)
    files = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    secret = [path for path in files if path.suffix != ".crt"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    again = make(folder)
    assert again.returncode == 1
    assert "NOT changed" in again.stderr
    assert {path: path.read_bytes() for path in files} == files
