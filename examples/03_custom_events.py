"""Events of your own, through the hook system: a custom event, a hook, and an audit record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import kaizen_otel
from kaizen_otel import HookEvent, HookManager, HookResult
from kaizen_otel.hooks import TelemetryHook

if TYPE_CHECKING:
    from kaizen_otel import HookContext

observability = kaizen_otel.observe("billing")
PRICE_CHECKED = HookEvent.custom("billing.price_checked")


class Accountant:
    """A hook of your own: it sees what it asks for."""

    name = "accountant"
    events = [HookEvent.POST_TOOL_USE]

    async def handle(self, context: HookContext) -> HookResult:
        """Note that a tool was used."""
        print("the accountant saw", context.data["tool_name"])
        return HookResult(success=True)


async def main() -> None:
    """Trigger events as an agent framework does."""
    hooks = HookManager()
    hooks.register_hook(Accountant())
    telemetry = TelemetryHook(observability.operations)
    hooks.register_hook(telemetry)
    hooks.register(PRICE_CHECKED, telemetry)

    await hooks.trigger(HookEvent.PRE_AGENT_LOOP, "clerk", {})
    await hooks.trigger(HookEvent.PRE_TOOL_USE, "clerk", {"tool_name": "price_list"})
    await hooks.trigger(HookEvent.POST_TOOL_USE, "clerk", {"tool_name": "price_list"})
    await hooks.trigger(PRICE_CHECKED, "clerk", {"items": 3})
    await hooks.trigger(HookEvent.POST_AGENT_LOOP, "clerk", {})

    # One fact for the audit trail; the values of ``details`` are stored as keyed hashes only.
    await observability.record_audit("clerk", "price.approve", {"order": "A-17"}, "success", "ann")


asyncio.run(main())
observability.flush()
print(observability.ledger().line())
observability.shutdown()
