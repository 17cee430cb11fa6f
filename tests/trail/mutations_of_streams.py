"""Attacks on the order and the number of records: hashed anew, removed, cut off."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from kaizen_otel.audit import record as names
from tests.trail.attack import (
    CUT,
    LINK,
    TAIL,
    Attack,
    Expected,
    NotApplicableError,
    about,
    attack,
    edited,
    first_signed,
    is_before_last,
    last_anchored,
    missing,
    pick,
    rebuilt,
    relinked,
    touched_by,
    unsigned,
)
from tests.trail.trail_model import Entry, Line, Trail

CHECKPOINTS: Final = frozenset({names.EVENT_CHECKPOINT, names.EVENT_STOPPED})


def _rehashed(trail: Trail, stream: str, becomes: dict[Entry, Entry | None], since: int) -> Attack:
    """What was hashed anew has signatures of what was there before: the first one shows it."""
    left = [becomes.get(entry, entry) for entry in trail.streams()[stream].values()]
    shows = first_signed(left, since)
    if shows is None:
        raise NotApplicableError
    kinds = frozenset({"bad_signature", "untrusted_key"})
    expected = Expected(stream, shows.number, shows.number, kinds)
    return Attack(rebuilt(trail, becomes), (expected,), touched_by(trail, stream))


# Hashed anew.


@attack()
def edit_and_hash_that_record_anew(trail: Trail, rnd: random.Random) -> Attack:
    """The next record links to what the record is now; the one after that does not fit any more."""
    old = pick(trail, rnd, is_before_last(trail))
    new = edited(old, rnd)
    following = trail.streams()[old.stream].get(old.number + 1)
    if following is None:
        raise NotApplicableError
    linked = following.with_text(names.PREVIOUS_HASH, new.digest)
    attacked = trail.replaced({old: (new,), following: (linked,)})
    expected = Expected(old.stream, old.number, old.number + 2, LINK | TAIL)
    return Attack(attacked, (expected,), about(old, following))


@attack()
def edit_and_hash_the_rest_anew(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    chain = trail.streams()[old.stream]
    becomes = relinked(chain, {old.number: edited(old, rnd)})
    return _rehashed(trail, old.stream, becomes, old.number)


@attack()
def edit_hash_anew_and_strip_signatures(trail: Trail, rnd: random.Random) -> Attack:
    """What is left of the stream looks as if its process could not sign any more."""
    old = pick(trail, rnd)
    chain = trail.streams()[old.stream]
    becomes = relinked(chain, {old.number: edited(old, rnd)}, finish=unsigned)
    # A record that also lost its Resource is named for that, and not again for its signature.
    kinds = TAIL | {"resource_changed"}
    expected = Expected(old.stream, 1, old.number, kinds)
    return Attack(rebuilt(trail, becomes), (expected,), touched_by(trail, old.stream))


@attack()
def edit_and_drop_later_checkpoints(trail: Trail, rnd: random.Random) -> Attack:
    """All later statements about the stream go, the rest is numbered and hashed anew."""
    old = pick(trail, rnd, is_before_last(trail))
    chain = trail.streams()[old.stream]
    others: dict[int, Entry | None] = {
        number: None
        for number, entry in chain.items()
        if number > old.number and entry.event in CHECKPOINTS
    }
    others[old.number] = edited(old, rnd)
    return _rehashed(trail, old.stream, relinked(chain, others, renumber=True), old.number)


@attack()
def delete_renumber_and_hash_anew(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd, is_before_last(trail))
    chain = trail.streams()[old.stream]
    becomes = relinked(chain, {old.number: None}, renumber=True)
    return _rehashed(trail, old.stream, becomes, old.number)


@attack()
def insert_renumber_and_hash_anew(trail: Trail, rnd: random.Random) -> Attack:
    """A record that never was, in the middle of a stream."""
    old = pick(trail, rnd, is_before_last(trail))
    chain = trail.streams()[old.stream]
    forged = unsigned(edited(old, rnd)).with_place(old.stream, old.number + 1, old.digest)
    becomes: dict[Entry, tuple[Entry, ...]] = {old: (old, forged)}
    before, shows = forged, None
    for number, entry in chain.items():
        if number > old.number:
            link = entry.value(names.PREVIOUS_HASH)
            if before.number == number:
                link = before.digest
            before = entry.with_place(old.stream, number + 1, link)
            shows = shows or (before if before.is_signed else None)
            becomes[entry] = (before,)
    if shows is None:
        raise NotApplicableError
    expected = Expected(old.stream, shows.number, shows.number, frozenset({"bad_signature"}))
    return Attack(trail.replaced(becomes), (expected,), touched_by(trail, old.stream))


# Removed.


@attack()
def delete_record(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd, is_before_last(trail))
    return Attack(trail.replaced({old: ()}), (missing(trail, old),), about(old))


@attack()
def delete_range(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd, is_before_last(trail))
    chain = trail.streams()[old.stream]
    last = rnd.randint(old.number, max(chain) - 1)
    gone = [entry for number, entry in chain.items() if old.number <= number <= last]
    attacked = trail.replaced(dict.fromkeys(gone, ()))
    return Attack(attacked, (missing(trail, old),), about(*gone))


@attack()
def delete_checkpoint(trail: Trail, rnd: random.Random) -> Attack:
    is_inside = is_before_last(trail)
    old = pick(trail, rnd, lambda entry: entry.event in CHECKPOINTS and is_inside(entry))
    return Attack(trail.replaced({old: ()}), (missing(trail, old),), about(old))


def _cut(trail: Trail, stream: str, last: int) -> Attack:
    """Remove what is after ``last`` from a stream."""
    gone = {entry: () for number, entry in trail.streams()[stream].items() if number > last}
    kinds = {"truncation" if min(trail.streams()[stream]) <= last else "stream_missing"}
    # If a rotation is gone, anchors by the new key cannot be checked any more.
    kinds.add("bad_checkpoint")
    expected = Expected(stream, last + 1, last_anchored(trail, stream), frozenset(kinds))
    touched = touched_by(trail, stream) | _followers(trail, stream)
    return Attack(trail.replaced(gone), (expected,), touched)


def _followers(trail: Trail, stream: str) -> frozenset[str]:
    entries = trail.entries()
    return about(*[one for one in entries if one.value(names.PREVIOUS_STREAM_ID) == stream])


def _anchored(trail: Trail, rnd: random.Random) -> str:
    found = [s for s in trail.streams() if last_anchored(trail, s) > min(trail.streams()[s])]
    return rnd.choice(sorted(found))


def _cut_after(trail: Trail, rnd: random.Random, fits: Callable[[Entry], bool]) -> Attack:
    """Cut a stream after a record that fits and is before its last anchor."""
    places = [
        (stream, number)
        for stream, chain in trail.streams().items()
        for number, entry in chain.items()
        if fits(entry) and number < last_anchored(trail, stream)
    ]
    if not places:
        raise NotApplicableError
    return _cut(trail, *rnd.choice(places))


@attack(needs="anchors")
def truncate_after_a_checkpoint(trail: Trail, rnd: random.Random) -> Attack:
    """It looks as a stream looks whose process was killed."""
    return _cut_after(trail, rnd, lambda entry: entry.event in CHECKPOINTS)


@attack(needs="anchors")
def truncate_after_a_signed_record(trail: Trail, rnd: random.Random) -> Attack:
    return _cut_after(trail, rnd, lambda entry: entry.is_signed)


@attack()
def truncate_within_a_commit(trail: Trail, rnd: random.Random) -> Attack:
    """What is left at the end is not signed: that shows without an anchor."""
    chains = trail.streams()
    places = [
        (stream, number)
        for stream, chain in chains.items()
        for number, entry in chain.items()
        if not entry.is_signed
    ]
    if not places:
        raise NotApplicableError
    stream, last = rnd.choice(places)
    found = _cut(trail, stream, last)
    expected = Expected(stream, 1, last, frozenset({"unsigned_tail", "missing_signature"}))
    return Attack(found.trail, (expected,), found.touched)


@attack(needs="anchors")
def drop_stream(trail: Trail, rnd: random.Random) -> Attack:
    return _cut(trail, _anchored(trail, rnd), 0)


@attack(needs="anchors")
def drop_everything(trail: Trail, rnd: random.Random) -> Attack:
    kinds = frozenset({"stream_missing", "bad_checkpoint"})
    anchored = {entry.stream for entry in trail.anchors}
    expected = [Expected(s, 0, last_anchored(trail, s), kinds) for s in sorted(anchored)]
    nothing: dict[str, list[Line]] = {name: [] for name in trail.files}
    return Attack(trail.with_files(nothing), tuple(expected), frozenset(trail.streams()) | anchored)


@attack(needs="anchors")
def drop_file(trail: Trail, rnd: random.Random) -> Attack:
    """One of the rotated files is gone: what an anchor or a later record confirms is missed."""
    if len(trail.files) < 2:
        raise NotApplicableError
    gone = rnd.choice(sorted(trail.files))
    left = trail.with_files({name: lines for name, lines in trail.files.items() if name != gone})
    before, after = trail.streams(), left.streams()
    expected: list[Expected] = []
    for stream, chain in before.items():
        known = after.get(stream, {})
        end = max([*known, last_anchored(trail, stream)], default=0)
        lost = [number for number in chain if number not in known and number <= end]
        if lost:
            expected.append(
                Expected(stream, 1, max(lost), CUT | {"unsigned_tail", "bad_checkpoint"})
            )
    if not expected:
        raise NotApplicableError
    anchored = {entry.stream for entry in trail.anchors}
    return Attack(left, tuple(expected), frozenset(before) | anchored)
