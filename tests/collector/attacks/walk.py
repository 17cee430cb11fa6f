"""Every listening socket of a process, and whether somebody without credentials gets in there."""

from __future__ import annotations

import ipaddress
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from tests.collector.attacks.ask import call, exchange
from tests.collector.otlp_json import counter, grpc_method, logs, protobuf_of, span

if TYPE_CHECKING:
    from tests.collector.attacks.target import Target

Address = tuple[str, int]
_LISTEN: Final = "0A"
SIGNALS: Final = {"logs": logs("in"), "traces": span("in"), "metrics": counter("in", 1)}


def listening(pid: int) -> set[Address]:
    """The addresses and ports that a process listens on (proc(5))."""
    inodes = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue  # closed while we look
        if target.startswith("socket:["):
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == _LISTEN and columns[9] in inodes:
                address, _, port = columns[1].rpartition(":")
                found.add((_address(address), int(port, 16)))
    return found


def _address(text: str) -> str:
    """The kernel prints each four bytes in the machine's order, here little-endian."""
    words = [bytes.fromhex(text[at : at + 8])[::-1] for at in range(0, len(text), 8)]
    return str(ipaddress.ip_address(b"".join(words)))


def open_to_anybody(target: Target) -> set[Address]:
    """Where something came in, as the Collector itself counts it, without any credentials."""
    found = set()
    for address in listening(target.pid):
        before = target.accepted()
        knock(target, address)
        if target.accepted() > before:
            found.add(address)
    return found


def knock(target: Target, address: Address) -> None:
    """Send each signal by HTTP and gRPC, with TLS and without."""
    host, port = address
    trusting = ssl.create_default_context(cafile=target.authority)
    for context in (None, trusting):
        for signal, body in SIGNALS.items():
            data = json.dumps(body).encode()
            head = (
                f"POST /v1/{signal} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
            )
            exchange(port, head.encode() + data, context, host)
    options = (("grpc.enable_http_proxy", 0), ("grpc.ssl_target_name_override", "localhost"))
    credentials = grpc.ssl_channel_credentials(target.authority.read_bytes())
    for channel in (
        grpc.insecure_channel(f"{host}:{port}", options),
        grpc.secure_channel(f"{host}:{port}", credentials, options),
    ):
        with channel:
            for signal, body in SIGNALS.items():
                data = protobuf_of(signal, body)
                call(channel, headers={}, body=data, method=grpc_method(signal))


def readable_by_anybody(target: Target) -> set[Address]:
    """Where a page is answered with success, without any credentials."""
    trusting = ssl.create_default_context(cafile=target.authority)
    paths = ("/", "/metrics", "/v1/logs", "/debug/pprof/", "/debug/tracez")
    found = set()
    for host, port in listening(target.pid):
        for path in paths:
            head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
            for context in (None, trusting):
                if exchange(port, head, context, host).status == "200":
                    found.add((host, port))
    return found
