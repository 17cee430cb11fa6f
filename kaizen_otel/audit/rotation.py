"""The change of a stream's key: what the old key signs, what the new key proves.

The record ``kaizen.audit.key_rotated`` names the new key and is signed by the old one, which says
"from here on believe that key".  The proof in it is signed by the new one, which says "I am that
key, and I follow that one in that stream": nobody can have a key of another named as theirs.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel.audit import record as names
from kaizen_otel.audit.canonical import canonical_json
from kaizen_otel.audit.signatures import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    decode_base64,
    encode_base64,
    is_usable,
    key_id_of,
    verify_signature,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_KIND: Final = "kaizen-otel key rotation v1"


class RotationError(ValueError):
    """A record of a rotation does not show that the new key follows the old one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotation:
    """The key that signs the records after this one in the stream."""

    key_id: str
    public_key: bytes


def rotation_digest(*, old_key_id: str, new_key_id: str, stream_id: str) -> bytes:
    """Return the 32 bytes that the new key signs to prove that it follows the old one."""
    statement = {"kind": _KIND, "new": new_key_id, "old": old_key_id, "streamId": stream_id}
    return hashlib.sha256(canonical_json(statement)).digest()


def rotation_attributes(
    *, public_key: bytes, sign: Callable[[bytes], bytes], old_key_id: str, stream_id: str
) -> dict[str, str]:
    """Return the attributes of the record with which a stream changes to a new key.

    ``public_key`` and ``sign`` are the new key's.  Raises ``RotationError`` if they do not belong
    together, and whatever ``sign`` raises.
    """
    key_id = key_id_of(public_key)
    digest = rotation_digest(old_key_id=old_key_id, new_key_id=key_id, stream_id=stream_id)
    attributes = {
        names.PUBLIC_KEY: encode_base64(public_key),
        names.KEY_ID: key_id,
        names.KEY_PROOF: encode_base64(sign(digest)),
    }
    read_rotation(attributes, old_key_id=old_key_id, stream_id=stream_id)
    return attributes


def read_rotation(attributes: Mapping[str, object], *, old_key_id: str, stream_id: str) -> Rotation:
    """Return the new key that a record of a rotation names and proves.

    ``old_key_id`` is the certificate of the record, whose signature the caller checks.  Raises
    ``RotationError``, which says what is wrong.
    """
    public_key = _bytes(attributes, names.PUBLIC_KEY, PUBLIC_KEY_BYTES)
    proof = _bytes(attributes, names.KEY_PROOF, SIGNATURE_BYTES)
    key_id = key_id_of(public_key)
    if attributes.get(names.KEY_ID) != key_id:
        raise RotationError(f"{names.KEY_ID} is not the id of {names.PUBLIC_KEY}")
    if key_id == old_key_id:
        raise RotationError("the new key is the old one")
    if not is_usable(public_key):
        raise RotationError(f"{names.PUBLIC_KEY} is a key under which anybody can sign")
    digest = rotation_digest(old_key_id=old_key_id, new_key_id=key_id, stream_id=stream_id)
    if not verify_signature(public_key, proof, digest):
        raise RotationError(
            f"{names.KEY_PROOF} is not the new key's signature for this stream and old key"
        )
    return Rotation(key_id=key_id, public_key=public_key)


def _bytes(attributes: Mapping[str, object], name: str, size: int) -> bytes:
    text = attributes.get(name)
    data = decode_base64(text, size)
    if data is None:
        raise RotationError(f"{name} is not {size} bytes in base64")
    return data
