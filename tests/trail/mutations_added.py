"""Attacks that add records: forged, repeated, replayed, signed by keys of the attacker."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING

from kaizen_otel.audit import record as names
from kaizen_otel.audit.rotation import rotation_attributes
from tests.trail.attack import (
    LINK,
    TAIL,
    Attack,
    Expected,
    about,
    attack,
    closed_streams,
    commit_start,
    edited,
    is_before_last,
    missing,
    open_streams,
    pick,
    rebuilt,
    relinked,
    signed,
    strangers_key,
    touched_by,
    unsigned,
)
from tests.trail.trail_kit import Kit, Producer, make_trail
from tests.trail.trail_model import Entry, Trail

if TYPE_CHECKING:
    from kaizen_otel._otlp.decode import Json


@attack()
def forge_at_the_end_of_an_open_stream(trail: Trail, rnd: random.Random) -> Attack:
    """Linked as it should be; not signed, signed with noise, or signed with the attacker's key."""
    stream = rnd.choice(sorted(open_streams(trail)))
    chain = trail.streams()[stream]
    last = chain[max(chain)]
    forged = edited(rnd.choice(list(chain.values())), rnd)
    forged = unsigned(forged.with_place(stream, last.number + 1, last.digest))
    way = rnd.randrange(3)
    if way == 1:
        forged = signed(forged, strangers_key(rnd))
    elif way == 2:
        forged = forged.with_text(
            names.INTEGRITY_CERTIFICATE, last.value(names.INTEGRITY_CERTIFICATE)
        )
        noise = base64.b64encode(rnd.randbytes(64)).decode()
        forged = forged.with_text(names.INTEGRITY_VALUE, noise)
    expected = Expected(stream, last.number + 1, last.number + 1, TAIL)
    return Attack(trail.with_line([forged], rnd), (expected,), about(last, forged))


@attack()
def forge_after_the_end_of_a_closed_stream(trail: Trail, rnd: random.Random) -> Attack:
    stream = rnd.choice(sorted(closed_streams(trail)))
    chain = trail.streams()[stream]
    last = chain[max(chain)]
    forged = unsigned(edited(chain[min(chain)], rnd)).with_attribute(names.END, None)
    forged = forged.with_place(stream, last.number + 1, last.digest)
    kinds = frozenset({"after_end", "unsigned_tail"})
    expected = Expected(stream, last.number + 1, last.number + 1, kinds)
    return Attack(trail.with_line([forged], rnd), (expected,), about(last, forged))


