"""Every panel shows what really happened: agents, a real Collector, a real Prometheus."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

import kaizen_otel
from kaizen_otel._audit_refusals import REASONS
from kaizen_otel._stack import NativeStack, StackPorts
from kaizen_otel.audit.record import OWN_EVENTS
from kaizen_otel.testing import query_prometheus, wait_until
from tests.backends import panel_oracles
from tests.backends.conftest import obtained_or_skip
from tests.backends.panel_oracles import WINDOW_S, Answer, Between, Known
from tests.backends.scripted_agent import PRICES, Act, Play, whole_play
from tests.e2e.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DASHBOARDS = {
    (found := json.loads(path.read_text()))["uid"]: found
    for path in sorted((ROOT / "collector" / "dashboards").glob("*.json"))
}
RULES = yaml.safe_load((ROOT / "collector/alerts/kaizen-otel.rules.yaml").read_text())
SERVICE = "oracle"
DEADLINE_S = 60.0
COMPONENTS = ("jaeger", "prometheus", "collector")


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NativeStack]:
    """One to which nobody else sends, so that the Collector's own numbers are known."""
    directory = tmp_path_factory.mktemp("panels")
    with NativeStack(directory=directory, ports=StackPorts.free()) as stack:
        obtained_or_skip(stack, COMPONENTS)
        stack.up(COMPONENTS)
        yield stack


