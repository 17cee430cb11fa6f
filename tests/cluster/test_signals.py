"""``helm test``: one span, metric, log and audit record, found where they belong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster.agents import trail_folder, wait_until_clean
from tests.cluster.backends import (
    put_templates,
    start_elasticsearch,
    start_jaeger,
    start_prometheus,
)
from tests.cluster.room import PREFIX, RELEASE, Refused, Room, base_values, changed


def test_all_four_signals_are_found_and_a_missing_backend_is_said(
    room: Room, need_images: Callable[..., None]
) -> None:
    need_images("jaeger", "prometheus", "elasticsearch")
    room.add_volumes(1)
    start_elasticsearch(room)
    start_jaeger(room)
    start_prometheus(room)
    tested = {
        "enabled": True,
        "jaegerUrl": "http://jaeger:16686",
        "prometheusUrl": "http://prometheus:9090",
        "elasticsearchUrl": "http://elasticsearch:9200",
    }
    room.install(changed(base_values(room), test=tested))
    for name in ("jaeger", "prometheus", "elasticsearch"):
        room.api.wait_ready(name, room.name, wait_s=180)
    put_templates(room)
    room.run_helm("test", RELEASE, "--timeout", "120s")
    found = room.kubectl("logs", f"job/{PREFIX}-test-signals")
    for where in ("traces: arrived", "metrics: arrived", "logs: arrived", "audit: arrived"):
        assert where in found
    wait_until_clean(trail_folder(room))

    room.api.delete("Service", "prometheus", room.name)
    room.api.delete("Pod", "prometheus", room.name, grace_s=0)
    with pytest.raises(Refused):
        room.run_helm("test", RELEASE, "--timeout", "120s")
