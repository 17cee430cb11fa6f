"""What is wrong with certificates, or soon will be: expiry, keys, names, the authority."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA1

from kaizen_otel._collector.certs import (
    hosts_of,
    is_key_of,
    purpose_of,
    read_certificates,
    read_key,
)
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime, timedelta
    from pathlib import Path

    from cryptography import x509

Severity = Literal["error", "warning"]

_RSA_BITS_MIN: Final = 2_048
_OPEN_TO_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateFinding:
    """One thing that is wrong with a file, and what to do.

    ``error``: connections fail now, or would be worthless; ``warning``: they soon will.
    """

    path: str
    severity: Severity
    kind: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateReport:
    """What one certificate says, and the findings about it."""

    path: str
    purpose: str
    hosts: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    findings: tuple[CertificateFinding, ...]


def check_certificate(
    path: Path, *, authority: Path | None, within: timedelta, now: datetime
) -> CertificateReport:
    """Judge the first certificate of a PEM file, and the key beside it if there is one.

    ``authority`` is the PEM file of who should have signed it; what ends ``within`` that time from
    ``now`` is a warning.  Raises ``ConfigError`` if the file holds no certificate.
    """
    certificate = read_certificates(path)[0]
    findings = [
        *_about_time(path, certificate, now, within),
        *_about_strength(path, certificate),
        *_about_authority(path, certificate, authority),
        *_about_key(path, certificate),
    ]
    return CertificateReport(
        path=str(path),
        purpose=purpose_of(certificate),
        hosts=hosts_of(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        findings=tuple(findings),
    )


def _about_time(
    path: Path, certificate: x509.Certificate, now: datetime, within: timedelta
) -> Iterator[CertificateFinding]:
    starts, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    renew = "renew it: `kaizen-otel certs renew`"
    if purpose_of(certificate) == "authority":
        renew = "sign it anew: `kaizen-otel certs renew --authority`"
    if ends <= now:
        yield _error(path, "expired", f"it ended on {ends:%Y-%m-%d %H:%M} UTC; {renew}")
    elif ends - now <= within:
        left = f"{(ends - now).days} days"
        yield CertificateFinding(
            path=str(path),
            severity="warning",
            kind="expires_soon",
            text=f"it ends in {left}, on {ends:%Y-%m-%d %H:%M} UTC; {renew}",
        )
    if starts > now:
        text = f"it is valid from {starts:%Y-%m-%d %H:%M} UTC only; is this machine's clock right?"
        yield _error(path, "not_yet_valid", text)


def _about_strength(path: Path, certificate: x509.Certificate) -> Iterator[CertificateFinding]:
    key = certificate.public_key()
    if isinstance(key, rsa.RSAPublicKey) and key.key_size < _RSA_BITS_MIN:
        yield _error(path, "weak_key", f"its RSA key has {key.key_size} bits: make a new one")
    if isinstance(certificate.signature_hash_algorithm, SHA1):
        yield _error(path, "weak_signature", "it is signed with SHA-1, which Go refuses")
    if purpose_of(certificate) == "server" and not hosts_of(certificate):
        text = "it has no subject alternative name, by which alone servers are known (RFC 9525)"
        yield _error(path, "no_host", text)


def _about_authority(
    path: Path, certificate: x509.Certificate, authority: Path | None
) -> Iterator[CertificateFinding]:
    if authority is None or authority == path:
        return
    signers = read_certificates(authority)
    if not any(_is_issued_by(certificate, signer) for signer in signers):
        yield _error(path, "not_signed", f"it is not signed by {authority}")


def _about_key(path: Path, certificate: x509.Certificate) -> Iterator[CertificateFinding]:
    key_path = path.with_suffix(".key")
    try:
        mode = key_path.stat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        yield _error(key_path, "unreadable", f"it cannot be read: {error.strerror or error}")
        return
    if stat.S_IMODE(mode) & _OPEN_TO_OTHERS:
        yield _error(key_path, "open_to_others", "others than its owner can read it: chmod 600")
    try:
        key = read_key(key_path)
    except ConfigError as error:
        yield _error(key_path, "unreadable", str(error))
        return
    public_key = getattr(key, "public_key", None)
    if public_key is None or not is_key_of(public_key(), certificate):
        yield _error(key_path, "other_key", f"it is not the key of {path}")


def _is_issued_by(certificate: x509.Certificate, signer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(signer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _error(path: Path, kind: str, text: str) -> CertificateFinding:
    return CertificateFinding(path=str(path), severity="error", kind=kind, text=text)
