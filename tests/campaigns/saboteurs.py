"""Parts with one safety taken out, for real disks and real receivers.

Each is put into the same campaign as the sound part, which then must find a loss.  Those that a
real disk hides are caught with the disk in memory (``tests/crash/test_every_call.py``): ext4 and
XFS make a new file's name durable with the file, so a missing directory sync does not show.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._export import Delivered

if TYPE_CHECKING:
    from kaizen_otel._export import Outcome, Signal, Transport


class NoSync(OsFilesystem):
    """fdatasync removed."""

    def sync(self, handle: int) -> None:
        """Say yes and do nothing."""


class NoDirectorySync(OsFilesystem):
    """Directory fsync removed."""

    def sync_directory(self, path: str) -> None:
        """Say yes and do nothing."""


class LateWrites(OsFilesystem):
    """Acknowledged before it is written: bytes wait in the process for a moment."""

    def __init__(self) -> None:
        super().__init__()
        self._late: dict[int, list[bytes]] = {}
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def write(self, handle: int, data: bytes) -> int:
        with self._lock:
            self._late.setdefault(handle, []).append(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_late, daemon=True)
                self._thread.start()
        return len(data)

    def close(self, handle: int) -> None:
        self._write_all()
        super().close(handle)

    def _write_late(self) -> None:
        never = threading.Event()
        while not never.wait(0.03):
            self._write_all()

    def _write_all(self) -> None:
        with self._lock:
            late, self._late = self._late, {}
            for handle, parts in late.items():
                super().write(handle, b"".join(parts))


class NoLock(OsFilesystem):
    """flock removed: everybody gets every lock."""

    def __init__(self) -> None:
        super().__init__()

        def grant(handle: int, flags: int) -> None:
            """Say yes and do nothing."""

        self._flock = grant  # type: ignore[assignment]


class MovesFirst:
    """The cursor moves before the answer: whatever comes back counts as delivered."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self.description = transport.description

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        self._transport.send(signal, body, deadline_ns=deadline_ns)
        return Delivered()

    def close(self) -> None:
        self._transport.close()


class IgnoresPartialSuccess(MovesFirst):
    """The rejected count of an answer is not looked at."""

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        outcome = self._transport.send(signal, body, deadline_ns=deadline_ns)
        return outcome._replace(rejected_count=0) if isinstance(outcome, Delivered) else outcome


FILESYSTEMS: dict[str, type[OsFilesystem]] = {
    "": OsFilesystem,
    "no fdatasync": NoSync,
    "no directory fsync": NoDirectorySync,
    "acknowledged before write": LateWrites,
    "no flock": NoLock,
}
TRANSPORTS: dict[str, type[MovesFirst]] = {
    "cursor before answer": MovesFirst,
    "partial success ignored": IgnoresPartialSuccess,
}
