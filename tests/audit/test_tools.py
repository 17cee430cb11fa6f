"""The audit tools on real folders: what they print, and their exit codes, which are API."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from kaizen_otel._cli.audit import audit
from kaizen_otel._edges import OsFilesystem
from kaizen_otel._export import Delivered, Outcome, Retryable, Signal
from kaizen_otel._otlp.decode import decode_logs_request
from kaizen_otel._spool.files import QUARANTINE_NAME
from kaizen_otel._trail.reconcile import reconcile
from kaizen_otel._trail.streams import spool_status, waiting_records
from kaizen_otel._trail.tail import Tail
from kaizen_otel.audit._stored import trail_files
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.contract

OWN_EVENTS = "kaizen.audit."
OWN_RECORDS = 2  # of a short stream that is closed: started and stopped


class Collector:
    """Writes each request as one line, as the Collector's file exporter does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.is_up = True
        folder.mkdir(exist_ok=True)

    @property
    def description(self) -> str:
        return "a file"

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        del signal, deadline_ns
        if not self.is_up:
            return Retryable(reason="unreachable", message="down")
        if body:
            with (self.folder / "audit.jsonl").open("a") as file:
                file.write(json.dumps(decode_logs_request(body)) + "\n")
        return Delivered()

    def close(self) -> None:
        """Do nothing."""


