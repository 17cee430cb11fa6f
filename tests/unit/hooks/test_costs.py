"""What runs cost: on spans and as metrics, by agent, model and tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from opentelemetry.baggage import set_baggage
from opentelemetry.context import attach, detach

from kaizen_otel import semconv
from kaizen_otel._otlp.decode import plain_attributes
from tests.unit.hooks.seam import Held, Seam

if TYPE_CHECKING:
    from kaizen_otel._prices import Usage


class Cents:
    """A cent for each token of known models."""

    version = "t1"
    currency = "USD"

    def cost(self, provider: str, model: str, usage: Usage) -> float | None:
        del provider
        return None if model == "secret" else (usage.input + usage.output) / 100


def call(seam: Seam, parent: str, model: str = "m", tokens: int = 100, answered: str = "") -> None:
    ops = seam.operations
    ops.begin("chat", "call", parent, {semconv.GEN_AI_PROVIDER_NAME: "p"}, name=model)
    found: dict[str, object] = {semconv.GEN_AI_USAGE_INPUT_TOKENS: tokens}
    if answered:
        found[semconv.GEN_AI_RESPONSE_MODEL] = answered
    ops.end("call", found)


def points(seam: Seam, name: str) -> dict[tuple[object, ...], float]:
    """Values of a counter by agent, model and tenant; its first samples, which are zero, aside."""
    keys = (semconv.GEN_AI_AGENT_NAME, semconv.GEN_AI_REQUEST_MODEL, semconv.KAIZEN_TENANT_ID)
    found: dict[tuple[object, ...], float] = {}
    for point in seam.metric(name)["sum"]["dataPoints"]:
        attributes = plain_attributes(point["attributes"])
        value = float(point.get("asDouble", point.get("asInt", 0)))
        key = tuple(attributes.get(each, "") for each in keys)
        found[key] = max(found.get(key, 0.0), value)
    return found


def test_a_call_and_the_runs_that_it_belongs_to_have_their_cost() -> None:
    seam = Seam(prices=Cents())
    ops = seam.operations
    ops.begin("invoke_agent", "outer", name="Outer")
    call(seam, "outer", tokens=100)
    ops.begin("execute_tool", "tool", "outer", name="delegate")
    ops.begin("invoke_agent", "inner", "tool", name="Inner")
    call(seam, "inner", tokens=300)
    for each in ("inner", "tool", "outer"):
        ops.end(each)
    cost = semconv.KAIZEN_COST_AMOUNT
    assert seam.span("invoke_agent Outer")["attributes"][cost] == 4.0
    inner = seam.span("invoke_agent Inner")["attributes"]
    assert inner[cost] == 3.0
    assert (inner[semconv.KAIZEN_COST_CURRENCY], inner[semconv.KAIZEN_COST_PRICES]) == ("USD", "t1")
    assert cost not in seam.span("execute_tool delegate")["attributes"]
    # Each call counts once, for the agent that made it: the sum over agents is what was spent.
    assert points(seam, "kaizen.model.cost") == {("Outer", "m", ""): 1.0, ("Inner", "m", ""): 3.0}


def test_the_baggage_says_who_is_charged() -> None:
    seam = Seam(prices=Cents())
    token = attach(set_baggage(semconv.KAIZEN_TENANT_ID, "acme"))
    try:
        seam.operations.begin("invoke_agent", "run", name="A")
    finally:
        detach(token)
    call(seam, "run")
    seam.operations.end("run")
    assert points(seam, "kaizen.model.cost") == {("A", "m", "acme"): 1.0}
    assert seam.span("invoke_agent A")["attributes"][semconv.KAIZEN_TENANT_ID] == "acme"


def test_a_model_without_a_price_is_counted_and_no_number_is_made_up() -> None:
    seam = Seam(prices=Cents())
    seam.operations.begin("invoke_agent", "run", name="A")
    call(seam, "run", model="secret")
    seam.operations.end("run")
    assert points(seam, "kaizen.model.unpriced") == {("A", "secret", ""): 1.0}
    for span in seam.spans:
        assert semconv.KAIZEN_COST_AMOUNT not in plain_attributes(span["attributes"])
    with pytest.raises(LookupError):
        seam.metric("kaizen.model.cost")


def test_the_model_that_answered_is_priced_before_the_one_that_was_asked() -> None:
    seam = Seam(prices=Cents())
    call(seam, "none", model="secret", answered="known")
    assert points(seam, "kaizen.model.cost") == {("", "secret", ""): 1.0}


@pytest.mark.parametrize("tokens", [True, -5, "7", 1.5])
def test_what_is_no_number_of_tokens_costs_nothing(tokens: object) -> None:
    seam = Seam(prices=Cents())
    seam.operations.begin("chat", "call", None, name="m")
    seam.operations.end("call", {semconv.GEN_AI_USAGE_INPUT_TOKENS: tokens})
    assert "kaizen.model.cost" not in seam.metric_names()


def test_without_a_table_nothing_is_priced() -> None:
    seam = Seam()
    call(seam, "none")
    assert not {"kaizen.model.cost", "kaizen.model.unpriced"} & seam.metric_names()
    assert semconv.KAIZEN_COST_AMOUNT not in seam.span("chat m")["attributes"]


def test_costs_are_worked_out_later_and_are_on_the_span_all_the_same() -> None:
    from kaizen_otel._export.buffer import Ledger

    held = Held(ledger=Ledger(), failed=lambda *_: None)
    seam = Seam(prices=Cents(), observations=held)
    seam.operations.begin("invoke_agent", "run", name="A")
    call(seam, "run")
    seam.operations.end("run")
    assert seam.spans == []
    held.drain()
    assert seam.span("invoke_agent A")["attributes"][semconv.KAIZEN_COST_AMOUNT] == 1.0
