"""Secrets of a spool root: random, made once, shared by its processes, kept in files of 0600."""

from __future__ import annotations

import errno
import posixpath
import stat
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel._spool.files import ensure_directory, replace_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem

_LOOK_NS: Final = 10 * 10**6
_TRIES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretFile:
    """One secret: the names of its file and of the lock under which it is made, in bytes at most.

    What ``is_whole`` refuses counts as not there, and is replaced.
    """

    name: str
    lock_name: str
    bytes_max: int
    is_whole: Callable[[bytes], bool]
    make: Callable[[], bytes]


def read_regular(filesystem: Filesystem, path: str, *, bytes_max: int) -> tuple[bytes, int]:
    """Return what a file that the user named holds, and its mode.

    Raises ``OSError``, also for what is no file: a pipe or a device could be waited for, for ever;
    and for a file that holds more than ``bytes_max``.
    """
    mode = filesystem.mode(path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file", path)
    data = filesystem.read(path, 0, bytes_max + 1)
    if len(data) > bytes_max:
        raise OSError(errno.EFBIG, f"it is larger than {bytes_max} bytes", path)
    return data, mode


def read_secret(secret: SecretFile, directory: str, *, filesystem: Filesystem) -> bytes:
    """Return the secret of a spool root, or nothing if there is none or it is incomplete.

    Raises ``OSError`` if it cannot be read.
    """
    try:
        found = filesystem.read(posixpath.join(directory, secret.name), 0, secret.bytes_max)
    except FileNotFoundError:
        return b""
    return found if secret.is_whole(found) else b""


def read_or_make_secret(
    secret: SecretFile,
    directory: str,
    *,
    filesystem: Filesystem,
    clock: Clock,
    on_made: Callable[[bytes], None] | None = None,
) -> bytes:
    """Return the secret of this spool root; if there is none, make it durable first.

    ``on_made`` is told what was made, by the one process that made it.  Raises ``OSError`` if it
    can neither be read nor made durable; then the file holds a whole secret or is not there.
    """
    found = _read_durable(secret, directory, filesystem=filesystem)
    if found:
        return found
    ensure_directory(filesystem, directory)
    path = posixpath.join(directory, secret.name)
    never = threading.Event()
    for _ in range(_TRIES):
        lock = filesystem.try_lock(posixpath.join(directory, secret.lock_name))
        if lock is not None:
            try:
                found = _read_durable(secret, directory, filesystem=filesystem)
                if found:
                    return found
                made = secret.make()
                replace_file(filesystem, path, made, is_durable=True)
            finally:
                filesystem.unlock(lock)
            if on_made is not None:
                on_made(made)
            return made
        clock.wait(never, _LOOK_NS)
        found = _read_durable(secret, directory, filesystem=filesystem)
        if found:
            return found
    raise TimeoutError(f"another process does not finish making {path}")


def _read_durable(secret: SecretFile, directory: str, *, filesystem: Filesystem) -> bytes:
    found = read_secret(secret, directory, filesystem=filesystem)
    if found:
        # Whoever made it may not have synced its name yet, or have failed to; what is signed with
        # it must not outlive it.
        filesystem.sync_directory(directory)
    return found
