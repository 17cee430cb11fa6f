"""Whether a folder can take more of the trail: free space, free inodes, and a write that is synced.

The Collector's file exporter knows only afterwards that a disk is full; who asks before can keep
senders away, whose spools hold the records meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem

TEST_FILE: Final = ".guard"
_BLOCK: Final = b"\0" * 4096
_NANOSECONDS: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """What a file system has left for those who are not root."""

    bytes_free: int
    files_free: int | None
    """None where the file system has no fixed number of inodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """Whether the folder can take records; else why not and what to do."""

    ready: bool
    reason: str = ""
    bytes_free: int | None = None
    files_free: int | None = None


def space_of(directory: str) -> Space:
    """What the file system of a folder has left.  Raises ``OSError``."""
    found = os.statvfs(directory)
    return Space(
        bytes_free=found.f_bavail * found.f_frsize,
        files_free=found.f_favail if found.f_files else None,
    )


class Guard:
    """Looks at one folder, in a thread of its own because a disk may hang for ever.

    ``check`` may be called by several threads; they get the answer of the same look.
    """

    def __init__(
        self,
        directory: str,
        *,
        bytes_free_min: int,
        files_free_min: int,
        timeout_s: float,
        filesystem: Filesystem,
        clock: Clock,
        space_of: Callable[[str], Space] = space_of,
    ) -> None:
        """Look at nothing yet."""
        self._directory = directory
        self._bytes_free_min = bytes_free_min
        self._files_free_min = files_free_min
        self._timeout_s = timeout_s
        self._filesystem = filesystem
        self._clock = clock
        self._space_of = space_of
        self._lock = threading.Lock()
        self._look: _Look | None = None

    def check(self) -> Readiness:
        """Look now, for at most the time limit; a look that hangs is not started twice."""
        with self._lock:
            if self._look is None or self._look.done.is_set():
                self._look = _Look()
                threading.Thread(
                    target=self._run, args=(self._look,), name="kaizen-otel-guard", daemon=True
                ).start()
            look = self._look
        if not self._clock.wait(look.done, int(self._timeout_s * _NANOSECONDS)):
            return Readiness(
                ready=False,
                reason=f"a write to {self._directory} takes longer than {self._timeout_s:g} s: "
                "the disk hangs or is too slow",
            )
        assert look.found is not None
        return look.found

    def _run(self, look: _Look) -> None:
        try:
            look.found = self._found()
        except OSError as error:
            look.found = Readiness(ready=False, reason=self._sentence(error))
        finally:
            look.done.set()

    def _found(self) -> Readiness:
        space = self._space_of(self._directory)
        reason = ""
        if space.bytes_free < self._bytes_free_min:
            reason = (
                f"{space.bytes_free} bytes are free in {self._directory}, fewer than "
                f"{self._bytes_free_min}: enlarge the volume or prune the trail"
            )
        elif space.files_free is not None and space.files_free < self._files_free_min:
            reason = (
                f"{space.files_free} inodes are free in {self._directory}, fewer than "
                f"{self._files_free_min}: remove what else is stored there"
            )
        else:
            self._write()
        return Readiness(
            ready=not reason,
            reason=reason,
            bytes_free=space.bytes_free,
            files_free=space.files_free,
        )

    def _write(self) -> None:
        """Write a block, have it on the disk, and remove it.  Raises ``OSError``."""
        path = f"{self._directory}/{TEST_FILE}"
        with contextlib.suppress(FileNotFoundError):
            self._filesystem.remove(path)  # a look that was killed left it
        handle = self._filesystem.create(path)
        try:
            if self._filesystem.write(handle, _BLOCK) != len(_BLOCK):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
            self._filesystem.sync(handle)
        finally:
            self._filesystem.close(handle)
            self._filesystem.remove(path)

    def _sentence(self, error: OSError) -> str:
        if error.errno == errno.ENOENT:
            return f"{self._directory} is not there yet: the Collector makes it when it starts"
        what = error.strerror or str(error)
        return f"{self._directory} cannot be written: {what}"


class _Look:
    """One look that runs or is done."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.found: Readiness | None = None
