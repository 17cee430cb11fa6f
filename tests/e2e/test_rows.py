"""One test for each promise of the table of the first release, through the real Collector."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace

import kaizen_otel
from kaizen_otel import HookContext, HookEvent, HookManager, TracingHook, TracingManager
from kaizen_otel.errors import ConfigError, ProviderExistsError
from kaizen_otel.hooks import TelemetryHook

if TYPE_CHECKING:
    from kaizen_otel.hooks.operations import Operations
    from tests.e2e.world import World

SWITCHES = ("enable_metrics", "enable_logging", "enable_tracing", "enable_audit")


def run_shop(operations: Operations) -> None:
    operations.begin("invoke_agent", "run", name="Shop")
    operations.begin("execute_tool", "tool", "run", name="search")
    operations.end("tool")
    operations.end("run")


@pytest.mark.parametrize("on", list(itertools.product((False, True), repeat=4)))
def test_every_combination_of_the_four_switches_sends_just_those_signals(
    world: World, on: tuple[bool, bool, bool, bool]
) -> None:
    switches = dict(zip(SWITCHES, on, strict=True))
    observed = kaizen_otel.observe("switches", **switches)  # type: ignore[arg-type]
    instance = observed.instance_id
    run_shop(observed.operations)
    assert observed.flush()
    observed.shutdown()
    assert bool(world.metrics(instance)) is switches["enable_metrics"]
    assert bool(world.logs(instance)) is switches["enable_logging"]
    assert bool(world.spans(instance)) is switches["enable_tracing"]
    assert bool(world.audit(instance)) is switches["enable_audit"]
    names = ("metrics", "logging", "tracing", "audit")
    assert observed.get_enabled_components() == [n for n, o in zip(names, on, strict=True) if o]


def test_jaeger_arguments_select_grpc_and_both_protocols_carry_everything(world: World) -> None:
    observed = kaizen_otel.observe(
        "grpc", jaeger_host="127.0.0.1", jaeger_port=world.collector.grpc_port
    )
    instance = observed.instance_id
    run_shop(observed.operations)
    assert observed.flush()
    assert "grpc" in sys.modules
    assert world.tree(instance) == {
        "execute_tool search": "invoke_agent Shop",
        "invoke_agent Shop": None,
    }
    assert world.metrics(instance)
    assert world.logs(instance)
    assert world.audit(instance)


def test_a_second_agent_with_another_destination_is_refused_clearly(world: World) -> None:
    observed = kaizen_otel.observe("one")
    with pytest.raises(ConfigError, match="jaeger_host"):
        kaizen_otel.observe("two", jaeger_host="elsewhere")
    observed.shutdown()
    assert world.collector.running()


def test_the_environment_names_resource_and_sampler(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "from-environment")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "team=ai,deployment.environment.name=test")
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "2")
    observed = kaizen_otel.observe()
    run_shop(observed.operations)
    assert observed.flush()
    span, *_ = world.spans(observed.instance_id)
    assert span["resource"]["service.name"] == "from-environment"
    assert span["resource"]["team"] == "ai"
    assert len(span["attributes"]) == 2
    observed.shutdown()
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    unsampled = kaizen_otel.observe("explicit")
    run_shop(unsampled.operations)
    assert unsampled.flush()
    assert world.spans(unsampled.instance_id) == []
    assert world.metrics(unsampled.instance_id)
    assert unsampled.get_service_name() == "explicit"


def test_sdk_disabled_silences_telemetry_and_never_audit(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    observed = kaizen_otel.observe("silent")
    instance = observed.instance_id
    run_shop(observed.operations)
    assert observed.flush()
    assert world.spans(instance) == world.logs(instance) == world.metrics(instance) == []
    assert len(world.audit(instance)) == 4


def test_a_tracing_manager_made_by_hand_sends_and_shuts_down(world: World) -> None:
    manager = TracingManager("by-hand", batch_size=1)
    context = HookContext(HookEvent.PRE_TOOL_USE, "clerk", data={"tool_name": "search"})
    parent = manager.create_span_from_context(context)
    child = manager.create_span_from_context(context, parent_span=parent)
    manager.record_exception(child, ValueError("no"))
    child.end()
    manager.update_span_from_result(parent, kaizen_otel.HookResult(success=False, error="no"))
    parent.end()
    assert manager.force_flush(timeout=10)
    assert manager.shutdown(timeout=10)
    text = (world.data / "traces.jsonl").read_text(encoding="utf-8")
    mine = [line for line in text.splitlines() if '"by-hand"' in line]
    spans = [
        span
        for line in mine
        for resource in json.loads(line)["resourceSpans"]
        for scope in resource["scopeSpans"]
        for span in scope["spans"]
    ]
    by_id = {span["spanId"]: span for span in spans}
    assert {span["name"] for span in spans} == {"pre_tool_use"}
    assert by_id[child.span_id.hex()]["parentSpanId"] == parent.span_id.hex()
    assert {span["status"]["code"] for span in spans} == {2}


def test_the_tracing_hook_on_our_manager_pairs_with_real_durations(world: World) -> None:
    observed = kaizen_otel.observe("hooks")
    assert observed.tracing is not None
    hooks = HookManager()
    hooks.register_hook(TracingHook(observed.tracing))

    async def agent() -> None:
        await hooks.trigger("pre_agent_loop", "clerk", {})
        await hooks.trigger("pre_tool_use", "clerk", {"tool_name": "search"})
        await asyncio.sleep(0.02)
        await hooks.trigger("post_tool_use", "clerk", {"tool_name": "search"})
        await hooks.trigger("post_agent_loop", "clerk", {})

    asyncio.run(agent())
    assert observed.flush()
    assert world.tree(observed.instance_id) == {
        "execute_tool search": "invoke_agent clerk",
        "invoke_agent clerk": None,
    }
    (tool,) = [s for s in world.spans(observed.instance_id) if s["name"].startswith("execute")]
    assert int(tool["endTimeUnixNano"]) - int(tool["startTimeUnixNano"]) >= 20_000_000


def test_the_telemetry_hook_gives_all_four_signals(world: World) -> None:
    observed = kaizen_otel.observe("hooks")
    hook = TelemetryHook(observed.operations)
    for event in ("pre_agent_loop", "post_agent_loop"):
        hook.on_event(HookContext(event, "clerk"))
    assert observed.flush()
    instance = observed.instance_id
    assert [span["name"] for span in world.spans(instance)] == ["invoke_agent clerk"]
    assert world.series(instance, "gen_ai.invoke_agent.duration")
    assert [r["eventName"] for r in world.logs(instance)] == [
        "kaizen.agent.start",
        "kaizen.agent.end",
    ]
    assert {r["eventName"] for r in world.audit(instance)} == {
        "kaizen.agent.start",
        "kaizen.agent.end",
    }


def test_metrics_by_the_collector_equal_those_in_memory(world: World) -> None:
    observed = kaizen_otel.observe("numbers")
    metrics = observed.metrics
    assert metrics is not None
    for value in range(1, 101):
        metrics.histogram("shop.latency", value, {"kind": "read"})
        metrics.counter("shop.requests", 2)
    metrics.gauge("shop.depth", 7)
    asyncio.run(observed.record_metric("shop.requests", 3, "counter"))
    assert observed.flush()
    instance = observed.instance_id
    assert world.series(instance, "shop.requests") == {(): 203.0}
    assert world.series(instance, "shop.depth") == {(): 7.0}
    assert world.series(instance, "shop.latency") == {(("kind", "read"),): 100.0}
    quantiles = metrics.percentiles("shop.latency", {"kind": "read"})
    assert quantiles["p50"] == pytest.approx(50, abs=1)
    assert quantiles["p99"] == pytest.approx(99, abs=1)
    assert "shop_requests_total 203" in asyncio.run(observed.export_metrics())


def test_logs_carry_the_trace_and_the_stdlib_handler_sends_too(world: World) -> None:
    observed = kaizen_otel.observe("words")
    assert observed.logging is not None
    handler = observed.logging.handler(logging.INFO)
    logger = logging.getLogger("shop.stdlib")
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    observed.operations.begin("invoke_agent", "run", name="Shop")
    try:
        with observed.operations.current("run") as span:
            assert span is not None
            own = observed.get_logger("shop.own")
            assert own is not None
            own.info("from our logger, password=hunter2", order=3)
            logger.warning("from %s", "stdlib")
    finally:
        logger.removeHandler(handler)
        observed.operations.end("run")
    assert observed.flush()
    records = world.logs(observed.instance_id)
    by_body = {str(r.get("body", {}).get("stringValue")): r for r in records}
    for body in ("from our logger, [REDACTED:assignment]", "from stdlib"):
        assert by_body[body]["traceId"] == span.trace_id.hex()
        assert by_body[body]["spanId"] == span.span_id.hex()
    assert len(records) == 4


def test_audit_by_the_seeds_signature_is_one_record_in_the_trail(world: World) -> None:
    observed = kaizen_otel.observe("books")
    asyncio.run(
        observed.record_audit("clerk", "refund", {"card": "4111-1111"}, "denied", user_id="ann")
    )
    assert observed.flush()
    (record,) = world.audit(observed.instance_id)
    assert record["attributes"]["audit.outcome"] == "failure"
    assert "4111-1111" not in json.dumps(record)
    assert "ann" not in record["attributes"].values()
    found = asyncio.run(observed.query_audit_by_agent("clerk"))
    assert len(found) == 1


def test_a_span_of_the_sdks_door_hangs_under_the_tool(world: World) -> None:
    observed = kaizen_otel.observe("doors")
    provider = kaizen_otel.tracer_provider("doors")
    tracer = provider.get_tracer("someones.httpx", "1.2")
    operations = observed.operations
    operations.begin("execute_tool", "tool", name="fetch")
    with operations.current("tool"), tracer.start_as_current_span("GET"):
        operations.begin("invoke_agent", "inner", name="Inner")
        operations.end("inner")
    operations.end("tool")
    assert observed.flush()
    assert world.tree(observed.instance_id) == {
        "invoke_agent Inner": "GET",
        "GET": "execute_tool fetch",
        "execute_tool fetch": None,
    }


def test_our_processor_can_be_added_to_a_provider_that_is_there(world: World) -> None:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    observed = kaizen_otel.observe("guest")
    provider = TracerProvider(resource=Resource({"service.instance.id": "theirs-1"}))
    provider.add_span_processor(kaizen_otel.span_processor())
    provider.get_tracer("theirs").start_span("their span").end()
    assert observed.flush()
    assert [span["name"] for span in world.spans("theirs-1")] == ["their span"]


def test_no_global_provider_is_touched_unless_told_and_then_only_once(world: World) -> None:
    program = """
        from opentelemetry import trace
        import kaizen_otel
        from kaizen_otel.errors import ProviderExistsError
        before = trace.get_tracer_provider()
        observed = kaizen_otel.observe("global")
        assert trace.get_tracer_provider() is before
        provider = kaizen_otel.tracer_provider(set_global=True)
        assert trace.get_tracer_provider() is provider
        try:
            kaizen_otel.tracer_provider(set_global=True)
        except ProviderExistsError as error:
            print(error)
    """
    answer = run_python(program)
    assert "span_processor" in answer
    assert issubclass(ProviderExistsError, kaizen_otel.KaizenOtelError)
    assert world.collector.running()
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system with fork()")
def test_a_fork_has_its_own_instance_id_and_its_own_ledger(world: World) -> None:
    program = """
        import os, sys, kaizen_otel
        observed = kaizen_otel.observe("forking")
        observed.operations.begin("execute_tool", "a", name="parent")
        observed.operations.end("a")
        child = os.fork()
        name = "child" if child == 0 else "parent again"
        observed.operations.begin("execute_tool", "b", name=name)
        observed.operations.end("b")
        assert observed.flush(10), observed.ledger().line()
        print(name, observed.instance_id, observed.ledger().signals["traces"].offered, flush=True)
        observed.shutdown()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        else:
            os._exit(0)
    """
    answer = run_python(program)
    ids = {line.split()[-2]: line.rsplit(" ", 2)[0] for line in answer.splitlines()}
    assert len(ids) == 2
    names = {
        process: {span["name"] for span in world.spans(instance)}
        for instance, process in ids.items()
    }
    assert names == {
        "child": {"execute_tool child"},
        "parent again": {"execute_tool parent", "execute_tool parent again"},
    }
    offered = {line.rsplit(" ", 2)[0]: int(line.rsplit(" ", 1)[1]) for line in answer.splitlines()}
    assert offered == {"child": 1, "parent again": 2}


def test_each_service_name_is_one_resource_and_nested_agents_keep_theirs(world: World) -> None:
    outer = kaizen_otel.observe("outer-service")
    inner = kaizen_otel.ObservabilityManager("inner-service")
    outer.operations.begin("invoke_agent", "o", name="Outer")
    with outer.operations.current("o"):
        inner.operations.begin("invoke_agent", "i", name="Inner")
        inner.operations.end("i")
    outer.operations.end("o")
    assert outer.flush()
    spans = {s["name"]: s for s in world.spans(outer.instance_id)}
    assert spans["invoke_agent Inner"]["resource"]["service.name"] == "inner-service"
    assert spans["invoke_agent Outer"]["resource"]["service.name"] == "outer-service"
    services = {r["attributes"]["audit.target.id"]: r["resource"]["service.name"]
                for r in world.audit(outer.instance_id)}  # fmt: skip
    assert services == {"Outer": "outer-service", "Inner": "inner-service"}
    assert spans["invoke_agent Inner"]["traceId"] == spans["invoke_agent Outer"]["traceId"]
    inner.shutdown()
    run_shop(outer.operations)
    assert outer.flush(), "the process's pipeline goes on while one manager is left"


def test_console_prints_the_tree_with_no_backend(capsys: pytest.CaptureFixture[str]) -> None:
    observed = kaizen_otel.observe("console", console=True, enable_audit=False)
    observed.operations.begin("invoke_agent", "run", name="Shop\x1b[31m")
    observed.operations.begin("execute_tool", "tool", "run", name="search")
    observed.operations.end("tool", error=ValueError("no"))
    observed.operations.end("run")
    assert observed.flush()
    observed.shutdown()
    printed = capsys.readouterr().err
    assert "└─ execute_tool search" in printed
    assert "ERROR ValueError" in printed
    assert "\x1b" not in printed


def run_python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
