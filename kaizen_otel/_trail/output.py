"""Write a file that is there whole, durable and for its owner only, or not at all."""

from __future__ import annotations

import errno
import posixpath
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from kaizen_otel._spool.files import NEW_SUFFIX, remove_if_there

if TYPE_CHECKING:
    from collections.abc import Generator

    from kaizen_otel._edges import Filesystem

_BUFFER_BYTES: Final = 256 * 1024


class Output:
    """Takes bytes until the file is complete.  What ``tarfile`` needs of a file is here."""

    def __init__(self, filesystem: Filesystem, handle: int, path: str) -> None:
        """Write through an open file."""
        self._filesystem = filesystem
        self._handle = handle
        self._path = path
        self._waiting = bytearray()
        self._size = 0

    def write(self, data: bytes) -> int:
        """Take bytes; raises ``OSError`` if the disk does not."""
        self._waiting += data
        self._size += len(data)
        if len(self._waiting) >= _BUFFER_BYTES:
            self.flush()
        return len(data)

    def tell(self) -> int:
        """Return how many bytes were taken."""
        return self._size

    def flush(self) -> None:
        """Hand everything to the disk."""
        data = bytes(self._waiting)
        self._waiting.clear()
        while data:
            count = self._filesystem.write(self._handle, data)
            if not count:
                raise OSError(errno.ENOSPC, "the disk takes no more bytes", self._path)
            data = data[count:]


@contextmanager
def whole_file(filesystem: Filesystem, path: str) -> Generator[Output]:
    """Write ``path`` in one step at the end; after an error the old file, or none, is there.

    Raises ``OSError`` for the disk's faults.
    """
    new = path + NEW_SUFFIX
    remove_if_there(filesystem, new)
    handle = filesystem.create(new)
    try:
        output = Output(filesystem, handle, path)
        yield output
        output.flush()
        filesystem.sync(handle)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell
            filesystem.close(handle)
            filesystem.remove(new)
        raise
    filesystem.close(handle)
    filesystem.rename(new, path)
    filesystem.sync_directory(posixpath.dirname(posixpath.abspath(path)))
