"""What the shipped gateway answers when it cannot take something, by HTTP and by gRPC.

An agent repeats what is answered 503 or UNAVAILABLE and drops nothing meanwhile
(tests/export/test_faults.py); the answers without credentials are in test_attacks.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest

from tests.collector.otlp_json import REQUESTS, Sender, grpc_method, logs, protobuf_of, span
from tests.collector.processes import collector
from tests.collector.store import Store, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from kaizen_otel._collector.run import CollectorProcess

NO_MEMORY = """\
processors:
  memory_limiter: {check_interval: 50ms, limit_mib: 2, spike_limit_mib: 1}
"""
SMALL_QUEUE = """\
exporters:
  elasticsearch: {sending_queue: {sizer: requests, queue_size: 1, batch: null}}
"""


def by_grpc(port: int, signal: str, body: dict[str, Any]) -> str:
    """The name of the status."""
    with grpc.insecure_channel(f"127.0.0.1:{port}", (("grpc.enable_http_proxy", 0),)) as channel:
        try:
            channel.unary_unary(grpc_method(signal))(protobuf_of(signal, body), timeout=10)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


@pytest.fixture
def store() -> Iterator[Store]:
    with Store() as running:
        yield running


def gateway(binary: Path, folder: Path, store: Store, overlay: str) -> CollectorProcess:
    path = folder / "overlay.yaml"
    path.write_text(overlay, encoding="utf-8")
    return collector(binary, folder, ["gateway", path], ELASTICSEARCH_ENDPOINT=store.url)


def test_without_memory_every_receiver_refuses_so_that_it_is_sent_again(
    gateway_binary: Path, tmp_path: Path, store: Store
) -> None:
    with gateway(gateway_binary, tmp_path, store, NO_MEMORY) as process:
        sender = Sender(process.http_port)
        assert wait_until(lambda: sender.status("logs", logs("first")) == 503, seconds=10)
        for signal, request in REQUESTS.items():
            assert sender.status(signal, request(signal)) == 503
            assert by_grpc(process.grpc_port, signal, request(signal)) == "UNAVAILABLE"
        assert Sender(process.audit_port).status("logs", logs("record")) == 503
    trail = tmp_path / "audit" / "audit.jsonl"
    assert not trail.exists() or trail.read_bytes() == b""


def test_with_memory_the_same_requests_are_taken(
    gateway_binary: Path, tmp_path: Path, store: Store
) -> None:
    """The saboteur of the test above."""
    with gateway(gateway_binary, tmp_path, store, "processors: {}\n") as process:
        sender = Sender(process.http_port)
        for signal, request in REQUESTS.items():
            assert sender.status(signal, request(signal)) == 200
            assert by_grpc(process.grpc_port, signal, request(signal)) == "OK"
        assert Sender(process.audit_port).status("logs", logs("record")) == 200
        process.kill()  # it would try to deliver them


def test_a_full_queue_refuses_by_both_protocols_so_that_it_is_sent_again(
    gateway_binary: Path, tmp_path: Path, store: Store
) -> None:
    """What else comes in is not held up by it."""
    store.available = False
    with gateway(gateway_binary, tmp_path, store, SMALL_QUEUE) as process:
        sender = Sender(process.http_port)
        statuses = [sender.status("logs", logs(str(number))) for number in range(30)]
        assert set(statuses) == {200, 503}
        assert by_grpc(process.grpc_port, "logs", logs("more")) == "UNAVAILABLE"
        assert sender.status("traces", span("other")) == 200
        assert Sender(process.audit_port).record("record")
