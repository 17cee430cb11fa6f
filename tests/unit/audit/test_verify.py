"""The verifier: every attack is found at its place, nothing benign is an alarm."""

from __future__ import annotations

import base64
import random
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen_otel._signing import Ed25519Signer
from kaizen_otel.audit import record as names
from kaizen_otel.audit._slots import FAR_MAX, PRESENT, Slots
from kaizen_otel.audit.anchors import Anchor
from tests.unit.audit.verify_kit import RESOURCE, Epoch, changed, trust_of, verify, wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._otlp.decode import Json

KEY = Ed25519Signer.generate()
OTHER = Ed25519Signer.generate()
TRUST = trust_of(KEY)


def _epoch(index: int = 1, signer: Ed25519Signer = KEY) -> Epoch:
    """Numbers 1 (started), 2-4, 5-6, 7 (each the end of a commit is signed), 8 (stopped)."""
    return Epoch(index=index, signer=signer).start().work(3).work(2).work(1).stop()


def _kinds(found: list[tuple[str, int]]) -> set[str]:
    return {kind for kind, _ in found}


def _without(records: list[Json], *numbers: int) -> list[Json]:
    return [record for at, record in enumerate(records, 1) if at not in numbers]


def _replaced(records: list[Json], number: int, record: Json) -> list[Json]:
    return [record if at == number else old for at, old in enumerate(records, 1)]


def _values(record: Json) -> dict[str, dict[str, str]]:
    return {p["key"]: p["value"] for p in cast("list[dict[str, Any]]", record["attributes"])}


