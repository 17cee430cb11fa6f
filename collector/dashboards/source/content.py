"""The twelve dashboards."""

from __future__ import annotations

from typing import TYPE_CHECKING

from collector.dashboards.source.panels import (
    AGENT,
    BY_TIME,
    SERVICE,
    Dashboard,
    Variable,
    bars,
    latency,
    lines,
    mean,
    quantile,
    risen,
    risen_from_nothing,
    share,
    stat,
    total,
)
from kaizen_otel import _semconv_sdk as sdk
from kaizen_otel import semconv
from kaizen_otel._prometheus_text import prometheus_name
from kaizen_otel._trail import verify_emit

if TYPE_CHECKING:
    from collector.dashboards.source.panels import (
        Panel,
    )

RUN = prometheus_name(semconv.INVOKE_AGENT_DURATION)
MODEL = prometheus_name(semconv.OPERATION_DURATION)
TOKENS = prometheus_name(semconv.TOKEN_USAGE)
COST = prometheus_name(semconv.MODEL_COST)
UNPRICED = prometheus_name(semconv.MODEL_UNPRICED)
TOOL = prometheus_name(semconv.EXECUTE_TOOL_DURATION)
MEMORY = prometheus_name(semconv.MEMORY_DURATION)
CHECKPOINT = prometheus_name(semconv.CHECKPOINT_DURATION)
ACTIVE = prometheus_name(semconv.AGENT_ACTIVE)
DECISIONS = prometheus_name(semconv.PERMISSION_DECISIONS)
INTERRUPTS = prometheus_name(semconv.INTERRUPTS)
FAULTS = prometheus_name(semconv.PAIRING_FAULTS)
EMITTED = prometheus_name(semconv.AUDIT_EMITTED)
DELIVERED = prometheus_name(semconv.AUDIT_DELIVERED)
REFUSED = prometheus_name(semconv.AUDIT_REFUSED)
LAG = prometheus_name(semconv.AUDIT_LAG)
SPOOL = prometheus_name(semconv.AUDIT_SPOOL_BYTES)
FINDINGS = prometheus_name(verify_emit.FINDINGS)
VERIFIED = prometheus_name(verify_emit.RECORDS)
STREAMS = prometheus_name(verify_emit.STREAMS)
LAST_RUN = prometheus_name(verify_emit.LAST_RUN)
SPANS_EXPORTED = prometheus_name(sdk.EXPORTERS["traces"].exported)
SPANS_PROCESSED = prometheus_name(sdk.PROCESSORS["traces"].processed)
SPANS_WAITING = prometheus_name(sdk.PROCESSORS["traces"].queue_size)
EXPORT = prometheus_name(sdk.OPERATION_DURATION)
LOGS_WAITING = prometheus_name(sdk.PROCESSORS["logs"].queue_size)
CALLS = "traces_span_metrics_calls_total"
FAILED = 'error_type!=""'
WORKED = 'error_type=""'

SERVICES = Variable(name="service", label="Service", query=f"label_values({RUN}_count, job)")
AGENTS = Variable(
    name="agent", label="Agent", query=f"label_values({RUN}_count{{{SERVICE}}}, gen_ai_agent_name)"
)
TOOLS = Variable(
    name="tool", label="Tool", query=f"label_values({TOOL}_count{{{SERVICE}}}, gen_ai_tool_name)"
)
MODELS = Variable(
    name="model",
    label="Model",
    query=f"label_values({MODEL}_count{{{SERVICE}}}, gen_ai_request_model)",
)
TOOL_IS = 'gen_ai_tool_name=~"$tool"'
MODEL_IS = 'gen_ai_request_model=~"$model"'
INSTANCE = 'instance=~"$service"'
INPUT, OUTPUT = 'gen_ai_token_type="input"', 'gen_ai_token_type="output"'

