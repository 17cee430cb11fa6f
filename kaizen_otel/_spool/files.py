"""Small steps on directories and files, made of the filesystem's single calls."""

from __future__ import annotations

import errno
import posixpath
import uuid
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kaizen_otel._edges import Filesystem

LOCK_NAME: Final = "lock"
CURSOR_NAME: Final = "cursor"
RECONCILED_NAME: Final = "reconciled"
QUARANTINE_NAME: Final = "quarantine"
SEGMENT_SUFFIX: Final = ".segment"
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


def stream_ids(filesystem: Filesystem, root: str) -> list[str]:
    """Return the names of the stream directories under a spool root, oldest first.

    A missing root has none; raises ``OSError`` if it cannot be read.
    """
    try:
        names = filesystem.names(root)
    except FileNotFoundError:
        return []
    return [name for name in names if is_uuid(name)]


def segment_paths(filesystem: Filesystem, directory: str) -> list[str]:
    """Return the paths of the segment files in a directory, oldest first; none if it is gone."""
    try:
        names = filesystem.names(directory)
    except FileNotFoundError:
        return []
    return [posixpath.join(directory, name) for name in names if name.endswith(SEGMENT_SUFFIX)]


def is_uuid(name: str) -> bool:
    """Whether a name is a UUID in its usual form, as the directories of streams are named."""
    try:
        return str(uuid.UUID(name)) == name
    except ValueError:
        return False
