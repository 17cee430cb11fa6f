"""What the user chose, as one frozen value, and the only reader of environment variables.

Sources: OpenTelemetry "Environment Variable Specification", "OTLP Exporter Configuration" and
"Semantic Conventions for GenAI".  Explicit arguments win over the environment.  A value of the
environment that cannot be used is replaced by its default and named in ``Config.warnings``, as
the specification asks; a wrong explicit argument raises ``ConfigError``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NamedTuple
from urllib.parse import unquote

from kaizen_otel._endpoints import audit_endpoint, telemetry_endpoint
from kaizen_otel._environment import Environment, home_directory, signal_of
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from kaizen_otel._endpoints import Compression, Protocol

Durability = Literal["durable", "delivered", "none"]
OnFailure = Literal["continue", "wait", "block_action"]
Content = Literal["hmac", "encrypted"]
AnchorsTo = Literal["logs", "none"]
ExporterKind = Literal["native", "stock"]
Temporality = Literal["cumulative", "delta", "lowmemory"]
ExemplarFilter = Literal["trace_based", "always_on", "always_off"]
HistogramAggregation = Literal["explicit_bucket_histogram", "base2_exponential_bucket_histogram"]
SpanStyle = Literal["single", "seed"]
Vocabulary = Literal["default", "latest", "dup"]

_MEBIBYTE: Final = 1024 * 1024
_PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointConfig:
    """Where and how one signal is sent.

    ``endpoint`` is the full URL for HTTP (``http://host:4318/v1/traces``) and
    ``http(s)://host:port`` for gRPC.  ``headers`` may hold secrets and are left out of ``repr``.
    ``token_file`` is the path of a file with a bearer token, which is read again when it changes.
    ``settings`` names the variable of each credential, for messages.
    """

    signal: str
    protocol: Protocol = "http/protobuf"
    endpoint: str = "http://localhost:4318/v1/traces"
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    token_file: str | None = field(default=None, repr=False)
    timeout_ms: int = 10_000
    compression: Compression = "none"
    certificate: str | None = None
    client_key: str | None = None
    client_certificate: str | None = None
    insecure: bool = False
    settings: Mapping[str, str] = field(
        default_factory=dict[str, str], repr=False, hash=False, compare=False
    )


class SpanLimits(NamedTuple):
    """Bounds on what one span may hold (OpenTelemetry SDK specification, "Span Limits")."""

    attribute_count: int = 128
    attribute_length: int | None = None
    event_count: int = 128
    link_count: int = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectsConfig:
    """Keys of the people in audit records, with which their records can be erased; off by default.

    ``keys`` is the directory of the wrapped keys.  ``master_key`` is a path or the key itself in
    base64 and is left out of ``repr``.  ``is_encrypting`` stores content as ciphertext as well.
    """

    keys: Path | None = None
    master_key: str | None = field(default=None, repr=False)
    is_encrypting: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """Where audit records are kept until they are in the trail, and what a failure does.

    ``signing_key`` is a path or a private key itself and is left out of ``repr``.  Signed
    checkpoints also go through the ordinary logs pipeline (``anchors``) and to ``anchor_file``.
    """

    directory: Path
    endpoint: EndpointConfig
    durability: Durability = "durable"
    on_failure: OnFailure = "continue"
    bytes_max: int = 1024 * _MEBIBYTE
    trail_directory: Path | None = None
    signing_key: str | None = field(default=None, repr=False)
    trust_file: Path | None = None
    anchors: AnchorsTo = "logs"
    anchor_file: Path | None = None
    subjects: SubjectsConfig = field(default_factory=SubjectsConfig)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything the pipeline of one process is built from."""

    service_name: str | None
    resource_attributes: Mapping[str, str]
    disabled: bool
    exporters: Mapping[str, str]
    endpoints: Mapping[str, EndpointConfig]
    sampler: str
    sampler_argument: str
    limits: SpanLimits
    batch_size: int
    interval_ms: int
    metric_interval_ms: int
    exporter: ExporterKind = "native"
    temporality: Temporality = "cumulative"
    histogram: HistogramAggregation = "explicit_bucket_histogram"
    exemplars: ExemplarFilter = "trace_based"
    audit: AuditConfig
    span_style: SpanStyle
    vocabulary: Vocabulary
    prices: str = ""
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_environment(
        cls,
        environ: Mapping[str, str] | None = None,
        *,
        jaeger_host: str | None = None,
        jaeger_port: int | None = None,
    ) -> Config:
        """Read the standard ``OTEL_*`` and our ``KAIZEN_OTEL_*`` variables.

        ``jaeger_host`` and ``jaeger_port``, if one is given, select OTLP over gRPC to that place
        for all signals; the missing half is ``localhost`` or 4317.  Raises ``ConfigError`` for a
        wrong argument.
        """
        env = Environment(os.environ if environ is None else environ)
        grpc_target = _jaeger_target(jaeger_host, jaeger_port)
        endpoints = {
            s: EndpointConfig(**telemetry_endpoint(env, s, grpc_target))
            for s in ("traces", "metrics", "logs")
        }
        resource = _resource_attributes(env)
        _content_capture(env)  # for its warning
        return cls(
            service_name=env.text("OTEL_SERVICE_NAME") or resource.get("service.name"),
            resource_attributes=resource,
            disabled=env.boolean("OTEL_SDK_DISABLED"),
            exporters={
                s: env.choice(f"OTEL_{signal_of(s)}_EXPORTER", ("otlp", "none", "console"), "otlp")
                for s in endpoints
            },
            endpoints=endpoints,
            sampler=env.text("OTEL_TRACES_SAMPLER").lower() or "parentbased_always_on",
            sampler_argument=env.text("OTEL_TRACES_SAMPLER_ARG"),
            limits=_limits(env),
            batch_size=env.integer("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 2048, minimum=1),
            interval_ms=env.integer("OTEL_BSP_SCHEDULE_DELAY", 1_000, minimum=1),
            metric_interval_ms=env.integer("OTEL_METRIC_EXPORT_INTERVAL", 10_000, minimum=1),
            exporter=_exporter(env, endpoints.values()),
            temporality=env.choice(
                "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE",
                ("cumulative", "delta", "lowmemory"),
                "cumulative",
            ),
            histogram=env.choice(
                "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
                ("explicit_bucket_histogram", "base2_exponential_bucket_histogram"),
                "explicit_bucket_histogram",
            ),
            exemplars=env.choice(
                "OTEL_METRICS_EXEMPLAR_FILTER",
                ("trace_based", "always_on", "always_off"),
                "trace_based",
            ),
            audit=_audit(env, grpc_target),
            span_style=env.choice("KAIZEN_OTEL_SPAN_STYLE", ("single", "seed"), "single"),
            vocabulary=_vocabulary(env.text("OTEL_SEMCONV_STABILITY_OPT_IN")),
            prices=env.text("KAIZEN_OTEL_PRICES"),
            warnings=tuple(env.warnings),
        )


def content_capture(environ: Mapping[str, str] | None = None) -> bool:
    """Whether prompts and results may be put into spans; off unless the user asks for it.

    Source: ``OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT`` of the GenAI conventions.
    """
    return _content_capture(Environment(os.environ if environ is None else environ))


def _content_capture(env: Environment) -> bool:
    name = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
    value = env.text(name).upper()
    if value not in {"", "FALSE", "NO_CONTENT", "SPAN_ONLY", "SPAN_AND_EVENT", "TRUE"}:
        # EVENT_ONLY among them: content goes into spans or nowhere.
        env.warn(f"{name}={value!r} is not supported, NO_CONTENT is used: set it to SPAN_ONLY")
    return value in {"SPAN_ONLY", "SPAN_AND_EVENT", "TRUE"}


def _exporter(env: Environment, endpoints: Iterable[EndpointConfig]) -> ExporterKind:
    kind: ExporterKind = env.choice("KAIZEN_OTEL_EXPORTER", ("native", "stock"), "native")
    if kind == "stock":
        for name in sorted({one.settings["token_file"] for one in endpoints if one.token_file}):
            env.warn(
                f"{name} is not read by the official exporters (KAIZEN_OTEL_EXPORTER=stock), they "
                "send no token: use native, or OTEL_EXPORTER_OTLP_HEADERS"
            )
    return kind


def _jaeger_target(host: object, port: object) -> str | None:
    if host is None and port is None:
        return None
    number = 4317 if port is None else port
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= _PORT_MAX:
        message = (
            f"jaeger_port is {port!r}, not a port number from 1 to 65535: pass for example 4317"
        )
        raise ConfigError(message)
    name = "localhost" if host is None else host
    if not isinstance(name, str) or not name.strip() or "/" in name:
        message = f"jaeger_host is {host!r}, not a host name: pass for example 'localhost'"
        raise ConfigError(message)
    return f"http://{name}:{number}"


def _resource_attributes(env: Environment) -> dict[str, str]:
    result: dict[str, str] = {}
    for item in filter(None, (p.strip() for p in env.text("OTEL_RESOURCE_ATTRIBUTES").split(","))):
        key, separator, value = item.partition("=")
        if not separator or not key.strip():
            env.warn(
                "OTEL_RESOURCE_ATTRIBUTES holds an item that is not 'key=value', it is left out"
            )
            continue
        result[unquote(key.strip())] = unquote(value.strip())
    return result


def _limits(env: Environment) -> SpanLimits:
    count = env.integer("OTEL_ATTRIBUTE_COUNT_LIMIT", 128, minimum=0)
    length = env.integer("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", -1, minimum=0)
    length = env.integer("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", length, minimum=0)
    return SpanLimits(
        attribute_count=env.integer("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", count, minimum=0),
        attribute_length=None if length < 0 else length,
        event_count=env.integer("OTEL_SPAN_EVENT_COUNT_LIMIT", 128, minimum=0),
        link_count=env.integer("OTEL_SPAN_LINK_COUNT_LIMIT", 128, minimum=0),
    )


def _audit(env: Environment, grpc_target: str | None) -> AuditConfig:
    state = env.text("XDG_STATE_HOME") or str(home_directory() / ".local" / "state")
    trail = env.text("KAIZEN_OTEL_AUDIT_DIR")
    trust = env.text("KAIZEN_OTEL_TRUST_FILE")
    anchor_file = env.text("KAIZEN_OTEL_ANCHOR_FILE")
    return AuditConfig(
        directory=Path(env.text("KAIZEN_OTEL_SPOOL_DIR") or Path(state, "kaizen-otel", "spool")),
        endpoint=EndpointConfig(**audit_endpoint(env, grpc_target)),
        durability=env.choice(
            "KAIZEN_OTEL_DURABILITY", ("durable", "delivered", "none"), "durable"
        ),
        on_failure=env.choice(
            "KAIZEN_OTEL_ON_FAILURE", ("continue", "wait", "block_action"), "continue"
        ),
        bytes_max=env.integer("KAIZEN_OTEL_SPOOL_BYTES_MAX", 1024 * _MEBIBYTE, minimum=_MEBIBYTE),
        trail_directory=Path(trail) if trail else None,
        signing_key=env.text("KAIZEN_OTEL_SIGNING_KEY") or None,
        trust_file=Path(trust) if trust else None,
        anchors=env.choice("KAIZEN_OTEL_ANCHORS", ("logs", "none"), "logs"),
        anchor_file=Path(anchor_file) if anchor_file else None,
        subjects=_subjects(env),
    )


def _subjects(env: Environment) -> SubjectsConfig:
    keys = env.text("KAIZEN_OTEL_SUBJECT_KEYS")
    content: Content = env.choice("KAIZEN_OTEL_AUDIT_CONTENT", ("hmac", "encrypted"), "hmac")
    if content == "encrypted" and not keys:
        env.warn(
            "KAIZEN_OTEL_AUDIT_CONTENT=encrypted without KAIZEN_OTEL_SUBJECT_KEYS encrypts "
            "nothing, only HMACs are stored: set KAIZEN_OTEL_SUBJECT_KEYS to a directory"
        )
    return SubjectsConfig(
        keys=Path(keys) if keys else None,
        master_key=env.text("KAIZEN_OTEL_SUBJECT_MASTER_KEY") or None,
        is_encrypting=content == "encrypted",
    )


def _vocabulary(text: str) -> Vocabulary:
    chosen = {part.strip() for part in text.split(",")}
    if "gen_ai_latest_experimental/dup" in chosen:
        return "dup"
    return "latest" if "gen_ai_latest_experimental" in chosen else "default"
