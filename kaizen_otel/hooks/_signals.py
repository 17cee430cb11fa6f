"""What an operation works with: the managers of one service, and the operations under way."""

from __future__ import annotations

import threading
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Mapping

    from kaizen_otel._edges import Ids
    from kaizen_otel._observations import Observations
    from kaizen_otel._prices import Prices
    from kaizen_otel.audit_trail import AuditTrailManager
    from kaizen_otel.config import ExemplarFilter
    from kaizen_otel.logs import LoggingManager
    from kaizen_otel.metrics import MetricsManager
    from kaizen_otel.semconv import OperationRule
    from kaizen_otel.traces import Span
    from kaizen_otel.tracing import TracingManager


class SignalSet(NamedTuple):
    """The managers of one service; a signal that is switched off is None.

    ``tracing`` is always there: it gives ids and times even when its spans go nowhere.  With
    ``observations`` signals are derived later, audit records only if ``defers_audit``; without it
    everything is done in the call.  ``sends_logs`` says whether log records go anywhere.
    """

    tracing: TracingManager
    ids: Ids
    warn: Callable[[str], None]
    metrics: MetricsManager | None = None
    logging: LoggingManager | None = None
    audit: AuditTrailManager | None = None
    vocabulary: str = "default"
    seed_style: bool = False
    capture_content: bool = False
    block_action: bool = False
    exemplars: ExemplarFilter = "trace_based"
    observations: Observations | None = None
    defers_audit: bool = False
    prices: Prices | None = None
    sends_logs: bool = True
    resource: Callable[[], bytes] = bytes


class OpenOperation:
    """One operation under way.

    ``failed`` and what follows it are set when it ends: how, and the exception's type and message
    if that is to be logged.
    """

    # Defaults of the class: not set, they cost nothing.
    intent_id = ""
    calls: Mapping[str, int] = MappingProxyType({})
    # An error that a child has logged already: an exception is logged once, where it is first seen.
    logged_error: BaseException | None = None
    failed = False
    exception_type = ""
    exception_message = ""
    is_sent = False
    # With prices: the runs that this is a part of, who is charged, and what it has cost.
    runs: tuple[OpenOperation, ...] = ()
    tenant = ""
    cost: float | None = None

    def __init__(
        self, span: Span, rule: OperationRule, parent_id: Hashable | None, target: str | None
    ) -> None:
        self.span = span
        self.rule = rule
        self.parent_id = parent_id
        self.target = target


class OpenOperations:
    """All operations under way in this process, by id.

    Shared by all agents, so that an agent called by another finds its parent.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.by_id: dict[Hashable, OpenOperation] = {}

    def after_fork(self) -> None:
        """A forked child continues none of its parent's operations."""
        self.lock = threading.Lock()
        self.by_id = {}
