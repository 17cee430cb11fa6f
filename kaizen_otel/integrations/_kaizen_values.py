"""What Kaizen's own values say: failures, usage, providers, names of hook events.  Pure.

Sources: the installed source of kailash-kaizen 2.46.1 (``core/base_agent.py`` for results,
``nodes/ai/llm_agent.py`` and ``llm/client.py`` for responses, ``llm/presets.py`` for names).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlsplit

from kaizen_otel import semconv
from kaizen_otel.errors import ConfigError
from kaizen_otel.hook_types import CustomHookEvent, HookEvent, event_value

if TYPE_CHECKING:
    from collections.abc import Iterable

TOOL_ERROR: Final = "tool_error"
"""``error.type`` of a tool that answered with a failure (the MCP conventions' value)."""

PERMISSION_CHECK: Final = "permission_check"
"""What the events filter calls permission decisions; they have no span of their own."""

_DEFAULT_AGENT_ID = re.compile(r"agent_\d+")
_PAIR = re.compile(r"(?:pre|post)_(.+)")
_HOLDERS: Final = frozenset({dict, list, tuple})
_PARTS_MAX: Final = 2_048

_PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azure_entra": "azure.ai.openai",
    "azure_ai_foundry": "azure.ai.inference",
    "bedrock": "aws.bedrock",
    "bedrock_claude": "aws.bedrock",
    "bedrock_cohere": "aws.bedrock",
    "bedrock_llama": "aws.bedrock",
    "bedrock_mistral": "aws.bedrock",
    "bedrock_titan": "aws.bedrock",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex_claude": "gcp.vertex_ai",
    "vertex_gemini": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""Kaizen's provider and preset names where the conventions have another word."""

_REQUEST: Final[Mapping[str, str]] = {
    "temperature": semconv.GEN_AI_REQUEST_TEMPERATURE,
    "max_tokens": semconv.GEN_AI_REQUEST_MAX_TOKENS,
}
_USAGE: Final = (
    (semconv.GEN_AI_USAGE_INPUT_TOKENS, ("input_tokens", "prompt_tokens")),
    (semconv.GEN_AI_USAGE_OUTPUT_TOKENS, ("output_tokens", "completion_tokens")),
)


def is_default_agent_id(agent_id: str) -> bool:
    """Whether Kaizen made the id up (``agent_`` and the object's address)."""
    return _DEFAULT_AGENT_ID.fullmatch(agent_id) is not None


def failure_of(result: object, fallback: str = "_OTHER") -> str | None:
    """The ``error.type`` of a result that reports a failure, None if it does not.

    Kaizen reports failures as ``success: False``, in dictionaries and as attributes.
    """
    if _read(result, "success") is not False:
        return None
    for name in ("error_type", "type"):
        code = _read(result, name)
        if isinstance(code, str) and semconv.error_type(code) == code:
            return code
    return fallback


def _read(result: object, name: str) -> object:
    return _mapping(result).get(name, getattr(result, name, None))


def _mapping(value: object) -> Mapping[str, Any]:
    """The value if it is a mapping, else an empty one."""
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def text_size(value: object) -> int | None:
    """Characters in the texts that a value holds, without rendering it.

    None if it holds so many parts that counting would cost more than it tells.
    """
    size = 0
    pending = [value]
    for item in pending:  # grows while it is read
        kind = type(item)
        if kind is str:
            size += len(item)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
        elif kind in _HOLDERS:
            # Not ``cast``: at 50 ns a part this loop is most of what reading a memory costs.
            parts: Any = item
            pending.extend(parts.values() if kind is dict else parts)
            if len(pending) > _PARTS_MAX:
                return None
    return size


def record_count(context: object) -> int | None:
    """How many turns a memory gave back, if it says so."""
    turns: object = _mapping(context).get("turns", context)
    return len(cast("list[object]", turns)) if isinstance(turns, list | tuple) else None


def provider_name(name: object) -> str:
    """The conventions' name of a provider; Kaizen's own (``mock``, ``ollama``) where there is none.

    >>> provider_name("azure")
    'azure.ai.openai'
    """
    text = str(name).lower() if name else "unknown"
    return _PROVIDERS.get(text, text)


def request_attributes(arguments: Mapping[str, Any]) -> dict[str, object]:
    """The request's sampling arguments, of a call or of its ``generation_config``."""
    found: dict[str, object] = {}
    for source in (_mapping(arguments.get("generation_config")), arguments):
        for name, attribute in _REQUEST.items():
            value = source.get(name)
            if isinstance(value, int | float) and not isinstance(value, bool):
                found[attribute] = value
    return found


def deployment_attributes(deployment: object) -> dict[str, object]:
    """Provider and server of an ``LlmDeployment``."""
    wire = getattr(deployment, "wire", None)
    preset = getattr(deployment, "preset_name", None) or getattr(wire, "name", None)
    found: dict[str, object] = {semconv.GEN_AI_PROVIDER_NAME: provider_name(preset)}
    base_url = str(getattr(getattr(deployment, "endpoint", None), "base_url", ""))
    endpoint = urlsplit(base_url)
    if endpoint.hostname:
        found[semconv.SERVER_ADDRESS] = endpoint.hostname
        if endpoint.port:
            found[semconv.SERVER_PORT] = endpoint.port
    return found


def response_attributes(response: object) -> dict[str, object]:
    """Model, id, finish reason and usage of a response, in Kaizen's two shapes.

    Its ``estimated_cost_usd`` is left out: it comes from a sample price table in the source.
    """
    found: dict[str, object] = {}
    whole = _mapping(response)
    body = _mapping(whole.get("response")) or whole
    for attribute, name in (
        (semconv.GEN_AI_RESPONSE_MODEL, "model"),
        (semconv.GEN_AI_RESPONSE_ID, "id"),
    ):
        if isinstance(body.get(name), str):
            found[attribute] = body[name]
    reason = body.get("finish_reason") or body.get("stop_reason")
    if isinstance(reason, str):
        found[semconv.GEN_AI_RESPONSE_FINISH_REASONS] = [reason]
    for source in (whole, body):
        found.update(_usage(_mapping(source.get("usage"))))
    return found


def _usage(usage: Mapping[str, Any]) -> dict[str, object]:
    found: dict[str, object] = {}
    for attribute, names in _USAGE:
        counts = [usage.get(name) for name in names]
        tokens = next((n for n in counts if type(n) is int and n >= 0), None)
        if tokens is not None:
            found[attribute] = tokens
    return found


def operations_of(events_to_trace: Iterable[object] | None) -> frozenset[str] | None:
    """The operations whose spans are sent, by a list of hook events; None means all.

    Half of a pair selects the pair.  Raises ``ConfigError`` for something that is no event.
    """
    if events_to_trace is None:
        return None
    if isinstance(events_to_trace, str):
        raise ConfigError(
            f"events_to_trace={events_to_trace!r} is one text: pass a list, for example "
            "['pre_tool_use', 'pre_agent_loop']"
        )
    found: set[str] = set()
    for event in events_to_trace:
        pair = _pair_of(event)
        found.add(pair)
        found.update(
            operation for operation, rule in semconv.RULES.items() if rule.hook_pair == pair
        )
    return frozenset(found)


def _pair_of(event: object) -> str:
    if isinstance(event, CustomHookEvent):
        return event.value
    try:
        value = event_value(event)
        known = HookEvent.__members__.get(value.upper())
        if known is None and "." in value:
            return HookEvent.custom(value).value
    except ValueError as error:
        raise ConfigError(f"events_to_trace holds no hook event: {error}") from None
    if known is None:
        raise ConfigError(
            f"events_to_trace holds {value!r}, which no agent fires: use members of "
            "kaizen_otel.HookEvent or their names, such as 'pre_tool_use'"
        )
    paired = _PAIR.fullmatch(known.value)
    return paired.group(1) if paired else known.value
