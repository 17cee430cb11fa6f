"""The demo's agents: real Kaizen agents with tools, offline unless a real model is asked for."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from kaizen_otel.errors import NotEnabledError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

QUESTION = "Which of our three suppliers delivers fastest?"
_STOCK = {"north": 4, "harbour": 2, "valley": 7}


def require_kaizen(model: str, environment: Mapping[str, str]) -> None:
    """Check what the agents need.

    Raises ``NotEnabledError`` without Kaizen and ``SetupError`` without a key for a real model.
    """
    for module in ("kaizen", "opentelemetry.sdk"):
        try:
            found = importlib.util.find_spec(module)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise NotEnabledError(
                "the demo runs a real Kaizen agent, and Kaizen is not installed: "
                "pip install 'kaizen-otel[kaizen]'"
            )
    if model == "openai" and not environment.get("OPENAI_API_KEY"):
        raise SetupError("MODEL=openai needs OPENAI_API_KEY in the environment: set it, or leave "
                         "MODEL out to run offline")  # fmt: skip


def _decide(inputs: Mapping[str, object], cycle: int) -> dict[str, object]:
    """Stand for the researcher's model: look up, have it written, finish."""
    del inputs
    if cycle == 0:
        tool = {"tool_name": "lookup_deliveries", "params": {"unit": "days"}}
        return {"action": "tool_use", "action_input": tool}
    if cycle == 1:
        fastest = min(_STOCK, key=lambda name: _STOCK[name])
        tool = {"tool_name": "ask_writer", "params": {"findings": f"{fastest} is fastest"}}
        return {"action": "tool_use", "action_input": tool}
    return {"action": "finish", "answer": "the harbour supplier, in two days"}


def build_agents(model: str) -> tuple[Any, Any]:
    """A researcher with two tools, one of which asks the writer, and the writer."""
    from kaizen.core.base_agent import BaseAgent, BaseAgentConfig
    from kaizen.memory.buffer import BufferMemory
    from kaizen.signatures import InputField, OutputField, Signature
    from kaizen.strategies.multi_cycle import MultiCycleStrategy

    class Research(Signature):  # type: ignore[misc]
        """Answer a question from the supplier records."""

        question: Any = InputField(description="what to find out")
        answer: Any = OutputField(description="what was found")

    class Writing(Signature):  # type: ignore[misc]
        """Put findings into one sentence."""

        findings: Any = InputField(description="what was found")
        answer: Any = OutputField(description="one sentence")

    class Writer(BaseAgent):  # type: ignore[misc]
        """Writes a sentence with a model."""

    writer = Writer(
        config=BaseAgentConfig(
            llm_provider="openai" if model == "openai" else "mock",
            model="gpt-4o-mini" if model == "openai" else "mock-model",
        ),
        signature=Writing(),
        mcp_servers=[],
    )

    class Researcher(BaseAgent):  # type: ignore[misc]
        """Looks records up, then has the writer write."""

        async def execute_tool(
            self,
            tool_name: str,
            params: Mapping[str, object],
            timeout: float | None = None,  # noqa: ASYNC109 - Kaizen's signature
        ) -> Any:  # noqa: ANN401 - Kaizen reads attributes of it
            del timeout
            if tool_name == "lookup_deliveries":
                await asyncio.sleep(0.02)  # a database would take its time too
                return SimpleNamespace(success=True, result=dict(_STOCK), error=None)
            text: Any = cast("Any", writer).run(findings=str(params.get("findings", "")))
            return SimpleNamespace(success=True, result=text, error=None)

    researcher = Researcher(
        config=BaseAgentConfig(llm_provider="mock", model="mock-model"),
        signature=Research(),
        strategy=MultiCycleStrategy(max_cycles=4, cycle_processor=_decide),
        memory=BufferMemory(),
        agent_id="researcher-1",
        mcp_servers=[],
    )
    return researcher, writer


def run_agent(agent: Any) -> Any:  # noqa: ANN401 - Kaizen's result
    """Run the agent once.  Kaizen prints tool data on stdout; that is kept off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()):
        return agent.run(question=QUESTION, session_id="demo-session")
