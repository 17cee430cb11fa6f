"""Which files of a trail may go: old ones that are proved to be whole, and nothing else.

Files go from the oldest one on, and the first that may not go ends it.  A file may go if

- it was rotated, and every record in it is older than the time that was asked for
- everything in it is a record with a place in a stream
- of each stream, up to the last record in it: nothing is missing, altered or unsigned, and an
  anchor says that the stream had it

Files in which earlier prunings are recorded stay: verifiers need them.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._otlp.json import iter_lines, iter_log_records, read_line
from kaizen_otel._trail.blocks import iter_blocks, read_chunks
from kaizen_otel.audit import record as names
from kaizen_otel.audit._seen import read_record
from kaizen_otel.audit._stored import TRAIL_NAME, TRAIL_SUFFIX, trail_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._otlp.json import Problem
    from kaizen_otel.audit._finding import Finding, StreamSummary
    from kaizen_otel.audit.verify import Verdict

PRUNED_PREFIX: Final = f"{TRAIL_NAME}-pruned-"


class End(NamedTuple):
    """The last record of a stream that goes: its number and its hash."""

    number: int
    digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class OldFile:
    """A file that may go; ``ends`` are the last records of the streams in it."""

    path: str
    size: int
    records: int
    newest_ns: int
    ends: Mapping[str, End]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What goes: ``files`` from the oldest on, ``ends`` by stream over all of them.

    ``refused`` is the first file that is old enough and may not go, and why; ``too_young`` the
    number of rotated files that are not old enough.
    """

    files: list[OldFile] = field(default_factory=list[OldFile])
    ends: dict[str, End] = field(default_factory=dict[str, End])
    refused: str = ""
    reasons: list[str] = field(default_factory=list[str])
    too_young: int = 0

    @property
    def size(self) -> int:
        """Bytes that become free."""
        return sum(file.size for file in self.files)

    @property
    def records(self) -> int:
        """Records in the files, duplicates included."""
        return sum(file.records for file in self.files)


def plan_prune(filesystem: Filesystem, directory: str, *, before_ns: int, verdict: Verdict) -> Plan:
    """Decide which files of a trail folder may go, by a verdict over the whole folder.

    Raises ``OSError`` if the trail cannot be read.
    """
    active = TRAIL_NAME + TRAIL_SUFFIX
    rotated = [
        path
        for path in trail_files(filesystem, directory)
        if posixpath.basename(path) != active
        and not posixpath.basename(path).startswith(PRUNED_PREFIX)
    ]
    files: list[OldFile] = []
    ends: dict[str, End] = {}
    for place, path in enumerate(rotated):
        if not _is_old(filesystem, path, before_ns):
            return Plan(files=files, ends=ends, too_young=len(rotated) - place)
        file, reasons = _read(filesystem, path, before_ns)
        if file is None:
            return Plan(files=files, ends=ends, too_young=len(rotated) - place)
        merged = {**ends}
        for stream_id, end in file.ends.items():
            if stream_id not in merged or merged[stream_id].number < end.number:
                merged[stream_id] = end
        reasons += _reasons(path, merged, verdict)
        if reasons:
            return Plan(files=files, ends=ends, refused=path, reasons=reasons)
        files.append(file)
        ends = merged
    return Plan(files=files, ends=ends)


def _is_old(filesystem: Filesystem, path: str, before_ns: int) -> bool:
    """Say cheaply whether a file can be old enough; what is not plain is looked at later."""
    return all(
        not block.is_plain or block.last_ns < before_ns
        for block, _, _ in iter_blocks(filesystem, path)
    )


def _read(filesystem: Filesystem, path: str, before_ns: int) -> tuple[OldFile | None, list[str]]:
    """Read a file strictly; None if it holds a record that is too young."""
    reasons: list[str] = []

    def note(problem: Problem) -> None:
        reasons.append(f"line {problem.line} holds something else than records ({problem.kind})")

    ends: dict[str, End] = {}
    offset = records = newest_ns = 0
    for number, line in enumerate(iter_lines(read_chunks(filesystem, path)), 1):
        for request in read_line(line, number=number, offset=offset, on_problem=note):
            for record, _ in iter_log_records(request):
                seen, findings = read_record(record, resource=None, path=path, offset=offset)
                reasons += [f"line {number}: {finding.text}" for finding in findings]
                if seen is None:
                    continue
                records += 1
                newest_ns = max(newest_ns, seen.time_ns)
                if seen.time_ns >= before_ns:
                    return None, []
                if seen.event_name == names.EVENT_PRUNED:
                    reasons.append(f"line {number} records an earlier pruning, which is needed")
                known = ends.get(seen.stream_id)
                if known is None or known.number < seen.sequence:
                    ends[seen.stream_id] = End(seen.sequence, seen.digest)
        offset += line.size + 1
    size = filesystem.size(path)
    file = OldFile(path=path, size=size, records=records, newest_ns=newest_ns, ends=ends)
    return file, reasons


def _reasons(path: str, ends: Mapping[str, End], verdict: Verdict) -> list[str]:
    """Return why a file may not go, by what is known of its streams."""
    serious = [finding for finding in verdict.findings if finding.severity != "note"]
    total = sum(number for (_, severity), number in verdict.counts.items() if severity != "note")
    if len(serious) < total:
        return ["verify finds more than can be looked at here: mend the trail first"]
    reasons = [_told(finding) for finding in serious if finding.path == path]
    summaries = {stream.stream_id: stream for stream in verdict.streams}
    for stream_id, end in sorted(ends.items()):
        reasons += [
            _told(finding)
            for finding in serious
            if finding.stream_id == stream_id and finding.sequence_first <= end.number
        ]
        reasons += _unproved(stream_id, end.number, summaries.get(stream_id))
    return list(dict.fromkeys(reasons))


def _unproved(stream_id: str, number: int, summary: StreamSummary | None) -> Iterator[str]:
    if summary is None:
        yield f"stream {stream_id} was not verified"
        return
    if summary.signed_to < number:
        yield f"stream {stream_id} is signed up to {summary.signed_to} of {number}"
    if max(summary.anchored_to, summary.pruned_to) < number:
        yield f"stream {stream_id} is anchored up to {summary.anchored_to} of {number}"


def _told(finding: Finding) -> str:
    where = f"stream {finding.stream_id} record {finding.sequence}: " if finding.stream_id else ""
    return f"{where}{finding.kind}: {finding.text}"
