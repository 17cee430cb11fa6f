"""What a verifier knows of one stream: its numbers, its keys, what broke.  Pure.

Records come in any order and any number of times.  Memory is eight bytes for each number, and a
bounded rest: open intents, keys in use, breaks of the chain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel.audit._finding import Finding
from kaizen_otel.audit._slots import HASH, PRESENT, SIGNED, Slots, compact

if TYPE_CHECKING:
    from kaizen_otel.audit._seen import Seen

BREAKS_MAX: Final = 10_000
SPECIALS_MAX: Final = 10_000
KEYS_MAX: Final = 256
INTENTS_MAX: Final = 100_000
CLOCK_STEP_NS: Final = 5 * 10**9


class Where(NamedTuple):
    """Where a record was found."""

    path: str
    offset: int
    time_ns: int


SignedBy = tuple[str, str, int]
"""The id of the key that a record says it is signed by, path and offset of the record."""


@dataclass(slots=True, kw_only=True)
class KeyUse:
    """The records of a stream that say that one key signed them."""

    first: int
    last: int
    first_at: Where
    last_at: Where
    time_first_ns: int
    time_last_ns: int

    def add(self, number: int, where: Where) -> None:
        """Note one record more."""
        if number < self.first:
            self.first, self.first_at = number, where
        if number > self.last:
            self.last, self.last_at = number, where
        self.time_first_ns = min(self.time_first_ns, where.time_ns)
        self.time_last_ns = max(self.time_last_ns, where.time_ns)


class Stream:
    """One stream, as far as its records were seen."""

    __slots__ = (
        "_key_uses", "_last_signed", "bad_signatures", "breaks", "damaged", "duplicates", "end",
        "findings", "first_event", "forks", "intents", "last_digest", "last_number", "last_time",
        "last_where", "latest", "lost_count", "outcomes", "slots", "specials", "step", "stream_id",
    )  # fmt: skip

    def __init__(self, stream_id: str) -> None:
        """Nothing was seen."""
        self.stream_id = stream_id
        self.slots = Slots()
        self.duplicates = 0
        self.last_number = 0
        self.last_digest = b""
        #: Times are kept as 19 digits, as they stand in a line: they compare like numbers.
        self.last_time = self.latest = _digits(0)
        self.last_where = Where("", -1, 0)
        #: Number -> the link from the next number to it does not hold.
        self.breaks: dict[int, Where] = {}
        self.forks: dict[int, Where] = {}
        self.bad_signatures: dict[int, Where] = {}
        self._key_uses: dict[str, KeyUse] = {}
        self._last_signed: tuple[SignedBy, int, bytes] | None = None
        self.specials: list[Seen] = []
        self.findings: list[Finding] = []
        #: Numbers of records that were there and could not be read.
        self.damaged: set[int] = set()
        self.first_event = ""
        self.end = 0
        self.intents: dict[int, tuple[int, Where]] = {}
        self.outcomes: set[int] = set()
        self.step: tuple[int, int, Where] | None = None
        self.lost_count = 0

    def add(self, seen: Seen) -> bool:
        """Take in a record; False if it is one that was seen before, or another of its number."""
        number, slots = seen.sequence, self.slots
        value = compact(seen.digest)
        old = slots.get(number)
        if old & PRESENT:
            if old & HASH == value:
                self.duplicates += 1
                if seen.signature and not old & SIGNED:
                    slots.put(number, old | SIGNED)
                    self.sign(seen.certificate, number, _where(seen))
            elif len(self.forks) < BREAKS_MAX:
                self.forks.setdefault(number, _where(seen))
            return False
        if old and old & HASH != value and len(self.breaks) < BREAKS_MAX:
            self.breaks.setdefault(number, _where(seen))
        if not slots.put(number, value | PRESENT | (SIGNED if seen.signature else 0)):
            self.lost_count += 1
            return False
        self._link(seen)
        self._note(seen)
        return True

    def follow(
        self,
        number: bytes,
        digest: bytes,
        previous: bytes,
        time: bytes,
        by: SignedBy | None = None,
    ) -> bool:
        """Take in a record that is the next one and links to the last one; False if it is not.

        ``number`` and ``time`` are digits; ``by`` says who signed it, if it is signed.  Not for an
        end or an event of the trail's own; an intent or an outcome is then told by ``announce``.
        """
        after = self.last_number + 1
        if previous != self.last_digest or number != b"%d" % after:
            return False
        flags = PRESENT if by is None else PRESENT | SIGNED
        if not self.slots.extend(after, (hash(digest) & HASH or 1) | flags):
            return False
        if time > self.latest:
            self.latest = time
        elif self.step is None:
            self._note_step(after, int(time), Where("", -1, int(time)))
        self.last_number, self.last_digest, self.last_time = after, digest, time
        if by is not None:
            last = self._last_signed
            # Most are signed by the key of the one before, and later: only the last one matters.
            if last is not None and (last[0][0] != by[0] or last[2] > time):
                self._note_signed(*last)
            self._last_signed = by, after, time
        return True

    @property
    def key_uses(self) -> dict[str, KeyUse]:
        """The keys that records say that they are signed by, by id."""
        if self._last_signed is not None:
            self._note_signed(*self._last_signed)
            self._last_signed = None
        return self._key_uses

    @property
    def time_last_ns(self) -> int:
        """The latest time of a record, in nanoseconds."""
        return int(self.latest)

    def _note_signed(self, by: SignedBy, number: int, time: bytes) -> None:
        key_id, path, offset = by
        self._sign(key_id, number, Where(path, offset, int(time)))

    def _note_step(self, number: int, time_ns: int, where: Where) -> None:
        last_ns = int(self.last_time)
        if time_ns + CLOCK_STEP_NS < last_ns and self.step is None:
            self.step = (number, last_ns - time_ns, where)

    def _link(self, seen: Seen) -> None:
        number = seen.sequence
        where = _where(seen)
        if number == self.last_number + 1 and number > 1:
            holds = seen.previous == self.last_digest
            self._note_step(number, seen.time_ns, where)
        elif number == 1:
            holds = not seen.previous
        else:
            before = self.slots.get(number - 1)
            holds = before & HASH == compact(seen.previous)
            if not before:
                holds = True
                self.slots.put(number - 1, compact(seen.previous))
        if not holds and len(self.breaks) < BREAKS_MAX:
            self.breaks.setdefault(number - 1, where)
        self.last_number, self.last_digest = number, seen.digest
        self.last_time, self.last_where = _digits(seen.time_ns), where

    def _note(self, seen: Seen) -> None:
        number = seen.sequence
        self.latest = max(self.latest, self.last_time)
        if number == 1:
            self.first_event = seen.event_name
        if seen.signature:
            self.sign(seen.certificate, number, self.last_where)
        if seen.is_end and (not self.end or number < self.end):
            self.end = number
        if seen.attributes is not None and len(self.specials) < SPECIALS_MAX:
            self.specials.append(seen)
        if seen.intent or seen.outcome_of:
            self.announce(seen.intent, seen.outcome_of, number, self.last_where)

    def sign(self, key_id: str, number: int, where: Where) -> None:
        """Note that a record that was seen says that it is signed by a key."""
        assert self.key_uses is self._key_uses
        self._sign(key_id, number, where)

    def _sign(self, key_id: str, number: int, where: Where) -> None:
        use = self._key_uses.get(key_id)
        if use is not None:
            use.add(number, where)
        elif len(self._key_uses) < KEYS_MAX:
            self._key_uses[key_id] = KeyUse(
                first=number,
                last=number,
                first_at=where,
                last_at=where,
                time_first_ns=where.time_ns,
                time_last_ns=where.time_ns,
            )
        else:
            self.bad_signatures.setdefault(number, where)

    def announce(self, intent: str, outcome_of: str, number: int, where: Where) -> None:
        """Note that a record is an intent, or the outcome of one; the other id is empty."""
        if intent:
            self._open_intent(hash(intent), number, where)
        else:
            self._close_intent(hash(outcome_of))

    def _open_intent(self, intent: int, number: int, where: Where) -> None:
        if intent in self.outcomes:
            self.outcomes.discard(intent)
        elif len(self.intents) < INTENTS_MAX:
            self.intents[intent] = (number, where)

    def _close_intent(self, intent: int) -> None:
        if self.intents.pop(intent, None) is None and len(self.outcomes) < INTENTS_MAX:
            self.outcomes.add(intent)

    # Questions, once everything was seen.

    def is_signed(self, number: int) -> bool:
        """Whether the record of that number was seen with a signature that holds."""
        return self.is_said_signed(number) and number not in self.bad_signatures

    def is_said_signed(self, number: int) -> bool:
        """Whether the record of that number was seen with a signature, good or bad."""
        value = self.slots.get(number)
        return bool(value & SIGNED and value & PRESENT)

    def signer_of(self, number: int) -> int:
        """Return the next record whose good signature covers that number, 0 if there is none."""
        while self.slots.has(number):
            if self.is_signed(number):
                return number
            if number in self.breaks:
                break
            number += 1
        return 0

    def signed_before(self, number: int) -> int:
        """Return the last number up to ``number`` with a good signature, 0 if there is none."""
        while number and not self.is_signed(number):
            number -= 1
        return number

    def is_covered(self) -> bool:
        """Whether the last record, and the one before every gap, has a good signature."""
        slots = self.slots
        ends = [first - 1 for first, _ in slots.missing(1)]
        return all(self.is_signed(end) for end in (*ends, slots.highest) if slots.has(end))

    def special(self, event_name: str) -> list[Seen]:
        """Return the records of one of the trail's own events, by number."""
        found = [seen for seen in self.specials if seen.event_name == event_name]
        return sorted(found, key=lambda seen: seen.sequence)

    @staticmethod
    def where_of(seen: Seen) -> Where:
        """Return where a record was found."""
        return _where(seen)

    def finding(self, kind: str, number: int, text: str, where: Where, **more: object) -> Finding:
        """Return a finding of tampering in this stream, changed by ``more``."""
        values: dict[str, object] = {
            "kind": kind,
            "severity": "tampering",
            "text": text,
            "stream_id": self.stream_id,
            "sequence": number,
            "path": where.path,
            "offset": where.offset,
            "time_ns": where.time_ns,
            **more,
        }
        return Finding(**values)  # type: ignore[arg-type]


def _digits(time_ns: int) -> bytes:
    return b"%019d" % time_ns


def _where(seen: Seen) -> Where:
    return Where(seen.path, seen.offset, seen.time_ns)
