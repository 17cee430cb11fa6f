"""Prometheus in the cluster with the rules that the chart ships, and which of its alerts fire."""

from __future__ import annotations

import json
import urllib.request

import yaml

from kaizen_otel._stack import prometheus
from tests.cluster.backends import start_prometheus
from tests.cluster.kit.client import Object, wait_until
from tests.cluster.room import PREFIX, Room

RULES = f"{PREFIX}-rules"
FILE = prometheus.RULES
#: Of the alert that a test waits for: the rest of its rule is the shipped one.
PATIENCE = {"> 120": "> 2", "5m": "1s"}


def impatient(text: str, alert: str) -> str:
    """A copy of one alert that fires seconds after what it fires minutes after as shipped."""
    groups: list[Object] = yaml.safe_load(text)["groups"]
    (rule,) = [one for group in groups for one in group["rules"] if one.get("alert") == alert]
    shipped, soon = PATIENCE.items()
    assert shipped[0] in rule["expr"]
    assert rule["for"] == soon[0]
    rule["expr"], rule["for"] = rule["expr"].replace(*shipped), soon[1]
    rule["labels"] = {"impatient": "true"}
    return yaml.safe_dump({"groups": [{"name": "impatient", "rules": [rule]}]})


def start_alerting(room: Room, alert: str) -> None:
    """Prometheus with the chart's ConfigMap of rules, and with a copy of one that does not wait."""
    shipped = room.api.get("ConfigMap", RULES, room.name)
    assert shipped is not None
    settings = prometheus.configuration()
    settings["global"] = {"evaluation_interval": "1s"}
    settings["rule_files"] = [f"/shipped/{FILE}", f"/settings/{FILE}"]
    files = {"prometheus.yml": yaml.safe_dump(settings)}
    files[FILE] = impatient(shipped["data"][FILE], alert)
    metadata = {"name": "prometheus"}
    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files}
    room.api.apply(config, room.name)
    start_prometheus(
        room,
        config="/settings/prometheus.yml",
        config_maps={"/settings": "prometheus", "/shipped": RULES},
    )
    room.api.wait_ready("prometheus", room.name)


def alerts(room: Room) -> list[tuple[str, dict[str, str]]]:
    """The alerts that fire, with their labels."""
    url = f"http://{room.address('prometheus')}:9090/api/v1/alerts"
    with urllib.request.urlopen(url, timeout=10) as answer:
        found = json.load(answer)["data"]["alerts"]
    return [
        (one["labels"]["alertname"], one["labels"]) for one in found if one["state"] == "firing"
    ]


def wait_until_fires(room: Room, alert: str, **labels: str) -> None:
    """Return when it fires for what has these labels."""
    wait_until(
        lambda: any(
            name == alert and labels.items() <= found.items() for name, found in alerts(room)
        ),
        lambda: f"{alert} of {labels} does not fire: {alerts(room)}",
    )


def wait_until_silent(room: Room, alert: str) -> None:
    """Return when it does not fire any more."""
    wait_until(
        lambda: alert not in dict(alerts(room)),
        lambda: f"{alert} still fires: {alerts(room)}",
    )
