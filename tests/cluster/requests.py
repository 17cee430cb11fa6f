"""Requests without a pause, each on a connection of its own, and how many of them failed."""

from __future__ import annotations

import http.client
import json
import secrets
import threading
import time
from types import TracebackType
from typing import Self

THREADS = 3
_TIMEOUT_S = 5


class Requests:
    """Sends one span after the other while the block runs."""

    def __init__(self, host: str, port: int = 4318) -> None:
        self.failures: list[str] = []
        self._host, self._port = host, port
        self._counts = [0] * THREADS
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(THREADS)
        ]

    @property
    def count(self) -> int:
        """How many were sent."""
        return sum(self._counts)

    def wait_for(self, count: int) -> None:
        """Return when that many have been sent."""
        while self.count < count:
            self._threads[0].join(0.05)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        while not self._stop.is_set():
            try:
                send_span(self._host, self._port)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
            self._counts[number] += 1


def send_span(host: str, port: int) -> str:
    """Send one span over a connection of its own; its id.  Raises if it is not taken."""
    now, span_id = time.time_ns(), secrets.token_hex(8)
    span = {
        "traceId": secrets.token_hex(16),
        "spanId": span_id,
        "name": "request",
        "startTimeUnixNano": str(now),
        "endTimeUnixNano": str(now),
    }
    body = json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span]}]}]})
    connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        headers = {"Content-Type": "application/json"}
        connection.request("POST", "/v1/traces", body=body, headers=headers)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if answer.status != 200:
        raise http.client.HTTPException(f"answered with {answer.status}")
    return span_id
