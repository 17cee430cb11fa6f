"""One agent, one line: traces, metrics, logs and the audit trail of a real Kaizen agent.

Run it with a Collector on this machine (``kaizen-otel collector run``), or set
``OTEL_TRACES_EXPORTER=console`` to see the trace here.  It needs no key and no network.
"""

from __future__ import annotations

import os
from types import SimpleNamespace

os.environ.setdefault("KAIZEN_ALLOW_KEYLESS_MOCK", "1")

from kaizen.core.base_agent import BaseAgent, BaseAgentConfig
from kaizen.signatures import InputField, OutputField, Signature
from kaizen.strategies.multi_cycle import MultiCycleStrategy

from kaizen_otel.integrations import kaizen

kaizen.install()  # agent.enable_observability is ours from here on


class Ask(Signature):
    """Answer a question."""

    question: str = InputField(description="the question")
    answer: str = OutputField(description="the answer")


class Librarian(BaseAgent):
    """Looks books up."""

    async def execute_tool(self, tool_name, params, timeout=None):
        return SimpleNamespace(success=True, result={"shelf": 7}, error=None)


def decide(inputs, cycle):
    """Stand for the model: use the tool once, then answer."""
    if cycle == 0:
        return {"action": "tool_use", "action_input": {"tool_name": "find_book", "params": {}}}
    return {"action": "finish", "answer": "on shelf 7"}


agent = Librarian(
    config=BaseAgentConfig(llm_provider="mock", model="mock-model"),
    signature=Ask(),
    strategy=MultiCycleStrategy(max_cycles=3, cycle_processor=decide),
    mcp_servers=[],
)
observability = agent.enable_observability(service_name="library")

result = agent.run(question="Where is the atlas?")

observability.flush()
print(result["answer"])
print(observability.ledger().line())
agent.cleanup()
