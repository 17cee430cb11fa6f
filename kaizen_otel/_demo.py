"""The demo: a real agent, a real Collector, and what arrived, read back from where it is stored."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import config_path, state_directory
from kaizen_otel._collector.run import CollectorProcess, free_ports
from kaizen_otel._demo_agent import QUESTION, build_agents, require_kaizen, run_agent
from kaizen_otel._otlp.json import read_lines
from kaizen_otel._render import (
    build_trees,
    iter_logs,
    iter_metrics,
    iter_spans,
    render_audit,
    render_log,
    render_metrics,
    render_trees,
)
from kaizen_otel.audit.record import OWN_EVENTS
from kaizen_otel.errors import SetupError
from kaizen_otel.semconv import SERVICE_INSTANCE_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kaizen_otel._render import Json
    from kaizen_otel.audit import AuditStatus

_FLUSH_S: Final = 15.0
_ARRIVAL_S: Final = 60.0


_OWN: Final = ("kaizen.audit.", "otel.sdk.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoRun:
    """What one run of the agent left behind: its identity and its ledger line."""

    instance_id: str
    answer: str
    ledger: str
    audit: str
    seconds: float
    delivered: bool


def run_embedded(
    *,
    model: str,
    say: Callable[[str], object],
    environment: Mapping[str, str] | None = None,
) -> None:
    """Run the demo over the embedded Collector, which writes files, and print it.

    Raises ``SetupError`` when a part cannot be had or what was sent cannot be read back.
    """
    environment = os.environ if environment is None else environment
    require_kaizen(model, environment)
    config = config_path("dev")
    say("1. A Collector")
    found = obtain(
        [config], environment=environment, progress=lambda text: (say(f"   {text}"), None)[1]
    )
    say(f"   version {found.version}, from {found.source}")
    state = state_directory(environment)
    data = Path(environment.get("KAIZEN_OTEL_DATA_DIR") or state / "dev")
    data.mkdir(parents=True, exist_ok=True, mode=0o700)
    collector = CollectorProcess(
        config,
        binary=found.path,
        environment={**free_ports(), "KAIZEN_OTEL_DATA_DIR": str(data)},
        log_path=data / "collector.log",
    )
    with collector:
        run = observe_agent(
            endpoint=f"http://127.0.0.1:{collector.http_port}",
            audit_endpoint=f"http://127.0.0.1:{collector.audit_port}",
            spool=state / "demo-spool",
            model=model,
            say=say,
        )
    say(f"3. What the Collector wrote, read back from {data}")
    print_files(data, run.instance_id, say)
    print_ledger(run, say)
    say("Look at it in the browser: kaizen-otel view")


def observe_agent(
    *, endpoint: str, audit_endpoint: str, spool: Path, model: str, say: Callable[[str], object]
) -> DemoRun:
    """Run the agents observed, flush, clean up, and return what is known of the run."""
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    os.environ["KAIZEN_OTEL_AUDIT_ENDPOINT"] = audit_endpoint
    os.environ.setdefault("KAIZEN_OTEL_SPOOL_DIR", str(spool))
    os.environ.setdefault("KAIZEN_ALLOW_KEYLESS_MOCK", "1")
    # Kaizen and its runtime log a lot; here only ours and real errors are of interest.
    logging.getLogger().setLevel(logging.ERROR)
    logging.getLogger("kaizen_otel").setLevel(logging.WARNING)
    from kaizen_otel.integrations.kaizen import enable_observability

    say(f"2. A real Kaizen agent with two tools ({'offline' if model == 'mock' else model})")
    researcher, writer = build_agents(model)
    observability = enable_observability(researcher)
    enable_observability(writer)
    started = time.monotonic()
    answer = run_agent(researcher)
    seconds = time.monotonic() - started
    logger = observability.get_logger("demo")
    if logger is not None:
        logger.info("the demo's own log line", question_length=len(QUESTION))
    delivered = observability.flush(_FLUSH_S)
    ledger = observability.ledger()
    trail = observability.audit.status() if observability.audit is not None else None
    instance_id = observability.instance_id
    for agent in (researcher, writer):
        agent.cleanup()
    observability.shutdown(_FLUSH_S)
    text = str(answer["answer"])
    say(f"   asked: {QUESTION}")
    say(f"   answered in {seconds * 1000:.0f} ms: {text}")
    return DemoRun(
        instance_id=instance_id,
        answer=text,
        ledger=ledger.line(),
        audit=_audit_line(trail) if trail else "",
        seconds=seconds,
        delivered=delivered,
    )


def print_files(data: Path, instance_id: str, say: Callable[[str], object]) -> None:
    """Print the four signals of one process from the Collector's files.

    Raises ``SetupError`` if one of them is not there.
    """

    def mine(items: Iterable[tuple[Json, dict[str, object]]]) -> list[tuple[Json, Any]]:
        return [(i, r) for i, r in items if r.get(SERVICE_INSTANCE_ID) == instance_id]

    spans = mine(s for request in _requests(data / "traces.jsonl") for s in iter_spans(request))
    metrics = mine(m for r in _requests(data / "metrics.jsonl") for m in iter_metrics(r))
    logs = mine(x for request in _requests(data / "logs.jsonl") for x in iter_logs(request))
    audit = read_trail(data / "audit" / "audit.jsonl", instance_id)
    # What the trail and the ledger say about themselves would fill half of the page.
    metrics = [(m, r) for m, r in metrics if not str(m.get("name")).startswith(_OWN)]
    logs = [(x, r) for x, r in logs if x.get("eventName") not in OWN_EVENTS]
    audit = [record for record in audit if record.get("eventName") not in OWN_EVENTS]
    for title, lines in (
        ("Trace", list(render_trees(build_trees(spans)))),
        ("Metrics", list(render_metrics(metrics))),
        ("Logs", [render_log(record) for record in _in_order(record for record, _ in logs)]),
        ("Audit trail", [render_audit(record) for record in audit]),
    ):
        print_section(title, lines, say)


def read_trail(path: Path, instance_id: str) -> list[Json]:
    """One process's audit records in a trail, each once, in order."""
    found: dict[str, Json] = {}
    for request in _requests(path):
        for record, resource in iter_logs(request):
            if resource.get(SERVICE_INSTANCE_ID) == instance_id:
                found.setdefault(_record_id(record), record)
    return _in_order(found.values())


