"""What the JSON of every record that is asked for contains, so that other lines are not parsed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from kaizen_otel.audit import record as names

if TYPE_CHECKING:
    from kaizen_otel.audit.query import Filter

Words = list[tuple[bytes, ...]]
"""Of each tuple one is there."""

# What JSON has only one form for, leaving out the escapes of printable ASCII.
_PLAIN: Final = re.compile(r"[A-Za-z0-9 _.:@+=,;!#$%()*?~^|{}\[\]-]+")
_TEXTS_OF_VALUES: Final = frozenset({"true", "false", "none", "nan", "inf", "infinity"})
_WORDS_OF_RESULTS: Final = {"denied": (b'"deny"',), "failure": (b'"failure"',)}


def words_of(asked: Filter) -> Words:
    """Return the words of a question, the one that says most first.

    Only what JSON writes in no other way than this, if it escapes no printable ASCII.
    """
    wanted = [
        _word(asked.trace_id),
        _word(asked.user) if asked.user and asked.user[0].isalpha() else (),
        _word(asked.tool),
        _word(asked.agent),
        _words_of_action(asked.action),
        _WORDS_OF_RESULTS.get(asked.result or "", ()),
    ]
    return [one_of for one_of in wanted if one_of]


def _word(value: str | None) -> tuple[bytes, ...]:
    return (f'"{value}"'.encode(),) if value and _PLAIN.fullmatch(value) else ()


def _words_of_action(action: str | None) -> tuple[bytes, ...]:
    # The attribute's text is compared, and text is also made of numbers and the like.
    if not action or not action[0].isalpha() or action.lower() in _TEXTS_OF_VALUES:
        return ()
    event, _ = names.event_of_action(action)
    return (*_word(action), *_word(event)) if _word(action) else ()
