"""Read stored records from where they are: a trail folder and a spool.  Takes no lock.

A trail folder holds ``audit.jsonl``, which the Collector writes, and the files that it rotated
away; both are read by ``_otlp.json``.  Effects go through the ``Filesystem`` that is passed in.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.decode import decode_log_record, decode_resource
from kaizen_otel._otlp.json import iter_log_records, read_lines
from kaizen_otel._spool.files import QUARANTINE_NAME, segment_paths, stream_ids
from kaizen_otel._spool.segment import SegmentFormatError, scan
from kaizen_otel.audit.query import stored_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._otlp.json import Problem
    from kaizen_otel._spool.segment import Scan
    from kaizen_otel.audit.query import StoredRecord

TRAIL_NAME: Final = "audit"
TRAIL_SUFFIX: Final = ".jsonl"
_CHUNK_BYTES: Final = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class Report:
    """What could not be read while reading: (path, what) of each, in the order found."""

    problems: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    problems_max: int = 1000
    count: int = 0

    def add(self, path: str, what: str) -> None:
        """Note a problem; beyond ``problems_max`` only its count."""
        self.count += 1
        if len(self.problems) < self.problems_max:
            self.problems.append((path, what))


def trail_files(filesystem: Filesystem, directory: str) -> list[str]:
    """Return the paths of a trail's files, oldest first, the active one last.

    Rotated files carry their time in their name (``audit-2026-11-24T16-00-00.000.jsonl``).
    Raises ``OSError`` if the folder cannot be read.
    """
    active = TRAIL_NAME + TRAIL_SUFFIX
    names = [
        name
        for name in filesystem.names(directory)
        if name == active or (name.startswith(TRAIL_NAME + "-") and name.endswith(TRAIL_SUFFIX))
    ]
    return [posixpath.join(directory, n) for n in sorted(names, key=lambda n: (n == active, n))]


def read_trail(
    filesystem: Filesystem, directory: str, *, report: Report | None = None
) -> Iterator[StoredRecord]:
    """Read all audit records of a trail folder, in the order they were written.

    Raises ``OSError`` if the folder or a file cannot be read; lines that cannot go to
    ``report``.
    """
    report = Report() if report is None else report
    for path in trail_files(filesystem, directory):
        yield from read_trail_file(filesystem, path, report=report)


def read_trail_file(
    filesystem: Filesystem, path: str, *, report: Report, offset: int = 0
) -> Iterator[StoredRecord]:
    """Read the audit records of one file from a byte offset, which must begin a line."""

    def note(problem: Problem) -> None:
        report.add(path, f"line {problem.line} (byte {problem.offset}): {problem.kind}")

    for request in read_lines(_chunks(filesystem, path, offset), on_problem=note):
        for log_record, resource in iter_log_records(request):
            record = stored_record(log_record, resource)
            if record is None:
                report.add(path, "a log record that is no audit record")
            else:
                yield record


def read_spool(
    filesystem: Filesystem, root: str, *, report: Report | None = None
) -> Iterator[StoredRecord]:
    """Read all audit records of a spool root: of all processes, delivered, waiting, quarantined.

    Raises ``OSError`` if the root cannot be read.  A file that goes away meanwhile was delivered.
    """
    report = Report() if report is None else report
    paths: list[str] = []
    for stream_id in stream_ids(filesystem, root):
        paths += segment_paths(filesystem, posixpath.join(root, stream_id))
    paths += segment_paths(filesystem, posixpath.join(root, QUARANTINE_NAME))
    for path in paths:
        found = read_segment(filesystem, path, report=report)
        if found is not None:
            yield from records_of(found, path, report=report)


def read_stored(
    filesystem: Filesystem, root: str, trail_directory: str | None
) -> Iterator[StoredRecord]:
    """Read spool and trail; what is in both comes twice.

    A folder that is not there yet is empty; raises ``OSError`` if one cannot be read.
    """
    yield from read_spool(filesystem, root)
    if trail_directory is not None:
        try:
            yield from read_trail(filesystem, trail_directory)
        except FileNotFoundError:
            return


def read_segment(filesystem: Filesystem, path: str, *, report: Report) -> Scan | None:
    """Read one segment file; None if it is gone or cannot be understood."""
    try:
        data = filesystem.read(path, 0, filesystem.size(path))
        found = scan(data)
    except FileNotFoundError:
        return None
    except SegmentFormatError as error:
        report.add(path, str(error))
        return None
    for damage in found.damages:
        report.add(path, f"{damage.size} damaged bytes at {damage.offset}")
    return found


def records_of(found: Scan, path: str, *, report: Report) -> Iterator[StoredRecord]:
    """Decode the records of a segment."""
    resources = {0: b"" if found.header is None else found.header.resource}
    for entry in found.entries:
        if entry.is_resource:
            resources[entry.resource_index] = entry.payload
            continue
        try:
            resource = decode_resource(resources.get(entry.resource_index, resources[0]))
            record = stored_record(decode_log_record(entry.payload), resource)
        except ValueError as error:
            report.add(path, f"entry {entry.sequence} is no log record: {error}")
            continue
        if record is None:
            report.add(path, f"entry {entry.sequence} is no audit record")
        else:
            yield record


def _chunks(filesystem: Filesystem, path: str, offset: int) -> Iterator[bytes]:
    while chunk := filesystem.read(path, offset, _CHUNK_BYTES):
        yield chunk
        offset += len(chunk)
