"""Complaint 4: a trace ends where MCP begins; what the server does is in another trace.

python-sdk#421, agent-framework#3778, mcp-agent#239, mastra#23922, hermes-agent#52211,
dd-trace-js#9090, ai-gateway#2487.

The package ``mcp`` of version 1 sends no trace context and takes none up, so with the stock SDK on
both sides client and server are two traces.  (Its version 2 may do this by itself; it is not what
is installed here.)  The server is a process of its own, spoken to over stdio.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from kaizen_otel.integrations import mcp
from tests.complaints.kit import OURS, STOCK, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.complaints

SERVER = """
from mcp.server.fastmcp import FastMCP
server = FastMCP("weather", log_level="ERROR")
@server.tool()
async def forecast(city: str) -> str:
    work(f"forecast {city}")
    return "rain in " + city
server.run("stdio")
"""
CLIENT = """
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
async def ask():
    where = StdioServerParameters(command=sys.executable, args=[os.environ["SERVER"]],
                                  env=dict(os.environ))
    async with stdio_client(where) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        answers = await asyncio.gather(*(
            one(session, city) for city in ("Bern", "Oslo")
        ))
        print(*answers)
"""
STOCK_WORK = """
def work(name):
    with tracer.start_as_current_span(name):
        pass
    provider.force_flush()
"""
STOCK_RUN = """
async def one(session, city):
    with tracer.start_as_current_span(f"ask {city}"):
        return (await session.call_tool("forecast", {"city": city})).content[0].text
asyncio.run(ask())
"""
OUR_WORK = """
from kaizen_otel.integrations import mcp as integration
integration.install()
def work(name):
    traced_tool(name=name)(lambda: None)()
    assert observed.flush(30)
"""
OUR_RUN = """
async def one(session, city):
    @traced_tool(name=f"ask {city}")
    async def call():
        return (await session.call_tool("forecast", {"city": city})).content[0].text
    return await call()
asyncio.run(ask())
"""


def write_server(folder: Path, program: str) -> dict[str, str]:
    path = folder / "server.py"
    path.write_text(program)
    return {"SERVER": str(path)}


def test_with_the_stock_sdk_the_servers_spans_are_in_traces_of_their_own(tmp_path: Path) -> None:
    variables = write_server(tmp_path, STOCK + STOCK_WORK + SERVER)
    peer = run(STOCK + CLIENT + STOCK_RUN, tmp_path, **variables)
    assert peer.printed.strip() == "rain in Bern rain in Oslo"
    for city in ("Bern", "Oslo"):
        assert peer.parent_of(f"forecast {city}") is None
        assert peer.trace_of(f"forecast {city}") != peer.trace_of(f"ask {city}")


def test_with_ours_each_of_the_servers_spans_hangs_under_the_call_that_caused_it(
    tmp_path: Path,
) -> None:
    variables = write_server(tmp_path, OURS + OUR_WORK + SERVER)
    ours = run(OURS + OUR_WORK + CLIENT + OUR_RUN, tmp_path, **variables)
    assert ours.printed.strip() == "rain in Bern rain in Oslo"
    for city in ("Bern", "Oslo"):
        call, done = f"execute_tool ask {city}", f"execute_tool forecast {city}"
        assert ours.parent_of(done) == call
        assert ours.trace_of(done) == ours.trace_of(call)
    assert len({span["resource"]["service.instance.id"] for span in ours.spans}) == 2
    assert ours.warned == ""


def test_ours_on_one_side_alone_changes_nothing_for_the_other(tmp_path: Path) -> None:
    """A server that knows nothing of it gets two more values in ``_meta``, which is made for it."""
    variables = write_server(tmp_path, STOCK + STOCK_WORK + SERVER)
    ours = run(OURS + OUR_WORK + CLIENT + OUR_RUN, tmp_path, **variables)
    assert ours.printed.strip() == "rain in Bern rain in Oslo"
    assert ours.parent_of("forecast Bern") is None


def test_it_can_be_taken_out_again_without_a_trace() -> None:
    session, server = mcp._session(), mcp._server()
    before = (vars(session)["send_request"], vars(server)["_handle_request"])
    mcp.install()
    mcp.install()
    assert mcp.installed()
    assert vars(session)["send_request"] is not before[0]
    mcp.uninstall()
    mcp.uninstall()
    assert not mcp.installed()
    assert (vars(session)["send_request"], vars(server)["_handle_request"]) == before


def call_request(**meta: object) -> object:
    from mcp import types

    given = types.RequestParams.Meta.model_validate(meta) if meta else None
    params = types.CallToolRequestParams(name="t", _meta=given)
    return types.ClientRequest(types.CallToolRequest(params=params))


def sent_meta(request: object) -> dict[str, object]:
    dumped = mcp._with_context(request).model_dump(by_alias=True, mode="json", exclude_none=True)
    found: dict[str, object] = dumped["params"].get("_meta", {})
    return found


def test_what_the_caller_put_into_meta_stays_and_his_request_is_not_changed() -> None:
    context = SpanContext(1, 2, is_remote=False, trace_flags=TraceFlags(1))
    ours = f"00-{1:032x}-{2:016x}-01"
    with trace.use_span(NonRecordingSpan(context)):
        request = call_request(progressToken=5, other="x")
        before = str(request)
        assert sent_meta(request) == {"progressToken": 5, "other": "x", "traceparent": ours}
        assert str(request) == before
        assert sent_meta(call_request(traceparent="his")) == {"traceparent": "his"}
    request = call_request()
    assert mcp._with_context(request) is request, "without a current span there is nothing to say"
