"""Dashboards and alerts ask for what is really sent, and each alert is explained and tested."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaizen_otel import _semconv_sdk as sdk
from kaizen_otel import semconv
from kaizen_otel._prometheus_text import prometheus_name
from kaizen_otel._trail import verify_emit
from kaizen_otel.semconv import Instrument

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "collector" / "dashboards"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
RULES = yaml.safe_load((ROOT / "collector/alerts/kaizen-otel.rules.yaml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
RECORDED = {
    rule["record"] for group in RULES["groups"] for rule in group["rules"] if "record" in rule
}

#: What a Collector says of itself, as tests/backends read it from a real one.
ITEMS = ("spans", "metric_points", "log_records")
COLLECTOR = {
    *(
        f"otelcol_{what}_{item}"
        for item in ITEMS
        for what in ("receiver_accepted", "receiver_refused", "receiver_failed",
                     "exporter_sent", "exporter_send_failed", "exporter_enqueue_failed")
    ),
    "otelcol_exporter_queue_size", "otelcol_exporter_queue_capacity", "otelcol_process_uptime",
    "otelcol_process_memory_rss", "otelcol_process_cpu_seconds",
    "traces_span_metrics_calls_total", "traces_span_metrics_duration_milliseconds_bucket",
}  # fmt: skip
#: Labels that the Collector, remote write or the span_metrics connector add.
LABELS = {
    "job", "instance", "le", "receiver", "exporter", "transport", "service_name", "span_name",
    "status_code", "kind", "severity",
}  # fmt: skip
WORDS = {
    "sum", "max", "min", "count", "by", "rate", "histogram_quantile", "time",
    "or", "and", "unless", "max_over_time", "min_over_time", "last_over_time", "label_values",
    "increase", "resets", "offset",
}  # fmt: skip


def instruments() -> list[Instrument]:
    found = [*semconv.INSTRUMENTS.values(), sdk.OPERATION_DURATION]
    for exporter in sdk.EXPORTERS.values():
        found += [exporter.inflight, exporter.exported]
    for processor in sdk.PROCESSORS.values():
        found += [processor.queue_size, processor.processed]
    found += [each for each in vars(verify_emit).values() if isinstance(each, Instrument)]
    return found


def known_names() -> set[str]:
    names = set(COLLECTOR) | RECORDED
    for instrument in instruments():
        name = prometheus_name(instrument)
        if instrument.kind == "histogram":
            names |= {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
        else:
            names.add(name)
    return names


def known_labels() -> set[str]:
    text = (ROOT / "docs" / "names.md").read_text()
    return LABELS | {each.replace(".", "_") for each in re.findall(r"`([a-z_.]+)`", text)}


def asked_names(expression: str) -> set[str]:
    bare = re.sub(r'"[^"]*"', '""', expression)
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\bby \([^)]*\)|\$\w+|\boffset \w+", " ", bare)
    words = set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare))
    return words - WORDS


def asked_labels(expression: str) -> set[str]:
    bare = re.sub(r'"[^"]*"', '""', expression)
    found = set(
        re.findall(r"([a-zA-Z_]+) *(?:=~|!=|!~|=)", " ".join(re.findall(r"\{[^}]*\}", bare)))
    )
    for group in re.findall(r"\bby \(([^)]*)\)", bare):
        found |= {each.strip() for each in group.split(",")}
    return found - {""}


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard: dict[str, Any]) -> list[str]:
    return [target["expr"] for panel in panels(dashboard) for target in panel["targets"]]


def test_the_files_are_what_the_source_says() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "dashboards.py"), "--check"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_twelve_and_each_has_an_address_of_its_own() -> None:
    assert len(DASHBOARDS) == 12
    assert len({dashboard["uid"] for dashboard in DASHBOARDS.values()}) == 12
    assert len({dashboard["title"] for dashboard in DASHBOARDS.values()}) == 12


@pytest.mark.parametrize("name", DASHBOARDS)
def test_a_dashboard_is_whole(name: str) -> None:
    dashboard = DASHBOARDS[name]
    numbers = [panel["id"] for panel in dashboard["panels"]]
    assert len(numbers) == len(set(numbers))
    titles, row = list[tuple[str, str]](), ""
    for panel in dashboard["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        else:
            titles.append((row, panel["title"]))
    assert len(titles) == len(set(titles))
    for panel in panels(dashboard):
        assert panel["description"], panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        for target in panel["targets"]:
            assert "vector(0)" not in target["expr"], "nothing and zero are two things"
            # How far back a counter is looked for that began before the time that is shown.
            expression = target["expr"].replace("[1h] offset $__", "$__")
            windows = set(re.findall(r"\[([^]]*)\]", expression))
            is_instant = bool(target.get("instant"))
            assert windows <= ({"$__range"} if is_instant else {"$__rate_interval"})
    used = set(re.findall(r"\$([a-z]+)\b", json.dumps(expressions(dashboard))))
    offered = {variable["name"] for variable in dashboard["templating"]["list"]}
    assert used == offered - {"datasource"}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_every_metric_and_every_label_is_one_that_is_sent(name: str) -> None:
    for expression in expressions(DASHBOARDS[name]):
        assert asked_names(expression) <= known_names(), expression
        assert asked_labels(expression) <= known_labels(), expression


@pytest.mark.parametrize("alert", ALERTS, ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_what_is_sent_and_is_explained(alert: dict[str, Any]) -> None:
    assert asked_names(alert["expr"]) <= known_names()
    assert asked_labels(alert["expr"]) <= known_labels()
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    titles = re.findall(r"^### (\w+)$", (ROOT / page).read_text(), re.MULTILINE)
    assert anchor in {title.lower() for title in titles}
    assert anchor == alert["alert"].lower()
    shown = {one["uid"]: {panel["title"] for panel in panels(one)} for one in DASHBOARDS.values()}
    assert alert["annotations"]["panel"] in shown[alert["annotations"]["dashboard"]]
    assert alert["labels"]["severity"] in {"warning", "critical"}


def test_every_alert_has_a_test_that_fires_and_one_that_is_silent() -> None:
    tests = yaml.safe_load((ROOT / "collector/alerts/tests.yaml").read_text())["tests"]
    names = [each["name"] for each in tests]
    wanted = [f"{a['alert']} {what}" for a in ALERTS for what in ("fires", "is silent")]
    assert sorted(names) == sorted(wanted)
    for each in tests:
        (asked,) = each["promql_expr_test"]
        assert asked["exp_samples"][0]["value"] == int(each["name"].endswith("fires"))


def test_the_check_catches_a_metric_and_a_label_that_nobody_sends() -> None:
    """The saboteur: a typo in a name would leave a panel empty for ever."""
    assert asked_names('sum by (x) (rate(gen_ai_tool_total{a="b"}[5m])) / 2') == {
        "gen_ai_tool_total"
    }
    assert not {"gen_ai_tool_total"} <= known_names()
    assert asked_labels('sum by (x, le) (rate(y{job=~"$s", z!=""}[5m]))') == {"x", "le", "job", "z"}
