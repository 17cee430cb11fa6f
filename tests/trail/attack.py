"""What an attack is: a changed trail, and what must be found in it; and an attacker's tools.

The attacker can write to the trail as they like, knows the format and every public key, has keys
of their own, and has neither the producers' private keys nor access to anchors and trust file.
"""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kaizen_otel._signing import Ed25519Signer
from kaizen_otel.audit import record as names

if TYPE_CHECKING:
    from kaizen_otel._otlp.decode import Json
    from tests.trail.trail_model import Entry, Trail

LINK: Final = frozenset({"bad_link", "bad_signature"})
TAIL: Final = frozenset({"unsigned_tail", "bad_signature", "missing_signature", "untrusted_key"})
CUT: Final = frozenset({"gap", "truncation", "stream_missing"})

Needs = Literal["", "anchors", "trust"]


class NotApplicableError(Exception):
    """A trail has nothing that an operator could be applied to."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One finding that there must be: of a kind, in a stream, at one of these numbers."""

    stream: str
    first: int
    last: int
    kinds: frozenset[str]

    @classmethod
    def at(cls, entry: Entry, kinds: Iterable[str] = LINK, *, after: int = 1) -> Expected:
        """A finding at a record, or at the one that links to it."""
        number = entry.number
        return cls(entry.stream, number, number + after, frozenset(kinds))


@dataclass(frozen=True, slots=True)
class Attack:
    """A changed trail and what must be found in it.

    ``touched`` are the streams that may be found fault with: to accuse another one is a fault of
    the verifier.
    """

    trail: Trail
    expected: tuple[Expected, ...]
    touched: frozenset[str]


Operator = Callable[["Trail", random.Random], Attack]


@dataclass(frozen=True, slots=True)
class Named:
    """An operator, and what the verifier needs besides the trail to notice it."""

    name: str
    run: Operator
    needs: Needs = ""


ATTACKS: Final[dict[str, Named]] = {}


def attack(*, needs: Needs = "") -> Callable[[Operator], Operator]:
    """Register an operator under its function's name; it raises ``NotApplicableError``."""

    def register(operator: Operator) -> Operator:
        name = operator.__name__
        assert name not in ATTACKS, name
        ATTACKS[name] = Named(name, operator, needs)
        return operator

    return register


def about(*entries: Entry) -> frozenset[str]:
    """Return the streams of records, and those of which they speak."""
    found = {entry.stream for entry in entries}
    for entry in entries:
        found |= {entry.value(names.PRUNED_STREAM_ID), entry.value(names.GAP_STREAM_ID)}
    return frozenset(found - {""})


def changed(trail: Trail, others: Mapping[Entry, Entry], expected: Iterable[Expected]) -> Attack:
    """An attack that puts other records in the place of some."""
    new = trail.replaced({old: (other,) for old, other in others.items()})
    return Attack(new, tuple(expected), about(*others, *others.values()))


def pick(
    trail: Trail, rnd: random.Random, fits: Callable[[Entry], bool] = lambda entry: True
) -> Entry:
    """Return one record that fits."""
    found = [entry for entry in trail.entries() if fits(entry)]
    if not found:
        raise NotApplicableError
    return rnd.choice(found)


def is_before_last(trail: Trail) -> Callable[[Entry], bool]:
    """Whether a record is not the last one of its stream."""
    last = {stream: max(numbers) for stream, numbers in trail.streams().items()}
    return lambda entry: entry.number < last[entry.stream]


def open_streams(trail: Trail) -> list[str]:
    streams = trail.streams()
    return [s for s, numbers in streams.items() if not numbers[max(numbers)].value(names.END)]


def closed_streams(trail: Trail) -> list[str]:
    return [stream for stream in trail.streams() if stream not in open_streams(trail)]


def last_anchored(trail: Trail, stream: str) -> int:
    """Return the highest number of a stream that an anchor confirms, 0 if none."""
    return max((entry.number for entry in trail.anchors if entry.stream == stream), default=0)


