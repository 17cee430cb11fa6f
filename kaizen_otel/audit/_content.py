"""What may stand in an audit record as it is, and what only as HMAC and size.

Every attribute has a class: *public* stays (an allow-list), everything else is *sensitive* and
becomes ``hmac-sha256:<key id>:<hex>`` plus its size in bytes.  An investigator who knows a value
can test it against the trail; who only has the trail cannot read it.  A keyed HMAC and not a
plain hash, because an e-mail address or a small number can be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from kaizen_otel import semconv
from kaizen_otel._otlp.common import safe_text
from kaizen_otel.audit._public import (
    PSEUDONYM,
    PUBLIC_DETAILS,
    TEXTS,
    code_or_none,
    is_action,
    name_or_none,
    public_or_none,
)
from kaizen_otel.audit.record import ACTION, ACTOR_ID, ACTOR_TYPE, CALLER_ACTION, TARGET_ID

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel.audit._public import Scalar

__all__ = ["PUBLIC_DETAILS"]

KEY_BYTES: Final = 32
ATTRIBUTES_MAX: Final = 128
PLAIN_BYTES_MAX: Final = 16 * 1024
"""What all plain attributes of a record may take together; beyond it HMAC and size only.

With ``ATTRIBUTES_MAX`` hidden ones and the ciphertexts of ``audit.subjects`` a record stays below
the spool's 64 KiB, whatever the caller gives.
"""
PREFIX: Final = "hmac-sha256:"

# Content by the GenAI conventions: prompts, arguments, results, whatever users wrote.
_CONTENT: Final = {
    semconv.GEN_AI_TOOL_CALL_ARGUMENTS: "input",
    semconv.GEN_AI_TOOL_CALL_RESULT: "output",
    "gen_ai.input.messages": "input",
    "gen_ai.output.messages": "output",
    "gen_ai.system_instructions": "system_instructions",
    "gen_ai.tool.definitions": "tool_definitions",
    "gen_ai.tool.description": "tool_description",
    "gen_ai.retrieval.query.text": "query",
    "gen_ai.retrieval.documents": "documents",
    "gen_ai.memory.query.text": "query",
    "gen_ai.memory.records": "memory_records",
}
# These name something that may be public by another attribute, and anything else otherwise.
_IDS: Final = frozenset({ACTOR_ID, TARGET_ID, "audit.source.id"})
# Words for an action, or the pseudonym of what is no word, so that it can be looked for.
_WORDS: Final = frozenset({ACTION, CALLER_ACTION})
JOINT: Final = _IDS | _WORDS | {ACTOR_TYPE, *TEXTS}
"""What becomes of another attribute, or what is added, may depend on the values of these."""
# What acts and is no person.
_NO_USERS: Final = frozenset({"agent", "service", "system"})
# Names that callers give: words and perhaps a number, nothing that could be a token.
_CALLERS_NAME: Final = re.compile(r"[A-Za-z_.-]{1,64}[0-9]{0,3}", re.ASCII)
NO_PARTS: Final[Mapping[str, Mapping[str, object]]] = MappingProxyType({})

_REMEMBERED_LENGTH: Final = 64
_REMEMBERED_MAX: Final = 4096
_ATTRIBUTE_OVERHEAD: Final = 16
_ITEM_OVERHEAD: Final = 6
_UTF8_MAX: Final = 4


class Pseudonyms:
    """Makes pseudonyms with one key; equal values have equal pseudonyms under it.

    ``key`` is secret and never leaves the machine; the key id in each pseudonym tells which key
    was used, and nothing else about it.
    """

    __slots__ = ("_key", "key_id")

    def __init__(self, key: bytes) -> None:
        assert len(key) >= KEY_BYTES, "a short key can be guessed"
        self._key = key
        self.key_id = hashlib.sha256(b"kaizen-otel pseudonym key id\0" + key).hexdigest()[:16]

    def of(self, value: object) -> str:
        """Return the pseudonym of a value: of its text, or of its JSON with sorted keys."""
        return self.of_bytes(content_bytes(value))

    def of_bytes(self, data: bytes) -> str:
        """Return the pseudonym of bytes."""
        digest = hmac.digest(self._key, data, "sha256").hex()
        return f"{PREFIX}{self.key_id}:{digest}"

    def hide(self, result: dict[str, object], name: str, data: bytes) -> None:
        """Put what may be known of ``data`` into ``result``: its HMAC and its size in bytes."""
        result[f"kaizen.hmac.{name}"] = self.of_bytes(data)
        result[f"kaizen.bytes.{name}"] = len(data)


def content_bytes(value: object) -> bytes:
    """Return the bytes that stand for a value.  Never raises, whatever the value is."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode(errors="surrogatepass")
    try:
        text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=safe_text)
    except (TypeError, ValueError, RecursionError):
        text = safe_text(value)
    return text.encode(errors="surrogatepass")


