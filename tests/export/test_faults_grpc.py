"""The ledger against real gRPC servers that fail; TLS, headers and deadlines from the variables."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from threading import Event
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Delivered
from kaizen_otel._export.buffer import Ledger
from kaizen_otel._export.grpc import GrpcTransport
from kaizen_otel._otlp.wire import delimited, varint
from kaizen_otel.config import EndpointConfig
from tests.export.servers import certificates
from tests.export.test_faults import ForgetsDrops, judge, run
from tests.export.test_grpc_transport import full_success, serving

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._export import Outcome, Signal

pytestmark = pytest.mark.export

CLOCK = SystemClock()
CODES = grpc.StatusCode
# google.rpc.Status with a RetryInfo of 2 ms (google/rpc/error_details.proto).
_DELAY = delimited(b"\x0a", b"\x10" + varint(2_000_000))
_TYPE = delimited(b"\x0a", b"type.googleapis.com/google.rpc.RetryInfo")
RETRY_SOON = b"\x08\x08" + delimited(b"\x1a", _TYPE + delimited(b"\x12", _DELAY))
Answer = Callable[[Any, grpc.ServicerContext], Any]


class Sink:
    """A receiver that remembers what it took."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.turns = count()
        self.over = Event()

    def take(self, request: Any, *, except_count: int = 0) -> None:  # noqa: ANN401
        spans = request.resource_spans[0].scope_spans[0].spans
        self.held += [span.name for span in spans][except_count:]

    def ok(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        self.take(request)
        return full_success(request, context)

    def partly(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        self.take(request, except_count=1)
        response = full_success(request, context)
        response.partial_success.rejected_spans = 1
        return response

    def busy(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        context.abort(CODES.UNAVAILABLE, "busy")

    def throttle(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        context.set_trailing_metadata((("grpc-status-details-bin", RETRY_SOON),))
        context.abort(CODES.RESOURCE_EXHAUSTED, "slow down")

    def exhaust(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        context.abort(CODES.RESOURCE_EXHAUSTED, "full")

    def refuse(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        context.abort(CODES.UNAUTHENTICATED, "who are you")

    def silent(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
        self.take(request)
        self.over.wait()
        return full_success(request, context)

    def in_turn(self, *steps: Answer) -> Answer:
        """Each request meets the next step, and then the first again."""

        def answer(request: Any, context: grpc.ServicerContext) -> Any:  # noqa: ANN401
            step = steps[next(self.turns) % len(steps)]
            return step(request, context)

        return answer


SCENARIOS: dict[str, tuple[Callable[[Sink], Answer], set[str]]] = {
    "well": (lambda sink: sink.ok, set()),
    "UNAVAILABLE at times": (lambda sink: sink.in_turn(sink.busy, sink.ok), set()),
    "RetryInfo": (lambda sink: sink.in_turn(sink.throttle, sink.ok), set()),
    "exhausted": (lambda sink: sink.in_turn(sink.ok, sink.exhaust), {"exhausted"}),
    "UNAUTHENTICATED": (lambda sink: sink.refuse, {"unauthenticated"}),
    "partial success": (lambda sink: sink.partly, {"rejected"}),
    "silent": (lambda sink: sink.silent, {"unknown", "shutdown"}),
}


def check(
    scenario: str, *, kind: type[GrpcTransport] = GrpcTransport, ledger: Ledger | None = None
) -> None:
    sink = Sink()
    answering, reasons = SCENARIOS[scenario]

    def make(endpoint: EndpointConfig) -> GrpcTransport:
        place = EndpointConfig(
            signal="traces",
            protocol="grpc",
            endpoint=endpoint.endpoint.removesuffix("/v1/traces"),
            timeout_ms=endpoint.timeout_ms,
        )
        return kind(place, clock=CLOCK)

    with serving(answering(sink)) as (_, port):
        last, snapshots = run(port, ledger or Ledger(), make, is_patient=scenario != "silent")
        sink.over.set()
    judge(last, snapshots, sink.held, reasons)


@pytest.mark.parametrize("scenario", sorted(SCENARIOS))
def test_every_span_is_delivered_or_dropped_under_a_reason_at_every_instant(scenario: str) -> None:
    check(scenario)


class IgnoresPartialSuccess(GrpcTransport):
    """The safety taken out: OK counts as full success."""

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        outcome = super().send(signal, body, deadline_ns=deadline_ns)
        return Delivered() if isinstance(outcome, Delivered) else outcome


def test_the_same_check_catches_a_partial_success_that_is_ignored() -> None:
    with pytest.raises(AssertionError):
        check("partial success", kind=IgnoresPartialSuccess)


def test_the_same_check_catches_a_drop_that_is_not_counted() -> None:
    with pytest.raises(AssertionError):
        check("UNAUTHENTICATED", ledger=ForgetsDrops())


PROGRAM = """
import kaizen_otel
observed = kaizen_otel.observe("tls", enable_audit=False, enable_logging=False,
                               enable_metrics=False)
observed.operations.begin("execute_tool", 1, name="t")
observed.operations.end(1)
arrived = observed.flush(30) if EXPECTED else observed.flush(1)
assert arrived is EXPECTED, observed.ledger()
observed.shutdown(1)
"""


@pytest.mark.parametrize("has_client", [True, False])
def test_mutual_tls_and_headers_work_from_the_variables_alone(
    has_client: bool, tmp_path: Path
) -> None:
    """A client without its certificate is not let in, and the line at the end says so."""
    paths = certificates(tmp_path)

    def read(name: str) -> bytes:
        return (tmp_path / name).read_bytes()

    credentials = grpc.ssl_server_credentials(
        [(read("server.key"), read("server.pem"))], read("authority.pem"), require_client_auth=True
    )
    client = {
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": paths["client"],
        "OTEL_EXPORTER_OTLP_CLIENT_KEY": paths["client_key"],
    }
    with serving(credentials=credentials) as (service, port):
        found = subprocess.run(
            [sys.executable, "-c", PROGRAM.replace("EXPECTED", str(has_client))],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={
                **os.environ,
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_ENDPOINT": f"https://localhost:{port}",
                "OTEL_EXPORTER_OTLP_CERTIFICATE": paths["authority"],
                "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=green%20door",
                **(client if has_client else {}),
            },
        )
        assert found.returncode == 0, found.stderr
        assert len(service.requests) == int(has_client)
        if has_client:
            assert service.metadata["x-tenant"] == "green door"
    assert ("telemetry was dropped" in found.stderr) is not has_client