def missing(trail: Trail, gone: Entry) -> Expected:
    """The gap where a record was; it may begin before it, with numbers that were missing anyway."""
    chain, first = trail.streams()[gone.stream], gone.number
    while first > 1 and first - 1 not in chain:
        first -= 1
    return Expected(gone.stream, first, gone.number, frozenset({"gap"}))


def commit_start(trail: Trail, entry: Entry) -> int:
    """Return the first number that is covered by the same signature as a record.

    If that signature goes at the end of a stream, what is not covered any more begins there.
    """
    chain, first = trail.streams()[entry.stream], entry.number
    while first - 1 in chain and not chain[first - 1].is_signed:
        first -= 1
    return first


def strangers_key(rnd: random.Random) -> Ed25519Signer:
    """Return a key that no producer has."""
    return Ed25519Signer(Ed25519PrivateKey.from_private_bytes(rnd.randbytes(32)))


def texts_of(entry: Entry) -> dict[str, str]:
    """Return the attributes with a text that has no part in the chain."""
    return {
        str(item["key"]): str(cast("Json", item["value"])["stringValue"])
        for item in cast("list[Json]", entry.log["attributes"])
        if "stringValue" in cast("Json", item["value"])
        and not str(item["key"]).startswith(("audit.sequence.", "audit.integrity."))
    }


def edited(entry: Entry, rnd: random.Random) -> Entry:
    """Return a copy with another text in one attribute."""
    texts = texts_of(entry)
    name = rnd.choice(sorted(texts))
    text = texts[name]
    others = {text + "x", text[:-1], text.upper(), "success", "", text + "\u200b"} - {text}
    return entry.with_text(name, rnd.choice(sorted(others)))


def signed(entry: Entry, signer: Ed25519Signer) -> Entry:
    """Return a copy that is signed by another key."""
    entry = entry.with_text(names.INTEGRITY_CERTIFICATE, signer.key_id)
    entry = entry.with_attribute(names.INTEGRITY_VALUE, None)
    signature = signer.sign(bytes.fromhex(entry.digest))
    return entry.with_text(names.INTEGRITY_VALUE, base64.b64encode(signature).decode())


def unsigned(entry: Entry) -> Entry:
    entry = entry.with_attribute(names.INTEGRITY_VALUE, None)
    return entry.with_attribute(names.INTEGRITY_CERTIFICATE, None)


def relinked(
    chain: Mapping[int, Entry],
    others: Mapping[int, Entry | None],
    *,
    finish: Callable[[Entry], Entry] = lambda entry: entry,
    renumber: bool = False,
) -> dict[Entry, Entry | None]:
    """Put other records into a stream, or none, and hash what follows anew.

    ``finish`` changes each record that was linked anew.  With ``renumber`` what follows a removed
    record gets smaller numbers.  Returns what each record becomes.
    """
    result: dict[Entry, Entry | None] = {}
    before: Entry | None = None
    shift, is_dirty = 0, False
    for number, old in chain.items():
        other = others.get(number, old)
        if other is None:
            result[old] = None
            shift += renumber
            is_dirty = is_dirty or renumber
            continue
        if other is not old or is_dirty:
            is_dirty = True
            link = old.value(names.PREVIOUS_HASH)
            # Over numbers that are not in the trail the attacker keeps the link that was there.
            if before is not None and before.number == number - shift - 1:
                link = before.digest
            other = finish(other.with_place(old.stream, number - shift, link))
            result[old] = other
        before = other
    return result


def rebuilt(trail: Trail, others: Mapping[Entry, Entry | None]) -> Trail:
    return trail.replaced({old: () if new is None else (new,) for old, new in others.items()})


def first_signed(entries: Iterable[Entry | None], since: int) -> Entry | None:
    """Return the first record from a number on that says that it is signed."""
    found = [e for e in entries if e is not None and e.number >= since and e.is_signed]
    return min(found, key=lambda entry: entry.number, default=None)


def touched_by(trail: Trail, stream: str) -> frozenset[str]:
    """A stream and those about which its records speak, which may not be believed any more."""
    return about(*trail.streams()[stream].values())
