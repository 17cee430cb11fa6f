"""A stand-in for Elasticsearch that keeps documents by id and can be told to fail."""

from __future__ import annotations

import gzip
import http.server
import json
import threading
import time
from typing import TYPE_CHECKING, Any

from tests.collector.background import BackgroundServer

if TYPE_CHECKING:
    from collections.abc import Callable


class Store(BackgroundServer):
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


def wait_until(condition: Callable[[], bool], *, seconds: float = 60) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
