"""A disk in memory that fails on the k-th call and can lose its power.

It keeps two pictures of every file and directory: what programs see, and what would be found
after a power loss.  A sync copies the first into the second.  A failed sync drops the bytes it
should have copied, as Linux does: a later sync of the file succeeds and does not bring them back.
"""

from __future__ import annotations

import errno
import os
import posixpath
import stat
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

Effect = Literal["none", "full", "short"]
_BLOCK_BYTES: Final = 512


class Call(NamedTuple):
    """One call that changes something: its place in the row of calls, its kind, its path."""

    number: int
    operation: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What a failing call does.

    ``effect`` is ``none`` (refused, nothing happened), ``full`` (it happened, and an error was
    reported all the same) or ``short`` (a write takes half of its bytes and reports no error).
    """

    error: int = errno.EIO
    effect: Effect = "none"


@dataclass(slots=True, eq=False)
class _File:
    content: bytearray = field(default_factory=bytearray)
    durable: bytearray = field(default_factory=bytearray)
    dirty: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    is_locked: bool = False

    def sync(self) -> None:
        size = len(self.content)
        self.durable[size:] = b""
        self.durable.extend(bytes(size - len(self.durable)))
        for start, end in self.dirty:
            self.durable[start : min(end, size)] = self.content[start : min(end, size)]
        self.dirty.clear()


@dataclass(slots=True, eq=False)
class _Directory:
    entries: dict[str, _File | _Directory] = field(default_factory=dict[str, "_File | _Directory"])
    durable: dict[str, _File | _Directory] = field(default_factory=dict[str, "_File | _Directory"])


def fail_call(number: int, fault: Fault) -> Callable[[Call], Fault | None]:
    """Let the call with that number fail (the first is 1), and no other."""
    return lambda call: fault if call.number == number else None


def fail_operation(operation: str, fault: Fault) -> Callable[[Call], Fault | None]:
    """Let every call of one kind fail."""
    return lambda call: fault if call.operation == operation else None


class MemoryFilesystem:
    """A ``Filesystem`` in memory.

    ``fault`` is asked before each changing call; ``bytes_max`` bounds what all files may hold, and
    a write that meets it takes what fits, then ``ENOSPC`` follows.  ``calls`` lists what was done.
    """

    def __init__(
        self,
        *,
        fault: Callable[[Call], Fault | None] | None = None,
        bytes_max: int | None = None,
        boot: str = "boot-1",
    ) -> None:
        self.fault = fault
        self.bytes_max = bytes_max
        self.boot = boot
        self.calls: list[Call] = []
        self._root = _Directory()
        self._handles: dict[int, tuple[str, _File]] = {}
        self._handle_next = 3
        self._lock = threading.RLock()

    def make_directory(self, path: str) -> None:
        """Make one directory."""
        with self._lock:
            parent, name = self._parent(path)
            if name in parent.entries:
                raise _error(errno.EEXIST, path)
            self._change(
                "make_directory", path, lambda: parent.entries.update({name: _Directory()})
            )

    def create(self, path: str) -> int:
        """Make a file and open it for appending."""
        with self._lock:
            parent, name = self._parent(path)
            if name in parent.entries:
                raise _error(errno.EEXIST, path)
            file = _File()
            self._change("create", path, lambda: parent.entries.update({name: file}))
            return self._open(path, file)

    def open_append(self, path: str) -> int:
        """Open a file for appending, making it if it is not there."""
        with self._lock:
            parent, name = self._parent(path)
            self._change("open_append", path, lambda: parent.entries.setdefault(name, _File()))
            return self._open(path, self._file(path))

    def write(self, handle: int, data: bytes) -> int:
        """Append; short if the disk fills up or a ``short`` fault is due."""
        with self._lock:
            path, file = self._handles[handle]
            fault = self._call("write", path)
            size = len(data)
            if fault is not None and fault.effect != "full":
                size = size // 2 if fault.effect == "short" else 0
            if self.bytes_max is not None:
                size = min(size, self.bytes_max - self._bytes_used(self._root))
            start = len(file.content)
            file.content.extend(data[:size])
            if size:
                file.dirty.append((start, start + size))
            if fault is not None and fault.effect != "short":
                raise _error(fault.error, path)
            if data and not size:
                raise _error(errno.ENOSPC, path)
            return size

    def sync(self, handle: int) -> None:
        """Copy the file's bytes to the durable picture."""
        with self._lock:
            path, file = self._handles[handle]
            fault = self._call("sync", path)
            if fault is None or fault.effect == "full":
                file.sync()
            file.dirty.clear()
            if fault is not None:
                raise _error(fault.error, path)

    def truncate(self, handle: int, size: int) -> None:
        """Cut the file; durable with its next sync."""
        with self._lock:
            path, file = self._handles[handle]
            self._change("truncate", path, lambda: file.content.__delitem__(slice(size, None)))
            file.dirty = [(start, end) for start, end in file.dirty if start < len(file.content)]

    def close(self, handle: int) -> None:
        """Close a file or a lock, which frees the lock (there is one process here)."""
        with self._lock:
            path, file = self._handles.pop(handle)
            file.is_locked = False
            self._change("close", path, lambda: None)

    def sync_directory(self, path: str) -> None:
        """Copy the directory's names to the durable picture."""
        with self._lock:
            directory = self._directory(path)

            def copy() -> None:
                directory.durable = dict(directory.entries)

            self._change("sync_directory", path, copy)

    def names(self, path: str) -> list[str]:
        """The sorted names in a directory."""
        with self._lock:
            return sorted(self._directory(path).entries)

    def size(self, path: str) -> int:
        """The size of a file."""
        with self._lock:
            return len(self._file(path).content)

    def mode(self, path: str) -> int:
        """A file or directory that only its owner can use, as all here are."""
        with self._lock:
            is_file = isinstance(self._find(path), _File)
            return stat.S_IFREG | 0o600 if is_file else stat.S_IFDIR | 0o700

    def read(self, path: str, offset: int, size: int) -> bytes:
        """A range of a file."""
        with self._lock:
            return bytes(self._file(path).content[offset : offset + size])

    def overwrite(self, path: str, data: bytes) -> None:
        """Write over the beginning of a file, durably."""
        with self._lock:
            file = self._file(path)

            def write() -> None:
                file.content[: len(data)] = data
                file.durable[: len(data)] = data

            self._change("overwrite", path, write)

    def rename(self, source: str, target: str) -> None:
        """Move a name in one step."""
        with self._lock:
            old, old_name = self._parent(source)
            new, new_name = self._parent(target)
            if old_name not in old.entries:
                raise _error(errno.ENOENT, source)

            def move() -> None:
                new.entries[new_name] = old.entries.pop(old_name)

            self._change("rename", source, move)

    def remove(self, path: str) -> None:
        """Remove a file's name."""
        with self._lock:
            parent, name = self._parent(path)
            self._file(path)
            self._change("remove", path, lambda: parent.entries.__delitem__(name))

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        with self._lock:
            parent, name = self._parent(path)
            if self._directory(path).entries:
                raise _error(errno.ENOTEMPTY, path)
            self._change("remove_directory", path, lambda: parent.entries.__delitem__(name))

    def try_lock(self, path: str) -> int | None:
        """Lock a file, which is made if needed; None if it is locked."""
        with self._lock:
            parent, name = self._parent(path)
            self._change("try_lock", path, lambda: parent.entries.setdefault(name, _File()))
            file = self._file(path)
            if file.is_locked:
                return None
            file.is_locked = True
            return self._open(path, file)

    def unlock(self, handle: int) -> None:
        """Free a lock."""
        self.close(handle)

    def boot_id(self) -> str:
        """The name of this boot, changed by ``lose_power``."""
        return self.boot

    def kill_process(self) -> MemoryFilesystem:
        """Return the disk as the next process finds it: all bytes there, all locks free."""
        with self._lock:
            after = MemoryFilesystem(bytes_max=self.bytes_max, boot=self.boot)
            after._root = _copy_seen(self._root)
            return after

    def lose_power(self, torn: random.Random | None = None) -> MemoryFilesystem:
        """Return the disk as it is found after a power loss.

        Only what was synced is there.  With ``torn``, what was not synced may be there as well:
        each block and each directory's names are kept or lost by chance, as on a real disk.
        """
        with self._lock:
            after = MemoryFilesystem(bytes_max=self.bytes_max, boot=self.boot + "+")
            after._root = _copy_durable(self._root, torn)
            return after

    def flip_bit(self, path: str, offset: int) -> None:
        """Damage one byte of a file, as a failing disk does."""
        with self._lock:
            self._file(path).content[offset] ^= 1
            self._file(path).durable[offset] ^= 1

    def _call(self, operation: str, path: str) -> Fault | None:
        call = Call(len(self.calls) + 1, operation, path)
        self.calls.append(call)
        return None if self.fault is None else self.fault(call)

    def _change(self, operation: str, path: str, effect: Callable[[], object]) -> None:
        fault = self._call(operation, path)
        if fault is None or fault.effect == "full":
            effect()
        if fault is not None:
            raise _error(fault.error, path)

    def _open(self, path: str, file: _File) -> int:
        handle, self._handle_next = self._handle_next, self._handle_next + 1
        self._handles[handle] = (path, file)
        return handle

    def _find(self, path: str) -> _File | _Directory:
        node: _File | _Directory = self._root
        for name in _parts(path):
            if isinstance(node, _File):
                raise _error(errno.ENOTDIR, path)
            if name not in node.entries:
                raise _error(errno.ENOENT, path)
            node = node.entries[name]
        return node

    def _directory(self, path: str) -> _Directory:
        node = self._find(path)
        if isinstance(node, _File):
            raise _error(errno.ENOTDIR, path)
        return node

    def _file(self, path: str) -> _File:
        node = self._find(path)
        if isinstance(node, _Directory):
            raise _error(errno.EISDIR, path)
        return node

    def _parent(self, path: str) -> tuple[_Directory, str]:
        head, name = posixpath.split(posixpath.normpath(path))
        return self._directory(head), name

    def _bytes_used(self, node: _File | _Directory) -> int:
        if isinstance(node, _File):
            return len(node.content)
        return sum(self._bytes_used(child) for child in node.entries.values())


