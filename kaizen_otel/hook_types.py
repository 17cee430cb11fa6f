"""The value types of the hook system: event, context, result, and what a hook is.

The names are those of Kaizen's hook system and of the seed, so that a hook written for one
works with the other.  ``HookEvent`` is open: ``HookEvent.custom("billing.checked")`` makes a new
event, and a plain string is taken wherever an event is.
"""

from __future__ import annotations

import enum
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping

_CUSTOM = re.compile(r"[a-z][a-z0-9_]*(\.[a-z0-9_]+)+")


class CustomHookEvent(str):
    """An event of the user's own: a dotted, lower-case, static name."""

    __slots__ = ()

    @property
    def value(self) -> str:
        """The name, as an enumeration member has it."""
        return str(self)

    @property
    def name(self) -> str:
        """The name, as an enumeration member has it."""
        return str(self)


class HookEvent(enum.Enum):
    """What an agent does that a hook can see."""

    PRE_TOOL_USE = "pre_tool_use"
    POST_TOOL_USE = "post_tool_use"
    PRE_AGENT_LOOP = "pre_agent_loop"
    POST_AGENT_LOOP = "post_agent_loop"
    PRE_LLM_CALL = "pre_llm_call"
    POST_LLM_CALL = "post_llm_call"
    PRE_SPECIALIST_INVOKE = "pre_specialist_invoke"
    POST_SPECIALIST_INVOKE = "post_specialist_invoke"
    PRE_PERMISSION_CHECK = "pre_permission_check"
    POST_PERMISSION_CHECK = "post_permission_check"
    PRE_CHECKPOINT_SAVE = "pre_checkpoint_save"
    POST_CHECKPOINT_SAVE = "post_checkpoint_save"
    PRE_INTERRUPT = "pre_interrupt"
    POST_INTERRUPT = "post_interrupt"
    PRE_PLAN_GENERATION = "pre_plan_generation"
    POST_PLAN_GENERATION = "post_plan_generation"
    PRE_MEMORY_SAVE = "pre_memory_save"
    POST_MEMORY_SAVE = "post_memory_save"
    PRE_MEMORY_LOAD = "pre_memory_load"
    POST_MEMORY_LOAD = "post_memory_load"
    # The seed's names of the same two events.
    PRE_MEMORY_READ = "pre_memory_load"  # noqa: PIE796 - an alias on purpose
    POST_MEMORY_READ = "post_memory_load"  # noqa: PIE796 - an alias on purpose
    PRE_MEMORY_WRITE = "pre_memory_save"  # noqa: PIE796 - an alias on purpose
    POST_MEMORY_WRITE = "post_memory_save"  # noqa: PIE796 - an alias on purpose

    @classmethod
    def custom(cls, name: str) -> CustomHookEvent:
        """An event of the user's own.

        ``name`` is dotted and lower-case (``billing.checked``) and must not hold varying parts
        such as ids (semantic conventions, "Events").  Raises ``ValueError`` otherwise.
        """
        if not _CUSTOM.fullmatch(name):
            message = (
                f"custom event {name!r} is not a dotted lower-case name: "
                "use for example 'billing.checked'"
            )
            raise ValueError(message)
        return CustomHookEvent(name)


AnyEvent = HookEvent | str
"""A member, a custom event, or a plain string such as ``"pre_tool_use"``."""


def event_value(event: object) -> str:
    """The event's name as a plain string, of ours, of Kaizen's or of a plain string.

    Raises ``ValueError`` for anything else.
    """
    value = getattr(event, "value", event)
    if not isinstance(value, str) or not value:
        message = f"{event!r} is not a hook event: pass a HookEvent or its name as a string"
        raise ValueError(message)
    text = str(value).lower()
    return {"pre_memory_read": "pre_memory_load", "post_memory_read": "post_memory_load"}.get(
        text, text
    )


class HookPriority(enum.Enum):
    """Order in which hooks of one event run; stable within a level."""

    CRITICAL = 0
    HIGH = 1
    NORMAL = 2
    LOW = 3


@dataclass(frozen=True, slots=True)
class HookContext:
    """What a hook is told about one event.

    ``timestamp`` is seconds since the Unix epoch; ``trace_id`` groups events that belong to one
    run, if the caller knows it.
    """

    event_type: AnyEvent
    agent_id: str
    timestamp: float = field(default_factory=time.time)
    data: Mapping[str, object] = field(default_factory=dict[str, object])
    metadata: Mapping[str, object] = field(default_factory=dict[str, object])
    trace_id: str | None = None


@dataclass(slots=True)
class HookResult:
    """What a hook answers.  A failure has an error text.

    Not frozen, for Kaizen's own manager writes ``duration_ms`` to what a hook returned.
    """

    success: bool
    data: Mapping[str, object] | None = None
    error: str | None = None
    duration_ms: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a failure without a reason."""
        if not self.success and self.error is None:
            message = "a HookResult with success=False needs an error text"
            raise ValueError(message)


@runtime_checkable
class Hook(Protocol):
    """Anything with a ``handle`` method; ``events`` and ``name`` are optional attributes."""

    async def handle(self, context: HookContext) -> HookResult:
        """React to one event."""
        ...
