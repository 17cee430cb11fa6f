"""From what was seen of all streams to findings.  Pure; every kind of finding is made here once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel.audit import record as names
from kaizen_otel.audit._anchored import Anchored
from kaizen_otel.audit._declared import BURNED, without
from kaizen_otel.audit._finding import Finding, StreamSummary, counted
from kaizen_otel.audit._slots import HASH, compact
from kaizen_otel.audit._stream import Where

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kaizen_otel.audit._authority import Authority
    from kaizen_otel.audit._declared import Declarations, Refused
    from kaizen_otel.audit._stream import Stream
    from kaizen_otel.audit.anchors import Anchor

_NOWHERE: Final = Where("", -1, 0)
_NOTED_MAX: Final = 100


class Judge:
    """Judges what was seen, once it was all seen."""

    def __init__(
        self,
        streams: Mapping[str, Stream],
        *,
        authority: Authority,
        declared: Declarations,
        keys: Mapping[str, bytes],
        is_pinned: bool,
        mode: str,
    ) -> None:
        self._streams = streams
        self._authority = authority
        self._declared = declared
        self._keys = keys
        self._is_pinned = is_pinned
        self._mode = mode
        self._signed_to: dict[str, int] = {}
        self.anchors = Anchored(
            streams,
            authority=authority,
            declared=declared,
            keys=keys,
            is_pinned=is_pinned,
            mode=mode,
        )

    def findings(self, anchors: Iterable[Anchor]) -> Iterator[Finding]:
        """Yield every finding about records and streams."""
        for stream in self._streams.values():
            yield from stream.findings
            if stream.slots.count:
                yield from self._of_stream(stream)
        for stream_id, (number, _, seen) in self._declared.pruned.items():
            yield from self._pruned(stream_id, number, Where(seen.path, seen.offset, seen.time_ns))
        for refused in self._declared.refused:
            yield _refused(refused)
        yield from self._unseen_gaps()
        yield from self.anchors.against(anchors)
        if not self._is_pinned:
            yield from self._self_published()

    def summary(self, stream: Stream) -> StreamSummary:
        """Return what is to be said about a stream, after ``findings``."""
        stream_id, slots = stream.stream_id, stream.slots
        pruned = self._declared.pruned.get(stream_id)
        return StreamSummary(
            stream_id=stream_id,
            first=slots.lowest(),
            last=slots.highest,
            records=slots.count,
            signed_to=self._signed_to.get(stream_id, 0),
            anchored_to=self.anchors.confirmed.get(stream_id, 0),
            pruned_to=0 if pruned is None else pruned[0],
            is_closed=bool(stream.end),
            key_ids=tuple(sorted(stream.key_uses)),
            time_last_ns=stream.time_last_ns,
        )

    def _of_stream(self, stream: Stream) -> Iterator[Finding]:
        yield from self._links(stream)
        for number, where in stream.forks.items():
            text = "two records of this number differ"
            yield stream.finding("fork", number, text, where)
        yield from self._bad_signatures(stream)
        yield from self._gaps(stream)
        yield from self._start_and_end(stream)
        yield from self._tails(stream)
        yield from _notes(stream)
        if stream.lost_count:
            text = f"{stream.lost_count} records with numbers too far apart were not examined"
            yield stream.finding("gap", stream.slots.highest, text, _NOWHERE)

    def _links(self, stream: Stream) -> Iterator[Finding]:
        """A link joins two records: what is known to be signed is not the one that was changed."""
        for before, where in stream.breaks.items():
            after = before + 1
            if before == 0:
                text = "the first record of the stream links to one before it"
                yield stream.finding("bad_link", after, text, where)
                continue
            is_before_good = self._mode == "all" and stream.is_signed(before)
            is_after_good = self._mode == "all" and stream.is_signed(after)
            if is_before_good and not is_after_good:
                text = f"it does not link to record {before}, whose signature holds"
                yield stream.finding("bad_link", after, text, where)
            elif is_after_good and not is_before_good:
                text = f"it is not the record that record {after} links to"
                yield stream.finding("bad_link", before, text, where)
            else:
                text = f"record {before} is not the one that record {after} links to"
                yield stream.finding("bad_link", before, text, where, sequence_last=after)

    def _bad_signatures(self, stream: Stream) -> Iterator[Finding]:
        for number, where in stream.bad_signatures.items():
            first = stream.signed_before(number - 1) + 1
            if number not in stream.breaks and stream.signer_of(number + 1):
                first = number
            since = "" if first == number else f": what was changed lies from record {first} on"
            text = f"the signature does not hold{since}"
            yield stream.finding("bad_signature", number, text, where, sequence_first=first)

    def _gaps(self, stream: Stream) -> Iterator[Finding]:
        slots = stream.slots
        pruned_to = self._declared.pruned.get(stream.stream_id, (0,))[0]
        ranges = slots.missing(pruned_to + 1)
        for first, _ in ranges:
            if first - 1 not in stream.damaged:
                yield from self._tail(stream, first - 1)
        ranges, _ = without(ranges, [(number, number) for number in sorted(stream.damaged)])
        declared = self._declared.gaps.get(stream.stream_id, [])
        for is_burned in (True, False):
            named = [(d.first, d.last) for d in declared if (d.reason == BURNED) is is_burned]
            reasons = {d.reason for d in declared if (d.reason == BURNED) is is_burned}
            ranges, explained = without(ranges, named)
            why = ", ".join(sorted(reasons))
            for first, last in explained:
                yield _declared_gap(stream, first, last, why, is_burned=is_burned)
        unnamed = self._declared.unnamed.get(stream.stream_id, 0)
        for first, last in ranges:
            if unnamed > 0:
                unnamed -= 1
                why = "a gap record names more ranges than it has room for"
                yield _declared_gap(stream, first, last, why, is_burned=False)
                continue
            yield _gap(stream, first, last, pruned_to)

    def _start_and_end(self, stream: Stream) -> Iterator[Finding]:
        if stream.slots.has(1) and stream.first_event != names.EVENT_STARTED:
            text = f"the stream begins with {stream.first_event or 'an event without name'}"
            yield stream.finding("bad_start", 1, text, _NOWHERE)
        highest = stream.slots.highest
        if stream.end and highest > stream.end:
            text = f"records follow number {stream.end}, which ended the stream"
            yield stream.finding(
                "after_end", stream.end + 1, text, stream.last_where, sequence_last=highest
            )
        for seen in stream.special(names.EVENT_STARTED):
            previous = (
                "" if seen.attributes is None else seen.attributes.get(names.PREVIOUS_STREAM_ID, "")
            )
            if isinstance(previous, str) and previous and not self._knows(previous):
                text = f"stream {stream.stream_id} says that it followed this one"
                yield Finding(
                    kind="stream_missing",
                    severity="incomplete",
                    stream_id=previous,
                    text=text,
                    path=seen.path,
                    offset=seen.offset,
                    time_ns=seen.time_ns,
                )

    def _knows(self, stream_id: str) -> bool:
        return stream_id in self._streams or stream_id in self._declared.pruned

    def _tails(self, stream: Stream) -> Iterator[Finding]:
        highest = stream.slots.highest
        self._signed_to[stream.stream_id] = self._authority.signed_to(stream)
        if not stream.key_uses:
            text = "not one record of the stream is signed"
            yield stream.finding(
                "missing_signature",
                stream.slots.lowest(),
                text,
                stream.last_where,
                sequence_last=highest,
                severity="tampering" if self._is_pinned else "incomplete",
            )
            return
        yield from self._tail(stream, highest)

    def _tail(self, stream: Stream, last: int) -> Iterator[Finding]:
        """Records before an end, or before missing ones, that no signature covers."""
        if last < 1 or not stream.slots.has(last):
            return
        first = last
        while first and stream.slots.has(first) and not stream.is_said_signed(first):
            first -= 1
        if first < last:
            # Also where a gap record says that the numbers were burned: what stands there all the
            # same was acknowledged to nobody, and could be anybody's.
            start, end = first + 1, last
            text = f"no signature covers records {start} to {end}"
            where = stream.last_where if end == stream.last_number else _NOWHERE
            yield stream.finding(
                "unsigned_tail",
                start,
                text,
                where,
                sequence_last=end,
                severity="incomplete",
            )

    def _pruned(self, stream_id: str, number: int, where: Where) -> Iterator[Finding]:
        stream = self._streams.get(stream_id)
        expected = self._declared.pruned[stream_id][1]
        slot = 0 if stream is None else stream.slots.get(number)
        if stream is not None and slot and slot & HASH != compact(expected):
            text = f"what is left does not link to record {number}, up to which it was pruned"
            yield stream.finding("bad_link", number + 1, text, where)
            return
        yield Finding(
            kind="pruned",
            severity="note",
            stream_id=stream_id,
            sequence=number,
            sequence_first=1,
            text=f"pruned up to record {number}, as a signed record says",
            path=where.path,
            offset=where.offset,
            time_ns=where.time_ns,
        )

    def _unseen_gaps(self) -> Iterator[Finding]:
        """What is declared missing at the end of a stream, or of one that is not there at all."""
        for stream_id, declared in self._declared.gaps.items():
            stream = self._streams.get(stream_id)
            highest = 0 if stream is None else stream.slots.highest
            for one in declared:
                if one.last > highest and one.reason != BURNED:
                    yield Finding(
                        kind="gap_declared",
                        severity="incomplete",
                        stream_id=stream_id,
                        sequence=max(one.first, highest + 1),
                        sequence_last=one.last,
                        text=f"a signed record says that these are missing ({one.reason})",
                    )

    def _self_published(self) -> Iterator[Finding]:
        used: dict[str, list[str]] = {}
        for stream in self._streams.values():
            for key_id in stream.key_uses:
                used.setdefault(key_id, []).append(stream.stream_id)
        for key_id, stream_ids in sorted(used.items()):
            if key_id in self._keys:
                yield Finding(
                    kind="self_published_key",
                    severity="note",
                    stream_id=stream_ids[0] if len(stream_ids) == 1 else "",
                    text=f"key {key_id} of {counted(len(stream_ids), 'stream')} is known from the "
                    "trail only",
                )


def _gap(stream: Stream, first: int, last: int, pruned_to: int) -> Finding:
    is_beginning = first == pruned_to + 1 and stream.slots.lowest() > last
    what = "the stream's beginning is" if is_beginning else "these numbers are"
    return stream.finding(
        "gap",
        first,
        f"{what} missing, and no signed record says why",
        _NOWHERE,
        sequence_last=last,
        severity="incomplete",
    )


def _declared_gap(stream: Stream, first: int, last: int, why: str, *, is_burned: bool) -> Finding:
    return stream.finding(
        "gap_declared",
        first,
        f"a signed record says that these are missing ({why})",
        _NOWHERE,
        sequence_last=last,
        severity="note" if is_burned else "incomplete",
    )


def _refused(refused: Refused) -> Finding:
    seen = refused.seen
    text = f"{refused.number} records were refused and not stored ({refused.reason})"
    return refused.stream.finding(
        "gap_declared",
        seen.sequence,
        text,
        Where(seen.path, seen.offset, seen.time_ns),
        severity="incomplete",
    )


def _notes(stream: Stream) -> Iterator[Finding]:
    where = Where("", -1, stream.time_last_ns)
    if not stream.end:
        text = "the stream was not closed: what was cut from its end shows by anchors only"
        yield stream.finding("open_stream", stream.slots.highest, text, where, severity="note")
    if stream.step is not None:
        number, back_ns, step_where = stream.step
        text = f"its time is {back_ns / 10**9:.1f} s before that of the record before it"
        yield stream.finding("clock_step", number, text, step_where, severity="note")
    opened = sorted(stream.intents.values(), key=lambda item: item[0])
    for number, intent_where in opened[:_NOTED_MAX]:
        text = "the intent has no outcome in the trail"
        yield stream.finding("intent_without_outcome", number, text, intent_where, severity="note")
    if len(opened) > _NOTED_MAX:
        text = f"{len(opened) - _NOTED_MAX} more intents of the stream have no outcome"
        yield stream.finding("intent_without_outcome", 0, text, where, severity="note")
