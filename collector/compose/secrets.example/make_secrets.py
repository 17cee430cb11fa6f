"""Make certificates and tokens for a Collector in a new folder.  See README.md beside this file."""
# ruff: noqa: INP001 - a program by itself

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import secrets
import subprocess
import sys
from pathlib import Path

# Which files hold a token that the first of them lets in.
TOKENS = {
    "telemetry.tokens": "gateway.token",
    "audit.tokens": "gateway-audit.token",
}
VARIABLES = {
    "KAIZEN_OTEL_TLS_CERT_FILE": "tls/server.crt",
    "KAIZEN_OTEL_TLS_KEY_FILE": "tls/server.key",
    "KAIZEN_OTEL_TLS_CLIENT_CA_FILE": "tls/ca.crt",
    "KAIZEN_OTEL_TLS_AUDIT_CLIENT_CA_FILE": "audit-tls/ca.crt",
    "KAIZEN_OTEL_TOKENS_FILE": "secrets/telemetry.tokens",
    "KAIZEN_OTEL_AUDIT_TOKENS_FILE": "secrets/audit.tokens",
    "KAIZEN_OTEL_GATEWAY_TOKEN_FILE": "secrets/gateway.token",
    "KAIZEN_OTEL_GATEWAY_AUDIT_TOKEN_FILE": "secrets/gateway-audit.token",
}


def make_certificates(folder: Path, hosts: list[str]) -> None:
    """Two authorities: who may send telemetry may not write into the trail."""
    program = str(Path(sys.executable).with_name("kaizen-otel"))
    named = [argument for host in hosts for argument in ("--host", host)]
    for name in ("tls", "audit-tls"):
        command = [program, "certs", "new", str(folder / name), *named, "--client", "agents"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)  # noqa: S603 - our own


def make_tokens(folder: Path) -> None:
    """A token for agents and one for an agent Collector, for telemetry and for audit."""
    folder.mkdir(mode=0o700)
    for accepted, shown in TOKENS.items():
        agents, collector = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        write(folder / accepted, f"{agents} agents\n{collector} agent-collector\n")
        write(folder / shown, f"{collector}\n")


def make_page_password(folder: Path) -> None:
    """The password before Jaeger, Prometheus, Grafana, Elasticsearch and Kibana."""
    password, salt = secrets.token_urlsafe(32), secrets.token_bytes(8)
    # Salted SHA-1 is what every nginx reads; nobody guesses 32 random bytes, however fast.
    hashed = hashlib.sha1(password.encode() + salt).digest()  # noqa: S324
    line = base64.b64encode(hashed + salt).decode()
    write(folder / "pages.htpasswd", f"agents:{{SSHA}}{line}\n")
    write(folder / "pages.password", f"{password}\n")


def write(path: Path, text: str) -> None:
    """Write a new file that only its owner may read."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def main() -> int:
    """Make everything; 1 if the folder is there already."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    parser.add_argument("--host", action="append", default=[], help="a name of the Collector")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        sys.stderr.write(f"{folder} is there already and was NOT changed: name another folder\n")
        return 1
    make_certificates(folder, arguments.host)
    make_tokens(folder / "secrets")
    make_page_password(folder / "secrets")
    lines = [f"{name}={folder / file}\n" for name, file in VARIABLES.items()]
    write(folder / "collector.env", "".join(lines))
    sys.stdout.write(
        f"{folder}: certificates, tokens and collector.env; move the ca.key files away\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
