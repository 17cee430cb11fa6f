"""What the cluster itself promises: the end of every run compares the machine with before."""

from __future__ import annotations

from tests.cluster.kit import snapshot
from tests.cluster.kit.client import Api
from tests.cluster.kit.host import led_to
from tests.cluster.room import Room
from tests.cluster.sharing import Facts


def test_what_is_compared_at_the_end_would_show_a_cluster_that_was_left(api: Api) -> None:
    now = snapshot.machine()
    nothing: dict[str, object] = {
        "settings": {},
        "firewall": {},
        "links": [],
        "mounts": [],
        "groups": [],
    }
    found = snapshot.differences(nothing, now)
    assert {"firewall", "links", "mounts"} <= set(found)
    settings = now["settings"]
    assert isinstance(settings, dict)
    other = now | {"settings": settings | {"kernel/panic": "0"}}
    assert settings["kernel/panic"] == "10", "the kubelet's"
    assert snapshot.differences(now, other) == {"settings": {"kernel/panic": "0"}}


def test_what_a_killed_start_left_is_put_back_by_the_next_one(after_a_crash: Facts) -> None:
    assert {"firewall", "links"} <= set(after_a_crash["changed"])
    assert after_a_crash["left"] == {}


def test_an_address_is_told_once_the_node_leads_from_it_to_the_pods_that_are_ready(
    room: Room,
) -> None:
    """Before that the network outside may answer: a request went astray so, and got a 404."""
    program = "import http.server as web; web.test(web.SimpleHTTPRequestHandler, port=8080)"
    spec = {"selector": {"role": "served"}, "ports": [{"port": 80, "targetPort": 8080}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "served"}, "spec": spec}
    room.api.apply(service, room.name)
    names = ("first", "second")
    for name in names:
        room.run_python(name, program, labels={"role": "served"})
    pods = [room.api.wait_ready(name, room.name) for name in names]
    assert room.address("served")
    assert led_to(room.name, "served") == {f"{pod['status']['podIP']}:8080" for pod in pods}
    room.api.delete("Pod", "first", room.name, grace_s=0)
    room.api.wait_gone("Pod", "first", room.name)
    assert room.address("served")
    assert led_to(room.name, "served") == {f"{pods[1]['status']['podIP']}:8080"}
