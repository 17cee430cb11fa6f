"""Complaint 5: a second provider: one tool takes the global one, the other's spans go astray.

openinference#2101, #2119, phoenix#3460, langfuse#7212, langfuse-python#1223, #1505, langflow#13344,
logfire#1304, openlit#1051, openllmetry#3414.

OpenTelemetry sets its global provider once.  A library that sets it up for itself either loses its
spans to the application's backend, because it came second, or takes the application's spans along,
because it came first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from kaizen_otel.testing.capture import OtlpCapture
from tests.complaints.kit import OURS, STOCK, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.complaints

APPLICATION = """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
application = TracerProvider(resource=Resource.create({"service.name": "shop"}))
application.add_span_processor(
    BatchSpanProcessor(OTLPSpanExporter(os.environ["APPLICATION"] + "/v1/traces"))
)
trace.set_tracer_provider(application)
"""
STOCK_WORK = """
with trace.get_tracer("shop").start_as_current_span("order"):
    with trace.get_tracer("agents").start_as_current_span("agent"):
        pass
"""
OUR_WORK = """
from opentelemetry import trace
with trace.get_tracer("shop").start_as_current_span("order"):
    traced_agent(name="A")(lambda: traced_tool(name="t")(lambda: None)())()
print(type(trace.get_tracer_provider()).__module__)
"""


def both(program: str, folder: Path) -> tuple[list[str], list[str], str, str]:
    """The names that the application's backend got, those that the agent's got, the outputs."""
    with OtlpCapture() as application:
        outcome = run(program, folder, APPLICATION=application.endpoint)
        theirs = sorted(span["name"] for span in application.spans())
    return theirs, outcome.names(), outcome.printed, outcome.warned


def test_whoever_comes_second_with_the_stock_sdk_gets_nothing(tmp_path: Path) -> None:
    theirs, agents, _, warned = both("import os\n" + APPLICATION + STOCK + STOCK_WORK, tmp_path)
    assert (theirs, agents) == (["agent", "order"], [])
    assert "Overriding of current TracerProvider is not allowed" in warned


def test_whoever_comes_first_with_the_stock_sdk_takes_everything(tmp_path: Path) -> None:
    theirs, agents, _, _ = both(STOCK + APPLICATION + STOCK_WORK, tmp_path)
    assert (theirs, agents) == ([], ["agent", "order"])


@pytest.mark.parametrize("is_first", [True, False])
def test_ours_sends_its_own_and_only_its_own_in_either_order(
    is_first: bool, tmp_path: Path
) -> None:
    parts = (OURS, APPLICATION) if is_first else ("import os\n" + APPLICATION, OURS)
    theirs, agents, printed, warned = both("".join(parts) + OUR_WORK, tmp_path)
    assert theirs == ["order"]
    assert agents == ["execute_tool t", "invoke_agent A"]
    assert printed.strip() == "opentelemetry.sdk.trace", "the application's is the global one"
    assert warned == ""
