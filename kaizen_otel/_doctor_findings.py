"""What the doctor says: findings, and what the answer of a receiver means."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final, Literal

from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._export.transports import open_transport
from kaizen_otel.errors import KaizenOtelError

if TYPE_CHECKING:
    from kaizen_otel._export import Outcome, Signal
    from kaizen_otel.config import EndpointConfig

Level = Literal["ok", "note", "warning", "error"]
ENDPOINT: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
AUDIT_ENDPOINT: Final = "KAIZEN_OTEL_AUDIT_ENDPOINT"
NOT_CHECKED: Final = "accepted by the Collector, arrival not checked"
SEND_TIMEOUT_MS: Final = 10_000
_ABOUT_US: Final = frozenset({"config", "unauthenticated", "forbidden"})
_SEE_MESSAGE: Final = "correct the setting that is named, or the file that it names"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing the doctor looked at: what it is, how it is, and what to do."""

    subject: str
    level: Level
    message: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """The finding for JSON."""
        return asdict(self)


def worst(findings: list[Finding]) -> Level:
    """The most serious level among the findings."""
    order: tuple[Level, ...] = ("error", "warning", "note", "ok")
    for level in order:
        if any(finding.level == level for finding in findings):
            return level
    return "ok"


def setting_finding(text: str) -> Finding:
    """A warning that names the setting to correct."""
    return Finding(subject="settings", level="warning", message=text)


def send_once(signal: Signal, endpoint: EndpointConfig, body: bytes, setting: str) -> Outcome:
    """Send one encoded request and return what became of it."""
    clock = SystemClock()
    try:
        transport = open_transport(endpoint, clock=clock, setting=setting)
    except KaizenOtelError as error:
        return Rejected(reason="config", message=str(error))
    deadline_ns = clock.monotonic_ns() + SEND_TIMEOUT_MS * 1_000_000
    try:
        return transport.send(signal, body, deadline_ns=deadline_ns)
    finally:
        transport.close()


def refusal(subject: str, endpoint: EndpointConfig, outcome: Outcome) -> Finding | None:
    """What is wrong if a request was not taken whole; None if it was."""
    setting = AUDIT_ENDPOINT if subject == "audit" else ENDPOINT
    match outcome:
        case Delivered(rejected_count=0):
            return None
        case Delivered(message=message):
            return Finding(
                subject=subject,
                level="error",
                message=f"{endpoint.endpoint} rejected the canary: {message}",
                fix="look at the Collector's log",
            )
        case Retryable(reason=reason, message=message) | Rejected(reason=reason, message=message):
            if reason in _ABOUT_US:
                return Finding(subject=subject, level="error", message=message, fix=_SEE_MESSAGE)
            return Finding(
                subject=subject,
                level="error",
                message=message,
                fix=f"start a Collector ('kaizen-otel collector run') or correct {setting}",
            )
