"""Random runs of real agents, run twice: unobserved, and observed through the real pipeline.

A plan says what an agent does: tools, models, streams and other agents, one after the other or
in parallel, that return, raise, answer failures, time out or are cancelled.  From the plan
follows the exact tree of spans.  ``python -m tests.kaizen.random_runs 10000`` runs that many.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import logging
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from kaizen.llm.client import LlmClient
from kaizen.llm.deployment import LlmDeployment

from kaizen_otel._pipeline import Pipeline
from kaizen_otel.config import Config
from kaizen_otel.integrations import kaizen
from kaizen_otel.integrations.decorators import traced_tool
from kaizen_otel.observability import ObservabilityManager
from kaizen_otel.testing.fakes import FakeTransport
from tests.kaizen.agents import AsyncScripted, config, scripted_agent
from tests.kaizen.random_plans import NAMES, expected, plan

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from tests.kaizen.agents import Untyped
    from tests.kaizen.random_plans import Node, Tree

_BATCH: Final = 50


# ------------------------------------------------------------------------------ what is executed
class _Answers:
    """The far end of Kaizen's model client."""

    def __init__(self, ending: str) -> None:
        self.ending = ending

    async def post(self, *_: Untyped, **__: Untyped) -> Untyped:
        await asyncio.sleep(0)
        if self.ending == "raise":
            raise ConnectionError("no route")
        body = {"model": "gpt-4o", "choices": [{"message": {"content": "42"}}], "usage": {}}
        return SimpleNamespace(status_code=200, headers={}, text="", json=lambda: body)


class World:
    """A set of agents that carry out plans; ``traced`` decorates what they call besides tools."""

    def __init__(self, *, traced: bool = False) -> None:
        self._read = traced_tool(name="stream")(self._stream) if traced else self._stream
        self.agents = {name: self._make(name) for name in NAMES}
        self._client = LlmDeployment.lm_studio("http://localhost:1234", "gpt-4o")

    def _make(self, name: str) -> Untyped:
        tools = dict.fromkeys(("search", "read", "write"), self._tool)
        return scripted_agent(
            self._script,
            strategy=AsyncScripted(self._script),
            agent_id=name,
            tools=tools,
            config=config(use_async_llm=True),
        )

    async def _script(self, agent: Untyped, inputs: dict[str, Untyped]) -> Untyped:
        node: Node = inputs["plan"]
        done = await self._all(agent, node)
        if node.ending == "raise":
            raise ValueError(f"{len(done)} things done")
        if node.ending == "fail":
            return {"success": False, "type": "QuotaError", "error": "full", "answer": done}
        if node.ending == "cancel":
            inputs["reached"].set()
            await asyncio.Event().wait()
        return {"answer": done}

    async def _all(self, agent: Untyped, node: Node) -> list[Untyped]:
        if node.parallel:
            work = (self._one(agent, below) for below in node.below)
            done = await asyncio.gather(*work, return_exceptions=True)
        else:
            done = []
            for below in node.below:
                try:
                    done.append(await self._one(agent, below))
                except Exception as error:  # noqa: BLE001 - the result of this step
                    done.append(error)
        return [repr(one) if isinstance(one, BaseException) else one for one in done]

    async def _one(self, agent: Untyped, node: Node) -> Untyped:
        match node.kind:
            case "agent":
                return await self.call(node)
            case "chat":
                client = LlmClient.from_deployment_sync(self._client)
                messages = [{"role": "user", "content": "hi"}]
                return (await client.complete(messages, http_client=_Answers(node.ending)))["text"]
            case "stream":
                items = self._read(agent, node)
                if node.ending == "leave":
                    async with contextlib.aclosing(items) as leaving:
                        return await anext(leaving)
                return [item async for item in items]
            case _:
                return await self._use_tool(agent, node)

    async def _use_tool(self, agent: Untyped, node: Node) -> Untyped:
        reached = asyncio.Event()
        call = agent.execute_tool(node.name, {"agent": agent, "node": node, "reached": reached})
        if node.ending != "cancel":
            answer = await call
            return (answer.success, answer.result)
        return await self._cancelled(call, reached)

    @staticmethod
    async def _cancelled(call: Untyped, reached: asyncio.Event) -> str:
        task = asyncio.ensure_future(call)
        await reached.wait()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return "cancelled"

    async def _tool(self, agent: Untyped, node: Node, reached: asyncio.Event) -> Untyped:
        done = await self._all(agent, node)
        match node.ending:
            case "raise":
                raise LookupError(node.name)
            case "fail":
                return SimpleNamespace(success=False, result=done, error="no")
            case "time out":
                async with asyncio.timeout(0):
                    await asyncio.Event().wait()
            case "cancel":
                reached.set()
                await asyncio.Event().wait()
            case _:
                await asyncio.sleep(0)
        return done

    async def _stream(self, agent: Untyped, node: Node) -> AsyncGenerator[Untyped, None]:
        yield await self._all(agent, node)
        await asyncio.sleep(0)
        yield "more"
        if node.ending == "raise":
            raise LookupError("stream")

    async def call(self, node: Node, **inputs: Untyped) -> Untyped:
        """Call an agent inside a running loop."""
        agent, reached = self.agents[node.name], asyncio.Event()
        given = {"question": "hi", "plan": node, "reached": reached, **inputs}
        match node.way:
            case "run_in_a_loop":
                return agent.run(**given)
            case "to_thread" | "run":
                return await asyncio.to_thread(agent.run, **given)
            case _ if node.ending == "cancel":
                return await self._cancelled(agent.run_async(**given), reached)
            case _:
                return await agent.run_async(**given)

    def run(self, node: Node, **inputs: Untyped) -> Untyped:
        """Carry out a whole plan; the answer tells all results and exceptions."""
        if node.way == "run":
            return self.agents[node.name].run(question="hi", plan=node, reached=None, **inputs)
        return asyncio.run(self.call(node, **inputs))


