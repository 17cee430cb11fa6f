"""Each part of the verifier is needed: without it, attacks go unnoticed that the whole one notices.

So the tests of ``test_tampering.py`` can tell a verifier that works from one that does not, and
none of the links, the signatures, the trust file and the anchors can be spared.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._otlp.json import iter_lines, read_lines
from kaizen_otel._trail.verify_strict import StrictReader
from kaizen_otel.audit._stream import Stream
from kaizen_otel.audit.anchors import read_anchors
from kaizen_otel.audit.trust import parse_trust
from kaizen_otel.audit.verify import Signatures, SignatureTask, Verifier
from tests.trail.all_attacks import ATTACKS
from tests.trail.attack import Attack, NotApplicableError
from tests.trail.judges import Judgement, is_found, judgement
from tests.trail.trail_kit import make_trail
from tests.trail.trail_model import Trail

if TYPE_CHECKING:
    from kaizen_otel.audit._seen import Seen

_TRIES = 2

#: The part that is taken out -> attacks that nobody notices then, in some of a few trails.  Links
#: and signatures stand in for each other where an altered record happens to be signed itself.
MISSED = {
    "links": {
        "add_attribute",
        "remove_attribute",
        "reuse_record_id",
        "swap_fields",
    },
    "signatures": {
        "change_a_rotation",
        "delete_renumber_and_hash_anew",
        "edit_and_drop_later_checkpoints",
        "edit_and_hash_the_rest_anew",
        "exchange_signature",
        "forge_a_rotation",
        "insert_renumber_and_hash_anew",
        "repeat_record_at_the_end",
    },
    "trust": {
        "excuse_a_deletion_from_a_stream_of_ones_own",
        "replay_stream_of_another_trail",
        "sign_a_stream_with_another_key",
    },
    "anchors": {
        "drop_everything",
        "drop_file",
        "drop_stream",
        "truncate_after_a_checkpoint",
        "truncate_after_a_signed_record",
    },
}


class Unlinked(Stream):
    """A stream in which a link may say what it likes."""

    __slots__ = ()

    def add(self, seen: Seen) -> bool:
        is_new = super().add(seen)
        self.breaks.clear()
        return is_new


class Credulous:
    """Believes every signature."""

    def submit(self, task: SignatureTask) -> None:
        """Ask nothing."""

    def bad(self) -> Iterator[SignatureTask]:
        yield from ()


@cache
def attacked() -> list[tuple[str, Attack, frozenset[str]]]:
    """Return every attack on a few trails, and the streams that there were before it."""
    found: list[tuple[str, Attack, frozenset[str]]] = []
    trails = [make_trail(seed, work=2, commit_max=4) for seed in range(6)]
    for name, operator in ATTACKS.items():
        done = 0
        for index, trail in enumerate(trails):
            try:
                attack = operator.run(trail, random.Random(f"{index} {name}"))
            except NotApplicableError:
                continue
            found.append((name, attack, frozenset(trail.streams())))
            done += 1
            if done == _TRIES:
                break
    return found


def ask(trail: Trail, without: str, streams: frozenset[str]) -> Judgement:
    """Ask our verifier, one part of it taken out."""
    signatures: Signatures | None = Credulous() if without == "signatures" else None
    trust = None if without == "trust" else parse_trust(trail.trust_bytes(), source="test")
    verifier = Verifier(trust=trust, signatures=signatures)
    if without == "links":
        verifier.streams = {stream: Unlinked(stream) for stream in sorted(streams)}
    reader = StrictReader(verifier)
    for number, line in enumerate(iter_lines([trail.data()]), 1):
        reader.read(line, number=number, path="", offset=0)
    requests = [] if without == "anchors" else read_lines([trail.anchor_bytes()])
    return judgement(verifier.finish(anchor for one in requests for anchor in read_anchors(one)))


@cache
def missed(without: str) -> frozenset[str]:
    """Return the attacks that go unnoticed, at their place, in some of the trails."""
    found: set[str] = set()
    for name, attack, streams in attacked():
        after = ask(attack.trail, without, streams)
        if not all(is_found(expected, after) for expected in attack.expected):
            found.add(name)
    return frozenset(found)


def test_the_whole_verifier_misses_none_of_them() -> None:
    assert missed("nothing") == set()


@pytest.mark.parametrize("without", sorted(MISSED))
def test_without_a_part_of_the_verifier_attacks_go_unnoticed(without: str) -> None:
    assert missed(without) >= MISSED[without]


@pytest.mark.parametrize("without", ["trust", "anchors"])
def test_without_trust_or_anchors_just_the_attacks_go_unnoticed_that_say_so(without: str) -> None:
    """An operator says what a verifier needs besides the trail; all others show without it."""
    assert (
        missed(without) == MISSED[without] == {n for n, a in ATTACKS.items() if a.needs == without}
    )
