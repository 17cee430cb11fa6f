"""Real disks with faults: power that is cut, and calls that fail, at the k-th changing call."""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaizen_otel._edges import OsFilesystem

if TYPE_CHECKING:
    from collections.abc import Callable

_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32), linux/fs/ext4 and xfs
_NOLOGFLUSH = 2
_WORDS = ("segment", "key", "cursor", "lock")


def cut_power(directory: str) -> None:
    """Stop the file system that is mounted on a directory, as if its machine lost its power.

    ``EXT4_IOC_SHUTDOWN`` (XFS has the same number) with NOLOGFLUSH ends every write at once, that
    of the log included; the next mount finds what had been synced.  Raises ``OSError`` where that
    cannot be done; needs root.
    """
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.ioctl(handle, _SHUTDOWN, struct.pack("I", _NOLOGFLUSH))
    finally:
        os.close(handle)


class Watched(OsFilesystem):
    """The real disk, with something happening around each changing call.

    Calls are counted from 1; ``file`` says what kind of file the call is about.
    """

    def __init__(self) -> None:
        super().__init__()
        self._number = 0
        self._counting = threading.Lock()
        self._paths: dict[int, str] = {}

    def around(self, number: int, name: str, file: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Make the call, or not."""
        del number, name, file
        return call()

    def _do(self, name: str, *arguments: Any) -> Any:  # noqa: ANN401 - passes a call on
        with self._counting:
            self._number += 1
            number = self._number
        target = arguments[0]
        path = self._paths.get(target, "") if isinstance(target, int) else target
        method = getattr(super(), name)
        result = self.around(number, name, _kind(path), lambda: method(*arguments))
        if name == "create":
            self._paths[result] = path
        return result

    def make_directory(self, path: str) -> None:
        self._do("make_directory", path)

    def create(self, path: str) -> int:
        return int(self._do("create", path))

    def write(self, handle: int, data: bytes) -> int:
        return int(self._do("write", handle, data))

    def sync(self, handle: int) -> None:
        self._do("sync", handle)

    def truncate(self, handle: int, size: int) -> None:
        self._do("truncate", handle, size)

    def close(self, handle: int) -> None:
        self._do("close", handle)

    def sync_directory(self, path: str) -> None:
        self._do("sync_directory", path)

    def rename(self, source: str, target: str) -> None:
        self._do("rename", source, target)

    def remove(self, path: str) -> None:
        self._do("remove", path)


class CutsPower(Watched):
    """Cuts the power just before or just after a call, and says so on standard output."""

    def cut_at(self, directory: str, call: int, *, is_after: bool) -> None:
        """Choose the disk and the call."""
        self._directory, self._call, self._is_after = directory, call, is_after

    def around(self, number: int, name: str, file: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401
        is_due = number == self._call
        if is_due and not self._is_after:
            self._cut(name, file)
        try:
            return call()
        finally:
            if is_due and self._is_after:
                self._cut(name, file)

    def _cut(self, name: str, file: str) -> None:
        os.write(1, b"cutting\n")
        cut_power(self._directory)
        os.write(1, f"cut {name} {file}\n".encode())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Which calls fail, and how: ``full`` ones happen and an error is reported all the same.

    ``every`` lets each n-th call from ``first`` on fail, at most ``count`` of them; ``operation``
    and ``file`` narrow it down.
    """

    first: int
    every: int = 1
    count: int = 1
    error: str = "EIO"
    effect: str = "none"
    operation: str = ""
    file: str = ""


class FailsCalls(Watched):
    """Lets chosen calls fail."""

    plan: Plan | None = None
    failed = 0

    def around(self, number: int, name: str, file: str, call: Callable[[], Any]) -> Any:  # noqa: ANN401
        plan = self.plan
        if plan is None or self.failed >= plan.count or not _is_meant(plan, number, name, file):
            return call()
        self.failed += 1
        if plan.effect == "full":
            call()
        code = getattr(errno, plan.error)
        raise OSError(code, os.strerror(code), file)


def _is_meant(plan: Plan, number: int, name: str, file: str) -> bool:
    is_due = number >= plan.first and (number - plan.first) % plan.every == 0
    is_kind = plan.operation in {"", name} and plan.file in {"", file}
    return is_due and is_kind


def _kind(path: str) -> str:
    name = Path(path).name
    return next((word for word in _WORDS if word in name), "directory")
