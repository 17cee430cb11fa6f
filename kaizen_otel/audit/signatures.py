"""Ed25519 signatures as everyone checks them: key ids, and whether a signature holds.

``cryptography`` is loaded by the first check.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
KEY_ID_DIGITS: Final = 32

_KEYS_MAX: Final = 256
_PRIME: Final = 2**255 - 19
_SIGN_BIT: Final = 1 << 255
# The heights of the points whose order divides 8, also in the forms that are not reduced: with
# such a key anybody can make signatures that OpenSSL accepts (RFC 8032, section 8.8, leaves them
# to the application).  The third is a root of d*y^4 + 2*y^2 = 1 and the fourth its negative.
_ORDER_8: Final = 0x05FC536D880238B13933C6D305ACDFD5F098EFF289F4C345B027B2C28F95E826
_WEAK: Final = frozenset({0, 1, _ORDER_8, _PRIME - _ORDER_8, _PRIME - 1, _PRIME, _PRIME + 1})


def key_id_of(public_key: bytes) -> str:
    """Return the id of a raw public key: the first 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(public_key).hexdigest()[:KEY_ID_DIGITS]


def is_usable(public_key: bytes) -> bool:
    """Whether these are 32 bytes, and none of the few keys under which anybody can sign."""
    return (
        len(public_key) == PUBLIC_KEY_BYTES
        and int.from_bytes(public_key, "little") & ~_SIGN_BIT not in _WEAK
    )


def verify_signature(public_key: bytes, signature: bytes, data: bytes) -> bool:
    """Whether an Ed25519 signature over ``data`` holds; False also for what is no key at all."""
    from cryptography.exceptions import InvalidSignature

    key = _loaded(public_key)
    if key is None or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def decode_base64(text: object, size: int) -> bytes | None:
    """Return the ``size`` bytes that a text encodes in standard base64, padded, or None.

    One value has one text: spaces, line ends, other alphabets and spare bits are refused, and so
    is what is no text.
    """
    if not isinstance(text, str):
        return None
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if len(data) == size and encode_base64(data) == text else None


def encode_base64(data: bytes) -> str:
    """Return bytes in standard base64, padded."""
    return base64.b64encode(data).decode()


@lru_cache(maxsize=_KEYS_MAX)
def _loaded(public_key: bytes) -> Ed25519PublicKey | None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if not is_usable(public_key):
        return None
    try:
        return Ed25519PublicKey.from_public_bytes(public_key)
    except ValueError:
        return None
