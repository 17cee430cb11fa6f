"""The cluster's certificates and kubeconfigs: who each component is.

What an API server reads out of a client's certificate is its common name (the user) and its
organizations (the groups): https://kubernetes.io/docs/reference/access-authn-authz/authentication
"""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_DAYS = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A user and its groups; a server instead has the hosts under which it is reached."""

    user: str
    groups: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()


class Authority:
    """A certificate authority in a folder."""

    def __init__(self, folder: Path) -> None:
        """Make it, with a new key."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("kaizen-otel-cluster", ())
        certificate = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        _write(folder / "ca", self._key, certificate)

    def issue(self, file: str, identity: Identity) -> None:
        """Write ``FILE.crt`` and ``FILE.key``."""
        key = ec.generate_private_key(ec.SECP256R1())
        usage = ExtendedKeyUsageOID.SERVER_AUTH if identity.hosts else None
        builder = self._builder(_name(identity.user, identity.groups), key).add_extension(
            x509.ExtendedKeyUsage([usage or ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False
        )
        if identity.hosts:
            names = [_host(host) for host in identity.hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        _write(self.folder / file, key, builder.sign(self._key, hashes.SHA256()))

    def kubeconfig(self, path: Path, *, server: str, certificate: str) -> None:
        """Write how a client with the certificate of that name reaches the API server."""
        files = self.folder
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {"server": server, "certificate-authority": str(files / "ca.crt")},
                }
            ],
            "users": [
                {
                    "name": certificate,
                    "user": {
                        "client-certificate": str(files / f"{certificate}.crt"),
                        "client-key": str(files / f"{certificate}.key"),
                    },
                }
            ],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": certificate}}],
            "current-context": "test",
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        path.chmod(0o600)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .issuer_name(self._name)
            .subject_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=_DAYS))
        )


def write_signing_key(folder: Path) -> None:
    """Write the key pair for the tokens of service accounts: ``tokens.key``, ``tokens.pub``."""
    key = ec.generate_private_key(ec.SECP256R1())
    _write_secret(folder / "tokens.key", _pem(key))
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (folder / "tokens.pub").write_bytes(public)


def _name(user: str, groups: Sequence[str]) -> x509.Name:
    parts = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    # The API server reads EC keys in SEC 1's form and in PKCS 8's.
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _write(base: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
    _write_secret(base.with_name(f"{base.name}.key"), _pem(key))
    content = certificate.public_bytes(serialization.Encoding.PEM)
    base.with_name(f"{base.name}.crt").write_bytes(content)


def _write_secret(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
