"""The subjects of a process: whose records are made with which key, and for how long it is known.

A process asks the store of keys again after a second at the latest, so an erasure by another
process ends its use of the key as well, and its next record of that person gets a new one.
"""

from __future__ import annotations

import threading
import uuid
import weakref
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._edges import at_fork, secret_bytes
from kaizen_otel._subject_keys import KEY_BYTES, DiskSubjectKeys, master_key
from kaizen_otel.audit.subjects import (
    UNAVAILABLE,
    SubjectKey,
    SubjectPseudonyms,
    master_id,
    master_of_stored,
    name_of,
    names_key,
    subject_of_stored,
    unwrap,
    wrap,
)
from kaizen_otel.errors import ConfigError, SubjectKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._subject_keys import SubjectKeys
    from kaizen_otel.audit.subjects import Cipher
    from kaizen_otel.config import AuditConfig

LIFETIME_NS: Final = 10**9
"""How long a process may use a key without asking the store whether it is still there."""
_REMEMBERED_MAX: Final = 1024
_ERASING: Final = ".erasing"


class AesGcm:
    """AES-256-GCM of the package ``cryptography``, which is loaded here and at the first use."""

    def seal(self, key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """Encrypt."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(key).encrypt(nonce, data, associated)

    def open(self, key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """Decrypt; raises ``ValueError`` if anything is not what it was."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            return AESGCM(key).decrypt(nonce, data, associated)
        except InvalidTag as error:
            raise ValueError("not authentic") from error


class _Remembered(NamedTuple):
    subject: SubjectKey
    until_ns: int


class Subjects:
    """The subjects of one process: finds, makes and erases their keys.

    ``master`` is asked at the first use.  The first record of a subject in a second asks the store,
    in the thread that emits; making a key waits for the disk.  With ``is_encrypting`` records hold
    their content as ciphertext.  Where a key cannot be had, ``is_strict`` raises
    ``SubjectKeyError``; else the record's identity is made with a key that is thrown away, and
    ``warn`` is told.
    """

    def __init__(
        self,
        keys: SubjectKeys,
        *,
        master: Callable[[], bytes],
        clock: Clock,
        is_encrypting: bool = False,
        is_strict: bool = False,
        warn: Callable[[str], None],
        cipher: Cipher | None = None,
        random_bytes: Callable[[int], bytes] = secret_bytes,
    ) -> None:
        self._keys = keys
        self._master = master
        self._clock = clock
        self._is_strict = is_strict
        self._warn = warn
        self._random_bytes = random_bytes
        self._cipher: Cipher = cipher or AesGcm()
        self._content_cipher = self._cipher if is_encrypting else None
        self.forget()
        _living.add(self)

    @property
    def cipher(self) -> Cipher:
        """What encrypts and decrypts."""
        return self._cipher

    def forget(self) -> None:
        """Forget all keys; in a forked child the locks are the parent's as well."""
        self._lock = threading.Lock()
        self._opened: tuple[bytes, bytes] | None = None
        self._remembered: dict[str, _Remembered] = {}
        self._sweep_at_ns = 0

    def pseudonyms(self, user: str, record_id: str) -> SubjectPseudonyms:
        """Return what makes the pseudonyms of one record of a subject, whose key is made if needed.

        Raises ``SubjectKeyError`` only if strict.
        """
        cipher = self._content_cipher
        try:
            subject = self._key(user)
        except Exception as error:
            # A store of the user's may raise anything.
            if self._is_strict:
                raise SubjectKeyError(
                    f"the key of a subject cannot be had ({_why(error)}), record NOT stored: mend "
                    "the store that KAIZEN_OTEL_SUBJECT_KEYS names"
                ) from error
            self._warn(
                f"the key of a subject cannot be had ({_why(error)}): audit records are stored "
                "WITHOUT a recognisable user until the store that KAIZEN_OTEL_SUBJECT_KEYS names "
                "works again"
            )
            subject, cipher = SubjectKey(subject=UNAVAILABLE, key=secret_bytes(KEY_BYTES)), None
        return SubjectPseudonyms(
            subject, record_id=record_id, cipher=cipher, random_bytes=self._random_bytes
        )

    def find(self, user: str) -> SubjectKey | None:
        """Return a subject's key if there is one; never makes one.

        Raises ``SubjectKeyError`` or what the store raises.
        """
        return self._load(self._name(user))

    def pseudonym(self, user: str) -> str | None:
        """Return what stands for a user in records, or None if they have no key."""
        subject = self.find(user)
        if subject is None:
            return None
        return SubjectPseudonyms(
            subject, record_id="", cipher=None, random_bytes=self._random_bytes
        ).of(user)

    def all(self) -> Iterator[SubjectKey]:
        """Return all keys that there are; raises ``SubjectKeyError`` or what the store raises."""
        master, _ = self._secrets()
        for name in self._keys.names():
            data = None if name.endswith(_ERASING) else self._keys.load(name)
            if data is not None:
                yield unwrap(data, name, master=master, cipher=self._cipher)

    def erase(self, user: str) -> list[str]:
        """Remove a subject's key, durably; idempotent, may be called while others use it.

        Returns the ids of all subjects whose erasure is done and not in the trail yet: of this
        one, and of those for which an earlier attempt got no further.  Write a record of each
        and call ``recorded``.  Raises what the store raises; then call it again.
        """
        name = self._name(user)
        stored = self._keys.load(name)
        if stored is None:
            self._check_master()
        subject = "" if stored is None else subject_of_stored(stored)
        if subject:
            # Else nobody could name the subject after a crash between removal and record.
            self._keys.store(subject + _ERASING, b"the record of this erasure is not written yet\n")
        self._keys.remove(name)
        with self._lock:
            self._remembered.pop(name, None)
        names = self._keys.names()
        waiting = {n.removesuffix(_ERASING) for n in names if n.endswith(_ERASING)}
        if waiting - {subject}:
            kept = [self._keys.load(n) for n in names if not n.endswith(_ERASING)]
            waiting -= {subject_of_stored(data) for data in kept if data is not None}
        return sorted(waiting)

    def _check_master(self) -> None:
        """Raise if no key here is wrapped under our master key: then nobody would be found."""
        ours = master_id(self._secrets()[0])
        stored = (self._keys.load(n) for n in self._keys.names() if not n.endswith(_ERASING))
        wrapped_by = {master_of_stored(data) for data in stored if data is not None}
        if wrapped_by and ours not in wrapped_by:
            raise SubjectKeyError(
                f"no key of a subject here is wrapped under the master key {ours}, so nobody can "
                "be found and nothing was erased: set KAIZEN_OTEL_SUBJECT_MASTER_KEY, or "
                "KAIZEN_OTEL_SPOOL_DIR, to those of the agents"
            )

    def recorded(self, subject: str) -> None:
        """Note that the record of an erasure is durable; raises what the store raises."""
        self._keys.remove(subject + _ERASING)

    def _key(self, user: str) -> SubjectKey:
        name = self._name(user)
        now_ns = self._clock.monotonic_ns()
        with self._lock:
            if now_ns >= self._sweep_at_ns:
                self._sweep(now_ns)
            found = self._remembered.get(name)
            if found is not None and now_ns < found.until_ns:
                return found.subject
        subject = self._load(name) or self._make(name)
        with self._lock:
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            # From before the store was asked: its answer is as old as that.
            self._remembered[name] = _Remembered(subject, now_ns + LIFETIME_NS)
        return subject

    def _sweep(self, now_ns: int) -> None:
        """Forget every key that would have to be looked up again: it may be erased."""
        old = [name for name, found in self._remembered.items() if now_ns >= found.until_ns]
        for name in old:
            del self._remembered[name]
        self._sweep_at_ns = now_ns + LIFETIME_NS

    def _load(self, name: str) -> SubjectKey | None:
        data = self._keys.load(name)
        if data is None:
            return None
        return unwrap(data, name, master=self._secrets()[0], cipher=self._cipher)

    def _make(self, name: str) -> SubjectKey:
        master, cipher, random_bytes = self._secrets()[0], self._cipher, self._random_bytes
        subject = str(uuid.UUID(bytes=random_bytes(16), version=4))
        made = SubjectKey(subject=subject, key=random_bytes(KEY_BYTES))
        data = wrap(made, name, master=master, cipher=cipher, random_bytes=random_bytes)
        there = self._keys.store(name, data)
        return made if there == data else unwrap(there, name, master=master, cipher=cipher)

    def _name(self, user: str) -> str:
        return name_of(user, self._secrets()[1])

    def _secrets(self) -> tuple[bytes, bytes]:
        if self._opened is None:
            master = self._master()
            self._opened = (master, names_key(master))
        return self._opened


def open_subjects(
    config: AuditConfig,
    *,
    directory: str,
    keys: SubjectKeys | None,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
    may_make: bool = True,
) -> Subjects | None:
    """Return the subjects of a process, or None if they are off; opens nothing before the first.

    ``keys`` is a store of the caller's, instead of the directory that ``config`` names;
    ``directory`` is the spool root.  Tools pass no ``may_make``: a master key that is made now
    opens nothing.
    """
    settings = config.subjects
    path = None if settings.keys is None or keys is not None else str(settings.keys)
    if keys is None:
        if path is None:
            return None
        keys = DiskSubjectKeys(path, filesystem=filesystem, clock=clock)
    return Subjects(
        keys,
        master=lambda: master_key(
            settings.master_key,
            directory=directory,
            keys_directory=path,
            filesystem=filesystem,
            clock=clock,
            may_make=may_make,
        ),
        clock=clock,
        is_encrypting=settings.is_encrypting,
        is_strict=config.on_failure == "block_action",
        warn=warn,
    )


def _why(error: Exception) -> str:
    """Return the cause without its text where that is a foreign one: it may name the user."""
    if isinstance(error, (SubjectKeyError, ConfigError)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__


_living: weakref.WeakSet[Subjects] = weakref.WeakSet()


def _each_after_fork() -> None:
    for subjects in list(_living):
        subjects.forget()


at_fork(_each_after_fork)