FLEET = Dashboard(
    uid="kaizen-fleet",
    title="Agents: fleet",
    description="All agents at a glance: runs, failures, duration, what they call.",
    variables=(SERVICES,),
    rows=(
        (
            "Now",
            (
                stat("Runs", "Runs of agents that ended.", risen(f"{RUN}_count", SERVICE)),
                stat("Failed runs", "Runs that ended with an error.",
                     risen(f"{RUN}_count", SERVICE, FAILED), bad_from=1),
                stat("Failure rate", "Failed runs of all runs.",
                     share(risen(f"{RUN}_count", SERVICE, FAILED), risen(f"{RUN}_count", SERVICE)),
                     "percentunit", bad_from=0.05),
                stat("Running", "Runs under way.", f"sum({ACTIVE}{{{SERVICE}}})"),
                stat("Agents", "Agents that ran.",
                     f"count({risen(f'{RUN}_count', SERVICE, by='gen_ai_agent_name')} > 0)"),
                stat("p95 duration", "95 of 100 runs were faster.",
                     quantile(0.95, RUN, SERVICE, is_range=True), "s"),
            ),
        ),
        (
            "Over time",
            (
                lines("Runs by agent", "Runs that ended, per second.",
                      (total(f"{RUN}_count", SERVICE, by="gen_ai_agent_name"),
                       "{{gen_ai_agent_name}}"), unit="reqps", width=12),
                lines("Failures by agent", "Failed runs, per second.",
                      (total(f"{RUN}_count", SERVICE, FAILED, by="gen_ai_agent_name"),
                       "{{gen_ai_agent_name}}"), unit="reqps", width=12),
                latency("Duration of a run", "Quantiles over all agents.", RUN, SERVICE, width=12),
                lines("Running now", "Runs under way, by agent.",
                      (f"sum by (gen_ai_agent_name) ({ACTIVE}{{{SERVICE}}})",
                       "{{gen_ai_agent_name}}"), width=12),
            ),
        ),
        (
            "Who costs most",
            (
                bars("Runs by agent", "In the time that is shown.",
                     risen(f"{RUN}_count", SERVICE, by="gen_ai_agent_name"),
                     "{{gen_ai_agent_name}}"),
                bars("Time by agent", "Sum of the durations of the runs.",
                     risen(f"{RUN}_sum", SERVICE, by="gen_ai_agent_name"),
                     "{{gen_ai_agent_name}}", "s"),
                bars("Runs by service", "In the time that is shown.",
                     risen(f"{RUN}_count", SERVICE, by="job"), "{{job}}"),
            ),
        ),
    ),
)  # fmt: skip

AGENT_DETAIL = Dashboard(
    uid="kaizen-agent",
    title="Agents: one agent",
    description="One agent: its runs, its tools, its failures.",
    variables=(SERVICES, AGENTS),
    rows=(
        (
            "Runs",
            (
                stat("Runs", "Runs that ended.", risen(f"{RUN}_count", SERVICE, AGENT)),
                stat("Failed", "Runs that ended with an error.",
                     risen(f"{RUN}_count", SERVICE, AGENT, FAILED), bad_from=1),
                stat("Mean duration", "Of all runs.",
                     mean(RUN, SERVICE, AGENT, is_range=True), "s"),
                stat("Running", "Runs under way.", f"sum({ACTIVE}{{{SERVICE}, {AGENT}}})"),
                stat("Tool calls", "Calls of tools that ended.",
                     risen(f"{TOOL}_count", SERVICE, AGENT)),
                stat("Tool failures", "Calls of tools that failed.",
                     risen(f"{TOOL}_count", SERVICE, AGENT, FAILED), bad_from=1),
                latency("Duration of a run", "Quantiles.", RUN, SERVICE, AGENT, width=12),
                lines("Worked and failed", "Runs that ended, per second.",
                      (total(f"{RUN}_count", SERVICE, AGENT, WORKED), "worked"),
                      (total(f"{RUN}_count", SERVICE, AGENT, FAILED), "failed"),
                      unit="reqps", width=12),
            ),
        ),
        (
            "Its tools",
            (
                lines("Calls by tool", "Per second.",
                      (total(f"{TOOL}_count", SERVICE, AGENT, by="gen_ai_tool_name"),
                       "{{gen_ai_tool_name}}"), unit="reqps"),
                bars("Time by tool", "Sum of the durations.",
                     risen(f"{TOOL}_sum", SERVICE, AGENT, by="gen_ai_tool_name"),
                     "{{gen_ai_tool_name}}", "s"),
                lines("Failures by kind", "Runs and calls that failed, by error.type.",
                      (total(f"{RUN}_count", SERVICE, AGENT, FAILED, by="error_type"),
                       "run: {{error_type}}"),
                      (total(f"{TOOL}_count", SERVICE, AGENT, FAILED, by="error_type"),
                       "tool: {{error_type}}"), unit="reqps"),
            ),
        ),
    ),
)  # fmt: skip

