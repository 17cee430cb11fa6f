"""MCP tools, permissions and approvals, refused tools."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from kaizen.core.autonomy.permissions.types import PermissionRule, PermissionType
from kaizen.core.base_agent import BaseAgent

from kaizen_otel import semconv
from kaizen_otel.errors import AuditUnavailableError
from kaizen_otel.integrations._kaizen_watch import DECIDED_BY
from tests.kaizen.agents import config, scripted_agent, tool_agent

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kaizen.agents import Untyped
    from tests.unit.integrations.recorder import RecordingManager

UNSAFE = "bash_command"
ASK = PermissionRule(pattern=UNSAFE, permission_type=PermissionType.ASK, reason="look first")


class McpClient:
    """Answers as Kaizen's own client does, without a server."""

    def __init__(self) -> None:
        self.called: list[str] = []

    async def discover_tools(self, *_: Untyped, **__: Untyped) -> list[Untyped]:
        return []

    async def call_tool(self, server: Untyped, name: str, *_: Untyped, **__: Untyped) -> Untyped:
        self.called.append(f"{server['name']}/{name}")
        if name == "broken":
            return {"success": True, "isError": True, "result": None}
        return {"success": True, "isError": False, "result": None}


class Approver:
    def __init__(self, answer: bool | Exception) -> None:
        self.answer = answer

    async def request_approval(self, **_: Untyped) -> bool:
        await asyncio.sleep(0)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def mcp_agent(**changes: Untyped) -> Untyped:
    servers = [{"name": "kaizen_builtin"}, {"name": "files"}]
    agent = BaseAgent(config=config(**changes), mcp_servers=servers)
    agent._mcp_client = McpClient()
    return agent


