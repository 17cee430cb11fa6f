"""The real HTTP transport against servers that misbehave in every way: nothing is lost."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._otlp.decode import decode_logs_request
from kaizen_otel._otlp.json import iter_log_records
from kaizen_otel.audit.query import stored_record
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.contract

# ExportLogsServiceResponse{partial_success{rejected_log_records: 1, error_message: "full"}}
_PARTIAL = b"\x0a\x08\x08\x01\x12\x04full"


class Server(ThreadingHTTPServer):
    """Answers the first requests as told, one after the other, and all later ones well."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.behaviours: list[str] = []
        self.ids: list[str] = []
        self.last = "well"
        self.sizes: list[int] = []
        self.refuses = ""
        self.lock = threading.Lock()
        self.ended = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - its name
        """Say nothing."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        found = [
            stored
            for record, resource in iter_log_records(decode_logs_request(body))
            if (stored := stored_record(record, resource)) is not None
        ]
        with server.lock:
            # An empty request asks what the server is: it gets the last answer once more.
            if found or not server.sizes:
                server.last = server.behaviours.pop(0) if server.behaviours else "well"
            behaviour = server.last
            server.sizes.append(len(found))
        if server.refuses and any(server.refuses == record.action for record in found):
            behaviour = "400"
        if behaviour == "well":
            server.ids += [record.record_id for record in found]
        self._answer(behaviour, server)

    def _answer(self, behaviour: str, server: Server) -> None:
        kind, body, length = "application/x-protobuf", b"", None
        status = int(behaviour) if behaviour.isdigit() else 200
        match behaviour:
            case "hang":
                server.ended.wait(5)
                self.close_connection = True
                return
            case "close":
                self.close_connection = True
                return
            case "partial":
                body = _PARTIAL
            case "text":
                kind, body = "text/plain", b"OK, whatever you say"
            case "html":
                kind, body = "text/html", b"<html>Log in first</html>"
            case "cut":
                body, length = b"\x0a", 500
                self.close_connection = True
            case _:
                pass
        self.send_response(status)
        if status == 307:
            self.send_header("Location", "http://127.0.0.1:9/")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.ended.set()
        server.shutdown()
        thread.join()


def _manager(root: Path, url: str, warnings: list[str]) -> AuditTrailManager:
    config = Config.from_environment(
        {
            "KAIZEN_OTEL_SPOOL_DIR": str(root / "spool"),
            "KAIZEN_OTEL_AUDIT_ENDPOINT": url,
            "OTEL_EXPORTER_OTLP_TIMEOUT": "300",
        }
    )
    return AuditTrailManager(config=config, warn=warnings.append)


@pytest.mark.parametrize(
    "behaviour",
    ["503", "429", "500", "401", "404", "307", "hang", "close", "cut", "partial", "text", "html"],
)
def test_whatever_the_server_does_every_record_arrives(
    behaviour: str, server: Server, tmp_path: Path
) -> None:
    server.behaviours = [behaviour] * 2
    warnings: list[str] = []
    manager = _manager(tmp_path, server.url, warnings)
    receipts = [manager.record("qa", f"action_{n}", {}, "success") for n in range(5)]
    assert all(receipt.wait(10) for receipt in receipts)
    assert manager.flush(20_000)
    assert {receipt.record_id for receipt in receipts} <= set(server.ids)
    status = manager.status()
    assert status.delivered == 5 + status.own
    assert (status.undelivered, status.quarantined, status.gaps) == (0, 0, 0)
    named = ("KAIZEN_OTEL_AUDIT_ENDPOINT", "KAIZEN_OTEL_SIGNING_KEY")  # a key is made here
    assert all(any(name in warning for name in named) for warning in warnings)
    manager.shutdown(5_000)


def test_a_record_that_is_always_refused_is_set_aside_and_the_others_arrive(
    server: Server, tmp_path: Path
) -> None:
    server.refuses = "poison"
    manager = _manager(tmp_path, server.url, [])
    actions = ["a", "b", "poison", "c", "d"]
    receipts = [manager.record("qa", action, {}, "success") for action in actions]
    assert all(receipt.wait(10) for receipt in receipts)
    assert manager.flush(20_000)
    manager.shutdown(10_000)
    wanted = [
        r.record_id for r, action in zip(receipts, actions, strict=True) if action != "poison"
    ]
    assert set(wanted) <= set(server.ids)
    assert receipts[2].record_id not in server.ids
    [kept] = (tmp_path / "spool" / "quarantine").iterdir()
    assert receipts[2].record_id.encode() in kept.read_bytes()
    assert manager.status().quarantined == 1
    assert 0 in server.sizes, "the empty request that tells a poisoned record from a wrong server"


def test_a_server_that_is_no_receiver_gets_nothing_set_aside(
    server: Server, tmp_path: Path
) -> None:
    server.behaviours = ["400"] * 12
    manager = _manager(tmp_path, server.url, [])
    assert manager.record("qa", "a", {}, "success").wait(10)
    assert not manager.flush(800)
    assert not (tmp_path / "spool" / "quarantine").exists()
    assert manager.flush(20_000)
    assert len(server.ids) == manager.status().delivered
    manager.shutdown(5_000)
