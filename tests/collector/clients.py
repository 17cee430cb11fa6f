"""Clients with and without credentials, over HTTP and gRPC; the ports that a process has open."""

from __future__ import annotations

import base64
import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from tests.collector.otlp_json import grpc_method, logs, protobuf_of

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S = 10
_LISTEN = "0A"


@dataclass(frozen=True)
class Client:
    """Who sends: by TLS if it has an authority, with headers and a certificate if it has them."""

    authority: Path | None = None
    certificate: Path | None = None
    """Beside it is the key of the same name."""
    headers: Mapping[str, str] = field(default_factory=dict[str, str])

    def by_http(self, port: int, text: str) -> bool:
        """Whether a log record was acknowledged by OTLP/HTTP."""
        return self.post(port, "logs", logs(text))

    def by_grpc(self, port: int, text: str) -> bool:
        """Whether a log record was acknowledged by OTLP/gRPC."""
        return self.call(port, "logs", logs(text))

    def post(self, port: int, signal: str, body: dict[str, Any]) -> bool:
        """Whether a request was acknowledged by OTLP/HTTP."""
        scheme = "http" if self.authority is None else "https"
        request = urllib.request.Request(
            f"{scheme}://127.0.0.1:{port}/v1/{signal}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **self.headers},
        )
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        if self.authority is not None:
            context = ssl.create_default_context(cafile=self.authority)
            if self.certificate is not None:
                context.load_cert_chain(self.certificate, self.certificate.with_suffix(".key"))
            handlers.append(urllib.request.HTTPSHandler(context=context))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=TIMEOUT_S) as answer:
                answer.read()
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError, ValueError):
            return False

    def call(self, port: int, signal: str, body: dict[str, Any]) -> bool:
        """Whether a request was acknowledged by OTLP/gRPC."""
        address = f"127.0.0.1:{port}"
        options = (("grpc.enable_http_proxy", 0),)
        if self.authority is None:
            channel = grpc.insecure_channel(address, options)
        else:
            key = chain = None
            if self.certificate is not None:
                key = self.certificate.with_suffix(".key").read_bytes()
                chain = self.certificate.read_bytes()
            credentials = grpc.ssl_channel_credentials(self.authority.read_bytes(), key, chain)
            channel = grpc.secure_channel(address, credentials, options)
        metadata = [(name.lower(), value) for name, value in self.headers.items()]
        try:
            channel.unary_unary(grpc_method(signal))(
                protobuf_of(signal, body), timeout=TIMEOUT_S, metadata=metadata
            )
        except grpc.RpcError:
            return False
        else:
            return True
        finally:
            channel.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def basic(credentials: str) -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"}


def listening_ports(pid: int) -> set[int]:
    """The TCP ports that a process listens on (proc(5))."""
    sockets = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:  # closed since the folder was read
            continue
        if target.startswith("socket:["):
            sockets.add(target.removeprefix("socket:[").removesuffix("]"))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == _LISTEN and columns[9] in sockets:
                found.add(int(columns[1].rpartition(":")[2], 16))
    return found
