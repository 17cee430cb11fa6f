"""The generator: keeps some connections busy with ready-made requests, one in flight on each."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_RETRY_S: Final = 0.02
_TIMEOUT_S: Final = 60
_ACCEPTED: Final = b"HTTP/1.1 200"
_REFUSED: Final = b"HTTP/1.1 503"


@dataclass(slots=True, kw_only=True)
class Load:
    """What became of the requests."""

    accepted: int = 0
    refused: int = 0
    """Answers 503, after which the same request was sent again."""
    seconds: float = 0.0
    cpu_s: float = 0.0
    """Processor time of the generator."""
    latencies_s: list[float] = field(default_factory=list[float])
    """From the first byte that was sent to the last of the answer; of what was accepted."""


class UnexpectedAnswerError(Exception):
    """The Collector answered neither 200 nor 503."""


def offer(port: int, requests: Sequence[bytes], *, total: int, connections: int) -> Load:
    """Send so many requests in all, taking turns among ``requests``, over so many connections."""
    turns, load, lock = itertools.count(), Load(), threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        accepted = refused = 0
        latencies: list[float] = []
        try:
            with _connected(port) as connection:
                while (turn := next(turns)) < total:
                    request = requests[turn % len(requests)]
                    while True:
                        begun_s = time.perf_counter()
                        if connection.is_accepted(request):
                            break
                        refused += 1
                        time.sleep(_RETRY_S)
                    latencies.append(time.perf_counter() - begun_s)
                    accepted += 1
        except (OSError, UnexpectedAnswerError) as failure:
            failures.append(failure)
        with lock:
            load.accepted += accepted
            load.refused += refused
            load.latencies_s += latencies

    begun_s, cpu_s = time.perf_counter(), time.process_time()
    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    load.seconds = time.perf_counter() - begun_s
    load.cpu_s = time.process_time() - cpu_s
    return load


class _Connection:
    """One connection that stays open."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def is_accepted(self, request: bytes) -> bool:
        self._socket.sendall(request)
        answer = self._socket.recv(65_536)
        while (end := answer.find(b"\r\n\r\n")) < 0:
            answer += self._received()
        size = int(answer[:end].lower().partition(b"content-length:")[2].split(b"\r", 1)[0] or 0)
        while len(answer) < end + 4 + size:
            answer += self._received()
        if answer.startswith(_ACCEPTED):
            return True
        if answer.startswith(_REFUSED):
            return False
        raise UnexpectedAnswerError(answer[:200])

    def _received(self) -> bytes:
        data = self._socket.recv(65_536)
        if not data:
            raise ConnectionResetError("the Collector closed the connection")
        return data


@contextlib.contextmanager
def _connected(port: int) -> Iterator[_Connection]:
    with socket.create_connection(("127.0.0.1", port), timeout=_TIMEOUT_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield _Connection(sock)
