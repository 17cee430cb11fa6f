"""Forks, the end of the interpreter, and threads that cannot be started: in real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from kaizen_otel._export import Delivered
from kaizen_otel._otlp.decode import decode_traces_request
from kaizen_otel.testing.fakes import FakeTransport
from tests.export.servers import RawServer, answer, answering
from tests.unit._export.kit import item, make_exporter, names

START = """
import json, os, sys, threading
from kaizen_otel._edges import SystemClock
from kaizen_otel._export.buffer import Ledger
from kaizen_otel._export.exporter import Exporter
from kaizen_otel._export.transports import open_transport
from kaizen_otel.config import EndpointConfig
from tests.unit._export.kit import item
clock, ledger = SystemClock(), Ledger()
endpoint = EndpointConfig(signal="traces", endpoint=sys.argv[1], protocol=sys.argv[2])
exporter = Exporter(
    transports={"traces": open_transport(endpoint, clock=clock)}, ledger=ledger, clock=clock,
    ids_random=lambda: 0.5, interval_ms=1000000, warn=lambda text: print(text, file=sys.stderr),
)
def tell(who):
    one = ledger.snapshot().signals["traces"]
    assert ledger.snapshot().reconciles()
    text = {"who": who, "offered": one.offered, "delivered": one.delivered,
            "dropped": one.dropped, "buffered": one.buffered}
    os.write(1, json.dumps(text).encode() + b"\\n")
"""

FORK = """
for number in range(3):
    exporter.offer("traces", item(f"before{number}"))
exporter.flush(20000)
for number in range(5):
    exporter.offer("traces", item(f"parent{number}"))
children = []
for child in range(3):
    pid = os.fork()
    if pid == 0:
        tell("child at its start")
        for number in range(child + 1):
            exporter.offer("traces", item(f"child{child}.{number}"))
        assert exporter.flush(20000)
        tell("child")
        os._exit(0)
    children.append(pid)
assert all(os.waitpid(pid, 0)[1] == 0 for pid in children)
assert exporter.shutdown(20000)
tell("parent")
"""

FORK_WHILE_BUSY = """
stop = threading.Event()
def offer():
    while not stop.wait(0.0005):
        exporter.offer("traces", item("busy"))
