"""Agents whose every act is written down, so that it is known what dashboards must show.

    python -m tests.backends.scripted_agent SERVICE

plays a short part and prints what it did, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from opentelemetry.baggage import set_baggage
from opentelemetry.context import attach, detach

import kaizen_otel
from kaizen_otel import semconv

if TYPE_CHECKING:
    from kaizen_otel.hooks.operations import Operations
    from kaizen_otel.observability import ObservabilityManager


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One operation that ended; ``target`` is the tool's or the model's name."""

    service: str
    operation: str
    agent: str
    target: str = ""
    provider: str = ""
    error: str = ""
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0
    tenant: str = ""


class Play:
    """Plays parts and remembers them."""

    def __init__(self, observed: ObservabilityManager, service: str) -> None:
        self.acts: list[Act] = []
        self._observed = observed
        self._operations: Operations = observed.operations
        self._service = service
        self._agent = self._tenant = ""

    def run(
        self, agent: str, *parts: tuple[str, str, str, float], error: str = "", tenant: str = ""
    ) -> None:
        """One run of an agent.  A part is an operation, its target, its error and its seconds."""
        self._agent, self._tenant = agent, tenant
        token = attach(set_baggage(semconv.KAIZEN_TENANT_ID, tenant)) if tenant else None
        self._operations.begin("invoke_agent", "run", name=agent)
        if token is not None:
            detach(token)
        for operation, target, failure, seconds in parts:
            self._do(operation, target, failure, seconds)
        self._end("run", "invoke_agent", "", error)

    def begin(self, agent: str) -> None:
        """A run that does not end."""
        self._operations.begin("invoke_agent", "endless", name=agent)

    def decide(self, decision: str) -> None:
        """One decision about a tool."""
        self._operations.count(semconv.PERMISSION_DECISIONS, {semconv.KAIZEN_DECISION: decision})

    def interrupt(self, mode: str) -> None:
        """One interrupt."""
        self._operations.count(semconv.INTERRUPTS, {semconv.KAIZEN_INTERRUPT_MODE: mode})

    def mistake(self) -> None:
        """An end that nothing began."""
        self._operations.end("nothing")

    def _do(self, operation: str, target: str, error: str, seconds: float) -> None:
        attributes: dict[str, object] = {}
        tokens = (0, 0)
        if operation == "execute_tool":
            attributes[semconv.GEN_AI_AGENT_NAME] = self._agent
        if operation == "chat":
            attributes[semconv.GEN_AI_PROVIDER_NAME] = PROVIDERS[target]
        self._operations.begin(operation, "part", "run", attributes, name=target)
        time.sleep(seconds)
        found: dict[str, object] = {}
        if operation == "chat" and not error:
            tokens = TOKENS[target]
            found[semconv.GEN_AI_USAGE_INPUT_TOKENS] = tokens[0]
            found[semconv.GEN_AI_USAGE_OUTPUT_TOKENS] = tokens[1]
        self._end("part", operation, target, error, tokens, found)

    def _end(
        self,
        key: str,
        operation: str,
        target: str,
        error: str,
        tokens: tuple[int, int] = (0, 0),
        found: dict[str, object] | None = None,
    ) -> None:
        span = self._operations.span(key)
        assert span is not None
        self._operations.end(key, found, error or None)
        self.acts.append(
            Act(
                service=self._service,
                operation=operation,
                agent=self._agent,
                target=target,
                provider=PROVIDERS.get(target, ""),
                error=error,
                seconds=span.duration_ns / 1e9,
                tokens_in=tokens[0],
                tokens_out=tokens[1],
                tenant=self._tenant,
            )
        )


#: A price table: the small model is not in it.
PRICES: Final = {
    "version": "test-7",
    "currency": "EUR",
    "models": [{"model": "lar*", "provider": "openai", "input": 2.0, "output": 10.0}],
}
PROVIDERS: Final = {"large": "openai", "small": "anthropic"}
TOKENS: Final = {"large": (900, 120), "small": (60, 7)}


def whole_play(play: Play) -> None:
    """All that agents do, by two agents, with failures."""
    chat, tool = "chat", "execute_tool"
    for seconds in (0.012, 0.05):
        play.run(
            "planner",
            (chat, "large", "", seconds), (tool, "search", "", seconds),
            ("search_memory", "", "", 0.0), ("upsert_memory", "", "", 0.012),
            tenant="acme" if seconds < 0.02 else "",
        )  # fmt: skip
    play.run("planner", (chat, "large", "timeout", 0.025), error="timeout")
    play.run(
        "clerk",
        (chat, "small", "", 0.0), (tool, "search", "", 0.0), (tool, "pay", "denied", 0.0),
        ("search_memory", "", "lost", 0.0), ("kaizen.checkpoint.save", "", "", 0.02),
    )  # fmt: skip
    play.run("clerk", (tool, "pay", "", 0.03), (tool, "pay", "timeout", 0.1), error="budget")
    for decision in ("approved", "approved", "denied"):
        play.decide(decision)
    play.interrupt("graceful")
    play.mistake()


def short_play(play: Play) -> None:
    """What fits into two seconds."""
    for _ in range(3):
        play.run("runner", ("chat", "small", "", 0.0), ("execute_tool", "search", "", 0.3))
    play.run("runner", ("execute_tool", "search", "timeout", 0.0), error="timeout")


def main() -> None:
    """A process that lives for two seconds."""
    (service,) = sys.argv[1:]
    observed = kaizen_otel.observe(service)
    play = Play(observed, service)
    short_play(play)
    asyncio.run(observed.record_audit("runner", "end", {}, "success"))
    observed.shutdown()
    sys.stdout.write(json.dumps([asdict(act) for act in play.acts]))


if __name__ == "__main__":
    main()
