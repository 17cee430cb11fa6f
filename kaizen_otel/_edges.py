"""The only module that touches time, randomness, fork and disk.

Everything else takes these objects by keyword, so that tests can pass a clock that they turn
and a disk that fails on the k-th call.
"""

from __future__ import annotations

import os
import random
import sys
import time
import weakref
from typing import TYPE_CHECKING, Protocol, TypeVar

from kaizen_otel.errors import PlatformError

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

Owner = TypeVar("Owner")


class Clock(Protocol):
    """Wall time for records, monotonic time for deadlines, and waiting."""

    def time_ns(self) -> int:
        """Nanoseconds since the Unix epoch; may step."""
        ...

    def monotonic_ns(self) -> int:
        """Nanoseconds of a clock that never steps back."""
        ...

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        """Wait until the event is set or the time is over; True if it is set."""
        ...


class SystemClock:
    """The clock of the operating system."""

    time_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)

    def wait(self, event: threading.Event, timeout_ns: int) -> bool:
        """Wait on the event for at most ``timeout_ns``."""
        return event.wait(max(timeout_ns, 0) / 1e9)


class Ids(Protocol):
    """Makes identifiers."""

    def trace_id(self) -> bytes:
        """16 random bytes, not all zero (W3C Trace Context, section 3.2.2.3)."""
        ...

    def span_id(self) -> bytes:
        """8 random bytes, not all zero."""
        ...

    def uuid7(self) -> str:
        """A time-ordered UUID (RFC 9562, section 5.7)."""
        ...

    def fraction(self) -> float:
        """A number in [0, 1), for jitter and sampling."""
        ...


class RandomIds:
    """Identifiers from a private generator, seeded by the operating system, anew after a fork."""

    def __init__(self) -> None:
        """Seed the generator and have it seeded again in every forked child."""
        self._random = random.Random()  # noqa: S311 - identifiers, not secrets
        self._bits = self._random.getrandbits
        at_fork(self._random.seed)

    def trace_id(self) -> bytes:
        """16 random bytes, not all zero."""
        return (self._bits(128) or 1).to_bytes(16, "big")

    def span_id(self) -> bytes:
        """8 random bytes, not all zero."""
        return (self._bits(64) or 1).to_bytes(8, "big")

    def uuid7(self) -> str:
        """A time-ordered UUID with 74 random bits (RFC 9562, section 5.7)."""
        milliseconds = time.time_ns() // 1_000_000
        value = (
            (milliseconds & 0xFFFFFFFFFFFF) << 80
            | 0x7 << 76
            | self._bits(12) << 64
            | 0b10 << 62
            | self._bits(62)
        )
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()


_ids: RandomIds | None = None


def shared_ids() -> RandomIds:
    """The process's generator: a second one would be seeded again at every fork for ever."""
    global _ids  # noqa: PLW0603
    _ids = _ids or RandomIds()
    return _ids


def at_fork(after_in_child: Callable[[], None]) -> None:
    """Have ``after_in_child`` called in every process that is forked from this one."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=after_in_child)


def at_multiprocessing_exit(owner: Owner, function: Callable[[Owner], object]) -> None:
    """Have a child of ``multiprocessing`` call ``function(owner)`` at its end, if this is one.

    To be called where the owner is made, and in a child right after a fork.  A child that
    ``multiprocessing`` forked never runs what is registered with ``atexit``.  ``owner`` is held
    only weakly, and the call may come twice.
    """
    util, process = map(sys.modules.get, ("multiprocessing.util", "multiprocessing.process"))
    if util is None or process is None:  # then it was not multiprocessing that forked
        return
    reference = weakref.ref(owner)

    def finish() -> None:
        found = reference()
        if found is not None:
            function(found)

    def register(_owner: Owner) -> None:
        # A low priority: what the user registered runs before.
        util.Finalize(None, finish, exitpriority=-100)

    if process.parent_process() is not None:
        register(owner)
    # Right after a fork it clears its list of finalizers in a moment, and then calls these.
    util.register_after_fork(owner, register)


class Filesystem(Protocol):
    """The disk operations of the spool, one system call each, so that a test can fail any of them.

    Every method raises ``OSError`` for the disk's faults.  Paths are absolute or relative strings.
    """

    def make_directory(self, path: str) -> None:
        """Make one directory that only its owner can enter; ``FileExistsError`` if it is there."""
        ...

    def create(self, path: str) -> int:
        """Make a file that only its owner can read and open it for appending.

        Raises ``FileExistsError`` if there is one, so that nothing is ever overwritten.
        """
        ...

    def open_append(self, path: str) -> int:
        """Open a file for appending, together with other processes.

        If there is none it is made so that only its owner can read it.
        """
        ...

    def write(self, handle: int, data: bytes) -> int:
        """Append and return how many bytes were taken, which may be fewer than were given."""
        ...

    def sync(self, handle: int) -> None:
        """Return when the file's bytes and size survive a power loss.

        After an error the bytes since the last good call may be lost for ever, even if a later
        call succeeds, because the kernel has marked them clean.
        """
        ...

    def truncate(self, handle: int, size: int) -> None:
        """Cut the file to ``size`` bytes."""
        ...

    def close(self, handle: int) -> None:
        """Close a file or a lock.  A lock that a forked process still holds open stays held."""
        ...

    def sync_directory(self, path: str) -> None:
        """Return when the names in the directory survive a power loss."""
        ...

    def names(self, path: str) -> list[str]:
        """The names in a directory, sorted."""
        ...

    def size(self, path: str) -> int:
        """The size of a file in bytes."""
        ...

    def mode(self, path: str) -> int:
        """The type and permissions of a file, as in ``stat(2)``."""
        ...

    def read(self, path: str, offset: int, size: int) -> bytes:
        """At most ``size`` bytes from ``offset``; fewer only at the end of the file."""
        ...

    def overwrite(self, path: str, data: bytes) -> None:
        """Write over the beginning of a file and sync it, in place as far as the disk does that."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Give a file or directory another name, replacing a file of that name at once."""
        ...

    def remove(self, path: str) -> None:
        """Remove a file."""
        ...

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        ...

    def try_lock(self, path: str) -> int | None:
        """Lock a file for this process, making it if needed; None if another holds it.

        The lock belongs to the open file and ends with the process, however that ends.
        """
        ...

    def unlock(self, handle: int) -> None:
        """Give up a lock at once, also for forked processes that hold it open."""
        ...

    def boot_id(self) -> str:
        """Names this run of the operating system; empty where that cannot be known."""
        ...


