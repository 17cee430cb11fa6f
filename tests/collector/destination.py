"""Jaeger, Prometheus, the store and a gateway in one: keeps what it took, and can be away."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from kaizen_otel._otlp.wire import iter_fields
from tests.collector.background import BackgroundServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

_SERVICES = {"trace": "traces", "metrics": "metrics", "logs": "logs"}


class Destination(BackgroundServer):
    """``found`` counts every span's name, log record's body and metric's name that was taken.

    ``doors`` says by which door each came: ``gRPC traces``, ``gRPC metrics``, ``gRPC logs``,
    ``remote write``, ``OTLP metrics``, ``bulk``.
    While ``is_away`` requests are read and not taken: UNAVAILABLE by gRPC, no answer by HTTP.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.found: Counter[str] = Counter()
        self.doors: dict[str, str] = {}
        self.is_away = False
        self.attempts_while_away = 0
        self._documents: set[str] = set()
        self._lock = threading.Lock()
        self._rpc = grpc.server(ThreadPoolExecutor(4))
        self._rpc.add_generic_rpc_handlers((_Otlp(self),))
        self.grpc_port: int = self._rpc.add_insecure_port("127.0.0.1:0")

    def __enter__(self) -> Self:
        self._rpc.start()
        return super().__enter__()

    def __exit__(self, *error: object) -> None:
        self._rpc.stop(None).wait()
        super().__exit__(*error)

    def environment(self) -> dict[str, str]:
        """What leads the shipped configs here."""
        http, rpc = f"http://127.0.0.1:{self.server_port}", f"127.0.0.1:{self.grpc_port}"
        return {
            "JAEGER_OTLP_ENDPOINT": rpc,
            "PROMETHEUS_REMOTE_WRITE_ENDPOINT": f"{http}/api/v1/write",
            "PROMETHEUS_OTLP_ENDPOINT": f"{http}/v1/metrics",
            "ELASTICSEARCH_ENDPOINT": http,
            "KAIZEN_OTEL_GATEWAY_ENDPOINT": rpc,
            "KAIZEN_OTEL_GATEWAY_AUDIT_ENDPOINT": http,
            "KAIZEN_OTEL_GATEWAY_INSECURE": "true",
        }

    def refuses(self) -> bool:
        """Whether it is away; then that is one attempt more."""
        with self._lock:
            self.attempts_while_away += self.is_away
            return self.is_away

    def take(self, door: str, names: Iterator[str]) -> None:
        """Keep what a request held."""
        with self._lock:
            for name in names:
                self.found[name] += 1
                self.doors[name] = door

    def bulk(self, body: bytes) -> bytes:
        """Keep documents by their id, as a data stream does."""
        lines = [json.loads(line) for line in body.splitlines()]
        items: list[dict[str, Any]] = []
        with self._lock:
            for action, document in zip(lines[::2], lines[1::2], strict=True):
                identity = action["create"]["_id"]
                status = 409 if identity in self._documents else 201
                if status == 201:
                    self._documents.add(identity)
                    text = document.get("body", {}).get("text", "")
                    self.found[text] += 1
                    self.doors[text] = "bulk"
                items.append({"create": {"status": status}})
        return json.dumps({"errors": False, "items": items}).encode()


class _Otlp(grpc.GenericRpcHandler):  # type: ignore[misc] # grpc has no types
    def __init__(self, destination: Destination) -> None:
        self._destination = destination

    def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401 - grpc has no types
        signal = _SERVICES[handler_call_details.method.split(".")[3]]
        return grpc.unary_unary_rpc_method_handler(partial(self._export, signal))

    def _export(self, signal: str, body: bytes, context: Any) -> bytes:  # noqa: ANN401
        if self._destination.refuses():
            context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        self._destination.take(f"gRPC {signal}", names_of(signal, body))
        return b""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Destination
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.server.refuses():
            self.close_connection = True
            return
        answer = b""
        if "/_bulk" in self.path:
            answer = self.server.bulk(body)
        elif self.path == "/v1/metrics":
            self.server.take("OTLP metrics", names_of("metrics", body))
        else:
            self.server.take("remote write", written_names(body))
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def names_of(signal: str, body: bytes) -> Iterator[str]:
    """The names of spans and metrics and the bodies of log records in an OTLP request."""
    request: Message
    match signal:
        case "traces":
            request = ExportTraceServiceRequest.FromString(body)
            for spans in request.resource_spans:
                yield from (span.name for scope in spans.scope_spans for span in scope.spans)
        case "metrics":
            request = ExportMetricsServiceRequest.FromString(body)
            for metrics in request.resource_metrics:
                yield from (one.name for scope in metrics.scope_metrics for one in scope.metrics)
        case _:
            request = ExportLogsServiceRequest.FromString(body)
            for logs in request.resource_logs:
                for scope in logs.scope_logs:
                    yield from (record.body.string_value for record in scope.log_records)


def written_names(body: bytes) -> Iterator[str]:
    """The metrics of a remote write request: WriteRequest.timeseries.labels, ``__name__``."""
    for number, _, series in iter_fields(unpacked(body)):
        if number == 1 and isinstance(series, bytes):
            for field, _, label in iter_fields(series):
                if field == 1 and isinstance(label, bytes):
                    pair = {key: value for key, _, value in iter_fields(label)}
                    if pair[1] == b"__name__":
                        yield bytes(pair[2]).decode().removesuffix("_total")


def unpacked(data: bytes) -> bytes:
    """Snappy's block format: a length, then literals and copies of what came before."""
    at, result = 0, bytearray()
    while data[at] & 0x80:
        at += 1
    at += 1
    while at < len(data):
        tag = data[at]
        at += 1
        kind, length = tag & 3, (tag >> 2) + 1
        if kind == 0:
            if length > 60:
                extra = length - 60
                length = int.from_bytes(data[at : at + extra], "little") + 1
                at += extra
            result += data[at : at + length]
            at += length
            continue
        if kind == 1:
            length = ((tag >> 2) & 7) + 4
            offset = (tag >> 5) << 8 | data[at]
            at += 1
        else:
            width = 2 if kind == 2 else 4
            offset = int.from_bytes(data[at : at + width], "little")
            at += width
        for _ in range(length):
            result.append(result[-offset])
    return bytes(result)
