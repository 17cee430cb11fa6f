"""How far each stream of a trail is there without a gap: the heads, as a signed list.

A head is a number and a hash.  The hash is over a record that links to the one before it, and so
on, so whoever holds the same record knows that all before it are there, without seeing the trail.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._otlp.json import iter_lines, iter_log_records, read_line
from kaizen_otel._trail.blocks import read_chunks
from kaizen_otel.audit._seen import read_record
from kaizen_otel.audit._stored import trail_files
from kaizen_otel.audit.anchors import HEADS_KIND, heads_digest
from kaizen_otel.audit.signatures import encode_base64

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kaizen_otel._edges import Clock, Filesystem
    from kaizen_otel._otlp.json import Line
    from kaizen_otel._signing import Signer
    from kaizen_otel.audit._seen import Seen
    from kaizen_otel.audit.verify import Verdict

# What these say does not concern whether the records are there.
_ABOUT_OTHER_THINGS: Final = frozenset(
    {"unsigned_tail", "intent_without_outcome", "untrusted_key", "resource_changed"}
)
# Number and stream of a record as our emitter and the Collector write them.
_PLACE: Final = re.compile(
    rb'"audit\.sequence\.number","value":\{"intValue":"([0-9]{1,19})"\}\},'
    rb'(?:\{"key":"audit\.sequence\.previous_hash","value":\{"stringValue":"[0-9a-f]{64}"\}\},)?'
    rb'\{"key":"audit\.sequence\.stream_id","value":\{"stringValue":"([0-9a-f-]{36})"'
)
_NAME: Final = b"audit.sequence.number"


class Head(NamedTuple):
    """Records 1 to ``number`` of a stream are there; ``digest`` is the hash of the last of them.

    ``is_end`` if that one ended the stream.
    """

    stream_id: str
    number: int
    digest: bytes
    is_end: bool


def heads_of(filesystem: Filesystem, directory: str, verdict: Verdict) -> list[Head]:
    """Return the heads of a trail folder that was verified.

    A stream of which nothing can be said from its beginning on has none.  Raises ``OSError`` if
    the trail cannot be read.
    """
    wanted = {stream_id: number for stream_id, number in _reach(verdict).items() if number}
    found: dict[str, Seen] = {}
    for seen in records_at(filesystem, trail_files(filesystem, directory), wanted):
        found.setdefault(seen.stream_id, seen)
    return [
        Head(stream_id, seen.sequence, seen.digest, seen.is_end)
        for stream_id, seen in sorted(found.items())
    ]


def encode_heads(heads: Iterable[Head], *, signer: Signer, clock: Clock) -> dict[str, object]:
    """Return the signed list of heads; raises whatever the signer raises."""
    document: dict[str, object] = {
        "kind": HEADS_KIND,
        "time_unix_nano": str(clock.time_ns()),
        "streams": [
            {
                "stream_id": head.stream_id,
                "number": str(head.number),
                "hash": head.digest.hex(),
                "end": "true" if head.is_end else "false",
            }
            for head in heads
        ],
        "key_id": signer.key_id,
    }
    return {**document, "signature": encode_base64(signer.sign(heads_digest(document)))}


def records_at(
    filesystem: Filesystem, paths: Iterable[str], wanted: Mapping[str, int]
) -> Iterator[Seen]:
    """Yield the records that have the wanted numbers in their streams, and a hash.

    Only lines that name one of them are parsed, and those of which that cannot be told.
    """
    for path in paths:
        offset = 0
        for number, line in enumerate(iter_lines(read_chunks(filesystem, path)), 1):
            if _may_hold(line.data, wanted):
                yield from _in_line(line, number, offset, path, wanted)
            offset += line.size + 1


def _in_line(
    line: Line, number: int, offset: int, path: str, wanted: Mapping[str, int]
) -> Iterator[Seen]:
    for request in read_line(line, number=number, offset=offset):
        for record, _ in iter_log_records(request):
            seen, _findings = read_record(record, resource=None, path=path, offset=offset)
            if seen is not None and wanted.get(seen.stream_id) == seen.sequence:
                yield seen


def _may_hold(data: bytes, wanted: Mapping[str, int]) -> bool:
    places = _PLACE.findall(data)
    if len(places) != data.count(_NAME) or b"\\u00" in data:
        return True
    return any(wanted.get(stream.decode()) == int(number) for number, stream in places)


def _reach(verdict: Verdict) -> dict[str, int]:
    """Return up to which number each stream is there from its beginning, or from its pruning."""
    reach = {stream.stream_id: stream.last for stream in verdict.streams}
    for finding in verdict.findings:
        known = reach.get(finding.stream_id)
        is_about_others = finding.severity == "note" or finding.kind in _ABOUT_OTHER_THINGS
        if known is not None and not is_about_others:
            reach[finding.stream_id] = min(known, max(0, finding.sequence_first - 1))
    if any(count for (_, severity), count in verdict.counts.items() if severity != "note"):
        kept = sum(finding.severity != "note" for finding in verdict.findings)
        counted = sum(n for (_, severity), n in verdict.counts.items() if severity != "note")
        if kept < counted:
            return {}  # more is wrong than could be kept: nothing is promised
    return reach
