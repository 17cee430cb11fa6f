"""Several agents in one trace: decorators on home-made agents, nested and in threads."""

from __future__ import annotations

import contextvars
import threading

import kaizen_otel
from kaizen_otel import traced_agent, traced_tool

observability = kaizen_otel.observe("newsroom")


@traced_tool
def search(topic: str) -> list[str]:
    """A tool of the researcher."""
    return [f"{topic}: fact {number}" for number in (1, 2)]


@traced_agent(name="Researcher")
def research(topic: str) -> list[str]:
    """An agent that uses a tool."""
    return search(topic)


@traced_agent(name="Editor")
def edit(topics: list[str]) -> str:
    """An agent that has two others work at the same time."""
    found: dict[str, list[str]] = {}

    def work(topic: str) -> None:
        found[topic] = research(topic)

    # A thread starts with an empty context; a copy carries the current span into it.
    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(work, topic))
        for topic in topics
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return "; ".join(fact for topic in topics for fact in found[topic])


print(edit(["rain", "wind"]))
observability.flush()
print(observability.ledger().line())
observability.shutdown()
