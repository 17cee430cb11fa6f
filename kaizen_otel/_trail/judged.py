"""Verify a whole trail, line by line and strictly, for tools that act on the verdict."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.json import iter_lines, iter_log_records, read_line
from kaizen_otel._trail.keys import read_trust
from kaizen_otel.audit._finding import Finding
from kaizen_otel.audit._stored import trail_files
from kaizen_otel.audit.anchors import read_anchors
from kaizen_otel.audit.verify import Verifier, hash_of_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._otlp.decode import Json
    from kaizen_otel._otlp.json import Problem
    from kaizen_otel.audit._finding import Verdict
    from kaizen_otel.audit.anchors import Anchor
    from kaizen_otel.audit.trust import Trust

_CHUNK_BYTES: Final = 1024 * 1024
_KINDS: Final = {
    "torn": "torn_line",
    "foreign": "foreign_line",
    "too_long": "too_long_line",
    "not_text": "not_text",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict over a trail, and the public keys that were known (key id -> key)."""

    verdict: Verdict
    keys: dict[str, bytes]


def judge_trail(
    filesystem: Filesystem,
    directory: str,
    *,
    trust_path: str | None,
    anchor_paths: Sequence[str],
    warn: Callable[[str], None],
) -> Judged:
    """Verify every record of a trail folder, with every signature.

    Raises ``OSError`` if a file cannot be read and ``ConfigError`` for a trust file that cannot be
    used.
    """
    trust: Trust | None = None
    if trust_path is not None:
        trust = read_trust(trust_path, filesystem=filesystem, warn=warn)
    verifier = Verifier(trust=trust)
    for path in trail_files(filesystem, directory):
        _take_file(filesystem, path, verifier)
    anchors = [anchor for path in anchor_paths for anchor in _anchors(filesystem, path)]
    return Judged(verdict=verifier.finish(anchors), keys=dict(verifier.keys))


def verdict_object(verdict: Verdict) -> dict[str, object]:
    """Return a verdict as JSON has it."""
    counts = [
        {"kind": kind, "severity": severity, "count": count}
        for (kind, severity), count in sorted(verdict.counts.items())
    ]
    return {
        **asdict(verdict),
        "counts": counts,
        "is_clean": verdict.is_clean,
        "exit_code": verdict.exit_code,
    }


def _take_file(filesystem: Filesystem, path: str, verifier: Verifier) -> None:
    def note(problem: Problem) -> None:
        kind = _KINDS[problem.kind]
        verifier.report(
            Finding(
                kind=kind,
                severity="incomplete",
                text=f"line {problem.line} holds {problem.size} bytes that are no request",
                path=path,
                offset=problem.offset,
            )
        )

    last: Json | None = None
    resource_hash = ""
    offset = 0
    for number, line in enumerate(iter_lines(_chunks(filesystem, path)), 1):
        for request in read_line(line, number=number, offset=offset, on_problem=note):
            for record, resource in iter_log_records(request):
                if resource is not last:
                    last, resource_hash = resource, hash_of_resource(resource)
                verifier.add_log_record(record, resource_hash, path=path, offset=offset)
        offset += line.size + 1


def _anchors(filesystem: Filesystem, path: str) -> Iterator[Anchor]:
    offset = 0
    for line in iter_lines(_chunks(filesystem, path)):
        for value in _values(line.data):
            yield from read_anchors(value, path=path, offset=offset)
        offset += line.size + 1


def _values(data: bytes) -> list[object]:
    try:
        return [json.loads(data)] if data.strip() else []
    except (ValueError, RecursionError):
        return []


def _chunks(filesystem: Filesystem, path: str) -> Iterator[bytes]:
    offset = 0
    while chunk := filesystem.read(path, offset, _CHUNK_BYTES):
        yield chunk
        offset += len(chunk)