class Place:
    """A spool and a trail folder, filled by a real manager."""

    def __init__(self, root: Path) -> None:
        self.spool = root / "spool"
        self.trail = root / "trail"
        self.collector = Collector(self.trail)
        self.runner = CliRunner()

    def manager(self) -> AuditTrailManager:
        config = Config.from_environment({"KAIZEN_OTEL_SPOOL_DIR": str(self.spool)})
        return AuditTrailManager(config=config, transport=self.collector, warn=lambda _: None)

    def fill(self, *, delivered: int = 0, waiting: int = 0) -> None:
        manager = self.manager()
        for number in range(delivered):
            details = {"tool_name": f"tool{number}"}
            assert manager.record("qa", "tool_execute", details, "success", "bob").wait(10)
            assert manager.flush(10_000)  # one line each
        self.collector.is_up = not waiting
        for _ in range(waiting):
            assert manager.record("qa", "tool_execute", {}, "failure").wait(10)
        manager.shutdown(300)
        self.collector.is_up = True

    def run(self, *arguments: str, **environment: str) -> Result:
        env = {
            "KAIZEN_OTEL_SPOOL_DIR": str(self.spool),
            "KAIZEN_OTEL_AUDIT_DIR": str(self.trail),
            **environment,
        }
        return self.runner.invoke(audit, arguments, env=env, standalone_mode=False)

    def write(self, text: str, name: str = "audit.jsonl") -> None:
        with (self.trail / name).open("a") as file:
            file.write(text)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def _jsons(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


def _facts(result: Result) -> list[dict[str, object]]:
    """The records that a caller wrote, without those that the trail writes about itself."""
    return [one for one in _jsons(result) if not str(one["event_name"]).startswith(OWN_EVENTS)]


class TestQuery:
    def test_spool_and_trail_are_asked_together_and_each_record_comes_once(
        self, place: Place
    ) -> None:
        place.fill(delivered=3, waiting=2)
        result = place.run("query", "--json")
        assert result.return_value == 0
        assert len({str(one["record_id"]) for one in _jsons(result)}) == 5 + OWN_RECORDS
        found = _facts(result)
        assert len(found) == 5
        assert found[0]["action"] == "tool_execute"

    def test_filters(self, place: Place) -> None:
        place.fill(delivered=3, waiting=2)
        for arguments, count in (
            (("--result", "failure"), 2),
            (("--user", "bob"), 3),
            (("--tool", "tool1"), 1),
            (("--agent", "nobody"), 0),
            (("--action", "EXECUTE"), 5),
            (("--since", "1h"), 5),
            (("--until", "2020-01-01"), 0),
            (("--action", "tool_execute", "--limit", "2"), 2),
            (("--trace", "ff" * 16), 0),
        ):
            result = place.run("query", "--json", *arguments)
            assert (result.return_value, len(_facts(result))) == (0, count), arguments
        assert len(_jsons(place.run("query", "--json", "--limit", "2"))) == 2

    def test_people_get_lines(self, place: Place) -> None:
        place.fill(delivered=1)
        [line] = place.run("query", "--action", "tool_execute").stdout.splitlines()
        assert "qa  tool_execute  tool0  outcome  success  hmac-sha256:" in line

    def test_a_user_by_pseudonym_needs_no_key_and_by_name_does(self, place: Place) -> None:
        place.fill(delivered=1)
        [record] = _facts(place.run("query", "--json"))
        attributes = record["attributes"]
        assert isinstance(attributes, dict)
        pseudonym = str(attributes["audit.actor.id"])
        (place.spool / "pseudonym.key").unlink()
        assert len(_jsons(place.run("query", "--json", "--user", pseudonym))) == 1
        result = place.run("query", "--user", "bob")
        assert "pseudonym" in str(result.exception)

    def test_unreadable_lines_are_told_and_make_it_incomplete(self, place: Place) -> None:
        place.fill(delivered=2)
        place.write("garbage\n")
        result = place.run("query", "--json")
        assert result.return_value == 2
        assert len(_facts(result)) == 2
        lines = (place.trail / "audit.jsonl").read_bytes().count(b"\n")
        assert f"line {lines}" in result.stderr
        assert "torn" in result.stderr
        for _ in range(30):
            place.write("garbage\n")
        assert "and 11 more" in place.run("query").stderr

    def test_a_folder_that_is_not_there_is_unreadable(self, place: Place) -> None:
        result = place.run("query", "--trail", str(place.trail / "none"))
        assert result.return_value == 3
        assert "cannot be read" in result.stderr

    def test_a_wrong_time_says_how_to_write_one(self, place: Place) -> None:
        assert "use for example" in str(place.run("query", "--since", "noon").exception)


class TestReconcile:
    def test_clean(self, place: Place) -> None:
        place.fill(delivered=3)
        result = place.run("reconcile", "--json")
        assert result.return_value == 0
        [found] = _jsons(result)
        assert found["clean"]
        assert found["spooled"] == found["in_trail"]
        assert int(str(found["spooled"])) >= 3 + OWN_RECORDS, "a slow machine writes a checkpoint"

    def test_waiting_records_make_it_incomplete(self, place: Place) -> None:
        place.fill(delivered=1, waiting=2)
        result = place.run("reconcile")
        assert result.return_value == 2
        assert "0 missing in the trail, 3 not delivered yet" in result.stdout, "two and the end"

    def test_a_delivered_record_that_the_trail_lost_is_missing(self, place: Place) -> None:
        place.fill(delivered=3)
        path = place.trail / "audit.jsonl"
        kept = path.read_text().splitlines(keepends=True)
        path.write_text("".join(one for one in kept if '"tool1"' not in one))
        result = place.run("reconcile")
        assert result.return_value == 2
        assert "1 missing in the trail" in result.stdout
        found = reconcile(OsFilesystem(), str(place.spool), str(place.trail))
        assert [spooled.sequence for spooled in found.missing] == [3], "the first one is the start"

    def test_duplicates_are_allowed_and_counted(self, place: Place) -> None:
        place.fill(delivered=2)
        place.write((place.trail / "audit.jsonl").read_text())
        [found] = _jsons(place.run("reconcile", "--json"))
        assert (found["clean"], found["duplicates"]) == (True, found["spooled"])

    def test_damage_and_foreign_records_are_told(self, place: Place) -> None:
        place.fill(delivered=3)
        [segment] = place.spool.rglob("*.segment")
        data = bytearray(segment.read_bytes())
        data[len(data) // 2] ^= 1
        segment.write_bytes(data)
        place.write('{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{}}]}]}]}\n')
        result = place.run("reconcile")
        assert result.return_value == 2
        assert "damaged bytes" in result.stderr
        assert "no audit record" in result.stderr

    def test_a_trail_must_be_named(self, place: Place) -> None:
        result = place.run("reconcile", KAIZEN_OTEL_AUDIT_DIR="")
        assert "--trail" in str(result.exception)


class TestStatus:
    def test_an_empty_spool_is_clean(self, place: Place) -> None:
        result = place.run("status", "--json")
        assert result.return_value == 0
        assert _jsons(result)[0]["waiting"] == 0

    def test_what_waits_is_counted_per_stream(self, place: Place) -> None:
        place.fill(delivered=2)
        place.fill(delivered=1, waiting=2)
        result = place.run("status")
        assert result.return_value == 2
        assert "3 records wait" in result.stdout
        found = spool_status(OsFilesystem(), str(place.spool))
        assert sorted((s.stored, s.waiting, s.is_alive) for s in found.streams) == [
            (2 + OWN_RECORDS, 0, False),
            (3 + OWN_RECORDS, 3, False),
        ]
        assert waiting_records(OsFilesystem(), str(place.spool)) == 3

    def test_a_living_owner_is_seen(self, place: Place) -> None:
        manager = place.manager()
        assert manager.record("qa", "tool_execute", {}, "success").wait(10)
        [stream] = spool_status(OsFilesystem(), str(place.spool)).streams
        assert stream.is_alive
        assert "in use" in place.run("status").stdout
        manager.shutdown(5_000)

    def test_problems_are_told(self, place: Place) -> None:
        place.fill(delivered=1)
        (place.spool / QUARANTINE_NAME).mkdir()
        (place.spool / QUARANTINE_NAME / "x.segment").write_bytes(b"")
        [segment] = [p for p in place.spool.rglob("*.segment") if p.stat().st_size]
        data = bytearray(segment.read_bytes())
        data[8] = 9
        segment.write_bytes(data)
        result = place.run("status")
        assert result.return_value == 2
        assert "upgrade kaizen-otel" in result.stderr
        assert "1 are in quarantine" in result.stdout


class TestTail:
    def _names(self, tail: Tail) -> list[str]:
        return [record.event_name for record in tail.poll()]

    def _line(self, name: str) -> str:
        attributes = [{"key": "audit.record.id", "value": {"stringValue": name}}]
        record = {"eventName": name, "attributes": attributes}
        return json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})

    def test_each_line_comes_once_when_it_is_whole(self, place: Place) -> None:
        place.write(self._line("old") + "\n")
        tail = Tail(OsFilesystem(), str(place.trail))
        assert self._names(tail) == []
        place.write(self._line("a"))
        assert self._names(tail) == [], "the Collector writes the end of a line on its own"
        place.write("\n" + self._line("b") + "\n")
        assert self._names(tail) == ["a", "b"]
        assert self._names(tail) == []

    def test_it_follows_rotations(self, place: Place) -> None:
        tail = Tail(OsFilesystem(), str(place.trail), from_start=True)
        place.write(self._line("a") + "\n")
        assert self._names(tail) == ["a"]
        place.write(self._line("b") + "\n")
        (place.trail / "audit.jsonl").rename(place.trail / "audit-2026-11-24T16-00-00.000.jsonl")
        place.write(self._line("c") + "\n")
        assert self._names(tail) == ["b", "c"]
        (place.trail / "audit.jsonl").rename(place.trail / "audit-2026-11-24T17-00-00.000.jsonl")
        assert self._names(tail) == []
        place.write(self._line("d") + "\n")
        assert self._names(tail) == ["d"]

    def test_rotated_files_come_in_the_order_of_their_names_and_the_active_one_last(
        self, place: Place
    ) -> None:
        for name in ("audit.jsonl", "audit-2.jsonl", "audit-1.jsonl", "other.jsonl", "audit.txt"):
            place.write("", name)
        files = trail_files(OsFilesystem(), str(place.trail))
        assert [os.path.basename(path) for path in files] == [  # noqa: PTH119 - they are strings
            "audit-1.jsonl",
            "audit-2.jsonl",
            "audit.jsonl",
        ]

    def test_torn_lines_are_reported(self, place: Place) -> None:
        tail = Tail(OsFilesystem(), str(place.trail))
        place.write("torn\n" + self._line("a") + "\n")
        assert self._names(tail) == ["a"]
        assert tail.report.count == 1

    def test_a_line_longer_than_one_read_is_waited_for(self, place: Place) -> None:
        tail = Tail(OsFilesystem(), str(place.trail))
        place.write("x" * 3_000_000)
        assert self._names(tail) == []
        place.write("\n" + self._line("a") + "\n")
        assert self._names(tail) == ["a"]

    def test_the_command_prints_once(self, place: Place) -> None:
        place.fill(delivered=2)
        result = place.run("tail", "--once", "--from-start", "--json")
        assert (result.return_value, len(_facts(result))) == (0, 2)
        assert place.run("tail", "--once").stdout == ""
        place.write("torn\n")
        assert place.run("tail", "--once", "--from-start").return_value == 2

    def test_a_folder_that_is_not_there_yet_is_empty(self, place: Place) -> None:
        tail = Tail(OsFilesystem(), str(place.trail / "none"))
        assert self._names(tail) == []


