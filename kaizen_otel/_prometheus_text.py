"""Metrics in the Prometheus text format, named as the Collector's remote write names them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from kaizen_otel.semconv import Instrument

_INVALID: Final = re.compile(r"[^a-zA-Z0-9_:]")
_UNITS: Final = {"s": "seconds", "ms": "milliseconds", "By": "bytes", "1": "ratio"}


def prometheus_name(instrument: Instrument) -> str:
    """Name an instrument as the OpenTelemetry to Prometheus mapping does.

    Dots become underscores; the unit and ``_total`` become suffixes, annotations such as
    ``{token}`` do not.
    """
    name = _INVALID.sub("_", instrument.name)
    unit = _UNITS.get(instrument.unit, "")
    if unit and not (unit == "ratio" and instrument.kind != "gauge") and not name.endswith(unit):
        name = f"{name}_{unit}"
    return f"{name}_total" if instrument.kind == "counter" and not name.endswith("_total") else name


def render_counter(
    instrument: Instrument, points: Iterable[tuple[Mapping[str, object], float]]
) -> Iterator[str]:
    """One counter or gauge."""
    name = prometheus_name(instrument)
    yield from _head(instrument, name, "counter" if instrument.kind == "counter" else "gauge")
    for attributes, value in points:
        yield f"{name}{_labels(attributes)} {_number(value)}\n"


def render_histogram(
    instrument: Instrument,
    points: Iterable[tuple[Mapping[str, object], Sequence[tuple[float, float, int]], int, float]],
) -> Iterator[str]:
    """One histogram with cumulative buckets, given as (lower bound, upper bound, count)."""
    name = prometheus_name(instrument)
    yield from _head(instrument, name, "histogram")
    for attributes, buckets, count, total in points:
        below = 0
        for _, bound, in_bucket in buckets:
            below += in_bucket
            if bound == float("inf"):
                continue
            yield f"{name}_bucket{_labels({**attributes, 'le': _number(bound)})} {below}\n"
        yield f"{name}_bucket{_labels({**attributes, 'le': '+Inf'})} {count}\n"
        yield f"{name}_sum{_labels(attributes)} {_number(total)}\n"
        yield f"{name}_count{_labels(attributes)} {count}\n"


def _head(instrument: Instrument, name: str, kind: str) -> Iterator[str]:
    if instrument.description:
        yield f"# HELP {name} {_escape(instrument.description)}\n"
    yield f"# TYPE {name} {kind}\n"


def _labels(attributes: Mapping[str, object]) -> str:
    if not attributes:
        return ""
    pairs = (f'{_label(k)}="{_escape(_text(v))}"' for k, v in sorted(attributes.items()))
    return "{" + ",".join(pairs) + "}"


def _label(key: str) -> str:
    name = _INVALID.sub("_", key).replace(":", "_")
    return f"key_{name}" if name[:1].isdigit() else name


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