def print_section(title: str, lines: list[str], say: Callable[[str], object]) -> None:
    """Print one signal.  Raises ``SetupError`` if there is nothing of it."""
    say("")
    say(title)
    if not lines:
        raise SetupError(
            f"{title.lower()}: nothing of this run arrived; see collector.log beside the data and "
            "run 'kaizen-otel doctor'"
        )
    for line in lines:
        say(line)


def print_ledger(run: DemoRun, say: Callable[[str], object]) -> None:
    """Print what was delivered and what was dropped; raise if not all of it arrived."""
    say("")
    say(f"Ledger: {run.ledger}; {run.audit}")
    if not run.delivered:
        raise SetupError("not everything arrived within the time: see the ledger line above")


def _audit_line(trail: AuditStatus) -> str:
    """What became of the records of the agent, of the trail's own about itself apart."""
    delivered = max(0, trail.emitted - trail.refused - trail.undelivered)
    return f"{delivered} of {trail.emitted} audit records delivered"


def _in_order(records: Iterable[Json]) -> list[Json]:
    return sorted(records, key=lambda record: int(record.get("timeUnixNano") or 0))


def _record_id(record: Json) -> str:
    for attribute in record.get("attributes", ()):
        if attribute.get("key") == "audit.record.id":
            return str(attribute["value"].get("stringValue", ""))
    return str(id(record))


def _requests(path: Path) -> Iterator[Json]:
    if not path.is_file():
        return
    with path.open("rb") as file:
        yield from read_lines(iter(lambda: file.read(1 << 20), b""))