@attack()
def forge_a_second_record_of_a_number(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    attacked = trail.with_line([edited(old, rnd)], rnd)
    return Attack(attacked, (Expected.at(old, {"fork"}, after=0),), about(old))


@attack()
def splice_from_another_stream(trail: Trail, rnd: random.Random) -> Attack:
    """A record of another stream takes the place of one, with its number and link."""
    old = pick(trail, rnd)
    other = pick(trail, rnd, lambda entry: entry.stream != old.stream)
    new = other.with_place(old.stream, old.number, old.value(names.PREVIOUS_HASH))
    kinds = LINK | TAIL | {"bad_start", "after_end"}
    attacked = trail.replaced({old: (new,)})
    expected = Expected(old.stream, commit_start(trail, old), old.number + 1, kinds)
    return Attack(attacked, (expected,), touched_by(trail, old.stream) | about(new))


@attack()
def repeat_record_at_the_end(trail: Trail, rnd: random.Random) -> Attack:
    """A genuine record comes once more, as if it had been done again."""
    stream = rnd.choice(sorted(open_streams(trail)))
    chain = trail.streams()[stream]
    last = chain[max(chain)]
    again = rnd.choice(list(chain.values())).with_place(stream, last.number + 1, last.digest)
    expected = Expected(stream, last.number + 1, last.number + 1, TAIL)
    return Attack(trail.with_line([again], rnd), (expected,), about(last, again))


@attack(needs="trust")
def replay_stream_of_another_trail(trail: Trail, rnd: random.Random) -> Attack:
    """Whole and well signed, by somebody else."""
    other = make_trail(rnd.randrange(10**6) + 10**6, work=1)
    stream = open_streams(other)[0]
    attacked = trail.with_line(list(other.streams()[stream].values()), rnd)
    expected = Expected(stream, 1, max(other.streams()[stream]), frozenset({"untrusted_key"}))
    return Attack(attacked, (expected,), frozenset({stream, *_previous(other, stream)}))


@attack()
def forge_a_stream_without_signatures(trail: Trail, rnd: random.Random) -> Attack:
    """A whole stream, linked as it should be, by nobody."""
    other = make_trail(rnd.randrange(10**6) + 10**6, work=1, commit_max=2)
    stream = open_streams(other)[0]
    chain = other.streams()[stream]
    others: dict[int, Entry | None] = {1: unsigned(chain[1])}
    forged = [new for new in relinked(chain, others, finish=unsigned).values() if new is not None]
    kinds = frozenset({"missing_signature", "unsigned_tail"})
    expected = Expected(stream, 1, max(chain), kinds)
    attacked = trail.with_line(forged, rnd)
    return Attack(attacked, (expected,), frozenset({stream, *_previous(other, stream)}))


def _previous(trail: Trail, stream: str) -> set[str]:
    return {trail.streams()[stream][1].value(names.PREVIOUS_STREAM_ID)}


@attack(needs="trust")
def sign_a_stream_with_another_key(trail: Trail, rnd: random.Random) -> Attack:
    """Edited, hashed anew, signed anew, and the attacker's key published at its beginning."""
    signer = strangers_key(rnd)
    chains = trail.streams()
    whole = [
        stream
        for stream, chain in chains.items()
        if 1 in chain and not any(e.event == names.EVENT_KEY_ROTATED for e in chain.values())
    ]
    stream = rnd.choice(sorted(whole))
    chain = chains[stream]
    start = chain[1].with_text(names.KEY_ID, signer.key_id)
    start = start.with_text(names.PUBLIC_KEY, base64.b64encode(signer.public_key).decode())
    others: dict[int, Entry | None] = {1: start}
    becomes = relinked(chain, others, finish=lambda e: signed(e, signer) if e.is_signed else e)
    expected = Expected(stream, 1, max(chain), frozenset({"untrusted_key"}))
    return Attack(rebuilt(trail, becomes), (expected,), touched_by(trail, stream))


@attack()
def forge_a_rotation(trail: Trail, rnd: random.Random) -> Attack:
    """The attacker's key follows the stream's, says a record that the stream's did not sign."""
    stream = rnd.choice(sorted(open_streams(trail)))
    chain = trail.streams()[stream]
    last = chain[max(chain)]
    signer = strangers_key(rnd)
    old_key_id = last.value(names.INTEGRITY_CERTIFICATE)
    attributes = rotation_attributes(
        public_key=signer.public_key, sign=signer.sign, old_key_id=old_key_id, stream_id=stream
    )
    rotation = last.changed(eventName=names.EVENT_KEY_ROTATED)
    for name, text in attributes.items():
        rotation = rotation.with_text(name, text)
    rotation = rotation.with_place(stream, last.number + 1, last.digest)
    if rnd.random() < 0.5:
        rotation = signed(rotation, signer).with_text(names.INTEGRITY_CERTIFICATE, old_key_id)
    forged = edited(unsigned(last), rnd).with_place(stream, last.number + 2, rotation.digest)
    expected = Expected(stream, last.number + 1, last.number + 2, TAIL)
    attacked = trail.with_line([rotation, signed(forged, signer)], rnd)
    return Attack(attacked, (expected,), about(last))


@attack()
def change_a_rotation(trail: Trail, rnd: random.Random) -> Attack:
    """A genuine rotation is made one to the attacker's key, and what follows is signed by it."""
    old = pick(trail, rnd, lambda entry: entry.event == names.EVENT_KEY_ROTATED)
    chain = trail.streams()[old.stream]
    signer = strangers_key(rnd)
    attributes = rotation_attributes(
        public_key=signer.public_key,
        sign=signer.sign,
        old_key_id=old.value(names.INTEGRITY_CERTIFICATE),
        stream_id=old.stream,
    )
    new = old
    for name, text in attributes.items():
        new = new.with_text(name, text)
    others: dict[int, Entry | None] = {old.number: new}

    def resign(entry: Entry) -> Entry:
        is_later = entry.number > old.number and entry.is_signed
        return signed(entry, signer) if is_later else entry

    becomes = relinked(chain, others, finish=resign)
    expected = Expected.at(old, LINK | TAIL)
    return Attack(rebuilt(trail, becomes), (expected,), touched_by(trail, old.stream))


@attack()
def excuse_a_deletion(trail: Trail, rnd: random.Random) -> Attack:
    """Deleted records, and a forged record that says that they were never written, or pruned."""
    stream = rnd.choice(sorted(open_streams(trail)))
    chain = trail.streams()[stream]
    old = chain[rnd.choice([number for number in chain if number < max(chain)])]
    last = chain[max(chain)]
    forged = unsigned(last).changed(eventName=names.EVENT_GAP)
    forged = forged.with_text(names.GAP_REASON, "write_failed")
    forged = forged.with_text(names.GAP_STREAM_ID, stream)
    ranges: Json = {"values": [{"stringValue": f"{old.number}-{old.number}"}]}
    forged = forged.with_attribute(names.GAP_RANGES, {"arrayValue": ranges})
    way = rnd.randrange(3)
    forged = forged.with_place(stream, last.number + 1, last.digest)
    if way == 1:
        forged = signed(forged, strangers_key(rnd))
    elif way == 2:
        forged = signed(forged, strangers_key(rnd)).with_text(
            names.INTEGRITY_CERTIFICATE, last.value(names.INTEGRITY_CERTIFICATE)
        )
    attacked = trail.replaced({old: ()}).with_line([forged], rnd)
    expected = (
        missing(trail, old),
        Expected(stream, last.number + 1, last.number + 1, TAIL),
    )
    return Attack(attacked, expected, about(old, last))


@attack(needs="trust")
def excuse_a_deletion_from_a_stream_of_ones_own(trail: Trail, rnd: random.Random) -> Attack:
    """The forged excuse stands in a whole stream that is signed by the attacker's key."""
    old = pick(trail, rnd, is_before_last(trail))
    kit = Kit(rnd.randrange(10**6) + 10**7)
    own = Producer(kit, kit.signer())
    attributes: dict[str, object] = {
        names.PRUNED_STREAM_ID: old.stream,
        names.PRUNED_SEQUENCE: old.number,
        names.PRUNED_HASH: old.digest,
    }
    own.commit([own.draft(names.EVENT_PRUNED, attributes)])
    own.close()
    chain = trail.streams()[old.stream]
    gone = [entry for number, entry in chain.items() if number <= old.number]
    attacked = trail.replaced(dict.fromkeys(gone, ())).with_line(own.delivered, rnd)
    expected = (
        # Numbers before the first record may have been burned and are missing as well.
        Expected(old.stream, 1, old.number, frozenset({"gap"})),
        Expected(own.stream_id, 1, own.number, frozenset({"untrusted_key"})),
    )
    return Attack(attacked, expected, about(*gone) | {own.stream_id})
