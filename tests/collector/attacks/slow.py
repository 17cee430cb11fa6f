"""Who connects and says little or nothing."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.collector.attacks.attack import Attack, at
from tests.collector.attacks.target import OTLP_HTTP, Door

if TYPE_CHECKING:
    from tests.collector.attacks.target import Target

HASTY: Final = Path(__file__).with_name("hasty.yaml")
HEADER_S: Final = 1
BODY_S: Final = 2
_PATIENCE_S: Final = 30
_ENDED: Final = "ended in time"
WITHOUT_TIMES: Final[tuple[Door, ...]] = ("gRPC", "health", "metrics")


def drip(connection: socket.socket, data: bytes) -> float:
    """Send a byte every 100 ms until the other side ends it; how long that took, in seconds."""
    begun = time.monotonic()
    with suppress(OSError):
        for byte in data:
            connection.sendall(bytes([byte]))
            if select.select([connection], [], [], 0.1)[0]:
                while connection.recv(65_536):
                    pass  # an answer; then the end
                break
        else:
            connection.settimeout(_PATIENCE_S)
            while connection.recv(65_536):
                pass
    return time.monotonic() - begun


def judged(took_s: float, at_least_s: float) -> str:
    """Not at once, which would have another reason, and not at the end of our patience."""
    return _ENDED if at_least_s / 2 < took_s < _PATIENCE_S else f"after {took_s:.1f} s"


def silent(target: Target, door: Door) -> str:
    """TCP, and then nothing: not even TLS."""
    address = ("127.0.0.1", target.number(door))
    with socket.create_connection(address, timeout=_PATIENCE_S) as connection:
        assert target.serves_others()
        return judged(drip(connection, b""), HEADER_S)


def dripping(target: Target, door: Door, *, is_head_sent: bool) -> str:
    """TLS, right credentials, and then a byte at a time: of the head, or of the body."""
    head = (
        f"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\n{target.headers_of(door)}"
        "Content-Type: application/x-protobuf\r\nContent-Length: 100000\r\n\r\n"
    ).encode()
    address = ("127.0.0.1", target.number(door))
    context = target.tls(door)
    assert context is not None
    with (
        socket.create_connection(address, timeout=_PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        connection.sendall(head if is_head_sent else head[:40])
        assert target.serves_others()
        return judged(drip(connection, b"x" * 1_000), BODY_S if is_head_sent else HEADER_S)


def held(target: Target, door: Door) -> str:
    """Where no time is set: 50 such connections, and others are served."""
    address = ("127.0.0.1", target.number(door))
    connections = [socket.create_connection(address, timeout=10) for _ in range(50)]
    try:
        for connection in connections:
            connection.sendall(b"GET / HT")
        return "held, others served" if target.serves_others() else "not served"
    finally:
        for connection in connections:
            connection.close()


SLOW: Final = (
    Attack("a connection that says nothing", at(OTLP_HTTP, _ENDED), silent, gateway="hasty"),
    Attack(
        "a head of one byte at a time",
        at(OTLP_HTTP, _ENDED),
        partial(dripping, is_head_sent=False),
        gateway="hasty",
    ),
    Attack(
        "a body of one byte at a time",
        at(OTLP_HTTP, _ENDED),
        partial(dripping, is_head_sent=True),
        gateway="hasty",
    ),
    Attack("50 connections with half a head", at(WITHOUT_TIMES, "held, others served"), held),
)
