"""Logs: records with trace and span id, a stdlib handler, and per-component loggers."""

from __future__ import annotations

import datetime as dt
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel import semconv
from kaizen_otel._otlp.common import AttributeField
from kaizen_otel._otlp.logs import LOG_ATTRIBUTES, encode_log_record
from kaizen_otel.config import Config
from kaizen_otel.traces import Span, current_span, parent_of, safe_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._redaction import Redactor

# Severity numbers of the logs data model, "Severity Fields".
SEVERITY: Final[Mapping[str, int]] = {
    "DEBUG": 5, "INFO": 9, "WARNING": 13, "WARN": 13, "ERROR": 17, "CRITICAL": 21, "FATAL": 21,
}  # fmt: skip
_LEVELS: Final = ((50, "CRITICAL"), (40, "ERROR"), (30, "WARNING"), (20, "INFO"))
_EMPTY: Final[Mapping[str, object]] = {}
_SEEN: Final = "_kaizen_otel_seen"
_STDLIB_FIELDS: Final = frozenset(
    set(vars(logging.LogRecord("", 0, "", 0, "", (), None)))
    | {"message", "asctime", "taskName", _SEEN}
)


class LogBackend(NamedTuple):
    """Where log records go: ``sink`` takes one encoded record."""

    sink: Callable[[bytes], object]
    redactor: Redactor
    time_ns: Callable[[], int] = time.time_ns


class LoggingManager:
    """Makes loggers and sends their records, correlated with the current span."""

    def __init__(self, backend: LogBackend | None = None) -> None:
        """Without a backend, a pipeline of its own is built from the environment."""
        if backend is None:
            from kaizen_otel._standalone import open_standalone

            config = Config.from_environment()
            opened = open_standalone("logs", config.service_name or "kaizen-agent", config)
            backend = LogBackend(sink=opened.sink, redactor=opened.redactor)
        self._backend = backend
        self._field = AttributeField(LOG_ATTRIBUTES, backend.redactor.redact_value)
        self._lock = threading.Lock()
        self._loggers: dict[str, StructuredLogger] = {}

    def get_logger(self, name: str) -> StructuredLogger:
        """The logger of one component (an agent's id or a module); always the same object."""
        with self._lock:
            logger = self._loggers.get(name)
            if logger is None:
                logger = self._loggers[name] = StructuredLogger(name, self)
            return logger

    def get_all_loggers(self) -> dict[str, StructuredLogger]:
        """All loggers by name."""
        with self._lock:
            return dict(self._loggers)

    def get_logger_count(self) -> int:
        """How many loggers there are."""
        return len(self._loggers)

    def clear_all_context(self) -> None:
        """Clear the context of every logger."""
        for logger in self.get_all_loggers().values():
            logger.clear_context()

    def set_log_level(self, level: str) -> None:
        """Set the level of every logger (``DEBUG`` to ``CRITICAL``)."""
        for logger in self.get_all_loggers().values():
            logger.set_level(level)

    def handler(self, level: int = logging.NOTSET) -> logging.Handler:
        """A stdlib handler that sends what it is given."""
        return LogHandler(self, level)

    def emit(
        self,
        body: str | None,
        *,
        severity: str = "INFO",
        attributes: Mapping[str, object] | None = None,
        event_name: str = "",
        span: Span | None = None,
        time_ns: int | None = None,
    ) -> None:
        """Send one record.

        ``span`` is what it belongs to, else the current span; strings are redacted.
        """
        backend = self._backend
        now_ns = backend.time_ns()
        trace_id = span_id = b""
        flags = 0
        found = current_span() if span is None else span
        if span is not None or isinstance(found, Span):
            own = cast("Span", found)
            trace_id, span_id, flags = own.trace_id, own.span_id, own.flags
        elif found is not None and (current := parent_of()) is not None:
            trace_id = current.trace_id.to_bytes(16, "big")
            span_id = current.span_id.to_bytes(8, "big")
            flags = int(current.trace_flags)
        backend.sink(
            encode_log_record(
                time_ns=now_ns if time_ns is None else time_ns,
                observed_ns=now_ns,
                severity_number=SEVERITY.get(severity, 9),
                severity_text=severity,
                body=None if body is None else backend.redactor.redact(body),
                attributes=attributes or _EMPTY,
                trace_id=trace_id,
                span_id=span_id,
                flags=flags,
                event_name=event_name,
                field=self._field,
            )
        )


