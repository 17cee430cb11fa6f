"""Right credentials, wrong bytes: protobuf, JSON, encodings, HTTP that servers read differently."""

from __future__ import annotations

import gzip
import json
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.collector.attacks.ask import JSON, PROTOBUF, exchange, http, protobuf, rpc
from tests.collector.attacks.attack import Attack, at
from tests.collector.attacks.target import OTLP_HTTP, Door
from tests.collector.otlp_json import logs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.collector.attacks.target import Target

_VARINT: Final = 0
_BYTES: Final = 2
PLAIN_DOORS: Final[tuple[Door, ...]] = ("HTTP", "audit", "health", "metrics")


def varint(number: int) -> bytes:
    """A number as protobuf has it."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def field(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | _BYTES) + varint(len(content)) + content


def request(record: bytes) -> bytes:
    """ExportLogsServiceRequest of one record that is given in bytes."""
    return field(1, field(2, field(2, record)))


def nested(size: int, path: Iterable[int] = (6, 1, 2)) -> bytes:
    """A body of maps in maps (or, by 5 and 1, lists in lists) as deep as fits into ``size``."""
    fields = [number << 3 | _BYTES for number in reversed(tuple(path))]
    parts: list[bytes] = []
    length = 0
    while length < size - 100:
        for tag in fields:
            parts.append(bytes([tag]) + varint(length))
            length += len(parts[-1])
    return request(field(5, b"".join(reversed(parts))))


def body(content: bytes, content_type: str = PROTOBUF, headers: str = "") -> partial[str]:
    """A request with right credentials and this body."""

    def run(target: Target, door: Door, content: bytes) -> str:
        if door == "gRPC":
            return rpc(target, body=content)
        return http(target, door, body=content, content_type=content_type, headers=headers)

    return partial(run, content=content)


BAD: Final[dict[Door, str]] = {"gRPC": "INTERNAL", "HTTP": "400", "audit": "400"}


def deep_json(levels: int) -> bytes:
    value = '{"arrayValue":{"values":[' * levels + "{}" + "]}}" * levels
    return ('{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":' + value + "}]}]}]}").encode()


PROTOBUFS: Final = (
    Attack("protobuf that is cut off", BAD, body(protobuf()[:-3])),
    Attack("protobuf with other wire types", BAD, body(b"\x08\x01\x12\x00")),
    Attack("protobuf with a group that never ends", BAD, body(b"\x0b" * 1000)),
    Attack("protobuf with a length of 2^31", BAD, body(b"\x0a" + varint(1 << 31))),
    Attack("protobuf with a length of 2^63", BAD, body(b"\x0a" + varint(1 << 63))),
    Attack("protobuf with a number of 11 bytes", BAD, body(b"\x80" * 10 + b"\x01")),
    Attack("a trace id of 3 bytes", BAD, body(request(field(9, b"abc")))),
    Attack("random bytes", BAD, body(bytes(range(255, 0, -1)) * 40)),
)
JSONS: Final = (
    Attack("JSON that is cut off", at(OTLP_HTTP, "400"), body(b'{"resourceLogs":[{', JSON)),
    Attack("JSON of other types", at(OTLP_HTTP, "400"), body(b'{"resourceLogs":"x"}', JSON)),
    Attack(
        "lists nested 5,000 deep in a body",
        {"audit": "200"},
        body(deep_json(5_000), JSON),
        comes_in=1,
    ),
    Attack("JSON lists nested 1,000,000 deep", at(OTLP_HTTP, "400"), body(b"[" * 1_000_000, JSON)),
    Attack(
        "JSON with a number of 100,000 digits",
        at(OTLP_HTTP, "400"),
        body(
            b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":'
            + b"9" * 100_000
            + b"}]}]}]}",
            JSON,
        ),
    ),
    Attack(
        "JSON in UTF-16",
        at(OTLP_HTTP, "500"),
        body(json.dumps(logs("x")).encode("utf-16"), JSON),
    ),
)
TYPES: Final = (
    *(
        Attack(f"content type {title}", at(OTLP_HTTP, "415"), body(protobuf(), content_type))
        for title, content_type in (
            ("`text/xml`", "text/xml"),
            ("of a form", "application/x-www-form-urlencoded"),
            ("of a file upload", "multipart/form-data; boundary=x"),
        )
    ),
    Attack("no content type", at(OTLP_HTTP, "415"), body(protobuf(), "")),
    Attack("protobuf called JSON", at(OTLP_HTTP, "400"), body(protobuf(), JSON)),
    Attack("JSON called protobuf", at(OTLP_HTTP, "400"), body(json.dumps(logs("x")).encode())),
    Attack(
        "an encoding that nobody knows",
        at(OTLP_HTTP, "400"),
        body(protobuf(), headers="Content-Encoding: aes128gcm\r\n"),
    ),
    Attack(
        "two encodings, one in the other",
        at(OTLP_HTTP, "400"),
        body(gzip.compress(gzip.compress(protobuf())), headers="Content-Encoding: gzip, gzip\r\n"),
    ),
    Attack(
        "gzip in gzip, called gzip",
        at(OTLP_HTTP, "400"),
        body(gzip.compress(gzip.compress(protobuf())), headers="Content-Encoding: gzip\r\n"),
    ),
    Attack(
        "plain bytes called gzip",
        at(OTLP_HTTP, "400"),
        body(protobuf(), headers="Content-Encoding: gzip\r\n"),
    ),
    Attack(
        "gzip that is cut off",
        at(OTLP_HTTP, "400"),
        body(gzip.compress(protobuf())[:-9], headers="Content-Encoding: gzip\r\n"),
    ),
)


def raw(*lines: str, content: bytes = b"") -> partial[str]:
    """A request line and headers as they are; ``{credentials}`` stands for the right ones."""

    def run(target: Target, door: Door, lines: tuple[str, ...]) -> str:
        credentials = target.headers_of(door if door in OTLP_HTTP else "HTTP").strip()
        head = "\r\n".join(lines).replace("{credentials}", credentials) + "\r\n\r\n"
        return exchange(
            target.number(door), head.encode("latin-1") + content, target.tls(door)
        ).status

    return partial(run, lines=lines)


_POST: Final = ("POST /v1/logs HTTP/1.1", "Host: localhost", "{credentials}")
_KIND: Final = f"Content-Type: {PROTOBUF}"
_INNER: Final = (
    b"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
    b"Content-Length: " + str(len(protobuf())).encode() + b"\r\n\r\n" + protobuf()
)


def smuggled(target: Target, door: Door) -> str:
    """Two lengths: a proxy that goes by Content-Length would see one request, here are two."""
    head = (
        f"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\n{target.headers_of(door)}"
        f"{_KIND}\r\nContent-Length: {5 + len(_INNER)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    data = head.encode() + b"0\r\n\r\n" + _INNER
    return exchange(target.number(door), data, target.tls(door)).status


ALL_400: Final = at(PLAIN_DOORS, "400")
HTTP: Final = (
    Attack(
        "two Content-Length",
        ALL_400,
        raw(*_POST, _KIND, "Content-Length: 5", "Content-Length: 6", content=b"abcdef"),
    ),
    Attack("a negative Content-Length", ALL_400, raw(*_POST, _KIND, "Content-Length: -1")),
    Attack("Content-Length with a sign", ALL_400, raw(*_POST, _KIND, "Content-Length: +5")),
    Attack(
        "a space before the colon of a header",
        ALL_400,
        raw(*_POST, _KIND, "Transfer-Encoding : chunked", content=b"0\r\n\r\n"),
    ),
    Attack(
        "a header line that goes on in the next",
        {**at(OTLP_HTTP, "200"), "health": "200", "metrics": "404"},
        raw(*_POST, _KIND, "X-Folded: a", "\tTransfer-Encoding: chunked", content=b"0\r\n\r\n"),
    ),
    Attack(
        "an unknown Transfer-Encoding",
        at(PLAIN_DOORS, "501"),
        raw(*_POST, _KIND, "Transfer-Encoding: xchunked", content=b"0\r\n\r\n"),
    ),
    Attack(
        "two Transfer-Encodings",
        at(PLAIN_DOORS, "501"),
        raw(*_POST, _KIND, "Transfer-Encoding: chunked, identity", content=b"0\r\n\r\n"),
    ),
    Attack(
        "a chunk of 2^64 bytes",
        at(OTLP_HTTP, "400"),
        raw(
            *_POST,
            _KIND,
            "Transfer-Encoding: chunked",
            content=b"1" + b"0" * 16 + b"\r\nabc\r\n0\r\n\r\n",
        ),
    ),
    Attack(
        "a second request behind Content-Length and Transfer-Encoding",
        at(OTLP_HTTP, "200"),
        smuggled,
    ),
    Attack("a byte 0 in a header", ALL_400, raw(*_POST, "X-Name: a\0b")),
    Attack("a header without a name", ALL_400, raw(*_POST, ": value")),
    Attack("no Host", ALL_400, raw("POST /v1/logs HTTP/1.1", "{credentials}")),
    Attack("two Hosts", ALL_400, raw(*_POST, "Host: elsewhere")),
    Attack("HTTP/3.7", at(PLAIN_DOORS, "505"), raw("GET / HTTP/3.7", "Host: localhost")),
    Attack("no request line", ALL_400, raw("\x16\x03\x01 nothing", "Host: localhost")),
    Attack(
        "a switch to HTTP/2 (`Upgrade: h2c`)",
        at(OTLP_HTTP, "400"),
        raw(
            *_POST,
            _KIND,
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA",
            "Content-Length: 1",
            content=b"x",
        ),
    ),
)
MALFORMED: Final = (*PROTOBUFS, *JSONS, *TYPES, *HTTP)
