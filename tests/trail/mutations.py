"""Attacks on single records: their content, their form, their signature, their Resource."""

from __future__ import annotations

import base64
import json
import random
from typing import TYPE_CHECKING, Final, cast

from kaizen_otel.audit import record as names
from tests.trail.attack import (
    LINK,
    TAIL,
    Attack,
    Expected,
    NotApplicableError,
    about,
    attack,
    changed,
    commit_start,
    edited,
    is_before_last,
    missing,
    pick,
    strangers_key,
    texts_of,
    touched_by,
    unsigned,
)
from tests.trail.trail_kit import make_resource, make_trail
from tests.trail.trail_model import Entry, Line, Trail, collector_text, request_text

if TYPE_CHECKING:
    from kaizen_otel._otlp.decode import Json

FORM: Final = frozenset({"foreign_field", "not_canonical", *LINK})


def _one(trail: Trail, old: Entry, new: Entry, kinds: frozenset[str] = LINK) -> Attack:
    return changed(trail, {old: new}, [Expected.at(old, kinds)])


@attack()
def edit_field(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    return _one(trail, old, edited(old, rnd))


@attack()
def edit_time(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    time_ns = int(str(old.log["timeUnixNano"])) + rnd.choice((-1, 1, 3600 * 10**9, -(10**15)))
    return _one(trail, old, old.changed(timeUnixNano=str(time_ns)))


@attack()
def edit_observed_time(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    return _one(trail, old, old.changed(observedTimeUnixNano="1795536000000000000"))


@attack()
def edit_event_name(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    kinds = LINK | {"bad_start", "unsigned_tail"}
    return _one(trail, old, old.changed(eventName="kaizen.memory.read"), kinds)


@attack()
def edit_correlation(trail: Trail, rnd: random.Random) -> Attack:
    """Another trace, or none."""
    old = pick(trail, rnd, lambda entry: "traceId" in entry.log)
    trace = rnd.choice(("", rnd.randbytes(16).hex()))
    return _one(trail, old, old.changed(traceId=trace))


@attack()
def swap_fields(trail: Trail, rnd: random.Random) -> Attack:
    """The values of two attributes of a record change places."""
    old = pick(trail, rnd, lambda entry: len(set(texts_of(entry).values())) > 1)
    texts = texts_of(old)
    first = rnd.choice(sorted(texts))
    second = rnd.choice(sorted(name for name in texts if texts[name] != texts[first]))
    return _one(trail, old, old.with_text(first, texts[second]).with_text(second, texts[first]))


@attack()
def swap_records(trail: Trail, rnd: random.Random) -> Attack:
    """Two records of a stream change places: each takes the other's number and link."""
    first = pick(trail, rnd)
    second = pick(trail, rnd, lambda one: one.stream == first.stream and one is not first)
    others = {
        old: new.with_place(old.stream, old.number, old.value(names.PREVIOUS_HASH))
        for old, new in ((first, second), (second, first))
    }
    kinds = LINK | {"bad_start", "after_end", "missing_signature", "unsigned_tail"}
    expected = [
        Expected(old.stream, commit_start(trail, old), old.number + 1, kinds) for old in others
    ]
    return changed(trail, others, expected)


@attack()
def exchange_numbers(trail: Trail, rnd: random.Random) -> Attack:
    """A record and the next one say each other's number."""
    first = pick(trail, rnd, is_before_last(trail))
    second = trail.streams()[first.stream].get(first.number + 1)
    if second is None:
        raise NotApplicableError
    others = {
        old: old.with_attribute(names.SEQUENCE, {"intValue": str(other.number)})
        for old, other in ((first, second), (second, first))
    }
    expected = Expected(first.stream, first.number - 1, second.number + 1, LINK | {"bad_start"})
    return changed(trail, others, [expected])


@attack()
def change_order_and_a_value(trail: Trail, rnd: random.Random) -> Attack:
    """The order of attributes says nothing; a changed value must not hide behind another one."""
    old = pick(trail, rnd)
    new = edited(old, rnd)
    pairs = list(cast("list[Json]", new.log["attributes"]))
    rnd.shuffle(pairs)
    return _one(trail, old, new.changed(attributes=pairs))


@attack()
def change_a_value_in_escapes(trail: Trail, rnd: random.Random) -> Attack:
    r"""Text written as \\uXXXX is the same text; another one is another one."""
    old = pick(trail, rnd, lambda entry: any(texts_of(entry).values()))
    texts = {name: text for name, text in texts_of(old).items() if text}
    name = rnd.choice(sorted(texts))
    new = old.with_text(name, texts[name][:-1] + chr(ord(texts[name][-1]) ^ 1))
    escaped = "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else c for c in new.value(name))
    key = json.dumps(name) + ',"value":{"stringValue":'
    new.raw = collector_text(new.log).replace(
        key + collector_text(new.value(name)), key + f'"{escaped}"'
    )
    assert new.raw != collector_text(new.log)
    return _one(trail, old, new)


@attack()
def change_normal_form(trail: Trail, rnd: random.Random) -> Attack:
    """Text that looks the same in another Unicode normal form is other text."""
    old = pick(trail, rnd)
    name = rnd.choice(sorted(texts_of(old)))
    entry = old.with_text(name, texts_of(old)[name] + "\u0301")
    return _one(trail, old, entry)


@attack()
def change_type(trail: Trail, rnd: random.Random) -> Attack:
    """An integer as text, or a text as a list of one."""
    old = pick(trail, rnd, is_before_last(trail))
    pairs = [dict(item) for item in cast("list[Json]", old.log["attributes"])]
    pair = rnd.choice([p for p in pairs if not str(p["key"]).startswith("audit.integrity.")])
    kind, content = next(iter(cast("Json", pair["value"]).items()))
    pair["value"] = {
        "intValue": {"stringValue": content},
        "stringValue": {"arrayValue": {"values": [{"stringValue": content}]}},
        "arrayValue": {"stringValue": str(content)},
    }[kind]
    kinds = FORM | {"unchained", "gap", "unsigned_tail"}
    # Without its place it is missing where it was, and so may be numbers before it.
    first = min(old.number - 1, missing(trail, old).first)
    expected = Expected(old.stream, first, old.number + 1, kinds)
    return changed(trail, {old: old.changed(attributes=pairs)}, [expected])


@attack()
def add_attribute(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    return _one(trail, old, old.with_text("kaizen.approval.actor.id", "boss"))


@attack()
def remove_attribute(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    name = rnd.choice(sorted(texts_of(old)))
    return _one(trail, old, old.with_attribute(name, None), FORM | {"gap", "resource_changed"})


@attack()
def repeat_attribute(trail: Trail, rnd: random.Random) -> Attack:
    """One name with two values: readers differ in which one they take."""
    old = pick(trail, rnd)
    pairs = list(cast("list[Json]", old.log["attributes"]))
    name = rnd.choice(sorted(texts_of(old)))
    forged: Json = {"key": name, "value": {"stringValue": "forged"}}
    pairs.insert(rnd.randint(0, len(pairs)), forged)
    return _one(trail, old, old.changed(attributes=pairs), FORM)


@attack()
def repeat_member(trail: Trail, rnd: random.Random) -> Attack:
    """A member of a JSON object twice: readers differ in which one they take."""
    old = pick(trail, rnd)
    new = old.changed()
    text = collector_text(old.log)
    if rnd.random() < 0.5:
        new.raw = text.replace('"eventName":', '"eventName":"forged","eventName":', 1)
    else:
        new.raw = text.replace('{"stringValue":', '{"stringValue":"forged","stringValue":', 1)
    return _one(trail, old, new, FORM)


@attack()
def add_body(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    return _one(trail, old, old.changed(body={"stringValue": "approved by the boss"}), FORM)


@attack()
def add_severity(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd)
    choices: list[Json] = [{"severityNumber": 17}, {"severityText": "ERROR"}, {"flags": 1}]
    choices += [{"note": "forged"}, {"droppedAttributesCount": 2}]
    return _one(trail, old, old.changed(**rnd.choice(choices)), FORM)


@attack()
def add_to_the_request(trail: Trail, rnd: random.Random) -> Attack:
    """Content around the records, where no hash is: scope, schema URL, members of the request."""
    lines = [line for line in trail.lines() if isinstance(line, list)]
    line = rnd.choice(lines)
    old, new = rnd.choice(
        (
            ('"scope":{}', '"scope":{"name":"forged"}'),
            ('"scope":{}', '"scope":{},"schemaUrl":"https://forged.example"'),
            ('{"resourceLogs":', '{"note":"forged","resourceLogs":'),
            ('"scopeLogs":[{', '"note":"forged","scopeLogs":[{'),
            ('{"resource":{', '{"resource":{"droppedAttributesCount":3,'),
        )
    )
    raw = request_text(line).replace(old, new, 1).encode()
    files: dict[str, list[Line]] = {
        name: [raw if one is line else one for one in lines] for name, lines in trail.files.items()
    }
    numbers = [entry.number for entry in line]
    kinds = frozenset({"foreign_field", "resource_changed"})
    expected = Expected(line[0].stream, min(numbers), max(numbers), kinds)
    return Attack(trail.with_files(files), (expected,), about(*line))


@attack()
def edit_in_glued_line(trail: Trail, rnd: random.Random) -> Attack:
    """Two requests on one line, the second one with an edited record."""
    found = edit_field(trail, rnd)
    files: dict[str, list[Line]] = {}
    for name, lines in found.trail.files.items():
        texts = [line if isinstance(line, bytes) else request_text(line).encode() for line in lines]
        files[name] = [b"".join(texts[at : at + 2]) for at in range(0, len(texts), 2)]
    return Attack(found.trail.with_files(files), found.expected, found.touched)


@attack()
def reuse_record_id(trail: Trail, rnd: random.Random) -> Attack:
    """Readers drop what has an id that they know: an attacker's way to hide a record."""
    old = pick(trail, rnd)
    other = pick(trail, rnd, lambda entry: entry is not old)
    return _one(trail, old, old.with_text(names.RECORD_ID, other.value(names.RECORD_ID)))


@attack()
def downgrade_schema(trail: Trail, rnd: random.Random) -> Attack:
    """The record as an older version wrote it: without link and signature."""
    old = pick(trail, rnd)
    new = unsigned(old).with_text(names.SCHEMA, "1.0.0").with_attribute(names.PREVIOUS_HASH, None)
    kinds = LINK | {"unchained", "unsigned_tail"}
    expected = Expected(old.stream, old.number - 1, old.number + 1, kinds)
    return changed(trail, {old: new}, [expected])


@attack()
def take_the_place_away(trail: Trail, rnd: random.Random) -> Attack:
    """A record that is in no stream any more."""
    old = pick(trail, rnd, is_before_last(trail))
    new = unsigned(old)
    for name in (names.STREAM_ID, names.SEQUENCE, names.PREVIOUS_HASH):
        new = new.with_attribute(name, None)
    attacked = trail.replaced({old: (new,)})
    return Attack(attacked, (missing(trail, old),), about(old))


# Signatures.


@attack()
def strip_signature(trail: Trail, rnd: random.Random) -> Attack:
    """The record still says that it is signed."""
    old = pick(trail, rnd, lambda entry: entry.is_signed)
    new = old.with_attribute(names.INTEGRITY_VALUE, None)
    return changed(trail, {old: new}, [Expected.at(old, {"missing_signature"}, after=0)])


@attack()
def strip_signature_and_certificate(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd, lambda entry: entry.is_signed)
    expected = Expected(old.stream, commit_start(trail, old), old.number + 1, LINK | TAIL)
    return changed(trail, {old: unsigned(old)}, [expected])


@attack()
def exchange_signature(trail: Trail, rnd: random.Random) -> Attack:
    """A good signature, of another record."""
    old = pick(trail, rnd, lambda entry: entry.is_signed)
    other = pick(trail, rnd, lambda entry: entry.is_signed and entry is not old)
    new = old.with_text(names.INTEGRITY_VALUE, other.value(names.INTEGRITY_VALUE))
    return changed(trail, {old: new}, [Expected.at(old, {"bad_signature"}, after=0)])


@attack()
def damage_signature(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd, lambda entry: entry.is_signed)
    raw = bytearray(base64.b64decode(old.value(names.INTEGRITY_VALUE)))
    raw[rnd.randrange(64)] ^= 1 << rnd.randrange(8)
    text = rnd.choice(
        (base64.b64encode(raw).decode(), "", "!", base64.b64encode(raw[:-1]).decode())
    )
    kinds = {"bad_signature", "missing_signature"}
    new = old.with_text(names.INTEGRITY_VALUE, text)
    return changed(trail, {old: new}, [Expected.at(old, kinds, after=0)])


@attack()
def sign_an_unsigned_record(trail: Trail, rnd: random.Random) -> Attack:
    """A signature is not hashed: who adds one to an unsigned record breaks no link."""
    old = pick(trail, rnd, lambda entry: not entry.is_signed)
    text = base64.b64encode(rnd.randbytes(64)).decode()
    new = old.with_text(names.INTEGRITY_VALUE, text)
    return changed(trail, {old: new}, [Expected.at(old, {"bad_signature"}, after=0)])


@attack()
def exchange_certificate(trail: Trail, rnd: random.Random) -> Attack:
    """The record says that another key signed it."""
    old = pick(trail, rnd, lambda entry: entry.is_signed)
    other = strangers_key(rnd)
    kinds = LINK | {"untrusted_key"}
    return _one(trail, old, old.with_text(names.INTEGRITY_CERTIFICATE, other.key_id), kinds)


# The Resource.


@attack()
def edit_resource(trail: Trail, rnd: random.Random) -> Attack:
    """Another service name for one record, another value for all of a kind, or no Resource."""
    old = pick(trail, rnd)
    shorter: Json = {"attributes": cast("list[Json]", old.resource["attributes"])[:-1]}
    choices: list[Json] = [make_resource(rnd.randrange(10**6), "forged"), {}, shorter]
    new = Entry(log=old.log, resource=rnd.choice(choices))
    return changed(trail, {old: new}, [Expected.at(old, {"resource_changed"}, after=0)])


@attack()
def exchange_resources(trail: Trail, rnd: random.Random) -> Attack:
    """The Resource of another stream, as if its process had done it."""
    old = pick(trail, rnd)
    other = pick(trail, rnd, lambda entry: entry.stream != old.stream)
    new = Entry(log=old.log, resource=other.resource)
    return changed(trail, {old: new}, [Expected.at(old, {"resource_changed"}, after=0)])


@attack()
def replay_record_of_another_trail(trail: Trail, rnd: random.Random) -> Attack:
    """A record of another deployment is given a place here, beside the one that is there."""
    old = pick(trail, rnd)
    other = pick(make_trail(rnd.randrange(10**6) + 10**6, work=1), rnd)
    new = other.with_place(old.stream, old.number, old.value(names.PREVIOUS_HASH))
    attacked = trail.with_line([new], rnd)
    kinds = LINK | {"fork", "untrusted_key", "missing_signature"}
    # What the stream says of others may not be believed any more.
    return Attack(attacked, (Expected.at(old, kinds),), touched_by(trail, old.stream))