MODEL_LATENCY = Dashboard(
    uid="kaizen-model-latency",
    title="Models: latency",
    description="How long calls to models take, and which fail.",
    variables=(SERVICES, MODELS),
    rows=(
        (
            "Calls",
            (
                stat("Calls", "Calls to models that ended.",
                     risen(f"{MODEL}_count", SERVICE, MODEL_IS)),
                stat("Failed", "Calls that failed.",
                     risen(f"{MODEL}_count", SERVICE, MODEL_IS, FAILED), bad_from=1),
                stat("p50", "Half of the calls were faster.",
                     quantile(0.5, MODEL, SERVICE, MODEL_IS, is_range=True), "s"),
                stat("p95", "95 of 100 calls were faster.",
                     quantile(0.95, MODEL, SERVICE, MODEL_IS, is_range=True), "s"),
                stat("p99", "99 of 100 calls were faster.",
                     quantile(0.99, MODEL, SERVICE, MODEL_IS, is_range=True), "s"),
                stat("Time in models", "Sum of the durations.",
                     risen(f"{MODEL}_sum", SERVICE, MODEL_IS), "s"),
            ),
        ),
        (
            "Over time",
            (
                latency("Duration of a call", "Quantiles over all chosen models.", MODEL, SERVICE,
                        MODEL_IS, width=12),
                lines("p95 by model", "95 of 100 calls were faster.",
                      (quantile(0.95, MODEL, SERVICE, MODEL_IS, by="gen_ai_request_model"),
                       "{{gen_ai_request_model}}"), unit="s", width=12),
                lines("Calls by model", "Per second.",
                      (total(f"{MODEL}_count", SERVICE, MODEL_IS, by="gen_ai_request_model"),
                       "{{gen_ai_request_model}}"), unit="reqps"),
                lines("Failures by kind", "Calls that failed, by error.type.",
                      (total(f"{MODEL}_count", SERVICE, MODEL_IS, FAILED, by="error_type"),
                       "{{error_type}}"), unit="reqps"),
                lines("Calls by provider", "Per second.",
                      (total(f"{MODEL}_count", SERVICE, MODEL_IS, by="gen_ai_provider_name"),
                       "{{gen_ai_provider_name}}"), unit="reqps"),
            ),
        ),
    ),
)  # fmt: skip

TOKEN_USE = Dashboard(
    uid="kaizen-tokens",
    title="Models: tokens and cost",
    description="Tokens sent to and received from models, and what they cost by a price table.",
    variables=(SERVICES, MODELS),
    rows=(
        (
            "Tokens",
            (
                stat("Sent", "Input tokens.", risen(f"{TOKENS}_sum", SERVICE, MODEL_IS, INPUT),
                     width=6),
                stat("Received", "Output tokens.",
                     risen(f"{TOKENS}_sum", SERVICE, MODEL_IS, OUTPUT), width=6),
                stat("Sent per call", "Mean of input tokens.",
                     mean(TOKENS, SERVICE, MODEL_IS, INPUT, is_range=True), width=6),
                stat("Received per call", "Mean of output tokens.",
                     mean(TOKENS, SERVICE, MODEL_IS, OUTPUT, is_range=True), width=6),
                lines("Tokens per second", "Sent and received.",
                      (total(f"{TOKENS}_sum", SERVICE, MODEL_IS, by="gen_ai_token_type"),
                       "{{gen_ai_token_type}}"), width=12),
                lines("By model over time", "Both kinds, per second.",
                      (total(f"{TOKENS}_sum", SERVICE, MODEL_IS, by="gen_ai_request_model"),
                       "{{gen_ai_request_model}}"), width=12),
                bars("By model", "In the time that is shown.",
                     risen(f"{TOKENS}_sum", SERVICE, MODEL_IS, by="gen_ai_request_model"),
                     "{{gen_ai_request_model}}", width=12),
                lines("p95 of one call", "Tokens, by kind.",
                      (quantile(0.95, TOKENS, SERVICE, MODEL_IS, by="gen_ai_token_type"),
                       "{{gen_ai_token_type}}"), width=12),
            ),
        ),
        (
            "Cost",
            (
                stat("Cost", "In the currency of the price table; none without a table.",
                     risen(COST, SERVICE, MODEL_IS), width=6),
                stat("Calls without a price", "Their models are not in the table.",
                     risen(UNPRICED, SERVICE, MODEL_IS), bad_from=1, width=6),
                stat("Cost of a run", "Mean, by the runs of agents.",
                     share(risen(COST, SERVICE), risen(f"{RUN}_count", SERVICE)), width=6),
                lines("Cost per second", "By model.",
                      (total(COST, SERVICE, MODEL_IS, by="gen_ai_request_model"),
                       "{{gen_ai_request_model}}"), width=6),
                bars("Cost by model", "And by the currency and version of the table.",
                     risen(COST, SERVICE, MODEL_IS,
                           by="gen_ai_request_model, kaizen_cost_currency, kaizen_cost_prices"),
                     "{{gen_ai_request_model}} ({{kaizen_cost_currency}}, {{kaizen_cost_prices}})"),
                bars("Cost by agent", "The agent whose run called the model.",
                     risen(COST, SERVICE, MODEL_IS, by="gen_ai_agent_name"),
                     "{{gen_ai_agent_name}}"),
                bars("Cost by tenant", "Whom the baggage names.",
                     risen(COST, SERVICE, MODEL_IS, 'kaizen_tenant_id!=""', by="kaizen_tenant_id"),
                     "{{kaizen_tenant_id}}"),
            ),
        ),
    ),
)  # fmt: skip