# --------------------------------------------------------------------------------- what was seen
class Observed:
    """A world observed through the real pipeline, up to the requests that would be sent."""

    def __init__(self, *, unobserved: Iterable[str] = ()) -> None:
        self.world = World(traced=True)
        self.transport = FakeTransport()
        environment = {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
        self.manager = ObservabilityManager(
            "random-runs",
            enable_audit=False,
            pipeline=Pipeline(
                Config.from_environment(environment), transports={"traces": self.transport}
            ),
        )
        for name, agent in self.world.agents.items():
            if name not in unobserved:
                kaizen.enable_observability(agent, manager=self.manager, agent_name=name)

    def trees(self) -> dict[str, list[Tree]]:
        """Trees by conversation id of their root, of everything sent since the last call."""
        assert self.manager.flush(30.0)
        found: dict[str, list[Tree]] = {}
        for run, tree in _rooted(self.transport):
            found.setdefault(run, []).append(tree)
        return found

    def close(self) -> None:
        """Take everything out again."""
        for agent in self.world.agents.values():
            kaizen.disable_observability(agent)
        self.manager.shutdown(5.0)


def trees_of(transport: FakeTransport) -> list[Tree]:
    """Trees of everything sent since the last call, in order of their names."""
    return sorted(tree for _, tree in _rooted(transport))


def _rooted(transport: FakeTransport) -> list[tuple[str, Tree]]:
    spans = [span for request in transport.taken("traces") for span in _spans(request)]
    transport.requests.clear()
    below: dict[str, list[dict[str, Any]]] = {}
    for span in spans:
        below.setdefault(span.get("parentSpanId", ""), []).append(span)
    roots = below.pop("", [])
    found = [(_attribute(root, "gen_ai.conversation.id"), _tree(root, below)) for root in roots]
    # What is left has a parent that was never sent.
    return found + [("orphans", ("orphan", "", ()))] * len(below)


def _spans(request: Untyped) -> Iterable[dict[str, Any]]:
    for resource in request["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            yield from scope["spans"]


def _attribute(span: dict[str, Any], name: str) -> str:
    for attribute in span.get("attributes", []):
        if attribute["key"] == name:
            return str(attribute["value"].get("stringValue", ""))
    return ""


def _tree(span: dict[str, Any], below: dict[str, list[dict[str, Any]]]) -> Tree:
    error = _attribute(span, "error.type")
    if bool(error) != (span.get("status", {}).get("code") == 2):
        error = f"status does not match {error}"
    children = (_tree(child, below) for child in below.pop(span["spanId"], []))
    return (span["name"], error, tuple(sorted(children)))


@dataclass
class Outcome:
    runs: int = 0
    spans: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)


def execute(count: int, seed: int, *, unobserved: Iterable[str] = ()) -> Outcome:
    """Run ``count`` random plans; every difference is a fault."""
    outcome, plain, observed = Outcome(), World(), Observed(unobserved=unobserved)
    plans = {f"run-{seed}-{n}": plan(random.Random(f"{seed}/{n}")) for n in range(count)}
    # Kaizen collects garbage after each failed run (core/agent_loop.py): spare it the modules.
    gc.collect()
    gc.freeze()
    try:
        pending: list[str] = []
        for name, node in plans.items():
            with contextlib.redirect_stdout(io.StringIO()):
                wanted = plain.run(node)
                got = observed.world.run(node, session_id=name)
            if got != wanted:
                outcome.faults.append(f"{name}: result {got!r} instead of {wanted!r}")
            pending.append(name)
            if len(pending) == _BATCH:
                _compare(pending, plans, observed, outcome)
        _compare(pending, plans, observed, outcome)
    finally:
        gc.unfreeze()
        observed.close()
    return outcome


def _compare(
    names: list[str], plans: dict[str, Node], observed: Observed, outcome: Outcome
) -> None:
    seen = observed.trees()
    for name in names:
        tree = expected(plans[name])
        if seen.pop(name, None) != [tree]:
            outcome.faults.append(f"{name}: not the expected tree")
        outcome.runs += 1
        _count(tree, outcome)
    outcome.faults.extend(f"{name}: {len(trees)} trees too many" for name, trees in seen.items())
    names.clear()


def _count(tree: Tree, outcome: Outcome) -> None:
    outcome.spans += 1
    outcome.endings[tree[1] or "success"] += 1
    for child in tree[2]:
        _count(child, outcome)


def main(arguments: list[str]) -> int:
    """Run and print; exit code 1 if anything differed."""
    logging.disable(logging.CRITICAL)
    count = int(arguments[0]) if arguments else 10_000
    seed = int(arguments[1]) if len(arguments) > 1 else 1
    started = time.monotonic()
    outcome = execute(count, seed)
    endings = ", ".join(f"{n} {ending}" for ending, n in outcome.endings.most_common())
    sys.stdout.write(
        f"{outcome.runs} runs, {outcome.spans} spans ({endings}), {len(outcome.faults)} faults, "
        f"seed {seed}, {time.monotonic() - started:.0f} s\n"
    )
    for fault in outcome.faults[:10]:
        sys.stdout.write(f"{fault}\n")
    return 1 if outcome.faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
