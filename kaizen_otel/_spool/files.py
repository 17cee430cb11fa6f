"""Small steps on directories and files, made of the filesystem's single calls."""

from __future__ import annotations

import errno
import posixpath
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kaizen_otel._edges import Filesystem

NEW_SUFFIX: Final = ".new"


def ensure_directory(filesystem: Filesystem, path: str) -> None:
    """Make a directory and its parents where they are missing, and make all names durable.

    A parent that was there may have been made a moment ago by a process that died before it had
    synced it, so each one is synced; one that may not be read was not made by us.
    """
    path = posixpath.abspath(path)
    parent = posixpath.dirname(path)
    if parent == path:
        return
    ensure_directory(filesystem, parent)
    try:
        filesystem.make_directory(path)
    except FileExistsError:
        try:
            filesystem.sync_directory(parent)
        except PermissionError:
            return
    else:
        filesystem.sync_directory(parent)


def remove_if_there(filesystem: Filesystem, path: str) -> None:
    try:
        filesystem.remove(path)
    except FileNotFoundError:
        return


def remove_directory_if_there(filesystem: Filesystem, path: str, names: Iterable[str]) -> bool:
    """Remove a directory and the named files in it; False if the disk keeps it.

    What is left is found again and removed by a later process.
    """
    try:
        for name in names:
            remove_if_there(filesystem, posixpath.join(path, name))
        filesystem.remove_directory(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def replace_file(
    filesystem: Filesystem, path: str, data: bytes, *, is_durable: bool = False
) -> None:
    """Give a file new content in one step; raises ``OSError`` and then leaves the old content.

    Without ``is_durable`` a power loss may leave the old content or an incomplete file.
    """
    new = path + NEW_SUFFIX
    remove_if_there(filesystem, new)
    handle = filesystem.create(new)
    try:
        if filesystem.write(handle, data) != len(data):
            raise OSError(errno.ENOSPC, "the file was written in part", new)
        if is_durable:
            filesystem.sync(handle)
    finally:
        filesystem.close(handle)
    filesystem.rename(new, path)
    if is_durable:
        filesystem.sync_directory(posixpath.dirname(path))
