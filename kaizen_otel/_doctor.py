"""The doctor: one canary per signal, looked up where it should arrive; findings with the fix."""

from __future__ import annotations

import http.client
import importlib.metadata
import importlib.util
import os
import socket
import urllib.error
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from kaizen_otel._doctor_audit import CANARY_EVENT, examine_audit
from kaizen_otel._doctor_findings import (
    ENDPOINT,
    NOT_CHECKED,
    Finding,
    refusal,
    send_once,
    setting_finding,
)
from kaizen_otel._edges import SystemClock, shared_ids
from kaizen_otel._endpoints import is_url
from kaizen_otel._export.credentials import setting_of
from kaizen_otel._export.losses import advice
from kaizen_otel._otlp.common import encode_request, encode_resource
from kaizen_otel._otlp.logs import encode_log_record
from kaizen_otel._otlp.metrics import encode_number_point, encode_sum
from kaizen_otel._otlp.traces import encode_span
from kaizen_otel._prices import open_prices
from kaizen_otel._resource import SCOPE, resource_attributes
from kaizen_otel._sampler import Sampler
from kaizen_otel._variables import without_effect
from kaizen_otel.config import Config
from kaizen_otel.errors import ConfigError
from kaizen_otel.testing.backends import (
    BackendError,
    query_jaeger_traces,
    query_prometheus,
    search_logs,
    wait_until,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._export import Outcome, Signal
    from kaizen_otel.config import EndpointConfig

SERVICE: Final = "kaizen-otel-doctor"
_CANARY_METRIC: Final = "kaizen.doctor.canary"
_ARRIVAL_S: Final = 20.0
_OPTIONS: Final[dict[str, str]] = {
    "Jaeger": "--jaeger",
    "Prometheus": "--prometheus",
    "the store": "--elasticsearch",
}
# What comes of an answer that is none of the backend that was asked.
_OTHER_PROGRAM: Final = (ValueError, LookupError, TypeError, http.client.HTTPException)
# One metric for each signal and place; processes that still report.
_LOST: Final = (
    "sum by (job, service_name, error_type) ("
    '{__name__=~"otel_sdk_(exporter|processor)_.+_(exported|processed)_total", error_type!=""}'
    ") > 0"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """Identity of one examination, found in all signals."""

    trace_id: bytes
    span_id: bytes
    instance_id: str


def examine(
    *,
    jaeger: str | None = None,
    prometheus: str | None = None,
    elasticsearch: str | None = None,
    environ: Mapping[str, str] | None = None,
    arrival_s: float = _ARRIVAL_S,
) -> list[Finding]:
    """Look at the settings, send one canary per signal, and ask the given backends for it.

    Without a backend's URL its signal ends at "accepted by the Collector, arrival not checked".
    Raises ``ConfigError`` for a URL that is none.
    """
    for option, url in zip(_OPTIONS.values(), (jaeger, prometheus, elasticsearch), strict=True):
        if url and not is_url(url):
            raise ConfigError(f"{option} {url}: give an http:// or https:// address")
    environment = os.environ if environ is None else environ
    config = Config.from_environment(environment)
    findings = [setting_finding(text) for text in _warnings(config, environment)]
    findings += _credentials(config)
    findings += _kaizen()
    findings.append(_spool(config))
    ids = shared_ids()
    canary = Canary(trace_id=ids.trace_id(), span_id=ids.span_id(), instance_id=str(uuid.uuid4()))
    if config.disabled:
        findings.append(
            Finding(
                subject="telemetry",
                level="warning",
                message="OTEL_SDK_DISABLED=true silences traces, metrics and logs (never audit)",
                fix="unset OTEL_SDK_DISABLED",
            )
        )
    else:
        trace_hex = canary.trace_id.hex()
        checks: dict[Signal, tuple[str | None, str, Callable[[str], object]]] = {
            "traces": (
                jaeger,
                "Jaeger",
                lambda url: query_jaeger_traces(SERVICE, url=url, trace_id=trace_hex),
            ),
            "metrics": (
                prometheus,
                "Prometheus",
                lambda url: query_prometheus(_promql(canary), url=url),
            ),
            "logs": (elasticsearch, "the store", lambda url: search_logs(trace_hex, url=url)),
        }
        for signal, (url, backend, ask) in checks.items():
            findings.append(_signal(config, signal, canary, url, backend, ask, arrival_s))
    if prometheus is not None:
        findings += _losses(prometheus)
    findings += examine_audit(config)
    return findings


def _warnings(config: Config, environment: Mapping[str, str]) -> list[str]:
    """What an agent with these settings would warn of at its start."""
    texts = list(config.warnings)
    Sampler(config.sampler, config.sampler_argument, warn=texts.append)
    try:
        open_prices(config.prices)
    except ConfigError as error:
        texts.append(str(error))
    return [*texts, *without_effect(environment)]


def _promql(canary: Canary) -> str:
    return f'{{__name__=~"kaizen_doctor_canary.*", kaizen_doctor_instance="{canary.instance_id}"}}'


def _losses(url: str) -> list[Finding]:
    """What the ledgers of all agents say that write to this Prometheus, each by its own metrics."""
    try:
        found = query_prometheus(_LOST, url=url)
    except (BackendError, OSError, *_OTHER_PROGRAM):
        return []  # that it does not answer is said with the canary
    if not found:
        return [Finding(subject="ledger", level="ok", message=f"no agent of {url} tells of a loss")]
    return [_loss(one["metric"], int(float(one["value"][1]))) for one in found]


def _loss(labels: Mapping[str, str], count: int) -> Finding:
    reason = labels.get("error_type", "")
    reason = {"queue_full": "buffer_full", "already_shutdown": "shutdown"}.get(reason, reason)
    return Finding(
        subject="ledger",
        level="warning",
        message=f"{labels.get('job') or labels.get('service_name') or 'an agent'} has dropped "
        f"{count} items for the reason {reason}",
        fix=advice(reason),
    )


def _credentials(config: Config) -> list[Finding]:
    """Which credentials are set for whom, and nothing of what they are."""
    found: dict[str, list[str]] = {}
    for name, endpoint in (*config.endpoints.items(), ("audit", config.audit.endpoint)):
        fields = ("token_file", "headers", "client_certificate")
        names = [setting_of(endpoint, field) for field in fields if getattr(endpoint, field)]
        if names:
            found.setdefault(" and ".join(names), []).append(name)
    return [
        Finding(subject="credentials", level="ok", message=f"{', '.join(whose)}: {names} set")
        for names, whose in found.items()
    ]


def _kaizen() -> list[Finding]:
    try:
        version = importlib.metadata.version("kailash-kaizen")
    except importlib.metadata.PackageNotFoundError:
        return []
    if importlib.util.find_spec("opentelemetry.sdk") is None:
        return [
            Finding(
                subject="Kaizen",
                level="error",
                message=f"kailash-kaizen {version} cannot run an agent without its extra "
                "[observability] (its agent loop imports the OpenTelemetry SDK)",
                fix="pip install 'kaizen-otel[kaizen]'",
            )
        ]
    return [
        Finding(
            subject="Kaizen",
            level="note",
            message=f"kailash-kaizen {version}: agent.enable_observability(...) is Kaizen's own, "
            "which exports half of the spans and no metrics, logs or audit records, until "
            "kaizen_otel.integrations.kaizen.install() was called in the agent's process",
            fix="call kaizen_otel.integrations.kaizen.install() at start, or use "
            "kaizen_otel.enable_observability(agent)",
        )
    ]


def _spool(config: Config) -> Finding:
    directory = config.audit.directory
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        probe = directory / f".doctor-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        return Finding(
            subject="audit spool",
            level="error",
            message=f"{directory} cannot be written: {error.strerror}; audit records would NOT be "
            "stored",
            fix="set KAIZEN_OTEL_SPOOL_DIR to a folder on a local disk that this user may write",
        )
    return Finding(subject="audit spool", level="ok", message=f"{directory} can be written")


def _signal(
    config: Config,
    signal: Signal,
    canary: Canary,
    url: str | None,
    backend: str,
    ask: Callable[[str], object],
    arrival_s: float,
) -> Finding:
    if config.exporters[signal] != "otlp":
        return Finding(
            subject=signal,
            level="note",
            message=f"OTEL_{signal.upper()}_EXPORTER={config.exporters[signal]}: nothing is sent",
        )
    endpoint = config.endpoints[signal]
    refused = refusal(signal, endpoint, send_canary(signal, endpoint, config, canary))
    if refused is not None:
        return refused
    if url is None:
        return Finding(subject=signal, level="ok", message=f"{NOT_CHECKED} ({endpoint.endpoint})")
    try:
        wait_until(lambda: _asked(lambda: ask(url)), arrival_s)
    except (TimeoutError, BackendError, OSError) as error:
        return Finding(
            subject=signal,
            level="error",
            message=f"accepted by the Collector, but {backend} at {url} does not show it "
            f"after {arrival_s:.0f} s: {error}",
            fix=f"look at the Collector's log and at its destination for {signal}; check "
            f"{_OPTIONS[backend]}",
        )
    except _NoBackendError as error:
        return Finding(
            subject=signal,
            level="error",
            message=f"accepted by the Collector, but {backend} cannot be asked at {url}: {error}",
            fix=f"correct {_OPTIONS[backend]}",
        )
    return Finding(subject=signal, level="ok", message=f"arrived in {backend} at {url}")


class _NoBackendError(Exception):
    """Nothing there that could answer later."""


def _asked(ask: Callable[[], object]) -> object:
    """The answer; raises ``_NoBackendError`` where waiting is in vain."""
    try:
        return ask()
    except urllib.error.URLError as error:
        if isinstance(error.reason, ConnectionRefusedError | socket.gaierror):
            raise _NoBackendError(error.reason.strerror) from error
        raise
    except _OTHER_PROGRAM as error:
        raise _NoBackendError(f"its answer is another program's ({error})") from error


def send_canary(
    signal: Signal, endpoint: EndpointConfig, config: Config, canary: Canary
) -> Outcome:
    """Send one span, data point or log record and return what became of it."""
    now_ns = SystemClock().time_ns()
    mark: dict[str, Any] = {"kaizen.doctor.instance": canary.instance_id}
    if signal == "traces":
        item = encode_span(
            trace_id=canary.trace_id,
            span_id=canary.span_id,
            name=CANARY_EVENT,
            start_ns=now_ns - 1_000_000,
            end_ns=now_ns,
            attributes=mark,
        )
    elif signal == "metrics":
        point = encode_number_point(
            attributes=mark, start_ns=now_ns - 1_000_000, time_ns=now_ns, value=1
        )
        item = encode_sum(_CANARY_METRIC, points=[point], monotonic=True)
    else:
        item = encode_log_record(
            time_ns=now_ns,
            observed_ns=now_ns,
            severity_number=9,
            severity_text="INFO",
            body="canary of kaizen-otel doctor",
            attributes=mark,
            trace_id=canary.trace_id,
            span_id=canary.span_id,
            event_name=CANARY_EVENT,
        )
    resource = encode_resource(
        resource_attributes(SERVICE, canary.instance_id, config.resource_attributes)
    )
    return send_once(signal, endpoint, encode_request([(resource, SCOPE, "", [item])]), ENDPOINT)