# What is no attack.


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), commits=st.lists(st.integers(1, 9), max_size=9))
def test_records_in_any_order_and_any_number_of_times_are_clean(
    seed: int, commits: list[int]
) -> None:
    epoch, second = Epoch(index=1, signer=KEY).start(), _epoch(2)
    for count in commits:
        epoch.work(count)
    records = epoch.stop().records + second.records
    shuffler = random.Random(seed)
    mixed = records + shuffler.sample(records, len(records) // 2)
    shuffler.shuffle(mixed)
    verdict = verify(mixed, trust=TRUST)
    assert (verdict.exit_code, wrong(verdict)) == (0, [])
    assert verdict.records == len(records)
    assert verdict.duplicates == len(mixed) - len(records)


def test_without_a_trust_file_a_clean_trail_is_clean_and_says_that_its_key_is_its_own() -> None:
    verdict = verify(_epoch().records)
    assert verdict.exit_code == 0
    assert [f.kind for f in verdict.findings] == ["self_published_key"]
    assert not verdict.is_pinned


def test_a_key_that_a_rotation_introduces_is_trusted_as_the_one_before() -> None:
    epoch = Epoch(signer=KEY).start().work(2).rotate(OTHER).work(3).stop()
    following = Epoch(index=2, signer=OTHER).start().work(2).stop()
    verdict = verify(following.records + epoch.records, trust=TRUST)
    assert wrong(verdict) == []


def test_an_open_stream_is_a_note_and_no_alarm() -> None:
    verdict = verify(Epoch(signer=KEY).start().work(2).records, trust=TRUST)
    assert verdict.exit_code == 0
    assert [f.kind for f in verdict.findings] == ["open_stream"]


def test_nothing_at_all_is_never_clean() -> None:
    verdict = verify([])
    assert (verdict.exit_code, wrong(verdict)) == (3, [("empty_trail", 0)])
    assert not verdict.is_clean


# Changed records.


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_changed_attribute_is_found_at_its_record(number: int, *, is_pinned: bool) -> None:
    records = _epoch().records
    edited = changed(records[number - 1], names.OUTCOME, "success")
    verdict = verify(_replaced(records, number, edited), trust=TRUST if is_pinned else None)
    assert verdict.exit_code == 1
    assert {f.sequence for f in verdict.findings if f.severity == "tampering"} == {number}
    assert {f.stream_id for f in verdict.findings if f.severity == "tampering"} == {
        "01999999-0000-7000-8000-000000000001"
    }


@pytest.mark.parametrize("number", range(2, 9))
@pytest.mark.parametrize(
    "change",
    [
        lambda r: {**r, "timeUnixNano": str(int(r["timeUnixNano"]) - 10**9)},
        lambda r: {**r, "observedTimeUnixNano": "1"},
        lambda r: {**r, "eventName": "kaizen.audit.checkpoint"},
        lambda r: {**r, "traceId": "ab" * 16},
        lambda r: changed(r, names.SCHEMA, "1.0.0"),
        lambda r: changed(r, names.RECORD_ID, "00000000-0000-0000-0000-000000000001"),
        lambda r: changed(r, names.PREVIOUS_HASH, "00" * 32),
        lambda r: changed(r, "more", "x"),
        lambda r: changed(r, names.ACTOR_ID, None),
        lambda r: changed(
            changed(r, names.ACTOR_ID, _values(r)[names.ACTION]["stringValue"]),
            names.ACTION,
            _values(r)[names.ACTOR_ID]["stringValue"],
        ),
    ],
    ids=["time", "observed", "event", "trace", "schema", "id", "link", "added", "removed", "swap"],
)
def test_every_kind_of_change_is_tampering(number: int, change: Callable[[Any], Json]) -> None:
    records = _epoch().records
    verdict = verify(_replaced(records, number, change(records[number - 1])), trust=TRUST)
    assert verdict.exit_code == 1
    found = [f for f in verdict.findings if f.severity == "tampering"]
    assert any(f.sequence_first <= number <= f.sequence_last for f in found)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda r: {**r, "body": {"stringValue": "more"}}, "foreign_field"),
        (lambda r: {**r, "severityNumber": 9}, "foreign_field"),
        (lambda r: {**r, "timeUnixNano": 5}, "not_canonical"),
        (lambda r: {**r, "attributes": [*r["attributes"], r["attributes"][0]]}, "not_canonical"),
        (lambda r: changed(r, names.SEQUENCE, -3), "not_canonical"),
        (lambda r: changed(r, names.STREAM_ID, "no uuid"), "not_canonical"),
        (lambda r: changed(r, names.RECORD_ID, None), "not_canonical"),
        (lambda r: changed(r, names.PREVIOUS_HASH, "xyz"), "not_canonical"),
        (lambda r: changed(r, names.PREVIOUS_HASH, None), "unchained"),
        (lambda r: changed(r, names.STREAM_ID, None), "unchained"),
        (lambda r: changed(r, names.SEQUENCE, None), "unchained"),
    ],
)
def test_what_no_emitter_writes_is_named(change: Callable[[Any], Json], kind: str) -> None:
    records = _epoch().records
    verdict = verify(_replaced(records, 3, change(records[2])), trust=TRUST)
    assert verdict.exit_code == 1
    assert kind in _kinds(wrong(verdict))


def test_a_record_without_the_chains_attributes_resets_no_chain() -> None:
    """The schema set back: an old record between new ones is no evidence."""
    records = _epoch().records
    old = records[3]
    for name in (names.PREVIOUS_HASH, names.INTEGRITY_CERTIFICATE, names.INTEGRITY_VALUE):
        old = changed(old, name, None)
    verdict = verify(_replaced(records, 4, changed(old, names.SCHEMA, "1.0.0")), trust=TRUST)
    assert ("unchained", 4) in wrong(verdict)


def test_two_records_whose_values_are_exchanged_are_both_found() -> None:
    records = _epoch().records
    mine, other = records[1], records[2]
    exchanged = _replaced(
        _replaced(records, 2, changed(mine, "n", int(_values(other)["n"]["intValue"]))),
        3,
        changed(other, "n", int(_values(mine)["n"]["intValue"])),
    )
    assert ("bad_link", 2) in wrong(verify(exchanged, trust=TRUST))
    assert ("bad_link", 3) in wrong(verify(exchanged, trust=TRUST))


