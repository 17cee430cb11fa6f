"""Every attribute, event and metric name, and the one table that maps operations onto signals.

Three vocabularies of the GenAI semantic conventions live at once.  ``default`` is what the
official Python instrumentations emit (``opentelemetry-util-genai`` 1.3b0, schema 1.37.0);
``latest`` is the newest of semantic-conventions-genai, chosen by the standard variable
``OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental``; ``dup`` emits both.  Names of our
own are only under ``kaizen.*``.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.37.0"
SCHEMA_URL_LATEST: Final = "https://opentelemetry.io/schemas/gen-ai/1.42.0"

SERVICE_NAME: Final = "service.name"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

GEN_AI_OPERATION_NAME: Final = "gen_ai.operation.name"
GEN_AI_PROVIDER_NAME: Final = "gen_ai.provider.name"
GEN_AI_AGENT_NAME: Final = "gen_ai.agent.name"
GEN_AI_AGENT_ID: Final = "gen_ai.agent.id"
GEN_AI_CONVERSATION_ID: Final = "gen_ai.conversation.id"
GEN_AI_WORKFLOW_NAME: Final = "gen_ai.workflow.name"
GEN_AI_TOOL_NAME: Final = "gen_ai.tool.name"
GEN_AI_TOOL_TYPE: Final = "gen_ai.tool.type"
GEN_AI_TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
GEN_AI_TOOL_CALL_ARGUMENTS: Final = "gen_ai.tool.call.arguments"
GEN_AI_TOOL_CALL_RESULT: Final = "gen_ai.tool.call.result"
GEN_AI_REQUEST_MODEL: Final = "gen_ai.request.model"
GEN_AI_REQUEST_TEMPERATURE: Final = "gen_ai.request.temperature"
GEN_AI_REQUEST_MAX_TOKENS: Final = "gen_ai.request.max_tokens"
GEN_AI_RESPONSE_MODEL: Final = "gen_ai.response.model"
GEN_AI_RESPONSE_ID: Final = "gen_ai.response.id"
GEN_AI_RESPONSE_FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
GEN_AI_RESPONSE_TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
GEN_AI_USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
GEN_AI_USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
GEN_AI_USAGE_CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
GEN_AI_TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - an attribute name
GEN_AI_TOKEN_MODALITY: Final = "gen_ai.token.modality"  # noqa: S105 - an attribute name
GEN_AI_MEMORY_STORE_ID: Final = "gen_ai.memory.store.id"
GEN_AI_MEMORY_RECORD_COUNT: Final = "gen_ai.memory.record.count"

KAIZEN_AGENT_ID: Final = "kaizen.agent.id"
KAIZEN_RUN_ID: Final = "kaizen.run.id"
KAIZEN_SIGNATURE: Final = "kaizen.signature"
KAIZEN_STRATEGY: Final = "kaizen.strategy"
KAIZEN_CYCLE: Final = "kaizen.cycle"
KAIZEN_MEMORY_CONTEXT_SIZE: Final = "kaizen.memory.context_size"
KAIZEN_MEMORY_TURN_SIZE: Final = "kaizen.memory.turn_size"
KAIZEN_DECISION: Final = "kaizen.decision"
KAIZEN_HOOK_EVENT: Final = "kaizen.hook.event"
KAIZEN_TENANT_ID: Final = "kaizen.tenant.id"
KAIZEN_COST_AMOUNT: Final = "kaizen.cost.amount"
KAIZEN_COST_CURRENCY: Final = "kaizen.cost.currency"
KAIZEN_COST_PRICES: Final = "kaizen.cost.prices"
KAIZEN_INTERRUPT_MODE: Final = "kaizen.interrupt.mode"
KAIZEN_INTERRUPT_SOURCE: Final = "kaizen.interrupt.source"

EVENT_AGENT_START: Final = "kaizen.agent.start"
EVENT_AGENT_END: Final = "kaizen.agent.end"
EVENT_AGENT_EXCEPTION: Final = "kaizen.agent.exception"
EVENT_MODEL_EXCEPTION: Final = "gen_ai.client.operation.exception"
EVENT_TOOL_EXECUTE: Final = "kaizen.tool.execute"
EVENT_TOOL_DENIED: Final = "kaizen.tool.denied"
EVENT_APPROVAL_REQUESTED: Final = "kaizen.approval.requested"
EVENT_APPROVAL_DECIDED: Final = "kaizen.approval.decided"
EVENT_MODEL_CALL: Final = "kaizen.model.call"
EVENT_MEMORY_READ: Final = "kaizen.memory.read"
EVENT_MEMORY_WRITE: Final = "kaizen.memory.write"
EVENT_CHECKPOINT_SAVE: Final = "kaizen.checkpoint.save"
EVENT_INTERRUPT: Final = "kaizen.interrupt"

# Words with one short number in each (OAuth2Error): no number of a card, and no token.
_CODE: Final = re.compile(r"[A-Za-z_]+[0-9]{0,5}[A-Za-z_]*(?:[.:-][A-Za-z_]*[0-9]{0,5}[A-Za-z_]*)*")
_CODE_LENGTH_MAX: Final = 80

SpanKind = Literal[1, 2, 3, 4, 5]
INTERNAL: Final[SpanKind] = 1
CLIENT: Final[SpanKind] = 3

_DURATIONS: Final = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
_TOKENS: Final = (
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0,
    4194304.0, 16777216.0, 67108864.0,
)  # fmt: skip
_AGENT_DURATIONS: Final = (
    0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4, 204.8, 409.6,
)  # fmt: skip
_WORKFLOW_DURATIONS: Final = (
    1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0,
)  # fmt: skip
_CALLS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)

DEFAULT_BUCKETS: Final = (
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1000.0, 2500.0, 5000.0,
    7500.0, 10000.0,
)  # fmt: skip
"""Explicit bucket boundaries of the SDK specification, for instruments that name none."""


class Instrument(NamedTuple):
    """One metric: what is measured, in which unit (UCUM), and in which buckets."""

    name: str
    kind: Literal["counter", "up_down_counter", "gauge", "histogram"]
    unit: str
    description: str
    buckets: tuple[float, ...] = DEFAULT_BUCKETS


OPERATION_DURATION: Final = Instrument(
    name="gen_ai.client.operation.duration", kind="histogram", unit="s",
    description="Duration of one call to a model", buckets=_DURATIONS,
)  # fmt: skip
TOKEN_USAGE: Final = Instrument(
    name="gen_ai.client.token.usage", kind="histogram", unit="{token}",
    description="Tokens of one call to a model", buckets=_TOKENS,
)  # fmt: skip
INFERENCE_DURATION: Final = Instrument(
    name="gen_ai.client.inference.duration", kind="histogram", unit="s",
    description="Duration of one call to a model", buckets=_DURATIONS,
)  # fmt: skip
INFERENCE_INPUT_TOKENS: Final = Instrument(
    name="gen_ai.client.inference.usage.input_tokens", kind="counter", unit="{token}",
    description="Tokens sent to models",
)  # fmt: skip
INFERENCE_OUTPUT_TOKENS: Final = Instrument(
    name="gen_ai.client.inference.usage.output_tokens", kind="counter", unit="{token}",
    description="Tokens received from models",
)  # fmt: skip
INFERENCE_OPERATION_INPUT_TOKENS: Final = Instrument(
    name="gen_ai.client.inference.operation.input_tokens", kind="histogram", unit="{token}",
    description="Tokens sent in one call to a model", buckets=_TOKENS,
)  # fmt: skip
INFERENCE_OPERATION_OUTPUT_TOKENS: Final = Instrument(
    name="gen_ai.client.inference.operation.output_tokens", kind="histogram", unit="{token}",
    description="Tokens received in one call to a model", buckets=_TOKENS,
)  # fmt: skip
MODEL_COST: Final = Instrument(
    name="kaizen.model.cost", kind="counter", unit="{currency}",
    description="Cost of calls to models, by the price table that was chosen",
)  # fmt: skip
MODEL_UNPRICED: Final = Instrument(
    name="kaizen.model.unpriced", kind="counter", unit="{call}",
    description="Calls to models whose price the table does not know",
)  # fmt: skip
INVOKE_AGENT_DURATION: Final = Instrument(
    name="gen_ai.invoke_agent.duration", kind="histogram", unit="s",
    description="Duration of one run of an agent", buckets=_AGENT_DURATIONS,
)  # fmt: skip
INVOKE_AGENT_INFERENCE_CALLS: Final = Instrument(
    name="gen_ai.invoke_agent.inference_calls", kind="histogram", unit="{inference_call}",
    description="Model calls of one run of an agent", buckets=_CALLS,
)  # fmt: skip
INVOKE_AGENT_TOOL_CALLS: Final = Instrument(
    name="gen_ai.invoke_agent.tool_calls", kind="histogram", unit="{tool_call}",
    description="Tool calls of one run of an agent", buckets=_CALLS,
)  # fmt: skip
INVOKE_WORKFLOW_DURATION: Final = Instrument(
    name="gen_ai.invoke_workflow.duration", kind="histogram", unit="s",
    description="Duration of one run of several agents", buckets=_WORKFLOW_DURATIONS,
)  # fmt: skip
EXECUTE_TOOL_DURATION: Final = Instrument(
    name="gen_ai.execute_tool.duration", kind="histogram", unit="s",
    description="Duration of one call of a tool", buckets=_DURATIONS,
)  # fmt: skip
MEMORY_DURATION: Final = Instrument(
    name="kaizen.memory.operation.duration", kind="histogram", unit="s",
    description="Duration of one read or write of a memory", buckets=_DURATIONS,
)  # fmt: skip
CHECKPOINT_DURATION: Final = Instrument(
    name="kaizen.checkpoint.duration", kind="histogram", unit="s",
    description="Duration of one save of an agent's state", buckets=_DURATIONS,
)  # fmt: skip
AGENT_ACTIVE: Final = Instrument(
    name="kaizen.agent.active", kind="up_down_counter", unit="{agent}",
    description="Agent runs under way",
)  # fmt: skip
HOOK_EVENTS: Final = Instrument(
    name="kaizen.hook.events", kind="counter", unit="{event}",
    description="Hook events seen, by event",
)  # fmt: skip
PERMISSION_DECISIONS: Final = Instrument(
    name="kaizen.permission.decisions", kind="counter", unit="{decision}",
    description="Decisions of permission checks and approvals",
)  # fmt: skip
INTERRUPTS: Final = Instrument(
    name="kaizen.interrupts", kind="counter", unit="{interrupt}",
    description="Interrupts of agents",
)  # fmt: skip
PAIRING_FAULTS: Final = Instrument(
    name="kaizen.telemetry.pairing_faults", kind="counter", unit="{fault}",
    description="Starts without an end and ends without a start, by kind",
)  # fmt: skip

AUDIT_EMITTED: Final = Instrument(
    name="kaizen.audit.emitted", kind="counter", unit="{record}",
    description="Records given to the audit trail",
)  # fmt: skip
AUDIT_DELIVERED: Final = Instrument(
    name="kaizen.audit.delivered", kind="counter", unit="{record}",
    description="Audit records that the receiver took, with those that a stream has of its own",
)  # fmt: skip
AUDIT_REFUSED: Final = Instrument(
    name="kaizen.audit.refused", kind="counter", unit="{record}",
    description="Audit records that were not stored, by reason",
)  # fmt: skip
AUDIT_LAG: Final = Instrument(
    name="kaizen.audit.lag", kind="gauge", unit="s",
    description="Age of the oldest audit record that is not delivered",
)  # fmt: skip
AUDIT_SPOOL_BYTES: Final = Instrument(
    name="kaizen.audit.spool.bytes", kind="gauge", unit="By",
    description="Bytes of audit records on the disk of the agent",
)  # fmt: skip

INSTRUMENTS: Final = {
    value.name: value for value in tuple(globals().values()) if isinstance(value, Instrument)
}

METRIC_ATTRIBUTES: Final = frozenset(
    {
        GEN_AI_OPERATION_NAME,
        GEN_AI_PROVIDER_NAME,
        GEN_AI_AGENT_NAME,
        GEN_AI_WORKFLOW_NAME,
        GEN_AI_TOOL_NAME,
        GEN_AI_TOOL_TYPE,
        GEN_AI_REQUEST_MODEL,
        GEN_AI_RESPONSE_MODEL,
        GEN_AI_TOKEN_TYPE,
        GEN_AI_TOKEN_MODALITY,
        SERVER_ADDRESS,
        SERVER_PORT,
        ERROR_TYPE,
        KAIZEN_DECISION,
        KAIZEN_HOOK_EVENT,
        KAIZEN_INTERRUPT_MODE,
        KAIZEN_TENANT_ID,
        KAIZEN_COST_CURRENCY,
        KAIZEN_COST_PRICES,
        "kaizen.fault",
    }
)
"""Attributes that our own metrics may have: bounded by the program, never by its users."""


class OperationRule(NamedTuple):
    """What one operation becomes in each signal.

    ``target`` is the attribute whose value follows the operation in the span's name;
    ``hook_pair`` is the seed's name of the event pair; ``audit_action`` is the audit draft's
    ``audit.action``; an operation with ``intent`` has an audit record before its side effect.
    """

    operation: str
    kind: SpanKind
    target: str | None
    duration: tuple[Instrument, ...] = ()
    duration_latest: tuple[Instrument, ...] = ()
    metric_attributes: tuple[str, ...] = ()
    start_event: str | None = None
    end_event: str | None = None
    exception_event: str = EVENT_AGENT_EXCEPTION
    audit_event: str | None = None
    audit_start_event: str | None = None
    audit_action: str = "EXECUTE"
    intent: bool = False
    hook_pair: str = ""


_MODEL_ATTRIBUTES = (
    GEN_AI_PROVIDER_NAME, GEN_AI_REQUEST_MODEL, GEN_AI_RESPONSE_MODEL, SERVER_ADDRESS, SERVER_PORT,
)  # fmt: skip


def _model_rule(operation: str, pair: str) -> OperationRule:
    return OperationRule(
        operation=operation,
        kind=CLIENT,
        target=GEN_AI_REQUEST_MODEL,
        duration=(OPERATION_DURATION,),
        duration_latest=(INFERENCE_DURATION,),
        metric_attributes=_MODEL_ATTRIBUTES,
        exception_event=EVENT_MODEL_EXCEPTION,
        audit_event=EVENT_MODEL_CALL,
        hook_pair=pair,
    )


def _memory_rule(operation: str, event: str, action: str, pair: str) -> OperationRule:
    return OperationRule(
        operation=operation,
        kind=INTERNAL,
        target=None,
        duration=(MEMORY_DURATION,),
        duration_latest=(MEMORY_DURATION,),
        audit_event=event,
        audit_action=action,
        hook_pair=pair,
    )


RULES: Final = {
    rule.operation: rule
    for rule in (
        OperationRule(
            operation="invoke_agent", kind=INTERNAL, target=GEN_AI_AGENT_NAME,
            duration=(INVOKE_AGENT_DURATION,), duration_latest=(INVOKE_AGENT_DURATION,),
            metric_attributes=(GEN_AI_AGENT_NAME,),
            start_event=EVENT_AGENT_START, end_event=EVENT_AGENT_END,
            audit_start_event=EVENT_AGENT_START, audit_event=EVENT_AGENT_END,
            hook_pair="agent_loop",
        ),
        OperationRule(
            operation="invoke_workflow", kind=INTERNAL, target=GEN_AI_WORKFLOW_NAME,
            duration=(INVOKE_WORKFLOW_DURATION,), duration_latest=(INVOKE_WORKFLOW_DURATION,),
            metric_attributes=(GEN_AI_WORKFLOW_NAME,), hook_pair="workflow",
        ),
        OperationRule(
            operation="execute_tool", kind=INTERNAL, target=GEN_AI_TOOL_NAME,
            duration=(EXECUTE_TOOL_DURATION,), duration_latest=(EXECUTE_TOOL_DURATION,),
            metric_attributes=(GEN_AI_TOOL_NAME, GEN_AI_TOOL_TYPE, GEN_AI_AGENT_NAME),
            audit_event=EVENT_TOOL_EXECUTE, intent=True, hook_pair="tool_use",
        ),
        _model_rule("chat", "llm_call"),
        _model_rule("text_completion", "llm_call"),
        _model_rule("generate_content", "llm_call"),
        _model_rule("embeddings", "llm_call"),
        _memory_rule("search_memory", EVENT_MEMORY_READ, "READ", "memory_load"),
        _memory_rule("upsert_memory", EVENT_MEMORY_WRITE, "WRITE", "memory_save"),
        OperationRule(
            operation="plan", kind=INTERNAL, target=GEN_AI_AGENT_NAME, hook_pair="plan_generation"
        ),
        OperationRule(
            operation=EVENT_CHECKPOINT_SAVE, kind=INTERNAL, target=None,
            duration=(CHECKPOINT_DURATION,), duration_latest=(CHECKPOINT_DURATION,),
            audit_event=EVENT_CHECKPOINT_SAVE, audit_action="WRITE", hook_pair="checkpoint_save",
        ),
    )
}  # fmt: skip


def rule_for(operation: str) -> OperationRule:
    """The rule of an operation; one of the user's own gets a plain span and nothing else."""
    rule = RULES.get(operation)
    return rule or OperationRule(operation=operation, kind=INTERNAL, target=None)


def span_name(rule: OperationRule, target: str | None) -> str:
    """``{operation} {target}``, or the operation alone where there is no target."""
    return f"{rule.operation} {target}" if target else rule.operation


def exception_type(error: BaseException) -> str:
    """``exception.type``: the qualified name, without a module for built-in exceptions."""
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def error_type(error: BaseException | str) -> str:
    """``error.type`` of an exception or of a short code (semantic conventions, "Recording errors").

    The value equals ``exception.type``, except that a time-out is ``timeout`` and a text that is
    no code is ``_OTHER``.
    """
    if isinstance(error, str):
        is_code = len(error) <= _CODE_LENGTH_MAX and _CODE.fullmatch(error)
        return error if is_code else "_OTHER"
    return "timeout" if isinstance(error, TimeoutError) else exception_type(error)