TOOL_USE = Dashboard(
    uid="kaizen-tools",
    title="Tools",
    description="Which tools agents call, how long they take, which fail.",
    variables=(SERVICES, AGENTS, TOOLS),
    rows=(
        (
            "Calls",
            (
                stat("Calls", "Calls that ended.",
                     risen(f"{TOOL}_count", SERVICE, AGENT, TOOL_IS), width=6),
                stat("Failed", "Calls that failed.",
                     risen(f"{TOOL}_count", SERVICE, AGENT, TOOL_IS, FAILED), bad_from=1, width=6),
                stat("Failure rate", "Failed calls of all calls.",
                     share(risen(f"{TOOL}_count", SERVICE, AGENT, TOOL_IS, FAILED),
                           risen(f"{TOOL}_count", SERVICE, AGENT, TOOL_IS)),
                     "percentunit", bad_from=0.05, width=6),
                stat("p95", "95 of 100 calls were faster.",
                     quantile(0.95, TOOL, SERVICE, AGENT, TOOL_IS, is_range=True), "s",
                     width=6),
                lines("Calls by tool", "Per second.",
                      (total(f"{TOOL}_count", SERVICE, AGENT, TOOL_IS, by="gen_ai_tool_name"),
                       "{{gen_ai_tool_name}}"), unit="reqps", width=12),
                lines("p95 by tool", "95 of 100 calls were faster.",
                      (quantile(0.95, TOOL, SERVICE, AGENT, TOOL_IS, by="gen_ai_tool_name"),
                       "{{gen_ai_tool_name}}"), unit="s", width=12),
                bars("Time by tool", "Sum of the durations.",
                     risen(f"{TOOL}_sum", SERVICE, AGENT, TOOL_IS, by="gen_ai_tool_name"),
                     "{{gen_ai_tool_name}}", "s"),
                lines("Failures by tool", "Per second.",
                      (total(f"{TOOL}_count", SERVICE, AGENT, TOOL_IS, FAILED,
                             by="gen_ai_tool_name, error_type"),
                       "{{gen_ai_tool_name}}: {{error_type}}"), unit="reqps"),
                bars("By agent", "Calls in the time that is shown.",
                     risen(f"{TOOL}_count", SERVICE, AGENT, TOOL_IS, by="gen_ai_agent_name"),
                     "{{gen_ai_agent_name}}"),
            ),
        ),
    ),
)  # fmt: skip