def test_a_resource_that_was_changed_is_found_in_every_record_that_it_had() -> None:
    other: Json = {"attributes": [{"key": "service.name", "value": {"stringValue": "b"}}]}
    verdict = verify(_epoch().records, trust=TRUST, resource=other)
    assert wrong(verdict) == [("resource_changed", number) for number in range(1, 9)]
    more = {**RESOURCE, "entityRefs": [{"type": "x"}]}
    assert verify(_epoch().records, trust=TRUST, resource=more).exit_code == 1


# Rewritten chains.


def _rewritten(number: int, signer: Ed25519Signer | None) -> list[Json]:
    """The history from ``number`` on made anew by who has not the key, or has another one."""
    epoch = Epoch(signer=KEY).start().work(3).work(2)
    forged = Epoch(signer=signer or OTHER, is_signing=signer is not None)
    forged.records = epoch.records[: number - 1]
    forged.number = number - 1
    forged.chain._hashes = {number - 1: epoch.hash_of(number - 1).hex()}
    other: tuple[str, dict[str, object]] = ("kaizen.tool.execute", {"n": "forged"})
    return forged.commit(other, other).commit(other, other).records


@pytest.mark.parametrize("number", range(2, 7))
def test_a_rewritten_suffix_without_a_key_has_no_signatures(number: int) -> None:
    verdict = verify(_rewritten(number, None), trust=TRUST)
    signed = max(at for at in (1, 4, 6) if at < number)
    assert wrong(verdict) == [("unsigned_tail", signed + 1)]
    assert verdict.exit_code == 2


@pytest.mark.parametrize("is_pinned", [True, False])
def test_a_suffix_signed_by_another_key_is_tampering(*, is_pinned: bool) -> None:
    verdict = verify(_rewritten(5, OTHER), trust=TRUST if is_pinned else None)
    assert ("untrusted_key", 6) in wrong(verdict)
    assert verdict.exit_code == 1


def test_a_suffix_that_keeps_its_old_signatures_is_tampering() -> None:
    records = _epoch().records
    forged = _rewritten(5, None)
    value = _values(records[5])
    forged[5] = changed(
        changed(forged[5], names.INTEGRITY_CERTIFICATE, KEY.key_id),
        names.INTEGRITY_VALUE,
        value[names.INTEGRITY_VALUE]["stringValue"],
    )
    verdict = verify(forged, trust=TRUST)
    assert ("bad_signature", 6) in wrong(verdict)
    (found,) = [f for f in verdict.findings if f.kind == "bad_signature"]
    assert (found.sequence_first, found.sequence_last) == (5, 6)


def test_a_whole_stream_of_another_key_is_tampering_with_a_trust_file_and_a_note_without() -> None:
    foreign = _epoch(2, OTHER)
    both = _epoch().records + foreign.records
    verdict = verify(both, trust=TRUST)
    assert wrong(verdict) == [("untrusted_key", 1)]
    assert [f.stream_id for f in verdict.findings] == [foreign.stream_id]
    assert [f.kind for f in verify(both).findings] == ["self_published_key"] * 2


def test_a_record_of_another_stream_in_the_place_of_one_is_found() -> None:
    records, other = _epoch().records, _epoch(2).records
    moved = changed(other[2], names.STREAM_ID, _epoch().stream_id)
    assert ("fork", 3) in wrong(verify([*records, moved], trust=TRUST))
    assert verify(_replaced(records, 3, moved), trust=TRUST).exit_code == 1


# Signatures.


@pytest.mark.parametrize("number", [1, 4, 6, 7, 8])
def test_a_signature_that_was_taken_away_is_missed(number: int) -> None:
    records = _epoch().records
    bare = changed(records[number - 1], names.INTEGRITY_VALUE, None)
    verdict = verify(_replaced(records, number, bare), trust=TRUST)
    assert ("missing_signature", number) in wrong(verdict)
    assert verdict.exit_code == 1
    barer = changed(bare, names.INTEGRITY_CERTIFICATE, None)
    expected = 1 if number < 8 else 2
    assert verify(_replaced(records, number, barer), trust=TRUST).exit_code == expected


