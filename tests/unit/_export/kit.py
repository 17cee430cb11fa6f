"""What the tests of the exporter share."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from kaizen_otel._edges import SystemClock
from kaizen_otel._export.buffer import Item, Ledger
from kaizen_otel._export.exporter import Exporter
from kaizen_otel._otlp.logs import encode_log_record
from kaizen_otel._otlp.metrics import encode_gauge, encode_number_point
from kaizen_otel._otlp.traces import encode_span

if TYPE_CHECKING:
    from kaizen_otel._export import Signal, Transport

RESOURCE = b"\x0a\x07\x0a\x01r\x12\x02\x10\x01"


def item(name: str = "x", *, signal: Signal = "traces", size: int = 0, count: int = 1) -> Item:
    """One item whose name is in the bytes, padded to at least ``size`` bytes."""
    attributes = {"pad": "p" * size} if size else {}
    if signal == "traces":
        data = encode_span(
            trace_id=b"t" * 16,
            span_id=b"s" * 8,
            name=name,
            start_ns=1,
            end_ns=2,
            attributes=attributes,
        )
    elif signal == "logs":
        data = encode_log_record(time_ns=1, observed_ns=1, body=name, attributes=attributes)
    else:
        point = encode_number_point(attributes=attributes, start_ns=1, time_ns=2, value=1)
        data = encode_gauge(name, points=[point] * count)
    return Item(RESOURCE, b"", "", data, count)


def names(request: dict[str, object]) -> list[str]:
    """Names of the spans, log bodies or metrics in one decoded request, in order."""
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, list):
            for one in value:
                walk(one)
        elif isinstance(value, dict):
            for key, inner in value.items():
                if key in {"spans", "metrics"}:
                    found.extend(one["name"] for one in inner)
                elif key == "logRecords":
                    found.extend(one["body"]["stringValue"] for one in inner)
                else:
                    walk(inner)

    walk(request)
    return found


class Warnings(list[str]):
    """Keeps what the exporter tells the user."""

    def __call__(self, text: str) -> None:
        self.append(text)


def make_exporter(
    transports: dict[Signal, Transport], *, ledger: Ledger | None = None, **options: object
) -> tuple[Exporter, Ledger, Warnings]:
    """An exporter on the system clock that sends at once and retries after a millisecond."""
    warnings = Warnings()
    ledger = ledger or Ledger()
    arguments: dict[str, object] = {
        "clock": SystemClock(),
        "ids_random": lambda: 0.5,
        "interval_ms": 5,
        "retry_delay_ms_first": 1,
        "collect": None,
        "warn": warnings,
        **options,
    }
    return (
        Exporter(transports=transports, ledger=ledger, **arguments),  # type: ignore[arg-type]
        ledger,
        warnings,
    )


def wait_for(condition: object, *, timeout_s: float = 20.0) -> None:
    """Wait until the function returns something true, or fail."""
    assert callable(condition)
    never, clock = threading.Event(), SystemClock()
    end_ns = clock.monotonic_ns() + round(timeout_s * 1e9)
    while not condition():
        assert clock.monotonic_ns() < end_ns, "it did not happen in time"
        never.wait(0.002)
