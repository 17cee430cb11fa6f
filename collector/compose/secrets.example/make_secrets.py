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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

# Which files hold a token that the first of them lets in.
TOKENS = {
    "telemetry.tokens": "gateway.token",
    "audit.tokens": "gateway-audit.token",
}
# Whom the overlays basic and audit-basic let in, each with a file of its own.
PASSWORDS = ("telemetry", "audit")
NAMES = ("agents", "agent-collector")
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
PASSWORD_VARIABLES = {
    "KAIZEN_OTEL_HTPASSWD_FILE": "secrets/telemetry.htpasswd",
    "KAIZEN_OTEL_AUDIT_HTPASSWD_FILE": "secrets/audit.htpasswd",
}
# Each step doubles the work of a check.  It makes guessing slow; nobody guesses 32 random bytes.
BCRYPT_ROUNDS = 10
BCRYPT_MISSING = (
    "bcrypt is not installed and NOTHING was made: pip install 'kaizen-otel[passwords]', or leave "
    "out --passwords\n"
)


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


def make_cookie_secret(folder: Path) -> None:
    """What oauth2-proxy encrypts and signs its cookies with."""
    key = base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
    write(folder / "pages-cookie.secret", key)


def make_passwords(folder: Path, hashed: Callable[[str], str]) -> None:
    """A password for agents and one for an agent Collector, for telemetry and for audit."""
    shown: list[str] = []
    for kind in PASSWORDS:
        made = {name: secrets.token_urlsafe(32) for name in NAMES}
        lines = [f"{name}:{hashed(password)}\n" for name, password in made.items()]
        write(folder / f"{kind}.htpasswd", "".join(lines))
        write(folder / f"{kind}.password", f"{made['agents']}\n")
        shown.append(
            base64.b64encode(f"agent-collector:{made['agent-collector']}".encode()).decode()
        )
    telemetry, audit = shown
    write(
        folder / "gateway-basic.env",
        f"KAIZEN_OTEL_GATEWAY_BASIC={telemetry}\nKAIZEN_OTEL_GATEWAY_AUDIT_BASIC={audit}\n",
    )


def find_bcrypt() -> Callable[[str], str] | None:
    """The hash that every server for htpasswd files understands, if its library is there."""
    try:
        import bcrypt
    except ModuleNotFoundError:
        return None
    return lambda text: bcrypt.hashpw(text.encode(), bcrypt.gensalt(BCRYPT_ROUNDS)).decode()


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
    parser.add_argument("--passwords", action="store_true", help="for basic and audit-basic too")
    arguments = parser.parse_args()
    folder: Path = arguments.folder.resolve()
    hashed = find_bcrypt() if arguments.passwords else None
    if arguments.passwords and hashed is None:
        sys.stderr.write(BCRYPT_MISSING)
        return 1
    try:
        folder.mkdir(mode=0o700, parents=True)
    except FileExistsError:
        sys.stderr.write(f"{folder} is there already and was NOT changed: name another folder\n")
        return 1
    make_certificates(folder, arguments.host)
    make_tokens(folder / "secrets")
    make_page_password(folder / "secrets")
    make_cookie_secret(folder / "secrets")
    variables = dict(VARIABLES)
    if hashed is not None:
        make_passwords(folder / "secrets", hashed)
        variables |= PASSWORD_VARIABLES
    lines = [f"{name}={folder / file}\n" for name, file in variables.items()]
    write(folder / "collector.env", "".join(lines))
    sys.stdout.write(
        f"{folder}: certificates, {'passwords, ' if hashed else ''}tokens and collector.env; "
        "move the ca.key files away\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