@pytest.mark.parametrize(
    "value",
    ["", "AAAA", base64.b64encode(bytes(64)).decode(), base64.b64encode(bytes(65)).decode(), "é"],
)
def test_a_signature_that_is_none_is_found_where_it_is(value: str) -> None:
    records = _epoch().records
    bad = changed(records[3], names.INTEGRITY_VALUE, value)
    verdict = verify(_replaced(records, 4, bad), trust=TRUST)
    assert [f for f in wrong(verdict) if f[0] == "bad_signature"] == [("bad_signature", 4)]


def test_a_signature_in_an_unsigned_record_is_found_although_no_hash_covers_it() -> None:
    records = _epoch().records
    more = changed(records[1], names.INTEGRITY_VALUE, "AAAA")
    verdict = verify(_replaced(records, 2, more), trust=TRUST)
    assert wrong(verdict) == [("bad_signature", 2)]


def test_a_copy_whose_signature_was_taken_away_is_found_beside_the_good_one() -> None:
    records = _epoch().records
    bare = changed(records[3], names.INTEGRITY_VALUE, None)
    assert wrong(verify([*records, bare], trust=TRUST)) == [("missing_signature", 4)]
    bad = changed(records[3], names.INTEGRITY_VALUE, base64.b64encode(bytes(64)).decode())
    assert ("bad_signature", 4) in wrong(verify([*records, bad], trust=TRUST))


def test_an_unsigned_stream_is_tampering_once_keys_are_pinned() -> None:
    records = Epoch(is_signing=False).start().work(3).stop().records
    assert wrong(verify(records)) == [("missing_signature", 1)]
    assert verify(records).exit_code == 2
    assert verify(records, trust=TRUST).exit_code == 1


def test_records_that_no_signature_covers_yet_are_incomplete() -> None:
    records = Epoch(signer=KEY).start().work(4).records[:-1]
    verdict = verify(records, trust=TRUST)
    assert (verdict.exit_code, wrong(verdict)) == (2, [("unsigned_tail", 2)])


def test_the_last_signature_alone_covers_the_chain_before_it() -> None:
    records = _epoch().records
    assert verify(records, trust=TRUST, mode="last").exit_code == 0
    edited = changed(records[7], names.OUTCOME, "success")
    assert verify(_replaced(records, 8, edited), trust=TRUST, mode="last").exit_code == 1
    assert verify(_replaced(records, 8, edited), trust=TRUST, mode="none").exit_code == 0


# Keys.


def test_a_rotation_that_the_old_key_did_not_sign_introduces_no_key() -> None:
    forged = Epoch(signer=KEY).start().work(2)
    forged.chain.signing = forged._signing(OTHER)
    forged.rotate(OTHER).work(2)
    verdict = verify(forged.records, trust=TRUST)
    assert verdict.exit_code == 1
    assert ("untrusted_key", 4) in wrong(verdict)


def test_a_rotation_to_a_key_that_does_not_prove_itself_introduces_none() -> None:
    epoch = Epoch(signer=KEY).start().work(2)
    attributes = {
        names.PUBLIC_KEY: base64.b64encode(OTHER.public_key).decode(),
        names.KEY_ID: OTHER.key_id,
        names.KEY_PROOF: base64.b64encode(bytes(64)).decode(),
    }
    epoch.commit((names.EVENT_KEY_ROTATED, dict(attributes)), then=OTHER).work(2)
    verdict = verify(epoch.records, trust=TRUST)
    assert {("untrusted_key", 4), ("untrusted_key", 6)} <= set(wrong(verdict))


def test_a_key_is_not_trusted_after_its_time() -> None:
    late = trust_of(KEY, not_after="2020-01-01T00:00:00Z")
    assert "untrusted_key" in _kinds(wrong(verify(_epoch().records, trust=late)))
    rotated = Epoch(signer=KEY).start().rotate(OTHER).work(1).stop().records
    verdict = verify(rotated, trust=late)
    assert {("untrusted_key", 1), ("untrusted_key", 3)} <= set(wrong(verdict))