class _Handler(BaseHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name
        """Say nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class TestFlush:
    def test_what_an_ended_process_left_is_delivered(self, place: Place, url: str) -> None:
        place.fill(waiting=3)
        result = place.run("flush", "--wait", "--json", KAIZEN_OTEL_AUDIT_ENDPOINT=url)
        assert result.return_value == 0, result.stderr
        [found] = _jsons(result)
        assert int(str(found["waiting_before"])) >= 3 + OWN_RECORDS
        assert found["waiting"] == 0

    def test_without_a_receiver_it_says_so_in_time(self, place: Place) -> None:
        place.fill(waiting=1)
        result = place.run(
            "flush", "--wait", "--timeout", "0.5", KAIZEN_OTEL_AUDIT_ENDPOINT="http://127.0.0.1:9"
        )
        assert result.return_value == 2
        assert "3 waited, 3 wait still (unreachable" in result.stdout

    def test_an_empty_spool_is_flushed_at_once(self, place: Place, url: str) -> None:
        result = place.run("flush", KAIZEN_OTEL_AUDIT_ENDPOINT=url)
        assert (result.return_value, result.stdout) == (0, "0 waited, 0 wait still\n")

    def test_a_living_process_is_waited_for(self, place: Place, url: str) -> None:
        manager = place.manager()
        place.collector.is_up = False
        assert manager.record("qa", "tool_execute", {}, "success").wait(10)
        timer = threading.Timer(0.2, lambda: setattr(place.collector, "is_up", True))
        timer.start()
        result = place.run("flush", "--wait", KAIZEN_OTEL_AUDIT_ENDPOINT=url)
        assert result.return_value == 0
        timer.join()
        manager.shutdown(5_000)
