"""What is measured of an operation: durations, calls, tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel import semconv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel.hooks._signals import OpenOperation, SignalSet
    from kaizen_otel.metrics import MetricsManager
    from kaizen_otel.semconv import Instrument, OperationRule

_NO_IDS: Final[Mapping[str, bytes]] = {}


def agent_attributes(opened: OpenOperation) -> dict[str, object]:
    """Attributes of the number of agents at work."""
    return {semconv.GEN_AI_AGENT_NAME: opened.target} if opened.target else {}


def _exemplar(opened: OpenOperation, signals: SignalSet) -> Mapping[str, bytes]:
    """The ids of an operation's measurement, by OTEL_METRICS_EXEMPLAR_FILTER."""
    exemplars = signals.exemplars
    if exemplars == "always_off" or not (opened.is_sent or exemplars == "always_on"):
        return _NO_IDS
    return {"trace_id": opened.span.trace_id, "span_id": opened.span.span_id}


def measure(opened: OpenOperation, signals: SignalSet, metrics: MetricsManager) -> None:
    """Record what an operation that has ended measured."""
    rule, span = opened.rule, opened.span
    found = span.attributes
    attributes = {key: found[key] for key in rule.metric_attributes if key in found}
    if rule.duration and rule.operation not in {"invoke_agent", "invoke_workflow"}:
        attributes[semconv.GEN_AI_OPERATION_NAME] = rule.operation
    base = dict(attributes)
    if semconv.ERROR_TYPE in found:
        attributes[semconv.ERROR_TYPE] = found[semconv.ERROR_TYPE]
    # A metric that is reported with its span has the span's own duration (conventions).
    instruments = _instruments(signals.vocabulary, rule)
    if instruments:
        exemplar, seconds = _exemplar(opened, signals), span.duration_ns / 1e9
        for instrument in instruments:
            metrics.record(instrument, seconds, attributes, **exemplar)
    if rule.operation == "invoke_agent":
        metrics.record(semconv.AGENT_ACTIVE, -1, agent_attributes(opened))
        if signals.vocabulary != "default":
            calls = opened.calls
            tools, models = calls.get("execute_tool", 0), calls.get("chat", 0)
            metrics.record(semconv.INVOKE_AGENT_TOOL_CALLS, tools, base)
            metrics.record(semconv.INVOKE_AGENT_INFERENCE_CALLS, models, base)
    # A whole run may carry the sum of its calls: only the calls themselves are counted.
    if rule.kind == semconv.CLIENT:
        _count_tokens(metrics, signals.vocabulary, (base, attributes), found)


def _instruments(vocabulary: str, rule: OperationRule) -> tuple[Instrument, ...]:
    if vocabulary == "default":
        return rule.duration
    if vocabulary == "latest":
        return rule.duration_latest
    return tuple(dict.fromkeys(rule.duration + rule.duration_latest))


def _count_tokens(
    metrics: MetricsManager,
    vocabulary: str,
    sets: tuple[dict[str, object], dict[str, object]],
    found: Mapping[str, object],
) -> None:
    base, attributes = sets
    for kind, key, counter, histogram in (
        ("input", semconv.GEN_AI_USAGE_INPUT_TOKENS, semconv.INFERENCE_INPUT_TOKENS,
         semconv.INFERENCE_OPERATION_INPUT_TOKENS),
        ("output", semconv.GEN_AI_USAGE_OUTPUT_TOKENS, semconv.INFERENCE_OUTPUT_TOKENS,
         semconv.INFERENCE_OPERATION_OUTPUT_TOKENS),
    ):  # fmt: skip
        tokens = found.get(key)
        if isinstance(tokens, bool) or not isinstance(tokens, int) or tokens < 0:
            continue
        if vocabulary in {"default", "dup"}:
            metrics.record(semconv.TOKEN_USAGE, tokens, {**base, semconv.GEN_AI_TOKEN_TYPE: kind})
        if vocabulary in {"latest", "dup"}:
            metrics.record(counter, tokens, {**base, semconv.GEN_AI_TOKEN_MODALITY: "text"})
            metrics.record(histogram, tokens, attributes)