class StructuredLogger:
    """Logger of one component: OTLP records, and the same as JSON on its stdlib logger."""

    def __init__(self, name: str, manager: LoggingManager) -> None:
        self.name = name
        self.logger = logging.getLogger(name)
        self._manager = manager
        self._level = logging.DEBUG
        self._context: dict[str, object] = {}

    def add_context(self, **values: object) -> None:
        """Add values to every record from now on."""
        self._context = {**self._context, **values}

    def clear_context(self) -> None:
        """Forget the context."""
        self._context = {}

    def get_context(self) -> dict[str, object]:
        """A copy of the context."""
        return dict(self._context)

    def set_level(self, level: str) -> None:
        """Send nothing below this level."""
        self._level = logging.getLevelNamesMapping()[level.upper()]

    def debug(self, message: str, **extra: object) -> None:
        """Log at DEBUG."""
        self._log("DEBUG", message, extra)

    def info(self, message: str, **extra: object) -> None:
        """Log at INFO."""
        self._log("INFO", message, extra)

    def warning(self, message: str, **extra: object) -> None:
        """Log at WARNING."""
        self._log("WARNING", message, extra)

    def error(self, message: str, **extra: object) -> None:
        """Log at ERROR."""
        self._log("ERROR", message, extra)

    def critical(self, message: str, **extra: object) -> None:
        """Log at CRITICAL."""
        self._log("CRITICAL", message, extra)

    def _log(self, level: str, message: str, extra: Mapping[str, object]) -> None:
        number = getattr(logging, level)
        if number < self._level:
            return
        attributes = {**self._context, **extra}
        self._manager.emit(
            message, severity=level, attributes={"logger.name": self.name, **attributes}
        )
        if self.logger.isEnabledFor(number):
            self.logger.log(number, self._json(level, message, attributes), extra={_SEEN: True})

    def _json(self, level: str, message: str, attributes: Mapping[str, object]) -> str:
        current = parent_of()
        entry = {
            "timestamp": dt.datetime.now(dt.UTC).isoformat(),
            "level": level,
            "message": message,
            "context": attributes,
            "agent_id": attributes.get("agent_id"),
            "trace_id": format(current.trace_id, "032x") if current else None,
            "span_id": format(current.span_id, "016x") if current else None,
        }
        return json.dumps(entry, default=safe_text)


class LogHandler(logging.Handler):
    """Sends stdlib log records.  Never raises into the program that logs."""

    def __init__(self, manager: LoggingManager, level: int = logging.NOTSET) -> None:
        super().__init__(level)
        self._manager = manager
        self._busy = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Send one record; our own loggers' JSON lines were sent already and are passed over."""
        # Sending may log (a warning about a lost Collector): that must not come back here.
        if getattr(record, _SEEN, False) or getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            attributes: dict[str, object] = {
                key: value for key, value in vars(record).items() if key not in _STDLIB_FIELDS
            }
            attributes["logger.name"] = record.name
            if record.exc_info and record.exc_info[1] is not None:
                error = record.exc_info[1]
                attributes[semconv.EXCEPTION_TYPE] = semconv.exception_type(error)
                attributes[semconv.EXCEPTION_MESSAGE] = safe_text(error)
            self._manager.emit(
                record.getMessage(),
                severity=_severity(record.levelno),
                attributes=attributes,
                time_ns=round(record.created * 1e9),
            )
        except Exception:  # noqa: BLE001 - logging's own rule: report, never raise
            self.handleError(record)
        finally:
            self._busy.now = False


def _severity(level: int) -> str:
    for bound, name in _LEVELS:
        if level >= bound:
            return name
    return "DEBUG"
