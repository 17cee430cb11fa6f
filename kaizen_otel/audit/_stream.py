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
        "bad_signatures", "breaks", "damaged", "duplicates", "end", "findings", "first_event",
        "forks", "intents", "key_uses", "last_digest", "last_number", "last_time_ns", "last_where",
        "lost_count", "outcomes", "slots", "specials", "step", "stream_id", "time_last_ns",
    )  # fmt: skip

    def __init__(self, stream_id: str) -> None:
        """Nothing was seen."""
        self.stream_id = stream_id
        self.slots = Slots()
        self.duplicates = 0
        self.last_number = 0
        self.last_digest = b""
        self.last_time_ns = 0
        self.last_where = Where("", -1, 0)
        self.time_last_ns = 0
        #: Number -> the link from the next number to it does not hold.
        self.breaks: dict[int, Where] = {}
        self.forks: dict[int, Where] = {}
        self.bad_signatures: dict[int, Where] = {}
        self.key_uses: dict[str, KeyUse] = {}
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
        self, number: int, digest: bytes, previous: bytes, time_ns: int, flags: int = PRESENT
    ) -> bool:
        """Take in a record that is the next one and links to the last one; False if it is not.

        Only for what is no end, intent, outcome or event of the trail's own.  ``flags`` has
        ``SIGNED`` if it is signed; the caller says with ``sign`` by which key.
        """
        if number != self.last_number + 1 or previous != self.last_digest:
            return False
        if not self.slots.extend(number, (hash(digest) & HASH or 1) | flags):
            return False
        if time_ns > self.time_last_ns:
            self.time_last_ns = time_ns
        elif time_ns + CLOCK_STEP_NS < self.last_time_ns and self.step is None:
            self.step = (number, self.last_time_ns - time_ns, Where("", -1, time_ns))
        self.last_number = number
        self.last_digest = digest
        self.last_time_ns = time_ns
        return True

    def _link(self, seen: Seen) -> None:
        number = seen.sequence
        where = _where(seen)
        if number == self.last_number + 1 and number > 1:
            holds = seen.previous == self.last_digest
            if seen.time_ns + CLOCK_STEP_NS < self.last_time_ns and self.step is None:
                self.step = (number, self.last_time_ns - seen.time_ns, where)
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
        self.last_time_ns, self.last_where = seen.time_ns, where

    def _note(self, seen: Seen) -> None:
        number = seen.sequence
        self.time_last_ns = max(self.time_last_ns, seen.time_ns)
        if number == 1:
            self.first_event = seen.event_name
        if seen.signature:
            self.sign(seen.certificate, number, self.last_where)
        if seen.is_end and (not self.end or number < self.end):
            self.end = number
        if seen.attributes is not None and len(self.specials) < SPECIALS_MAX:
            self.specials.append(seen)
        if seen.intent:
            self._open_intent(hash(seen.intent), number)
        elif seen.outcome_of:
            self._close_intent(hash(seen.outcome_of))

    def sign(self, key_id: str, number: int, where: Where) -> None:
        """Note that a record that was seen says that it is signed by a key."""
        use = self.key_uses.get(key_id)
        if use is not None:
            use.add(number, where)
        elif len(self.key_uses) < KEYS_MAX:
            self.key_uses[key_id] = KeyUse(
                first=number,
                last=number,
                first_at=where,
                last_at=where,
                time_first_ns=where.time_ns,
                time_last_ns=where.time_ns,
            )
        else:
            self.bad_signatures.setdefault(number, where)

    def _open_intent(self, intent: int, number: int) -> None:
        if intent in self.outcomes:
            self.outcomes.discard(intent)
        elif len(self.intents) < INTENTS_MAX:
            self.intents[intent] = (number, self.last_where)

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


def _where(seen: Seen) -> Where:
    return Where(seen.path, seen.offset, seen.time_ns)
