"""A receiver of OTLP over HTTP that misbehaves as told, and may lose its machine's memory."""

from __future__ import annotations

import socket
import struct
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from tests.campaigns.kit import ids_in_request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

# ExportLogsServiceResponse{partial_success{rejected_log_records: 1, error_message: "full"}}
PARTIAL: Final = b"\x0a\x08\x08\x01\x12\x04full"
# ExportLogsServiceResponse{partial_success{error_message: "slow"}}: taken, with a warning
WARNING: Final = b"\x0a\x06\x12\x04slow"

PROTOBUF: Final = "application/x-protobuf"

#: What is sent before the connection ends.
_BREAKS: Final = {
    "hang": b"",
    "close": b"",
    "reset": b"",
    "cut head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "no http": b"+OK POP3 server ready\r\n",
}
_BODIES: Final = {
    "cut": (PROTOBUF, b"\x0a"),
    "partial": (PROTOBUF, PARTIAL),
    "warning": (PROTOBUF, WARNING),
    "text": ("text/plain", b"OK, whatever you say"),
    "html": ("text/html", b"<html>Log in first</html>"),
}

#: Every way in which a request may not be taken.
BEHAVIOURS: Final = (
    "301", "302", "307", "308", "401", "403", "404", "408", "409", "429", "500", "502", "503",
    "504", "hang", "close", "reset", "cut", "cut head", "partial", "text", "html", "no http",
    "taken and reset", "taken and hang",
)  # fmt: skip


class Receiver(ThreadingHTTPServer):
    """Answers each request as ``choose`` says (``well`` or one of ``BEHAVIOURS``).

    ``ids`` holds what it took, which is what it said yes to; a record may be there more than
    once.  ``forget`` drops what came since a moment and every connection, as a machine does that
    loses its power and comes back.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((host, port), _Handler)
        self._host = host
        self.choose: Callable[[], str] = lambda: "well"
        self.ids: list[str] = []
        self.requests = 0
        self.empty = 0
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://{self._host}:{self.server_port}"

    def forget(self, since: int) -> list[str]:
        """Lose what was taken from the ``since``-th on, and reset every connection."""
        with self.lock:
            lost = self.ids[since:]
            del self.ids[since:]
            for connection in self._open:
                reset(connection)
            self._open.clear()
        return lost

    def note_open(self, connection: socket.socket) -> None:
        with self.lock:
            self._open.add(connection)

    def note_closed(self, connection: socket.socket) -> None:
        with self.lock:
            self._open.discard(connection)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: connections break here all the time."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()
        self._thread.join(10)

    def _serve(self) -> None:
        self.serve_forever(poll_interval=0.02)


def reset(connection: socket.socket) -> None:
    """End a connection with RST."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RD)
        connection.close()
    except OSError:
        return


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name
        """Say nothing."""

    def setup(self) -> None:
        super().setup()
        self._receiver().note_open(self.connection)

    def finish(self) -> None:
        self._receiver().note_closed(self.connection)
        super().finish()

    def _receiver(self) -> Receiver:
        assert isinstance(self.server, Receiver)
        return self.server

    def do_POST(self) -> None:
        receiver = self._receiver()
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = ids_in_request(body)
        with receiver.lock:
            receiver.requests += 1
            receiver.empty += not found
            behaviour = receiver.choose()
            if behaviour in {"well", "warning"} or behaviour.startswith("taken"):
                receiver.ids += found
        self._answer(behaviour.removeprefix("taken and "), receiver)

    def _answer(self, behaviour: str, receiver: Receiver) -> None:
        self.close_connection = behaviour in _BREAKS or behaviour == "cut"
        if behaviour in _BREAKS:
            if behaviour == "hang":
                receiver.ended.wait(1)
            self.wfile.write(_BREAKS[behaviour])
            if behaviour == "reset":
                reset(self.connection)
            return
        status = int(behaviour) if behaviour.isdigit() else 200
        kind, body = _BODIES.get(behaviour, (PROTOBUF, b""))
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "http://127.0.0.1:9/")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) + 500 * (behaviour == "cut")))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Take everything on an address; write each id to a file before the answer goes out."""
    host, path = sys.argv[1:]
    with Receiver(host=host) as receiver, Path(path).open("a", encoding="ascii") as taken:

        class Ids(list[str]):
            def __iadd__(self, found: Iterable[str]) -> Self:  # type: ignore[override,misc]
                taken.write("".join(f"{one}\n" for one in found))
                taken.flush()
                return self

        receiver.ids = Ids()
        sys.stdout.write(receiver.url + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
