"""Learn the times of rotated files that an index does not know, several files at once.

Whoever asks a question then reads no more than somebody who asks later.  What cannot be learned
here, for whatever reason, is read by the question itself.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._trail.blocks import iter_blocks
from kaizen_otel._trail.processes import spawned
from kaizen_otel.audit._stored import TRAIL_NAME, TRAIL_SUFFIX, trail_files

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._trail.blocks import Block
    from kaizen_otel._trail.times import Known, TimeIndex

# Below that it takes longer to start processes than to read.
_WORTH_IT_BYTES: Final = 256 * 1024 * 1024
_JOBS_MAX: Final = 4


def learn_times(
    index: TimeIndex,
    filesystem: Filesystem,
    directory: str,
    *,
    jobs: int | None = None,
    worth_it_bytes: int = _WORTH_IT_BYTES,
) -> None:
    """Learn the rotated files of a trail folder of this machine; the active one is left out.

    In ``jobs`` processes, as many as there are processors by default and four at most.  Nothing
    happens with one, or if fewer than ``worth_it_bytes`` are to be read.  Raises ``OSError`` if
    the folder cannot be read.
    """
    if jobs is None:
        jobs = min(os.cpu_count() or 1, _JOBS_MAX)
    if jobs < 2:  # noqa: PLR2004 - one process is this one
        return
    unknown = _unknown(index, filesystem, directory)
    if sum(known.stamp.size for _, known in unknown) < worth_it_bytes:
        return
    # Without shared memory there is no pool, and processes can be ended from outside.
    with contextlib.suppress(Exception):
        _learn(index, unknown, spawned(min(jobs, len(unknown))))


def _learn(index: TimeIndex, unknown: list[tuple[str, Known]], pool: ProcessPoolExecutor) -> None:
    try:
        found = pool.map(blocks_of, [path for path, _ in unknown])
        for (path, known), blocks in zip(unknown, found, strict=True):
            if blocks:
                index.learn(path, known, blocks, is_sealed=True)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def blocks_of(path: str) -> list[Block]:
    """Return the blocks of a file that gets no more bytes; none if it cannot be read."""
    try:
        return [block for block, _, _ in iter_blocks(OsFilesystem(), path)]
    except OSError:
        return []


def _unknown(index: TimeIndex, filesystem: Filesystem, directory: str) -> list[tuple[str, Known]]:
    active = posixpath.join(directory, TRAIL_NAME + TRAIL_SUFFIX)
    found: list[tuple[str, Known]] = []
    for path in trail_files(filesystem, directory):
        if path == active:
            continue
        with contextlib.suppress(OSError):  # pruned a moment ago
            known = index.known(path, is_sealed=True)
            if not known.blocks:
                found.append((path, known))
    return found
