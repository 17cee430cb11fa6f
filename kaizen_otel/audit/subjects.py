"""Keys of the people in audit records, so that erasing a key erases what the records say of them.

A *subject* is one person as the caller names them.  Each has a random data key; only its wrapped
form is stored.  A record of a subject holds no name: its pseudonyms and HMACs are made with keys
derived from the data key, and with ``KAIZEN_OTEL_AUDIT_CONTENT=encrypted`` its content is there
as ciphertext as well.  Once the wrapped key is gone nobody can read the ciphertext, recompute a
pseudonym or test a guess, and no record had to change for it: the hash chain stays whole.

Formats, for who has the keys and not this program:

- the key for a purpose P is ``HMAC-SHA256(key, "kaizen-otel " + P)``;
- pseudonyms and HMACs are those of any record, with the data key's key for "subject pseudonyms";
- ``kaizen.enc.N`` is ``aes-256-gcm:<key id>:<nonce>:<ciphertext and tag>`` in base64, with the data
  key's key for "subject content"; associated data is ``["<record id>", "kaizen.enc.N"]``;
- a key is stored under the hexadecimal HMAC-SHA256 of the user, with the master key's key for
  "subject names", as JSON: version, subject, id of the master key, nonce, and the data key under
  AES-256-GCM with the master key; associated data is ``["<subject>", "<name>"]``.

Pure: the cipher and the source of randomness are passed in.
"""

from __future__ import annotations

import base64
import hmac
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol, cast

from kaizen_otel.audit._content import KEY_BYTES, Pseudonyms, content_bytes
from kaizen_otel.audit.record import ACTOR_ID, ACTOR_TYPE, SUBJECT
from kaizen_otel.errors import SubjectKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UNAVAILABLE: Final = "unavailable"
"""Value of ``SUBJECT`` where the subject's key could not be had; the identity is lost for good."""
ENCRYPTED_PREFIX: Final = "kaizen.enc."
CIPHER_NAME: Final = "aes-256-gcm"
NONCE_BYTES: Final = 12
ENCRYPTED_VALUE_BYTES_MAX: Final = 8 * 1024
"""A larger value is stored as HMAC and size only."""
ENCRYPTED_RECORD_BYTES_MAX: Final = 12 * 1024
"""What all ciphertexts of one record may take, in bytes; beyond it HMAC and size only."""

_OWN_PSEUDONYMS: Final = ("enduser.pseudo.id", "user.hash")
IDENTITIES: Final = ("enduser.id", "user.id", "user.email", "user.name", *_OWN_PSEUDONYMS)
"""Attributes that name the subject of a record, first one first, if its actor is no user."""

_VERSION: Final = 1
_ATTRIBUTE_OVERHEAD: Final = 16
_WRAPPED_BYTES_MAX: Final = 4096


