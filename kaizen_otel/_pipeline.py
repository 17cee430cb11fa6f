"""The one pipeline of a process: everything between the managers and the transports."""

from __future__ import annotations

import atexit
import uuid
import weakref
from typing import TYPE_CHECKING, Final

from kaizen_otel import semconv
from kaizen_otel._edges import SystemClock, at_fork, at_multiprocessing_exit, shared_ids
from kaizen_otel._export import SIGNALS
from kaizen_otel._export.buffer import Group, Item, Ledger
from kaizen_otel._export.exporter import Exporter
from kaizen_otel._export.losses import loss_line
from kaizen_otel._observations import Observations
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._redaction import Redactor
from kaizen_otel._resource import SCOPE, resource_attributes
from kaizen_otel._self_metrics import SelfMetrics
from kaizen_otel._warn import RateLimitedWarnings
from kaizen_otel.errors import ConfigError
from kaizen_otel.logs import LogBackend, LoggingManager
from kaizen_otel.metrics import MetricsManager
from kaizen_otel.traces import Sampler, SpanSettings
from kaizen_otel.tracing import TracingBackend, TracingManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from kaizen_otel._audit_meter import AuditMeter
    from kaizen_otel._edges import Clock, Ids
    from kaizen_otel._export import Signal, Transport
    from kaizen_otel._prices import Prices
    from kaizen_otel.audit_trail import AuditTrailManager
    from kaizen_otel.config import Config

# The whole exit is promised within 2 s: the interpreter needs the rest.
_EXIT_TIMEOUT_MS: Final = 1_900


def _nowhere(data: bytes) -> None:
    """Take an item of a signal that the user switched off."""


class Service:
    """One service name of this process: its resource and its managers."""

    def __init__(self, name: str, pipeline: Pipeline) -> None:
        self.name = name
        self._pipeline = pipeline
        self.resource = pipeline.encode_resource(name)
        self.metrics = MetricsManager(
            time_ns=pipeline.clock.time_ns,
            temporality=pipeline.config.temporality,
            histogram=pipeline.config.histogram,
        )
        self.tracing = TracingManager(name, backend=pipeline.tracing_backend(self.sink("traces")))
        self.silent_tracing = TracingManager(name, backend=pipeline.tracing_backend(None))
        self.logging = LoggingManager(self.log_backend())

    def sink(self, signal: Signal) -> Callable[[bytes], object] | None:
        """What takes one encoded item of the signal; None if the user switched it off."""
        if signal not in self._pipeline.sent:
            return None
        # Asked at each request, because a forked child has another.
        group = Group(lambda: self.resource, SCOPE, self._pipeline.schema_url)
        return self._pipeline.exporter.sink(signal, group)

    def log_backend(self) -> LogBackend:
        """What a logging manager of this service works with."""
        return LogBackend(
            sink=self.sink("logs") or _nowhere,
            redactor=self._pipeline.redactor,
            time_ns=self._pipeline.clock.time_ns,
        )

    def after_fork(self) -> None:
        """Take a new identity in a forked child."""
        self.resource = self._pipeline.encode_resource(self.name)
        self.metrics.after_fork()


