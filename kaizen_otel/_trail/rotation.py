"""The record of a rotation of keys, in a short stream of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kaizen_otel._spool.files import ensure_directory
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.errors import SpoolFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._export import Transport
    from kaizen_otel._signing import Signer
    from kaizen_otel.config import Config

_STORE_S: Final = 30


def record_rotation(
    old: Signer,
    new: Signer,
    *,
    directory: str,
    config: Config,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
    deliver_ms: int,
    transport: Transport | None = None,
) -> None:
    """Make durable that ``new`` follows ``old``, in the spool root ``directory``.

    Raises ``SpoolFailedError`` if that is not so after 30 s.  The record is delivered now if that
    takes no longer than ``deliver_ms``, else by the next process that ships.
    """
    try:
        ensure_directory(filesystem, directory)
    except OSError as error:
        raise SpoolFailedError(_refused(directory, str(error))) from error
    # Whatever agents promise: a key is changed when its record survives a power loss.
    audit = replace(config.audit, durability="durable", on_failure="continue")
    manager = AuditTrailManager(
        directory=directory,
        config=replace(config, audit=audit),
        filesystem=filesystem,
        clock=clock,
        warn=warn,
        signer=old,
        transport=transport,
    )
    try:
        receipt = manager.rotate_key(new)
        if not receipt.wait(_STORE_S):
            raise SpoolFailedError(
                _refused(directory, receipt.reason or "the disk does not answer")
            )
    finally:
        manager.shutdown(deliver_ms)


def _refused(directory: str, why: str) -> str:
    return (
        f"the record of the rotation could not be stored in {directory}, the key was NOT rotated: "
        f"{why}; run this again, which takes up the same new key"
    )
