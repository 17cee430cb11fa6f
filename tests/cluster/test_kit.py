"""What the cluster itself promises: the end of every run compares the machine with before."""

from __future__ import annotations

from tests.cluster.kit import snapshot
from tests.cluster.kit.client import Api
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
