"""Credentials that are in files and are renewed while an agent runs: certificates and a token.

Whoever renews them replaces a file, rewrites it in place, or swaps a symbolic link above it
(Kubernetes does that with Secrets and projected tokens); here that is noticed by what the path
leads to, without a thread.  A renewal that is half done changes nothing: what was read last holds.
"""

from __future__ import annotations

import ssl
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from kaizen_otel._export import Rejected, Retryable
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kaizen_otel._export import Outcome
    from kaizen_otel.config import EndpointConfig

Made = TypeVar("Made")

TOKEN_BYTES_MAX: Final = 64 * 1024
_PRINTABLE: Final = frozenset(range(0x21, 0x7F))
_DEFAULTS: Final = {
    "headers": "OTEL_EXPORTER_OTLP_HEADERS",
    "token_file": "KAIZEN_OTEL_TOKEN_FILE",
    "certificate": "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "client_certificate": "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
    "client_key": "OTEL_EXPORTER_OTLP_CLIENT_KEY",
}


def setting_of(endpoint: EndpointConfig, field: str) -> str:
    """The variable that a credential of the endpoint is from, or would be."""
    return endpoint.settings.get(field, _DEFAULTS[field])


def credentials_advice(endpoint: EndpointConfig) -> str:
    """What to do when a server does not know us."""
    token, headers = setting_of(endpoint, "token_file"), setting_of(endpoint, "headers")
    if endpoint.token_file is not None:
        return f"correct the file of {token}"
    return f"correct {headers}" if endpoint.headers else f"set {token} or {headers}"


class Renewable(Generic[Made]):
    """What is made of files, made again when one of them is another one.

    ``make`` raises ``ConfigError`` if it cannot be made: the first time for whoever made this,
    later it is kept in ``failure``, and ``value`` stays.
    """

    def __init__(self, paths: Sequence[str | None], make: Callable[[], Made]) -> None:
        self._paths = tuple(paths)
        self._make = make
        self._versions = self._look()
        self.failure = ""
        self.value = make()

    def renew(self, *, is_forced: bool = False) -> bool:
        """Look, and make it again if a file has changed or ``is_forced``; whether it was made."""
        versions = self._look()
        if versions == self._versions and not is_forced:
            return False
        try:
            self.value = self._make()
        except ConfigError as error:
            self.failure = str(error)
            return False
        self.failure = ""
        self._versions = versions
        return True

    def _look(self) -> list[tuple[int, int, int] | None]:
        """What tells whether a file is still the one that was read; None for one that is gone."""
        versions: list[tuple[int, int, int] | None] = []
        for path in self._paths:
            try:
                status = Path(path).stat() if path else None
            except (OSError, ValueError):
                status = None
            versions.append(status and (status.st_ino, status.st_mtime_ns, status.st_size))
        return versions


def tls_files(endpoint: EndpointConfig) -> tuple[str | None, ...]:
    """The files of a TLS connection, for ``Renewable``."""
    return (endpoint.certificate, endpoint.client_certificate, endpoint.client_key)


def tls_context(endpoint: EndpointConfig) -> ssl.SSLContext:
    """Read authority, certificate and key; ``ConfigError`` if they cannot be used together."""
    try:
        context = ssl.create_default_context(cafile=endpoint.certificate)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{setting_of(endpoint, 'certificate')}={endpoint.certificate!r} cannot be read: "
            f"{error}"
        ) from error
    if endpoint.client_certificate is not None:
        try:
            # The empty password: nobody is there to be asked for that of an encrypted key.
            context.load_cert_chain(endpoint.client_certificate, endpoint.client_key, password="")
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"{setting_of(endpoint, 'client_certificate')}={endpoint.client_certificate!r} or "
                f"{setting_of(endpoint, 'client_key')}={endpoint.client_key!r} cannot be read: "
                f"{error}"
            ) from error
    return context


class BearerToken:
    """The token of an endpoint's file, if it has one, and what to do when it is refused.

    Raises ``ConfigError`` if there is a file without a usable token in it.
    """

    def __init__(self, endpoint: EndpointConfig) -> None:
        path, setting = endpoint.token_file, setting_of(endpoint, "token_file")
        self._setting = setting
        self._file = None if path is None else Renewable([path], lambda: read_token(path, setting))

    @property
    def header(self) -> tuple[tuple[str, str], ...]:
        """The header that tells it, or nothing."""
        return () if self._file is None else (("authorization", f"Bearer {self._file.value}"),)

    def send(self, attempt: Callable[[], Outcome]) -> Outcome:
        """Make an attempt with the token as it is now; one more if it was refused and is new.

        A token that is refused while it is exchanged on both sides is right a moment later, or
        the file has the next one then: so it may be tried again, which credentials that cannot
        change are not.
        """
        file = self._file
        if file is None:
            return attempt()
        file.renew()
        outcome = attempt()
        if not _is_refused(outcome):
            return outcome
        before = file.value
        if file.renew(is_forced=True) and file.value != before:
            outcome = attempt()
        if isinstance(outcome, Rejected) and outcome.reason == "unauthenticated":
            said = f" ({file.failure})" if file.failure else ""
            return Retryable(reason=outcome.reason, message=f"{outcome.message}{said}")
        return outcome


def read_token(path: str, setting: str) -> str:
    """Read the one token of a file; white space around it does not count.

    Raises ``ConfigError``, which names the setting only: whoever puts the token itself into the
    variable must not find it in a log.
    """
    where = f"the file of {setting}"
    data: bytes | None = None
    try:
        if stat.S_ISREG(Path(path).stat().st_mode):  # another kind might block
            with Path(path).open("rb") as file:
                data = file.read(TOKEN_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or "not a path"
        raise ConfigError(
            f"{where} cannot be read ({reason}): {setting} must name a file with a token"
        ) from None  # the error's own text has the path
    if data is None:
        raise ConfigError(f"{where} is no ordinary file: {setting} must name one with a token")
    token = data.strip()
    if not token:
        raise ConfigError(f"{where} is empty: put a token into it, or unset {setting}")
    if len(data) > TOKEN_BYTES_MAX:
        raise ConfigError(f"{where} is larger than {TOKEN_BYTES_MAX} bytes: it is no token")
    if len(token.splitlines()) > 1:
        raise ConfigError(f"{where} has more than one line: put nothing but one token into it")
    if not _PRINTABLE.issuperset(token):
        raise ConfigError(
            f"{where} has a space or a character in it that no token has: put nothing but one "
            "token into it, without the word Bearer"
        )
    return token.decode("ascii")


def _is_refused(outcome: Outcome) -> bool:
    return isinstance(outcome, Rejected) and outcome.reason in {"unauthenticated", "forbidden"}
