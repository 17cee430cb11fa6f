"""The store of subjects' wrapped keys, and the master key that opens them and lies elsewhere."""

from __future__ import annotations

import base64
import binascii
import posixpath
import re
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, Protocol

from kaizen_otel._edges import secret_bytes
from kaizen_otel._spool.files import NEW_SUFFIX, ensure_directory, remove_if_there, replace_file
from kaizen_otel._spool.secrets import SecretFile, read_or_make_secret
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Generator

    from kaizen_otel._edges import Clock, Filesystem

KEY_BYTES: Final = 32
_DURABLE_MAX: Final = 8192
_STORED_BYTES_MAX: Final = 4096
_SUFFIX: Final = ".key"
_LOCK_NAME: Final = "lock"
_LOCK_TRIES: Final = 500
_LOCK_WAIT_NS: Final = 10**7
_NAME: Final = re.compile(r"[0-9a-f-]{1,80}(?:\.erasing)?")

_MASTER_KEY: Final = SecretFile(
    name="subjects.key",
    lock_name="subjects.lock",
    bytes_max=KEY_BYTES,
    is_whole=lambda found: len(found) == KEY_BYTES,
    make=lambda: secret_bytes(KEY_BYTES),
)


class SubjectKeys(Protocol):
    """A store of wrapped keys, for example a table: names and values of at most 4 KiB.

    Every method may raise anything; then the record has no identity, or is refused with
    ``on_failure=block_action``.  They are called from several threads and processes at once.
    """

    def load(self, name: str) -> bytes | None:
        """Return what is stored under a name, durably, or None."""
        ...

    def store(self, name: str, data: bytes) -> bytes:
        """Store durably, unless there is something: return what is stored under the name now."""
        ...

    def remove(self, name: str) -> None:
        """Return when nothing is stored under the name and that is durable."""
        ...

    def names(self) -> list[str]:
        """Return all names under which something is stored."""
        ...


class DiskSubjectKeys:
    """Wrapped keys as files of a directory that processes share (0700, files 0600).

    Raises ``OSError`` for the disk's faults.  A file is overwritten before it is removed as far as
    the file system does that in place; copies in backups and snapshots are beyond its reach.
    """

    def __init__(self, directory: str, *, filesystem: Filesystem, clock: Clock) -> None:
        self._directory = directory
        self._filesystem = filesystem
        self._clock = clock
        self._durable: dict[str, bytes] = {}
        self._is_made = False

    def load(self, name: str) -> bytes | None:
        """Return a file's bytes; None if there is none or it is overwritten."""
        try:
            data = self._filesystem.read(self._path(name), 0, _STORED_BYTES_MAX)
        except FileNotFoundError:
            return None
        if not data.strip(b"\0"):
            return None
        if self._durable.get(name) != data:
            # Another process may have made it a moment ago and not have synced its name yet.
            self._filesystem.sync_directory(self._directory)
            self._remember(name, data)
        return data

    def store(self, name: str, data: bytes) -> bytes:
        """Make a file durably, unless there is one."""
        path = self._path(name)
        with self._locked():
            there = self.load(name)
            if there is not None:
                return there
            replace_file(self._filesystem, path, data, is_durable=True)
        self._remember(name, data)
        return data

    def remove(self, name: str) -> None:
        """Overwrite and remove a file; also makes durable that it is not there."""
        path, filesystem = self._path(name), self._filesystem
        with self._locked():
            self._durable.pop(name, None)
            remove_if_there(filesystem, path + NEW_SUFFIX)
            # Best effort: what counts is that the file goes, or that the lines below raise.
            with suppress(OSError):
                filesystem.overwrite(path, bytes(filesystem.size(path)))
            remove_if_there(filesystem, path)
            filesystem.sync_directory(self._directory)

    def names(self) -> list[str]:
        """Return the names of all files."""
        try:
            found = self._filesystem.names(self._directory)
        except FileNotFoundError:
            return []
        names = [file.removesuffix(_SUFFIX) for file in found if file.endswith(_SUFFIX)]
        return [name for name in names if _NAME.fullmatch(name)]

    def _path(self, name: str) -> str:
        assert _NAME.fullmatch(name), "names are made by this module"
        return posixpath.join(self._directory, name + _SUFFIX)

    def _remember(self, name: str, data: bytes) -> None:
        if len(self._durable) >= _DURABLE_MAX:
            self._durable.clear()
        self._durable[name] = data

    @contextmanager
    def _locked(self) -> Generator[None]:
        filesystem, never = self._filesystem, threading.Event()
        if not self._is_made:
            ensure_directory(filesystem, self._directory)
            self._is_made = True
        for _ in range(_LOCK_TRIES):
            lock = filesystem.try_lock(posixpath.join(self._directory, _LOCK_NAME))
            if lock is not None:
                try:
                    yield
                finally:
                    filesystem.unlock(lock)
                return
            self._clock.wait(never, _LOCK_WAIT_NS)
        raise TimeoutError(f"another process does not give up {self._directory}/{_LOCK_NAME}")


def master_key(
    setting: str | None,
    *,
    directory: str,
    keys_directory: str | None,
    filesystem: Filesystem,
    clock: Clock,
    may_make: bool = True,
) -> bytes:
    """Return the key under which subjects' keys are wrapped, 32 bytes.

    ``setting`` is the path of a file, or the key itself in base64; without it the key lies in
    ``subjects.key`` of the spool root ``directory`` and is made once, if ``may_make``.  Raises
    ``ConfigError`` if it is no such key or lies beside what it protects (``keys_directory``),
    ``OSError`` if it cannot be read or made durable.
    """
    key = None if setting is None else _decoded(setting.encode())
    if key is not None:
        return key
    path = setting or posixpath.join(directory, _MASTER_KEY.name)
    if keys_directory is not None:
        inside = posixpath.join(posixpath.abspath(keys_directory), "")
        if posixpath.abspath(path).startswith(inside):
            raise ConfigError(
                f"the master key {path} would lie in {keys_directory}, beside the keys it "
                "protects: set KAIZEN_OTEL_SUBJECT_MASTER_KEY or KAIZEN_OTEL_SUBJECT_KEYS to "
                "another directory"
            )
    if setting is None and may_make:
        made = read_or_make_secret(_MASTER_KEY, directory, filesystem=filesystem, clock=clock)
        # Another process may have made it a moment ago and not have synced its name yet.
        filesystem.sync_directory(directory)
        return made
    found = filesystem.read(path, 0, _STORED_BYTES_MAX)
    key = found if len(found) == KEY_BYTES else _decoded(found)
    if key is None:
        raise ConfigError(
            "KAIZEN_OTEL_SUBJECT_MASTER_KEY leads to no key of 32 bytes, as it is or in base64: "
            "make one with `head -c 32 /dev/urandom | base64`"
        )
    return key


def _decoded(text: bytes) -> bytes | None:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == KEY_BYTES else None