class Cipher(Protocol):
    """AES-256-GCM with a 12-byte nonce and a 16-byte tag behind the ciphertext."""

    def seal(self, key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """Encrypt ``data``; ``associated`` is authenticated with it."""
        ...

    def open(self, key: bytes, nonce: bytes, data: bytes, associated: bytes) -> bytes:
        """Decrypt; raises ``ValueError`` if data, key or ``associated`` is another one."""
        ...


def derive(key: bytes, purpose: str) -> bytes:
    """Return the 32-byte key for one purpose, so that no key serves two."""
    return hmac.digest(key, b"kaizen-otel " + purpose.encode(), "sha256")


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectKey:
    """A subject's random id and its 256-bit data key, which is never stored as it is."""

    subject: str
    key: bytes = field(repr=False)
    pseudonym_key: bytes = field(init=False, repr=False)
    cipher_key: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        assert len(self.key) == KEY_BYTES, "a short key can be guessed"
        object.__setattr__(self, "pseudonym_key", derive(self.key, "subject pseudonyms"))
        object.__setattr__(self, "cipher_key", derive(self.key, "subject content"))


def master_id(master: bytes) -> str:
    """Return the id of a master key: 16 hexadecimal digits that say nothing else about it."""
    return derive(master, "master key id").hex()[:16]


def names_key(master: bytes) -> bytes:
    """Return the key that ``name_of`` needs."""
    return derive(master, "subject names")


def name_of(user: str, key: bytes) -> str:
    """Return the name under which a subject's wrapped key is stored, with a ``names_key``.

    Who has the master key can find the key of a person they know, and nobody can read a person
    from a name.  The name is in no record: after the erasure it is nowhere.
    """
    return hmac.digest(key, content_bytes(user), "sha256").hex()


def wrap(
    subject: SubjectKey,
    name: str,
    *,
    master: bytes,
    cipher: Cipher,
    random_bytes: Callable[[int], bytes],
) -> bytes:
    """Return what is stored of a subject's key under ``name``, to which it is bound."""
    nonce = random_bytes(NONCE_BYTES)
    wrapped = cipher.seal(master, nonce, subject.key, _bound(subject.subject, name))
    stored = {
        "version": _VERSION,
        "subject": subject.subject,
        "master": master_id(master),
        "nonce": _text(nonce),
        "key": _text(wrapped),
    }
    return json.dumps(stored, sort_keys=True).encode() + b"\n"


def unwrap(data: bytes, name: str, *, master: bytes, cipher: Cipher) -> SubjectKey:
    """Return the subject's key from what is stored; raises ``SubjectKeyError``."""
    stored = _parse(data)
    subject, wrapped_by = stored.get("subject"), stored.get("master")
    if stored.get("version") != _VERSION or not isinstance(subject, str):
        raise SubjectKeyError(f"the stored key {name} is none of version {_VERSION}")
    if wrapped_by != master_id(master):
        raise SubjectKeyError(
            f"the stored key {name} is wrapped under another master key than "
            f"{master_id(master)}: set KAIZEN_OTEL_SUBJECT_MASTER_KEY to the one it was made with"
        )
    try:
        nonce, wrapped = _bytes(stored.get("nonce")), _bytes(stored.get("key"))
        key = cipher.open(master, nonce, wrapped, _bound(subject, name))
    except ValueError as error:
        raise SubjectKeyError(f"the stored key {name} is damaged or another subject's") from error
    return SubjectKey(subject=subject, key=key)


def subject_of_stored(data: bytes) -> str:
    """Return the subject's id from what is stored of a key; empty if it is damaged."""
    return _member(data, "subject")


def master_of_stored(data: bytes) -> str:
    """Return the id of the master key from what is stored of a key; empty if it is damaged."""
    return _member(data, "master")


class SubjectPseudonyms(Pseudonyms):
    """Makes what one record says of one subject.

    With a ``cipher`` every hidden value is there as ciphertext too, bound to this record and its
    attribute, as far as ``ENCRYPTED_VALUE_BYTES_MAX`` and ``ENCRYPTED_RECORD_BYTES_MAX`` allow.
    """

    __slots__ = ("_bytes_left", "_cipher", "_random_bytes", "_record_id", "_subject")

    def __init__(
        self,
        subject: SubjectKey,
        *,
        record_id: str,
        cipher: Cipher | None,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        super().__init__(subject.pseudonym_key)
        self._subject = subject
        self._record_id = record_id
        self._cipher = cipher
        self._random_bytes = random_bytes
        self._bytes_left = ENCRYPTED_RECORD_BYTES_MAX

    def hide(self, result: dict[str, object], name: str, data: bytes) -> None:
        """Put HMAC and size of ``data`` into ``result``, and its ciphertext if asked for."""
        super().hide(result, name, data)
        if self._cipher is None or len(data) > ENCRYPTED_VALUE_BYTES_MAX:
            return
        attribute = ENCRYPTED_PREFIX + name
        nonce = self._random_bytes(NONCE_BYTES)
        associated = _bound(self._record_id, attribute)
        sealed = self._cipher.seal(self._subject.cipher_key, nonce, data, associated)
        text = f"{CIPHER_NAME}:{self.key_id}:{_text(nonce)}:{_text(sealed)}"
        size = len(attribute) + len(text) + _ATTRIBUTE_OVERHEAD
        if size <= self._bytes_left:
            self._bytes_left -= size
            result[attribute] = text

    def identify(self, attributes: Mapping[str, object]) -> dict[str, object]:
        """Return the attributes with everything that names the subject made a pseudonym.

        That holds for pseudonyms of other keys as well, which would outlive this one.
        """
        result = dict(attributes)
        if _is_user(result) and result.get(ACTOR_ID) is not None:
            result[ACTOR_ID] = self.of(result[ACTOR_ID])
        for name in _OWN_PSEUDONYMS:
            if result.get(name) is not None:
                result[name] = self.of(result[name])
        result[SUBJECT] = self._subject.subject
        return result


def user_of(attributes: Mapping[str, object]) -> str | None:
    """Return the name of the subject of a record: a user who acts, or one that is named."""
    if _is_user(attributes) and (actor := _name(attributes.get(ACTOR_ID))):
        return actor
    return next((name for n in IDENTITIES if (name := _name(attributes.get(n)))), None)


def reveal(
    attributes: Mapping[str, object], *, record_id: str, subject: SubjectKey, cipher: Cipher
) -> dict[str, bytes]:
    """Return the decrypted values of a record by name, without the prefix.

    Raises ``SubjectKeyError`` if one was changed, moved, or made with another key.
    """
    result: dict[str, bytes] = {}
    for attribute, value in attributes.items():
        if not attribute.startswith(ENCRYPTED_PREFIX):
            continue
        try:
            # Whatever else its beginning says: only what this cipher made is authentic to it.
            _, _, nonce, sealed = str(value).split(":")
            data = cipher.open(
                subject.cipher_key, _bytes(nonce), _bytes(sealed), _bound(record_id, attribute)
            )
        except ValueError as error:
            raise SubjectKeyError(
                f"{attribute} of record {record_id} was changed, moved from another place, or "
                "encrypted with another key"
            ) from error
        result[attribute.removeprefix(ENCRYPTED_PREFIX)] = data
    return result


def _is_user(attributes: Mapping[str, object]) -> bool:
    kind = attributes.get(ACTOR_TYPE)
    return isinstance(kind, str) and kind == "user"


def _name(value: object) -> str:
    if isinstance(value, str) or value is None:
        return value or ""
    return content_bytes(value).decode(errors="replace")


def _bound(first: str, second: str) -> bytes:
    return json.dumps([first, second]).encode()


def _member(data: bytes, name: str) -> str:
    try:
        found = _parse(data).get(name)
    except SubjectKeyError:
        return ""
    return found if isinstance(found, str) else ""


def _parse(data: bytes) -> dict[str, object]:
    try:
        found = json.loads(data[:_WRAPPED_BYTES_MAX])
    except (ValueError, RecursionError) as error:
        raise SubjectKeyError("a stored key of a subject is no JSON: it is damaged") from error
    if not isinstance(found, dict):
        raise SubjectKeyError("a stored key of a subject is no JSON object: it is damaged")
    return cast("dict[str, object]", found)


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: object) -> bytes:
    """Return the bytes that a text stands for; raises ``ValueError`` if it is no base64."""
    return base64.b64decode(text if isinstance(text, str) else "-", validate=True)
