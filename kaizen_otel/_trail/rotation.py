"""The record of a rotation of keys, in a short stream of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaizen_otel._trail.short_stream import STORE_S, short_stream
from kaizen_otel.errors import SpoolFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._export import Transport
    from kaizen_otel._signing import Signer
    from kaizen_otel.config import Config


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
        with short_stream(
            directory,
            config=config,
            filesystem=filesystem,
            clock=clock,
            warn=warn,
            deliver_ms=deliver_ms,
            signer=old,
            transport=transport,
        ) as manager:
            receipt = manager.rotate_key(new)
            why = "" if receipt.wait(STORE_S) else receipt.reason or "the disk does not answer"
    except OSError as error:
        why = str(error)
    if why:
        raise SpoolFailedError(
            f"the record of the rotation could not be stored in {directory}, the key was NOT "
            f"rotated: {why}; run this again, which takes up the same new key"
        )