@pytest.fixture(scope="module")
def stage(own_stack: NativeStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The environment of agents that send to it; returns where Prometheus answers."""
    urls = own_stack.urls
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", urls["otlp_http"])
        environment.setenv("KAIZEN_OTEL_AUDIT_ENDPOINT", urls["audit"])
        environment.setenv("KAIZEN_OTEL_SPOOL_DIR", str(tmp_path_factory.mktemp("spool")))
        # Metrics are collected when a test says so, for each collection gives them one time.
        prices = tmp_path_factory.mktemp("prices") / "prices.json"
        prices.write_text(json.dumps(PRICES))
        environment.setenv("KAIZEN_OTEL_PRICES", str(prices))
        environment.setenv("OTEL_METRIC_EXPORT_INTERVAL", "3600000")
        yield urls["prometheus"]


def recorded() -> dict[str, str]:
    return {
        rule["record"]: rule["expr"]
        for group in RULES["groups"]
        for rule in group["rules"]
        if "record" in rule
    }


def promql(expression: str, service: str) -> str:
    """What Grafana would ask: variables replaced, and recorded series by what they record."""
    for name, value in recorded().items():
        # Over the same time as everything else: what was recorded is a quarter of a minute old.
        told = re.sub(r"\[\d+[mh]\]", f"[{WINDOW_S}s]", value)
        expression = re.sub(re.escape(name) + r"\{[^}]*\}", f"({told})", expression)
    for name in ("__rate_interval", "__range"):
        expression = expression.replace(f"${name}", f"{WINDOW_S}s")
    return re.sub(r"\$(agent|tool|model)\b", ".*", expression.replace("$service", service))


def panels(uid: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Row and title of each panel, and its queries."""
    row = ""
    for panel in DASHBOARDS[uid]["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            yield f"{row}/{panel['title']}", panel["targets"]


def ask(url: str, expression: str, time_s: float | None) -> Answer:
    return {
        tuple(value for name, value in sorted(one["metric"].items()) if name != "__name__"): float(
            one["value"][1]
        )
        for one in query_prometheus(expression, url=url, time_s=time_s)
    }


def equal(shown: Answer, expected: Answer) -> bool:
    if shown.keys() != expected.keys():
        return False
    return all(
        value == shown[key]
        if isinstance(value, Between)
        else shown[key] == pytest.approx(value, rel=5e-3)
        for key, value in expected.items()
    )


def wrong(
    url: str, service: str, known: Known, time_s: float, chosen: dict[str, set[str]]
) -> list[str]:
    """The queries of the chosen panels whose answer is not what happened."""
    found: list[str] = []
    for uid, titles in chosen.items():
        oracle = panel_oracles.panels(known)[uid]
        assert set(oracle) == {title for title, _ in panels(uid)}
        for title, targets in panels(uid):
            assert len(targets) == len(oracle[title]), title
            for target, expected in zip(targets, oracle[title], strict=True):
                if title not in titles:
                    continue
                about = ".*" if uid == "kaizen-collector" else service
                # What the Collector and the verifier tell comes later.
                is_late = uid in LATE or "kaizen_audit_verify" in target["expr"]
                at = None if is_late else time_s
                shown = ask(url, promql(target["expr"], about), at)
                if not equal(shown, expected):
                    found.append(f"{uid} {title} shows {shown}, it was {expected}")
    return found


LATE = {"kaizen-collector", "kaizen-topology"}


def trail(stack: NativeStack, instance: str) -> list[Any]:
    """The audit records that the Collector has written for one process, each once."""
    return World(stack.audit_directory, None).trail("audit.jsonl", instance)  # type: ignore[arg-type]


def arrived(url: str, question: str, count: float) -> None:
    wait_until(lambda: ask(url, question, None) == {(): count}, DEADLINE_S)


def rss(pid: int | None) -> int:
    """Resident bytes of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmRSS:\s+(\d+) kB", text)[0]) * 1024


def verify(stack: NativeStack) -> None:
    """Verify the trail as an operator would, and send the verdict."""
    command = [str(Path(sys.executable).with_name("kaizen-otel")), "audit", "verify", "--emit"]
    done = subprocess.run(
        [*command, str(stack.audit_directory)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def last_time(url: str, service: str) -> float:
    asked = f'max(timestamp(gen_ai_invoke_agent_duration_seconds_count{{job="{service}"}}))'
    return float(ask(url, asked, None)[()])


@pytest.fixture(scope="module")
def whole(own_stack: NativeStack, stage: str) -> list[str]:
    """Faults of all panels after a play that nobody disturbs."""
    observed = kaizen_otel.observe(SERVICE)
    play = Play(observed, SERVICE)
    whole_play(play)
    assert observed.flush(30)
    first, ledger = len(play.acts), observed.ledger().signals
    before = {name: ledger[name].delivered for name in ledger}
    records = len(trail(own_stack, observed.instance_id))
    # Counters of the Collector begin with what they count: from here on they rise.
    calls = f'sum(traces_span_metrics_calls_total{{service_name="{SERVICE}"}})'
    arrived(stage, calls, first)
    accepted = 'sum(otelcol_receiver_accepted_spans{receiver="otlp"})'
    arrived(stage, accepted, first)

    whole_play(play)
    play.begin("planner")
    assert observed.flush(30)
    least, points = (
        len(trail(own_stack, observed.instance_id)),
        observed.ledger().signals["metrics"],
    )
    assert observed.flush(30)  # what the first flush delivered is known to the second
    after = observed.ledger().signals
    arrived(stage, calls, len(play.acts))
    arrived(stage, accepted, len(play.acts))
    audited = trail(own_stack, observed.instance_id)
    verify(own_stack)
    arrived(stage, "sum(kaizen_audit_verify_records)", len(audited))
    status = {each.component: each.pid for each in own_stack.status()}
    known = Known(
        acts=play.acts,
        has_prices=True,
        running={"planner": 1, "clerk": 0},
        decisions={"approved": 4, "denied": 2},
        interrupts={"graceful": 2},
        mistakes=2,
        spans=len(play.acts),
        logs=after["logs"].delivered,
        points=points.delivered,
        audited=sum(record["eventName"] not in OWN_EVENTS for record in audited),
        refusal_reasons=REASONS,
        delivered=(least, len(audited)),
        verified=len(audited),
        instance=f"127.0.0.1:{own_stack.ports.collector_metrics}",
        collector_rss=rss(status["collector"]),
        sent={
            "spans": len(play.acts) - first,
            "metric_points": after["metrics"].delivered - before["metrics"],
            "log_records": after["logs"].delivered - before["logs"],
            "audit": len(audited) - records,
        },
    )
    everything = {uid: {title for title, _ in panels(uid)} for uid in DASHBOARDS}
    faults = wrong(stage, SERVICE, known, last_time(stage, SERVICE), everything)
    observed.shutdown()
    return faults


@pytest.mark.timeout(300)
def test_every_panel_shows_what_the_agents_did(whole: list[str]) -> None:
    assert not whole, "\n".join(whole)


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("whole")
def test_prometheus_records_what_the_rules_say(stage: str) -> None:
    for name in recorded():
        ask_for_it = functools.partial(query_prometheus, name, url=stage)
        assert wait_until(ask_for_it, DEADLINE_S)


def brief(service: str) -> list[Act]:
    """What a process did that lived for two seconds."""
    command = [sys.executable, "-m", "tests.backends.scripted_agent", service]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [Act(**act) for act in json.loads(done.stdout)]


def numbers(uid: str) -> set[str]:
    """The panels that say what happened in the time that is shown."""
    return {title for title, targets in panels(uid) if all(t.get("instant") for t in targets)}


SHORT = ("fleet", "agent", "model-latency", "tools", "tokens", "topology")


@pytest.fixture(scope="module")
def twenty(stage: str, whole: list[str]) -> list[Act]:
    """What twenty processes did that lived for two seconds each, after everything else."""
    del whole
    with ThreadPoolExecutor(4) as pool:
        acts = [act for found in pool.map(brief, ["brief"] * 20) for act in found]
    assert len(acts) == 20 * 11
    arrived(stage, 'sum(traces_span_metrics_calls_total{service_name="brief"})', len(acts))
    return acts


@pytest.mark.timeout(300)
def test_processes_of_two_seconds_are_counted_exactly(stage: str, twenty: list[Act]) -> None:
    chosen = {f"kaizen-{name}": numbers(f"kaizen-{name}") for name in SHORT}
    assert sum(map(len, chosen.values())) > 25
    known, later = Known(acts=twenty, has_prices=True), last_time(stage, "brief") + 60
    faults = wrong(stage, "brief", known, later, chosen)
    assert not faults, "\n".join(faults)


@pytest.mark.timeout(300)
def test_increase_guesses_what_the_panels_know(stage: str, twenty: list[Act]) -> None:
    """The saboteur: the usual way to ask about a counter adds what it guesses."""
    runs = sum(act.operation == "invoke_agent" for act in twenty)
    name, later = "gen_ai_invoke_agent_duration_seconds_count", last_time(stage, "brief") + 60
    guessed = ask(stage, f'sum(increase({name}{{job="brief"}}[{WINDOW_S}s]))', later)
    assert guessed[()] > 1.2 * runs
