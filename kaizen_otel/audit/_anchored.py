"""Compare what anchors say with what was seen of the streams.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from kaizen_otel.audit._finding import Finding
from kaizen_otel.audit._slots import HASH, PRESENT, compact
from kaizen_otel.audit.signatures import verify_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kaizen_otel.audit._authority import Authority
    from kaizen_otel.audit._declared import Declarations
    from kaizen_otel.audit._stream import Stream
    from kaizen_otel.audit.anchors import Anchor


class _Beyond(NamedTuple):
    """The farthest number that an anchor confirms and the trail has not."""

    sequence: int
    anchor: Anchor


class Anchored:
    """The comparison; anchors are read once and not kept."""

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
        """Begin with no anchor seen."""
        self.count = 0
        #: Stream -> the highest number that an anchor confirms.
        self.confirmed: dict[str, int] = {}
        self._streams = streams
        self._authority = authority
        self._declared = declared
        self._keys = keys
        self._is_pinned = is_pinned
        self._mode = mode
        self._beyond: dict[str, _Beyond] = {}

    def against(self, anchors: Iterable[Anchor]) -> Iterator[Finding]:
        """Yield what anchors and trail do not agree on."""
        mismatched: set[str] = set()
        for anchor in anchors:
            self.count += 1
            if anchor.sequence < 1:
                continue
            problem = self._problem(anchor)
            if problem is not None:
                yield problem
                continue
            if self._agrees(anchor):
                continue
            stream = self._streams.get(anchor.stream_id)
            slot = 0 if stream is None else stream.slots.get(anchor.sequence)
            highest = 0 if stream is None else stream.slots.highest
            if slot and anchor.stream_id in mismatched:
                continue
            known = self._beyond.get(anchor.stream_id)
            if not slot and (
                anchor.sequence <= highest
                or (known is not None and known.sequence >= anchor.sequence)
            ):
                continue
            if slot:
                mismatched.add(anchor.stream_id)
                text = f"an anchor ({anchor.path or 'given'}) has another hash of this record"
                yield _of_anchor(anchor, "anchor_mismatch", text, sequence=anchor.sequence)
            else:
                self._beyond[anchor.stream_id] = _Beyond(anchor.sequence, anchor)
        for stream_id, beyond in self._beyond.items():
            yield from self._cut(stream_id, beyond)

    def _agrees(self, anchor: Anchor) -> bool:
        pruned = self._declared.pruned.get(anchor.stream_id)
        stream = self._streams.get(anchor.stream_id)
        slot = 0 if stream is None else stream.slots.get(anchor.sequence)
        if stream is not None and slot and slot & HASH == compact(anchor.digest):
            if slot & PRESENT and anchor.sequence > self.confirmed.get(anchor.stream_id, 0):
                self.confirmed[anchor.stream_id] = anchor.sequence
            return True
        if stream is not None and anchor.sequence in stream.damaged:
            return True
        return not slot and pruned is not None and anchor.sequence <= pruned[0]

    def _problem(self, anchor: Anchor) -> Finding | None:
        """Why an anchor is not believed."""
        if not anchor.key_id or self._mode == "none":
            return None
        public_key = self._keys.get(anchor.key_id)
        if self._is_pinned and not self._authority.is_trusted(anchor.key_id):
            text = f"an anchor is signed by key {anchor.key_id}, which is not trusted: not believed"
            return _of_anchor(anchor, "bad_checkpoint", text)
        if public_key is None:
            return None
        if not verify_signature(public_key, anchor.signature, anchor.signed):
            text = "the signature of an anchor does not hold"
            return _of_anchor(anchor, "bad_checkpoint", text)
        return None

    def _cut(self, stream_id: str, beyond: _Beyond) -> Iterator[Finding]:
        stream = self._streams.get(stream_id)
        highest = 0 if stream is None else stream.slots.highest
        anchor = beyond.anchor
        kind = "truncation" if highest else "stream_missing"
        what = f"the trail ends at record {highest}" if highest else "the trail has no record of it"
        text = f"{what}; an anchor ({anchor.path or 'given'}) confirms {beyond.sequence}"
        yield _of_anchor(
            anchor,
            kind,
            text,
            sequence=highest + 1,
            sequence_last=beyond.sequence,
            severity="incomplete",
        )


def _of_anchor(anchor: Anchor, kind: str, text: str, **more: object) -> Finding:
    values: dict[str, object] = {
        "kind": kind,
        "severity": "tampering",
        "text": text,
        "stream_id": anchor.stream_id,
        "sequence": anchor.sequence,
        "path": anchor.path,
        "offset": anchor.offset,
        "time_ns": anchor.time_ns,
        **more,
    }
    return Finding(**values)  # type: ignore[arg-type]
