"""The key that signs the audit trail: where it comes from, and what it does.

``KAIZEN_OTEL_SIGNING_KEY`` names a PEM file, or is the PEM text itself.  Without it a key is made
once per spool root and shared by its processes.  No message, repr or exception holds a private
key, or a setting that may be one.  ``cryptography`` is loaded by the first key.
"""

from __future__ import annotations

import posixpath
import re
import stat
from typing import TYPE_CHECKING, Final, Protocol, cast

from kaizen_otel._spool.secrets import SecretFile, read_or_make_secret, read_regular
from kaizen_otel.audit.signatures import (
    PUBLIC_KEY_BYTES,
    SIGNATURE_BYTES,
    decode_base64,
    encode_base64,
    key_id_of,
    verify_signature,
)
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from kaizen_otel._edges import Clock, Filesystem

__all__ = [
    "KEY_NAME",
    "PUBLIC_KEY_BYTES",
    "SETTING",
    "SIGNATURE_BYTES",
    "Ed25519Signer",
    "Signer",
    "is_key_text",
    "key_id_of",
    "own_key_path",
    "public_key_from",
    "signer_from",
    "signer_from_file",
    "signer_named",
    "signer_or_explain",
    "verify_signature",
]

SETTING: Final = "KAIZEN_OTEL_SIGNING_KEY"
KEY_NAME: Final = "signing.key"

_KEY_BYTES_MAX: Final = 64 * 1024
_PEM_BEGIN: Final = "-----BEGIN "
_OPENSSH_BEGIN: Final = b"-----BEGIN OPENSSH PRIVATE KEY-----"
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
# A key that was set without its PEM lines looks so, and is not repeated in a message.
_MAYBE_A_KEY: Final = re.compile(r"[A-Za-z0-9+/_=\s-]{40,}")
_MAKE_ONE: Final = "`kaizen-otel audit keys new FILE` makes one"


class Signer(Protocol):
    """Signs for the audit trail; the key may be here or in a key store elsewhere."""

    @property
    def key_id(self) -> str:
        """``key_id_of(public_key)``: 32 hexadecimal digits."""
        ...

    @property
    def public_key(self) -> bytes:
        """The raw Ed25519 public key, 32 bytes."""
        ...

    def sign(self, data: bytes) -> bytes:
        """Return the Ed25519 signature of ``data``, 64 bytes; may raise anything."""
        ...