def _parts(path: str) -> list[str]:
    return [part for part in posixpath.normpath(path).split("/") if part not in {"", "."}]


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _copy_seen(directory: _Directory) -> _Directory:
    after = _Directory()
    for name, node in directory.entries.items():
        if isinstance(node, _File):
            after.entries[name] = _File(
                bytearray(node.content), bytearray(node.durable), list(node.dirty)
            )
        else:
            after.entries[name] = _copy_seen(node)
    for name in directory.durable:
        if name in after.entries:
            after.durable[name] = after.entries[name]
    return after


def _copy_durable(directory: _Directory, torn: random.Random | None) -> _Directory:
    after = _Directory()
    keeps_names = torn is not None and torn.random() < 0.5  # noqa: PLR2004 - a coin
    for name, node in (directory.entries if keeps_names else directory.durable).items():
        if isinstance(node, _File):
            content = _durable_bytes(node, torn)
            after.entries[name] = _File(content, bytearray(content))
        else:
            after.entries[name] = _copy_durable(node, torn)
    after.durable = dict(after.entries)
    return after


def _durable_bytes(file: _File, torn: random.Random | None) -> bytearray:
    content = bytearray(file.durable)
    if torn is None:
        return content
    for start, end in file.dirty:
        for block in range(start, end, _BLOCK_BYTES):
            stop = min(block + _BLOCK_BYTES, end, len(file.content))
            if stop > block and torn.random() < 0.5:  # noqa: PLR2004 - a coin
                content.extend(bytes(max(0, stop - len(content))))
                content[block:stop] = file.content[block:stop]
    return content