def test_a_key_that_no_record_publishes_is_incomplete_without_a_trust_file() -> None:
    records = _epoch().records[1:]
    assert verify(records).exit_code == 2
    assert {"gap", "untrusted_key"} == _kinds(wrong(verify(records)))
    assert wrong(verify(records, trust=TRUST)) == [("gap", 1)]


def test_a_key_that_becomes_known_last_is_used_for_all_that_waited() -> None:
    records = _epoch().records
    edited = _replaced(records, 7, changed(records[6], names.INTEGRITY_VALUE, "A" * 86 + "=="))
    verdict = verify(edited[1:] + edited[:1])
    assert ("bad_signature", 7) in wrong(verdict)


# Missing records and what explains them.


@pytest.mark.parametrize("number", range(1, 8))
def test_a_removed_record_is_a_gap(number: int) -> None:
    verdict = verify(_without(_epoch().records, number), trust=TRUST)
    assert ("gap", number) in wrong(verdict)
    assert verdict.exit_code == 2


def test_burned_numbers_are_explained_whether_their_records_are_there_or_not() -> None:
    epoch = Epoch(signer=KEY).start().work(2).work(2).gap("write_failed", "4-5").work(1).stop()
    assert wrong(verify(epoch.records, trust=TRUST)) == []
    for missing in ((4,), (4, 5)):
        verdict = verify(_without(epoch.records, *missing), trust=TRUST)
        assert verdict.exit_code == 0, missing
        assert "gap_declared" in {f.kind for f in verdict.findings}


def test_what_stands_in_a_burned_number_without_a_signature_could_be_anybodys() -> None:
    """It was acknowledged to nobody: half a commit of ours, or a record that somebody made up."""
    epoch = Epoch(signer=KEY).start().work(2).work(2).gap("write_failed", "4-5").work(1).stop()
    verdict = verify(_without(epoch.records, 5), trust=TRUST)
    assert wrong(verdict) == [("unsigned_tail", 4)]
    assert verdict.exit_code == 2


def test_records_that_were_set_aside_are_incomplete_and_no_tampering() -> None:
    epoch = Epoch(signer=KEY).start().work(1).work(1).gap("quarantined", "3-3", count=1).stop()
    verdict = verify(_without(epoch.records, 3), trust=TRUST)
    assert wrong(verdict) == [("gap_declared", 3)]
    assert verify(epoch.records, trust=TRUST).exit_code == 0


def test_refused_records_are_told_by_the_gap_record_that_counts_them() -> None:
    epoch = Epoch(signer=KEY).start().gap("disk_full", count=17).stop()
    verdict = verify(epoch.records, trust=TRUST)
    assert wrong(verdict) == [("gap_declared", 2)]
    assert "17" in verdict.findings[0].text


def test_a_gap_record_of_another_key_explains_nothing() -> None:
    """Without a trust file anybody can add a stream of their own; it must not speak for others."""
    epoch = _epoch()
    forged = Epoch(index=2, signer=OTHER).start().gap("write_failed", "5-5", about=epoch.stream_id)
    records = _without(epoch.records, 5) + forged.stop().records
    assert ("gap", 5) in wrong(verify(records))
    assert ("gap", 5) in wrong(verify(records, trust=TRUST))
    assert ("gap", 5) not in wrong(verify(records, trust=trust_of(KEY, OTHER)))


def test_a_gap_record_that_no_signature_covers_explains_nothing() -> None:
    epoch = Epoch(signer=KEY).start().work(1).work(1)
    epoch.chain.signing = None
    epoch.gap("write_failed", "3-3")
    assert ("gap", 3) in wrong(verify(_without(epoch.records, 3), trust=TRUST))


