"""What may stand in an audit record as it is, and what only as HMAC and size.

Every attribute has a class: *public* stays (an allow-list), everything else is *sensitive* and
becomes ``hmac-sha256:<key id>:<hex>`` plus its size in bytes.  An investigator who knows a value
can test it against the trail; who only has the trail cannot read it.  A keyed HMAC and not a
plain hash, because an e-mail address or a small number can be guessed.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from kaizen_otel import semconv
from kaizen_otel._otlp.common import safe_text
from kaizen_otel.audit.record import ACTOR_ID, ACTOR_TYPE

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_BYTES: Final = 32
ATTRIBUTES_MAX: Final = 128
PLAIN_CHARACTERS_MAX: Final = 1024
PREFIX: Final = "hmac-sha256:"

_PUBLIC_PREFIXES: Final = ("audit.", "kaizen.", "gen_ai.", "server.", "service.", "mcp.")
_PUBLIC_NAMES: Final = frozenset(
    {
        semconv.ERROR_TYPE,
        semconv.EXCEPTION_TYPE,
        "enduser.pseudo.id",
        "network.protocol.name",
        "session.id",
        "user.hash",
    }
)
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
_CONTENT_PREFIXES: Final = ("gen_ai.prompt.",)

PUBLIC_DETAILS: Final = frozenset(
    {
        "attempt", "checkpoint_id", "count", "cycle", "danger_level", "decision", "duration_ms",
        "error_type", "event_type", "model", "permission", "provider", "rule", "run_id",
        "session_id", "span_id", "status", "status_code", "step", "step_number", "success",
        "tool", "tool_name", "trace_id",
    }
)  # fmt: skip
"""Keys of ``details`` and ``metadata`` whose values stay, if they are a number or like a code."""

_CODE: Final = re.compile(r"[\w.:/-]{1,128}")
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,96}")
# Names that callers give: words and perhaps a number, nothing that could be a token.
_CALLERS_NAME: Final = re.compile(r"[A-Za-z_.-]{1,64}[0-9]{0,3}")

Scalar = str | int | list[str]


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


def protect(attributes: Mapping[str, object], pseudonyms: Pseudonyms) -> dict[str, object]:
    """Return attributes with everything that is not public replaced by HMAC and size.

    At most ``ATTRIBUTES_MAX`` come through; the others become one HMAC together, and a count.
    """
    result: dict[str, object] = {}
    items = list(attributes.items())
    for key, value in items[:ATTRIBUTES_MAX]:
        if value is None:
            continue
        name = key if type(key) is str else safe_text(key)
        plain = _plain_or_none(value) if _is_public(name) else None
        if plain is None:
            _hide(result, _CONTENT.get(name, name), value, pseudonyms)
        else:
            result[name] = plain
    if len(items) > ATTRIBUTES_MAX:
        rest = items[ATTRIBUTES_MAX:]
        _hide(result, "overflow", rest, pseudonyms)
        result["kaizen.overflow.count"] = len(rest)
    actor = result.get(ACTOR_ID)
    if result.get(ACTOR_TYPE) == "user" and actor and not str(actor).startswith(PREFIX):
        result[ACTOR_ID] = pseudonyms.of(actor)
    return result


def protect_details(
    part: str, details: Mapping[str, object], pseudonyms: Pseudonyms
) -> dict[str, object]:
    """Return a caller's free dictionary as attributes ``kaizen.<part>.*``.

    Values of ``PUBLIC_DETAILS`` that are numbers, booleans or look like a code stay; of all
    others only HMAC and size do.
    """
    result: dict[str, object] = {}
    for key, value in details.items():
        name = safe_text(key)
        if name in PUBLIC_DETAILS and _is_code(value):
            result[f"kaizen.{part}.{name}"] = _plain_or_none(value)
        elif value is not None:
            _hide(result, f"{part}.{name}", value, pseudonyms)
    return result


def _hide(result: dict[str, object], name: str, value: object, pseudonyms: Pseudonyms) -> None:
    if not _CALLERS_NAME.fullmatch(name):
        # The name itself may be content: keys of a dictionary are the caller's.
        name = "name." + pseudonyms.of(name).rpartition(":")[2][:16]
    pseudonyms.hide(result, name, content_bytes(value))


@functools.lru_cache(maxsize=1024)
def _is_public(name: str) -> bool:
    if name in _CONTENT or name.startswith(_CONTENT_PREFIXES):
        return False
    is_listed = name in _PUBLIC_NAMES or name.startswith(_PUBLIC_PREFIXES)
    return is_listed and _NAME.fullmatch(name) is not None


def code_or_pseudonym(text: str, pseudonyms: Pseudonyms) -> str:
    """Return a text that looks like a code (a word, a dotted name) or else its pseudonym."""
    return text if _is_code(text) else pseudonyms.of(text)


def _is_code(value: object) -> bool:
    if isinstance(value, str):
        return _CODE.fullmatch(value) is not None
    return isinstance(value, (bool, int, float))


def _plain_or_none(value: object) -> Scalar | None:
    """Return a value that a record may hold as it is; None if it may not.

    A boolean and a float become text: records are hashed in a form that has neither, because a
    number's JSON form is not the same in every language.
    """
    if isinstance(value, str):
        return value if len(value) <= PLAIN_CHARACTERS_MAX else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        items = cast("Sequence[object]", value)
        texts = [item for item in items if isinstance(item, str)]
        if len(texts) == len(items) and sum(map(len, texts)) <= PLAIN_CHARACTERS_MAX:
            return texts
    return None
