"""A disposable index of a trail: per file the blocks and the times in them, kept by the reader.

It stands in the reader's own cache folder, not beside the trail: whoever can write the trail must
not be able to steer what others find in it, and a trail is often read-only.  It holds times and
places only.  Losing it costs one slow question.

A rotated file is never written again, so its index counts only while device, inode, size and both
time stamps are what they were; the time of the last change of an inode cannot be set at will.  The
active file grows: there the index counts as far as it reaches while inode, first and last bytes
are the same.  Who rewrites the active file in place can mislead a question (and could as well take
the records away): ``audit verify`` is what notices, and it uses no index.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._spool.files import ensure_directory, replace_file
from kaizen_otel._trail.blocks import Block

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem

_VERSION: Final = 1
_SUFFIX: Final = ".times"
_BYTES_MAX: Final = 256 * 1024 * 1024
_EDGE_BYTES: Final = 4096
# A change in the same tick of the file system's clock leaves the time stamps as they are.
_QUIET_NS: Final = 2 * 10**9
_GROWN_BYTES: Final = 16 * 1024 * 1024


class Stamp(NamedTuple):
    """What ``stat(2)`` says of a file."""

    device: int
    inode: int
    size: int
    modified_ns: int
    changed_ns: int


def stamp_of(path: str) -> Stamp:
    """Ask the operating system; raises ``OSError``."""
    found = os.stat(path)  # noqa: PTH116 - paths are strings here
    return Stamp(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Blocks that are known of a file, and the stamp it had when that was looked at."""

    blocks: list[Block]
    stamp: Stamp

    @property
    def end(self) -> int:
        """Up to which byte the file is known."""
        return self.blocks[-1].end if self.blocks else 0


class TimeIndex:
    """Keeps and finds the blocks of trail files.  A fault of the cache is never an error."""

    def __init__(
        self,
        directory: str,
        *,
        filesystem: Filesystem,
        clock: Clock,
        stamp_of: Callable[[str], Stamp] = stamp_of,
        grown_bytes: int = _GROWN_BYTES,
    ) -> None:
        """Keep the index in ``directory``, which is made when it is needed.

        That of the active file is written anew when it has grown by ``grown_bytes``.
        """
        self._directory = directory
        self._filesystem = filesystem
        self._clock = clock
        self._stamp_of = stamp_of
        self._grown_bytes = grown_bytes

    def known(self, path: str, *, is_sealed: bool) -> Known:
        """Return the blocks that can be relied on; none if nothing is known.

        Raises ``OSError`` if the trail file cannot be looked at.
        """
        stamp = self._stamp_of(path)
        nothing = Known(blocks=[], stamp=stamp)
        try:
            data = self._filesystem.read(self._path(path), 0, _BYTES_MAX)
        except OSError:
            return nothing
        found = _decode(data)
        if found is None:
            return nothing
        old, edges, was_sealed, blocks = found
        known = Known(blocks=blocks, stamp=stamp)
        if is_sealed:
            return known if was_sealed and old == stamp else nothing
        is_same = old[:2] == stamp[:2] and known.end <= stamp.size
        return known if is_same and edges == self._edges(path, known.end) else nothing

    def learn(self, path: str, known: Known, blocks: list[Block], *, is_sealed: bool) -> None:
        """Keep the blocks of a file that has been read through."""
        grown = Known(blocks=blocks, stamp=known.stamp)
        if is_sealed:
            is_worth_it = grown.end > known.end and self._is_quiet(path, known.stamp)
        else:
            is_worth_it = grown.end - known.end >= self._grown_bytes
        if not is_worth_it:
            return
        try:
            data = _encode(known.stamp, self._edges(path, grown.end), is_sealed, blocks)
            ensure_directory(self._filesystem, self._directory)
            replace_file(self._filesystem, self._path(path), data)
        except OSError:
            return  # a read-only or full cache: the next question reads the file again

    def _is_quiet(self, path: str, stamp: Stamp) -> bool:
        """Whether the file stood still while it was read, and for long enough before."""
        newest_ns = max(stamp.modified_ns, stamp.changed_ns)
        return self._stamp_of(path) == stamp and self._clock.time_ns() - newest_ns > _QUIET_NS

    def _edges(self, path: str, end: int) -> str:
        first = self._filesystem.read(path, 0, min(_EDGE_BYTES, end))
        last = self._filesystem.read(path, max(0, end - _EDGE_BYTES), min(_EDGE_BYTES, end))
        return hashlib.sha256(first + last).hexdigest()

    def _path(self, path: str) -> str:
        name = hashlib.sha256(posixpath.abspath(path).encode()).hexdigest()[:32]
        return posixpath.join(self._directory, name + _SUFFIX)


def _encode(stamp: Stamp, edges: str, is_sealed: bool, blocks: list[Block]) -> bytes:  # noqa: FBT001
    text = json.dumps([_VERSION, stamp, edges, is_sealed, blocks], separators=(",", ":"))
    data = text.encode()
    return hashlib.sha256(data).hexdigest().encode() + data


def _decode(data: bytes) -> tuple[Stamp, str, bool, list[Block]] | None:
    digest, text = data[:64], data[64:]
    if hashlib.sha256(text).hexdigest().encode() != digest:
        return None  # a power loss left half of it
    version, stamp, edges, is_sealed, blocks = json.loads(text)
    if version != _VERSION:
        return None
    return Stamp(*stamp), edges, is_sealed, [Block(*block) for block in blocks]
