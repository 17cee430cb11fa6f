"""An OTLP/HTTP receiver in a process of its own, which counts log records and keeps nothing.

    python -m benchmarks.audit_bench.sink      prints its port, ends when standard input does

``POST /v1/logs`` takes a request, ``GET /`` says how many log records came.  It stands in for the
Collector, so that what the sending process spends on delivery is paid for and measured, and what
a receiver spends is not.
"""

from __future__ import annotations

import asyncio
import gzip
import sys

from kaizen_otel._otlp.wire import LENGTH, iter_fields

_HEAD_BYTES_MAX = 64 * 1024
# ExportLogsServiceRequest.resource_logs, ResourceLogs.scope_logs, ScopeLogs.log_records.
_PATH = (1, 2, 2)


def count_records(data: bytes, path: tuple[int, ...] = _PATH) -> int:
    """Return how many log records a request holds."""
    found = (
        value
        for field, wire_type, value in iter_fields(data)
        if field == path[0] and wire_type == LENGTH
    )
    if len(path) == 1:
        return sum(1 for _ in found)
    return sum(count_records(value, path[1:]) for value in found if isinstance(value, bytes))


class Sink:
    """What came so far."""

    def __init__(self) -> None:
        self.count = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it is closed."""
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(await self._answer(head.lower(), reader))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, head: bytes, reader: asyncio.StreamReader) -> bytes:
        if head.startswith(b"get"):
            text = str(self.count).encode()
            return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
        size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or 0)
        body = await reader.readexactly(size)
        if b"content-encoding: gzip" in head:
            body = gzip.decompress(body)
        self.count += count_records(body)
        return (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
        )


async def main() -> None:
    """Serve until standard input is closed."""
    server = await asyncio.start_server(Sink().serve, "127.0.0.1", 0, limit=_HEAD_BYTES_MAX)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