def test_an_mcp_tool_is_one_span_of_type_extension(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(mcp_agent())
    result = asyncio.run(agent.execute_mcp_tool("mcp__files__list", {"path": "/"}))
    assert result["success"] is True
    tool = recording.operations.only("execute_tool")
    assert tool.name == "mcp__files__list"
    assert tool.attributes[semconv.GEN_AI_TOOL_TYPE] == "extension"


@pytest.mark.parametrize("name", ["read_file", "mcp__files__list"])
def test_execute_tool_and_the_mcp_call_under_it_are_counted_once(
    name: str, observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(mcp_agent())
    asyncio.run(agent.execute_tool(name, {}))
    assert len(agent._mcp_client.called) == 1
    tool = recording.operations.only("execute_tool")
    assert tool.name == name
    assert tool.attributes[semconv.GEN_AI_TOOL_TYPE] == "extension"


def test_other_mcp_calls_of_a_tool_are_its_children(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = scripted_agent(
        lambda *_: {}, mcp_servers=[{"name": "files"}], tools={}, config=config()
    )
    agent._mcp_client = McpClient()

    async def both(q: str) -> Untyped:
        await agent.execute_mcp_tool("mcp__files__list", {"q": q})
        return await agent.execute_mcp_tool("mcp__files__list", {"q": q})

    agent.tools["search"] = both
    asyncio.run(observe(agent).execute_tool("search", {"q": "x"}))
    assert recording.operations.trees() == [
        ("execute_tool search", ["execute_tool mcp__files__list"] * 2)
    ]


def test_an_mcp_error_result_fails_the_span(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(mcp_agent())
    result = asyncio.run(agent.execute_mcp_tool("mcp__files__broken", {}))
    assert result["isError"] is True
    assert recording.operations.only("execute_tool").error == "tool_error"


def decisions(recording: RecordingManager) -> list[tuple[str, object, object]]:
    return [
        (event.name, event.attributes[semconv.KAIZEN_DECISION], event.attributes[DECIDED_BY])
        for event in recording.operations.events
    ]


def test_a_tool_allowed_by_policy_leaves_the_decision(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(mcp_agent(allowed_tools={UNSAFE}))
    asyncio.run(agent.execute_tool(UNSAFE, {"command": "ls"}))
    assert decisions(recording) == [("kaizen.approval.decided", "allow", "policy")]
    (event,) = recording.operations.events
    assert event.audit
    assert event.parent is recording.operations.only("execute_tool")
    assert event.attributes[semconv.GEN_AI_TOOL_NAME] == UNSAFE
    assert [name for name, _ in event.parent.span.events] == ["kaizen.approval.decided"]
    assert recording.metrics.recorded == [
        (
            "kaizen.permission.decisions",
            1,
            {semconv.KAIZEN_DECISION: "allow", semconv.GEN_AI_TOOL_NAME: UNSAFE},
        )
    ]


def test_a_tool_denied_by_policy_is_denied_and_recorded(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(mcp_agent(denied_tools={UNSAFE}))
    with pytest.raises(PermissionError, match="denied by permission policy"):
        asyncio.run(agent.execute_tool(UNSAFE, {"command": "rm"}))
    assert agent._mcp_client.called == []
    assert decisions(recording) == [("kaizen.tool.denied", "deny", "policy")]
    assert isinstance(recording.operations.only("execute_tool").error, PermissionError)


def test_a_tool_that_nobody_can_approve_is_denied_and_recorded(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(mcp_agent(permission_rules=[ASK]))
    with pytest.raises(PermissionError, match="requires approval"):
        asyncio.run(agent.execute_tool(UNSAFE, {"command": "rm"}))
    assert decisions(recording) == [("kaizen.tool.denied", "deny", "policy")]


@pytest.mark.parametrize("attached_first", [True, False])
def test_a_humans_approval_is_recorded(
    attached_first: bool, observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = mcp_agent(permission_rules=[ASK])
    if attached_first:
        agent.approval_manager = Approver(True)
    observe(agent)
    if not attached_first:
        agent.approval_manager = Approver(True)
    asyncio.run(agent.execute_tool(UNSAFE, {"command": "ls"}))
    assert agent._mcp_client.called == [f"kaizen_builtin/{UNSAFE}"]
    assert decisions(recording) == [
        ("kaizen.approval.requested", "ask", "policy"),
        ("kaizen.approval.decided", "allow", "human"),
    ]


def test_a_humans_refusal_is_recorded(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = mcp_agent(permission_rules=[ASK])
    agent.approval_manager = Approver(False)
    observe(agent)
    with pytest.raises(PermissionError, match="User denied"):
        asyncio.run(agent.execute_tool(UNSAFE, {"command": "rm"}))
    assert agent._mcp_client.called == []
    assert decisions(recording) == [
        ("kaizen.approval.requested", "ask", "policy"),
        ("kaizen.approval.decided", "deny", "human"),
        ("kaizen.tool.denied", "deny", "human"),
    ]
    counted = [
        attributes[semconv.KAIZEN_DECISION] for _, _, attributes in recording.metrics.recorded
    ]
    assert counted == ["ask", "deny"]


def test_an_approval_that_fails_is_a_refusal_with_its_reason(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    failure = TimeoutError("nobody there")
    agent = mcp_agent(permission_rules=[ASK])
    agent.approval_manager = Approver(failure)
    observe(agent)
    with pytest.raises(TimeoutError) as caught:
        asyncio.run(agent.execute_tool(UNSAFE, {"command": "rm"}))
    assert caught.value is failure
    assert recording.operations.events[1].error is failure


def test_a_filter_without_permission_checks_keeps_the_audit_record(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    agent = observe(mcp_agent(denied_tools={UNSAFE}), events_to_trace=["pre_tool_use"])
    with pytest.raises(PermissionError):
        asyncio.run(agent.execute_tool(UNSAFE, {"command": "rm"}))
    (event,) = recording.operations.events
    assert event.audit
    assert recording.operations.only("execute_tool").span.events == []


def test_a_tool_whose_intent_cannot_be_recorded_is_not_run(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    """on_failure=block_action: no record, no action; the agent sees an ordinary failed run."""
    ran: list[str] = []
    agent = observe(tool_agent(tools={"search": ran.append}))
    recording.operations.refuse_tools = True
    with pytest.raises(AuditUnavailableError):
        asyncio.run(agent.execute_tool("search", {"q": "x"}))
    agent.run(question="hi")
    assert ran == []
    assert len(recording.operations.all) == 1


def test_content_goes_to_the_seam_and_nowhere_else(
    observe: Callable[..., Untyped], recording: RecordingManager
) -> None:
    """The seam drops arguments and results unless their capture was asked for."""
    agent = observe(tool_agent())
    agent.run(question="the secret", session_id="s1")
    for made in recording.operations.all:
        for key, value in made.attributes.items():
            if key not in {semconv.GEN_AI_TOOL_CALL_ARGUMENTS, semconv.GEN_AI_TOOL_CALL_RESULT}:
                assert "secret" not in str(value)
