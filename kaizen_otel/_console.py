"""A transport that prints: the tree of every finished trace, and log lines."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from kaizen_otel._export import Delivered, Rejected
from kaizen_otel._otlp.decode import decode_logs_request, decode_traces_request
from kaizen_otel._render import build_trees, iter_logs, iter_spans, render_log, render_trees

if TYPE_CHECKING:
    from typing import TextIO

    from kaizen_otel._export import Outcome, Signal
    from kaizen_otel._render import Json

_TRACES_MAX: Final = 1000


class ConsoleTransport:
    """Prints traces when their root arrives.  Metrics are kept in memory by their manager."""

    description = "the console"

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._waiting: dict[str, list[tuple[Json, dict[str, object]]]] = {}

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        """Print one request."""
        del deadline_ns  # printing does not wait for anyone
        try:
            if signal == "traces":
                self._traces(decode_traces_request(body))
            elif signal == "logs":
                for record, _ in iter_logs(decode_logs_request(body)):
                    self._print(render_log(record))
        except (OSError, ValueError) as error:
            return Rejected(reason="console", message=f"the console cannot be written: {error}")
        return Delivered()

    def _traces(self, request: Json) -> None:
        complete: list[str] = []
        for span, resource in iter_spans(request):
            self._waiting.setdefault(span["traceId"], []).append((span, resource))
            if not span.get("parentSpanId"):
                complete.append(span["traceId"])
        # Traces whose root lives in another process never complete: print the oldest as they are.
        while len(self._waiting) - len(complete) > _TRACES_MAX:
            complete.append(next(iter(self._waiting)))
        for trace_id in dict.fromkeys(complete):
            for line in render_trees(build_trees(self._waiting.pop(trace_id, []))):
                self._print(line)

    def _print(self, line: str) -> None:
        print(line, file=self._stream or sys.stderr, flush=True)

    def close(self) -> None:
        """Print what is still waiting for a root."""
        for spans in self._waiting.values():
            for line in render_trees(build_trees(spans)):
                self._print(line)
        self._waiting.clear()