class Ed25519Signer:
    """A signer whose private key is in this process."""

    __slots__ = ("_key", "key_id", "public_key")

    def __init__(self, key: Ed25519PrivateKey) -> None:
        """Sign with a key of ``cryptography``."""
        self._key = key
        self.public_key: bytes = key.public_key().public_bytes_raw()
        self.key_id: str = key_id_of(self.public_key)

    @classmethod
    def generate(cls) -> Ed25519Signer:
        """Make a new key."""
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, data: bytes, *, source: str = "the key") -> Ed25519Signer:
        """Read an unencrypted PEM (PKCS 8) or OpenSSH private key.

        Raises ``ConfigError`` that names ``source`` and KAIZEN_OTEL_SIGNING_KEY.
        """
        return cls(_private_key(data, source))

    def to_pem(self) -> bytes:
        """Return the private key as PEM (PKCS 8), unencrypted: for a file of mode 0600."""
        from cryptography.hazmat.primitives import serialization as pem

        return self._key.private_bytes(
            pem.Encoding.PEM, pem.PrivateFormat.PKCS8, pem.NoEncryption()
        )

    def public_pem(self) -> str:
        """Return the public key as PEM, for verifiers."""
        from cryptography.hazmat.primitives import serialization as pem

        return (
            self._key.public_key()
            .public_bytes(pem.Encoding.PEM, pem.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )

    def sign(self, data: bytes) -> bytes:
        """Return the signature of ``data``, 64 bytes."""
        return self._key.sign(data)

    def __repr__(self) -> str:
        return f"Ed25519Signer(key_id={self.key_id!r})"


def signer_from(
    setting: str | None,
    *,
    directory: str,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
    say: Callable[[str], None],
) -> Signer:
    """Return the signer that KAIZEN_OTEL_SIGNING_KEY means, or the spool root's own.

    ``directory`` is the spool root.  ``warn`` hears of a key file that others can read; ``say`` is
    told where a new key is and how to pin it, once.  Raises ``ConfigError`` if there is a key that
    cannot be used, ``OSError`` if the own key can neither be read nor made durable, and
    ``ImportError`` if ``cryptography`` cannot be loaded.
    """
    if setting is None or not setting.strip():
        return _own_signer(directory, filesystem=filesystem, clock=clock, warn=warn, say=say)
    return signer_named(setting, filesystem=filesystem, warn=warn)


def signer_named(
    setting: str, *, filesystem: Filesystem, warn: Callable[[str], None]
) -> Ed25519Signer:
    """Return the signer that a value of KAIZEN_OTEL_SIGNING_KEY means.

    Raises ``ConfigError`` if it cannot be used.
    """
    if not is_key_text(setting):
        return signer_from_file(setting.strip(), filesystem=filesystem, warn=warn)
    # Files of variables often hold one line per variable.
    text = setting if "\n" in setting.strip() else setting.replace("\\n", "\n")
    return Ed25519Signer.from_pem(text.encode(errors="replace"), source=f"the text in {SETTING}")


def is_key_text(setting: str) -> bool:
    """Whether a value of KAIZEN_OTEL_SIGNING_KEY is the key itself and no path."""
    return setting.lstrip().startswith(_PEM_BEGIN)


def signer_or_explain(
    setting: str | None,
    *,
    directory: str,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
    say: Callable[[str], None],
) -> Signer | None:
    """Return what ``signer_from`` does, or None and a warning.

    A wrong setting must not keep records from being stored; and to sign with another key than the
    one that was asked for would be worse than not to sign.
    """
    try:
        return signer_from(
            setting, directory=directory, filesystem=filesystem, clock=clock, warn=warn, say=say
        )
    except ConfigError as error:
        why = str(error)
    except ImportError as error:
        why = f"the package 'cryptography' cannot be loaded ({error})"
    except OSError as error:
        why = (
            f"{own_key_path(directory)} can neither be read nor made ({error.strerror or error}): "
            f"name a key with {SETTING}, or another place with KAIZEN_OTEL_SPOOL_DIR"
        )
    warn(f"audit records are stored UNSIGNED until the next start: {why}")
    return None


def own_key_path(directory: str) -> str:
    """Return where the key of a spool root is."""
    return posixpath.join(directory, KEY_NAME)


def signer_from_file(
    path: str, *, filesystem: Filesystem, warn: Callable[[str], None]
) -> Ed25519Signer:
    """Read a key file.  Raises ``ConfigError``, also if it cannot be read."""
    named = _named(path, filesystem)
    try:
        data, mode = read_regular(filesystem, path, bytes_max=_KEY_BYTES_MAX)
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
        raise ConfigError(
            f"{named} cannot be read ({why}): set {SETTING} to the path of a PEM file that this "
            f"user can read, or to the PEM text; {_MAKE_ONE}"
        ) from None
    signer = Ed25519Signer.from_pem(data, source=named)
    if mode & _OTHERS:
        warn(
            f"{named} can be used by others than its owner (mode {stat.S_IMODE(mode):04o}), who "
            "can sign audit records as this agent: chmod 600"
        )
    return signer


def public_key_from(data: bytes, *, source: str) -> bytes:
    """Read a public key: PEM, an ``ssh-ed25519`` line, or 32 bytes in base64.

    Raises ``ConfigError`` that names ``source``; a private key is refused, because whoever
    verifies must not have it.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    raw = decode_base64(data.decode("ascii", "replace").strip(), PUBLIC_KEY_BYTES)
    if raw is not None:
        return raw
    if b"PRIVATE KEY-----" in data:
        raise ConfigError(
            f"{source} is a private key, which no verifier should have: give the public one, which "
            "`kaizen-otel audit keys show FILE --public` prints"
        )
    is_openssh = data.lstrip().startswith(b"ssh-")
    load = pem.load_ssh_public_key if is_openssh else pem.load_pem_public_key
    try:
        key = cast("object", load(data.strip()))
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ConfigError(
            f"{source} is no Ed25519 public key: give PEM, an ssh-ed25519 line or base64, as "
            "`kaizen-otel audit keys show` prints it"
        )
    return key.public_bytes_raw()


def _own_signer(
    directory: str,
    *,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
    say: Callable[[str], None],
) -> Ed25519Signer:
    path = own_key_path(directory)

    def tell(made: bytes) -> None:
        signer = Ed25519Signer.from_pem(made)
        say(
            f"no signing key is configured ({SETTING}): made {path}, key id {signer.key_id}; to "
            "pin it for verifiers: kaizen-otel audit trust add "
            f"{encode_base64(signer.public_key)} --name NAME"
        )

    read_or_make_secret(_OWN_KEY, directory, filesystem=filesystem, clock=clock, on_made=tell)
    return signer_from_file(path, filesystem=filesystem, warn=warn)


# An empty file is no key; what else is in it is never replaced, even if it cannot be used.
_OWN_KEY: Final = SecretFile(
    name=KEY_NAME,
    lock_name="signing.lock",
    bytes_max=_KEY_BYTES_MAX,
    is_whole=bool,
    make=lambda: Ed25519Signer.generate().to_pem(),
)


def _named(path: str, filesystem: Filesystem) -> str:
    folder = posixpath.dirname(path)
    if not _MAYBE_A_KEY.fullmatch(path) or (len(folder) > 1 and _is_there(filesystem, folder)):
        return f"the key file {path}"
    return f"the file that {SETTING} names (not shown: it looks like a key without PEM lines)"


def _is_there(filesystem: Filesystem, path: str) -> bool:
    try:
        filesystem.mode(path)
    except (OSError, ValueError):
        return False
    return True


def _private_key(data: bytes, source: str) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as pem
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not data.strip():
        raise ConfigError(
            f"{source} is empty: give {SETTING} an Ed25519 private key (PEM, PKCS 8); {_MAKE_ONE}"
        )
    is_openssh = data.lstrip().startswith(_OPENSSH_BEGIN)
    load = pem.load_ssh_private_key if is_openssh else pem.load_pem_private_key
    try:
        key = cast("object", load(data, None))
    except TypeError:
        raise ConfigError(
            f"{source} holds a private key that is encrypted, and an agent cannot ask for its "
            f"password: give {SETTING} the key unencrypted, in a file of mode 0600"
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        what = "a public key" if b" PUBLIC KEY-----" in data else "no private key in PEM form"
        raise ConfigError(
            f"{source} holds {what}: give {SETTING} an Ed25519 private key (PEM, PKCS 8); "
            f"{_MAKE_ONE}"
        ) from None
    if not isinstance(key, Ed25519PrivateKey):
        kind = type(key).__name__.removesuffix("PrivateKey").strip("_")
        raise ConfigError(
            f"{source} holds a key of kind {kind}, audit records are signed with Ed25519: give "
            f"{SETTING} such a key; {_MAKE_ONE}"
        )
    return key
