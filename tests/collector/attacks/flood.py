"""Who tries to fill memory, connections or time."""

from __future__ import annotations

import gzip
import socket
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache, partial
from typing import TYPE_CHECKING, Final

import grpc

from tests.collector.attacks import http2
from tests.collector.attacks.ask import CLOSED, PROTOBUF, exchange, http, protobuf, rpc
from tests.collector.attacks.attack import Attack, at
from tests.collector.attacks.http2 import Connection, frame, literal
from tests.collector.attacks.malformed import field, nested, request
from tests.collector.attacks.target import OTLP_HTTP, RECEIVERS, Door

if TYPE_CHECKING:
    from tests.collector.attacks.target import Target

_MIB: Final = 1024 * 1024
_GIB: Final = 1024 * _MIB
_BEYOND: Final = 9 * _MIB
"""More than one request may have."""
ALL_DOORS: Final[tuple[Door, ...]] = ("gRPC", "HTTP", "audit", "health", "metrics")
TOO_LARGE: Final[dict[Door, str]] = {
    "gRPC": "RESOURCE_EXHAUSTED",
    "HTTP": "400",
    "audit": "400",
}
_REFUSALS: Final = ("RST_STREAM 6", "an error", "an answer")
Body = Callable[[], bytes]


@cache
def gzip_bomb() -> bytes:
    """1 GiB of zeros: members that follow each other count as one stream (RFC 1952)."""
    return gzip.compress(bytes(_MIB)) * 1024


@cache
def zlib_bomb() -> bytes:
    """1 GiB of zeros, what HTTP calls deflate; its check sum is wrong, but who reads that far?"""
    packer = zlib.compressobj(9)
    first, second = (
        packer.compress(bytes(_MIB)) + packer.flush(zlib.Z_FULL_FLUSH) for _ in range(2)
    )
    return first + second * 1023 + packer.flush()


@cache
def zstd_bomb() -> bytes:
    """1 GiB of zeros as blocks of one repeated byte (RFC 8878, section 3.1.1.2.2)."""
    size = 128 * 1024
    blocks = _GIB // size
    block = size << 3 | 1 << 1
    head = b"\x28\xb5\x2f\xfd" + b"\0" + b"\x38"  # a window of 128 KiB
    middle = (block.to_bytes(3, "little") + b"\0") * (blocks - 1)
    return head + middle + (block | 1).to_bytes(3, "little") + b"\0"


@cache
def beyond() -> bytes:
    """One record that is larger than a request may be."""
    return request(field(5, field(1, b"x" * _BEYOND)))


@cache
def too_deep() -> bytes:
    """Maps in maps: read as a whole, 14 MB of them end the process."""
    return nested(14 * 1000 * 1000)


def sending(
    make: Body, encoding: str = "", *, credentials: bool = True
) -> Callable[[Target, Door], str]:
    """A whole request."""

    def run(target: Target, door: Door) -> str:
        if door == "gRPC":
            compression = grpc.Compression.Gzip if encoding == "gzip" else None
            headers: dict[str, str] | None = None if credentials else {}
            return rpc(target, headers=headers, body=make(), compression=compression)
        lines = f"Content-Encoding: {encoding}\r\n" if encoding else ""
        right = None if credentials else ""
        return http(target, door, body=make(), headers=lines, credentials=right)

    return run


def zeros_by_grpc(target: Target, _: Door, *, credentials: bool) -> str:
    """64 MiB of zeros that gRPC packs into 0.1 MB."""
    headers: dict[str, str] | None = None if credentials else {}
    return rpc(target, headers=headers, body=bytes(64 * _MIB), compression=grpc.Compression.Gzip)


def endless(target: Target, door: Door, *, credentials: bool) -> str:
    """Chunks until nobody reads them; at most 64 MiB."""
    right = target.headers_of(door) if credentials else ""
    head = f"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\n{right}Content-Type: {PROTOBUF}\r\n"

    def pieces() -> Iterator[bytes]:
        yield head.encode() + b"Transfer-Encoding: chunked\r\n\r\n"
        for _ in range(64):
            yield b"100000\r\n" + bytes(_MIB) + b"\r\n"

    return exchange(target.number(door), pieces(), target.tls(door)).status


