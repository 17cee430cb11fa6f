"""The logs route of the gateway against a store that fails: the queue on disk, and real kills."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.run import CollectorProcess, free_ports
from tests.collector.otlp_json import Sender, logs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Store(http.server.ThreadingHTTPServer):
    """Keeps documents by id, as a data stream does; ``status_of`` can make it fail."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.documents: dict[str, dict[str, Any]] = {}
        self.status_of: Callable[[dict[str, Any]], int] = lambda _document: 201
        self.available = True
        self.lock = threading.Lock()
        self.requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def bulk(self, body: bytes) -> dict[str, Any]:
        lines = [json.loads(line) for line in body.splitlines()]
        items: list[dict[str, Any]] = []
        with self.lock:
            for action, document in zip(lines[::2], lines[1::2], strict=True):
                document_id = action["create"]["_id"]
                status = 409 if document_id in self.documents else self.status_of(document)
                if status == 201:
                    self.documents[document_id] = document
                item: dict[str, Any] = {"status": status}
                if status > 299:
                    item["error"] = {"type": "test_exception", "reason": f"status {status}"}
                items.append({"create": item})
        return {"errors": any(item["create"]["status"] > 299 for item in items), "items": items}

    def texts(self) -> list[str]:
        with self.lock:
            return sorted(document["body"]["text"] for document in self.documents.values())

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Store

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.requests += 1
        if not self.server.available:
            self.send_error(503)
            return
        answer = json.dumps(self.server.bulk(body)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass


def gateway(binary: Path, folder: Path, store: Store) -> CollectorProcess:
    return CollectorProcess(
        config_path("gateway"),
        binary=binary,
        environment={
            **free_ports(),
            "KAIZEN_OTEL_QUEUE_DIR": str(folder / "queue"),
            "KAIZEN_OTEL_AUDIT_DIR": str(folder / "audit"),
            "KAIZEN_OTEL_DEAD_LETTER_DIR": str(folder / "dead-letter"),
            "ELASTICSEARCH_ENDPOINT": store.url,
        },
        log_path=folder / "collector.log",
    )


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_no_record_is_lost_or_doubled_over_an_outage_with_kills(
    gateway_binary: Path, tmp_path: Path
) -> None:
    sent: list[str] = []
    with Store() as store:
        for round_number, available in enumerate((True, False, False, True)):
            store.available = available
            process = gateway(gateway_binary, tmp_path, store)
            process.start()
            sender = Sender(process.http_port)
            for number in range(20):
                texts = [f"{round_number}-{number}-{position}" for position in range(5)]
                assert sender.post("logs", logs(*texts))
                sent += texts
            if round_number == 3:
                assert wait_until(lambda: len(store.documents) == 400), process.log_tail()
                process.stop()
            else:
                process.kill()
        assert len(sent) == 400
        assert store.texts() == sorted(sent)


def test_what_the_store_rejects_is_in_the_dead_letter_file_and_counted(
    gateway_binary: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "dead-letter"
    with Store() as store:
        store.status_of = lambda document: 400 if document["body"]["text"] == "bad" else 201
        process = gateway(gateway_binary, tmp_path, store)
        with process:
            assert Sender(process.http_port).post("logs", logs("good", "bad", "fine"))
            path = folder / "elasticsearch.jsonl"
            assert wait_until(lambda: path.is_file() and path.stat().st_size > 0)
            assert wait_until(lambda: "dead_letters" in _own_metrics(process))
        assert store.texts() == ["fine", "good"]
    letters = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [letter["document"]["body"]["text"] for letter in letters] == ["bad"]
    assert letters[0]["status"] == 400
    assert letters[0]["error"]["reason"] == "status 400"
    assert path.stat().st_mode & 0o777 == 0o600


def test_secrets_in_attributes_do_not_reach_the_store(gateway_binary: Path, tmp_path: Path) -> None:
    """The second net: the library redacts first, but other agents may send here too."""
    with Store() as store, gateway(gateway_binary, tmp_path, store) as process:
        attributes = {"db.Password": "hunter2", "openai_api_key": "sk-1", "gen_ai.tool.name": "x"}
        assert Sender(process.http_port).post("logs", logs("text", attributes=attributes))
        assert wait_until(lambda: len(store.documents) == 1)
        (document,) = store.documents.values()
    assert document["attributes"]["gen_ai.tool.name"] == "x"
    assert "hunter2" not in json.dumps(document)
    assert "sk-1" not in json.dumps(document)


def _own_metrics(process: CollectorProcess) -> str:
    import urllib.request

    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{process.metrics_port}/metrics", timeout=10) as answer:
        text: str = answer.read().decode()
        return text
