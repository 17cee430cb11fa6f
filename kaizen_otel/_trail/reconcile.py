"""Compare spool and trail: whether every record that was delivered really is in the trail."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from kaizen_otel._spool.cursor import mark_reconciled
from kaizen_otel._spool.files import QUARANTINE_NAME, segment_paths, stream_ids
from kaizen_otel._trail.streams import read_cursor
from kaizen_otel.audit import record as names
from kaizen_otel.audit._stored import Report, read_segment, read_trail, records_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kaizen_otel._edges import Filesystem
    from kaizen_otel.audit.query import StoredRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Spooled:
    """Where a record stands in the spool."""

    record_id: str
    stream_id: str
    sequence: int
    is_delivered: bool
    is_quarantined: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """What the comparison found.

    ``missing`` were delivered and are not in the trail; ``waiting`` are not delivered yet.
    ``duplicates`` counts lines beyond the first of a record: allowed, readers drop them.
    ``unknown`` were delivered and may be newer than what the spool was compared with.
    """

    spooled: int
    in_trail: int
    duplicates: int
    unknown: int = 0
    missing: list[Spooled] = field(default_factory=list[Spooled])
    waiting: list[Spooled] = field(default_factory=list[Spooled])
    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    @property
    def is_clean(self) -> bool:
        """Every spooled record is in the trail and everything could be read."""
        return not (self.missing or self.waiting or self.problems)


def reconcile(
    filesystem: Filesystem, root: str, trail_directory: str, *, is_marking: bool = False
) -> Reconciliation:
    """Look up every record of a spool root in a trail folder.

    Memory is that of the spooled records' ids; the trail is read through once.  With
    ``is_marking`` each stream is noted as reconciled as far as it is in the trail.  Raises
    ``OSError`` if the spool or the trail cannot be read.
    """
    report = Report()
    # The spool first: what is delivered and retired meanwhile is found in the trail.
    left = {spooled.record_id: spooled for spooled in _spooled(filesystem, root, report)}
    count = len(left)
    ends = _ends(left.values())
    in_trail = duplicates = 0
    found: set[str] = set()
    for record in read_trail(filesystem, trail_directory, report=report):
        in_trail += 1
        if left.pop(record.record_id, None) is not None:
            found.add(record.record_id)
        elif record.record_id in found:
            duplicates += 1
    if is_marking:
        for stream_id, end in ends.items():
            absent = [one.sequence for one in left.values() if one.stream_id == stream_id]
            mark_reconciled(filesystem, posixpath.join(root, stream_id), min([*absent, end]))
    return Reconciliation(
        spooled=count,
        in_trail=in_trail,
        duplicates=duplicates,
        missing=[spooled for spooled in left.values() if spooled.is_delivered],
        waiting=[spooled for spooled in left.values() if not spooled.is_delivered],
        problems=report.problems,
    )


def _ends(spooled: Iterable[Spooled]) -> dict[str, int]:
    """Return the number after the last one of each stream that is in no quarantine."""
    ends: dict[str, int] = {}
    for one in spooled:
        if not one.is_quarantined:
            ends[one.stream_id] = max(ends.get(one.stream_id, 0), one.sequence + 1)
    return ends


def _spooled(filesystem: Filesystem, root: str, report: Report) -> Iterator[Spooled]:
    for stream_id in stream_ids(filesystem, root):
        directory = posixpath.join(root, stream_id)
        paths = segment_paths(filesystem, directory)
        records = list(_records(filesystem, paths, report))
        # The cursor last: what it covers had been delivered before the trail is read.
        cursor = read_cursor(filesystem, directory)
        for record in records:
            sequence = _sequence(record)
            yield Spooled(
                record_id=record.record_id,
                stream_id=stream_id,
                sequence=sequence,
                is_delivered=sequence < cursor.sequence_next,
            )
    quarantine = segment_paths(filesystem, posixpath.join(root, QUARANTINE_NAME))
    for record in _records(filesystem, quarantine, report):
        yield Spooled(
            record_id=record.record_id,
            stream_id=str(record.attributes.get(names.STREAM_ID, "")),
            sequence=_sequence(record),
            is_delivered=False,
            is_quarantined=True,
        )


def _records(filesystem: Filesystem, paths: list[str], report: Report) -> Iterator[StoredRecord]:
    for path in paths:
        found = read_segment(filesystem, path, report=report)
        if found is not None:
            yield from records_of(found, path, report=report)


def _sequence(record: StoredRecord) -> int:
    value = record.attributes.get(names.SEQUENCE)
    return value if isinstance(value, int) else 0
