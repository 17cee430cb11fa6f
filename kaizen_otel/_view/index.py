"""What the viewer knows of the files: a summary of each trace, and where everything else is."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from kaizen_otel import semconv
from kaizen_otel._otlp.decode import plain_attributes
from kaizen_otel._otlp.json import Line, read_line
from kaizen_otel._render import is_error, iter_logs, iter_metrics, iter_spans
from kaizen_otel._view.follow import Follower, LineRef
from kaizen_otel._view.series import SeriesStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from kaizen_otel._otlp.json import Problem
    from kaizen_otel._render import Json

TRACES_MAX: Final = 100_000
PROBLEMS_MAX: Final = 100
_NAMES_MAX: Final = 32
SIGNALS: Final = ("traces", "metrics", "logs", "audit")


@dataclass(slots=True)
class TraceSummary:
    """What the list of traces shows of one, from the spans that were seen so far."""

    trace_id: str
    start_ns: int = 0
    end_ns: int = 0
    spans: int = 0
    errors: int = 0
    root: str = ""
    root_start_ns: int = 0
    has_root: bool = False
    service: str = ""
    conversation: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    agents: set[str] = field(default_factory=set[str])
    tools: set[str] = field(default_factory=set[str])
    models: set[str] = field(default_factory=set[str])
    lines: list[LineRef] = field(default_factory=list[LineRef])

    def add(self, span: Json, service: str, ref: LineRef) -> None:
        """Take in one span."""
        start_ns, end_ns = times_of(span)
        self.spans += 1
        self.start_ns = min(self.start_ns or start_ns, start_ns)
        self.end_ns = max(self.end_ns, end_ns)
        if not self.lines or self.lines[-1] != ref:
            self.lines.append(ref)
        self.errors += is_error(span)
        is_root = not span.get("parentSpanId")
        is_earlier = not self.root or start_ns < self.root_start_ns
        if (is_root and not self.has_root) or (is_root == self.has_root and is_earlier):
            self.root, self.root_start_ns = str(span.get("name", "")), start_ns
            self.has_root, self.service = is_root, service
        self._note(plain_attributes(span.get("attributes")))

    def _note(self, found: Mapping[str, object]) -> None:
        for key, names in (
            (semconv.GEN_AI_AGENT_NAME, self.agents),
            (semconv.GEN_AI_TOOL_NAME, self.tools),
            (semconv.GEN_AI_REQUEST_MODEL, self.models),
        ):
            name = found.get(key)
            if name and len(names) < _NAMES_MAX:
                names.add(str(name))
        conversation = found.get(semconv.GEN_AI_CONVERSATION_ID)
        if conversation and not self.conversation:
            self.conversation = str(conversation)
        # A run carries the sum of its calls: only the calls themselves are counted.
        if found.get(semconv.GEN_AI_OPERATION_NAME) not in {"invoke_agent", "invoke_workflow"}:
            self.input_tokens += _count(found.get(semconv.GEN_AI_USAGE_INPUT_TOKENS))
            self.output_tokens += _count(found.get(semconv.GEN_AI_USAGE_OUTPUT_TOKENS))


class Index:
    """All of it, kept up to date by ``step``; every method may be called from any thread.

    ``version`` changes when something new was seen.
    """

    def __init__(self, directory: Path) -> None:
        """Look at nothing yet."""
        self.directory = directory
        self.lock = threading.RLock()
        self.version = 0
        self.followers = {
            name: Follower(directory / "audit" if name == "audit" else directory, name)
            for name in SIGNALS
        }
        self.traces: dict[str, TraceSummary] = {}
        self.dropped_traces = 0
        self.counts: dict[str, int] = dict.fromkeys(SIGNALS, 0)
        self.by_trace: dict[str, dict[str, list[LineRef]]] = {"logs": {}, "audit": {}}
        self.series = SeriesStore()
        self.problems: deque[dict[str, object]] = deque(maxlen=PROBLEMS_MAX)
        self.problem_count = 0
        self._sorted: list[TraceSummary] = []
        self._sorted_version = -1

    def step(self) -> bool:
        """Read what is new, then a block of what is old; False if there was neither."""
        with self.lock:
            is_busy = False
            for name, follower in self.followers.items():
                follower.look()
                for ref, line in follower.newest():
                    self._take(name, ref, line)
                    is_busy = True
        for name, follower in self.followers.items():
            with self.lock:
                for ref, line in follower.older():
                    self._take(name, ref, line)
                    is_busy = True
        return is_busy

    @property
    def is_complete(self) -> bool:
        """Whether everything that was there is read."""
        return not any(follower.bytes_left for follower in self.followers.values())

    def newest_traces(self) -> list[TraceSummary]:
        """Return the traces, the newest first."""
        with self.lock:
            if self._sorted_version != self.version:
                self._sorted = sorted(self.traces.values(), key=lambda t: -t.start_ns)
                self._sorted_version = self.version
            return self._sorted

    def requests(self, name: str, ref: LineRef) -> list[dict[str, object]]:
        """Return the requests of one line, read again."""
        with self.lock:
            data = self.followers[name].read(ref)
        line = Line(data.rstrip(b"\n"), len(data))
        return list(read_line(line, number=0, offset=ref.offset))

    def close(self) -> None:
        """Close all files."""
        with self.lock:
            for follower in self.followers.values():
                follower.close()

    def _take(self, name: str, ref: LineRef, line: bytes) -> None:
        self.version += 1
        on_problem = self._problems_of(name, ref)
        add: Callable[[Json, LineRef], None] = getattr(self, f"_add_{name}")
        for request in read_line(
            Line(line, len(line)), number=0, offset=ref.offset, on_problem=on_problem
        ):
            try:
                add(request, ref)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                # JSON of the right name and another shape: somebody else wrote it.
                self._problem(name, ref, "foreign", ref.size, type(error).__name__)

    def _add_traces(self, request: Json, ref: LineRef) -> None:
        for span, resource in iter_spans(request):
            trace_id = str(span["traceId"])
            summary = self.traces.get(trace_id)
            if summary is None:
                self._make_room()
                summary = self.traces[trace_id] = TraceSummary(trace_id)
            summary.add(span, str(resource.get("service.name", "")), ref)
            self.counts["traces"] += 1

    def _add_metrics(self, request: Json, ref: LineRef) -> None:
        del ref
        for metric, resource in iter_metrics(request):
            self.series.add(metric, resource)
            self.counts["metrics"] += 1

    def _add_logs(self, request: Json, ref: LineRef) -> None:
        self._add_records("logs", request, ref)

    def _add_audit(self, request: Json, ref: LineRef) -> None:
        self._add_records("audit", request, ref)

    def _add_records(self, name: str, request: Json, ref: LineRef) -> None:
        known = self.by_trace[name]
        for record, _ in iter_logs(request):
            self.counts[name] += 1
            trace_id = str(record.get("traceId") or "")
            if trace_id and (trace_id in known or len(known) < TRACES_MAX):
                refs = known.setdefault(trace_id, [])
                if not refs or refs[-1] != ref:
                    refs.append(ref)

    def _make_room(self) -> None:
        if len(self.traces) < TRACES_MAX:
            return
        oldest = sorted(self.traces.values(), key=lambda t: t.start_ns)[: TRACES_MAX // 10]
        for summary in oldest:
            del self.traces[summary.trace_id]
        self.dropped_traces += len(oldest)

    def _problems_of(self, name: str, ref: LineRef) -> Callable[[Problem], None]:
        def note(problem: Problem) -> None:
            self._problem(name, ref, problem.kind, problem.size, "")

        return note

    def _problem(self, name: str, ref: LineRef, kind: str, size: int, detail: str) -> None:
        self.problem_count += 1
        self.problems.append(
            {
                "file": self.followers[name].name_of(ref.file),
                "offset": ref.offset,
                "kind": kind,
                "size": size,
                "detail": detail,
            }
        )


def times_of(span: Json) -> tuple[int, int]:
    """Return start and end of a span in nanoseconds."""
    start_ns = int(span.get("startTimeUnixNano") or 0)
    return start_ns, max(start_ns, int(span.get("endTimeUnixNano") or 0))


def spans_of(index: Index, summary: TraceSummary) -> Iterator[tuple[Json, Mapping[str, Any]]]:
    """Read the spans of a trace again, each with its Resource's attributes, each once."""
    seen: set[str] = set()
    for ref in sorted(set(summary.lines)):
        for request in index.requests("traces", ref):
            for span, resource in iter_spans(request):
                span_id = str(span.get("spanId"))
                if span.get("traceId") == summary.trace_id and span_id not in seen:
                    seen.add(span_id)
                    yield span, resource


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
