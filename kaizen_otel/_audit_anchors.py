"""Signed checkpoints on their way out of the attacker's reach: the logs pipeline and a file.

Both get the whole signed record.  The logs pipeline takes it at once and may drop it, which its
ledger counts.  The file (``KAIZEN_OTEL_ANCHOR_FILE``) may be on another machine, so that it may
hang: it is written by the shipper's thread, and no record waits for it.
"""

from __future__ import annotations

import errno
import json
import threading
from collections import deque
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.decode import decode_log_record, decode_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kaizen_otel._edges import Clock, Filesystem

_WAITING_MAX: Final = 4096
_RETRY_NS: Final = 5 * 10**9
_NEVER_NS: Final = 3600 * 10**9
_LAST_S: Final = 1.0
_WARN_INTERVAL_NS: Final = 60 * 10**9


class Anchors:
    """Hands anchors to a function and to a file; either may be missing.

    ``sink`` takes one encoded LogRecord and must not block.  ``resource`` makes the encoded
    Resource of the process.  ``wake`` is called when something waits for ``write``.
    """

    def __init__(
        self,
        *,
        sink: Callable[[bytes], object] | None,
        path: Path | None,
        resource: Callable[[], bytes],
        filesystem: Filesystem,
        clock: Clock,
        warn: Callable[[str], None],
    ) -> None:
        self.wake: Callable[[], None] = lambda: None
        self._sink = sink
        self._path = None if path is None else str(path)
        self._resource = resource
        self._filesystem = filesystem
        self._clock = clock
        self._warn = warn
        self._lock = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._dropped = 0
        self._retry_at_ns = 0
        self._warned_ns: int | None = None

    def take(self, sealed: Sequence[bytes]) -> None:
        """Take encoded LogRecords: offer them to the sink, keep them for the file until ``write``.

        Never blocks and never raises.
        """
        if self._sink is not None:
            try:
                for data in sealed:
                    self._sink(data)
            except Exception as error:  # noqa: BLE001 - the user's function may raise anything
                self._say(f"an audit checkpoint could not be handed to the logs: {error!r}")
        if self._path is not None:
            self._waiting.extend(sealed)
            while len(self._waiting) > _WAITING_MAX:
                # A later checkpoint covers everything that an earlier one does.
                self._waiting.popleft()
                self._dropped += 1
            self.wake()

    def write(self, *, is_last: bool = False) -> int:
        """Append what waits to the file, durably; return after how many nanoseconds to call again.

        What the disk refuses is tried again then.
        """
        # At the end nothing may wait because another thread is writing it just now: see below.
        if self._path is None or not (self._waiting or is_last):
            return _NEVER_NS
        now_ns = self._clock.monotonic_ns()
        if not is_last and now_ns < self._retry_at_ns:
            return self._retry_at_ns - now_ns
        # At the end for whoever is writing; not for ever, since a file elsewhere may hang.
        if not self._lock.acquire(timeout=_LAST_S if is_last else 0):
            return _RETRY_NS
        try:
            self._write_all(self._path)
        except (OSError, ValueError) as error:
            self._retry_at_ns = now_ns + _RETRY_NS
            self._say(
                f"audit checkpoints could not be written to {self._path} ({error}); "
                f"{len(self._waiting)} wait, {self._dropped} were given up: mend the disk or "
                "change KAIZEN_OTEL_ANCHOR_FILE; records are stored all the same"
            )
            return _RETRY_NS
        finally:
            self._lock.release()
        return _NEVER_NS

    def _write_all(self, path: str) -> None:
        taken = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not taken:
            return
        try:
            self._append(path, b"".join([self._line(data) for data in taken]))
        except BaseException:
            self._waiting.extendleft(reversed(taken))
            raise

    def _append(self, path: str, data: bytes) -> None:
        filesystem = self._filesystem
        handle = filesystem.open_append(path)
        try:
            size = filesystem.size(path)
            if size and filesystem.read(path, size - 1, 1) != b"\n":
                # Some process was stopped in the middle of a line.
                data = b"\n" + data
            # One call, so that lines of several processes do not mix.
            if filesystem.write(handle, data) != len(data):
                raise OSError(errno.EIO, "the disk took a part of it")
            filesystem.sync(handle)
        finally:
            filesystem.close(handle)

    def _line(self, record: bytes) -> bytes:
        """Return one OTLP/JSON request in one line, as the Collector's file exporter writes it."""
        request: dict[str, object] = {
            "resourceLogs": [
                {
                    "resource": decode_resource(self._resource()),
                    "scopeLogs": [{"scope": {}, "logRecords": [decode_log_record(record)]}],
                }
            ]
        }
        return json.dumps(request, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"

    def _say(self, text: str) -> None:
        now_ns = self._clock.monotonic_ns()
        if self._warned_ns is None or now_ns - self._warned_ns >= _WARN_INTERVAL_NS:
            self._warned_ns = now_ns
            self._warn(text)
