"""Import time and the first enabling, in a process that has BaseAgent and the API already."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from benchmarks.telemetry_bench.door import Task

Result = dict[str, Any]
_HEAVY: Final = ("grpc", "google.protobuf")


def _agent() -> Any:  # noqa: ANN401 - Kaizen has no types
    """An agent, and with it everything that BaseAgent and the OpenTelemetry API load."""
    for name in ("opentelemetry.trace", "opentelemetry.context", "opentelemetry.propagate"):
        importlib.import_module(name)
    base: Any = importlib.import_module("kaizen.core.base_agent")
    config: Any = importlib.import_module("kaizen.core.config")
    signatures: Any = importlib.import_module("kaizen.signatures")
    question = type(
        "Question",
        (signatures.Signature,),
        {
            "__annotations__": {"question": str, "answer": str},
            "question": signatures.InputField(desc="q"),
            "answer": signatures.OutputField(desc="a"),
        },
    )
    with contextlib.redirect_stdout(io.StringIO()):
        return base.BaseAgent(
            config=config.BaseAgentConfig(llm_provider="mock", model="mock-model"),
            signature=question(),
            mcp_servers=[],
        )


def _timed(names: list[str]) -> float:
    """Milliseconds of processor time: a busy machine would else be part of it."""
    started = time.process_time()
    for name in names:
        importlib.import_module(name)
    return (time.process_time() - started) * 1000


def _loaded_by_enabling(task: Task) -> list[str]:
    """The modules of ours (and of others) that importing and enabling load, in order."""
    done = subprocess.run(  # noqa: S603 - ourselves
        [
            sys.executable, "-m", "benchmarks.telemetry_bench.worker",
            json.dumps({**task, "is_listing": True}),
        ],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"listing the modules failed: {done.stderr[-400:]}")
    names: list[str] = json.loads(done.stdout.splitlines()[-1])["modules"]
    return names


def do_ours(task: Task) -> Result:
    """Import time, first enable without audit, what audit adds; or which of grpc and protobuf."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = task["http"]
    os.environ["KAIZEN_OTEL_AUDIT_ENDPOINT"] = task["http"]
    if task["door"] == "plain":
        return _heavy(task)
    names = [] if task.get("is_listing") else _loaded_by_enabling(task)
    agent = _agent()
    before = set(sys.modules)
    import_ms = _timed(["kaizen_otel.integrations.kaizen", *names])
    kaizen: Any = importlib.import_module("kaizen_otel.integrations.kaizen")
    started = time.process_time()
    kaizen.enable_observability(agent, enable_audit=False)
    enabled = time.process_time()
    if task.get("is_listing"):
        return {"modules": [name for name in sys.modules if name not in before]}
    kaizen.disable_observability(agent)
    again = time.process_time()
    kaizen.enable_observability(agent)
    with_audit = time.process_time()
    kaizen.disable_observability(agent)
    return {
        "import_ms": import_ms,
        "enable_ms": (enabled - started) * 1000,
        "audit_ms": (with_audit - again) * 1000,
        "module_count": len(set(sys.modules) - before),
    }


def _heavy(task: Task) -> Result:
    """What is loaded of grpc and protobuf after observing and delivering, without Kaizen."""
    del task
    kaizen_otel: Any = importlib.import_module("kaizen_otel")
    manager = kaizen_otel.observe("bench", enable_audit=False)
    manager.tracing.start_span("span").end()
    manager.metrics.counter("count")
    manager.logging.emit("text")
    manager.flush(10)
    manager.shutdown(10)
    found = [name for name in _HEAVY if name in sys.modules]
    return {"heavy": found, "heavy_count": len(found)}


def do_kaizen(task: Task) -> Result:
    """The same of Kaizen's own observability."""
    agent = _agent()
    names = [
        f"kaizen.core.autonomy.{name}"
        for name in ("observability.manager", "observability.tracing_manager",
                     "hooks.builtin.tracing_hook")
    ]  # fmt: skip
    import_ms = _timed(names)
    started = time.process_time()
    agent.enable_observability(
        service_name="bench", jaeger_host="127.0.0.1", jaeger_port=int(task["grpc"].split(":")[1])
    )
    return {"import_ms": import_ms, "enable_ms": (time.process_time() - started) * 1000}
