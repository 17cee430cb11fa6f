"""What to tell people of losses: the ledger's line, and what to change about the largest one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel._export.ledger import LedgerSnapshot

_ENDPOINT: Final = "correct OTEL_EXPORTER_OTLP_ENDPOINT or start the Collector"
_HEADERS: Final = (
    "set KAIZEN_OTEL_TOKEN_FILE or OTEL_EXPORTER_OTLP_HEADERS to credentials that may send"
)
_PROTOCOL: Final = "make OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_PROTOCOL fit together"
_SIZE: Final = "lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE or OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"
_SERVER: Final = "look into the Collector's own log"
_ADVICE: Final[Mapping[str, str]] = {
    "buffer_full": "more was produced than the Collector took: sample with OTEL_TRACES_SAMPLER "
    "or make the Collector faster",
    "disabled": "set OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER and OTEL_LOGS_EXPORTER to otlp",
    "exhausted": _SERVER,
    "forbidden": _HEADERS,
    "internal_error": "please report this with the warnings before it",
    "not_found": _ENDPOINT,
    "redirect": _ENDPOINT,
    "retry_exhausted": _ENDPOINT,
    "shutdown": "it was not sent in the time that was left: correct OTEL_EXPORTER_OTLP_ENDPOINT, "
    "or give shutdown() more time before the end",
    "too_large": _SIZE,
    "unauthenticated": _HEADERS,
    "unknown": "it was sent and not answered: raise OTEL_EXPORTER_OTLP_TIMEOUT, or look why the "
    "Collector is slow",
    "unsupported": _PROTOCOL,
    "wrong_protocol": _PROTOCOL,
}


def advice(reason: str) -> str:
    """What to change so that nothing more is dropped for this reason of the ledger."""
    return _ADVICE.get(reason, _SERVER)


def loss_line(snapshot: LedgerSnapshot) -> str:
    """One line about what was lost; empty if nothing was."""
    totals: dict[str, int] = {}
    for signal in snapshot.signals.values():
        for reason, count in signal.dropped.items():
            totals[reason] = totals.get(reason, 0) + count
    worst = max(sorted(totals), key=lambda reason: totals[reason], default="")
    if not totals.get(worst):
        return ""
    return f"telemetry was dropped: {snapshot.line()}: {worst}: {advice(worst)}"
