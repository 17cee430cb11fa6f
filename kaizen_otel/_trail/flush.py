"""Empty a spool from outside: ship what dead processes left, wait for what living ones ship."""

from __future__ import annotations

import posixpath
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel._spool.files import QUARANTINE_NAME, segment_paths
from kaizen_otel._spool.shipper import Shipper
from kaizen_otel._trail.streams import waiting_records

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._export import Transport

_MILLISECOND_NS: Final = 10**6
_POLL_NS: Final = 200 * _MILLISECOND_NS
_STOP_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class FlushResult:
    """What came of it; ``failure`` says why the receiver took nothing, if so."""

    waiting_before: int
    waiting: int
    quarantined: int
    failure: str


def flush_spool(
    root: str,
    *,
    transport: Transport,
    filesystem: Filesystem,
    clock: Clock,
    random_fraction: Callable[[], float],
    warn: Callable[[str], None],
    timeout_ms: int,
) -> FlushResult:
    """Deliver every record of a spool root, within the time.

    Streams of living processes are theirs to deliver and are waited for.  Raises ``OSError`` if
    the root cannot be read.
    """
    deadline_ns = clock.monotonic_ns() + timeout_ms * _MILLISECOND_NS
    before = waiting = waiting_records(filesystem, root)
    shipper = Shipper(
        root,
        spool=None,
        transport=transport,
        filesystem=filesystem,
        clock=clock,
        random_fraction=random_fraction,
        warn=warn,
    )
    shipper.start()
    never = threading.Event()
    try:
        while waiting:
            left_ns = deadline_ns - clock.monotonic_ns()
            if left_ns <= 0:
                break
            shipper.flush(min(left_ns, _POLL_NS) // _MILLISECOND_NS)
            waiting = waiting_records(filesystem, root)
            if waiting:
                clock.wait(never, min(_POLL_NS, max(0, deadline_ns - clock.monotonic_ns())))
        failure = shipper.status().failure
    finally:
        shipper.stop(_STOP_MS)
    return FlushResult(
        waiting_before=before,
        waiting=waiting,
        quarantined=len(segment_paths(filesystem, posixpath.join(root, QUARANTINE_NAME))),
        failure=failure,
    )
