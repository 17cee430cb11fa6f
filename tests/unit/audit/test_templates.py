"""Templates only save time: a record is the same, byte by byte, with and without them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen_otel import semconv
from kaizen_otel._redaction import Redactor
from kaizen_otel.audit import record as names
from kaizen_otel.audit._content import Pseudonyms
from kaizen_otel.audit._public import code_or_none, public_or_none
from kaizen_otel.audit._templates import Envelope, Templates, protected_record
from kaizen_otel.audit.chain import Chain, draft_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel.audit.chain import Draft

PSEUDONYMS: Final = Pseudonyms(b"k" * 32)
STREAM: Final = "01999999-0000-7000-8000-000000000001"
CALL: Final = {
    semconv.GEN_AI_AGENT_NAME: "qa-agent",
    semconv.GEN_AI_TOOL_NAME: "search",
    "audit.actor.id": "qa-agent",
    "audit.actor.type": "service",
}

# Names of every class, and few values of each kind, so that shapes and values come again.
_NAMES: Final = (
    semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_TOOL_NAME, semconv.GEN_AI_TOOL_CALL_ID,
    semconv.GEN_AI_TOOL_CALL_ARGUMENTS, "gen_ai.input.messages", "gen_ai.usage.input_tokens",
    "gen_ai.request.temperature", names.ACTION, names.ACTOR_ID, names.ACTOR_TYPE, names.TARGET_ID,
    names.CALLER_ACTION, names.INTENT_ID, names.RECORD_ID, names.SEQUENCE, names.OUTCOME,
    "kaizen.hmac.input", "kaizen.bytes.input", "kaizen.n", "session.id", "a", "a.user's own name",
)  # fmt: skip
_VALUES: Final = st.one_of(
    st.sampled_from(
        [
            "qa-agent", "search", "call-1", "call-2", "", "user", "service", "EXECUTE", "a b",
            "\x00", 'say "no"', "back\\slash", "sk-0123456789abcdef0123", "4111 1111 1111 1111",
            "\ud800", "ä", "x" * 300, "hmac-sha256:" + "0" * 16 + ":" + "0" * 64,
            None, True, False, 0, 1, -1, 2**70, 1.0, 0.5, b"bytes",
        ]
    ),
    st.lists(st.sampled_from(["stop", "length", 5]), max_size=2),
    st.integers(0, 40).map(lambda n: f"id-{n}"),
)  # fmt: skip
_RECORDS: Final = st.lists(
    st.tuples(
        st.sampled_from([semconv.EVENT_TOOL_EXECUTE, semconv.EVENT_MODEL_CALL, "no event at all"]),
        st.dictionaries(st.sampled_from(_NAMES), _VALUES, max_size=6),
    ),
    min_size=1,
    max_size=6,
)


def _envelope(number: int) -> Envelope:
    has_ids = number % 2
    return Envelope(
        f"record-{number}",
        number + 1,
        number + 1 + number % 3,
        bytes(16) if has_ids else b"",
        bytes(8) if has_ids else b"",
        "00",
    )


def _plainly(event_name: str, attributes: Mapping[str, object], number: int) -> Draft:
    """Encode without templates."""
    return draft_of(protected_record(event_name, attributes, _envelope(number), PSEUDONYMS))


def _by(
    templates: Templates, event_name: str, attributes: Mapping[str, object], number: int
) -> Draft:
    return templates.draft(event_name, attributes, _envelope(number))


def _sealed(draft: Draft) -> bytes:
    """Return a record and the hash of it, which the record that follows holds."""
    follower = _plainly(semconv.EVENT_AGENT_END, {}, 0)
    return b"|".join(Chain(None).seal([draft, follower], stream_id=STREAM, first_sequence=1))


@settings(max_examples=150, deadline=None)
@given(records=_RECORDS, repeated=st.integers(2, 3))
def test_a_record_is_the_same_with_and_without_templates(
    records: list[tuple[str, dict[str, object]]], repeated: int
) -> None:
    """Record, hash and size, whatever came before; each comes more than once."""
    templates = Templates(PSEUDONYMS)
    for number, (event_name, attributes) in enumerate(records * repeated):
        expected = _plainly(event_name, attributes, number)
        found = _by(templates, event_name, attributes, number)
        assert len(found) == len(expected)
        assert _sealed(found) == _sealed(expected)


def test_many_values_of_one_attribute_make_it_one_that_varies() -> None:
    """What is learned on the way changes no record either."""
    templates = Templates(PSEUDONYMS)
    for number in range(200):
        attributes = {**CALL, "session.id": f"s-{number}", "gen_ai.usage.input_tokens": number}
        found = _by(templates, semconv.EVENT_TOOL_EXECUTE, attributes, number)
        expected = _plainly(semconv.EVENT_TOOL_EXECUTE, attributes, number)
        assert _sealed(found) == _sealed(expected)


def test_content_is_hidden_in_every_record_and_kept_in_none_of_the_templates() -> None:
    templates = Templates(PSEUDONYMS)
    secrets = [f"the {number}th secret" for number in range(40)]
    for number, secret in enumerate(secrets):
        attributes = {
            **CALL,
            semconv.GEN_AI_TOOL_CALL_ARGUMENTS: secret,
            names.INTENT_ID: secret,
            "session.id": secret if number % 3 else "s-1",
        }
        found = _by(templates, semconv.EVENT_TOOL_EXECUTE, attributes, number)
        assert secret.encode() not in bytes(found)
        assert _sealed(found) == _sealed(_plainly(semconv.EVENT_TOOL_EXECUTE, attributes, number))
    remembered = repr(_everything_in(templates))
    assert not [secret for secret in secrets if secret in remembered]


def _everything_in(value: object) -> object:
    """Return all that an object holds, as lists and tuples."""
    if isinstance(value, dict):
        return [(_everything_in(k), _everything_in(v)) for k, v in value.items()]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_everything_in(item) for item in value]
    slots = getattr(type(value), "__slots__", ())
    held = [getattr(value, name) for name in slots if name != "values_of"]
    held += list(getattr(value, "__dict__", {}).values())
    if isinstance(value, Pseudonyms) or not held:
        return repr(value)
    return [_everything_in(item) for item in held]


def test_a_shape_in_which_everything_changes_is_given_up() -> None:
    """Templates that are made and never used would cost more than they save."""
    templates = Templates(PSEUDONYMS)
    for number in range(600):
        attributes = {**CALL, semconv.GEN_AI_AGENT_NAME: f"agent-{number}"}
        found = _by(templates, semconv.EVENT_TOOL_EXECUTE, attributes, number)
        expected = _plainly(semconv.EVENT_TOOL_EXECUTE, attributes, number)
        assert bytes(found) == bytes(expected)
    (shape,) = templates._shapes.values()
    assert shape is None


def test_many_threads_learn_and_use_the_same() -> None:
    templates = Templates(PSEUDONYMS)
    wrong: list[int] = []

    def produce(first: int) -> None:
        for number in range(first, first + 150):
            attributes = {**CALL, names.INTENT_ID: f"i-{number}", "session.id": f"s-{number % 40}"}
            found = _by(templates, semconv.EVENT_TOOL_EXECUTE, attributes, number)
            if bytes(found) != bytes(_plainly(semconv.EVENT_TOOL_EXECUTE, attributes, number)):
                wrong.append(number)

    threads = [threading.Thread(target=produce, args=(1000 * n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


_DIGITS: Final = st.text("0123456789", min_size=1, max_size=24)
_AROUND: Final = st.sampled_from(
    ["", "call-", "sk-", "ghp_", "AKIA", "token=", "eyJ", "xoxb-", "a:", "@", " ", "4111-", "f-0",
     "AIza"]
)  # fmt: skip


@given(st.lists(st.tuples(_AROUND, _DIGITS), min_size=1, max_size=3))
def test_a_text_is_judged_by_its_digits_as_digits_whatever_they_are(
    parts: list[tuple[str, str]],
) -> None:
    """Ids that differ in digits only are looked at once."""
    text = "".join(before + digits for before, digits in parts)
    redacted = Redactor().redact(text) != text
    assert not (redacted and code_or_none(text) is not None)
    assert not (redacted and public_or_none(semconv.GEN_AI_TOOL_NAME, text) is not None)
    zeros = text.translate(str.maketrans("123456789", "000000000"))
    assert (Redactor().redact(zeros) != zeros) == redacted


@pytest.mark.parametrize("text", ["bearer abcdefgh1", "f" * 20, "0193b1de-7000-7000-8000-00000042"])
def test_what_is_hexadecimal_holds_no_secret_that_a_rule_finds(text: str) -> None:
    is_clean = Redactor().redact(text) == text
    assert (public_or_none(semconv.GEN_AI_TOOL_NAME, text) == text) == is_clean
