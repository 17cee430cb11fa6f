"""Every listening socket of a process, and whether somebody without credentials gets in there."""

from __future__ import annotations

import ipaddress
import json
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.collector.attacks.ask import call, exchange
from tests.collector.otlp_json import counter, logs, span

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from tests.collector.attacks.target import Target

Address = tuple[str, int]
_LISTEN: Final = "0A"
_SERVICE: Final = "/opentelemetry.proto.collector"
SIGNALS: Final = (
    ("/v1/logs", f"{_SERVICE}.logs.v1.LogsService/Export", logs("in")),
    ("/v1/traces", f"{_SERVICE}.trace.v1.TraceService/Export", span("in")),
    ("/v1/metrics", f"{_SERVICE}.metrics.v1.MetricsService/Export", counter("in", 1)),
)
_MESSAGES: Final[tuple[type[Message], ...]] = (
    ExportLogsServiceRequest,
    ExportTraceServiceRequest,
    ExportMetricsServiceRequest,
)


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
        for path, _, body in SIGNALS:
            data = json.dumps(body).encode()
            head = (
                f"POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
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
            for (_, method, body), message in zip(SIGNALS, _MESSAGES, strict=True):
                data = json_format.ParseDict(body, message()).SerializeToString()
                call(channel, headers={}, body=data, method=method)


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
