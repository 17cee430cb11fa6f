"""What an audit record says, and that none of it is content."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import hmac
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen_otel._otlp.decode import decode_log_record
from kaizen_otel._spool.segment import Gap
from kaizen_otel.audit import SCHEMA_VERSION, AuditRecord, Filter
from kaizen_otel.audit._content import (
    ATTRIBUTES_MAX,
    PUBLIC_DETAILS,
    Pseudonyms,
    _public_sizes,
    code_or_pseudonym,
    content_bytes,
    protect,
)
from kaizen_otel.audit._gap import Gaps
from kaizen_otel.audit.chain import Chain, draft_of
from kaizen_otel.audit.query import StoredRecord, audit_entry, distinct, select, stored_record
from kaizen_otel.audit.record import event_of_action, outcome_of_result

KEY = bytes(range(32))
PSEUDONYMS = Pseudonyms(KEY)


def _decoded(record: AuditRecord) -> StoredRecord:
    found = stored_record(decode_log_record(bytes(draft_of(record))), {})
    assert found is not None
    return found


def _record(event: str = "kaizen.tool.execute", **attributes: object) -> AuditRecord:
    return AuditRecord(record_id="id", time_ns=7, event_name=event, attributes=attributes)


class TestRecord:
    """The attribute table."""

    def test_every_record_says_the_six_things_that_pci_asks_for(self) -> None:
        found = _decoded(_record(**{"gen_ai.tool.name": "bash", "gen_ai.agent.id": "qa"}))
        assert dict(found.attributes) == {
            "audit.record.id": "id",
            "audit.schema.version": SCHEMA_VERSION,
            "audit.action": "EXECUTE",
            "audit.outcome": "unknown",
            "audit.actor.id": "qa",
            "audit.actor.type": "service",
            "audit.target.id": "bash",
            "audit.target.type": "gen_ai.tool",
            "gen_ai.tool.name": "bash",
            "gen_ai.agent.id": "qa",
        }
        assert (found.time_ns, found.event_name) == (7, "kaizen.tool.execute")

    def test_what_the_caller_says_is_not_overwritten(self) -> None:
        given_ = {
            "audit.action": "READ",
            "audit.outcome": "failure",
            "audit.actor.id": "u",
            "audit.actor.type": "user",
            "audit.target.id": "t",
        }
        found = _decoded(_record(**given_))
        assert {name: found.attributes[name] for name in given_} == given_
        assert "audit.target.type" not in found.attributes

    def test_a_record_without_an_agent_is_the_systems(self) -> None:
        found = _decoded(_record("my.event"))
        assert (found.attributes["audit.actor.id"], found.attributes["audit.actor.type"]) == (
            "unknown",
            "system",
        )

    def test_the_place_in_the_stream_is_added_when_the_record_is_sealed(self) -> None:
        stream_id = "01999999-0000-7000-8000-000000000001"
        (data,) = Chain(None).seal([draft_of(_record())], stream_id=stream_id, first_sequence=1)
        found = stored_record(decode_log_record(data), {})
        assert found is not None
        assert found.attributes["audit.sequence.number"] == 1
        assert found.attributes["audit.sequence.stream_id"] == stream_id

    def test_nobody_can_give_a_record_another_identity_place_or_signature(self) -> None:
        names = ["audit.record.id", "audit.sequence.number", "audit.integrity.value"]
        found = _decoded(_record(**dict.fromkeys(names, "forged")))
        assert found.record_id == "id"
        assert {found.attributes[f"kaizen.caller.{name}"] for name in names} == {"forged"}
        assert "audit.sequence.number" not in found.attributes

    def test_it_has_no_severity_and_its_ids_are_those_of_the_span(self) -> None:
        record = AuditRecord(
            record_id="r", time_ns=5, event_name="e", trace_id=b"t" * 16, span_id=b"s" * 8
        )
        decoded = decode_log_record(bytes(draft_of(record)))
        assert "severityNumber" not in decoded
        assert "body" not in decoded
        assert decoded["traceId"] == (b"t" * 16).hex()
        assert decoded["observedTimeUnixNano"] == decoded["timeUnixNano"] == "5"

    @pytest.mark.parametrize(
        ("result", "outcome", "decision"),
        [
            ("success", "success", None),
            ("failure", "failure", None),
            ("denied", "failure", "deny"),
            ("odd", "unknown", None),
        ],
    )
    def test_outcome_and_decision_are_two_things(
        self, result: str, outcome: str, decision: str | None
    ) -> None:
        found = outcome_of_result(result)
        assert (found["audit.outcome"], found.get("kaizen.decision")) == (outcome, decision)

    def test_kaizens_words_for_actions_are_known(self) -> None:
        assert event_of_action("tool_execute") == ("kaizen.tool.execute", "EXECUTE")
        assert event_of_action("permission_deny") == ("kaizen.approval.decided", "REJECT")
        assert event_of_action("my_own") == ("kaizen.audit.record", "my_own")


class TestContent:
    """Public values stay, everything else becomes HMAC and size."""

    def test_a_pseudonym_is_an_hmac_that_can_be_recomputed_with_the_key(self) -> None:
        digest = hmac.new(KEY, b"alice", hashlib.sha256).hexdigest()
        assert PSEUDONYMS.of("alice") == f"hmac-sha256:{PSEUDONYMS.key_id}:{digest}"
        assert Pseudonyms(bytes(32)).of("alice") != PSEUDONYMS.of("alice")
        assert KEY.hex() not in PSEUDONYMS.key_id

    def test_arguments_and_results_are_hidden_under_short_names(self) -> None:
        found = protect(
            {"gen_ai.tool.call.arguments": {"b": 1, "a": "x"}, "gen_ai.tool.call.result": "out"},
            PSEUDONYMS,
        )
        assert found == {
            "kaizen.hmac.input": PSEUDONYMS.of_bytes(b'{"a":"x","b":1}'),
            "kaizen.bytes.input": 15,
            "kaizen.hmac.output": PSEUDONYMS.of("out"),
            "kaizen.bytes.output": 3,
        }

    def test_public_attributes_stay_and_booleans_and_floats_become_text(self) -> None:
        found = protect(
            {
                "gen_ai.tool.name": "bash",
                "kaizen.cycle": 3,
                "kaizen.ok": True,
                "kaizen.share": 0.1,
                "gen_ai.response.finish_reasons": ("stop", "length"),
                "error.type": "timeout",
                "kaizen.nothing": None,
            },
            PSEUDONYMS,
        )
        assert found == {
            "gen_ai.tool.name": "bash",
            "kaizen.cycle": 3,
            "kaizen.ok": "true",
            "kaizen.share": "0.1",
            "gen_ai.response.finish_reasons": ["stop", "length"],
            "error.type": "timeout",
        }

    def test_unknown_names_are_sensitive(self) -> None:
        found = protect({"user.email": "a@b.c", "exception.message": "secret"}, PSEUDONYMS)
        assert found["kaizen.hmac.user.email"] == PSEUDONYMS.of("a@b.c")
        assert found["kaizen.bytes.exception.message"] == 6

    def test_long_or_odd_values_of_public_names_are_hidden_too(self) -> None:
        found = protect(
            {"kaizen.long": "x" * 5000, "kaizen.odd": object(), "kaizen.list": [1, "a"]}, PSEUDONYMS
        )
        assert set(found) == {
            f"kaizen.{kind}.kaizen.{name}"
            for kind in ("hmac", "bytes")
            for name in ("long", "odd", "list")
        }

    def test_a_name_that_may_be_content_is_hidden_with_its_value(self) -> None:
        for name in (
            "alice smith", "kaizen.alice@example.org", "ключ", "x" * 200, "sk-a1b2c3",
            "kaizen.4299001734123456", "kaizen.hmac.4299001734123456",
        ):  # fmt: skip
            found = protect({name: "v"}, PSEUDONYMS)
            assert name not in json.dumps(found, ensure_ascii=False)
            assert len(found) == 2

    def test_a_user_who_acts_is_pseudonymised_and_an_agent_is_not(self) -> None:
        actor = {"audit.actor.id": "bob@example.org", "audit.actor.type": "user"}
        once = protect(actor, PSEUDONYMS)
        assert once["audit.actor.id"] == PSEUDONYMS.of("bob@example.org")
        assert protect(once, PSEUDONYMS) == once
        agent = {"audit.actor.id": "qa", "audit.actor.type": "service"}
        assert protect(agent, PSEUDONYMS) == agent

    def test_the_number_of_attributes_is_bounded_and_the_rest_is_counted(self) -> None:
        many = {f"kaizen.n{number}": number for number in range(ATTRIBUTES_MAX + 10)}
        found = protect(many, PSEUDONYMS)
        assert found["kaizen.overflow.count"] == 10
        assert len(found) == ATTRIBUTES_MAX + 3

    @given(
        st.dictionaries(
            st.sampled_from(["gen_ai.tool.name", "kaizen.run.id", "audit.target.id", "email"]),
            st.sampled_from(["bash", "a b", "x" * 70, "password=x", "", "12345678901234567890"]),
        ),
        st.integers(0, ATTRIBUTES_MAX + 2),
    )
    def test_what_was_remembered_of_other_records_changes_nothing(
        self, attributes: dict[str, object], others: int
    ) -> None:
        """What is known to be public passes quickly: within the same bounds, as the same text."""
        whole = {f"kaizen.n{number}": number for number in range(others)} | attributes
        _public_sizes.clear()
        first = protect(whole, PSEUDONYMS)
        assert protect(whole, PSEUDONYMS) == first
        protect({"gen_ai.tool.name": "email", "kaizen.tool": "bash"}, PSEUDONYMS)
        assert protect(whole, PSEUDONYMS) == first
        assert len(first) <= ATTRIBUTES_MAX + 3 + 2 * len(attributes)

    def test_details_keep_codes_and_numbers_of_public_keys_only(self) -> None:
        details = {"tool_name": "bash", "duration_ms": 1.5, "status": "two words", "command": "ls"}
        found = protect({}, PSEUDONYMS, {"details": details})
        assert found["kaizen.details.tool_name"] == "bash"
        assert found["kaizen.details.duration_ms"] == "1.5"
        assert found["kaizen.hmac.details.status"] == PSEUDONYMS.of("two words")
        assert found["kaizen.bytes.details.command"] == 2
        assert "tool_name" in PUBLIC_DETAILS

    def test_an_action_that_is_a_sentence_is_hidden(self) -> None:
        assert code_or_pseudonym("tool_execute", PSEUDONYMS) == "tool_execute"
        assert code_or_pseudonym("told bob the code", PSEUDONYMS).startswith("hmac-sha256:")

    @settings(max_examples=25)
    @given(
        st.dictionaries(
            st.text(max_size=30),
            st.recursive(
                st.none() | st.floats() | st.text(),
                lambda children: st.lists(children) | st.dictionaries(st.text(), children),
                max_leaves=8,
            ),
            max_size=6,
        )
    )
    def test_any_dictionary_can_be_protected_and_encoded(self, details: dict[str, object]) -> None:
        attributes = {
            **protect(details, PSEUDONYMS),
            **protect({}, PSEUDONYMS, {"details": details}),
        }
        record = AuditRecord(record_id="r", time_ns=1, event_name="e", attributes=attributes)
        assert _decoded(record).record_id == "r"

    def test_values_that_fight_back_are_taken(self) -> None:
        class Hostile:
            def __str__(self) -> str:
                raise RuntimeError("no")

        circle: list[object] = []
        circle.append(circle)
        for value in (
            Hostile(),
            circle,
            {1: Hostile()},
            {(1, 2): 3},
            "\ud800",
            b"\xff",
            float("nan"),
        ):
            assert isinstance(content_bytes(value), bytes)

    @pytest.mark.parametrize("secret", ["s3cr3t-c4nary-value", "Ünïcode-canary \U0001f511"])
    def test_no_form_of_a_secret_is_in_the_bytes(self, secret: str) -> None:
        """Also not in base64 or hexadecimal, whatever part of the record it came in by."""
        nested = {"a": [secret, {"b": secret}], secret: secret}
        attributes = {
            **protect({secret: secret, "user.name": secret, "kaizen.x": nested}, PSEUDONYMS),
            **protect({"gen_ai.tool.call.arguments": nested}, PSEUDONYMS),
            **protect({}, PSEUDONYMS, {"details": {secret: secret, "command": nested}}),
            **protect({}, PSEUDONYMS, {"metadata": nested}),
            "kaizen.action": code_or_pseudonym(f"do {secret}", PSEUDONYMS),
        }
        data = bytes(
            draft_of(AuditRecord(record_id="r", time_ns=1, event_name="e", attributes=attributes))
        )
        raw = secret.encode()
        forms = [
            raw,
            raw.hex().encode(),
            base64.b64encode(raw).rstrip(b"="),
            json.dumps(secret).encode(),
        ]
        assert not any(form in data for form in forms)


class TestQuery:
    """Filters and Kaizen's shape."""

    def _stored(self, number: int, **attributes: object) -> StoredRecord:
        return StoredRecord(
            record_id=f"01999999-0000-7000-8000-{number:012d}",
            time_ns=number * 10**9 + 123_456_789,
            event_name="kaizen.tool.execute",
            attributes=attributes,
        )

    def test_filters_are_joined_by_and(self) -> None:
        record = self._stored(5, **{"gen_ai.agent.id": "qa", "audit.outcome": "success"})
        assert Filter().matches(record)
        assert Filter(agent="qa", result="success", action="tool_execute").matches(record)
        assert Filter(action="kaizen.tool.execute", since_ns=0, until_ns=1 << 62).matches(record)
        for asked in (
            Filter(agent="other"),
            Filter(agent="qa", result="failure"),
            Filter(action="memory"),
            Filter(since_ns=record.time_ns + 1),
            Filter(until_ns=record.time_ns - 1),
            Filter(user="u"),
            Filter(tool="t"),
            Filter(trace_id="ff"),
        ):
            assert not asked.matches(record)
        assert Filter(since_ns=record.time_ns, until_ns=record.time_ns).matches(record)

    def test_an_agent_is_found_by_id_and_by_name(self) -> None:
        record = self._stored(1, **{"kaizen.agent.id": "a1", "gen_ai.agent.name": "helper"})
        assert record.agent == "a1"
        assert Filter(agent="a1").matches(record)
        assert Filter(agent="helper").matches(record)
        assert self._stored(1).agent == ""

    def test_duplicates_come_once_and_the_order_is_that_of_time(self) -> None:
        one, two = self._stored(1), self._stored(2)
        assert select([two, one, two, one], Filter()) == [one, two]
        odd = StoredRecord(record_id="no uuid", time_ns=0, event_name="e", attributes={})
        assert list(distinct([odd, odd])) == [odd]

    def test_kaizens_shape(self) -> None:
        record = self._stored(
            1_800_000_000,
            **{
                "gen_ai.agent.id": "qa",
                "kaizen.action": "tool_execute",
                "audit.outcome": "failure",
                "kaizen.decision": "deny",
                "audit.actor.type": "user",
                "audit.actor.id": "hmac-sha256:k:1",
                "kaizen.details.tool_name": "bash",
                "kaizen.hmac.details.command": "hmac-sha256:k:2",
                "kaizen.bytes.details.command": 2,
                "kaizen.metadata.danger_level": "HIGH",
            },
        )
        entry = audit_entry(record)
        assert entry.timestamp == dt.datetime(2027, 1, 15, 8, 0, 0, 123456, tzinfo=dt.UTC)
        assert (entry.agent_id, entry.action, entry.result) == ("qa", "tool_execute", "denied")
        assert entry.user_id == "hmac-sha256:k:1"
        assert entry.details == {"tool_name": "bash", "command": "hmac-sha256:k:2"}
        assert entry.metadata == {"danger_level": "HIGH"}
        assert audit_entry(record, "bob").user_id == "bob"
        assert audit_entry(self._stored(1)).user_id is None

    def test_a_log_record_without_an_id_is_no_audit_record(self) -> None:
        assert stored_record({"attributes": []}, {}) is None
        odd = {"attributes": [{"key": "audit.record.id", "value": {"stringValue": "r"}}]}
        found = stored_record({**odd, "timeUnixNano": "not a number"}, {})
        assert found is not None
        assert found.time_ns == 0


