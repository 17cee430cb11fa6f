"""No input makes a record that is refused because it is too large: what is too much is hidden."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._spool.framing import FINISH_BYTES_MAX
from kaizen_otel._spool.segment import ENTRY_OVERHEAD
from kaizen_otel._spool.spool import RECORD_BYTES_MAX
from kaizen_otel._subjects import AesGcm
from kaizen_otel.audit._content import (
    ATTRIBUTES_MAX,
    PLAIN_BYTES_MAX,
    Pseudonyms,
    event_of,
    protect,
)
from kaizen_otel.audit.chain import draft_of
from kaizen_otel.audit.record import AuditRecord
from kaizen_otel.audit.subjects import SubjectKey, SubjectPseudonyms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

RESOURCE = encode_resource({f"name.{n}": "v" * 80 for n in range(20)})
PLAIN = Pseudonyms(bytes(range(32)))


def encrypting() -> Pseudonyms:
    key = SubjectKey(subject="f7a0b0a4-6f0c-4f4e-9f6e-0c1f0d3a9d55", key=bytes(32))
    return SubjectPseudonyms(key, record_id="r", cipher=AesGcm(), random_bytes=os.urandom)


def size_of(
    attributes: Mapping[Any, object],
    parts: Mapping[str, Mapping[Any, object]],
    pseudonyms: Pseudonyms,
    event_name: str = "e",
) -> int:
    """What the spool counts of a record: with its Resource, and all that is added to it."""
    event, hidden = event_of(event_name, "kaizen.audit.record", pseudonyms)
    found = protect({**attributes, **hidden}, pseudonyms, parts)
    record = AuditRecord(
        record_id="01a20f2e-d3b8-75ec-ad96-b194926788e9",
        time_ns=2**62,
        observed_ns=2**62,
        event_name=event,
        attributes=found,
        trace_id=bytes(16),
        span_id=bytes(8),
        resource_hash="0" * 64,
    )
    return len(draft_of(record)) + len(RESOURCE) + 2 * ENTRY_OVERHEAD + FINISH_BYTES_MAX


NAMES = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            "gen_ai.agent.name", "gen_ai.tool.name", "gen_ai.agent.id", "audit.target.id",
            "audit.actor.id", "audit.actor.type", "audit.record.id", "gen_ai.request.model",
            "gen_ai.response.finish_reasons", "kaizen.note", "error.type", "kaizen.enc.a",
            "gen_ai.tool.call.arguments", "user.id", "audit.sequence.number",
        ]
    ),
    st.integers(0, 999).map(lambda n: f"kaizen.{'n' * 85}.{n}"),
    st.integers(0, 999).map(lambda n: f"audit.sequence.{'n' * 70}.{n}"),
    st.integers(0, 999).map(lambda n: f"{'A' * 64}{n}"),
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=50),
    st.builds(
        lambda unit, count: unit * count,
        st.sampled_from(["x", "\x00", "\U0001f511", "ж", '"', "\\", "\ud800", "a\n", "word "]),
        st.sampled_from([0, 1, 60, 255, 256, 257, 1_000, 8_192, 70_000]),
    ),
)
VALUES = st.one_of(
    TEXTS,
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=100),
    st.builds(lambda text, count: [text] * count, TEXTS.filter(lambda t: len(t) < 300),
              st.sampled_from([0, 1, 31, 32, 33, 5_000])),
    st.integers(0, 10_000).map(lambda n: 10**n),
    st.dictionaries(st.text(max_size=5), TEXTS, max_size=3),
)  # fmt: skip
MAPPINGS = st.one_of(
    st.dictionaries(NAMES, VALUES, max_size=12),
    st.builds(
        lambda name, value, count: {f"{name}{n}": value for n in range(count)},
        NAMES,
        VALUES,
        st.sampled_from([1, 60, 127, 128, 129, 400]),
    ),
)


@settings(max_examples=25, deadline=None)
@given(MAPPINGS, MAPPINGS, MAPPINGS, TEXTS, st.sampled_from([lambda: PLAIN, encrypting]))
def test_no_input_makes_a_record_too_large(
    attributes: dict[str, object],
    details: dict[str, object],
    metadata: dict[str, object],
    event_name: str,
    pseudonyms: Callable[[], Pseudonyms],
) -> None:
    parts = {"details": details, "metadata": metadata}
    assert size_of(attributes, parts, pseudonyms(), event_name) <= RECORD_BYTES_MAX


TEXT_NAMES = (
    "gen_ai.agent.name", "gen_ai.agent.id", "gen_ai.tool.name", "gen_ai.request.model",
    "gen_ai.response.model", "gen_ai.workflow.name", "kaizen.agent.id", "service.name",
    "kaizen.signature", "kaizen.strategy", "mcp.tool.name", "gen_ai.memory.store.id",
)  # fmt: skip
WORST: dict[str, dict[str, object]] = {
    "plain codes": {f"kaizen.{'n' * 80}.{n}": "c" * 256 for n in range(200)},
    "plain lists": {f"kaizen.{'n' * 80}.{n}": ["c" * 8] * 32 for n in range(200)},
    "plain texts": dict.fromkeys(TEXT_NAMES, "ж" * 256),
    "plain texts and lists": {
        **dict.fromkeys(TEXT_NAMES, "\U0001f511" * 256),
        **{f"kaizen.{'n' * 84}.{n:03}": ["c" * 8] * 32 for n in range(200)},
    },
    "hidden": {f"{'A' * 64}{n:03}": "secret" * 10 for n in range(200)},
    "hidden, large": {f"{'A' * 64}{n:03}": "s" * 8_000 for n in range(200)},
    "writer's names": {f"audit.sequence.{'n' * 60}.{n}": "c" * 256 for n in range(200)},
    "numbers": {f"kaizen.{'n' * 85}{n}": 10**10 for n in range(200)},
}  # fmt: skip


@pytest.mark.parametrize("name", WORST)
@pytest.mark.parametrize("is_encrypting", [False, True])
def test_the_worst_of_each_kind_fits(name: str, is_encrypting: bool) -> None:
    pseudonyms = encrypting() if is_encrypting else PLAIN
    worst = WORST[name]
    actor: dict[str, object] = {"gen_ai.agent.name": "ж" * 256, "audit.target.id": "ж" * 256}
    assert size_of({**actor, **worst}, {"details": worst}, pseudonyms) <= RECORD_BYTES_MAX


def test_the_worst_of_all_kinds_together_fits() -> None:
    """As many plain bytes as may be, and as many hidden values beside them as there is room."""
    for count in range(0, ATTRIBUTES_MAX, 8):
        mixed = {
            **{f"kaizen.{'n' * 80}.{n}": "c" * 256 for n in range(count)},
            **{f"{'A' * 64}{n:03}": "s" * 100 for n in range(ATTRIBUTES_MAX)},
        }
        assert size_of(mixed, {}, encrypting()) <= RECORD_BYTES_MAX


def test_what_is_hidden_for_lack_of_room_is_there_as_hmac_and_size() -> None:
    many = {f"kaizen.n{n}": "c" * 256 for n in range(100)}
    found = protect(many, PLAIN)
    plain = {name for name in many if name in found}
    hidden = {name for name in many if f"kaizen.hmac.{name}" in found}
    assert plain | hidden == set(many)
    assert not plain & hidden
    assert len(plain) * 256 <= PLAIN_BYTES_MAX
    assert all(found[f"kaizen.bytes.{name}"] == 256 for name in hidden)
