"""Never executed: the public interface as mypy and pyright (both strict) see it.

A line that no longer type-checks breaks the programs of users.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import assert_type

import kaizen_otel
from kaizen_otel import (
    AuditTrailManager,
    HookContext,
    HookManager,
    HookResult,
    LoggingManager,
    MetricsManager,
    ObservabilityManager,
    TracingHook,
    TracingManager,
    traced_agent,
    traced_tool,
)


@traced_tool
def plain(key: str, *, limit: int = 1) -> list[str]:
    return [key] * limit


@traced_tool(name="other", attributes={"team": "search"})
async def waiting(key: str) -> int:
    return len(key)


@traced_agent
def streaming(count: int) -> Iterator[int]:
    yield from range(count)


@traced_agent(name="writer")
async def streaming_later(count: int) -> AsyncIterator[str]:
    yield str(count)


class Agent:
    """Methods keep their signature too."""

    @traced_tool
    def look_up(self, key: str) -> bytes:
        return key.encode()


async def decorated_functions_keep_their_types() -> None:
    assert_type(plain("x", limit=2), list[str])
    assert_type(await waiting("x"), int)
    assert_type(streaming(2), Iterator[int])
    assert_type(streaming_later(2), AsyncIterator[str])
    assert_type(Agent().look_up("x"), bytes)
    keyword: Callable[[str], object] = plain
    keyword("x")


async def managers() -> None:
    observability = kaizen_otel.observe("service", enable_audit=False)
    assert_type(observability, ObservabilityManager)
    assert_type(observability.tracing, TracingManager | None)
    assert_type(observability.metrics, MetricsManager | None)
    assert_type(observability.logging, LoggingManager | None)
    assert_type(observability.audit, AuditTrailManager | None)
    assert_type(observability.get_service_name(), str)
    assert_type(observability.get_enabled_components(), list[str])
    assert_type(await observability.export_metrics(), str)
    await observability.record_metric("calls", 1, labels={"tool": "x"})
    await observability.record_audit("agent", "execute", {"tool": "x"}, "success")
    assert_type(observability.flush(timeout=1.5), bool)
    assert_type(observability.shutdown(), bool)


def hooks(manager: HookManager, hook: TracingHook, context: HookContext) -> None:
    manager.register_hook(hook)
    assert_type(HookResult(success=True).success, bool)
    assert_type(context.agent_id, str)


async def audit(manager: AuditTrailManager) -> None:
    receipt = manager.record("agent", "execute", {"tool": "x"}, "success", user_id="u")
    assert_type(receipt.wait(timeout_s=1.0), bool)
    assert_type(await receipt, bool)
