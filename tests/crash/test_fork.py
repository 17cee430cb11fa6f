"""fork(): the child has a stream, numbers and threads of its own, and the parent keeps its lock."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._spool.files import stream_ids
from kaizen_otel._spool.stream import Stream
from kaizen_otel.audit._stored import read_spool
from kaizen_otel.audit.record import OWN_EVENTS

_ROOT = Path(__file__).parents[2]

_PROGRAM = """
import os, sys, threading, uuid
from kaizen_otel._edges import OsFilesystem
from kaizen_otel._export import Delivered, Retryable
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._spool.files import stream_ids
from kaizen_otel._spool.stream import Stream
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config

class Nobody:
    description = "nobody"
    def send(self, signal, body, *, deadline_ns):
        return Retryable(reason="unreachable", message="nobody")
    def close(self):
        pass

root = sys.argv[1]
manager = AuditTrailManager(
    config=Config.from_environment({"KAIZEN_OTEL_SPOOL_DIR": root}),
    transport=Nobody(), warn=lambda _: None,
    resource=lambda: encode_resource({"service.instance.id": str(uuid.uuid4())}),
)

def record(who, count):
    for number in range(count):
        assert manager.record(who, "tool_execute", {}, "success").wait(20)

stop = threading.Event()
def busy():
    while not stop.is_set():
        manager.record("busy", "tool_execute", {}, "success")
        stop.wait(0.001)

record("parent", 5)
thread = threading.Thread(target=busy, daemon=True)
thread.start()
[parents] = stream_ids(OsFilesystem(), root)
children = []
for number in range(4):
    child = os.fork()
    if child == 0:
        assert manager.status().emitted == 0, manager.status()
        record(f"child{number}", 7)
        # Holding the parent's open file must not let anyone else have its stream.
        assert Stream.adopt(root, parents, filesystem=OsFilesystem()) is None
        manager.shutdown(50)
        os._exit(0)
    children.append(child)
for child in children:
    assert os.waitpid(child, 0)[1] == 0
stop.set()
thread.join()
record("parent", 5)
if sys.argv[2] == "grandchild":
    # It outlives the parent and never audits: the parent's lock must not live on in it.
    if os.fork() == 0:
        os.close(1)
        os.close(2)
        sys.stdin.read()
        os._exit(0)
print("done", flush=True)
os._exit(0)
"""


def _run(root: Path, mode: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", _PROGRAM, str(root), mode],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    first = process.stdout.readline()
    assert first == "done\n", process.stderr.read()
    process.wait(30)
    return process


def _adopted_in_time(root: Path, stream_id: str) -> Stream:
    """Adopt a stream as soon as the child has let go of what it inherited."""
    never = threading.Event()
    for _ in range(400):
        stream = Stream.adopt(str(root), stream_id, filesystem=OsFilesystem())
        if stream is not None:
            return stream
        never.wait(0.025)
    raise AssertionError(f"the lock of {stream_id} is still held")


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
def test_parent_and_children_have_streams_of_their_own(tmp_path: Path) -> None:
    process = _run(tmp_path, "alone")
    process.communicate(timeout=10)
    records = list(read_spool(OsFilesystem(), str(tmp_path)))
    by_stream: dict[object, set[str]] = {}
    numbers: dict[object, list[int]] = {}
    resources: dict[object, set[object]] = {}
    begins: dict[object, set[object]] = {}
    for record in records:
        stream_id = record.attributes["audit.sequence.stream_id"]
        sequence = record.attributes["audit.sequence.number"]
        assert isinstance(sequence, int)
        by_stream.setdefault(stream_id, set())
        if record.event_name not in OWN_EVENTS:
            by_stream[stream_id].add(record.agent)
        previous = record.attributes.get("kaizen.audit.previous_stream_id")
        if record.event_name == "kaizen.audit.started":
            begins.setdefault(previous, set()).add(stream_id)
        numbers.setdefault(stream_id, []).append(sequence)
        instance = record.resource["service.instance.id"]
        resources.setdefault(stream_id, set()).add(instance)
    owners = sorted("+".join(sorted(agents)) for agents in by_stream.values())
    assert owners == ["busy+parent", "child0", "child1", "child2", "child3"]
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())
    [parent] = begins.pop(None)
    assert begins == {parent: set(by_stream) - {parent}}
    instances = [instance for found in resources.values() for instance in found]
    assert len(instances) == len(set(instances)) == 5


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
def test_a_child_that_outlives_its_parent_does_not_keep_the_parents_stream(tmp_path: Path) -> None:
    process = _run(tmp_path, "grandchild")
    filesystem = OsFilesystem()
    adopted = [
        _adopted_in_time(tmp_path, stream_id) for stream_id in stream_ids(filesystem, str(tmp_path))
    ]
    assert len(adopted) == 5
    for stream in adopted:
        stream.close()
    process.communicate(timeout=10)