TOPOLOGY = Dashboard(
    uid="kaizen-topology",
    title="Agents: who calls what",
    description="Services, agents and operations, counted from spans before any sampling.",
    variables=(Variable(name="service", label="Service",
                        query=f"label_values({CALLS}, service_name)"),),
    rows=(
        (
            "Spans",
            (
                lines("Spans by operation", "So many at a time, from the span_metrics connector.",
                      (risen_from_nothing(CALLS, 'service_name=~"$service"',
                                          by="gen_ai_operation_name", window=BY_TIME),
                       "{{gen_ai_operation_name}}"), width=12),
                lines("Failed spans by operation", "Spans whose status is an error.",
                      (risen_from_nothing(CALLS, 'service_name=~"$service"',
                                          'status_code="STATUS_CODE_ERROR"',
                                          by="gen_ai_operation_name", window=BY_TIME),
                       "{{gen_ai_operation_name}}"), width=12),
                bars("Agents by service", "Runs of agents.",
                     risen_from_nothing(CALLS, 'service_name=~"$service"',
                                        'gen_ai_operation_name="invoke_agent"',
                                        by="service_name, gen_ai_agent_name"),
                     "{{service_name}} / {{gen_ai_agent_name}}"),
                bars("Tools by agent", "Calls of tools.",
                     risen_from_nothing(CALLS, 'service_name=~"$service"',
                                        'gen_ai_operation_name="execute_tool"',
                                        by="gen_ai_agent_name, gen_ai_tool_name"),
                     "{{gen_ai_agent_name}} / {{gen_ai_tool_name}}"),
                bars("Models by service", "Calls to models.",
                     risen_from_nothing(CALLS, 'service_name=~"$service"',
                                        'gen_ai_request_model!=""',
                                        by="service_name, gen_ai_request_model"),
                     "{{service_name}} / {{gen_ai_request_model}}"),
            ),
        ),
    ),
)  # fmt: skip

MEMORY_USE = Dashboard(
    uid="kaizen-memory",
    title="Memory and state",
    description="Reads and writes of memories, and saves of agents' state.",
    variables=(SERVICES,),
    rows=(
        (
            "Memory",
            (
                stat("Reads and writes", "Operations that ended.",
                     risen(f"{MEMORY}_count", SERVICE), width=8),
                stat("Failed", "Operations that failed.",
                     risen(f"{MEMORY}_count", SERVICE, FAILED), bad_from=1, width=8),
                stat("p95", "95 of 100 were faster.",
                     quantile(0.95, MEMORY, SERVICE, is_range=True), "s", width=8),
                lines("By operation", "Per second.",
                      (total(f"{MEMORY}_count", SERVICE, by="gen_ai_operation_name"),
                       "{{gen_ai_operation_name}}"), unit="ops", width=12),
                latency("Duration", "Quantiles.", MEMORY, SERVICE, width=12),
            ),
        ),
        (
            "Saved state",
            (
                lines("Saves", "Per second.", (total(f"{CHECKPOINT}_count", SERVICE), "saves"),
                      unit="ops", width=12),
                latency("Duration of a save", "Quantiles.", CHECKPOINT, SERVICE, width=12),
            ),
        ),
    ),
)  # fmt: skip


def _ledger(signal: str, item: str) -> Panel:
    exported = prometheus_name(sdk.EXPORTERS[signal].exported)
    return lines(
        f"{item}: what became of them", "Per second: delivered, and dropped by reason.",
        (total(exported, SERVICE, WORKED), "delivered"),
        (total(exported, SERVICE, FAILED, by="error_type"), "dropped: {{error_type}}"),
        unit="ops", width=8,
    )  # fmt: skip


EMITTER = Dashboard(
    uid="kaizen-emitter",
    title="Telemetry: what agents sent",
    description="The ledger of every process: delivered, and dropped by reason.",
    variables=(Variable(name="service", label="Service",
                        query=f"label_values({SPANS_EXPORTED}, job)"),),
    rows=(
        (
            "Ledger",
            (
                stat("Spans delivered", "That a Collector took.",
                     risen(SPANS_EXPORTED, SERVICE, WORKED), width=6),
                stat("Spans dropped", "After they were part of a request.",
                     risen(SPANS_EXPORTED, SERVICE, FAILED), bad_from=1, width=6),
                stat("Spans refused", "Before: the buffer was full, too large, shut down.",
                     risen(SPANS_PROCESSED, SERVICE, FAILED), bad_from=1, width=6),
                stat("Begins without an end", "Faults in pairing, and mistakes of our own.",
                     risen(FAULTS, SERVICE), bad_from=1, width=6),
                _ledger("traces", "Spans"),
                _ledger("logs", "Log records"),
                _ledger("metrics", "Data points"),
                lines("Waiting", "Spans and log records in the buffer.",
                      (f"sum({SPANS_WAITING}{{{SERVICE}}})", "spans"),
                      (f"sum({LOGS_WAITING}{{{SERVICE}}})", "log records"), width=12),
                lines("Duration of an export", "Mean, retries included.",
                      (mean(EXPORT, SERVICE, by="otel_component_type"),
                       "{{otel_component_type}}"), unit="s", width=12),
            ),
        ),
    ),
)  # fmt: skip


