"""Jaeger, Prometheus and Elasticsearch as far as a Collector can tell: fast, and they keep nothing.

    python -m benchmarks.collector_bench.backends     prints its ports, ends with standard input

OTLP over gRPC on one port; remote write, OTLP over HTTP and ``_bulk`` on another, where ``GET /``
says what came, in items and bytes, and how much processor time it took.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import sys
import time
from collections import Counter
from functools import cache, partial
from typing import Any, Final

import grpc
import grpc.aio

from benchmarks.audit_bench.sink import count_records

_SIGNALS: Final = {"trace": "traces", "metrics": "metrics", "logs": "logs"}
_MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024
_HEAD_BYTES_MAX: Final = 64 * 1024


class Backends:
    """What came so far."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()

    def take(self, kind: str, body: bytes, items: int) -> None:
        """Count one request."""
        self.counts[kind] += items
        self.counts[f"{kind} requests"] += 1
        self.counts[f"{kind} bytes"] += len(body)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one HTTP connection until it is closed."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
                body = await reader.readexactly(size)
                answer = self._answer(head, body)
                writer.write(
                    b"HTTP/1.1 200 OK\r\nX-Elastic-Product: Elasticsearch\r\n"
                    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(answer)
                )
                writer.write(answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _answer(self, head: bytes, body: bytes) -> bytes:
        if head.startswith(b"get"):
            return json.dumps({**self.counts, "cpu_s": time.process_time()}).encode()
        if b"/_bulk" not in head.partition(b"\r\n")[0]:
            self.take("writes", body, 1)
            return b""
        if b"content-encoding: gzip" in head:
            body = gzip.decompress(body)
        documents = body.count(b"\n") // 2
        self.take("documents", body, documents)
        return _created(documents)


@cache
def _created(documents: int) -> bytes:
    items = b",".join([b'{"create":{"status":201}}'] * documents)
    return b'{"took":1,"errors":false,"items":[' + items + b"]}"


class _Otlp(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    def __init__(self, found: Backends) -> None:
        self._found = found

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401 - grpc has no types
        """One handler for the three services of OTLP, which leaves the message as it is."""
        kind = str(handler_call_details.method).split(".")[3]
        return grpc.unary_unary_rpc_method_handler(partial(self._export, _SIGNALS[kind]))

    async def _export(self, signal: str, body: bytes, _context: object) -> bytes:
        # A metric has points of its own; the Collector's counters say how many those are.
        self._found.take(signal, body, count_records(body))
        return b""


async def main() -> None:
    """Serve until standard input is closed."""
    found = Backends()
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, limit=_HEAD_BYTES_MAX)
    rpc = grpc.aio.server(options=[("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX)])
    rpc.add_generic_rpc_handlers((_Otlp(found),))
    port = rpc.add_insecure_port("127.0.0.1:0")
    await rpc.start()
    sys.stdout.write(f"{port} {server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()
    await rpc.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
