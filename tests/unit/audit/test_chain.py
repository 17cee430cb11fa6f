"""The hash chain: canonical form, links, signatures; judged by RFC 8785's own implementation."""

from __future__ import annotations

import base64
import hashlib
import itertools
from typing import TYPE_CHECKING, cast

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen_otel._otlp.decode import decode_log_record
from kaizen_otel.audit import AuditRecord
from kaizen_otel.audit.canonical import (
    ForeignFieldError,
    NotCanonicalError,
    canonical_json,
    canonical_record,
    resource_hash,
)
from kaizen_otel.audit.chain import Chain, Draft, Signing, draft_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kaizen_otel._otlp.decode import Json

STREAM = "01999999-0000-7000-8000-000000000001"
KEY = Ed25519PrivateKey.generate()
SIGNING = Signing(key_id="ab" * 16, sign=KEY.sign)

_texts = st.text(max_size=20)
_names = st.from_regex(r"[a-z_.]{1,20}", fullmatch=True)
_values = st.one_of(
    _texts, st.integers(), st.booleans(), st.floats(), st.lists(_texts, max_size=3), st.binary()
)


def _draft(event_name: str = "e", **attributes: object) -> Draft:
    return draft_of(
        AuditRecord(record_id="r", time_ns=7, event_name=event_name, attributes=attributes)
    )


def _seal(chain: Chain, drafts: Sequence[Draft], first: int) -> list[Json]:
    sealed = chain.seal(drafts, stream_id=STREAM, first_sequence=first)
    return [decode_log_record(data) for data in sealed]


def _values_of(record: Json) -> dict[str, str]:
    items = cast("list[dict[str, dict[str, str]]]", record["attributes"])
    return {str(item["key"]): next(iter(item["value"].values())) for item in items}


def _hash(record: Json) -> str:
    return hashlib.sha256(canonical_record(record)).hexdigest()


def test_what_is_equal_to_a_number_is_not_encoded_as_that_number() -> None:
    """Encoded numbers are remembered; ``1 == True == 1.0`` to a dictionary."""
    for values in ((1, True, 1.0, "1"), (1.0, "1", True, 1)):
        for value in values:
            audited = AuditRecord(
                record_id="r", time_ns=7, event_name="e", attributes={"kaizen.n": value}
            )
            (record,) = _seal(Chain(None), [draft_of(audited)], 1)
            wanted = {int: "1", bool: "true", float: "1.0", str: "1"}[type(value)]
            assert _values_of(record)["kaizen.n"] == wanted


@settings(max_examples=200, deadline=None)
@given(
    attributes=st.dictionaries(_names, _values, max_size=8),
    event_name=_texts,
    time_ns=st.integers(0, 2**63),
    ids=st.booleans(),
)
def test_what_the_emitter_hashes_is_what_rfc_8785_makes_of_what_the_reader_sees(
    attributes: dict[str, object], event_name: str, time_ns: int, *, ids: bool
) -> None:
    """Whatever is put into a record: emitter, reader and an independent encoder agree."""
    record = AuditRecord(
        record_id="r",
        time_ns=time_ns,
        event_name=event_name,
        attributes=attributes,
        trace_id=bytes(range(16)) if ids else b"",
        span_id=bytes(range(8)) if ids else b"",
        resource_hash="00",
    )
    chain = Chain(SIGNING)
    first, second = _seal(chain, [draft_of(record), _draft()], 1)
    assert _values_of(second)["audit.sequence.previous_hash"] == _hash(first)

    pairs = cast("list[dict[str, object]]", first["attributes"])
    assert [pair["key"] for pair in pairs] == sorted(str(pair["key"]) for pair in pairs)
    whole = {
        "attributes": pairs,
        "eventName": first.get("eventName", ""),
        "observedTimeUnixNano": first.get("observedTimeUnixNano", "0"),
        "spanId": first.get("spanId", ""),
        "timeUnixNano": first.get("timeUnixNano", "0"),
        "traceId": first.get("traceId", ""),
    }
    expected = rfc8785.dumps(cast("str", whole))
    expected = expected.replace(b'"arrayValue":{}', b'"arrayValue":{"values":[]}')
    assert canonical_record(first) == expected


def test_the_last_record_of_a_commit_is_signed_and_its_key_is_part_of_what_is_hashed() -> None:
    first, second = _seal(Chain(SIGNING), [_draft(), _draft()], 1)
    assert "audit.integrity.value" not in _values_of(first)
    values = _values_of(second)
    assert values["audit.integrity.certificate"] == SIGNING.key_id
    signature = base64.b64decode(values["audit.integrity.value"])
    KEY.public_key().verify(signature, hashlib.sha256(canonical_record(second)).digest())
    assert b"audit.integrity.certificate" in canonical_record(second)
    assert b"audit.integrity.value" not in canonical_record(second)


def test_the_chain_goes_on_over_commits_and_the_first_record_has_no_previous_hash() -> None:
    chain = Chain(SIGNING)
    records = _seal(chain, [_draft(a="1")], 1) + _seal(chain, [_draft(a="2"), _draft(a="3")], 2)
    assert "audit.sequence.previous_hash" not in _values_of(records[0])
    for before, after in itertools.pairwise(records):
        assert _values_of(after)["audit.sequence.previous_hash"] == _hash(before)


