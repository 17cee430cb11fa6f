"""An OTLP/HTTP receiver in memory: a test points an exporter at it and reads what arrived."""

from __future__ import annotations

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Final, Self

from kaizen_otel._otlp.decode import (
    decode_logs_request,
    decode_metrics_request,
    decode_traces_request,
    plain_attributes,
)
from kaizen_otel._render import iter_logs, iter_metrics, iter_spans

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_DECODERS: Final[dict[str, Callable[[bytes], dict[str, Any]]]] = {
    "/v1/traces": decode_traces_request,
    "/v1/metrics": decode_metrics_request,
    "/v1/logs": decode_logs_request,
}
_BODY_BYTES_MAX: Final = 64 * 1024 * 1024


class OtlpCapture:
    """Receives OTLP/HTTP (protobuf) on an ephemeral port of 127.0.0.1 and keeps it decoded.

    ``answer`` is the HTTP status of every answer and may be changed at any time.
    """

    def __init__(self) -> None:
        self.answer = 200
        self.requests: list[tuple[str, dict[str, Any]]] = []
        self.headers: list[dict[str, str]] = []
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )

    @property
    def endpoint(self) -> str:
        """The base URL, for ``OTEL_EXPORTER_OTLP_ENDPOINT`` and ``KAIZEN_OTEL_AUDIT_ENDPOINT``."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> Self:
        """Listen."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening; what was received stays readable."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        """Listen."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self.stop()

    def accept(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Take one request; the HTTP status to answer with."""
        decode = _DECODERS.get(path)
        if decode is None:
            return 404
        if self.answer != 200:  # noqa: PLR2004 - HTTP OK
            return self.answer
        try:
            request = decode(body)
        except ValueError:
            return 400
        with self._lock:
            self.requests.append((path, request))
            self.headers.append(headers)
        return 200

    def spans(self) -> list[dict[str, Any]]:
        """All spans; ``attributes`` and ``resource`` are plain dictionaries."""
        return self._items("/v1/traces", iter_spans)

    def metrics(self) -> list[dict[str, Any]]:
        """All metrics."""
        return self._items("/v1/metrics", iter_metrics)

    def logs(self) -> list[dict[str, Any]]:
        """All log records, audit records among them."""
        return self._items("/v1/logs", iter_logs)

    def _items(self, path: str, iterate: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
        with self._lock:
            requests = [request for where, request in self.requests if where == path]
        return [
            {**item, "attributes": plain_attributes(item.get("attributes")), "resource": resource}
            for request in requests
            for item, resource in iterate(request)
        ]


def _handler(capture: OtlpCapture) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if size > _BODY_BYTES_MAX:
                self._answer(413)
                return
            body = self.rfile.read(size)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            names = {name.lower(): value for name, value in self.headers.items()}
            self._answer(capture.accept(self.path, names, body))

        def _answer(self, status: int) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as above
            """Keep a test's output clean."""

    return Handler
