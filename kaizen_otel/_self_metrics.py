"""The ledger as the self-metrics of the semantic conventions, looked up when metrics are collected.

Source: semantic conventions 1.44.0, "OpenTelemetry SDK Metrics".  Nothing is counted twice and no
item costs anything: of one signal, ``offered`` is the queue's size, plus what was refused
(``processed`` with ``error.type``), plus what is in flight, plus what was exported, well or not.
Not among them, because the ledger does not know it: ``otel.sdk.span.started`` and ``.live``,
``otel.sdk.log.created``, and a queue's capacity in items (ours is bounded by bytes).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from kaizen_otel import _semconv_sdk, semconv
from kaizen_otel._export import SIGNALS
from kaizen_otel._export.buffer import Item
from kaizen_otel._resource import SCOPE
from kaizen_otel.metrics import MetricsManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kaizen_otel._export import Signal
    from kaizen_otel._export.ledger import Ledger, SignalLedger
    from kaizen_otel.config import Config
    from kaizen_otel.semconv import Instrument

_SECOND_NS: Final = 10**9
_NOUNS: Final[Mapping[Signal, str]] = {"traces": "span", "logs": "log", "metrics": "metric"}
# What stands for the standardised types where none of them applies is the type's own name.
_BUFFER: Final = "kaizen_otel._export.buffer.Buffer"
_CONSOLE: Final = "kaizen_otel._console.ConsoleTransport"
_REFUSALS: Final = {"buffer_full": "queue_full", "shutdown": "already_shutdown"}
"""The conventions' words for two of our reasons; they must be used."""


class SelfMetrics:
    """The self-metrics of one pipeline."""

    def __init__(self, config: Config, ledger: Ledger, *, time_ns: Callable[[], int]) -> None:
        self._config = config
        self._ledger = ledger
        self._time_ns = time_ns
        self._exporters = {signal: _exporter(config, signal) for signal in SIGNALS}
        self.after_fork()

    def after_fork(self) -> None:
        """Begin at zero in a forked child, as its ledger does."""
        self._metrics = MetricsManager(
            time_ns=self._time_ns,
            temporality=self._config.temporality,
            histogram=self._config.histogram,
        )
        self._told: dict[tuple[object, ...], int] = {}

    def concluded(self, signal: Signal, duration_ns: int, reason: str) -> None:
        """Note how long one export took, retries and pauses included; no reason is success."""
        attributes = {**self._exporters[signal], **_error(reason)}
        seconds = duration_ns / _SECOND_NS
        self._metrics.record(_semconv_sdk.OPERATION_DURATION, seconds, attributes)

    def items(self, resource: bytes) -> Iterator[Item]:
        """What the ledger says now.  A signal that was never offered anything has no series."""
        for signal, one in self._ledger.snapshot().signals.items():
            if one.offered:
                self._measure(signal, one)
        for data, count in self._metrics.collect():
            yield Item(resource, SCOPE, _semconv_sdk.SCHEMA_URL, data, count)

    def _measure(self, signal: Signal, one: SignalLedger) -> None:
        exporter, names = self._exporters[signal], _semconv_sdk.EXPORTERS[signal]
        processor = _semconv_sdk.PROCESSORS.get(signal)
        refused: Mapping[str, int] = {}
        inflight = one.buffered
        # Data points go to the exporter at once, so all that waits is in flight.
        if processor is not None:
            refused, inflight = one.refused, one.sending
            waiting = one.buffered - one.sending
            taken = one.offered - waiting - sum(refused.values())
            self._tell(processor.queue_size, waiting, _PROCESSOR)
            self._tell(processor.processed, taken, _PROCESSOR)
            for reason, count in refused.items():
                word = _REFUSALS.get(reason, reason)
                self._tell(processor.processed, count, {**_PROCESSOR, **_error(word)})
        self._tell(names.inflight, inflight, exporter)
        self._tell(names.exported, one.delivered, exporter)
        for reason, count in one.dropped.items():
            if failed := count - refused.get(reason, 0):
                self._tell(names.exported, failed, {**exporter, **_error(reason)})

    def _tell(self, instrument: Instrument, value: int, attributes: Mapping[str, object]) -> None:
        """Record what has changed since it was told last."""
        key = (instrument.name, *attributes.values())
        told = self._told.get(key)
        if value != told:
            self._metrics.record(instrument, value - (told or 0), attributes)
            self._told[key] = value


def _error(reason: str) -> dict[str, object]:
    return {semconv.ERROR_TYPE: reason} if reason else {}


def _component(kind: str) -> dict[str, object]:
    return {_semconv_sdk.COMPONENT_TYPE: kind, _semconv_sdk.COMPONENT_NAME: f"{kind}/0"}


def _exporter(config: Config, signal: Signal) -> dict[str, object]:
    """Attributes of the exporter of one signal."""
    if config.exporters[signal] == "console":
        return _component(_CONSOLE)
    endpoint = config.endpoints[signal]
    protocol = "grpc" if endpoint.protocol == "grpc" else "http"
    parts = urlsplit(endpoint.endpoint)
    return {
        **_component(f"otlp_{protocol}_{_NOUNS[signal]}_exporter"),
        semconv.SERVER_ADDRESS: parts.hostname or "",
        semconv.SERVER_PORT: parts.port or (443 if parts.scheme == "https" else 80),
    }


_PROCESSOR: Final = _component(_BUFFER)
