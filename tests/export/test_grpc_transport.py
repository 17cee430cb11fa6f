"""The OTLP/gRPC transport against a real grpcio server, and against ports that are none."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import (
    metrics_service_pb2,
    metrics_service_pb2_grpc,
)
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._export.grpc import GrpcTransport
from kaizen_otel._export.transports import open_transport
from kaizen_otel._otlp.common import encode_request
from kaizen_otel._otlp.wire import delimited, varint
from kaizen_otel.config import EndpointConfig
from kaizen_otel.errors import ConfigError
from tests.export.servers import RawServer, certificates
from tests.unit._export.kit import item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel._export import Outcome, Signal

CLOCK = SystemClock()
SLACK_MS = 5_000


class Service:
    """Answers all three services: with ``answer`` for each request."""

    def __init__(self, answer: Callable[[Any, grpc.ServicerContext], Any]) -> None:
        self.requests: list[Any] = []
        self.metadata: dict[str, str] = {}
        self._answer = answer

    def Export(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802, ANN401
        self.requests.append(request)
        self.metadata = dict(context.invocation_metadata())
        return self._answer(request, context)


def full_success(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
    del context
    kinds = {
        "ExportTraceServiceRequest": trace_service_pb2.ExportTraceServiceResponse,
        "ExportMetricsServiceRequest": metrics_service_pb2.ExportMetricsServiceResponse,
        "ExportLogsServiceRequest": logs_service_pb2.ExportLogsServiceResponse,
    }
    return kinds[type(request).__name__]()


@contextmanager
def serving(
    answer: Callable[[Any, grpc.ServicerContext], Any] = full_success,
    *,
    credentials: grpc.ServerCredentials | None = None,
    options: tuple[tuple[str, int], ...] = (),
    port: int = 0,
) -> Iterator[tuple[Service, int]]:
    service = Service(answer)
    server = grpc.server(ThreadPoolExecutor(4), options=options)
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    address = f"127.0.0.1:{port}"
    port = (
        server.add_insecure_port(address)
        if credentials is None
        else server.add_secure_port(address, credentials)
    )
    server.start()
    try:
        yield service, port
    finally:
        server.stop(None).wait()


def transport(
    port: int, *, scheme: str = "http", host: str = "127.0.0.1", **options: object
) -> GrpcTransport:
    endpoint = EndpointConfig(
        signal="traces",
        protocol="grpc",
        endpoint=f"{scheme}://{host}:{port}",
        **options,  # type: ignore[arg-type]
    )
    found = open_transport(endpoint, clock=CLOCK)
    assert isinstance(found, GrpcTransport)
    return found


def request(signal: Signal = "traces") -> bytes:
    one = item("hello", signal=signal)
    return encode_request([(one.resource, one.scope, "", [one.data])])


def send(
    to: GrpcTransport, body: bytes | None = None, *, signal: Signal = "traces",
    timeout_ms: int = 20_000,
) -> Outcome:  # fmt: skip
    start_ns = CLOCK.monotonic_ns()
    body = request(signal) if body is None else body
    outcome = to.send(signal, body, deadline_ns=start_ns + timeout_ms * 1_000_000)
    assert (CLOCK.monotonic_ns() - start_ns) / 1e6 < timeout_ms + SLACK_MS
    return outcome


def test_each_signal_reaches_its_service_with_headers_and_compression() -> None:
    with serving() as (service, port):
        to = transport(port, headers=(("X-Api-Key", "k"),), compression="gzip")
        for signal in ("traces", "metrics", "logs"):
            assert send(to, signal=signal) == Delivered()
            assert service.metadata["x-api-key"] == "k"
            assert "kaizen-otel" in service.metadata["user-agent"]
        traces, metrics, logs = service.requests
        assert traces.resource_spans[0].scope_spans[0].spans[0].name == "hello"
        assert metrics.resource_metrics[0].scope_metrics[0].metrics[0].name == "hello"
        record = logs.resource_logs[0].scope_logs[0].log_records[0]
        assert record.body.string_value == "hello"
        to.close()
        to.close()
        assert send(to) == Delivered(), "it can be used again after close"
        to.close()


def test_partial_success_is_read() -> None:
    def partly(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        response = full_success(request, context)
        response.partial_success.rejected_spans = 2
        response.partial_success.error_message = "old"
        return response

    with serving(partly) as (_, port):
        to = transport(port)
        assert send(to) == Delivered(rejected_count=2, message="old")
        to.close()


def failing(
    code: grpc.StatusCode, details: str = "", status: bytes | None = None
) -> Callable[[Any, grpc.ServicerContext], Any]:
    def fail(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        del request
        if status is not None:
            context.set_trailing_metadata((("grpc-status-details-bin", status),))
        context.abort(code, details)

    return fail


CODES = grpc.StatusCode


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (CODES.CANCELLED, "unavailable"),
        (CODES.DEADLINE_EXCEEDED, "timeout"),
        (CODES.ABORTED, "unavailable"),
        (CODES.OUT_OF_RANGE, "unavailable"),
        (CODES.UNAVAILABLE, "unavailable"),
        (CODES.DATA_LOSS, "unavailable"),
    ],
)
def test_codes_that_may_be_retried(code: grpc.StatusCode, reason: str) -> None:
    with serving(failing(code, "server is busy")) as (_, port):
        to = transport(port)
        outcome = send(to)
        to.close()
    assert isinstance(outcome, Retryable)
    assert outcome.reason == reason


@pytest.mark.parametrize(
    ("code", "reason", "words"),
    [
        (CODES.UNAUTHENTICATED, "unauthenticated", "OTEL_EXPORTER_OTLP_HEADERS"),
        (CODES.PERMISSION_DENIED, "forbidden", "OTEL_EXPORTER_OTLP_HEADERS"),
        (CODES.INVALID_ARGUMENT, "bad_request", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (CODES.UNIMPLEMENTED, "not_found", "OTEL_TRACES_EXPORTER=none"),
        (CODES.INTERNAL, "internal", "log"),
        (CODES.UNKNOWN, "server_error", "log"),
        (CODES.NOT_FOUND, "server_error", "log"),
        (CODES.RESOURCE_EXHAUSTED, "exhausted", "does not say when"),
    ],
)
def test_codes_that_must_not_be_retried(code: grpc.StatusCode, reason: str, words: str) -> None:
    with serving(failing(code, "because of\nthis")) as (_, port):
        to = transport(port)
        outcome = send(to)
        to.close()
    assert isinstance(outcome, Rejected)
    assert outcome.reason == reason
    assert words in outcome.message
    assert "because of this" in outcome.message


def retry_info(seconds: int) -> bytes:
    duration = b"\x08" + varint(seconds)
    any_value = delimited(b"\x0a", b"type.googleapis.com/google.rpc.RetryInfo") + delimited(
        b"\x12", delimited(b"\x0a", duration)
    )
    return b"\x08\x08" + delimited(b"\x1a", any_value)


def test_exhausted_with_retry_info_may_be_retried_then() -> None:
    with serving(failing(CODES.RESOURCE_EXHAUSTED, "slow down", retry_info(3))) as (_, port):
        to = transport(port)
        outcome = send(to)
        to.close()
    assert isinstance(outcome, Retryable)
    assert (outcome.reason, outcome.retry_after_ms) == ("throttled", 3000)


def test_malformed_retry_info_is_none() -> None:
    with serving(failing(CODES.RESOURCE_EXHAUSTED, "slow down", b"\xff")) as (_, port):
        to = transport(port)
        assert isinstance(send(to), Rejected)
        to.close()


def test_a_message_over_the_servers_limit_is_too_large() -> None:
    with serving(options=(("grpc.max_receive_message_length", 100),)) as (_, port):
        to = transport(port)
        outcome = send(to, request() * 50)
        to.close()
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "too_large"


def test_a_server_that_hangs_cannot_hold_us() -> None:
    over = threading.Event()

    def hang(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        over.wait()
        return full_success(request, context)

    with serving(hang) as (_, port):
        to = transport(port, timeout_ms=200)
        outcome = send(to, timeout_ms=60_000)
        assert send(to, timeout_ms=0) != Delivered()
        over.set()
        to.close()
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "timeout"
    assert "OTEL_EXPORTER_OTLP_TIMEOUT" in outcome.message


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_server_that_is_not_there_names_the_endpoint_setting(host: str) -> None:
    to = transport(1, host=host)
    outcome = send(to)
    to.close()
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "unreachable"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in outcome.message


def test_it_finds_the_server_when_it_comes_back() -> None:
    with serving() as (_, port):
        to = transport(port)
        assert send(to) == Delivered()
    assert isinstance(send(to, timeout_ms=2000), Retryable)
    service = Service(full_success)
    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(service, server)  # type: ignore[no-untyped-call]
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    end_ns = CLOCK.monotonic_ns() + 20 * 10**9
    never = threading.Event()
    while send(to, timeout_ms=2000) != Delivered():
        assert CLOCK.monotonic_ns() < end_ns
        never.wait(0.05)
    server.stop(None)
    to.close()


def speaking(raw: bytes) -> Callable[[socket.socket, int, RawServer], None]:
    def handle(connection: socket.socket, number: int, server: RawServer) -> None:
        del number
        connection.recv(4096)
        connection.sendall(raw)
        # Closing with unread data resets the connection and may take the answer with it.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(4096) and not server.over.is_set():
            pass

    return handle


@pytest.mark.parametrize("raw", [b"HTTP/1.1 400 Bad Request\r\n\r\n400 Bad Request", b""])
def test_a_port_that_speaks_no_grpc_names_the_protocol_setting(raw: bytes) -> None:
    with RawServer(speaking(raw)) as server:
        to = transport(server.port)
        outcome = send(to, timeout_ms=10_000)
        to.close()
    assert isinstance(outcome, Rejected if raw else Retryable)
    assert "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf" in outcome.message


def test_tls_with_our_own_authority_and_with_a_client_certificate(tmp_path: Path) -> None:
    paths = certificates(tmp_path)

    def read(name: str) -> bytes:
        return Path(paths[name]).read_bytes()

    credentials = grpc.ssl_server_credentials(
        [(read("server_key"), read("server"))],
        root_certificates=read("authority"),
        require_client_auth=True,
    )
    with serving(credentials=credentials) as (_, port):
        client = {
            "certificate": paths["authority"],
            "client_certificate": paths["client"],
            "client_key": paths["client_key"],
        }
        to = transport(port, scheme="https", host="localhost", **client)
        assert send(to) == Delivered()
        to.close()


def test_a_certificate_is_verified(tmp_path: Path) -> None:
    paths = certificates(tmp_path)
    pair = (Path(paths["server_key"]).read_bytes(), Path(paths["server"]).read_bytes())
    credentials = grpc.ssl_server_credentials([pair])
    with serving(credentials=credentials) as (service, port):
        to = transport(port, scheme="https", host="localhost")
        outcome = send(to)
        to.close()
        assert service.requests == []
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "tls"
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in outcome.message


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"endpoint": "localhost:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"endpoint": "https://x:1", "certificate": "/no"}, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ({"endpoint": "https://x:1", "client_key": "/no"}, "OTEL_EXPORTER_OTLP_CLIENT_KEY"),
    ],
)
def test_settings_that_cannot_be_used_are_named_at_once(
    options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        GrpcTransport(EndpointConfig(signal="traces", protocol="grpc", **options), clock=CLOCK)


def test_a_header_that_grpc_refuses_names_the_setting_and_not_the_value() -> None:
    to = transport(1, headers=(("bad key", "secret"),))
    outcome = send(to)
    to.close()
    assert isinstance(outcome, Rejected)
    assert "OTEL_EXPORTER_OTLP_HEADERS" in outcome.message
    assert "secret" not in outcome.message


def test_the_description_holds_no_credentials() -> None:
    to = transport(1, host="user:pass@host")
    assert to.description == "http://host:1 (gRPC)"


def test_a_channel_of_another_process_is_never_used() -> None:
    with serving() as (service, port):
        to = transport(port)
        assert send(to) == Delivered()
        parent, to._process_id = to._channel, -1  # as if this were the parent's child
        assert send(to) == Delivered()
        assert to._channel is not parent
        assert len(service.requests) == 2
        parent.close()
        to.close()


def test_an_answer_that_is_no_otlp_is_delivered_and_says_so() -> None:
    class Handler(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio is untyped
        def service(self, handler_call_details: Any) -> Any:  # noqa: ANN401
            del handler_call_details
            return grpc.unary_unary_rpc_method_handler(lambda *_: b"\xff\xff")

    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers((Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    to = transport(port)
    outcome = send(to)
    to.close()
    server.stop(None)
    assert isinstance(outcome, Delivered)
    assert not outcome.is_otlp
    assert "not OTLP" in outcome.message


def test_a_connection_that_breaks_during_the_call_is_retryable() -> None:
    with serving(lambda *_: over.wait()) as (_, port):
        over, started = threading.Event(), threading.Event()
        proxy = RawServer(lambda c, _, s: relay(c, port, started, s))
        with proxy:
            to = transport(proxy.port)
            results: list[Outcome] = []
            thread = threading.Thread(target=lambda: results.append(send(to)))
            thread.start()
            assert started.wait(20)
            proxy.over.set()
            thread.join()
            to.close()
        over.set()
    (outcome,) = results
    assert isinstance(outcome, Retryable)
    assert outcome.reason in {"timeout", "unavailable"}


def relay(client: socket.socket, port: int, started: threading.Event, server: RawServer) -> None:
    """Carry bytes both ways until the test is over, then break off."""
    with socket.create_connection(("127.0.0.1", port)) as upstream:
        client.settimeout(0.05)
        upstream.settimeout(0.05)
        while not server.over.is_set():
            for source, target in ((client, upstream), (upstream, client)):
                try:
                    data = source.recv(65536)
                except TimeoutError:
                    continue
                target.sendall(data)
                if source is client and b"hello" in data:
                    started.set()


PROGRAM = """
import sys
sys.modules["grpc"] = None  # as if it were not installed
from kaizen_otel._edges import SystemClock
from kaizen_otel._export.transports import open_transport
from kaizen_otel.config import EndpointConfig
from kaizen_otel.errors import NotEnabledError
open_transport(EndpointConfig(signal="traces"), clock=SystemClock())
try:
    open_transport(EndpointConfig(signal="traces", protocol="grpc", endpoint="http://x:1"),
                   clock=SystemClock())
except NotEnabledError as error:
    print(error)
"""


def test_without_grpcio_the_error_names_the_extra_and_http_works() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60
    )
    assert "pip install 'kaizen-otel[grpc]'" in found.stdout


def test_http_loads_no_grpc_and_no_protobuf() -> None:
    program = (
        "import sys\n"
        "from kaizen_otel._edges import SystemClock\n"
        "from kaizen_otel._export import exporter, transports\n"
        "from kaizen_otel.config import EndpointConfig\n"
        "transports.open_transport(EndpointConfig(signal='traces'), clock=SystemClock())\n"
        "print([m for m in sys.modules if m.split('.')[0] in {'grpc', 'google'}])\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.strip() == "[]"