def declared(target: Target, door: Door, *, credentials: bool) -> str:
    """A Content-Length of 1 TiB and a few bytes."""
    right = target.headers_of(door) if credentials else ""
    head = (
        f"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\n{right}Content-Type: {PROTOBUF}\r\n"
        f"Content-Length: {1 << 40}\r\n\r\n"
    )
    data = head.encode() + (bytes(_BEYOND) if credentials else b"x")
    return exchange(target.number(door), data, target.tls(door)).status


def long_head(target: Target, door: Door) -> str:
    """A header of 4 MiB."""
    head = f"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {'x' * 4 * _MIB}\r\n\r\n"
    return exchange(target.number(door), head.encode(), target.tls(door)).status


def many_headers(target: Target, door: Door) -> str:
    lines = "".join(f"X-{number}: x\r\n" for number in range(200_000))
    head = f"GET / HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n"
    return exchange(target.number(door), head.encode(), target.tls(door)).status


def long_metadata(target: Target, _: Door) -> str:
    return rpc(target, headers={}, extra=[(f"x-{n}", "x" * _MIB) for n in range(20)])


def many_connections(target: Target, door: Door) -> str:
    """200 connections that say nothing, and one that asks."""
    with ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(
                socket.create_connection(("127.0.0.1", target.number(door)), timeout=10)
            )
        return "served" if target.serves_others() else "not served"


def rapid_reset(target: Target, door: Door) -> str:
    """5,000 requests, each taken back at once (CVE-2023-44487)."""
    with Connection(target, door) as connection:
        block = connection.request(credentials=False)
        streams = range(1, 10_000, 2)
        frames = [
            frame(http2.HEADERS, http2.END_HEADERS, stream, block)
            + frame(http2.RST, 0, stream, http2.CANCEL)
            for stream in streams
        ]
        connection.send(*(b"".join(frames[at : at + 50]) for at in range(0, len(frames), 50)))
        return "served" if target.serves_others() else "not served"


def many_streams(target: Target, door: Door) -> str:
    """1,000 requests at a time that never end."""
    with Connection(target, door) as connection:
        block = connection.request()
        for stream in range(1, 2_000, 2):
            if not connection.send(frame(http2.HEADERS, http2.END_HEADERS, stream, block)):
                break
        return connection.end()


def continuation(target: Target, door: Door) -> str:
    """A header block that goes on and on (CVE-2023-45288)."""
    with Connection(target, door) as connection:
        piece = literal("x-more", "x" * 8_000)
        connection.send(frame(http2.HEADERS, 0, 1, connection.request(credentials=False)))
        for _ in range(10_000):
            if not connection.send(frame(http2.CONTINUATION, 0, 1, piece)):
                break
        # Whether GOAWAY is read before the reset of the connection is a matter of luck.
        return "ended" if connection.end().startswith(("GOAWAY", "closed")) else "not ended"


def header_table(target: Target, door: Door) -> str:
    """One header of 4,000 bytes that is named 12,000 times by a byte each (48 MB)."""
    with Connection(target, door) as connection:
        stored = literal("x", "y" * 4_000, index=True)
        block = connection.request([stored, b"\xbe" * 12_000], credentials=False)
        connection.send(frame(http2.HEADERS, http2.END_HEADERS | http2.END_STREAM, 1, block))
        # By HTTP an answer with an error, for there are no credentials.
        return "refused" if connection.end() in _REFUSALS else "not refused"


def pings(target: Target, door: Door) -> str:
    """20,000 pings whose answers nobody reads."""
    with Connection(target, door) as connection:
        for _ in range(400):
            if not connection.send(frame(http2.PING, 0, 0, bytes(8)) * 50):
                break
        return "served" if target.serves_others() else "not served"


