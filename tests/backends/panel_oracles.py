"""What every panel must show after a play, worked out from what the agents did and not by PromQL.

An answer is a dictionary: the values of a series's labels, in the order of the labels' names, and
the series's value.  One without labels is ``()``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from kaizen_otel import semconv

if TYPE_CHECKING:
    from kaizen_otel.semconv import Instrument
    from tests.backends.scripted_agent import Act

Answer = dict[tuple[str, ...], Any]
Acts = Sequence["Act"]
Labels = Callable[["Act"], tuple[str, ...]]

WINDOW_S: Final = 600
"""What stands for Grafana's ``$__range`` and ``$__rate_interval``."""
KINDS: Final = ("spans", "metric_points", "log_records", "audit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """All that is known of what happened."""

    acts: Acts
    running: dict[str, int] = field(default_factory=dict[str, int])
    decisions: dict[str, int] = field(default_factory=lambda: {"denied": 0})
    has_prices: bool = False
    interrupts: dict[str, int] = field(default_factory=dict[str, int])
    mistakes: int = 0
    spans: int = 0
    logs: int = 0
    points: int = 0
    audited: int = 0
    refusal_reasons: tuple[str, ...] = ()
    delivered: tuple[int, int] = (0, 0)
    """Audit records that the receiver had, at least and at most."""
    verified: int = 0
    instance: str = ""
    collector_rss: int = 0
    sent: dict[str, int] = field(default_factory=lambda: dict.fromkeys(KINDS, 0))
    """What was sent to the Collector since its counters are there."""


@dataclass(frozen=True, slots=True)
class Between:
    """A value that is known within bounds."""

    least: float
    most: float

    def __eq__(self, other: object) -> bool:
        """Whether a value is within."""
        return isinstance(other, float) and self.least <= other <= self.most

    def __hash__(self) -> int:
        """Never used."""
        return 0


def of(acts: Acts, operation: str, **filters: str | bool) -> list[Act]:
    """The acts of an operation; ``error=True`` are those that failed."""
    found = [act for act in acts if act.operation in operation.split("|")]
    for name, value in filters.items():
        found = [
            act
            for act in found
            if (bool(getattr(act, name)) if isinstance(value, bool) else getattr(act, name))
            == value
        ]
    return found


def counts(acts: Acts, labels: Labels = lambda _: (), *, per_s: bool = False) -> Answer:
    """How many there were, by label."""
    found = Counter(labels(act) for act in acts)
    return {key: count / WINDOW_S if per_s else float(count) for key, count in found.items()}


def seconds(acts: Acts, labels: Labels = lambda _: ()) -> Answer:
    """Their durations, summed up by label."""
    found: Answer = {}
    for act in acts:
        found[labels(act)] = found.get(labels(act), 0.0) + act.seconds
    return found


def quantile(share: float, values: Sequence[float], instrument: Instrument) -> float:
    """A quantile as a histogram knows it: its bucket, and in that by straight line."""
    wanted, below = share * len(values), 0
    for lower, upper in pairwise((0.0, *instrument.buckets)):
        here = sum(lower < value <= upper for value in values)
        if here and below + here >= wanted:
            return lower + (upper - lower) * (wanted - below) / here
        below += here
    raise AssertionError("a value is beyond the buckets")


def quantiles(
    share: float, acts: Acts, instrument: Instrument, labels: Labels = lambda _: ()
) -> Answer:
    """A quantile of durations, by label."""
    groups: dict[tuple[str, ...], list[float]] = {}
    for act in acts:
        groups.setdefault(labels(act), []).append(act.seconds)
    return {key: quantile(share, values, instrument) for key, values in groups.items()}


def latencies(acts: Acts, instrument: Instrument) -> list[Answer]:
    """What a panel of three quantiles shows."""
    return [quantiles(share, acts, instrument) for share in (0.5, 0.95, 0.99)]


def agent(act: Act) -> tuple[str, ...]:
    return (act.agent,)


def target(act: Act) -> tuple[str, ...]:
    return (act.target,)


def error(act: Act) -> tuple[str, ...]:
    return (act.error,)


def operation(act: Act) -> tuple[str, ...]:
    return (act.operation,)


def tokens(acts: Acts, *, kinds: str = "in out", by: str = "") -> Answer:
    """Tokens, summed up: by kind (``input``, ``output``), by model, or all."""
    found: Answer = {}
    for act in of(acts, "chat", error=False):
        for kind, name, count in (
            ("in", "input", act.tokens_in),
            ("out", "output", act.tokens_out),
        ):
            if kind in kinds.split():
                key = {"kind": (name,), "model": (act.target,), "": ()}[by]
                found[key] = found.get(key, 0.0) + count
    return found


def per_second(answer: Answer) -> Answer:
    return {key: value / WINDOW_S for key, value in answer.items()}


def one(value: object) -> Answer:
    return {(): value}


RUN, TOOL, CHAT = "invoke_agent", "execute_tool", "chat"
MEMORY, SAVE = "search_memory|upsert_memory", "kaizen.checkpoint.save"


def panels(k: Known) -> dict[str, dict[str, list[Answer]]]:
    """Dashboard, row and panel: what each of its queries answers."""
    return {
        "kaizen-fleet": _fleet(k),
        "kaizen-agent": _agent(k),
        "kaizen-model-latency": _models(k),
        "kaizen-tokens": _tokens(k),
        "kaizen-tools": _tools(k),
        "kaizen-topology": _topology(k),
        "kaizen-memory": _memory(k),
        "kaizen-emitter": _emitter(k),
        "kaizen-collector": _collector(k),
        "kaizen-audit": _audit(k),
        "kaizen-errors": _errors(k),
        "kaizen-slo": _slo(k),
    }


def _fleet(k: Known) -> dict[str, list[Answer]]:
    runs, duration = of(k.acts, RUN), semconv.INVOKE_AGENT_DURATION
    failed = of(runs, RUN, error=True)
    return {
        "Now/Runs": [counts(runs)],
        "Now/Failed runs": [counts(failed)],
        "Now/Failure rate": [one(len(failed) / len(runs))],
        "Now/Running": [one(float(sum(k.running.values())))],
        "Now/Agents": [one(float(len({act.agent for act in runs})))],
        "Now/p95 duration": [quantiles(0.95, runs, duration)],
        "Over time/Runs by agent": [counts(runs, agent, per_s=True)],
        "Over time/Failures by agent": [counts(failed, agent, per_s=True)],
        "Over time/Duration of a run": latencies(runs, duration),
        "Over time/Running now": [{(name,): float(count) for name, count in k.running.items()}],
        "Who costs most/Runs by agent": [counts(runs, agent)],
        "Who costs most/Time by agent": [seconds(runs, agent)],
        "Who costs most/Runs by service": [counts(runs, lambda act: (act.service,))],
    }


def _agent(k: Known) -> dict[str, list[Answer]]:
    runs, tools = of(k.acts, RUN), of(k.acts, TOOL)
    failed, broken = of(runs, RUN, error=True), of(tools, TOOL, error=True)
    return {
        "Runs/Runs": [counts(runs)],
        "Runs/Failed": [counts(failed)],
        "Runs/Mean duration": [one(sum(act.seconds for act in runs) / len(runs))],
        "Runs/Running": [one(float(sum(k.running.values())))],
        "Runs/Tool calls": [counts(tools)],
        "Runs/Tool failures": [counts(broken)],
        "Runs/Duration of a run": latencies(runs, semconv.INVOKE_AGENT_DURATION),
        "Runs/Worked and failed": [
            counts(of(runs, RUN, error=False), per_s=True),
            counts(failed, per_s=True),
        ],
        "Its tools/Calls by tool": [counts(tools, target, per_s=True)],
        "Its tools/Time by tool": [seconds(tools, target)],
        "Its tools/Failures by kind": [
            counts(failed, error, per_s=True),
            counts(broken, error, per_s=True),
        ],
    }


def _models(k: Known) -> dict[str, list[Answer]]:
    calls, duration = of(k.acts, CHAT), semconv.OPERATION_DURATION
    failed = of(calls, CHAT, error=True)
    return {
        "Calls/Calls": [counts(calls)],
        "Calls/Failed": [counts(failed)],
        "Calls/p50": [quantiles(0.5, calls, duration)],
        "Calls/p95": [quantiles(0.95, calls, duration)],
        "Calls/p99": [quantiles(0.99, calls, duration)],
        "Calls/Time in models": [seconds(calls)],
        "Over time/Duration of a call": latencies(calls, duration),
        "Over time/p95 by model": [quantiles(0.95, calls, duration, target)],
        "Over time/Calls by model": [counts(calls, target, per_s=True)],
        "Over time/Failures by kind": [counts(failed, error, per_s=True)],
        "Over time/Calls by provider": [counts(calls, lambda act: (act.provider,), per_s=True)],
    }


def _tokens(k: Known) -> dict[str, list[Answer]]:
    worked = of(k.acts, CHAT, error=False)
    sent = [float(act.tokens_in) for act in worked]
    received = [float(act.tokens_out) for act in worked]
    usage = semconv.TOKEN_USAGE
    return {
        "Tokens/Sent": [tokens(k.acts, kinds="in")],
        "Tokens/Received": [tokens(k.acts, kinds="out")],
        "Tokens/Sent per call": [one(sum(sent) / len(sent))],
        "Tokens/Received per call": [one(sum(received) / len(received))],
        "Tokens/Tokens per second": [per_second(tokens(k.acts, by="kind"))],
        "Tokens/By model over time": [per_second(tokens(k.acts, by="model"))],
        "Tokens/By model": [tokens(k.acts, by="model")],
        "Tokens/p95 of one call": [
            {
                ("input",): quantile(0.95, sent, usage),
                ("output",): quantile(0.95, received, usage),
            }
        ],
        **_costs(k),
    }


def _costs(k: Known) -> dict[str, list[Answer]]:
    """By the table of the scripted agents: 2 and 10 for a million tokens of the large model."""
    prices = {"large": (2e-6, 10e-6)} if k.has_prices else {}
    calls = of(k.acts, CHAT, error=False)
    priced = [act for act in calls if act.target in prices]

    def costs(acts: Acts, labels: Labels = lambda _: ()) -> Answer:
        found: Answer = {}
        for act in acts:
            sent, received = prices[act.target]
            cost = act.tokens_in * sent + act.tokens_out * received
            found[labels(act)] = found.get(labels(act), 0.0) + cost
        return found

    whole, runs = costs(priced), len(of(k.acts, RUN))
    return {
        "Cost/Cost": [whole],
        "Cost/Calls without a price": [
            counts([act for act in calls if act.target not in prices]) if prices else {}
        ],
        "Cost/Cost of a run": [{key: value / runs for key, value in whole.items()}],
        "Cost/Cost per second": [per_second(costs(priced, target))],
        "Cost/Cost by model": [costs(priced, lambda act: (act.target, "EUR", "test-7"))],
        "Cost/Cost by agent": [costs(priced, agent)],
        "Cost/Cost by tenant": [
            costs([act for act in priced if act.tenant], lambda act: (act.tenant,))
        ],
    }


def _tools(k: Known) -> dict[str, list[Answer]]:
    tools, duration = of(k.acts, TOOL), semconv.EXECUTE_TOOL_DURATION
    failed = of(tools, TOOL, error=True)
    return {
        "Calls/Calls": [counts(tools)],
        "Calls/Failed": [counts(failed)],
        "Calls/Failure rate": [one(len(failed) / len(tools))],
        "Calls/p95": [quantiles(0.95, tools, duration)],
        "Calls/Calls by tool": [counts(tools, target, per_s=True)],
        "Calls/p95 by tool": [quantiles(0.95, tools, duration, target)],
        "Calls/Time by tool": [seconds(tools, target)],
        "Calls/Failures by tool": [counts(failed, lambda act: (act.error, act.target), per_s=True)],
        "Calls/By agent": [counts(tools, agent)],
    }


def _topology(k: Known) -> dict[str, list[Answer]]:
    return {
        "Spans/Spans by operation": [counts(k.acts, operation)],
        "Spans/Failed spans by operation": [
            counts([act for act in k.acts if act.error], operation)
        ],
        "Spans/Agents by service": [
            counts(of(k.acts, RUN), lambda act: (act.agent, act.service))
        ],
        "Spans/Tools by agent": [counts(of(k.acts, TOOL), lambda act: (act.agent, act.target))],
        "Spans/Models by service": [
            counts(of(k.acts, CHAT), lambda act: (act.target, act.service))
        ],
    }  # fmt: skip


def _memory(k: Known) -> dict[str, list[Answer]]:
    memory, saves = of(k.acts, MEMORY), of(k.acts, SAVE)
    return {
        "Memory/Reads and writes": [counts(memory)],
        "Memory/Failed": [counts(of(memory, MEMORY, error=True))],
        "Memory/p95": [quantiles(0.95, memory, semconv.MEMORY_DURATION)],
        "Memory/By operation": [counts(memory, operation, per_s=True)],
        "Memory/Duration": latencies(memory, semconv.MEMORY_DURATION),
        "Saved state/Saves": [counts(saves, per_s=True)],
        "Saved state/Duration of a save": latencies(saves, semconv.CHECKPOINT_DURATION),
    }


def _emitter(k: Known) -> dict[str, list[Answer]]:
    took = Between(1e-6, 10.0)
    return {
        "Ledger/Spans delivered": [one(float(k.spans))],
        "Ledger/Spans dropped": [{}],
        "Ledger/Spans refused": [{}],
        "Ledger/Begins without an end": [one(float(k.mistakes))],
        "Ledger/Spans: what became of them": [one(k.spans / WINDOW_S), {}],
        "Ledger/Log records: what became of them": [one(k.logs / WINDOW_S), {}],
        "Ledger/Data points: what became of them": [
            one(Between(k.points / WINDOW_S, 1.1 * k.points / WINDOW_S)), {},
        ],
        "Ledger/Waiting": [one(0.0), one(0.0)],
        "Ledger/Duration of an export": [
            {
                (f"otlp_http_{kind}_exporter",): took
                for kind in ("span", "log", "metric")
            }
        ],
    }  # fmt: skip


def _collector(k: Known) -> dict[str, list[Answer]]:
    """Rates of what is read every 15 s are estimates: half of the second play to both and more."""
    none: Answer = {("otlp",): 0.0}

    def about(count: int) -> Between:
        return Between(0.5 * count / WINDOW_S, 3.2 * count / WINDOW_S)

    accepted: list[Answer] = [{("otlp",): about(k.sent[kind])} for kind in KINDS[:3]]
    accepted[2][("otlp/audit",)] = about(k.sent["audit"])
    nothing: list[Answer] = [none, none, {**none, ("otlp/audit",): 0.0}]
    where = (k.instance, "kaizen-otel-collector")
    return {
        "Pipelines/Accepted": accepted,
        "Pipelines/Refused and failed": [*nothing, *nothing],
        "Pipelines/Sent": [
            {("otlp_grpc/jaeger",): about(k.sent["spans"])},
            {("prometheus_remote_write",): Between(k.sent["metric_points"] / WINDOW_S, 1e3)},
            {("file/audit",): about(k.sent["audit"])},
        ],
        "Pipelines/Failed to send": [{}] * 6,
        "Pipelines/Queues": [
            {
                # In bytes of a gibibyte; a log record has a hundred and more.
                ("logs", "elasticsearch", *where): Between(100 * k.logs / 2**30, 1e-3),
                ("metrics", "prometheus_remote_write", *where): Between(0.0, 1e-2),
                ("traces", "otlp_grpc/jaeger", *where): 0.0,
            }
        ],
        "Pipelines/Memory": [{where: Between(0.5 * k.collector_rss, 2.0 * k.collector_rss)}],
        "Pipelines/Processor time": [{where: Between(1e-6, 2.0)}],
    }


def _audit(k: Known) -> dict[str, list[Answer]]:
    delivered = Between(*map(float, k.delivered))
    return {
        "On the way/Emitted": [one(float(k.audited))],
        "On the way/Delivered": [one(delivered)],
        "On the way/Refused": [one(0.0)],
        "On the way/Oldest undelivered": [one(Between(0.0, 60.0))],
        "On the way/Spools": [one(Between(1.0, 1e8))],
        "On the way/Findings of tampering": [one(0.0)],
        "On the way/Records": [
            one(k.audited / WINDOW_S),
            one(Between(delivered.least / WINDOW_S * 0.999, delivered.most / WINDOW_S * 1.001)),
        ],
        "On the way/Refused by reason": [{(reason,): 0.0 for reason in k.refusal_reasons}],
        "On the way/Age of the oldest undelivered record": [
            {(k.acts[0].service,): Between(0.0, 60.0)}
        ],
        "In the trail/Findings": [  # the note: whose key it is was not said
            {("note",): 1.0, ("incomplete",): 0.0, ("tampering",): 0.0}
        ],
        "In the trail/Records verified": [one(float(k.verified))],
        "In the trail/Streams verified": [one(1.0)],
        "In the trail/Last verification": [one(Between(0.0, 120.0))],
    }


def _errors(k: Known) -> dict[str, list[Answer]]:
    failed = [act for act in k.acts if act.error]
    return {
        "Errors/Runs by error": [counts(of(failed, RUN), error, per_s=True)],
        "Errors/Tools by error": [counts(of(failed, TOOL), error, per_s=True)],
        "Errors/Models by error": [counts(of(failed, CHAT), error, per_s=True)],
        "Safety/Decisions": [{(name,): float(count) for name, count in k.decisions.items()}],
        "Safety/Denied": [one(k.decisions["denied"] / WINDOW_S)],
        "Safety/Interrupts": [
            {(name,): count / WINDOW_S for name, count in k.interrupts.items()}
        ],
    }  # fmt: skip


def _slo(k: Known) -> dict[str, list[Answer]]:
    runs = of(k.acts, RUN)
    share = len(of(runs, RUN, error=True)) / len(runs)
    burned: Answer = {(k.acts[0].service,): share / 0.01}
    return {
        "Budget/Runs that worked": [one(1 - share)],
        "Budget/Burn rate, 1 h": [one(share / 0.01)],
        "Budget/Burn rate, 6 h": [one(share / 0.01)],
        "Budget/Burn rate": [burned, burned],
        "Budget/Runs faster than 25.6 s": [one(1.0)],
    }