threads = [threading.Thread(target=offer) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(10):
    pid = os.fork()
    if pid == 0:
        exporter.offer("traces", item("child"))
        is_delivered = exporter.flush(20000)
        os._exit(0 if is_delivered and ledger.snapshot().reconciles() else 1)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
assert exporter.shutdown(20000)
tell("parent")
"""


def run(
    program: str, url: str, protocol: str = "http/protobuf", **variables: str
) -> tuple[list[dict[str, Any]], str]:
    found = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", START + program, url, protocol],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **variables},
    )
    assert found.returncode == 0, found.stderr
    return [json.loads(line) for line in found.stdout.splitlines()], found.stderr


def received(server: RawServer) -> list[str]:
    return [name for _, body in server.requests for name in names(decode_traces_request(body))]


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@needs_fork
def test_a_forked_child_starts_empty_its_spans_arrive_and_the_parents_arrive_once() -> None:
    with RawServer(answering(answer())) as server:
        told, _ = run(FORK, f"http://127.0.0.1:{server.port}/v1/traces")
        expected = {f"before{n}" for n in range(3)} | {f"parent{n}" for n in range(5)}
        expected |= {f"child{c}.{n}" for c in range(3) for n in range(c + 1)}
        assert sorted(received(server)) == sorted(expected), "each exactly once"
    starts = [one for one in told if one["who"] == "child at its start"]
    assert [(one["offered"], one["buffered"]) for one in starts] == [(0, 0)] * 3
    children = sorted(one["delivered"] for one in told if one["who"] == "child")
    assert children == [1, 2, 3]
    assert told[-1]["who"] == "parent"
    assert told[-1]["delivered"] == 8
    assert told[-1]["dropped"] == {}


@needs_fork
def test_forks_while_other_threads_offer_and_send_never_block_the_child() -> None:
    with RawServer(answering(answer())) as server:
        told, _ = run(FORK_WHILE_BUSY, f"http://127.0.0.1:{server.port}/v1/traces")
        assert received(server).count("child") == 10
    assert told[-1]["buffered"] == 0


UNSTARTED = """
threading.stack_size(1 << 46)  # no thread can be started any more
exporter.offer("traces", item("a"))
assert exporter.flush(20000)
exporter.offer("traces", item("b"))
assert exporter.shutdown(20000)
tell("end")
"""


def test_where_no_thread_can_be_started_flush_sends_on_the_callers_thread() -> None:
    with RawServer(answering(answer())) as server:
        told, _ = run(UNSTARTED, f"http://127.0.0.1:{server.port}/v1/traces")
        assert received(server) == ["a", "b"]
    assert told[-1]["delivered"] == 2


def test_where_no_thread_can_be_started_a_dead_server_keeps_flush_no_longer_than_asked() -> None:
    program = UNSTARTED.replace("20000", "50").replace("assert exporter", "assert not exporter")
    told, errors = run(program, "http://127.0.0.1:1/v1/traces")
    assert told[-1]["dropped"] == {"shutdown": 2}
    assert "connection refused" in errors


EXIT = """
import atexit
atexit.register(lambda: (exporter.shutdown(20000), tell("exit")))
exporter.offer("traces", item("a"))
sys.exit(0)
"""


def test_the_interpreter_ends_cleanly_and_what_waits_is_sent_by_an_exit_function() -> None:
    with RawServer(answering(answer())) as server:
        told, errors = run(EXIT, f"http://127.0.0.1:{server.port}/v1/traces")
        assert received(server) == ["a"]
    assert told[-1]["delivered"] == 1
    assert errors == ""


def test_the_interpreter_ends_cleanly_while_a_request_hangs() -> None:
    def hang(connection: object, number: int, server: RawServer) -> None:
        del connection, number
        server.over.wait()

    program = 'exporter.offer("traces", item("a"))\nexporter.flush(50)\n'
    with RawServer(hang) as server:
        _, errors = run(program, f"http://127.0.0.1:{server.port}/v1/traces")
    assert errors == ""


GRPC_FORK = """
assert "grpc" in sys.modules
exporter.offer("traces", item("parent"))
assert exporter.flush(20000)
pid = os.fork()
if pid == 0:
    exporter.offer("traces", item("child"))
    is_delivered = exporter.flush(20000)
    tell("child")
    os._exit(0 if is_delivered else 1)
assert os.waitpid(pid, 0)[1] == 0
assert exporter.shutdown(20000)
tell("parent")
"""


@needs_fork
def test_a_child_of_a_process_with_grpc_sends_when_grpc_was_told_of_forks() -> None:
    from tests.export.test_grpc_transport import serving

    with serving() as (service, port):
        told, _ = run(
            GRPC_FORK, f"http://127.0.0.1:{port}", "grpc", GRPC_ENABLE_FORK_SUPPORT="true"
        )
        found = [r.resource_spans[0].scope_spans[0].spans[0].name for r in service.requests]
    assert sorted(found) == ["child", "parent"]
    assert [one["delivered"] for one in told] == [1, 1]


def test_flush_returns_at_its_deadline_while_the_transport_never_returns() -> None:
    """Even a transport that breaks its promise cannot hold the user's thread."""
    transport = FakeTransport(after=lambda *_: Delivered())
    transport.is_open.clear()
    exporter, ledger, _ = make_exporter({"traces": transport}, timeout_ms=60_000)
    exporter.offer("traces", item())
    assert not exporter.flush(50)
    assert not exporter.shutdown(50)
    assert ledger.snapshot().signals["traces"].dropped == {"unknown": 1}
    assert ledger.snapshot().reconciles()
    transport.is_open.set()
