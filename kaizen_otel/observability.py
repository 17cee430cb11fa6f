"""One interface over the four signals, for one agent, and the process's pipeline behind it."""

from __future__ import annotations

import itertools
import os
import threading
import weakref
from typing import TYPE_CHECKING, Final, Literal

from kaizen_otel import config as configuration
from kaizen_otel._edges import at_fork
from kaizen_otel._pipeline import Pipeline
from kaizen_otel.config import Config
from kaizen_otel.errors import ConfigError, PlatformError
from kaizen_otel.hooks.operations import OpenOperations, Operations, SignalSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kaizen_otel._export.buffer import LedgerSnapshot
    from kaizen_otel._pipeline import Service
    from kaizen_otel.audit_trail import AuditTrailManager
    from kaizen_otel.logs import LoggingManager, StructuredLogger
    from kaizen_otel.metrics import MetricsManager
    from kaizen_otel.tracing import TracingManager

COMPONENTS: Final = ("metrics", "logging", "tracing", "audit")
_lock = threading.RLock()
_numbers = itertools.count(1)
_pipeline: Pipeline | None = None
_pipeline_arguments: tuple[object, ...] = ()
_opened = OpenOperations()
at_fork(_opened.after_fork)
_current: ObservabilityManager | None = None
_users: weakref.WeakValueDictionary[int, ObservabilityManager] = weakref.WeakValueDictionary()


def process_pipeline(
    *, jaeger_host: str | None = None, jaeger_port: int | None = None, console: bool = False
) -> Pipeline:
    """The pipeline of this process, built on first use.

    Raises ``ConfigError`` if it exists already and other explicit arguments are given: one
    process sends to one place.
    """
    global _pipeline, _pipeline_arguments  # noqa: PLW0603 - one per process is the point
    arguments = (jaeger_host, jaeger_port, console)
    with _lock:
        if _pipeline is not None:
            if arguments not in {_pipeline_arguments, (None, None, False)}:
                raise ConfigError(
                    "this process already sends its telemetry elsewhere "
                    f"(jaeger_host={_pipeline_arguments[0]!r}, "
                    f"jaeger_port={_pipeline_arguments[1]!r}, "
                    f"console={_pipeline_arguments[2]!r}): pass the same arguments for every "
                    "agent, or shut the others down first"
                )
            return _pipeline
        environ: Mapping[str, str] = os.environ
        if console:
            to_console = (f"OTEL_{s}_EXPORTER" for s in ("TRACES", "METRICS", "LOGS"))
            environ = {**environ, **dict.fromkeys(to_console, "console")}
        _pipeline = Pipeline(
            Config.from_environment(environ, jaeger_host=jaeger_host, jaeger_port=jaeger_port)
        )
        _pipeline_arguments = arguments
        return _pipeline


def active_pipeline() -> Pipeline | None:
    """The pipeline of this process, or None when nothing is observed."""
    return _pipeline


def current_manager() -> ObservabilityManager | None:
    """The manager that decorators use.

    The one that ``observe`` made last, else the newest of the agents' that is not shut down.
    """
    if _current is not None:
        return _current
    with _lock:
        return max(_users.values(), key=lambda manager: manager.number, default=None)


