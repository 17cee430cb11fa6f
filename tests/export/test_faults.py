"""The ledger against real sockets that fail in every way: exact at every instant and at the end."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Delivered
from kaizen_otel._export.buffer import Ledger
from kaizen_otel._export.http import HttpTransport
from kaizen_otel._otlp.decode import decode_traces_request
from kaizen_otel.config import EndpointConfig
from tests.export.servers import RawServer, answer
from tests.unit._export.kit import item, make_exporter, names

if TYPE_CHECKING:
    from kaizen_otel._export import Outcome, Signal, Transport
    from kaizen_otel._export.ledger import LedgerSnapshot, SignalLedger

pytestmark = pytest.mark.export

THREADS, ITEMS = 2, 120
CLOCK = SystemClock()
# ExportTraceServiceResponse { partial_success { rejected_spans: 1 } }
ONE_REJECTED = b"\x0a\x02\x08\x01"
Handler = Callable[[socket.socket, int, RawServer], None]
Step = Callable[[socket.socket, bytes, RawServer], bool]


def read_body(connection: socket.socket) -> bytes:
    """Read one request; empty if the client closed instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return b""
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return body


class Sink:
    """A receiver that remembers what it took, also when its answer never reached the sender."""

    def __init__(self) -> None:
        self.held: list[str] = []
        self.turns = count()

    def take(self, body: bytes, *, except_count: int = 0) -> None:
        """Keep a request, without some of its spans."""
        self.held += names(decode_traces_request(body))[except_count:]

    def handler(self, *steps: Step) -> Handler:
        """Each request meets the next step, and then the first again; False hangs up."""

        def handle(connection: socket.socket, number: int, server: RawServer) -> None:
            del number
            while body := read_body(connection):
                if not steps[next(self.turns) % len(steps)](connection, body, server):
                    return

        return handle

    def ok(self, connection: socket.socket, body: bytes, server: RawServer) -> bool:
        self.take(body)
        connection.sendall(answer())
        return True

    def slow(self, connection: socket.socket, body: bytes, server: RawServer) -> bool:
        server.over.wait(0.02)
        return self.ok(connection, body, server)

    def partly(self, connection: socket.socket, body: bytes, server: RawServer) -> bool:
        self.take(body, except_count=1)
        connection.sendall(answer(body=ONE_REJECTED, content_type="application/x-protobuf"))
        return True

    def busy(self, connection: socket.socket, body: bytes, server: RawServer) -> bool:
        connection.sendall(answer(503))
        return True

    def throttle(self, connection: socket.socket, body: bytes, server: RawServer) -> bool:
        connection.sendall(answer(429, retry_after="0"))
        return True

    def refuse(self, connection: socket.socket, body: bytes, server: RawServer) -> bool:
        connection.sendall(answer(400))
        return True

    def reset(self, connection: socket.socket, body: bytes, server: RawServer) -> bool:
        """It took the request, and the connection breaks before the answer."""
        self.take(body)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return False

    def silent(self, connection: socket.socket, body: bytes, server: RawServer) -> bool:
        """It took the request and never answers."""
        self.take(body)
        server.over.wait()
        return False


def half_read(connection: socket.socket, number: int, server: RawServer) -> None:
    """Break the connection in the middle of the request: nothing of it is ever held."""
    del number, server
    connection.recv(200)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half_open(connection: socket.socket, number: int, server: RawServer) -> None:
    """Accept and neither read nor answer."""
    del connection, number
    server.over.wait()


MAKE: dict[str, Callable[[Sink], Handler]] = {
    "well": lambda sink: sink.handler(sink.ok),
    "slow": lambda sink: sink.handler(sink.slow),
    "flapping": lambda sink: sink.handler(sink.ok, sink.busy, sink.reset, sink.ok),
    "429": lambda sink: sink.handler(sink.throttle, sink.ok),
    "503": lambda sink: sink.handler(sink.busy, sink.busy, sink.ok),
    "503 for ever": lambda sink: sink.handler(sink.busy),
    "400 at times": lambda sink: sink.handler(sink.ok, sink.refuse),
    "reset mid-answer": lambda sink: sink.handler(sink.reset, sink.ok),
    "reset mid-request": lambda _: half_read,
    "half-open": lambda _: half_open,
    "silent": lambda sink: sink.handler(sink.silent),
    "partial success": lambda sink: sink.handler(sink.partly),
}
REASONS: dict[str, set[str]] = {
    "well": set(),
    "slow": set(),
    "flapping": set(),
    "429": set(),
    "503": set(),
    "503 for ever": {"retry_exhausted", "shutdown"},
    "400 at times": {"bad_request"},
    "reset mid-answer": set(),
    "reset mid-request": {"unknown", "shutdown"},
    "half-open": {"unknown", "shutdown"},
    "silent": {"unknown", "shutdown"},
    "partial success": {"rejected"},
    "dead": {"retry_exhausted", "shutdown"},
}