def protect(
    attributes: Mapping[str, object],
    pseudonyms: Pseudonyms,
    parts: Mapping[str, Mapping[str, object]] = NO_PARTS,
) -> dict[str, object]:
    """Return attributes with everything that is not public replaced by HMAC and size.

    ``parts`` are a caller's free dictionaries by name, which become ``kaizen.<part>.*``: values of
    ``PUBLIC_DETAILS`` that are numbers, booleans or look like a code stay, of all others only HMAC
    and size do.  At most ``ATTRIBUTES_MAX`` come through; the others become one HMAC together, and
    a count.
    """
    writer = _Writer(pseudonyms)
    for key, value in attributes.items():
        if type(value) is str and (size := _public_sizes.get((key, value), 0)):
            if writer.take(key, value, size):
                continue
        elif value is None:
            continue
        name = key if type(key) is str else safe_text(key)
        if name in _WORDS and isinstance(value, str):
            plain: Scalar | None = code_or_pseudonym(value, pseudonyms)
        else:
            plain = public_or_none(name, value)
        if type(plain) is str and len(plain) <= _REMEMBERED_LENGTH:
            _remember(name, plain)
        if plain is None and name in _IDS:
            plain = name_or_none(value, attributes)
        writer.add(name, _CONTENT.get(name, name), value, plain)
    for part, details in parts.items():
        _add_details(writer, part, details)
    result = writer.finish()
    actor, kind = attributes.get(ACTOR_ID), attributes.get(ACTOR_TYPE)
    if actor is not None and not (isinstance(kind, str) and kind in _NO_USERS):
        is_one = isinstance(actor, str) and PSEUDONYM.fullmatch(actor)
        _forget(result, ACTOR_ID)
        result[ACTOR_ID] = actor if is_one else pseudonyms.of(actor)
    return result


def _add_details(writer: _Writer, part: str, details: Mapping[str, object]) -> None:
    for key, value in details.items():
        name = key if type(key) is str else safe_text(key)
        plain = code_or_none(value) if name in PUBLIC_DETAILS else None
        writer.add(f"kaizen.{part}.{name}", f"{part}.{name}", value, plain)


# Short attributes that are public, and the room that they take: most come again and again.
_public_sizes: Final[dict[tuple[object, str], int]] = {}


def _remember(name: str, plain: str) -> None:
    if len(_public_sizes) >= _REMEMBERED_MAX:
        _public_sizes.clear()
    _public_sizes[name, plain] = len(name) + plain_size_max(plain)


class _Writer:
    """Collects the attributes of one record within its bounds."""

    __slots__ = ("_bytes_left", "_pseudonyms", "_rest", "_result", "_room")

    def __init__(self, pseudonyms: Pseudonyms) -> None:
        self._pseudonyms = pseudonyms
        self._bytes_left = PLAIN_BYTES_MAX
        self._room = ATTRIBUTES_MAX
        self._result: dict[str, object] = {}
        self._rest: list[tuple[str, object]] = []

    def add(self, name: str, hidden_name: str, value: object, plain: Scalar | None) -> None:
        """Take an attribute as ``plain``, or hide its value if that is None or too much."""
        if value is None:
            return
        if plain is not None and self.take(name, plain, len(name) + plain_size_max(plain)):
            return
        if self._room == 0:
            self._rest.append((hidden_name, value))
            return
        self._room -= 1
        _hide(self._result, hidden_name, value, self._pseudonyms)

    def take(self, name: str, plain: Scalar, size: int) -> bool:
        """Take an attribute of at most ``size`` bytes; False if there is no room for it."""
        if self._room == 0 or size > self._bytes_left:
            return False
        self._room -= 1
        self._bytes_left -= size
        self._result[name] = plain
        return True

    def finish(self) -> dict[str, object]:
        """Return the attributes; those for which there was no room as one HMAC and a count."""
        if self._rest:
            _hide(self._result, "overflow", self._rest, self._pseudonyms)
            self._result["kaizen.overflow.count"] = len(self._rest)
        return self._result


def plain_size_max(plain: Scalar) -> int:
    """Return the most bytes that a value can take up."""
    if isinstance(plain, str):
        return _ATTRIBUTE_OVERHEAD + len(plain) * (1 if plain.isascii() else _UTF8_MAX)
    if isinstance(plain, int):
        return _ATTRIBUTE_OVERHEAD
    return _ATTRIBUTE_OVERHEAD + sum(_ITEM_OVERHEAD + _UTF8_MAX * len(item) for item in plain)


def _forget(result: dict[str, object], name: str) -> None:
    """Take out what is known of a value that comes in again under another form."""
    for prefix in ("kaizen.hmac.", "kaizen.bytes.", "kaizen.enc."):
        result.pop(prefix + name, None)


def hidden_names(name: str) -> tuple[str, str]:
    """Return the names under which a hidden attribute's HMAC and size stand."""
    hidden = _CONTENT.get(name, name)
    return f"kaizen.hmac.{hidden}", f"kaizen.bytes.{hidden}"


def _hide(result: dict[str, object], name: str, value: object, pseudonyms: Pseudonyms) -> None:
    if not _CALLERS_NAME.fullmatch(name):
        # The name itself may be content: keys of a dictionary are the caller's.
        name = "name." + pseudonyms.of(name).rpartition(":")[2][:16]
    pseudonyms.hide(result, name, content_bytes(value))


def code_or_pseudonym(text: str, pseudonyms: Pseudonyms) -> str:
    """Return a caller's word for an action, or its pseudonym if it is no word."""
    is_one = is_action(text) or PSEUDONYM.fullmatch(text)
    return str.__str__(text) if is_one else pseudonyms.of(text)


def event_of(event_name: str, other: str, pseudonyms: Pseudonyms) -> tuple[str, dict[str, object]]:
    """Return an event's name, or ``other`` and what hides the name if that may be content."""
    if is_action(event_name):
        return event_name, {}
    hidden: dict[str, object] = {}
    _hide(hidden, "event_name", event_name, pseudonyms)
    return other, hidden
