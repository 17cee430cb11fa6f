"""What streams say about missing records: gaps and prunings, and whether that is to be believed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from kaizen_otel.audit import record as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kaizen_otel.audit._authority import Authority
    from kaizen_otel.audit._seen import Seen
    from kaizen_otel.audit._stream import Stream

BURNED = "write_failed"
"""The reason of numbers whose records were refused: whether they are there says nothing."""


class Declared(NamedTuple):
    """A range of numbers that a gap record names, both ends included."""

    first: int
    last: int
    reason: str


class Refused(NamedTuple):
    """Records that a gap record counts without naming their numbers."""

    stream: Stream
    seen: Seen
    number: int
    reason: str


@dataclass(slots=True)
class Declarations:
    """All that is to be believed, by the stream that it is about.

    ``pruned`` is number, hash and the record; ``unnamed`` counts ranges that a gap record had no
    room to name.
    """

    gaps: dict[str, list[Declared]] = field(default_factory=dict[str, list[Declared]])
    pruned: dict[str, tuple[int, bytes, Seen]] = field(
        default_factory=dict[str, tuple[int, bytes, "Seen"]]
    )
    unnamed: dict[str, int] = field(default_factory=dict[str, int])
    refused: list[Refused] = field(default_factory=list[Refused])


def declarations(streams: Mapping[str, Stream], authority: Authority) -> Declarations:
    """Collect what signed records of authorised keys say is missing."""
    result = Declarations()
    for stream in streams.values():
        for seen in stream.special(names.EVENT_GAP):
            key_id = authority.covers(stream, seen.sequence)
            if key_id:
                _gap(result, stream, seen, key_id, streams, authority)
        for seen in stream.special(names.EVENT_PRUNED):
            key_id = authority.covers(stream, seen.sequence)
            if key_id:
                _prune(result, seen, key_id, streams, authority)
    return result


def _gap(
    result: Declarations,
    stream: Stream,
    seen: Seen,
    key_id: str,
    streams: Mapping[str, Stream],
    authority: Authority,
) -> None:
    values = seen.attributes or {}
    reason = str(values.get(names.GAP_REASON, ""))
    about = str(values.get(names.GAP_STREAM_ID, ""))
    texts = values.get(names.GAP_RANGES, ())
    texts = texts if isinstance(texts, (list, tuple)) else ()
    if about and texts:
        if about == stream.stream_id or authority.may_speak_for(key_id, streams.get(about)):
            result.gaps.setdefault(about, []).extend(
                Declared(first, last, reason) for first, last in _ranges(texts)
            )
            more = sum(int(text[1:]) for text in texts if text[:1] == "+" and text[1:].isdigit())
            result.unnamed[about] = result.unnamed.get(about, 0) + more
        return
    count = values.get(names.GAP_COUNT, 0)
    if isinstance(count, int) and count > 0:
        result.refused.append(Refused(stream, seen, count, reason))


def _prune(
    result: Declarations,
    seen: Seen,
    key_id: str,
    streams: Mapping[str, Stream],
    authority: Authority,
) -> None:
    values = seen.attributes or {}
    about, number = values.get(names.PRUNED_STREAM_ID), values.get(names.PRUNED_SEQUENCE)
    digest = values.get(names.PRUNED_HASH)
    if not isinstance(about, str) or not isinstance(number, int) or not isinstance(digest, str):
        return
    if not authority.may_speak_for(key_id, streams.get(about)):
        return
    try:
        raw = bytes.fromhex(digest)
    except ValueError:
        return
    known = result.pruned.get(about)
    if known is None or known[0] < number:
        result.pruned[about] = (number, raw, seen)


def _ranges(texts: Iterable[str]) -> Iterator[tuple[int, int]]:
    for text in texts:
        first, dash, last = text.partition("-")
        if dash and first.isdigit() and last.isdigit() and len(text) < 2 * 20:
            yield int(first), int(last)


def without(
    ranges: list[tuple[int, int]], taken: Iterable[tuple[int, int]]
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Split ranges of numbers into what is left without ``taken``, and what was taken."""
    left = list(ranges)
    found: list[tuple[int, int]] = []
    for first, last in taken:
        rest: list[tuple[int, int]] = []
        for start, end in left:
            if last < start or first > end:
                rest.append((start, end))
                continue
            found.append((max(start, first), min(end, last)))
            if start < first:
                rest.append((start, first - 1))
            if end > last:
                rest.append((last + 1, end))
        left = rest
    return left, found