NEVER = {"503 for ever", "reset mid-request", "half-open", "silent", "dead"}
"""Servers that will never answer well: nobody waits long for them."""

Make = Callable[[EndpointConfig], "Transport"]


def run(
    port: int, ledger: Ledger, make: Make, *, is_patient: bool
) -> tuple[SignalLedger, list[LedgerSnapshot]]:
    """Offer from several threads while somebody takes snapshots; then shut down."""
    endpoint = EndpointConfig(
        signal="traces",
        endpoint=f"http://127.0.0.1:{port}/v1/traces",
        timeout_ms=20_000 if is_patient else 100,
    )
    exporter, _, _ = make_exporter(
        {"traces": make(endpoint)},
        ledger=ledger,
        batch_size=16,
        retry_elapsed_ms_max=20_000 if is_patient else 150,
        open_more=lambda _: make(endpoint),
    )
    snapshots: list[LedgerSnapshot] = []
    is_over = threading.Event()

    def offer(thread: int) -> None:
        for number in range(ITEMS):
            exporter.offer("traces", item(f"{thread}.{number}"))

    def look() -> None:
        while not is_over.wait(0.0005):
            snapshots.append(ledger.snapshot())

    threads = [threading.Thread(target=offer, args=(number,)) for number in range(THREADS)]
    watcher = threading.Thread(target=look)
    for thread in (watcher, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    exporter.shutdown(20_000 if is_patient else 700)
    is_over.set()
    watcher.join()
    snapshots.append(ledger.snapshot())
    return snapshots[-1].signals["traces"], snapshots


def http(endpoint: EndpointConfig) -> Transport:
    return HttpTransport(endpoint, clock=CLOCK)


def check(scenario: str, *, make: Make = http, ledger: Ledger | None = None) -> None:
    """The claim: exact at every instant, and true about what the server holds."""
    sink, ledger = Sink(), ledger or Ledger()
    if scenario == "dead":
        with socket.socket() as nobody:  # bound and not listening: refused
            nobody.bind(("127.0.0.1", 0))
            last, snapshots = run(nobody.getsockname()[1], ledger, make, is_patient=False)
    else:
        with RawServer(MAKE[scenario](sink)) as server:
            last, snapshots = run(server.port, ledger, make, is_patient=scenario not in NEVER)
    judge(last, snapshots, sink.held, REASONS[scenario])


def judge(
    last: SignalLedger, snapshots: list[LedgerSnapshot], names_held: list[str], reasons: set[str]
) -> None:
    """What must be true of a ledger and a server, whatever happened between them."""
    for snapshot in snapshots:
        assert snapshot.reconciles(), snapshot
    held = len(set(names_held))
    dropped = {reason: number for reason, number in last.dropped.items() if number}
    assert last.offered == THREADS * ITEMS
    assert last.buffered == 0
    assert held >= last.delivered, "what is called delivered is held"
    assert last.offered - held <= sum(dropped.values()), "what is lacking has a reason"
    assert set(dropped) <= reasons
    assert bool(dropped) == bool(reasons), dropped


@pytest.mark.parametrize("scenario", sorted(REASONS))
def test_every_span_is_delivered_or_dropped_under_a_reason_at_every_instant(scenario: str) -> None:
    check(scenario)


class SaysDelivered:
    """The safety taken out: success is claimed and nothing is sent."""

    description = "liar"

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        return Delivered()

    def close(self) -> None:
        """Nothing is open."""


class IgnoresPartialSuccess(HttpTransport):
    """The safety taken out: any 200 counts as full success, as in the stock exporters."""

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        outcome = super().send(signal, body, deadline_ns=deadline_ns)
        return Delivered() if isinstance(outcome, Delivered) else outcome


class BelievesResets(HttpTransport):
    """The safety taken out: a request whose connection broke is taken for delivered."""

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        super().send(signal, body, deadline_ns=deadline_ns)
        return Delivered()


class ForgetsDrops(Ledger):
    """The safety taken out: a drop that is not counted."""

    def dropped(self, signal: Signal, reason: str, count: int) -> None:
        """Count nothing."""


@pytest.mark.parametrize(
    ("scenario", "make"),
    [
        ("well", lambda _: SaysDelivered()),
        ("partial success", lambda endpoint: IgnoresPartialSuccess(endpoint, clock=CLOCK)),
        ("503", lambda endpoint: BelievesResets(endpoint, clock=CLOCK)),
        ("reset mid-request", lambda endpoint: BelievesResets(endpoint, clock=CLOCK)),
    ],
)
def test_the_same_check_catches_a_transport_that_says_delivered_too_early(
    scenario: str, make: Make
) -> None:
    with pytest.raises(AssertionError):
        check(scenario, make=make)


@pytest.mark.parametrize("scenario", ["400 at times", "partial success", "dead"])
def test_the_same_check_catches_a_drop_that_is_not_counted(scenario: str) -> None:
    with pytest.raises(AssertionError):
        check(scenario, ledger=ForgetsDrops())
