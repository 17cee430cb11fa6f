"""Answers probes over HTTP: 200 while the folder can take records, else 503 and the reason."""

from __future__ import annotations

import json
import socket
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._trail.guard import Guard, Readiness

PATH: Final = "/ready"
# Whoever connects and says nothing is let go.
_REQUEST_S: Final = 5.0
_PORT_MAX: Final = 65535


class GuardServer(ThreadingHTTPServer):
    """Serves one guard; ``serve_forever`` until ``shutdown``."""

    daemon_threads = True

    def __init__(
        self, guard: Guard, host: str, port: int, *, say: Callable[[str], object] | None = None
    ) -> None:
        """Take the address.  Raises ``SetupError`` if that cannot be.

        ``say`` is told when the answer becomes another.
        """
        self.guard = guard
        self._say = say
        self._is_ready: bool | None = None
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            what = error.strerror or error
            raise SetupError(f"{host}:{port} cannot be listened on: {what}") from error

    def look(self) -> Readiness:
        """Ask the guard, and tell what is new."""
        found = self.guard.check()
        if found.ready is not self._is_ready:
            self._is_ready = found.ready
            if self._say is not None:
                self._say("ready" if found.ready else f"not ready: {found.reason}")
        return found


class _Handler(BaseHTTPRequestHandler):
    timeout = _REQUEST_S

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != PATH:
            self._answer(404, {"ready": False, "reason": f"only {PATH} is answered"})
            return
        assert isinstance(self.server, GuardServer)
        found = self.server.look()
        self._answer(200 if found.ready else 503, asdict(found))

    def _answer(self, status: int, content: dict[str, object]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """A probe every few seconds is no news."""


def address_of(text: str) -> tuple[str, int]:
    """The host and the port of ``HOST:PORT``.  Raises ``ConfigError``."""
    host, colon, port = text.rpartition(":")
    if not (colon and port.isdecimal() and int(port) <= _PORT_MAX):
        raise ConfigError(f"{text!r} is no address: use HOST:PORT, for example 127.0.0.1:13134")
    return host.strip("[]") or "127.0.0.1", int(port)
