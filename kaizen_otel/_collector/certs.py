"""A small certificate authority for TLS between agents, Collectors and their backends.

A folder holds ``ca.crt`` and ``ca.key``, and a pair ``NAME.crt`` / ``NAME.key`` for each server and
client.  Keys are P-256 (RFC 5480) with mode 0600; a certificate says what it may be used for
(RFC 5280, section 4.2.1.12), and servers are known by their alternative names only (RFC 9525).
Who has an authority already needs none of this: the Collector's overlays take any PEM files.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from kaizen_otel._spool.files import ensure_directory, replace_file
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

    from kaizen_otel._edges import Clock, Filesystem

Purpose = Literal["server", "client"]

AUTHORITY: Final = "ca"
LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "::1")
DAYS: Final = 90
AUTHORITY_DAYS: Final = 3_650
_DAYS_MAX: Final = 36_500
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HOST: Final = re.compile(r"(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}")
# A reader whose clock is a little behind must not refuse a certificate that was made just now.
_BACKDATED: Final = timedelta(minutes=5)
_READABLE: Final = 0o644


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """One certificate and where it and its key are."""

    name: str
    purpose: Purpose | Literal["authority"]
    hosts: tuple[str, ...]
    not_after: datetime
    certificate: Path
    key: Path


class Authority:
    """The authority of one folder, which signs the other certificates in it."""

    def __init__(
        self,
        directory: Path,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        *,
        filesystem: Filesystem,
        clock: Clock,
    ) -> None:
        """Use ``make`` or ``load``."""
        self.directory = directory
        self.certificate = certificate
        self._key = key
        self._filesystem = filesystem
        self._clock = clock

    @classmethod
    def make(
        cls,
        directory: Path,
        *,
        days: int = AUTHORITY_DAYS,
        filesystem: Filesystem,
        clock: Clock,
    ) -> Authority:
        """Make the folder and a new authority in it.

        Raises ``ConfigError`` if there is one already: replacing it would end the trust in every
        certificate that it signed.
        """
        for path in _paths(directory, AUTHORITY):
            if path.exists():
                raise ConfigError(
                    f"{path} is there already and was NOT changed: add to it with `kaizen-otel "
                    "certs add`, renew with `kaizen-otel certs renew`, or name another folder"
                )
        ensure_directory(filesystem, str(directory))
        made = cls._sign_itself(ec.generate_private_key(ec.SECP256R1()), days, clock)
        authority = cls(directory, *made, filesystem=filesystem, clock=clock)
        authority._write(AUTHORITY, *made)
        return authority

    @classmethod
    def load(cls, directory: Path, *, filesystem: Filesystem, clock: Clock) -> Authority:
        """Read the authority of a folder.  Raises ``ConfigError`` if it cannot be used."""
        names_in(directory)
        certificate_path, key_path = _paths(directory, AUTHORITY)
        certificate = read_certificates(certificate_path)[0]
        key = read_key(key_path)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ConfigError(f"{key_path} holds no elliptic-curve key: nothing was signed with it")
        if not is_key_of(key.public_key(), certificate):
            raise ConfigError(f"{key_path} is not the key of {certificate_path}: nothing was made")
        return cls(directory, certificate, key, filesystem=filesystem, clock=clock)

    def issue(
        self, name: str, purpose: Purpose, *, hosts: Sequence[str] = (), days: int = DAYS
    ) -> Issued:
        """Make ``name``'s key and certificate; raises ``ConfigError`` if there is one already."""
        _check_name(name)
        for path in _paths(self.directory, name):
            if path.exists():
                raise ConfigError(
                    f"{path} is there already and was NOT changed: choose another name, or renew "
                    "it with `kaizen-otel certs renew`"
                )
        return self._issue(name, purpose, hosts, days)

    def renew(self, name: str, *, days: int = DAYS) -> Issued:
        """Give ``name`` a new key and a new certificate for the same purpose and hosts."""
        old = describe(self.directory, name)
        if old.purpose == "authority":
            return self.renew_itself()
        return self._issue(name, old.purpose, old.hosts, days)

    def renew_itself(self, *, days: int = AUTHORITY_DAYS) -> Issued:
        """Sign the authority anew with its old key, so that what it signed stays believed."""
        self.certificate, _ = made = self._sign_itself(self._key, days, self._clock)
        return self._write(AUTHORITY, *made)

    def _issue(self, name: str, purpose: Purpose, hosts: Sequence[str], days: int) -> Issued:
        if purpose == "server" and not hosts:
            raise ConfigError(f"server {name!r} needs a host name or address: give --host")
        key = ec.generate_private_key(ec.SECP256R1())
        now = moment_of(self._clock)
        # Nobody believes a certificate longer than its authority.
        ends = min(now + timedelta(days=_days(days)), self.certificate.not_valid_after_utc)
        usage = (
            ExtendedKeyUsageOID.SERVER_AUTH
            if purpose == "server"
            else ExtendedKeyUsageOID.CLIENT_AUTH
        )
        names = [_general_name(host) for host in hosts] or [x509.DNSName(name)]
        builder = (
            _builder(name, key.public_key(), now, ends)
            .issuer_name(self.certificate.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )
        return self._write(name, builder.sign(self._key, hashes.SHA256()), key)

    @staticmethod
    def _sign_itself(
        key: ec.EllipticCurvePrivateKey, days: int, clock: Clock
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        now = moment_of(clock)
        title = "kaizen-otel local authority"
        builder = (
            _builder(title, key.public_key(), now, now + timedelta(days=_days(days)))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)]))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        )
        return builder.sign(key, hashes.SHA256()), key

    def _write(
        self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> Issued:
        certificate_path, key_path = _paths(self.directory, name)
        key_pem = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        # A server that reloads between the two finds a pair that does not fit, keeps the old one
        # and looks again (crypto/tls; the Collector's reload_interval).
        replace_file(self._filesystem, str(key_path), key_pem, is_durable=True)
        certificate_pem = certificate.public_bytes(serialization.Encoding.PEM)
        replace_file(self._filesystem, str(certificate_path), certificate_pem, is_durable=True)
        certificate_path.chmod(_READABLE)
        return describe(self.directory, name)


def refuse_unusable(names: Sequence[str], hosts: Sequence[str], days: Sequence[int]) -> None:
    """Raise ``ConfigError`` for what no certificate can be made of; so nothing is half made."""
    for number, name in enumerate(names):
        _check_name(name)
        if name in names[:number]:
            raise ConfigError(f"two certificates cannot both be called {name!r}: nothing was made")
    for host in hosts:
        _general_name(host)
    for count in days:
        _days(count)


def describe(directory: Path, name: str) -> Issued:
    """Say what the certificate ``name`` of a folder is for; raises ``ConfigError``."""
    certificate_path, key_path = _paths(directory, name)
    certificate = read_certificates(certificate_path)[0]
    return Issued(
        name=name,
        purpose=purpose_of(certificate),
        hosts=hosts_of(certificate),
        not_after=certificate.not_valid_after_utc,
        certificate=certificate_path,
        key=key_path,
    )


def names_in(directory: Path) -> list[str]:
    """Return the names of a folder's certificates, the authority's first.

    Raises ``ConfigError`` if it has no authority.
    """
    names = sorted(path.stem for path in directory.glob("*.crt"))
    if AUTHORITY not in names:
        raise ConfigError(f"{directory} has no ca.crt: make one with `kaizen-otel certs new`")
    return [AUTHORITY, *(name for name in names if name != AUTHORITY)]


def purpose_of(certificate: x509.Certificate) -> Purpose | Literal["authority"]:
    """Return what a certificate is for; one that says nothing is a server's."""
    try:
        basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        if basic.ca:
            return "authority"
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return "server"
    return "server" if ExtendedKeyUsageOID.SERVER_AUTH in usage else "client"


def hosts_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the names and addresses that a certificate is for."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(str(name.value) for name in found)


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Read a PEM file of at least one certificate; raises ``ConfigError``."""
    data = _read(path)
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise ConfigError(f"{path} holds no certificate in PEM") from None


def read_key(path: Path) -> object:
    """Read a private key without a passphrase; raises ``ConfigError``."""
    data = _read(path)
    try:
        return serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        raise ConfigError(
            f"{path} holds no private key in PEM, or one with a passphrase: the Collector takes "
            "keys without one"
        ) from None


def is_key_of(public_key: CertificatePublicKeyTypes, certificate: x509.Certificate) -> bool:
    """Whether a certificate is about this public key."""
    return _der(public_key) == _der(certificate.public_key())


def _der(public_key: CertificatePublicKeyTypes) -> bytes:
    return public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from None


def _paths(directory: Path, name: str) -> tuple[Path, Path]:
    return directory / f"{name}.crt", directory / f"{name}.key"


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name == AUTHORITY:
        raise ConfigError(
            f"{name!r} is no name for a certificate: use letters, digits, '.', '_' and '-', and "
            f"not {AUTHORITY!r}"
        )


def _days(days: int) -> int:
    if not 0 < days <= _DAYS_MAX:
        raise ConfigError(f"{days} days: a certificate lasts from 1 to {_DAYS_MAX} days")
    return days


def moment_of(clock: Clock) -> datetime:
    """Return the time of a clock, in whole seconds."""
    return datetime.fromtimestamp(clock.time_ns() // 10**9, tz=UTC)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _HOST.fullmatch(host.lower()):
        raise ConfigError(f"{host!r} is no host name and no IP address: nothing was made")
    return x509.DNSName(host.lower())


def _builder(
    title: str, public_key: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)]))
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