class Pipeline:
    """Exporter, ledger, services and audit trail of this process.

    ``transports`` replaces those of ``config`` (tests, the console).
    """

    def __init__(
        self,
        config: Config,
        *,
        transports: Mapping[Signal, Transport] | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
    ) -> None:
        self.config = config
        self.clock: Clock = clock or SystemClock()
        self.ids: Ids = ids or shared_ids()
        self.warn = RateLimitedWarnings()
        self.redactor = Redactor()
        self.ledger = Ledger()
        self._self_metrics = SelfMetrics(config, self.ledger, time_ns=self.clock.time_ns)
        self.sent: frozenset[Signal] = frozenset(
            s for s in SIGNALS if not config.disabled and config.exporters[s] != "none"
        )
        self.schema_url = (
            semconv.SCHEMA_URL_LATEST if config.vocabulary == "latest" else semconv.SCHEMA_URL
        )
        self.instance_id = str(uuid.uuid4())
        self.services: dict[str, Service] = {}
        self._collectors: list[Callable[[], Iterable[Item]]] = []
        self.sampler = Sampler(config.sampler, config.sampler_argument, warn=self.warn)
        self.exporter = Exporter(
            transports=self._transports() if transports is None else transports,
            ledger=self.ledger,
            clock=self.clock,
            ids_random=self.ids.fraction,
            batch_size=config.batch_size,
            interval_ms=config.interval_ms,
            metric_interval_ms=config.metric_interval_ms,
            collect=self.collect if "metrics" in self.sent else None,
            warn=self.warn,
            open_more=self._open_more if transports is None else lambda _: None,
            concluded=self._self_metrics.concluded,
            collect_last=self._collect_own if "metrics" in self.sent else None,
        )
        self.observations = Observations(ledger=self.ledger, failed=self._not_recorded)
        self._audit: AuditTrailManager | None = None
        self._audit_service = ""
        # What some agent of this process wants: the trail's own signals follow.
        self.wants_logs = self.wants_metrics = False
        self._audit_meter: AuditMeter | None = None
        self._closed = False
        for text in config.warnings:
            self.warn(text)
        self.prices = self._open_prices() if config.prices else None
        reference: weakref.ref[Pipeline] = weakref.ref(self)
        at_fork(lambda: _after_fork(reference))
        self._at_exit = lambda: _at_exit(reference)
        atexit.register(self._at_exit)
        at_multiprocessing_exit(self, _end)

    def _open_transport(self, signal: Signal) -> Transport:
        from kaizen_otel._export.transports import open_transport

        return open_transport(self.config.endpoints[signal], clock=self.clock)

    def _open_more(self, signal: Signal) -> Transport | None:
        is_otlp = self.config.exporters[signal] != "console"
        return self._open_transport(signal) if is_otlp else None

    def _transports(self) -> dict[Signal, Transport]:
        from kaizen_otel._console import ConsoleTransport

        console: ConsoleTransport | None = None
        found: dict[Signal, Transport] = {}
        for signal in self.sent:
            if self.config.exporters[signal] == "console":
                console = console or ConsoleTransport()
                found[signal] = console
            else:
                found[signal] = self._open_transport(signal)
        return found

    def encode_resource(self, service_name: str) -> bytes:
        """The encoded Resource of one service of this process."""
        return encode_resource(self.resource_attributes(service_name))

    def resource_attributes(self, service_name: str) -> dict[str, object]:
        """Attributes of the Resource of one service of this process."""
        return resource_attributes(service_name, self.instance_id, self.config.resource_attributes)

    def offer_span(self, resource: bytes, scope: bytes, schema_url: str, data: bytes) -> bool:
        """Take one encoded span of the SDK's door; False if it was dropped or is off."""
        if "traces" not in self.sent:
            return False
        return self.exporter.offer("traces", Item(resource, scope, schema_url, data, 1))

    def offer_log(self, resource: bytes, scope: bytes, schema_url: str, data: bytes) -> bool:
        """Take one encoded log record of the SDK's door; False if it was dropped or is off."""
        if "logs" not in self.sent:
            return False
        return self.exporter.offer("logs", Item(resource, scope, schema_url, data, 1))

    def add_collector(self, collect: Callable[[], Iterable[Item]]) -> None:
        """Have further metrics collected with ours, from now on."""
        self._collectors.append(collect)
        self.exporter.start()

    def remove_collector(self, collect: Callable[[], Iterable[Item]]) -> None:
        """Collect them no more."""
        if collect in self._collectors:
            self._collectors.remove(collect)

    def _open_prices(self) -> Prices | None:
        from kaizen_otel._prices import open_prices

        try:
            return open_prices(self.config.prices)
        except ConfigError as error:
            self.warn(str(error))
            return None

    def service(self, name: str) -> Service:
        """The service of that name, made on first use."""
        found = self.services.get(name)
        return found or self.services.setdefault(name, Service(name, self))

    def audit(self, service_name: str) -> AuditTrailManager:
        """The process's audit trail; its resource names the service that asked first."""
        if self._audit is None:
            from kaizen_otel._audit_meter import AuditMeter
            from kaizen_otel.audit_trail import AuditTrailManager

            _close_before_audit(weakref.ref(self.observations))
            self._audit_service, self._audit_meter = service_name, AuditMeter()
            self._audit = AuditTrailManager(
                config=self.config.audit,
                # Made anew in a forked child, which has an instance id of its own.
                resource=lambda: self.encode_resource(service_name),
                clock=self.clock,
                ids=self.ids,
                anchor=self._anchor,
            )
        return self._audit

    def _anchor(self, data: bytes) -> None:
        """Send a signed checkpoint of the audit trail through the logs as well."""
        sink = self.service(self._audit_service).sink("logs") if self.wants_logs else None
        if sink is not None:
            sink(data)

    def tracing_backend(self, sink: Callable[[bytes], object] | None) -> TracingBackend:
        """What a tracing manager of this pipeline works with."""
        return TracingBackend(
            settings=SpanSettings(
                sink=sink,
                limits=self.config.limits,
                redactor=self.redactor,
                time_ns=self.clock.time_ns,
            ),
            sampler=self.sampler,
            ids=self.ids,
            flush=self._flush_exporter,
            shutdown=self._flush_exporter,
            seed_style=self.config.span_style == "seed",
            warn=self.warn,
        )

    def collect(self) -> Iterable[Item]:
        """Every service's metrics, encoded; before them, what became of all telemetry so far."""
        self.observations.drain()
        yield from self._collect_own()
        if self._audit is not None and self._audit_meter is not None and self.wants_metrics:
            metrics = self.service(self._audit_service).metrics
            self._audit_meter.measure(self._audit.status(), metrics)
        for service in tuple(self.services.values()):
            for data, count in service.metrics.collect():
                yield Item(service.resource, SCOPE, self.schema_url, data, count)
        for collect in tuple(self._collectors):
            try:
                yield from collect()
            except Exception as error:  # noqa: BLE001 - a callback is the user's; others go on
                self.warn(f"metrics of the SDK's provider could not be collected: {error!r}")

    def _collect_own(self) -> Iterable[Item]:
        """What the ledger says, as metrics, if this process wants any."""
        # It has one ledger; the Resource is that of the service that came first.
        first = next(iter(self.services.values()), None)
        if first is not None and (self.wants_metrics or self._collectors):
            yield from self._self_metrics.items(first.resource)

    def _not_recorded(self, error: BaseException) -> None:
        # Without its text, which may quote a value of the agent's.
        self.warn(f"an operation was not recorded: {type(error).__qualname__}")

    def _flush_exporter(self, timeout_ms: int) -> bool:
        self.observations.drain()
        return self.exporter.flush(timeout_ms)

    def flush(self, timeout_ms: int) -> bool:
        """Send all telemetry and ship all audit records, within the time; True if all arrived."""
        deadline_ns = self.clock.monotonic_ns() + timeout_ms * 1_000_000
        sent = self._flush_exporter(timeout_ms)
        if self._audit is None:
            return sent
        left_ms = max((deadline_ns - self.clock.monotonic_ns()) // 1_000_000, 0)
        return self._audit.flush(left_ms) and sent

    def shutdown(self, timeout_ms: int) -> bool:
        """Flush and stop.  Audit records that did not arrive stay in the spool."""
        if self._closed:
            return True
        self._closed = True
        atexit.unregister(self._at_exit)
        deadline_ns = self.clock.monotonic_ns() + timeout_ms * 1_000_000
        self.observations.close()
        if self._audit is not None:
            # Before the exporter: the stream's last checkpoint goes through the logs as well.
            self._audit.end(timeout_ms)
            timeout_ms = max((deadline_ns - self.clock.monotonic_ns()) // 1_000_000, 0)
        sent = self.exporter.shutdown(timeout_ms)
        if self._audit is not None:
            left_ms = max((deadline_ns - self.clock.monotonic_ns()) // 1_000_000, 0)
            sent = self._audit.shutdown(left_ms) and sent
        if line := loss_line(self.ledger.snapshot()):
            self.warn(line)
        return sent

    def after_fork(self) -> None:
        """Give a forked child its own identity and an empty state."""
        self.instance_id = str(uuid.uuid4())
        self.observations.after_fork()
        self._self_metrics.after_fork()
        if self._audit_meter is not None:
            # The child's counts begin at zero, its metrics as well.
            self._audit_meter = type(self._audit_meter)()
        for service in self.services.values():
            service.after_fork()


def _close_before_audit(reference: weakref.ref[Observations]) -> None:
    """At the end of the process, derive what waits before the audit trail ends.

    What is registered last runs first, so the audit trail's module has been imported before.
    """

    def close() -> None:
        found = reference()
        if found is not None:
            found.close()

    def after_fork() -> None:
        found = reference()
        if found is not None:
            at_multiprocessing_exit(found, Observations.close)

    atexit.register(close)
    at_fork(after_fork)


def _after_fork(reference: weakref.ref[Pipeline]) -> None:
    pipeline = reference()
    if pipeline is not None:
        pipeline.after_fork()
        at_multiprocessing_exit(pipeline, _end)


def _at_exit(reference: weakref.ref[Pipeline]) -> None:
    pipeline = reference()
    if pipeline is not None:
        _end(pipeline)


def _end(pipeline: Pipeline) -> None:
    pipeline.shutdown(_EXIT_TIMEOUT_MS)
