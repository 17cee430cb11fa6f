"""Just enough HTTP/2 (RFC 9113) to send frames that no library would."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING, Final, Self

from tests.collector.attacks.ask import LOGS_METHOD, TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.collector.attacks.target import Door, Target

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, CONTINUATION = 0, 1, 3, 4, 6, 7, 9
END_STREAM: Final = 1
END_HEADERS: Final = 4
CANCEL: Final = b"\0\0\0\x08"
_ERRORS: Final = {
    0: "NO_ERROR",
    1: "PROTOCOL_ERROR",
    3: "FLOW_CONTROL_ERROR",
    7: "REFUSED_STREAM",
    9: "COMPRESSION_ERROR",
    11: "ENHANCE_YOUR_CALM",
}


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return (
        len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
    )


def literal(name: str, value: str, *, index: bool = False) -> bytes:
    """A header field in clear (RFC 7541, section 6.2); with ``index`` it is kept in the table."""
    return (b"\x40" if index else b"\0") + _string(name) + _string(value)


def _string(text: str) -> bytes:
    data = text.encode()
    return _integer(len(data), 7) + data


def _integer(number: int, bits: int) -> bytes:
    most = (1 << bits) - 1
    if number < most:
        return bytes([number])
    out = bytearray([most])
    number -= most
    while number >= 128:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


class Connection:
    """One connection with ALPN h2."""

    def __init__(self, target: Target, door: Door) -> None:
        self.door = door
        self._credentials = {
            name.lower(): value for name, value in target.clients[door].headers.items()
        }
        context = target.tls(door, protocols=("h2",))
        assert context is not None
        plain = socket.create_connection(("127.0.0.1", target.number(door)), timeout=TIMEOUT_S)
        self._socket: ssl.SSLSocket = context.wrap_socket(plain, server_hostname="localhost")
        self.send(PREFACE, frame(SETTINGS, 0, 0))

    def request(self, extra: Sequence[bytes] = (), *, credentials: bool = True) -> bytes:
        """The header block of an export."""
        path = LOGS_METHOD if self.door == "gRPC" else "/v1/logs"
        kind = "application/grpc" if self.door == "gRPC" else "application/x-protobuf"
        pairs = {
            ":method": "POST",
            ":scheme": "https",
            ":path": path,
            ":authority": "localhost",
            "content-type": kind,
            **(self._credentials if credentials else {}),
        }
        return b"".join([*(literal(name, value) for name, value in pairs.items()), *extra])

    def send(self, *frames: bytes) -> bool:
        """Whether the other side still takes bytes."""
        try:
            for each in frames:
                self._socket.sendall(each)
        except OSError:
            return False
        return True

    def end(self, *, streams_only: bool = False) -> str:
        """What ended it: GOAWAY or RST_STREAM with its error, an answer, or ``closed``."""
        data = b""
        try:
            while piece := self._socket.recv(65_536):
                data += piece
                while len(data) >= 9 and len(data) >= 9 + int.from_bytes(data[:3], "big"):
                    length, kind, flags = int.from_bytes(data[:3], "big"), data[3], data[4]
                    payload, data = data[9 : 9 + length], data[9 + length :]
                    if kind == GOAWAY and not streams_only:
                        return f"GOAWAY {_error(payload[4:8])}"
                    if kind == RST:
                        return f"RST_STREAM {_error(payload[:4])}"
                    if kind == HEADERS:
                        return "an error" if flags & END_STREAM else "an answer"
        except TimeoutError:
            return "no answer"
        except OSError:
            pass
        return "closed"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _error(data: bytes) -> str:
    code = int.from_bytes(data, "big")
    return _ERRORS.get(code, str(code))
