"""One observed tool call, before and after: a span, a duration, a count, a log, an audit record.

Ours behind our hook manager; the same five by hand on the stock SDK; Kaizen's own four hooks.
"""

from __future__ import annotations

import importlib
import logging
import os
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench.door import Pair

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks.telemetry_bench.door import Task

_AGENT: Final = "agent-7"
_INTERVAL_MS: Final = 1_000


def open_pair(task: Task) -> Pair:
    """The contender of ``task``; its variant ``noop`` is a hook that does nothing."""
    name, _, variant = task["contender"].partition(".")
    made: dict[str, Callable[[Task, str], Pair]] = {
        "ours": _ours, "stock": _stock, "kaizen": _kaizen,
    }  # fmt: skip
    return made[name](task, variant)


def _events(index: int) -> tuple[dict[str, Any], dict[str, Any]]:
    before = {"tool_name": f"tool {index % 20}", "step": index, "cost": 0.25}
    return before, {**before, "success": True}


def _ours(task: Task, variant: str) -> Pair:
    from kaizen_otel.hook_types import HookResult
    from kaizen_otel.hooks import HookManager, TelemetryHook

    os.environ["KAIZEN_OTEL_DURABILITY"] = task.get("durability", "none")
    os.environ["KAIZEN_OTEL_AUDIT_ENDPOINT"] = task["http"]
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = task["http"]
    done = HookResult(success=True)

    async def nothing(context: object) -> HookResult:
        del context
        return done

    hooks = HookManager()
    if variant == "noop":
        hooks.register("pre_tool_use", nothing)
        hooks.register("post_tool_use", nothing)
        return Pair(call=_caller(hooks.trigger))
    from kaizen_otel.observability import observe

    manager = observe("bench")
    handler = TelemetryHook(manager.operations).handle
    hooks.register("pre_tool_use", handler)
    hooks.register("post_tool_use", handler)
    # A tool call is no log record by default; the fifth signal is one of our own making.
    call = _caller(hooks.trigger, manager.operations.event)
    return Pair(call=call, flush=manager.flush, shutdown=manager.shutdown)


def _caller(
    trigger: Callable[..., Awaitable[object]], event: Callable[..., object] | None = None
) -> Callable[[int], Awaitable[None]]:
    async def call(index: int) -> None:
        before, after = _events(index)
        await trigger("pre_tool_use", _AGENT, before)
        if event is not None:
            event("tool.called", before)
        await trigger("post_tool_use", _AGENT, after)

    return call


def _stock(task: Task, variant: str) -> Pair:
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

    from benchmarks.telemetry_bench import contend_stock

    task = {**task, "queue": "large"}
    tracers = contend_stock.provider_for(task, variant)
    loggers = LoggerProvider(resource=contend_stock.RESOURCE)
    loggers.add_log_record_processor(
        BatchLogRecordProcessor(
            contend_stock.exporter(task, variant, "_log"), max_queue_size=1 << 21
        )
    )
    meters = contend_stock.meter_provider(task, variant)
    start = tracers.get_tracer("bench").start_span
    meter = meters.get_meter("bench")
    count = meter.create_counter("kaizen.hook.events").add
    measure = meter.create_histogram("gen_ai.execute_tool.duration", unit="s").record
    log, audit = (loggers.get_logger(name).emit for name in ("bench", "bench.audit"))

    def record(at_ns: int, body: str, attributes: dict[str, Any]) -> LogRecord:
        return LogRecord(
            timestamp=at_ns,
            severity_number=SeverityNumber.INFO,
            severity_text="INFO",
            body=body,
            attributes=attributes,
        )

    async def call(index: int) -> None:
        before, after = _events(index)
        started_ns, tool = time.time_ns(), before["tool_name"]
        span = start(f"execute_tool {tool}", attributes={"agent_id": _AGENT, **before})
        span.set_attribute("success", after["success"])
        span.end()
        ended_ns = time.time_ns()
        known = {"gen_ai.tool.name": tool, "gen_ai.operation.name": "execute_tool"}
        measure((ended_ns - started_ns) / 1e9, known)
        count(1, {"kaizen.hook.event": "post_tool_use"})
        log(record(ended_ns, "tool call", {"agent_id": _AGENT, **after}))
        facts = {"audit.action": "EXECUTE", "audit.actor.id": _AGENT, "audit.outcome": "success"}
        audit(record(ended_ns, "tool use", {**facts, "audit.target.id": tool, "sequence": index}))

    providers = (tracers, loggers, meters)
    return Pair(
        call=call,
        flush=lambda timeout_s: [one.force_flush(round(timeout_s * 1000)) for one in providers],
        shutdown=lambda timeout_s: [one.shutdown() for one in providers],  # noqa: ARG005
    )


def _kaizen(task: Task, variant: str) -> Pair:
    hooks = "kaizen.core.autonomy.hooks"
    kinds: Any = importlib.import_module(f"{hooks}.types")
    manager: Any = importlib.import_module(f"{hooks}.manager").HookManager()
    flush, shutdown = Pair.flush, Pair.shutdown
    if variant == "noop":
        protocol: Any = importlib.import_module(f"{hooks}.protocol")

        async def nothing(self: object, context: object) -> object:
            del self, context
            return kinds.HookResult(success=True)

        made = type("Nothing", (protocol.BaseHook,), {"handle": nothing,
                                                      "events": list(kinds.HookEvent)})  # fmt: skip
        manager.register_hook(made(name="nothing"))
    else:
        tracing = _register_kaizens(manager, hooks, task)
        flush = lambda timeout_s: tracing.force_flush()  # noqa: E731, ARG005
        shutdown = lambda timeout_s: tracing.shutdown()  # noqa: E731, ARG005
    events = kinds.HookEvent

    async def call(index: int) -> None:
        before, after = _events(index)
        # The same trace id for both, which its agents do not give: its own best case.
        trace_id = uuid.uuid4().hex
        await manager.trigger(events.PRE_TOOL_USE, _AGENT, before, trace_id=trace_id)
        await manager.trigger(events.POST_TOOL_USE, _AGENT, after, trace_id=trace_id)

    return Pair(call=call, flush=flush, shutdown=shutdown)


def _register_kaizens(manager: Any, hooks: str, task: Task) -> Any:  # noqa: ANN401 - Kaizen's
    """Register Kaizen's four hooks; the tracing manager, which must be flushed."""
    builtin = f"{hooks}.builtin"
    observability = "kaizen.core.autonomy.observability"

    def of(module: str, name: str) -> Any:  # noqa: ANN401 - Kaizen has no types
        return getattr(importlib.import_module(module), name)

    logging.disable(logging.NOTSET)
    root = logging.getLogger()
    root.handlers[:] = [logging.FileHandler("kaizen.log")]
    root.setLevel(logging.INFO)
    host, _, port = task["grpc"].partition(":")
    tracing = of(f"{observability}.tracing_manager", "TracingManager")(
        "bench", jaeger_host=host, jaeger_port=int(port), batch_size=1 << 20,
        max_export_batch_size=512,
    )  # fmt: skip
    audit = of(f"{observability}.audit", "AuditTrailManager")
    storage = of(f"{observability}.audit", "FileAuditStorage")("kaizen-audit.jsonl")
    manager.register_hook(of(f"{builtin}.tracing_hook", "TracingHook")(tracing))
    manager.register_hook(of(f"{builtin}.metrics_hook", "MetricsHook")())
    manager.register_hook(of(f"{builtin}.logging_hook", "LoggingHook")(format="json"))
    manager.register_hook(of(f"{builtin}.audit_trail_hook", "AuditTrailHook")(audit(storage)))
    return tracing
