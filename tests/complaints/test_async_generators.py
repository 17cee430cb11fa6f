"""Complaint 3: streams, "Failed to detach context", and spans that hang under the wrong parent.

opentelemetry-python#2606, openlit#1369, langfuse#9198, #8316, phoenix#11362, agno#5208,
adk-python#6559, mlflow#13555.

A span that an asynchronous generator makes current with the stock API stays the current one in the
consumer between two items; and a consumer that stops early has the generator closed in another
context, which logs an error and leaves the span current for good.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.complaints.kit import OURS, STOCK, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.complaints

STOCK_STREAM = """
async def stream():
    with tracer.start_as_current_span("stream"):
        for number in range(3):
            with tracer.start_as_current_span(f"inside{number}"):
                pass
            yield number
async def main():
    with tracer.start_as_current_span("agent"):
        async for number in stream():
            with tracer.start_as_current_span(f"consumer{number}"):
                pass
            if number == 1:
                break
        with tracer.start_as_current_span("after"):
            pass
asyncio.run(main())
"""
OUR_STREAM = """
def step(name):
    traced_tool(name=name)(lambda: None)()
@traced_tool
async def stream():
    for number in range(3):
        step(f"inside{number}")
        yield number
@traced_agent
async def agent():
    async for number in stream():
        step(f"consumer{number}")
        if number == 1:
            break
    step("after")
asyncio.run(agent())
"""


def test_the_stock_api_hangs_the_consumers_spans_under_the_stream_and_logs_an_error(
    tmp_path: Path,
) -> None:
    peer = run(STOCK + STOCK_STREAM, tmp_path)
    assert peer.parent_of("consumer0") == "stream"
    assert peer.parent_of("after") == "stream", "though the stream was left"
    assert "Failed to detach context" in peer.warned


def test_ours_hangs_each_span_where_it_belongs_and_logs_nothing(tmp_path: Path) -> None:
    ours = run(OURS + OUR_STREAM, tmp_path)
    tools = [span["name"].removeprefix("execute_tool ") for span in ours.spans]
    parents = {
        name: (ours.parent_of(f"execute_tool {name}") or "").split(" ")[-1]
        for name in tools
        if not name.startswith("invoke_agent")
    }
    assert parents == {
        "stream": "agent",
        "inside0": "stream",
        "inside1": "stream",
        "consumer0": "agent",
        "consumer1": "agent",
        "after": "agent",
    }
    assert len({span["traceId"] for span in ours.spans}) == 1
    assert ours.warned == ""
