"""A connected socket that keeps one deadline over any number of reads and writes.

``socket.settimeout`` bounds each call, so a server that sends one byte a second would hold a
client for ever.  Here every call gets what is left of the deadline.
"""

from __future__ import annotations

import codecs
import io
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import ssl

    from _typeshed import WriteableBuffer

    from kaizen_otel._edges import Clock

_CHUNK_SIZE: Final = 64 * 1024
_TIMEOUT_MIN_S: Final = 0.001

# Looking a host name up loads this codec.  If another thread is loading it when the process forks,
# the child can never load it ("unknown encoding: idna"), so it is loaded before anyone can fork.
codecs.lookup("idna")


def timeout_s(clock: Clock, deadline_ns: int) -> float:
    """Return what is left until the deadline.  Raises ``TimeoutError`` if nothing is."""
    left_ns = deadline_ns - clock.monotonic_ns()
    if left_ns <= 0:
        raise TimeoutError("the deadline has passed")
    return max(left_ns / 1e9, _TIMEOUT_MIN_S)


def connect(host: str, port: int, *, clock: Clock, deadline_ns: int) -> socket.socket:
    """Connect to the first address of ``host`` that answers, within the deadline.

    Raises ``OSError``.  The name look-up itself has no time-out: the C library offers none.
    """
    error: OSError = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM
    ):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout_s(clock, deadline_ns))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as failure:
            connection.close()
            error = failure
        else:
            return connection
    raise error


class DeadlineStream:
    """What ``http.client`` needs of a socket.  Set ``deadline_ns`` before each exchange."""

    def __init__(self, connection: socket.socket | ssl.SSLSocket, *, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._readers = 0
        self._is_closed = False
        self.deadline_ns = 0
        self.is_answered = False
        """Whether a byte came in since this was last set to False."""
        self.is_cut = False
        """Whether the other side stopped in the middle of a line, as in the head of an answer."""

    def sendall(self, data: bytes) -> None:
        """Write all of it."""
        view = memoryview(data)
        while view:
            self._connection.settimeout(timeout_s(self._clock, self.deadline_ns))
            view = view[self._connection.send(view[:_CHUNK_SIZE]) :]

    def receive_into(self, buffer: WriteableBuffer) -> int:
        """Read what is there, at least one byte; 0 at the end."""
        self._connection.settimeout(timeout_s(self._clock, self.deadline_ns))
        count = self._connection.recv_into(buffer)
        self.is_answered = self.is_answered or count > 0
        return count

    def makefile(self, mode: str) -> io.BufferedReader:
        """Open a buffered reader; the socket stays open until it is closed."""
        assert mode == "rb", mode
        self._readers += 1
        return _Lines(self)

    def release(self) -> None:
        """Count one reader less."""
        self._readers -= 1
        if self._is_closed and self._readers == 0:
            self._connection.close()

    def close(self) -> None:
        """Close the socket, at once or with its last reader."""
        self._is_closed = True
        if self._readers == 0:
            self._connection.close()


class _Lines(io.BufferedReader):
    """Notes a missing end of line, which ``http.client`` takes for the end of an answer's head."""

    def __init__(self, stream: DeadlineStream) -> None:
        super().__init__(_Reader(stream))
        self._stream = stream

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        if not line.endswith(b"\n") and len(line) != size:
            self._stream.is_cut = True
        return line


class _Reader(io.RawIOBase):
    def __init__(self, stream: DeadlineStream) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        return self._stream.receive_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._stream.release()
        super().close()
