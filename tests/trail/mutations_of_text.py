"""Attacks on the text of a record, for a reader that cuts it instead of parsing it.

Each leaves a line that looks much like the one that was there: of the same length, with the same
beginning or end, or with a second record's text inside.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

from tests.trail.attack import (
    CUT,
    LINK,
    TAIL,
    Attack,
    Expected,
    NotApplicableError,
    attack,
    changed,
    is_before_last,
    pick,
)
from tests.trail.trail_model import collector_text

if TYPE_CHECKING:
    import random

    from tests.trail.trail_model import Entry, Trail

_ANY: Final = LINK | TAIL | CUT | {
    "not_canonical", "unchained", "foreign_field", "foreign_line", "fork", "resource_changed",
    "bad_start", "after_end",
}  # fmt: skip
_FIRST: Final = '"attributes":['
_VALUE: Final = re.compile(r'":"([^"\\]+)"')
_WORD: Final = re.compile(r"[0-9A-Za-z]")
_NUMBER: Final = re.compile(r'("audit\.sequence\.number","value":\{"intValue":)"([0-9]+)"')
_TIME: Final = re.compile(r'("timeUnixNano":)"([0-9]+)"')
_IDS: Final = re.compile(r'"(trace|span)Id":"([0-9a-f]*[a-f][0-9a-f]*)"')


def _raw(trail: Trail, old: Entry, text: str, *, first: int | None = None) -> Attack:
    """The record's text becomes another one; found from ``first`` on, or beside the record."""
    assert text != old.text
    new = old.changed()
    new.raw = text
    first = max(1, old.number - 1) if first is None else first
    expected = Expected(old.stream, first, old.number + 1, frozenset(_ANY))
    return changed(trail, {old: new}, [expected])


@attack()
def edit_one_character(trail: Trail, rnd: random.Random) -> Attack:
    """Any letter or digit of a value or of an attribute's name becomes another one."""
    old = pick(trail, rnd, is_before_last(trail))
    text = old.text
    places = [at for found in _VALUE.finditer(text) for at in range(*found.span(1))]
    places = [at for at in places if _WORD.match(text[at])]
    at = rnd.choice(places)
    # A number stays one: what is no number is another attack.
    others = next((kind for kind in ("0123456789", "abcdef") if text[at] in kind), "ghiXYZ")
    other = rnd.choice([c for c in others if c.lower() != text[at].lower()])
    # Its number may have become unreadable, and be missing then as the last of several.
    return _raw(trail, old, text[:at] + other + text[at + 1 :], first=0)


@attack()
def add_a_member_at_an_end(trail: Trail, rnd: random.Random) -> Attack:
    """Behind what is hashed: a member twice, one in another case, one that nobody knows."""
    old = pick(trail, rnd, is_before_last(trail))
    member = rnd.choice(
        (
            '"eventName":"kaizen.forged"', '"timeUnixNano":"1795536000000000001"',
            '"EventName":"kaizen.forged"', '"event_name":"kaizen.forged"', '"severityText":"x"',
            '"traceId":"00000000000000000000000000000001"',
            '"\\u0065ventName":"kaizen.forged"', '"body":{"stringValue":"x"}',
        )
    )  # fmt: skip
    return _raw(trail, old, f"{old.text[:-1]},{member}}}")


@attack()
def nest_a_record(trail: Trail, rnd: random.Random) -> Attack:
    """Another record's text, as an attribute, as a value or as text in one."""
    old = pick(trail, rnd, is_before_last(trail))
    other = pick(trail, rnd, lambda entry: entry is not old)
    inner = rnd.choice(
        (
            f'{{"key":"kaizen.x","value":{other.text}}}',
            f'{{"key":"kaizen.x","value":{{"stringValue":{collector_text(other.text)}}}}}',
            '{"key":"kaizen.x","value":{"stringValue":"],\\"eventName\\":\\"kaizen.forged\\"}"}}',
            '{"key":"kaizen.x","value":{"stringValue":"\\\\"}}',
        )
    )
    if rnd.random() < 0.5:
        at = old.text.rindex("],")
        return _raw(trail, old, f"{old.text[:at]},{inner}{old.text[at:]}")
    at = old.text.index(_FIRST) + len(_FIRST)
    return _raw(trail, old, f"{old.text[:at]}{inner},{old.text[at:]}")


@attack()
def respell_the_number(trail: Trail, rnd: random.Random) -> Attack:
    """A number in a form that some readers take and some do not."""
    old = pick(trail, rnd, is_before_last(trail))
    form = rnd.choice(('"0{}"', '"+{}"', '" {}"'))
    text = _NUMBER.sub(lambda found: found[1] + form.format(found[2]), old.text, count=1)
    return _raw(trail, old, text)


@attack()
def respell_the_time(trail: Trail, rnd: random.Random) -> Attack:
    old = pick(trail, rnd, is_before_last(trail))
    form = rnd.choice(('"0{}"', '"+{}"', '" {}"', '"{}.0"', '"{}e0"', '"{}' + "0" * 30 + '"'))
    text = _TIME.sub(lambda found: found[1] + form.format(found[2]), old.text, count=1)
    return _raw(trail, old, text)


@attack()
def respell_the_ids(trail: Trail, rnd: random.Random) -> Attack:
    """Hexadecimal in capitals is the same number and another text."""
    old = pick(trail, rnd, lambda entry: bool(_IDS.search(entry.text)))
    if not is_before_last(trail)(old):
        raise NotApplicableError
    text = _IDS.sub(lambda found: f'"{found[1]}Id":"{found[2].upper()}"', old.text, count=1)
    return _raw(trail, old, text)


@attack()
def end_a_text_early(trail: Trail, rnd: random.Random) -> Attack:
    """A value that ends where an escaped quote was, or goes on over what was its end."""
    old = pick(trail, rnd, is_before_last(trail))
    pairs = [p for p in json.loads(old.text)["attributes"] if "stringValue" in p["value"]]
    pair = rnd.choice([p for p in pairs if p["value"]["stringValue"]])
    text = collector_text(pair["value"]["stringValue"])
    forged = rnd.choice((text[:-1] + '\\"}},{\\"key\\":\\"kaizen.x"', text[:-1] + '\\\\"', '""'))
    key = json.dumps(pair["key"]) + ',"value":{"stringValue":'
    return _raw(trail, old, old.text.replace(key + text, key + forged, 1))
