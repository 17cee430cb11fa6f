"""Say in the trail that somebody asked it (PCI DSS 10.2.1.3)."""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING

from kaizen_otel._trail.short_stream import STORE_S, short_stream
from kaizen_otel.audit import record as names
from kaizen_otel.errors import SpoolFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._export import Transport
    from kaizen_otel.config import Config

_DELIVER_MS = 2_000


def record_access(
    how: str,
    what: str,
    *,
    directory: str,
    config: Config,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
    transport: Transport | None = None,
) -> None:
    """Make durable that this user did ``how`` (query, export) with the trail ``what``.

    Raises ``SpoolFailedError`` if that is not so after 30 s, ``OSError`` if there can be no spool
    in ``directory``: then the trail is not to be shown.
    """
    with short_stream(
        directory,
        config=config,
        filesystem=filesystem,
        clock=clock,
        warn=warn,
        deliver_ms=_DELIVER_MS,
        transport=transport,
    ) as manager:
        receipt = manager.emit(
            names.EVENT_ACCESSED,
            {
                names.ACTION: how.upper(),
                names.OUTCOME: "success",
                names.ACTOR_ID: user_name(),
                names.ACTOR_TYPE: "user",
                names.TARGET_ID: what,
                names.TARGET_TYPE: "kaizen.audit.trail",
            },
        )
        if not receipt.wait(STORE_S):
            raise SpoolFailedError(
                f"that the trail is read could not be recorded in {directory} "
                f"({receipt.reason or 'the disk does not answer'}), so it is NOT shown: mend the "
                "spool, or leave --record-access and KAIZEN_OTEL_AUDIT_ACCESS_RECORDS out"
            )


def user_name() -> str:
    """Who runs this: a name, or the number where it has none, as in a container."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