class OsFilesystem:
    """The disk of the operating system (Linux and macOS).

    Raises ``PlatformError`` when made on Windows, which has neither ``flock`` nor a way to make a
    directory's names durable.
    """

    def __init__(self) -> None:
        """Choose the call that makes a file durable here."""
        if os.name != "posix":
            message = (
                "the audit trail needs flock and directory fsync, which this operating system "
                "does not have: audit records are NOT stored. Pass enable_audit=False, or run "
                "the agent on Linux, macOS or WSL"
            )
            raise PlatformError(message)
        import fcntl  # absent on Windows

        self._flock = fcntl.flock
        self._lock_flags = fcntl.LOCK_EX | fcntl.LOCK_NB
        self._unlock_flag = fcntl.LOCK_UN
        self._control = fcntl.fcntl
        # macOS's fsync leaves the bytes in the drive's cache (fsync(2) of macOS).
        self._full_sync: int | None = getattr(fcntl, "F_FULLFSYNC", None)

    def make_directory(self, path: str) -> None:
        """Make one directory with mode 0700."""
        os.mkdir(path, 0o700)

    def create(self, path: str) -> int:
        """Make a file with mode 0600, opened for appending, closed on exec."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def open_append(self, path: str) -> int:
        """Open with ``O_APPEND``: each write goes to what is the end then, whoever writes."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        return os.open(path, flags, 0o600)

    def write(self, handle: int, data: bytes) -> int:
        """Append with one ``write(2)``."""
        return os.write(handle, data)

    def sync(self, handle: int) -> None:
        """``fdatasync``, which covers the size of a grown file; ``F_FULLFSYNC`` on macOS."""
        if self._full_sync is None:
            os.fdatasync(handle)
        else:
            self._control(handle, self._full_sync)

    def truncate(self, handle: int, size: int) -> None:
        """Cut the file with ``ftruncate(2)``."""
        os.ftruncate(handle, size)

    def close(self, handle: int) -> None:
        """Close the descriptor."""
        os.close(handle)

    def sync_directory(self, path: str) -> None:
        """``fsync`` on the directory: a file's name lives there, not in the file."""
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def names(self, path: str) -> list[str]:
        """The sorted names in a directory."""
        return sorted(os.listdir(path))

    def size(self, path: str) -> int:
        """The size of a file in bytes."""
        return os.stat(path).st_size

    def mode(self, path: str) -> int:
        """The type and permissions of a file, of the one that a link leads to."""
        return os.stat(path).st_mode

    def read(self, path: str, offset: int, size: int) -> bytes:
        """Read a range, going on after short reads."""
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            parts: list[bytes] = []
            while size > 0 and (part := os.pread(handle, size, offset)):
                parts.append(part)
                offset += len(part)
                size -= len(part)
            return parts[0] if len(parts) == 1 else b"".join(parts)
        finally:
            os.close(handle)

    def overwrite(self, path: str, data: bytes) -> None:
        """``pwrite(2)`` without truncating first, then ``sync``."""
        handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(handle, data, 0)
            self.sync(handle)
        finally:
            os.close(handle)

    def rename(self, source: str, target: str) -> None:
        """``rename(2)``, which replaces in one step."""
        os.rename(source, target)

    def remove(self, path: str) -> None:
        """Remove a file."""
        os.remove(path)

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        os.rmdir(path)

    def try_lock(self, path: str) -> int | None:
        """``flock`` without waiting, on a file of its own.

        ``fcntl`` locks would end as soon as any descriptor of the file is closed.
        """
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._flock(handle, self._lock_flags)
            # Whoever held the lock before may have removed the file while we waited to open it.
            if os.path.samestat(os.fstat(handle), os.stat(path)):
                return handle
        except (BlockingIOError, FileNotFoundError):
            pass
        except OSError:
            os.close(handle)
            raise
        os.close(handle)
        return None

    def unlock(self, handle: int) -> None:
        """Unlock, then close."""
        try:
            self._flock(handle, self._unlock_flag)
        finally:
            os.close(handle)

    def boot_id(self) -> str:
        """Linux's random identifier of this boot."""
        try:
            with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            return ""


def secret_bytes(size: int) -> bytes:
    """Random bytes fit for a key."""
    return os.urandom(size)
