"""What calls to models cost: on their spans, on those of their runs, and as metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from opentelemetry import baggage

from kaizen_otel import semconv
from kaizen_otel._prices import Usage

if TYPE_CHECKING:
    from kaizen_otel._prices import Prices
    from kaizen_otel.hooks._signals import OpenOperation
    from kaizen_otel.metrics import MetricsManager

_TENANT_LENGTH_MAX: Final = 128


def join_run(opened: OpenOperation, parent: OpenOperation | None) -> None:
    """Remember which runs an operation is a part of, and who is charged.

    That is whom the OpenTelemetry baggage names (``kaizen.tenant.id``) where the outermost
    operation begins.
    """
    if parent is not None:
        is_run = parent.rule.operation == "invoke_agent"
        opened.runs = (*parent.runs, parent) if is_run else parent.runs
        opened.tenant = parent.tenant
    else:
        tenant = baggage.get_baggage(semconv.KAIZEN_TENANT_ID)
        opened.tenant = tenant[:_TENANT_LENGTH_MAX] if isinstance(tenant, str) else ""


def charge(opened: OpenOperation, prices: Prices, metrics: MetricsManager | None) -> None:
    """Price an operation that has ended: a call to a model, or the calls of a run."""
    if opened.rule.kind == semconv.CLIENT:
        _charge_call(opened, prices, metrics)
    if opened.cost is not None:
        opened.span.add_late({semconv.KAIZEN_COST_AMOUNT: opened.cost, **_table(opened, prices)})


def _charge_call(opened: OpenOperation, prices: Prices, metrics: MetricsManager | None) -> None:
    found = opened.span.attributes
    usage = Usage(*(_tokens(found.get(key)) for key in (
        semconv.GEN_AI_USAGE_INPUT_TOKENS, semconv.GEN_AI_USAGE_OUTPUT_TOKENS,
        semconv.GEN_AI_USAGE_CACHED_TOKENS,
    )))  # fmt: skip
    if not usage.input and not usage.output:
        return
    provider = str(found.get(semconv.GEN_AI_PROVIDER_NAME, ""))
    # What answered is what is paid for; a deployment's own name is known to its user's table.
    names = (found.get(semconv.GEN_AI_RESPONSE_MODEL), found.get(semconv.GEN_AI_REQUEST_MODEL))
    models = dict.fromkeys(str(name) for name in names if name)
    costs = (prices.cost(provider, model, usage) for model in models)
    cost = next((one for one in costs if one is not None), None)
    if cost is not None:
        for part in (opened, *opened.runs):
            part.cost = (part.cost or 0.0) + cost
    if metrics is not None:
        attributes = {
            key: found[key]
            for key in (semconv.GEN_AI_PROVIDER_NAME, semconv.GEN_AI_REQUEST_MODEL)
            if key in found
        }
        if opened.runs and opened.runs[-1].target:
            attributes[semconv.GEN_AI_AGENT_NAME] = opened.runs[-1].target
        attributes.update(_table(opened, prices))
        if cost is None:
            metrics.record(semconv.MODEL_UNPRICED, 1, attributes)
        else:
            metrics.record(semconv.MODEL_COST, cost, attributes)


def _table(opened: OpenOperation, prices: Prices) -> dict[str, object]:
    found: dict[str, object] = {
        semconv.KAIZEN_COST_CURRENCY: prices.currency,
        semconv.KAIZEN_COST_PRICES: prices.version,
    }
    if opened.tenant:
        found[semconv.KAIZEN_TENANT_ID] = opened.tenant
    return found


def _tokens(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        return 0
    return max(0, value)
