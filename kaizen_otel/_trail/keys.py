"""Key files and trust files: make, rotate, read, change.  Each step leaves a state to work with.

A rotation goes in four steps, and after each of them ``<file>`` holds one whole key::

    <file>.old-<key id>   the old key, kept            1. made durable
    <file>.next           the new key                  2. made durable, or found from a try before
    (the spool)           the record of the rotation   3. made durable
    <file>                the new key                  4. ``.next`` takes the file's name

Stopped before step 4 nothing has changed for agents, and the next try takes up the same new key.
"""

from __future__ import annotations

import posixpath
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel._signing import Ed25519Signer, signer_from_file
from kaizen_otel._spool.files import remove_if_there, replace_file
from kaizen_otel._spool.secrets import read_regular
from kaizen_otel.audit.trust import TRUST_BYTES_MAX, Trust, encode_trust, parse_trust
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._signing import Signer

_LOOK_NS: Final = 10 * 10**6
_TRIES: Final = 300
_WRITABLE_BY_OTHERS: Final = 0o022


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotated:
    """What a rotation did: ``path`` holds the new key now, ``old_path`` the old one."""

    path: str
    old_path: str
    old_key_id: str
    new: Ed25519Signer


def make_key_file(path: str, *, filesystem: Filesystem, clock: Clock) -> Ed25519Signer:
    """Make a new key and its file, with mode 0600 and durable; never replaces a file.

    Raises ``ConfigError`` if there is something of that name, ``OSError`` for the disk's faults.
    """
    with _only_one(path, filesystem=filesystem, clock=clock):
        if _exists(filesystem, path):
            raise ConfigError(
                f"{path} is there already and was NOT changed: name another file, or change its "
                "key with `kaizen-otel audit keys rotate`"
            )
        signer = Ed25519Signer.generate()
        replace_file(filesystem, path, signer.to_pem(), is_durable=True)
    return signer


def rotate_key_file(
    path: str,
    *,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
    record: Callable[[Signer, Signer], None],
) -> Rotated:
    """Give a key file a new key.

    ``record`` is called with the old and the new signer, and returns when the record of the
    rotation is durable.  Raises what it raises, ``ConfigError`` for a file that holds no key, and
    ``OSError`` for the disk's faults.
    """
    with _only_one(path, filesystem=filesystem, clock=clock):
        old = signer_from_file(path, filesystem=filesystem, warn=warn)
        old_path, next_path = f"{path}.old-{old.key_id}", f"{path}.next"
        replace_file(filesystem, old_path, old.to_pem(), is_durable=True)
        new = _next_key(next_path, old, filesystem=filesystem, warn=warn)
        record(old, new)
        filesystem.rename(next_path, path)
        filesystem.sync_directory(posixpath.dirname(path))
    return Rotated(path=path, old_path=old_path, old_key_id=old.key_id, new=new)


def read_trust(path: str, *, filesystem: Filesystem, warn: Callable[[str], None]) -> Trust:
    """Read a trust file.  Raises ``ConfigError`` if it cannot be read or used.

    ``warn`` hears of a file that others can change, who then choose what verifiers believe.
    """
    try:
        data, mode = read_regular(filesystem, path, bytes_max=TRUST_BYTES_MAX)
    except OSError as error:
        raise ConfigError(
            f"the trust file {path} cannot be read ({error.strerror or error}), NO key is "
            "trusted: name another with --trust or KAIZEN_OTEL_TRUST_FILE, or make it with "
            "`kaizen-otel audit trust add`"
        ) from None
    if mode & _WRITABLE_BY_OTHERS:
        warn(
            f"the trust file {path} can be changed by others than its owner, who can choose what "
            "is believed here: chmod go-w"
        )
    return parse_trust(data, source=path)


def change_trust(
    path: str,
    change: Callable[[Trust], Trust],
    *,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
) -> Trust:
    """Change a trust file, or begin one, durably and at once; returns its new content.

    Raises what ``change`` raises, ``ConfigError`` for a file that cannot be used, and ``OSError``
    for the disk's faults; then the file is as it was.
    """
    with _only_one(path, filesystem=filesystem, clock=clock):
        is_there = _exists(filesystem, path)
        before = read_trust(path, filesystem=filesystem, warn=warn) if is_there else Trust()
        after = change(before)
        if after != before or not is_there:
            replace_file(filesystem, path, encode_trust(after), is_durable=True)
    return after


def _next_key(
    path: str, old: Ed25519Signer, *, filesystem: Filesystem, warn: Callable[[str], None]
) -> Ed25519Signer:
    """Return the new key that an earlier try left there, or make one."""
    if _exists(filesystem, path):
        found = signer_from_file(path, filesystem=filesystem, warn=warn)
        if found.key_id != old.key_id:
            # It may have been renamed there and not been synced.
            replace_file(filesystem, path, found.to_pem(), is_durable=True)
            return found
    made = Ed25519Signer.generate()
    replace_file(filesystem, path, made.to_pem(), is_durable=True)
    return made


def _exists(filesystem: Filesystem, path: str) -> bool:
    try:
        filesystem.mode(path)
    except FileNotFoundError:
        return False
    return True


@contextmanager
def _only_one(path: str, *, filesystem: Filesystem, clock: Clock) -> Generator[None]:
    """Let one process at a time change a file; its lock file is gone afterwards."""
    lock_path = f"{path}.lock"
    never = threading.Event()
    for _ in range(_TRIES):
        lock = filesystem.try_lock(lock_path)
        if lock is not None:
            break
        clock.wait(never, _LOOK_NS)
    else:
        raise TimeoutError(f"another process does not finish changing {path}")
    try:
        yield
    finally:
        # What was done is done: a lock file that stays, or a lock that is held until this process
        # ends, keeps nobody from their data.
        with suppress(OSError):
            # Removed while it is held: whoever waits for it looks whether it is still there.
            remove_if_there(filesystem, lock_path)
        with suppress(OSError):
            filesystem.unlock(lock)