def settings(target: Target, door: Door) -> str:
    """20,000 changes of settings."""
    with Connection(target, door) as connection:
        for _ in range(400):
            if not connection.send(frame(http2.SETTINGS, 0, 0) * 50):
                break
        return "served" if target.serves_others() else "not served"


def grpc_message(target: Target, _: Door, *, prefix: bytes) -> str:
    """A message whose own five bytes of head are wrong."""
    with Connection(target, "gRPC") as connection:
        connection.send(
            frame(http2.HEADERS, http2.END_HEADERS, 1, connection.request()),
            frame(http2.DATA, 0, 1, prefix + protobuf()),
        )
        return connection.end()


def both(name: str, run: Callable[..., str], expected: dict[Door, str]) -> tuple[Attack, Attack]:
    """An attack without credentials, and with the right ones."""
    # gRPC reads a message before it asks who sent it, so its size is judged first.
    nobody = {door: expected[door] if door == "gRPC" else "401" for door in expected}
    return (
        Attack(f"{name}, without credentials", nobody, partial(run, credentials=False)),
        Attack(name, expected, partial(run, credentials=True)),
    )


def whole(make: Body, encoding: str = "") -> Callable[..., str]:
    return lambda target, door, *, credentials: sending(make, encoding, credentials=credentials)(
        target, door
    )


_LENGTH: Final = len(protobuf()).to_bytes(4, "big")
SIZE: Final = (
    *both("9 MiB in one request", whole(beyond), TOO_LARGE),
    *both("14 MB of maps in maps", whole(too_deep), TOO_LARGE),
    *both("a declared body of 1 TiB", declared, at(OTLP_HTTP, "400")),
    *both("chunks without end", endless, at(OTLP_HTTP, "400")),
    *both("1 GiB of zeros by gzip", whole(gzip_bomb, "gzip"), at(OTLP_HTTP, "400")),
    *both("1 GiB of zeros by zlib", whole(zlib_bomb, "zlib"), at(OTLP_HTTP, "400")),
    *both("1 GiB of zeros by deflate", whole(zlib_bomb, "deflate"), at(OTLP_HTTP, "400")),
    *both("1 GiB of zeros by zstd", whole(zstd_bomb, "zstd"), at(OTLP_HTTP, "400")),
    *both("64 MiB of zeros by gRPC's gzip", zeros_by_grpc, {"gRPC": "RESOURCE_EXHAUSTED"}),
    Attack("a header of 4 MiB", at(("HTTP", "audit", "health", "metrics"), "431"), long_head),
    Attack("200,000 headers", at(("HTTP", "audit", "health", "metrics"), "431"), many_headers),
    Attack("20 MiB of metadata", {"gRPC": CLOSED}, long_metadata),
)
FRAMES: Final = (
    Attack("200 connections that say nothing", at(ALL_DOORS, "served"), many_connections),
    Attack(
        "5,000 requests, each taken back at once (rapid reset)",
        at(RECEIVERS, "served"),
        rapid_reset,
    ),
    Attack(
        "1,000 requests at a time on one connection",
        at(RECEIVERS, "RST_STREAM REFUSED_STREAM"),
        many_streams,
    ),
    Attack(
        "a header block without end (CONTINUATION)",
        at(RECEIVERS, "ended"),
        continuation,
    ),
    Attack("one header named 12,000 times (HPACK)", at(RECEIVERS, "refused"), header_table),
    Attack("20,000 pings", at(RECEIVERS, "served"), pings),
    Attack("20,000 SETTINGS", at(RECEIVERS, "served"), settings),
    Attack(
        "a gRPC message of 2^32-1 bytes",
        {"gRPC": "an error"},
        partial(grpc_message, prefix=b"\0\xff\xff\xff\xff"),
    ),
    Attack(
        "a gRPC message called compressed, without a name of how",
        {"gRPC": "an error"},
        partial(grpc_message, prefix=b"\1" + _LENGTH),
    ),
    Attack(
        "a gRPC message with an unknown flag",
        {"gRPC": "an error"},
        partial(grpc_message, prefix=b"\7" + _LENGTH),
    ),
)
FLOODS: Final = (*SIZE, *FRAMES)
