"""The tables of ports and network flows in the chart's README, from its committed renders."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

GOLDEN: Final = Path(__file__).resolve().parent.parent / "tests" / "chart" / "golden"
#: Between them they have every component: all of ours, and the demo's backends.
RENDERS: Final = ("secured", "demonstration")
COMPONENT: Final = "app.kubernetes.io/component"
DNS: Final = 53
INSTANCE: Final = "app.kubernetes.io/instance"

Manifest = dict[str, Any]


def manifests() -> list[Manifest]:
    """The objects of the renders, each name once."""
    found: dict[str, Manifest] = {}
    for name in RENDERS:
        for title, item in yaml.safe_load((GOLDEN / f"{name}.yaml").read_text()).items():
            if isinstance(item, dict):
                found.setdefault(title, item)
    return list(found.values())


def _templates(items: list[Manifest]) -> Iterator[tuple[str, Manifest]]:
    """Component and pod spec."""
    for item in items:
        spec = item.get("spec") or {}
        spec = spec.get("jobTemplate", {}).get("spec", spec)
        template = item if item["kind"] == "Pod" else spec.get("template")
        if template and "spec" in template:
            labels = template["metadata"].get("labels") or item["metadata"]["labels"]
            yield labels[COMPONENT], template["spec"]


def ports(items: list[Manifest]) -> str:
    """Where containers listen, and which Services lead there."""
    rows: dict[tuple[str, int], str] = {}
    for component, pod in _templates(items):
        for one in [*(pod.get("initContainers") or []), *pod["containers"]]:
            for port in one.get("ports") or []:
                services = ", ".join(_services(items, component, port["name"]))
                key = (component, port["containerPort"])
                rows[key] = (
                    f"| {component} | {port['containerPort']} | {port['name']} | {services} |"
                )
    head = ["| component | port | name | Services |", "|---|---|---|---|"]
    return "\n".join([*head, *(rows[key] for key in sorted(rows))])


def _services(items: list[Manifest], component: str, name: str) -> Iterator[str]:
    for item in items:
        if item["kind"] == "Service" and item["spec"]["selector"].get(COMPONENT) == component:
            short = item["metadata"]["name"].removeprefix("release-kaizen-otel-")
            for port in item["spec"]["ports"]:
                if port["targetPort"] == name:
                    yield f"`{short}:{port['port']}`"


def flows(items: list[Manifest]) -> str:
    """What the NetworkPolicies let in and out."""
    rows = []
    for item in sorted(items, key=lambda one: str(one["metadata"]["name"])):
        if item["kind"] == "NetworkPolicy":
            component, spec = item["metadata"]["labels"][COMPONENT], item["spec"]
            taken = _rules(spec.get("ingress") or [], "from", "networkPolicy's peers")
            sent = _rules(spec.get("egress") or [], "to", "anywhere, or networkPolicy's peers")
            rows.append(f"| {component} | {taken} | {sent} |")
    return "\n".join(["| component | takes | sends |", "|---|---|---|", *rows])


def _rules(rules: list[Manifest], side: str, others: str) -> str:
    found = []
    for rule in rules:
        at = ", ".join(str(port["port"]) for port in rule.get("ports", []) if _is_shown(port))
        who = _who(rule.get(side) or [], others)
        found.append("DNS" if at == str(DNS) else f"{at}: {who}")
    return "; ".join(found) or "nothing"


def _is_shown(port: Manifest) -> bool:
    """DNS has both protocols; one says it."""
    return not (port["port"] == DNS and port.get("protocol") == "UDP")


def _who(peers: list[Manifest], others: str) -> str:
    """The components of the release that peers are, or that values decide."""
    names: list[str] = []
    for peer in peers:
        selector = peer.get("podSelector") or {}
        labels = selector.get("matchLabels") or {}
        if INSTANCE not in labels:
            return others
        names += [labels[COMPONENT]] if COMPONENT in labels else []
        names += [name for one in selector.get("matchExpressions") or [] for name in one["values"]]
    return ", ".join(names) or others