def _pruned(epoch: Epoch, number: int, digest: bytes) -> Epoch:
    values: dict[str, object] = {
        names.PRUNED_STREAM_ID: epoch.stream_id,
        names.PRUNED_SEQUENCE: number,
        names.PRUNED_HASH: digest.hex(),
    }
    return Epoch(index=9, signer=KEY).start().commit((names.EVENT_PRUNED, values)).stop()


def test_a_pruned_beginning_is_explained_by_a_signed_record_and_its_hash() -> None:
    epoch = _epoch()
    tool = _pruned(epoch, 4, epoch.hash_of(4))
    verdict = verify(epoch.records[4:] + tool.records, trust=TRUST)
    assert wrong(verdict) == []
    assert "pruned" in {f.kind for f in verdict.findings}
    assert wrong(verify(tool.records, trust=TRUST)) == []
    bad = _pruned(epoch, 4, bytes(32))
    assert ("bad_link", 5) in wrong(verify(epoch.records[4:] + bad.records, trust=TRUST))
    assert ("gap", 5) in wrong(verify(epoch.records[5:] + tool.records, trust=TRUST))


# Streams as wholes.


def test_a_stream_begins_with_started_and_ends_with_its_end() -> None:
    bare = Epoch(signer=KEY).work(2).stop()
    assert ("bad_start", 1) in wrong(verify(bare.records, trust=TRUST))
    longer = _epoch().work(2)
    assert ("after_end", 9) in wrong(verify(longer.records, trust=TRUST))


def test_a_first_record_links_to_nothing() -> None:
    records = _epoch().records
    linked = changed(records[0], names.PREVIOUS_HASH, "ab" * 32)
    assert ("bad_link", 1) in wrong(verify([linked], trust=TRUST))


def test_a_stream_that_another_one_followed_is_missed() -> None:
    child = Epoch(index=2, signer=KEY).start(
        **{names.PREVIOUS_STREAM_ID: "01999999-0000-7000-8000-000000000001"}
    )
    assert wrong(verify(child.records, trust=TRUST)) == [("stream_missing", 0)]
    assert wrong(verify(child.records + _epoch().records, trust=TRUST)) == []


def test_intents_without_outcome_are_noted_and_closed_in_any_order() -> None:
    intent: dict[str, object] = {names.PHASE: "intent", names.INTENT_ID: "i"}
    outcome: dict[str, object] = {names.PHASE: "outcome", names.INTENT_ID: "i"}
    epoch = Epoch(signer=KEY).start().commit(("e", intent)).commit(("e", outcome)).stop()
    assert verify(epoch.records, trust=TRUST).findings == ()
    assert verify(epoch.records[::-1], trust=TRUST).findings == ()
    left = Epoch(signer=KEY).start().commit(("e", intent)).stop()
    (found,) = verify(left.records, trust=TRUST).findings
    assert (found.kind, found.sequence) == ("intent_without_outcome", 2)


def test_a_clock_that_was_set_back_is_noted() -> None:
    epoch = Epoch(signer=KEY).start().work(1)
    epoch.number -= 1
    del epoch.records[-1]
    late = Epoch(signer=KEY).start().work(2).records
    step = verify([*late[:1], {**late[1], "timeUnixNano": "5"}, *late[2:]], mode="none")
    assert "clock_step" in {f.kind for f in step.findings}


# Anchors.


def _anchor(epoch: Epoch, number: int, **more: object) -> Anchor:
    values = {"time_ns": 1, "path": "anchors.jsonl", **more}
    return Anchor(epoch.stream_id, number, epoch.hash_of(number), **cast("Any", values))


def test_a_cut_end_is_found_by_an_anchor_and_by_nothing_else() -> None:
    epoch = _epoch()
    cut = epoch.records[:6]
    assert verify(cut, trust=TRUST).exit_code == 0
    anchors = [_anchor(epoch, 4), _anchor(epoch, 8)]
    verdict = verify(cut, trust=TRUST, anchors=anchors)
    assert wrong(verdict) == [("truncation", 7)]
    assert verdict.streams[0].anchored_to == 4
    (found,) = [f for f in verdict.findings if f.kind == "truncation"]
    assert (found.sequence_last, found.path) == (8, "anchors.jsonl")


