"""A recording stand-in of the seam, for tests of what calls it."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias, cast

from opentelemetry import trace
from opentelemetry.trace import SpanContext, TraceFlags

from kaizen_otel.errors import AuditUnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel.observability import ObservabilityManager
    from kaizen_otel.semconv import Instrument

Tree: TypeAlias = "str | tuple[str, list[Tree]]"


class RecordedSpan(trace.NonRecordingSpan):
    """A span that keeps what it is told."""

    def __init__(self, trace_id: int, parent: SpanContext | None) -> None:
        span_id = random.getrandbits(64) or 1
        super().__init__(SpanContext(trace_id, span_id, is_remote=False, trace_flags=TraceFlags(1)))
        self.parent = parent
        self.flags = 1
        self.attributes: dict[str, object] = {}
        self.events: list[tuple[str, dict[str, object]]] = []
        self.exceptions: list[BaseException] = []
        self.started_ns = time.monotonic_ns()

    @property
    def duration_ns(self) -> int:
        return time.monotonic_ns() - self.started_ns

    def set_attribute(self, key: str, value: object) -> None:
        self.attributes[key] = value

    def set_attributes(self, attributes: Mapping[str, object]) -> None:
        self.attributes.update(attributes)

    def add_event(
        self,
        name: str,
        attributes: Mapping[str, object] | None = None,
        timestamp: int | None = None,
    ) -> None:
        del timestamp
        self.events.append((name, dict(attributes or {})))

    def record_exception(self, exception: BaseException, *_: object, **__: object) -> None:
        self.exceptions.append(exception)


@dataclass(eq=False)
class Recorded:
    """One operation: what it was begun and ended with."""

    operation: str
    name: str | None
    key: object
    parent_id: object | None
    span: RecordedSpan
    thread: int
    parent: Recorded | None = None
    ended: bool = False
    error: BaseException | str | None = None
    children: list[Recorded] = field(default_factory=list)

    @property
    def attributes(self) -> dict[str, object]:
        return self.span.attributes

    def tree(self) -> Tree:
        """Names, nested: ``"a"`` or ``("a", [children])``."""
        label = f"{self.operation} {self.name}" if self.name else self.operation
        return (label, [c.tree() for c in self.children]) if self.children else label


@dataclass
class RecordedEvent:
    name: str
    attributes: dict[str, object]
    parent: Recorded | None
    audit: bool
    error: BaseException | str | None


class RecordingOperations:
    """Follows the seam's contract: parent by id, else the current span; never raises."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.all: list[Recorded] = []
        self.open: dict[object, Recorded] = {}
        self.by_span: dict[int, Recorded] = {}
        self.events: list[RecordedEvent] = []
        self.faults: list[str] = []
        self.refuse_tools = False
        self.broken: Exception | None = None

    def begin(
        self,
        operation: str,
        id: object,  # noqa: A002 - the seam's name
        parent_id: object | None = None,
        attributes: Mapping[str, object] | None = None,
        *,
        name: str | None = None,
        confirm: bool = True,
    ) -> RecordedSpan:
        if self.broken is not None:
            raise self.broken
        if self.refuse_tools and operation == "execute_tool":
            raise AuditUnavailableError(f"execute_tool {name} was NOT run")
        with self.lock:
            current = trace.get_current_span().get_span_context()
            parent = self.open.get(parent_id) if parent_id is not None else None
            context = parent.span.get_span_context() if parent else current
            if not context.is_valid:
                span = RecordedSpan(random.getrandbits(128) or 1, None)
            else:
                span = RecordedSpan(context.trace_id, context)
                parent = parent or self.by_span.get(context.span_id)
            span.attributes.update(attributes or {})
            made = Recorded(
                operation, name, id, parent_id, span, threading.get_ident(), parent=parent
            )
            if parent is not None:
                parent.children.append(made)
            if id in self.open:
                self.faults.append("begin_twice")
            self.open[id] = made
            self.all.append(made)
            self.by_span[span.get_span_context().span_id] = made
        return span

    blocks_actions = False

    def is_unconfirmed(self, id: object) -> bool:  # noqa: A002 - the seam's name
        return False

    def end(
        self,
        id: object,  # noqa: A002 - the seam's name
        attributes: Mapping[str, object] | None = None,
        error: BaseException | str | None = None,
    ) -> None:
        with self.lock:
            made = self.open.pop(id, None)
            if made is None:
                self.faults.append("end_without_begin")
                return
            made.span.attributes.update(attributes or {})
            made.ended, made.error = True, error

    def is_open(self, id: object) -> bool:  # noqa: A002 - the seam's name
        return id in self.open

    def event(
        self,
        name: str,
        attributes: Mapping[str, object] | None = None,
        *,
        parent_id: object | None = None,
        audit: bool = False,
        error: BaseException | str | None = None,
    ) -> None:
        parent = self.open.get(parent_id) if parent_id is not None else None
        self.events.append(RecordedEvent(name, dict(attributes or {}), parent, audit, error))

    # -------------------------------------------------------------------- what tests ask
    def roots(self) -> list[Recorded]:
        return [made for made in self.all if made.parent is None]

    def trees(self) -> list[Tree]:
        return [made.tree() for made in self.roots()]

    def only(self, operation: str) -> Recorded:
        (found,) = [made for made in self.all if made.operation == operation]
        return found

    def named(self, operation: str, name: str) -> list[Recorded]:
        return [m for m in self.all if m.operation == operation and m.name == name]

    def check_settled(self) -> None:
        """Every operation ended once, and nothing is current any more."""
        assert self.open == {}
        assert self.faults == []
        assert all(made.ended for made in self.all)
        assert not trace.get_current_span().get_span_context().is_valid


class RecordingMetrics:
    def __init__(self) -> None:
        self.recorded: list[tuple[str, float, dict[str, object]]] = []

    def record(
        self, instrument: Instrument, value: float, attributes: Mapping[str, object]
    ) -> None:
        self.recorded.append((instrument.name, value, dict(attributes)))


class RecordingManager:
    def __init__(self) -> None:
        self.operations = RecordingOperations()
        self.metrics = RecordingMetrics()
        self.flushed: list[float] = []
        self.stopped: list[float] = []

    def flush(self, timeout: float = 5.0) -> bool:
        self.flushed.append(timeout)
        return True

    def shutdown(self, timeout: float = 5.0) -> bool:
        self.stopped.append(timeout)
        return True

    @property
    def manager(self) -> ObservabilityManager:
        """This, as what the code under test takes it for."""
        return cast("ObservabilityManager", self)