KINDS = ("spans", "metric_points", "log_records")


def _items(side: str, what: str) -> list[tuple[str, str]]:
    """Return the rates of what a Collector counts, each kind of item with its name."""
    return [
        (total(f"otelcol_{side}_{what}_{item}", INSTANCE, by=side), f"{{{{{side}}}}} {item} {what}")
        for item in KINDS
    ]


def _lost(what: str) -> list[tuple[str, str]]:
    """Return how many items exporters gave up, each kind with its name."""
    return [
        (risen_from_nothing(f"otelcol_exporter_{what}_{item}", INSTANCE, by="exporter",
                            window=BY_TIME), f"{{{{exporter}}}} {item} {what}")
        for item in KINDS
    ]  # fmt: skip


COLLECTOR = Dashboard(
    uid="kaizen-collector",
    title="Telemetry: Collector",
    description="What a Collector took, refused, sent, failed to send, and what waits in it.",
    variables=(Variable(name="service", label="Collector",
                        query="label_values(otelcol_process_uptime, instance)"),),
    rows=(
        (
            "Pipelines",
            (
                lines("Accepted", "Items per second, by receiver.",
                      *_items("receiver", "accepted"), unit="ops"),
                lines("Refused and failed", "Items that agents have to send again.",
                      *_items("receiver", "refused"), *_items("receiver", "failed"), unit="ops"),
                lines("Sent", "Items per second, by exporter.", *_items("exporter", "sent"),
                      unit="ops"),
                lines("Failed to send", "Items given up by an exporter: lost. So many at a time.",
                      *_lost("send_failed"), *_lost("enqueue_failed"), width=12),
                lines("Queues", "Share of each sending queue that is used.",
                      (f"otelcol_exporter_queue_size{{{INSTANCE}}} "
                       f"/ otelcol_exporter_queue_capacity{{{INSTANCE}}}", "{{exporter}}"),
                      unit="percentunit", width=12),
                lines("Memory", "Resident bytes.",
                      (f"otelcol_process_memory_rss{{{INSTANCE}}}", "{{instance}}"),
                      unit="bytes", width=12),
                lines("Processor time", "Cores that are used.",
                      (f"rate(otelcol_process_cpu_seconds{{{INSTANCE}}}[$__rate_interval])",
                       "{{instance}}"), width=12),
            ),
        ),
    ),
)  # fmt: skip

AUDIT = Dashboard(
    uid="kaizen-audit",
    title="Audit integrity",
    description="Whether audit records arrive, and whether the trail is what agents wrote.",
    variables=(SERVICES,),
    rows=(
        (
            "On the way",
            (
                stat("Emitted", "Records given to the trail.", risen(EMITTED, SERVICE)),
                stat("Delivered", "Records that the receiver took, the streams' own included.",
                     risen(DELIVERED, SERVICE)),
                stat("Refused", "Records that were not stored.", risen(REFUSED, SERVICE),
                     bad_from=1),
                stat("Oldest undelivered", "Age of the oldest record on its way.",
                     f"max({LAG}{{{SERVICE}}})", "s", bad_from=60),
                stat("Spools", "Bytes of records on agents' disks.", f"sum({SPOOL}{{{SERVICE}}})",
                     "bytes"),
                stat("Findings of tampering", "Of the last verification.",
                     f'max({FINDINGS}{{severity="tampering"}})', bad_from=1),
                lines("Records", "Per second.", (total(EMITTED, SERVICE), "emitted"),
                      (total(DELIVERED, SERVICE), "delivered"), unit="ops"),
                lines("Refused by reason", "Per second.",
                      (total(REFUSED, SERVICE, by="error_type"), "{{error_type}}"), unit="ops"),
                lines("Age of the oldest undelivered record", "By service.",
                      (f"max by (job) ({LAG}{{{SERVICE}}})", "{{job}}"), unit="s"),
            ),
        ),
        (
            "In the trail",
            (
                lines("Findings", "Of each verification, by severity.",
                      (f"max by (severity) ({FINDINGS})",
                       "{{severity}}"), width=8),
                stat("Records verified", "By the last verification.", f"max({VERIFIED})", width=4),
                stat("Streams verified", "By the last verification.", f"max({STREAMS})", width=4),
                stat("Last verification", "Seconds ago.", f"time() - max({LAST_RUN})", "s",
                     bad_from=90_000, width=8),
            ),
        ),
    ),
)  # fmt: skip