def test_a_stream_that_is_gone_is_found_by_an_anchor() -> None:
    epoch, other = _epoch(), _epoch(2)
    verdict = verify(other.records, trust=TRUST, anchors=[_anchor(epoch, 4)])
    assert wrong(verdict) == [("stream_missing", 1)]
    empty = verify([], trust=TRUST, anchors=[_anchor(epoch, 4)])
    assert _kinds(wrong(empty)) == {"empty_trail", "stream_missing"}


def test_another_history_with_the_same_key_contradicts_the_anchor() -> None:
    """Who holds the key can write another history, but not one that agrees with an anchor."""
    epoch = _epoch()
    other = Epoch(signer=KEY).start().work(2).work(3).work(1).stop()
    verdict = verify(other.records, trust=TRUST, anchors=[_anchor(epoch, 4)])
    assert wrong(verdict) == [("anchor_mismatch", 4)]
    assert verdict.exit_code == 1


def test_an_anchor_that_nobody_trusted_signed_is_not_believed() -> None:
    epoch = _epoch()
    signed = {"key_id": OTHER.key_id, "signature": OTHER.sign(bytes(32)), "signed": bytes(32)}
    anchors = [_anchor(epoch, 8, **signed)]
    assert wrong(verify(epoch.records[:6], trust=TRUST, anchors=anchors)) == [("bad_checkpoint", 8)]
    bad = [_anchor(epoch, 8, **{**signed, "key_id": KEY.key_id})]
    assert wrong(verify(epoch.records, trust=TRUST, anchors=bad)) == [("bad_checkpoint", 8)]


# Bounds.


@settings(max_examples=60, deadline=None)
@given(
    numbers=st.lists(
        st.one_of(st.integers(1, 40), st.integers(1, 5000), st.integers(1, 2**62)), max_size=60
    )
)
def test_slots_hold_what_a_dictionary_holds(numbers: list[int]) -> None:
    slots, model = Slots(), dict[int, int]()
    for number in numbers:
        value = PRESENT | number if number % 3 else number
        slots.put(number, value)
        model[number] = value
    present = sorted(number for number, value in model.items() if value & PRESENT)
    assert all(slots.get(number) == model[number] for number in model)
    assert (slots.count, slots.highest) == (len(present), max(present, default=0))
    assert slots.lowest() == min(present, default=0)
    expected = []
    at = 1
    for number in present:
        if number > at:
            expected.append((at, number - 1))
        at = number + 1
    assert slots.missing(1) == expected


def test_numbers_far_apart_take_no_memory_for_what_lies_between() -> None:
    slots = Slots()
    assert slots.put(2**62, PRESENT)
    assert len(slots._near) == 1
    slots._far = dict.fromkeys(range(2**40, 2**40 + FAR_MAX), PRESENT)
    assert not slots.put(2**61, PRESENT)


def test_findings_are_limited_to_the_time_that_is_asked_for() -> None:
    records = _epoch().records
    edited = _replaced(records, 4, changed(records[3], names.OUTCOME, "success"))
    at_ns = int(str(records[3]["timeUnixNano"]))
    assert verify(edited, trust=TRUST, since_ns=at_ns, until_ns=at_ns + 10**6).exit_code == 1
    assert verify(edited, trust=TRUST, since_ns=at_ns + 10**7).exit_code == 0
    assert verify(edited, trust=TRUST, until_ns=at_ns - 10**6).exit_code == 0


def test_findings_are_counted_beyond_those_that_are_kept() -> None:
    other: Json = {"attributes": [{"key": "service.name", "value": {"stringValue": "b"}}]}
    verdict = verify(_epoch().records, trust=TRUST, resource=other, findings_max=3)
    assert len(verdict.findings) == 3
    assert verdict.count("tampering") == 8
    assert verdict.exit_code == 1
