"""A stream of a tool's own: begun, given a few records, ended, in the spool of the agents."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from kaizen_otel._spool.files import ensure_directory
from kaizen_otel.audit_trail import AuditTrailManager

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._export import Transport
    from kaizen_otel._signing import Signer
    from kaizen_otel.config import Config

STORE_S: Final = 30
"""How long a tool waits for a record to be durable, in seconds."""


@contextmanager
def short_stream(
    directory: str,
    *,
    config: Config,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
    deliver_ms: int,
    signer: Signer | None = None,
    transport: Transport | None = None,
) -> Generator[AuditTrailManager]:
    """Give a manager whose records are durable when their receipts are True, and end its stream.

    ``signer`` signs instead of the configured key.  What was not delivered within ``deliver_ms``
    is delivered by the next process that ships.  Raises ``OSError`` if the spool root
    ``directory`` cannot be made.
    """
    ensure_directory(filesystem, directory)
    # Whatever agents promise: what a tool did is done when its record survives a power loss.
    audit = replace(config.audit, durability="durable", on_failure="continue")
    manager = AuditTrailManager(
        directory=directory,
        config=replace(config, audit=audit),
        filesystem=filesystem,
        clock=clock,
        warn=warn,
        signer=signer,
        transport=transport,
    )
    try:
        yield manager
    finally:
        manager.shutdown(deliver_ms)
