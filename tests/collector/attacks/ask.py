"""Ask a door and say in a word or two what became of it."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.collector.attacks.target import Door, Target
    from tests.collector.clients import Client

TIMEOUT_S: Final = 20
CLOSED: Final = "closed"
"""The connection was closed or refused before an answer; by TLS that is an alert."""
PATHS: Final = {"logs": "/v1/logs", "traces": "/v1/traces", "metrics": "/v1/metrics"}
LOGS_METHOD: Final = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
JSON: Final = "application/json"
PROTOBUF: Final = "application/x-protobuf"


def protobuf(text: str = "attack") -> bytes:
    """A request with one log record."""
    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    records.add().body.string_value = text
    return request.SerializeToString()


@dataclass(frozen=True)
class Answer:
    """The first answer on a connection."""

    status: str
    text: bytes = b""


def exchange(
    port: int,
    data: bytes | Iterable[bytes],
    context: ssl.SSLContext | None,
    host: str = "127.0.0.1",
) -> Answer:
    """Send bytes as they are and read the first HTTP answer; status ``closed`` without one."""
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as plain:
            if context is None:
                return _talk(plain, data)
            with context.wrap_socket(plain, server_hostname="localhost") as secure:
                return _talk(secure, data)
    except (OSError, EOFError):
        return Answer(CLOSED)


def _talk(connection: socket.socket, data: bytes | Iterable[bytes]) -> Answer:
    try:
        for piece in [data] if isinstance(data, bytes) else data:
            connection.sendall(piece)
    except TimeoutError:
        return Answer("not read")
    except OSError:
        pass  # it may have answered before it closed
    try:
        with connection.makefile("rb") as stream:
            first = stream.readline(4096)
            parts = first.split()
            if not first.startswith(b"HTTP/") or len(parts) < 2:
                return Answer(CLOSED, first)
            while stream.readline(65_536).strip():
                pass  # the rest of the head
            return Answer(parts[1].decode(), stream.read1(65_536) if parts[1] == b"200" else b"")
    except TimeoutError:
        return Answer("no answer")
    except OSError:
        return Answer(CLOSED)


def http(
    target: Target,
    door: Door,
    *,
    credentials: str | None = None,
    body: bytes | None = None,
    path: str = "/v1/logs",
    method: str = "POST",
    content_type: str = PROTOBUF,
    headers: str = "",
) -> str:
    """One ordinary request; ``credentials`` are header lines, those of the door by default."""
    if credentials is None:
        credentials = target.headers_of(door)
    data = protobuf() if body is None else body
    kind = f"Content-Type: {content_type}\r\n" if content_type else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{credentials}{kind}"
        f"Content-Length: {len(data)}\r\n{headers}\r\n"
    )
    return exchange(target.number(door), head.encode() + data, target.tls(door)).status


def rpc(
    target: Target,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    method: str = LOGS_METHOD,
    compression: grpc.Compression | None = None,
    client: Client | None = None,
    extra: Iterable[tuple[str, str]] = (),
) -> str:
    """One call; the headers are those of the right client by default."""
    client = client or target.clients["gRPC"]
    with channel(target, client) as opened:
        return call(
            opened,
            headers=client.headers if headers is None else headers,
            body=body,
            method=method,
            compression=compression,
            extra=extra,
        )


def channel(target: Target, client: Client) -> grpc.Channel:
    """A channel that sends what it is told, however large."""
    address = f"localhost:{target.number('gRPC')}"
    options = (
        ("grpc.enable_http_proxy", 0),
        ("grpc.max_send_message_length", -1),
        ("grpc.enable_retries", 0),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_metadata_size", 64 * 1024 * 1024),
        ("grpc.absolute_max_metadata_size", 64 * 1024 * 1024),
    )
    if client.authority is None:
        return grpc.insecure_channel(address, options)
    key = chain = None
    if client.certificate is not None:
        key = client.certificate.with_suffix(".key").read_bytes()
        chain = client.certificate.read_bytes()
    credentials = grpc.ssl_channel_credentials(client.authority.read_bytes(), key, chain)
    return grpc.secure_channel(address, credentials, options)


def call(
    opened: grpc.Channel,
    *,
    headers: Mapping[str, str],
    body: bytes | None = None,
    method: str = LOGS_METHOD,
    compression: grpc.Compression | None = None,
    extra: Iterable[tuple[str, str]] = (),
) -> str:
    """The name of the status of one call; ``closed`` if no server answered."""
    try:
        opened.unary_unary(method)(
            protobuf() if body is None else body,
            timeout=TIMEOUT_S,
            metadata=[*((name.lower(), value) for name, value in headers.items()), *extra],
            compression=compression,
        )
    except grpc.RpcError as error:
        code = error.code() if isinstance(error, grpc.Call) else None
        assert code is not None
        return CLOSED if code is grpc.StatusCode.UNAVAILABLE else str(code.name)
    else:
        return "OK"


def handshake(target: Target, door: Door, context: ssl.SSLContext) -> str:
    """Whether TLS comes about; a refusal of TLS 1.3 shows at the first read only."""
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    if door == "gRPC":
        head = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    try:
        with (
            socket.create_connection(
                ("127.0.0.1", target.number(door)), timeout=TIMEOUT_S
            ) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            secure.sendall(head)
            return "connected" if secure.recv(1) else CLOSED
    except (OSError, EOFError):
        return CLOSED
