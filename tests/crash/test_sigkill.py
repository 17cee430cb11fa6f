"""Real processes, a real disk, SIGKILL at random moments: what was acknowledged is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._otlp.decode import decode_log_record, decode_logs_request
from kaizen_otel._otlp.json import iter_log_records
from kaizen_otel._spool.files import segment_paths, stream_ids
from kaizen_otel._spool.segment import scan
from kaizen_otel.audit._stored import read_spool
from kaizen_otel.audit.query import stored_record
from tests.unit._spool.spool_kit import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_VICTIM = Path(__file__).with_name("victim.py")
_ROOT = Path(__file__).parents[2]
_KILLS = 12


def _run(*arguments: str, kill_after_s: float | None = None) -> list[str]:
    """Run the victim; what it said it had acknowledged.  ``kill_after_s`` counts from then on."""
    process = subprocess.Popen(
        [sys.executable, str(_VICTIM), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=_ROOT,
        env={"PYTHONPATH": str(_ROOT), "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[bytes] = []
    first = threading.Event()

    def collect() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            first.set()

    reader = threading.Thread(target=collect)
    reader.start()
    if kill_after_s is not None:
        assert first.wait(30), process.stderr.read().decode()
        time.sleep(kill_after_s)  # the moment of the kill is what is being varied
        process.send_signal(signal.SIGKILL)
    process.wait(60)
    reader.join(10)
    errors = process.stderr.read().decode()
    process.stdout.close()
    process.stderr.close()
    assert kill_after_s is not None or errors == ""
    # A line without its end was not said.
    return [line.decode().strip() for line in lines if line.endswith(b"\n")]


def _texts(directory: Path) -> list[str]:
    filesystem = OsFilesystem()
    found: list[str] = []
    for stream_id in stream_ids(filesystem, str(directory)):
        for path in segment_paths(filesystem, str(directory / stream_id)):
            result = scan(filesystem.read(path, 0, filesystem.size(path)))
            assert result.damages == []
            found += [text_of(decode_log_record(entry.payload)) for entry in result.entries]
    return found


def _kill(mode: str, directory: Path, chance: random.Random) -> tuple[int, set[str]]:
    """Kill once; how many were acknowledged and which of them are missing."""
    said = set(_run(mode, str(directory), kill_after_s=chance.uniform(0.0, 0.25)))
    return len(said), said - set(_texts(directory))


def test_no_acknowledged_record_is_lost_by_sigkill(tmp_path: Path) -> None:
    chance, acknowledged = random.Random(4), 0
    for number in range(_KILLS):
        count, missing = _kill("spool", tmp_path / str(number), chance)
        acknowledged += count
        assert missing == set()
    assert acknowledged > 10 * _KILLS


def test_the_same_test_finds_the_loss_when_records_are_acknowledged_before_they_are_written(
    tmp_path: Path,
) -> None:
    chance = random.Random(5)
    assert any(_kill("saboteur", tmp_path / str(n), chance)[1] for n in range(_KILLS))


class _Server(ThreadingHTTPServer):
    """A receiver of OTLP over HTTP that answers 503 now and then."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.ids: set[str] = set()
        self.requests = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name
        """Say nothing."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server.requests += 1
        is_refused = server.requests % 7 == 3
        if not is_refused:
            for record, resource in iter_log_records(decode_logs_request(body)):
                found = stored_record(record, resource)
                assert found is not None
                server.ids.add(found.record_id)
        self.send_response(503 if is_refused else 200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_spool_and_receiver_together_hold_every_acknowledged_record(
    tmp_path: Path, server: _Server
) -> None:
    """One spool root through all kills, so each process also ships what the killed ones left."""
    chance, acknowledged = random.Random(6), set[str]()
    url = f"http://127.0.0.1:{server.server_port}"
    for _ in range(_KILLS // 2):
        said = _run("manager", str(tmp_path), url, kill_after_s=chance.uniform(0.0, 0.4))
        acknowledged |= set(said)
        stored = {record.record_id for record in read_spool(OsFilesystem(), str(tmp_path))}
        assert acknowledged - stored - server.ids == set()
    assert len(acknowledged) > 10 * _KILLS
    assert server.ids


def test_a_file_that_may_not_grow_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the kernel itself takes a part of a write and then refuses the rest."""
    said = _run("full", str(tmp_path))
    assert len(said) == 400, "a new file is begun"
    assert set(said) - set(_texts(tmp_path)) == set()
    assert max(path.stat().st_size for path in tmp_path.rglob("*.segment")) <= 60_000
