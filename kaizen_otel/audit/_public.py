"""Which attributes may stand in an audit record as they are, and in which form.

An allow-list: names of things that programmers name (tools, models, agents), identifiers, codes
and numbers.  A name that is not listed is content, except under ``kaizen.`` and ``audit.``, where
numbers and codes stay, so that callers have a place for facts of their own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal, cast

from kaizen_otel import semconv
from kaizen_otel._redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["text", "code", "number", "pseudonym"]
"""Any short text without a known secret, a code, a number or boolean, a pseudonym."""
Scalar = str | int | list[str]

TEXT_CHARACTERS_MAX: Final = 256
CODE_CHARACTERS_MAX: Final = 256
ITEMS_MAX: Final = 32
PSEUDONYM: Final = re.compile(r"hmac-sha256:[0-9a-f]{16}:[0-9a-f]{64}")

_INT64: Final = range(-(2**63), 2**63)
# A larger number of a caller's may be one of a card, an account or a telephone.
_CALLERS_NUMBER_MAX: Final = 10**11
_CODE: Final = re.compile(r"[A-Za-z0-9_.:/+=<>-]{1,256}", re.ASCII)
# Words with one short number in each (OAuth2Login): neither a number nor a token.
_ACTION: Final = re.compile(
    r"[A-Za-z]+[0-9]{0,3}[A-Za-z]*(?:[_.:/-][A-Za-z]*[0-9]{0,3}[A-Za-z]*)*", re.ASCII
)
_ACTION_CHARACTERS_MAX: Final = 96
_HEXADECIMAL: Final = re.compile(r"[0-9a-f-]+")
_ONE_DIGIT: Final = bytes.maketrans(b"123456789", b"000000000")
_DIGITS: Final = re.compile(r"(?:[0-9][_.:/+=-]*){11,}")
# Names that callers give: words and perhaps a number, nothing that could be a token.
CALLERS_NAME: Final = re.compile(r"[A-Za-z_.-]{1,92}[0-9]{0,3}", re.ASCII)
_HIDDEN_NAME: Final = re.compile(r"kaizen\.(?:hmac|bytes)\.(?:[a-z]{1,16}\.)?name\.[0-9a-f]{16}")
_OWN_PREFIXES: Final = ("kaizen.", "audit.")

TEXTS: Final = (
    semconv.GEN_AI_AGENT_ID, semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_MEMORY_STORE_ID,
    semconv.GEN_AI_REQUEST_MODEL, semconv.GEN_AI_RESPONSE_MODEL, semconv.GEN_AI_TOOL_NAME,
    semconv.GEN_AI_WORKFLOW_NAME, semconv.KAIZEN_AGENT_ID, semconv.KAIZEN_SIGNATURE,
    semconv.KAIZEN_STRATEGY, semconv.SERVICE_NAME, "mcp.tool.name",
)  # fmt: skip
"""Names of things that programmers name."""
_CODES: Final = (
    semconv.ERROR_TYPE, semconv.EXCEPTION_TYPE, semconv.GEN_AI_CONVERSATION_ID,
    semconv.GEN_AI_OPERATION_NAME, semconv.GEN_AI_PROVIDER_NAME,
    semconv.GEN_AI_RESPONSE_FINISH_REASONS, semconv.GEN_AI_RESPONSE_ID,
    semconv.GEN_AI_TOKEN_MODALITY, semconv.GEN_AI_TOKEN_TYPE, semconv.GEN_AI_TOOL_CALL_ID,
    semconv.GEN_AI_TOOL_TYPE, semconv.SERVER_ADDRESS, semconv.SERVER_PORT,
    semconv.SERVICE_INSTANCE_ID, "enduser.pseudo.id", "gen_ai.agent.version",
    "gen_ai.data_source.id", "gen_ai.output.type", "mcp.method.name", "mcp.protocol.version",
    "mcp.session.id", "network.protocol.name", "service.namespace", "service.version",
    "session.id", "user.hash",
)  # fmt: skip
_NUMBERS: Final = (
    semconv.GEN_AI_MEMORY_RECORD_COUNT, semconv.GEN_AI_REQUEST_MAX_TOKENS,
    semconv.GEN_AI_REQUEST_TEMPERATURE, semconv.GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK,
    "gen_ai.embeddings.dimension.count", "gen_ai.request.choice.count",
    "gen_ai.request.frequency_penalty", "gen_ai.request.presence_penalty", "gen_ai.request.seed",
    "gen_ai.request.top_k", "gen_ai.request.top_p", "gen_ai.usage.cache_creation.input_tokens",
    semconv.GEN_AI_USAGE_CACHED_TOKENS, semconv.GEN_AI_USAGE_INPUT_TOKENS,
    semconv.GEN_AI_USAGE_OUTPUT_TOKENS, "gen_ai.usage.reasoning.output_tokens",
)  # fmt: skip
_KINDS: Final[Mapping[str, Kind]] = {
    **dict.fromkeys(TEXTS, "text"),
    **dict.fromkeys(_CODES, "code"),
    **dict.fromkeys(_NUMBERS, "number"),
}

PUBLIC_DETAILS: Final = frozenset(
    {
        "attempt", "checkpoint_id", "count", "cycle", "danger_level", "decision", "duration_ms",
        "error_type", "event_type", "model", "permission", "provider", "rule", "run_id",
        "session_id", "span_id", "status", "status_code", "step", "step_number", "success",
        "tool", "tool_name", "trace_id",
    }
)  # fmt: skip
"""Keys of ``details`` and ``metadata`` whose values stay, if they are a number or like a code."""

_redactor: Final = Redactor()


def public_or_none(name: str, value: object) -> Scalar | None:
    """Return what a record may hold of an attribute as it is; None if nothing."""
    kind = _KINDS.get(name) or _kind_of_own(name)
    return None if kind is None else _value_or_none(kind, value)


def name_or_none(value: object, attributes: Mapping[str, object]) -> str | None:
    """Return an id that is the name of something public in the same record; None if it is not."""
    if not isinstance(value, str) or not any(attributes.get(name) == value for name in TEXTS):
        return None
    return str.__str__(value) if _is_fit("text", value) else None


def code_or_none(value: object) -> Scalar | None:
    """Return a number, a boolean or a text that is like a code; None for anything else."""
    return _value_or_none("code", value)


@functools.lru_cache(maxsize=1024)
def is_action(text: str) -> bool:
    """Whether a caller's word for an action is one, and no sentence, number or secret."""
    is_shaped = len(text) <= _ACTION_CHARACTERS_MAX and _ACTION.fullmatch(text) is not None
    return is_shaped and _redactor.redact(text) == text