SAFETY = Dashboard(
    uid="kaizen-errors",
    title="Errors and safety",
    description="What failed, what was denied, what was interrupted.",
    variables=(SERVICES,),
    rows=(
        (
            "Errors",
            (
                lines("Runs by error", "Failed runs, by error.type.",
                      (total(f"{RUN}_count", SERVICE, FAILED, by="error_type"), "{{error_type}}"),
                      unit="reqps"),
                lines("Tools by error", "Failed calls of tools.",
                      (total(f"{TOOL}_count", SERVICE, FAILED, by="error_type"), "{{error_type}}"),
                      unit="reqps"),
                lines("Models by error", "Failed calls to models.",
                      (total(f"{MODEL}_count", SERVICE, FAILED, by="error_type"),
                       "{{error_type}}"), unit="reqps"),
            ),
        ),
        (
            "Safety",
            (
                bars("Decisions", "Of permission checks and approvals.",
                     risen(DECISIONS, SERVICE, by="kaizen_decision"), "{{kaizen_decision}}"),
                lines("Denied", "Per second.",
                      (total(DECISIONS, SERVICE, 'kaizen_decision=~"den.*"'), "denied"),
                      unit="ops"),
                lines("Interrupts", "Per second, by how.",
                      (total(INTERRUPTS, SERVICE, by="kaizen_interrupt_mode"),
                       "{{kaizen_interrupt_mode}}"), unit="ops"),
            ),
        ),
    ),
)  # fmt: skip

FAILED_SHARE = share(
    risen(f"{RUN}_count", SERVICE, FAILED), risen(f"{RUN}_count", SERVICE)
)  # fmt: skip
SLO = Dashboard(
    uid="kaizen-slo",
    title="Service levels",
    description="Runs that work: 99 of 100 over 30 days; how fast the budget of failures burns.",
    variables=(SERVICES,),
    rows=(
        (
            "Budget",
            (
                stat("Runs that worked", "Of all runs, in the time that is shown.",
                     f"1 - ({FAILED_SHARE})",
                     "percentunit", bad_below=0.99, width=8),
                stat("Burn rate, 1 h", "1 uses up the budget in 30 days, 14.4 in 2 days.",
                     'max(kaizen:agent_error_ratio:rate1h{job=~"$service"}) / 0.01',
                     bad_from=14.4, width=8),
                stat("Burn rate, 6 h", "6 uses up the budget in 5 days.",
                     'max(kaizen:agent_error_ratio:rate6h{job=~"$service"}) / 0.01', bad_from=6,
                     width=8),
                lines("Burn rate", "By service, over one hour and over six.",
                      ('kaizen:agent_error_ratio:rate1h{job=~"$service"} / 0.01', "{{job}} 1 h"),
                      ('kaizen:agent_error_ratio:rate6h{job=~"$service"} / 0.01', "{{job}} 6 h"),
                      width=12),
                lines("Runs faster than 25.6 s", "Share of all runs.",
                      (share(total(f"{RUN}_bucket", SERVICE, 'le="25.6"'),
                             total(f"{RUN}_count", SERVICE)), "share"), unit="percentunit",
                      width=12),
            ),
        ),
    ),
)  # fmt: skip

DASHBOARDS = (
    FLEET, AGENT_DETAIL, MODEL_LATENCY, TOKEN_USE, TOOL_USE, TOPOLOGY, MEMORY_USE, EMITTER,
    COLLECTOR, AUDIT, SAFETY, SLO,
)  # fmt: skip