def test_numbers_that_were_not_used_are_given_again_and_the_links_hold() -> None:
    """A segment that could not be made: the same numbers go to the next records."""
    chain = Chain(SIGNING)
    first = _seal(chain, [_draft(a="1")], 1)
    _seal(chain, [_draft(a="never stored"), _draft(a="never stored")], 2)
    again = _seal(chain, [_draft(a="stored")], 2)
    assert _values_of(again[0])["audit.sequence.previous_hash"] == _hash(first[0])


def test_after_burned_numbers_the_chain_goes_on_from_the_burned_records() -> None:
    """They may be on the disk: then the trail is whole, and no number has two records."""
    chain = Chain(SIGNING)
    burned = _seal(chain, [_draft(), _draft()], 1)
    after = _seal(chain, [_draft()], 3)
    assert _values_of(after[0])["audit.sequence.previous_hash"] == _hash(burned[1])


def test_a_record_that_cannot_be_signed_is_stored_unsigned_and_counted() -> None:
    def refuse(data: bytes) -> bytes:
        raise ConnectionError(f"no key store for {len(data)} bytes")

    chain = Chain(Signing(key_id="ab" * 16, sign=refuse))
    records = _seal(chain, [_draft()], 1) + _seal(chain, [_draft()], 2)
    assert "audit.integrity.certificate" not in _values_of(records[0])
    assert _values_of(records[1])["audit.sequence.previous_hash"] == _hash(records[0])
    assert (chain.sign_failures, chain.failure) == (
        2,
        "ConnectionError: no key store for 32 bytes",
    )


def test_a_new_key_signs_what_follows_the_record_that_announces_it() -> None:
    other = Ed25519PrivateKey.generate()
    announcing = draft_of(
        AuditRecord(record_id="r", time_ns=7, event_name="kaizen.audit.key_rotated"),
        signing_next=Signing(key_id="cd" * 16, sign=other.sign),
    )
    records = _seal(Chain(SIGNING), [_draft(), announcing, _draft()], 1)
    keys = [_values_of(record).get("audit.integrity.certificate") for record in records]
    assert keys == [None, "ab" * 16, "cd" * 16]


def test_the_last_record_of_a_closed_stream_says_so() -> None:
    (record,) = _seal(Chain(None), [_draft("kaizen.audit.stopped")], 1)
    assert _values_of(record)["audit.sequence.end"] == "true"


def test_the_resource_is_bound_whatever_the_order_of_its_attributes() -> None:
    name = {"key": "service.name", "value": {"stringValue": "a"}}
    pid = {"key": "process.pid", "value": {"intValue": "5"}}
    assert resource_hash([name, pid]) == resource_hash([pid, name])
    assert resource_hash([name, pid]) != resource_hash([name])
    assert len(resource_hash(None)) == 64


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"body": {"stringValue": "more"}}, ForeignFieldError),
        ({"severityNumber": 9}, ForeignFieldError),
        ({"unheardOf": 1}, ForeignFieldError),
        ({"timeUnixNano": 7}, NotCanonicalError),
        ({"timeUnixNano": "007"}, NotCanonicalError),
        ({"traceId": "AB"}, NotCanonicalError),
        ({"eventName": 5}, NotCanonicalError),
        ({"attributes": None}, NotCanonicalError),
        ({"attributes": [5]}, NotCanonicalError),
        ({"attributes": [{"key": "a"}]}, NotCanonicalError),
        ({"attributes": [{"key": "a", "value": {}}]}, NotCanonicalError),
        ({"attributes": [{"key": "a", "value": {"boolValue": True}}]}, NotCanonicalError),
        ({"attributes": [{"key": "a", "value": {"doubleValue": 1.5}}]}, NotCanonicalError),
        ({"attributes": [{"key": "a", "value": {"intValue": "1e3"}}]}, NotCanonicalError),
        ({"attributes": [{"key": "ä", "value": {"stringValue": ""}}]}, NotCanonicalError),
        ({"attributes": [{"key": "a", "value": {"stringValue": "\ud800"}}]}, NotCanonicalError),
        ({"attributes": [{"key": "a", "value": {"stringValue": "1"}}] * 2}, NotCanonicalError),
        ({"attributes": [{"key": "a", "value": {"arrayValue": {"x": []}}}]}, NotCanonicalError),
    ],
)
def test_what_no_emitter_writes_has_no_canonical_form(
    change: Json, error: type[NotCanonicalError]
) -> None:
    (record,) = _seal(Chain(None), [_draft()], 1)
    with pytest.raises(error):
        canonical_record({**record, **change})


def test_defaults_that_the_collector_writes_say_nothing() -> None:
    (record,) = _seal(Chain(None), [_draft()], 1)
    written: Json = {**record, "body": {}, "severityText": "", "flags": 0}
    assert canonical_record(written) == canonical_record(record)


@given(
    st.recursive(_texts, lambda inner: st.one_of(st.lists(inner), st.dictionaries(_names, inner)))
)
def test_canonical_json_is_rfc_8785_for_strings_lists_and_objects(value: object) -> None:
    try:
        expected = rfc8785.dumps(cast("str", value))
    except rfc8785.CanonicalizationError:
        with pytest.raises(NotCanonicalError):
            canonical_json(cast("str", value))
        return
    assert canonical_json(cast("str", value)) == expected


@pytest.mark.parametrize("value", [1, None, True, 1.5, {"ä": "x"}, {"a": [b""]}, "\ud800"])
def test_canonical_json_takes_nothing_whose_form_could_differ(value: object) -> None:
    with pytest.raises(NotCanonicalError):
        canonical_json(cast("str", value))
