"""A folder that cannot take records is said to be so, with the reason, and never by hanging."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaizen_otel._trail.guard import TEST_FILE, Guard, Readiness, Space
from kaizen_otel._trail.guard_server import PATH, GuardServer, address_of
from kaizen_otel.errors import ConfigError, SetupError
from kaizen_otel.testing import FixedClock
from kaizen_otel.testing.memory_filesystem import Call, Fault, MemoryFilesystem, fail_operation

PLENTY = Space(bytes_free=1 << 40, files_free=1 << 20)


def guard(
    filesystem: MemoryFilesystem | None = None,
    *,
    space: Callable[[str], Space] = lambda _: PLENTY,
    clock: FixedClock | None = None,
) -> Guard:
    disk = filesystem or MemoryFilesystem()
    if "audit" not in disk.names("/"):
        disk.make_directory("/audit")
    return Guard(
        "/audit",
        bytes_free_min=1000,
        files_free_min=10,
        timeout_s=2,
        filesystem=disk,
        clock=clock or FixedClock(),
        space_of=space,
    )


def test_a_folder_with_room_that_can_be_written_is_ready_and_left_as_it_was() -> None:
    disk = MemoryFilesystem()
    assert guard(disk).check() == Readiness(
        ready=True, bytes_free=PLENTY.bytes_free, files_free=PLENTY.files_free
    )
    assert disk.names("/audit") == []
    assert [call.operation for call in disk.calls][-4:] == ["write", "sync", "close", "remove"]


@pytest.mark.parametrize(
    ("space", "word"),
    [
        (Space(bytes_free=999, files_free=1000), "999 bytes are free"),
        (Space(bytes_free=1000, files_free=9), "9 inodes are free"),
        (Space(bytes_free=0, files_free=None), "enlarge the volume or prune the trail"),
    ],
)
def test_too_little_room_is_not_ready_before_anything_is_written(space: Space, word: str) -> None:
    disk = MemoryFilesystem()
    found = guard(disk, space=lambda _: space).check()
    assert not found.ready
    assert word in found.reason
    assert "create" not in [call.operation for call in disk.calls]


def test_the_limits_themselves_are_enough_and_no_fixed_number_of_inodes_is_no_lack() -> None:
    assert guard(space=lambda _: Space(bytes_free=1000, files_free=10)).check().ready
    assert guard(space=lambda _: Space(bytes_free=1000, files_free=None)).check().ready


@pytest.mark.parametrize("operation", ["create", "write", "sync", "remove"])
def test_any_step_of_the_write_that_fails_is_not_ready(operation: str) -> None:
    disk = MemoryFilesystem()
    looking = guard(disk)
    disk.fault = fail_operation(operation, Fault(error=errno.EIO))
    found = looking.check()
    assert not found.ready
    assert "/audit cannot be written: Input/output error" in found.reason
    disk.fault = None
    assert looking.check().ready, "what a failed look left behind does not fail the next one"


def test_a_write_that_is_cut_short_is_not_ready() -> None:
    found = guard(MemoryFilesystem(bytes_max=100)).check()
    assert "No space left on device" in found.reason


def test_a_folder_that_the_collector_has_not_made_yet_is_not_ready_and_says_so() -> None:
    def missing(_: str) -> Space:
        raise FileNotFoundError(errno.ENOENT, "no such directory")

    assert "the Collector makes it when it starts" in guard(space=missing).check().reason


def test_what_a_killed_look_left_behind_is_removed() -> None:
    disk = MemoryFilesystem()
    looking = guard(disk)
    disk.close(disk.create(f"/audit/{TEST_FILE}"))
    assert looking.check().ready
    assert disk.names("/audit") == []


def test_a_disk_that_hangs_is_not_ready_and_is_asked_once_only() -> None:
    """A thread for each probe would pile up until the process ends."""
    hangs, asked = threading.Event(), threading.Event()
    clock, looks = FixedClock(), []

    def hang(call: Call) -> Fault | None:
        if call.operation == "sync":
            looks.append(call)
            asked.set()
            hangs.wait(30)
        return None

    disk = MemoryFilesystem()
    looking = guard(disk, clock=clock)
    disk.fault = hang
    found: list[Readiness] = []
    probes = [threading.Thread(target=lambda: found.append(looking.check())) for _ in range(3)]
    for probe in probes:
        probe.start()
    assert asked.wait(30)
    while any(probe.is_alive() for probe in probes):
        clock.advance(2001)
        probes[0].join(0.01)
    assert [each.ready for each in found] == [False] * 3
    assert "takes longer than 2 s" in found[0].reason
    assert len(looks) == 1
    hangs.set()


@contextmanager
def answering(looking: Guard) -> Iterator[str]:
    with GuardServer(looking, "127.0.0.1", 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_probes_are_answered_with_200_or_with_503_and_the_reason() -> None:
    spaces = [PLENTY, Space(bytes_free=1, files_free=None)]
    with answering(guard(space=lambda _: spaces.pop(0))) as url:
        with urllib.request.urlopen(f"{url}{PATH}", timeout=10) as answer:
            assert json.load(answer)["ready"] is True
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"{url}{PATH}", timeout=10)
        assert refused.value.code == 503
        assert "1 bytes are free" in json.load(refused.value)["reason"]
        refused.value.close()


def test_what_is_new_is_said_once_because_a_kubelet_does_not_show_the_reason() -> None:
    low = Space(bytes_free=1, files_free=None)
    spaces, said = [PLENTY, PLENTY, low, low, PLENTY], list[str]()
    with GuardServer(
        guard(space=lambda _: spaces.pop(0)), "127.0.0.1", 0, say=said.append
    ) as server:
        for _ in range(5):
            server.look()
    assert [line.partition(":")[0] for line in said] == ["ready", "not ready", "ready"]
    assert "1 bytes are free" in said[1]


def test_nothing_but_the_probe_is_answered() -> None:
    with answering(guard()) as url, pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{url}/", timeout=10)
    assert refused.value.code == 404
    refused.value.close()


def test_an_address_that_is_taken_is_said() -> None:
    with answering(guard()) as url, pytest.raises(SetupError, match="cannot be listened on"):
        GuardServer(guard(), "127.0.0.1", int(url.rpartition(":")[2]))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:13134", ("0.0.0.0", 13134)),
        (":80", ("127.0.0.1", 80)),
        ("[::1]:1", ("::1", 1)),
    ],
)
def test_an_address_is_a_host_and_a_port_and_loopback_unless_told(
    text: str, address: tuple[str, int]
) -> None:
    assert address_of(text) == address


@pytest.mark.parametrize("text", ["", "localhost", "host:", "host:x", "host:70000", "host:-1"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:13134"):
        address_of(text)


def test_the_command_answers_until_it_is_asked_to_end(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from kaizen_otel._cli import main; main()", "audit", "guard"]
    options = ["--directory", str(tmp_path), "--min-free", "1", "--listen", "127.0.0.1:0"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        with urllib.request.urlopen(url, timeout=10) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    assert list(tmp_path.iterdir()) == []
