"""What the records of one process are made with: pseudonyms, the Resource's hash, the signer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import secret_bytes
from kaizen_otel._otlp.decode import decode_resource
from kaizen_otel._signing import signer_or_explain
from kaizen_otel._spool.store import KEY_BYTES, read_or_make_key
from kaizen_otel.audit._content import Pseudonyms
from kaizen_otel.audit._templates import Templates
from kaizen_otel.audit.canonical import resource_hash

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._signing import Signer

_RESOURCES_MAX: Final = 256


class AuditKeys:
    """Keys of a spool root, made when they are first used, and hashes of Resources.

    ``signer`` wins over ``setting`` (KAIZEN_OTEL_SIGNING_KEY), which wins over the root's own key.
    """

    def __init__(
        self,
        directory: str,
        *,
        signer: Signer | None,
        setting: str | None,
        resource: Callable[[], bytes],
        filesystem: Filesystem,
        clock: Clock,
        warn: Callable[[str], None],
    ) -> None:
        self._directory = directory
        self._signer = signer
        self._setting = setting
        self._resource = resource
        self._filesystem = filesystem
        self._clock = clock
        self._warn = warn
        self.after_fork()

    def after_fork(self) -> None:
        """Forget what a forked child has another one of."""
        self._pseudonyms: Pseudonyms | None = None
        self._templates: Templates | None = None
        self._resource_hashes: dict[bytes, str] = {}

    @property
    def pseudonyms(self) -> Pseudonyms:
        """The pseudonyms of this spool root; its key is made at the first use."""
        if self._pseudonyms is None:
            try:
                key = read_or_make_key(
                    self._directory, filesystem=self._filesystem, clock=self._clock
                )
            except OSError as error:
                self._warn(
                    f"no pseudonym key in {self._directory} ({error}): values of this process "
                    "cannot be recognised in the audit trail later (KAIZEN_OTEL_SPOOL_DIR)"
                )
                key = secret_bytes(KEY_BYTES)
            self._pseudonyms = Pseudonyms(key)
        return self._pseudonyms

    @property
    def templates(self) -> Templates:
        """What encodes records whose content is hidden with ``pseudonyms``."""
        if self._templates is None:
            self._templates = Templates(self.pseudonyms)
        return self._templates

    def signer(self) -> Signer | None:
        """Return the signer; None, with a warning, if there is none that could be used."""
        return self._signer or signer_or_explain(
            self._setting,
            directory=self._directory,
            filesystem=self._filesystem,
            clock=self._clock,
            warn=self._warn,
            say=self._warn,
        )

    def keep_signer(self, signer: Signer | None) -> None:
        """Go on with a signer: a forked child signs with what its parent signed with last."""
        self._signer = signer or self._signer

    def resource_hash(self, resource: bytes = b"") -> str:
        """Return the hash of an encoded Resource, or of the process's own for none."""
        known = self._resource_hashes.get(resource)
        if known is None:
            decoded = decode_resource(resource or self._resource())
            if len(self._resource_hashes) >= _RESOURCES_MAX:
                self._resource_hashes.clear()
            known = self._resource_hashes[resource] = resource_hash(decoded.get("attributes"))
        return known