class ObservabilityManager:
    """What one agent is observed with.  Parts that are switched off are None.

    ``service_name`` names the Resource; without it ``OTEL_SERVICE_NAME``, else
    ``kaizen-agent``.  ``jaeger_host`` or ``jaeger_port``, if given, select OTLP over gRPC.
    ``console=True`` prints traces instead of sending them.
    """

    def __init__(
        self,
        service_name: str | None = None,
        enable_metrics: bool = True,
        enable_logging: bool = True,
        enable_tracing: bool = True,
        enable_audit: bool = True,
        jaeger_host: str | None = None,
        jaeger_port: int | None = None,
        *,
        console: bool = False,
        default_service_name: str = "kaizen-agent",
        pipeline: Pipeline | None = None,
    ) -> None:
        self._pipeline = pipeline or process_pipeline(
            jaeger_host=jaeger_host, jaeger_port=jaeger_port, console=console
        )
        config = self._pipeline.config
        self.service_name = service_name or config.service_name or default_service_name
        service = self._pipeline.service(self.service_name)
        self.tracing: TracingManager | None = service.tracing if enable_tracing else None
        self.metrics: MetricsManager | None = service.metrics if enable_metrics else None
        self.logging: LoggingManager | None = service.logging if enable_logging else None
        self._pipeline.wants_logs |= enable_logging
        self._pipeline.wants_metrics |= enable_metrics
        self.audit: AuditTrailManager | None = None
        if enable_audit:
            try:
                self.audit = self._pipeline.audit(self.service_name)
            except PlatformError as error:
                if config.audit.on_failure == "block_action":
                    raise
                # The other three signals work there; who asks for audit alone gets the error.
                self._pipeline.warn(str(error))
        self.operations = Operations(self._signals(service), _opened)
        if self.metrics is not None:
            # The worker starts with the first item; measurements are none until it collects them.
            self._pipeline.exporter.start()
        self._closed = False
        with _lock:
            self.number = next(_numbers)
            if self._pipeline is _pipeline:
                _users[self.number] = self

    def _signals(self, service: Service) -> SignalSet:
        config = self._pipeline.config
        return SignalSet(
            tracing=self.tracing or service.silent_tracing,
            ids=self._pipeline.ids,
            metrics=self.metrics,
            logging=self.logging,
            audit=self.audit,
            vocabulary=config.vocabulary,
            seed_style=config.span_style == "seed",
            capture_content=configuration.content_capture(),
            block_action=config.audit.on_failure == "block_action",
            exemplars=config.exemplars,
            observations=self._pipeline.observations,
            prices=self._pipeline.prices,
            # Elsewhere a record is on its way to the disk when the call goes on.
            defers_audit=config.audit.durability == "none"
            and config.audit.on_failure == "continue",
            sends_logs="logs" in self._pipeline.sent,
            warn=self._pipeline.warn,
            resource=lambda: service.resource,
        )

    def get_logger(self, name: str) -> StructuredLogger | None:
        """The logger of one component, or None if logging is off."""
        return self.logging.get_logger(name) if self.logging else None

    def get_tracing_manager(self) -> TracingManager | None:
        """The tracing manager, or None if tracing is off."""
        return self.tracing

    async def record_metric(
        self,
        name: str,
        value: float,
        type: Literal["counter", "gauge", "histogram"] = "counter",  # noqa: A002 - Kaizen's name
        labels: Mapping[str, object] | None = None,
    ) -> None:
        """Record one measurement; nothing if metrics are off.

        Raises ``ConfigError`` for an unknown ``type``.
        """
        if self.metrics is None:
            return
        if type not in {"counter", "gauge", "histogram"}:
            raise ConfigError(
                f"metric type {type!r} is unknown, {name!r} was not recorded: use counter, gauge "
                "or histogram"
            )
        getattr(self.metrics, type)(name, value, labels)

    async def export_metrics(self) -> str:
        """All metrics of this service in the Prometheus text format, from memory."""
        self._pipeline.observations.drain()
        return self.metrics.export_text() if self.metrics else ""

    async def record_audit(
        self,
        agent_id: str,
        action: str,
        details: Mapping[str, object],
        result: Literal["success", "failure", "denied"],
        user_id: str | None = None,
        metadata: Mapping[str, object] | None = None,
    ) -> None:
        """Write one audit record and wait until it is durable; nothing if audit is off."""
        if self.audit is not None:
            await self.audit.record(agent_id, action, details, result, user_id, metadata)

    async def query_audit_by_agent(self, agent_id: str) -> Sequence[object]:
        """Audit records of one agent."""
        self._pipeline.observations.drain()
        return await self.audit.query_by_agent(agent_id) if self.audit else []

    async def query_audit_by_action(self, action: str) -> Sequence[object]:
        """Audit records of one action."""
        self._pipeline.observations.drain()
        return await self.audit.query_by_action(action) if self.audit else []

    def is_component_enabled(self, component: str) -> bool:
        """Whether ``metrics``, ``logging``, ``tracing`` or ``audit`` is on."""
        return component in COMPONENTS and getattr(self, component) is not None

    def get_enabled_components(self) -> list[str]:
        """The names of the parts that are on."""
        return [name for name in COMPONENTS if self.is_component_enabled(name)]

    def get_service_name(self) -> str:
        """The service name."""
        return self.service_name

    @property
    def instance_id(self) -> str:
        """``service.instance.id`` of this process."""
        attributes = self._pipeline.resource_attributes(self.service_name)
        return str(attributes["service.instance.id"])

    def ledger(self) -> LedgerSnapshot:
        """What became of this process's telemetry: offered = delivered + dropped + buffered."""
        return self._pipeline.ledger.snapshot()

    def flush(self, timeout: float = 5.0) -> bool:
        """Send everything now; True if all of it arrived within ``timeout`` seconds."""
        return self._pipeline.flush(round(timeout * 1000))

    def shutdown(self, timeout: float = 5.0) -> bool:
        """Flush; the last manager of the process also stops the pipeline.

        True if everything arrived within ``timeout`` seconds.  A second call does nothing.
        """
        global _pipeline, _current  # noqa: PLW0603 - as above
        with _lock:
            if self._closed:
                return True
            self._closed = True
            _users.pop(self.number, None)
            if _current is self:
                _current = None
            shared = self._pipeline is _pipeline
            last = not shared or not len(_users)
            if shared and last:
                _pipeline = None
        milliseconds = round(timeout * 1000)
        return self._pipeline.shutdown(milliseconds) if last else self._pipeline.flush(milliseconds)


def observe(
    service_name: str | None = None,
    *,
    enable_metrics: bool = True,
    enable_logging: bool = True,
    enable_tracing: bool = True,
    enable_audit: bool = True,
    jaeger_host: str | None = None,
    jaeger_port: int | None = None,
    console: bool = False,
) -> ObservabilityManager:
    """Start observing a home-made agent; the decorators use what this returns."""
    global _current  # noqa: PLW0603 - decorators find it here
    manager = ObservabilityManager(
        service_name,
        enable_metrics,
        enable_logging,
        enable_tracing,
        enable_audit,
        jaeger_host,
        jaeger_port,
        console=console,
    )
    _current = manager
    return manager
