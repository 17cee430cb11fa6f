"""An OTLP receiver in a process of its own: HTTP/1.1 on one port, gRPC on another.

    python -m benchmarks.telemetry_bench.sink     prints both ports, ends with standard input

While a contender is measured it only keeps the raw bodies in memory.  What came is decoded when
the run is over and the harness asks (``POST /bench/check``), so that decoding costs nobody.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

import grpc
import grpc.aio

from benchmarks.telemetry_bench.check import check

_PATHS: Final = {b"/v1/traces": "traces", b"/v1/metrics": "metrics", b"/v1/logs": "logs"}
_SERVICES: Final = {"trace": "traces", "metrics": "metrics", "logs": "logs"}
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: "
_OK: Final = _HEAD + b"0\r\n\r\n"
_REQUEST_BYTES_MAX: Final = 256 * 1024 * 1024


class Store:
    """What came, by signal, and how long answers take."""

    def __init__(self) -> None:
        self.bodies: dict[str, list[bytes]] = {}
        self.delay_s = 0.0

    def put(self, signal: str, body: bytes) -> None:
        """Keep one body."""
        self.bodies.setdefault(signal, []).append(body)

    def control(self, path: bytes, body: bytes) -> dict[str, Any]:
        """Do what the harness asks."""
        asked: dict[str, Any] = json.loads(body or b"{}")
        if path == b"/bench/clear":
            self.bodies.clear()
            self.delay_s = asked.get("delay_ms", 0) / 1000
            return {}
        report = check(self.bodies, asked["what"], asked["count"], asked["warm"])
        report["requests"] = sum(map(len, self.bodies.values()))
        report["bytes"] = sum(len(one) for bodies in self.bodies.values() for one in bodies)
        return report


class HttpConnection(asyncio.Protocol):
    """One HTTP connection."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._buffer = bytearray()
        self._needed = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        buffer = self._buffer
        buffer += data
        while len(buffer) > self._needed:
            end = buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(buffer[:end]).lower()
            size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
            if len(buffer) < end + 4 + size:
                self._needed = end + 3 + size
                return
            self._needed = 0
            body = bytes(buffer[end + 4 : end + 4 + size])
            del buffer[: end + 4 + size]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        store = self._store
        if path.startswith(b"/bench/"):
            text = json.dumps(store.control(path, body)).encode()
            self._transport.write(_HEAD + b"%d\r\n\r\n" % len(text) + text)
            return
        # Vendors have paths of their own in front.
        signal = _PATHS.get(b"/v1/" + path.rpartition(b"/v1/")[2], "")
        store.put(signal or path.decode(), body)
        if store.delay_s:
            asyncio.get_running_loop().call_later(store.delay_s, self._transport.write, _OK)
        else:
            self._transport.write(_OK)


class GrpcCalls(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    """Every Export method of the three services, without decoding anything."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def service(self, call_details: Any) -> Any:  # noqa: ANN401 - grpc has no types
        """The handler of one method."""
        # /opentelemetry.proto.collector.trace.v1.TraceService/Export
        signal = _SERVICES[call_details.method.split(".")[3]]
        store = self._store

        async def export(body: bytes, context: object) -> bytes:
            del context
            store.put(signal, body)
            if store.delay_s:
                await asyncio.sleep(store.delay_s)
            return b""

        return grpc.unary_unary_rpc_method_handler(export)


async def main() -> None:
    """Serve until standard input is closed."""
    store = Store()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpConnection(store), "127.0.0.1", 0)
    options = [("grpc.max_receive_message_length", _REQUEST_BYTES_MAX), ("grpc.so_reuseport", 0)]
    grpc_server = grpc.aio.server(options=options)
    grpc_server.add_generic_rpc_handlers((GrpcCalls(store),))
    grpc_port = grpc_server.add_insecure_port("127.0.0.1:0")
    await grpc_server.start()
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]} {grpc_port}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    await grpc_server.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