class TestGaps:
    """What is missing is counted by reason and stream, and said once."""

    def test_refusals_are_counted_by_reason(self) -> None:
        gaps = Gaps()
        assert not gaps
        for moment in (30, 20, 40):
            gaps.refused("spool_full", now_ns=moment)
        gaps.refused("too_large", now_ns=50)
        found = {missing.reason: missing for missing in gaps.take()}
        assert found["spool_full"].attributes() == {
            "audit.action": "WRITE",
            "audit.outcome": "failure",
            "audit.actor.id": "kaizen-otel",
            "audit.actor.type": "system",
            "kaizen.audit.gap.reason": "spool_full",
            "kaizen.audit.gap.count": 3,
            "kaizen.audit.gap.since": "20",
        }
        assert found["too_large"].count == 1
        assert not gaps

    def test_what_could_not_be_written_is_added_again(self) -> None:
        gaps = Gaps()
        gaps.refused("write_failed", now_ns=1)
        [missing] = gaps.take()
        gaps.refused("write_failed", now_ns=2)
        gaps.add(missing)
        [again] = gaps.take()
        assert (again.count, again.since_ns) == (2, 1)

    def test_numbers_are_named_in_ranges(self) -> None:
        gaps = Gaps()
        gaps.burned("stream", [], now_ns=1)
        assert not gaps
        gaps.burned("stream", [(2, 4)], now_ns=1)
        gaps.burned("stream", [(5, 5), (9, 9)], now_ns=1)
        gaps.reported(
            Gap(reason="quarantined", stream_id="s", first_sequence=7, last_sequence=7), now_ns=1
        )
        gaps.reported(Gap(reason="damaged", stream_id="s"), now_ns=1)
        found = {missing.reason: missing.attributes() for missing in gaps.take()}
        assert found["write_failed"]["kaizen.audit.gap.sequences"] == ["2-5", "9-9"]
        assert found["write_failed"]["kaizen.audit.gap.stream_id"] == "stream"
        assert found["quarantined"]["kaizen.audit.gap.sequences"] == ["7-7"]
        assert "kaizen.audit.gap.sequences" not in found["damaged"]

    def test_everything_is_bounded(self) -> None:
        gaps = Gaps()
        for number in range(100):
            gaps.burned(f"stream {number}", [(1, 1)], now_ns=1)
        for number in range(100):
            gaps.burned("stream 0", [(number * 2, number * 2)], now_ns=1)
        found = gaps.take()
        assert len(found) == 17
        assert "other" in {missing.reason for missing in found}
        ranges = found[0].attributes()["kaizen.audit.gap.sequences"]
        assert isinstance(ranges, list)
        assert len(ranges) == 33
        assert str(ranges[-1]).startswith("+")
