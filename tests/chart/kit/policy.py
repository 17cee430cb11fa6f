"""Who may reach whom: rendered NetworkPolicies judged as Kubernetes defines them.

A connection is allowed if the sender's egress and the receiver's ingress both allow it.  A pod that
no policy of a direction selects is open in that direction; one that any selects takes only what at
least one of them allows.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.chart.kit.rendering import Manifest, Release

NAMESPACE_NAME = "kubernetes.io/metadata.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A pod, or an address outside the cluster."""

    name: str
    namespace: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    #: Port numbers by name, of a pod.
    ports: Mapping[str, int] = field(default_factory=dict)
    address: str = ""

    @property
    def is_pod(self) -> bool:
        return not self.address


def matches(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """A label selector; an empty one takes everything, none takes nothing."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in selector.get("matchLabels", {}).items()):
        return False
    return all(_holds(one, labels) for one in selector.get("matchExpressions", []))


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values", [])
    held = {
        "In": labels.get(key) in values,
        "NotIn": labels.get(key) not in values,
        "Exists": key in labels,
        "DoesNotExist": key not in labels,
    }
    return held[expression["operator"]]


def _is_peer(rule: Mapping[str, Any], peer: Peer, namespace: str) -> bool:
    """One entry of ``from`` or ``to`` of a policy in a namespace."""
    if block := rule.get("ipBlock"):
        if peer.is_pod:
            return False
        address = ipaddress.ip_address(peer.address)
        inside = address in ipaddress.ip_network(block["cidr"])
        return inside and not any(
            address in ipaddress.ip_network(one) for one in block.get("except", [])
        )
    if not peer.is_pod:
        return False
    if "namespaceSelector" in rule:
        names = {**peer.namespace_labels, NAMESPACE_NAME: peer.namespace}
        if not matches(rule["namespaceSelector"], names):
            return False
    elif peer.namespace != namespace:
        return False
    return "podSelector" not in rule or matches(rule["podSelector"], peer.labels)


def _is_port(rule: Mapping[str, Any], receiver: Peer, port: int, protocol: str) -> bool:
    if rule.get("protocol", "TCP") != protocol:
        return False
    wanted = rule.get("port")
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return receiver.ports.get(wanted) == port
    return bool(wanted <= port <= rule.get("endPort", wanted))


@dataclass(frozen=True, slots=True)
class Network:
    """The policies of one render."""

    policies: list[Manifest]

    @classmethod
    def of(cls, release: Release) -> Network:
        return cls(release.of_kind("NetworkPolicy"))

    def allows(self, sender: Peer, receiver: Peer, port: int, protocol: str = "TCP") -> bool:
        """Whether a connection can be made."""
        return self._direction("Egress", sender, receiver, port, protocol) and self._direction(
            "Ingress", receiver, sender, port, protocol
        )

    def selecting(self, pod: Peer, direction: str) -> list[Manifest]:
        """The policies that hold for a pod."""
        return [
            item
            for item in self.policies
            if pod.is_pod
            and item["metadata"]["namespace"] == pod.namespace
            and direction in _types(item["spec"])
            and matches(item["spec"]["podSelector"], pod.labels)
        ]

    def _direction(self, name: str, pod: Peer, other: Peer, port: int, protocol: str) -> bool:
        policies = self.selecting(pod, name)
        receiver = pod if name == "Ingress" else other
        side = "from" if name == "Ingress" else "to"
        rules = (rule for item in policies for rule in item["spec"].get(name.lower()) or [])
        return not policies or any(
            self._rule(rule, side, other, pod.namespace)
            and _any_port(rule.get("ports"), receiver, port, protocol)
            for rule in rules
        )

    @staticmethod
    def _rule(rule: Mapping[str, Any], side: str, other: Peer, namespace: str) -> bool:
        """An empty or missing list of peers is everybody."""
        peers = rule.get(side)
        return not peers or any(_is_peer(one, other, namespace) for one in peers)


def _any_port(
    rules: Iterable[Mapping[str, Any]] | None, receiver: Peer, port: int, protocol: str
) -> bool:
    return not rules or any(_is_port(one, receiver, port, protocol) for one in rules)


def _types(spec: Mapping[str, Any]) -> list[str]:
    """Kubernetes' default: Ingress, and Egress only if there are such rules."""
    default = ["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]
    found: list[str] = spec.get("policyTypes") or default
    return found


def pod_peer(name: str, template: Manifest, namespace: str) -> Peer:
    """A pod that the chart makes."""
    spec = template["spec"]
    containers = [*(spec.get("initContainers") or []), *spec["containers"]]
    ports = {
        port["name"]: port["containerPort"]
        for container in containers
        for port in container.get("ports") or []
        if "name" in port
    }
    return Peer(
        name=name,
        namespace=namespace,
        labels=template["metadata"].get("labels") or {},
        ports=ports,
    )
