"""Erase a subject, and show what was encrypted of one to who holds the keys."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel._subjects import LIFETIME_NS
from kaizen_otel._trail.short_stream import STORE_S, short_stream
from kaizen_otel.audit import record as names
from kaizen_otel.audit.subjects import ENCRYPTED_PREFIX, reveal
from kaizen_otel.errors import SubjectKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._export import Transport
    from kaizen_otel._subjects import Subjects
    from kaizen_otel.audit.query import StoredRecord
    from kaizen_otel.audit.subjects import SubjectKey
    from kaizen_otel.config import Config

# The processes' clocks run at slightly different rates.
_SETTLE_NS: Final = LIFETIME_NS + LIFETIME_NS // 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Revealed:
    """What was encrypted in one record, by the name of the hidden attribute."""

    record: StoredRecord
    values: dict[str, bytes]


def erase_subject(
    user: str,
    *,
    subjects: Subjects,
    directory: str,
    config: Config,
    filesystem: Filesystem,
    clock: Clock,
    warn: Callable[[str], None],
    deliver_ms: int,
    transport: Transport | None = None,
) -> list[str]:
    """Erase a subject's key and write a signed record of it into the spool root ``directory``.

    Returns the ids of the subjects whose erasure is now in the trail: of this one, and of those
    that an earlier attempt left; none if there was nothing to erase.  When it returns, no process
    uses the key any more.  Raises ``SubjectKeyError`` if a record is not durable after 30 s, and
    what the store of keys raises; what was done stays done, and a second call does the rest.
    """
    erased = subjects.erase(user)
    if not erased:
        return []
    # The record says that nobody can use the key: another process may for a second more.
    clock.wait(threading.Event(), _SETTLE_NS)
    with short_stream(
        directory,
        config=config,
        filesystem=filesystem,
        clock=clock,
        warn=warn,
        deliver_ms=deliver_ms,
        transport=transport,
    ) as manager:
        for subject in erased:
            receipt = manager.emit(names.EVENT_ERASED, _attributes(subject))
            if not receipt.wait(STORE_S):
                raise SubjectKeyError(
                    f"the key of subject {subject} is erased, but its record could not be stored "
                    f"in {directory} ({receipt.reason or 'the disk does not answer'}): run this "
                    "again, which writes the record"
                )
            subjects.recorded(subject)
    return erased


def reveal_records(
    records: Iterable[StoredRecord], *, keys: Iterable[SubjectKey], subjects: Subjects
) -> Iterator[Revealed]:
    """Decrypt what the records hold of the subjects with these keys; pass over all others.

    Raises ``SubjectKeyError`` if a value was changed or moved.
    """
    known = {key.subject: key for key in keys}
    for record in records:
        key = known.get(str(record.attributes.get(names.SUBJECT)))
        if key is not None and any(name.startswith(ENCRYPTED_PREFIX) for name in record.attributes):
            values = reveal(
                record.attributes,
                record_id=record.record_id,
                subject=key,
                cipher=subjects.cipher,
            )
            yield Revealed(record=record, values=values)


def _attributes(subject: str) -> dict[str, object]:
    return {
        names.SUBJECT: subject,
        names.ACTION: "ERASE",
        names.OUTCOME: "success",
        names.ACTOR_ID: "kaizen-otel",
        names.ACTOR_TYPE: "system",
    }
