"""The trust file, and what a record of a rotation proves."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaizen_otel._signing import Ed25519Signer
from kaizen_otel.audit import record as names
from kaizen_otel.audit.rotation import (
    RotationError,
    read_rotation,
    rotation_attributes,
    rotation_digest,
)
from kaizen_otel.audit.signatures import encode_base64, key_id_of
from kaizen_otel.audit.trust import Trust, TrustedKey, described_key, encode_trust, parse_trust
from kaizen_otel.errors import ConfigError

ADDED = datetime(2026, 11, 24, 16, 0, 0, tzinfo=UTC)
SECOND_NS = 10**9


def key_of(public_key: bytes | None = None, **fields: object) -> TrustedKey:
    given_key = public_key or Ed25519Signer.generate().public_key
    members: dict[str, Any] = {"public_key": given_key, "name": "an agent", "added": ADDED}
    return TrustedKey(**{**members, **fields})


def nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp()) * SECOND_NS + moment.microsecond * 1000


def document(**changes: object) -> dict[str, Any]:
    """A file with two keys; ``changes`` are made to the second."""
    keys: list[dict[str, object]] = [dict(described_key(key_of())), dict(described_key(key_of()))]
    keys[1].update(changes)
    return {"version": 1, "keys": keys}


def parse(value: object) -> Trust:
    return parse_trust(json.dumps(value).encode(), source="/etc/trust.json")


def complaint(data: bytes) -> str:
    """What is said of a trust file; nothing if it can be used."""
    try:
        parse_trust(data, source="/etc/trust.json")
    except ConfigError as error:
        return str(error)
    return ""


class TestTrustFile:
    """What is written is read; what cannot be read is said exactly."""

    def test_what_is_written_is_read_again(self) -> None:
        trust = Trust(
            keys=(
                key_of(name="Zoë's agent"),
                key_of(not_before=ADDED, not_after=ADDED + timedelta(days=1, microseconds=5)),
                key_of(not_before=ADDED),
            )
        )
        assert parse_trust(encode_trust(trust), source="x") == trust
        assert parse_trust(encode_trust(Trust()), source="x") == Trust()

    def test_a_key_is_found_by_its_id_only(self) -> None:
        key = key_of()
        trust = Trust(keys=(key_of(), key))
        assert trust.find(key.key_id) is key
        assert trust.find(key.key_id.upper()) is None
        assert trust.find("") is None

    def test_adding_keeps_the_order_and_replaces_the_same_key(self) -> None:
        first, second = key_of(), key_of()
        trust = Trust().adding(first).adding(second)
        assert trust.keys == (first, second)
        renamed = key_of(first.public_key, name="renamed")
        assert trust.adding(renamed).keys == (renamed, second)
        assert trust.removing(first.key_id).keys == (second,)
        assert trust.removing("0" * 32) == trust

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ({"public_key": (1).to_bytes(32, "little")}, "anybody can sign"),
            ({"public_key": b"short"}, "anybody can sign"),
            ({"name": "a\x1b[2K"}, "printable"),
            ({"name": "x" * 201}, "at most 200"),
            ({"not_before": ADDED, "not_after": ADDED - timedelta(1)}, "before its not_before"),
        ],
    )
    def test_what_could_not_be_read_again_is_not_added(
        self, wrong: dict[str, Any], expected: str
    ) -> None:
        with pytest.raises(ConfigError, match=expected):
            Trust().adding(key_of(**wrong))

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"key_id": "0" * 32}, r"keys\[1\]\.key_id is not the id of its public_key"),
            ({"key_id": 5}, r"keys\[1\]\.key_id is not text"),
            ({"public_key": "abc"}, r"keys\[1\]\.public_key is not an Ed25519 public key"),
            ({"public_key": "A" * 44}, r"keys\[1\]\.public_key is not an Ed25519 public key"),
            ({"public_key": encode_base64(bytes(32))}, r"keys\[1\]\.public_key is a key under"),
            ({"public_key": None}, r"keys\[1\]\.public_key is not text"),
            ({"name": "a\nb"}, r"keys\[1\]\.name is not printable"),
            ({"added": "yesterday"}, r"keys\[1\]\.added is not a time"),
            ({"added": "2026-11-24T16:00:00"}, r"keys\[1\]\.added is not a time with its zone"),
            ({"not_before": "2026-11-24"}, r"keys\[1\]\.not_before is not a time"),
            ({"not_after": ""}, r"keys\[1\]\.not_after is not a time"),
            ({"not_after": "0001-01-01T00:00:00+23:59"}, r"keys\[1\]\.not_after is not a time"),
            ({"not_afer": "2026-11-24T16:00:00Z"}, r"keys\[1\] has 'not_afer', which is not known"),
            (
                {"not_before": "2026-11-24T16:00:00Z", "not_after": "2026-11-24T15:59:59Z"},
                r"keys\[1\] has a not_after that is before its not_before",
            ),
        ],
    )
    def test_what_is_wrong_is_named_by_key_and_member(
        self, change: dict[str, object], expected: str
    ) -> None:
        with pytest.raises(ConfigError, match=expected) as raised:
            parse(document(**change))
        assert "/etc/trust.json" in str(raised.value)
        assert "NO key is trusted" in str(raised.value)
        assert "KAIZEN_OTEL_TRUST_FILE" in str(raised.value)

    @pytest.mark.parametrize("member", ["key_id", "public_key", "name", "added"])
    def test_a_missing_member_is_named(self, member: str) -> None:
        value = document()
        del value["keys"][1][member]
        with pytest.raises(ConfigError, match=rf"keys\[1\] has no '{member}'"):
            parse(value)

    def test_a_key_that_is_there_twice_is_named(self) -> None:
        value = document()
        value["keys"].append(value["keys"][0])
        with pytest.raises(ConfigError, match=r"keys\[2\] has the key_id of keys\[0\]"):
            parse(value)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            ([], "not an object"),
            (None, "not an object"),
            ({}, "the file has no 'keys'"),
            ({"version": 1}, "the file has no 'keys'"),
            ({"keys": []}, "the file has no 'version'"),
            ({"version": 2, "keys": []}, "version is not 1"),
            ({"version": True, "keys": []}, "version is not 1"),
            ({"version": "1", "keys": []}, "version is not 1"),
            ({"version": 1, "keys": {}}, "keys is not a list"),
            ({"version": 1, "keys": [5]}, r"keys\[0\] is not an object"),
            ({"version": 1, "keys": [], "more": 1}, "the file has 'more', which is not known"),
        ],
    )
    def test_a_file_of_another_shape_is_named(self, value: object, expected: str) -> None:
        with pytest.raises(ConfigError, match=expected):
            parse(value)

    @pytest.mark.parametrize(
        ("data", "expected"),
        [
            (b"", "not JSON"),
            (b"\xff\xfe", "not JSON"),
            (b'{"version": 1, "version": 1, "keys": []}', "a member twice"),
            (b"[" * 100_000, "not JSON"),
            (b'{"version": ' + b"1" * 10_000 + b', "keys": []}', "not JSON"),
            (b"-----BEGIN PRIVATE KEY-----\nMC4CAQ\n-----END PRIVATE KEY-----\n", "not JSON"),
        ],
    )
    def test_what_is_no_json_is_named(self, data: bytes, expected: str) -> None:
        with pytest.raises(ConfigError, match=expected) as raised:
            parse_trust(data, source="x")
        assert "MC4CAQ" not in str(raised.value)

    def test_a_byte_order_mark_is_no_fault(self) -> None:
        assert parse_trust(b"\xef\xbb\xbf" + encode_trust(Trust()), source="x") == Trust()

    def test_times_are_moments_whatever_their_zone(self) -> None:
        value = document(not_before="2026-11-24T17:00:00+01:00")
        assert parse(value).keys[1].not_before == ADDED

    @given(st.binary(max_size=200) | st.text(alphabet='{}[]":,1versionkeys ').map(str.encode))
    def test_any_bytes_are_a_trust_file_or_a_clear_error(self, data: bytes) -> None:
        text = complaint(data)
        assert not text or "/etc/trust.json" in text

    @given(
        st.dictionaries(
            st.sampled_from(["key_id", "public_key", "name", "added", "not_before", "other"]),
            st.none() | st.text(max_size=5) | st.integers() | st.lists(st.none(), max_size=2),
            min_size=1,
        )
    )
    def test_any_members_are_a_key_or_a_clear_error(self, change: dict[str, object]) -> None:
        text = complaint(json.dumps(document(**change)).encode())
        assert "keys[1]" in text if text else change.keys() == {"name"}


class TestValidity:
    """When a key may have signed."""

    def test_without_limits_it_is_always(self) -> None:
        assert key_of().is_valid_at(0)
        assert key_of().is_valid_at(2**63 - 1)

    def test_both_limits_are_included_to_the_nanosecond(self) -> None:
        start, end = ADDED, ADDED + timedelta(seconds=1, microseconds=7)
        key = key_of(not_before=start, not_after=end)
        assert not key.is_valid_at(nanoseconds(start) - 1)
        assert key.is_valid_at(nanoseconds(start))
        assert key.is_valid_at(nanoseconds(end) + 999)
        assert not key.is_valid_at(nanoseconds(end) + 1000)

    def test_the_last_moment_there_is_can_be_the_limit(self) -> None:
        key = key_of(
            not_after=datetime.max.replace(tzinfo=UTC), not_before=datetime.min.replace(tzinfo=UTC)
        )
        assert key.is_valid_at(2**63 - 1)
        assert parse_trust(encode_trust(Trust(keys=(key,))), source="x").keys == (key,)

    def test_times_far_from_utc_are_read_as_utc(self) -> None:
        east = timezone(timedelta(hours=14))
        moment = datetime(2026, 1, 1, 5, tzinfo=east).isoformat()
        [_, key] = parse(document(not_before=moment)).keys
        assert key.not_before == datetime(2025, 12, 31, 15, tzinfo=UTC)


STREAM = "0192f0a0-0000-7000-8000-000000000001"
OTHER_STREAM = "0192f0a0-0000-7000-8000-000000000002"


class TestRotation:
    """The new key follows the old one, in that stream, and says so itself."""

    old = Ed25519Signer.generate()
    new = Ed25519Signer.generate()
    stranger = Ed25519Signer.generate()

    def attributes(self, new: Ed25519Signer | None = None) -> dict[str, str]:
        signer = new or self.new
        return rotation_attributes(
            public_key=signer.public_key,
            sign=signer.sign,
            old_key_id=self.old.key_id,
            stream_id=STREAM,
        )

    def read(self, attributes: dict[str, Any], *, old: str = "", stream: str = STREAM) -> str:
        key_id = old or self.old.key_id
        return read_rotation(attributes, old_key_id=key_id, stream_id=stream).key_id

    def test_what_is_signed_is_the_contracts_statement(self) -> None:
        """The bytes are API: other verifiers make them too."""
        import hashlib

        text = f'{{"kind":"kaizen-otel key rotation v1","new":"n","old":"o","streamId":"{STREAM}"}}'
        digest = rotation_digest(old_key_id="o", new_key_id="n", stream_id=STREAM)
        assert digest == hashlib.sha256(text.encode()).digest()

    def test_a_rotation_names_and_proves_the_new_key(self) -> None:
        attributes = self.attributes()
        assert set(attributes) == {names.PUBLIC_KEY, names.KEY_ID, names.KEY_PROOF}
        rotation = read_rotation(attributes, old_key_id=self.old.key_id, stream_id=STREAM)
        assert rotation.public_key == self.new.public_key
        assert rotation.key_id == self.new.key_id

    def test_it_proves_nothing_for_another_stream_or_another_old_key(self) -> None:
        with pytest.raises(RotationError, match="for this stream and old key"):
            self.read(self.attributes(), stream=OTHER_STREAM)
        with pytest.raises(RotationError, match="for this stream and old key"):
            self.read(self.attributes(), old=self.stranger.key_id)

    def test_the_key_of_another_cannot_be_named_as_ones_own(self) -> None:
        """Whoever names it has no proof by it."""
        stolen = {
            names.PUBLIC_KEY: encode_base64(self.stranger.public_key),
            names.KEY_ID: self.stranger.key_id,
        }
        with pytest.raises(RotationError):
            self.read({**self.attributes(), **stolen})

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({names.KEY_ID: "0" * 32}, "is not the id of"),
            ({names.KEY_ID: None}, "is not the id of"),
            ({names.KEY_PROOF: encode_base64(bytes(64))}, "is not the new key's signature"),
            ({names.KEY_PROOF: "abc"}, "is not 64 bytes"),
            ({names.KEY_PROOF: 5}, "is not 64 bytes"),
            ({names.PUBLIC_KEY: "abc"}, "is not 32 bytes"),
            ({names.PUBLIC_KEY: None}, "is not 32 bytes"),
        ],
    )
    def test_what_is_changed_in_it_is_found(self, change: dict[str, Any], expected: str) -> None:
        with pytest.raises(RotationError, match=expected):
            self.read({**self.attributes(), **change})

    @pytest.mark.parametrize("name", [names.PUBLIC_KEY, names.KEY_ID, names.KEY_PROOF])
    def test_what_is_taken_out_is_found(self, name: str) -> None:
        attributes = self.attributes()
        del attributes[name]
        with pytest.raises(RotationError, match=name.replace(".", r"\.")):
            self.read(attributes)

    def test_a_key_does_not_follow_itself(self) -> None:
        with pytest.raises(RotationError, match="the new key is the old one"):
            self.attributes(self.old)

    def test_a_key_under_which_anybody_can_sign_follows_nobody(self) -> None:
        weak = (1).to_bytes(32, "little")
        forged = {
            names.PUBLIC_KEY: encode_base64(weak),
            names.KEY_ID: key_id_of(weak),
            names.KEY_PROOF: encode_base64(weak + bytes(32)),
        }
        with pytest.raises(RotationError, match="anybody can sign"):
            self.read(forged)

    @pytest.mark.parametrize(
        "sign", [lambda data: bytes(64), lambda data: b"", lambda data: data], ids=str
    )
    def test_a_signer_that_does_not_fit_its_key_is_found_before_it_is_recorded(
        self, sign: Callable[[bytes], bytes]
    ) -> None:
        with pytest.raises(RotationError):
            rotation_attributes(
                public_key=self.new.public_key,
                sign=sign,
                old_key_id=self.old.key_id,
                stream_id=STREAM,
            )

    def test_a_key_store_that_is_away_says_so_itself(self) -> None:
        def sign(data: bytes) -> bytes:
            raise ConnectionError("away")

        with pytest.raises(ConnectionError, match="away"):
            rotation_attributes(
                public_key=self.new.public_key,
                sign=sign,
                old_key_id=self.old.key_id,
                stream_id=STREAM,
            )