@functools.lru_cache(maxsize=1024)
def _kind_of_own(name: str) -> Kind | None:
    if not name.startswith(_OWN_PREFIXES):
        return None
    if not CALLERS_NAME.fullmatch(name) and not _HIDDEN_NAME.fullmatch(name):
        return None
    # Of the writer's own: a caller's value may only look as the writer's would.
    if name.startswith("kaizen.hmac."):
        return "pseudonym"
    if name.startswith("kaizen.bytes."):
        return "number"
    return None if name.startswith("kaizen.enc.") else "code"


def _value_or_none(kind: Kind, value: object) -> Scalar | None:
    """Return a value that fits the kind, as strings, integers and lists of strings.

    A boolean and a float become text: records are hashed in a form that has neither, because a
    number's JSON form is not the same in every language.
    """
    if isinstance(value, str):
        text = str.__str__(value)
        return text if kind != "number" and _is_fit(kind, text) else None
    if kind == "pseudonym":
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        number = int(value)
        fits = number in _INT64 and (kind == "number" or abs(number) < _CALLERS_NUMBER_MAX)
        return number if fits else None
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)):
        return _items_or_none(kind, cast("Sequence[object]", value))
    return None


def _items_or_none(kind: Kind, items: Sequence[object]) -> list[str] | None:
    if kind == "number" or len(items) > ITEMS_MAX:
        return None
    texts = [str.__str__(item) for item in items if isinstance(item, str)]
    if len(texts) == len(items) and sum(map(len, texts)) <= TEXT_CHARACTERS_MAX:
        return texts if all(_is_fit(kind, text) for text in texts) else None
    return None


@functools.lru_cache(maxsize=4096)
def _is_fit(kind: Kind, text: str) -> bool:
    if kind == "pseudonym":
        return PSEUDONYM.fullmatch(text) is not None
    if len(text) > TEXT_CHARACTERS_MAX:
        return False
    # To all that is asked here a digit is a digit, and ids often differ in nothing else.
    alike = text.encode().translate(_ONE_DIGIT).decode() if text.isascii() else text
    return _is_alike_fit(kind, alike)


@functools.lru_cache(maxsize=4096)
def _is_alike_fit(kind: Kind, text: str) -> bool:
    if kind == "code":
        # Nothing is a code that could be the number of a card, whatever separates its digits.
        is_shaped = _CODE.fullmatch(text) is not None and _DIGITS.fullmatch(text) is None
    else:
        is_shaped = text.isprintable()
    # No rule for secrets holds without a letter beyond "f" or an "@".
    is_clean = _HEXADECIMAL.fullmatch(text) is not None or _redactor.redact(text) == text
    return is_shaped and is_clean
