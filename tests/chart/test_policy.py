"""NetworkPolicies: who reaches whom at which port; the evaluator knows Kubernetes' rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.kit.policy import Network, Peer, matches, pod_peer
from tests.chart.kit.rendering import COMPONENT, NAMESPACE, Release
from tests.chart.kit.variants import Charts, variant

TABLE: dict[str, dict[str, bool]] = yaml.safe_load(
    Path(__file__).with_name("policy_cases.yaml").read_text()
)
CASES = [(name, case, allowed) for name, cases in TABLE.items() for case, allowed in cases.items()]
#: Everybody who is no part of the release.
PEERS = {
    one.name: one
    for one in (
        Peer(name="workload", namespace=NAMESPACE, labels={"app": "chat"}, ports={"http": 8080}),
        Peer(name="labelled", namespace=NAMESPACE, labels={"kaizen-otel/agent": "true"}),
        Peer(name="stranger", namespace="elsewhere", labels={"app": "other"}),
        Peer(name="labelled-stranger", namespace="elsewhere", labels={"kaizen-otel/agent": "true"}),
        Peer(name="prometheus", namespace="monitoring", labels={"app": "prometheus"}),
        Peer(name="scraper", namespace=NAMESPACE, labels={"app": "prometheus"}),
        Peer(name="dns", namespace="kube-system", labels={"k8s-app": "kube-dns"}),
        Peer(name="internet", address="203.0.113.7"),
        Peer(name="datacentre", address="192.0.2.80"),
        Peer(name="excepted", address="192.0.2.1"),
    )
}


def peer(release: Release, name: str) -> Peer:
    if name in PEERS:
        return PEERS[name]
    found = [
        template
        for _, template in release.pods()
        if template["metadata"]["labels"][COMPONENT] == name
    ]
    assert found, f"the render has no pods of {name}"
    return pod_peer(name, found[0], NAMESPACE)


@pytest.mark.parametrize(("name", "case", "allowed"), CASES, ids=str)
def test_connection(charts: Charts, name: str, case: str, allowed: bool) -> None:
    release = charts.release(variant(name))
    sender, _, rest = case.partition(" -> ")
    receiver, _, port = rest.rpartition(":")
    protocol, _, number = port.rpartition("/")
    found = Network.of(release).allows(
        peer(release, sender), peer(release, receiver), int(number), protocol or "TCP"
    )
    assert found is allowed


def test_the_table_has_at_least_forty_cases_of_each_kind_of_answer() -> None:
    allowed = [case for _, case, is_allowed in CASES if is_allowed]
    assert len(allowed) >= 40
    assert len(CASES) - len(allowed) >= 40


@pytest.mark.parametrize("name", [name for name in TABLE if name != "bare"])
def test_every_pod_of_the_release_is_ruled_in_both_directions(charts: Charts, name: str) -> None:
    """A pod that no policy selects is open to everybody."""
    release = charts.release(variant(name))
    network = Network.of(release)
    for owner, template in release.pods():
        one = pod_peer(owner, template, NAMESPACE)
        assert network.selecting(one, "Ingress"), owner
        assert network.selecting(one, "Egress"), owner


# ------------------------------------------------------------------------- the evaluator itself
POD = Peer(name="pod", namespace="a", labels={"app": "x"}, ports={"web": 80})
OTHER = Peer(name="other", namespace="a", labels={"app": "y"})
AWAY = Peer(name="away", namespace="b", labels={"app": "y"}, namespace_labels={"team": "t"})
OUTSIDE = Peer(name="outside", address="10.1.2.3")


def policy(**spec: Any) -> Network:  # noqa: ANN401 - any part of a policy
    found = {"podSelector": {}, **spec}
    return Network([{"kind": "NetworkPolicy", "metadata": {"namespace": "a"}, "spec": found}])


@pytest.mark.parametrize(
    ("spec", "sender", "allowed"),
    [
        ({}, OTHER, False),
        ({"ingress": []}, OTHER, False),
        ({"ingress": [{}]}, OTHER, True),
        ({"ingress": [{}]}, OUTSIDE, True),
        ({"policyTypes": ["Egress"], "egress": []}, AWAY, True),
        ({"podSelector": {"matchLabels": {"app": "z"}}}, OTHER, True),
        ({"ingress": [{"from": [{"podSelector": {}}]}]}, OTHER, True),
        ({"ingress": [{"from": [{"podSelector": {}}]}]}, AWAY, False),
        ({"ingress": [{"from": [{"podSelector": {}}]}]}, OUTSIDE, False),
        ({"ingress": [{"from": [{"namespaceSelector": {}}]}]}, AWAY, True),
        (
            {"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "t"}}}]}]},
            AWAY,
            True,
        ),
        (
            {"ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "u"}}}]}]},
            AWAY,
            False,
        ),
        (
            {
                "ingress": [
                    {
                        "from": [
                            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "x"}}}
                        ]
                    }
                ]
            },
            AWAY,
            False,
        ),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}, OUTSIDE, True),
        (
            {
                "ingress": [
                    {"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16"]}}]}
                ]
            },
            OUTSIDE,
            False,
        ),
        ({"ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]}, OTHER, False),
        ({"ingress": [{"ports": [{"port": 80}]}]}, OTHER, True),
        ({"ingress": [{"ports": [{"port": "web"}]}]}, OTHER, True),
        ({"ingress": [{"ports": [{"port": "other"}]}]}, OTHER, False),
        ({"ingress": [{"ports": [{"port": 81}]}]}, OTHER, False),
        ({"ingress": [{"ports": [{"port": 79, "endPort": 81}]}]}, OTHER, True),
        ({"ingress": [{"ports": [{"port": 80, "protocol": "UDP"}]}]}, OTHER, False),
        ({"ingress": [{"ports": [{"protocol": "TCP"}]}]}, OTHER, True),
    ],
)
def test_the_evaluator_follows_the_rules_of_kubernetes(
    spec: dict[str, Any], sender: Peer, allowed: bool
) -> None:
    assert policy(**spec).allows(sender, POD, 80) is allowed


def test_egress_and_ingress_must_both_allow() -> None:
    closed = policy(policyTypes=["Egress"], podSelector={"matchLabels": {"app": "y"}}, egress=[])
    assert not closed.allows(OTHER, POD, 80)
    assert closed.allows(POD, AWAY, 80)
    named = policy(policyTypes=["Egress"], egress=[{"ports": [{"port": "web"}]}])
    assert named.allows(OTHER, POD, 80)
    assert not named.allows(POD, OTHER, 80)


@pytest.mark.parametrize(
    ("expression", "found"),
    [
        ({"key": "app", "operator": "In", "values": ["x", "y"]}, True),
        ({"key": "app", "operator": "NotIn", "values": ["x"]}, False),
        ({"key": "none", "operator": "NotIn", "values": ["x"]}, True),
        ({"key": "app", "operator": "Exists"}, True),
        ({"key": "none", "operator": "Exists"}, False),
        ({"key": "app", "operator": "DoesNotExist"}, False),
    ],
)
def test_a_selector_by_expression(expression: dict[str, Any], found: bool) -> None:
    assert matches({"matchExpressions": [expression]}, {"app": "x"}) is found
    assert not matches(None, {"app": "x"})
