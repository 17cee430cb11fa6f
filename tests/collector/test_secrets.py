"""The templates for secrets: complete, and what the generator makes opens a gateway."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._collector.resources import config_path, shipped_overlays
from tests.collector.clients import Client, basic, bearer
from tests.collector.otlp_json import bodies_in
from tests.collector.processes import collector
from tests.collector.store import Store, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

EXAMPLE = Path(__file__).parents[2] / "collector" / "compose" / "secrets.example"


def variables(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def make(
    folder: Path, *options: str, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / "make_secrets.py"), str(folder), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def test_the_example_names_every_secret_file_of_the_overlays_with_its_default() -> None:
    found: dict[str, str] = {}
    for name in shipped_overlays():
        text = config_path(name).read_text(encoding="utf-8")
        found |= dict(re.findall(r"\$\{env:(\w+_FILE):-(/[^}]+)\}", text))
    assert variables(EXAMPLE / "collector.env") == found


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the generator, with everything that it can make."""
    folder = tmp_path_factory.mktemp("secrets") / "made"
    done = make(folder, "--passwords")
    assert done.returncode == 0, done.stderr
    return folder


def test_what_the_generator_makes_opens_a_gateway_to_its_owners_only(
    gateway_binary: Path, tmp_path: Path, made: Path
) -> None:
    environment = variables(made / "collector.env")
    process = collector(
        gateway_binary, tmp_path, ["gateway", "tls", "mtls", "bearer"], **environment
    )
    ca = made / "tls" / "ca.crt"
    telemetry, audit = (
        (made / "secrets" / name).read_text().split()[0]
        for name in ("telemetry.tokens", "audit.tokens")
    )
    agents, auditors = made / "tls" / "agents.crt", made / "audit-tls" / "agents.crt"
    with process:
        port = process.audit_port
        right = Client(authority=ca, certificate=auditors, headers=bearer(audit))
        assert right.by_http(port, "right")
        assert not Client(authority=ca, certificate=agents, headers=bearer(audit)).by_http(port, "")
        assert not Client(authority=ca, certificate=auditors).by_http(port, "")
        sender = Client(authority=ca, certificate=agents, headers=bearer(telemetry))
        assert sender.by_grpc(process.grpc_port, "right")
        process.kill()


def test_the_passwords_that_are_made_open_a_gateway_each_its_own_door(
    gateway_binary: Path, tmp_path: Path, made: Path
) -> None:
    """With our basicauth, which takes bcrypt only; an agent Collector has a name of its own."""
    ca, given = made / "tls" / "ca.crt", made / "secrets"

    def sender(name: str, password: str) -> Client:
        return Client(authority=ca, headers=basic(f"{name}:{password}"))

    telemetry, audit = (
        (given / f"{kind}.password").read_text().strip() for kind in ("telemetry", "audit")
    )
    hashed = variables(made / "collector.env")
    first_line = Path(hashed["KAIZEN_OTEL_HTPASSWD_FILE"]).read_text().splitlines()[0]
    with Store() as store:
        gateway = collector(
            gateway_binary,
            tmp_path,
            ["gateway", "tls", "basic"],
            ELASTICSEARCH_ENDPOINT=store.url,
            **hashed,
        )
        with gateway:
            for wrong in (
                Client(authority=ca),
                sender("agents", audit),
                sender("agents", telemetry[:-1]),
                sender("agent-collector", telemetry),
                sender("agents", first_line.partition(":")[2]),
            ):
                assert not wrong.by_http(gateway.http_port, "wrong")
                assert not wrong.by_grpc(gateway.grpc_port, "wrong")
            assert not sender("agents", telemetry).by_http(gateway.audit_port, "wrong")
            assert sender("agents", telemetry).by_grpc(gateway.grpc_port, "agent")
            assert sender("agents", audit).by_http(gateway.audit_port, "agent audit")
            beside = collector(
                gateway_binary,
                tmp_path / "agent",
                ["agent", "upstream-basic"],
                KAIZEN_OTEL_GATEWAY_ENDPOINT=f"127.0.0.1:{gateway.grpc_port}",
                KAIZEN_OTEL_GATEWAY_AUDIT_ENDPOINT=f"https://127.0.0.1:{gateway.audit_port}",
                KAIZEN_OTEL_GATEWAY_CA_FILE=str(ca),
                **variables(given / "gateway-basic.env"),
            )
            with beside:
                assert Client().by_http(beside.http_port, "agent Collector")
                assert Client().by_http(beside.audit_port, "agent Collector's audit")
                assert wait_until(lambda: len(store.documents) >= 2), beside.log_tail()
        assert store.texts() == ["agent", "agent Collector"]
    trail = bodies_in(tmp_path / "audit" / "audit.jsonl")
    assert trail == ["agent audit", "agent Collector's audit"]


def test_the_passwords_that_are_made_open_the_audit_collector(
    gateway_binary: Path, tmp_path: Path, made: Path
) -> None:
    ca, password = made / "tls" / "ca.crt", (made / "secrets" / "audit.password")
    right = Client(authority=ca, headers=basic(f"agents:{password.read_text().strip()}"))
    environment = variables(made / "collector.env")
    configs = ["audit", "tls", "audit-basic"]
    with collector(gateway_binary, tmp_path, configs, **environment) as process:
        assert not Client(authority=ca).by_http(process.audit_port, "nobody")
        assert right.by_http(process.audit_port, "right")
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["right"]


def test_without_bcrypt_nothing_is_made_and_it_is_said_what_to_install(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    missing.mkdir()
    (missing / "bcrypt.py").write_text("raise ModuleNotFoundError('no bcrypt', name='bcrypt')\n")
    environment = {**os.environ, "PYTHONPATH": str(missing)}
    folder = tmp_path / "made"
    done = make(folder, "--passwords", environment=environment)
    assert done.returncode == 1
    assert "pip install 'kaizen-otel[passwords]'" in done.stderr
    assert not folder.exists()


def test_what_is_made_is_its_owners_alone_and_never_replaced(made: Path) -> None:
    files = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    secret = [path for path in files if path.suffix != ".crt"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in secret} == {0o600}
    again = make(made)
    assert again.returncode == 1
    assert "NOT changed" in again.stderr
    assert {path: path.read_bytes() for path in files} == files
