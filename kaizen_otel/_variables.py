"""Every environment variable of the agent's side: default, meaning, and those that are not read.

The page docs/reference/configuration.md is written from here, and tests compare this with what
``config`` really reads, which values it really has, and what the stock SDK reads.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class Variable:
    """One variable.  ``default`` is in words if ``is_literal`` is off.

    ``bad`` is a value that cannot be used, which is warned about; None if any text can be.
    """

    name: str
    default: str
    meaning: str
    is_literal: bool = True
    bad: str | None = None


def _words(name: str, default: str, meaning: str, bad: str | None = None) -> Variable:
    return Variable(name=name, default=default, meaning=meaning, is_literal=False, bad=bad)


def _value(name: str, default: str, meaning: str, bad: str | None = None) -> Variable:
    return Variable(name=name, default=default, meaning=meaning, bad=bad)


TELEMETRY: Final = (
    _words("OTEL_SERVICE_NAME", "`service.name` of `OTEL_RESOURCE_ATTRIBUTES`, else kaizen-agent",
           "names the service, unless a name is given in the program"),
    _words("OTEL_RESOURCE_ATTRIBUTES", "none",
           "`key=value,key=value`, percent-encoded: attributes of the Resource", "novalue"),
    _value("OTEL_SDK_DISABLED", "false",
           "`true` silences traces, metrics and logs; never the audit trail", "maybe"),
    _value("OTEL_TRACES_EXPORTER", "otlp", "`otlp`, `console` or `none`", "jaeger"),
    _value("OTEL_METRICS_EXPORTER", "otlp", "`otlp`, `console` or `none`", "prometheus"),
    _value("OTEL_LOGS_EXPORTER", "otlp", "`otlp`, `console` or `none`", "syslog"),
    _value("OTEL_TRACES_SAMPLER", "parentbased_always_on",
           "`always_on`, `always_off`, `traceidratio`, or one of these after `parentbased_`",
           "sometimes"),
    _words("OTEL_TRACES_SAMPLER_ARG", "1.0", "the ratio of `traceidratio`, from 0 to 1"),
    _value("OTEL_ATTRIBUTE_COUNT_LIMIT", "128", "attributes of one span", "-1"),
    _words("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "no limit", "characters of one value", "-1"),
    _words("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "`OTEL_ATTRIBUTE_COUNT_LIMIT`",
           "the same for spans alone", "x"),
    _words("OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "`OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT`",
           "the same for spans alone", "x"),
    _value("OTEL_SPAN_EVENT_COUNT_LIMIT", "128", "events of one span", "1.5"),
    _value("OTEL_SPAN_LINK_COUNT_LIMIT", "128", "links of one span", "1.5"),
    _value("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2048",
           "items of one request, of all signals; 512 in the specification", "0"),
    _value("OTEL_BSP_SCHEDULE_DELAY", "1000",
           "milliseconds that an item waits for others, in all signals; 5000 in the specification",
           "0"),
    _value("OTEL_METRIC_EXPORT_INTERVAL", "10000",
           "milliseconds from one collection of metrics to the next; 60000 in the specification",
           "soon"),
    _value("OTEL_METRICS_EXEMPLAR_FILTER", "trace_based",
           "`trace_based`, `always_on` or `always_off`: which measurements name their span", "all"),
    _value("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative",
           "`cumulative`, `delta` or `lowmemory`; Prometheus takes `cumulative`", "both"),
    _value("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram",
           "or `base2_exponential_bucket_histogram`", "summary"),
    _words("OTEL_SEMCONV_STABILITY_OPT_IN", "none",
           "`gen_ai_latest_experimental` or `gen_ai_latest_experimental/dup`, see [](../names.md)"),
    _value("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "NO_CONTENT",
           "`SPAN_ONLY` (or `SPAN_AND_EVENT`, `true`) puts prompts and results into spans",
           "EVENT_ONLY"),
)  # fmt: skip

OTLP: Final = (
    _value("ENDPOINT", "http://localhost:4318",
           "the receiver; port 4317 for gRPC. `/v1/<signal>` is added, except to a signal's own",
           "localhost"),
    _value("PROTOCOL", "http/protobuf", "`http/protobuf` or `grpc` (needs `kaizen-otel[grpc]`)",
           "http/json"),
    _words("HEADERS", "none", "`name=value,name=value`, percent-encoded; may hold secrets",
           "novalue"),
    _value("TIMEOUT", "10000", "milliseconds that one request may take", "0"),
    _value("COMPRESSION", "none", "`none` or `gzip`", "zip"),
    _words("CERTIFICATE", "the system's authorities",
           "file of the authority that the server's certificate is judged by"),
    _words("CLIENT_CERTIFICATE", "none", "file of our certificate, for mTLS"),
    _words("CLIENT_KEY", "none", "file of its key"),
    _value("INSECURE", "false", "`true`: a gRPC endpoint without a scheme is plain", "perhaps"),
)  # fmt: skip
"""Suffixes: ``OTEL_EXPORTER_OTLP_<suffix>``, and with ``TRACES_``, ``METRICS_``, ``LOGS_``."""

CREDENTIALS: Final = (
    _words("KAIZEN_OTEL_TOKEN_FILE", "none",
           "a file with one bearer token, which is sent with traces, metrics, logs and audit "
           "records; read again when it changes"),
    *(
        _words(f"KAIZEN_OTEL_{signal}_TOKEN_FILE", "`KAIZEN_OTEL_TOKEN_FILE`",
               f"the same for {signal.lower()} alone")
        for signal in ("TRACES", "METRICS", "LOGS")
    ),
    _words("KAIZEN_OTEL_AUDIT_TOKEN_FILE", "that of logs",
           "the same for audit records, which then send no other `authorization`"),
    _words("KAIZEN_OTEL_AUDIT_HEADERS", "those of logs",
           "`name=value,name=value`, percent-encoded; instead of all of those", "novalue"),
    _words("KAIZEN_OTEL_AUDIT_CERTIFICATE", "that of logs",
           "file of the authority that the audit receiver's certificate is judged by"),
    _words("KAIZEN_OTEL_AUDIT_CLIENT_CERTIFICATE", "that of logs, with its key",
           "file of our certificate for the audit receiver"),
    _words("KAIZEN_OTEL_AUDIT_CLIENT_KEY", "in the file of that certificate",
           "file of its key", "/alone"),
)  # fmt: skip

OURS: Final = (
    _words("KAIZEN_OTEL_AUDIT_ENDPOINT", "the host of `OTEL_EXPORTER_OTLP_ENDPOINT`, port 4319",
           "the Collector's audit receiver", "localhost"),
    _words("KAIZEN_OTEL_SPOOL_DIR", "`$XDG_STATE_HOME/kaizen-otel/spool`",
           "local disk on which audit records are kept until they are in the trail"),
    _value("KAIZEN_OTEL_SPOOL_BYTES_MAX", "1073741824", "bytes that they may take", "5"),
    _value("KAIZEN_OTEL_DURABILITY", "durable",
           "`durable` (on the disk), `delivered` (at the Collector) or `none`: what is waited for",
           "yes"),
    _value("KAIZEN_OTEL_ON_FAILURE", "continue",
           "`continue`, `wait` or `block_action`: what a tool does whose intent is not stored",
           "panic"),
    _words("KAIZEN_OTEL_SIGNING_KEY", "a key of its own, made in the spool",
           "path of the private key that signs checkpoints, or the key itself"),
    _words("KAIZEN_OTEL_TRUST_FILE", "none", "public keys that a trail is judged by"),
    _value("KAIZEN_OTEL_ANCHORS", "logs", "`logs` or `none`: whether checkpoints go there too",
           "disk"),
    _words("KAIZEN_OTEL_ANCHOR_FILE", "none", "a file to which checkpoints are added as well"),
    _words("KAIZEN_OTEL_AUDIT_DIR", "none", "folder in which the Collector writes the trail"),
    _value("KAIZEN_OTEL_AUDIT_CONTENT", "hmac",
           "`hmac` or `encrypted`: how content is kept in audit records", "plain"),
    _words("KAIZEN_OTEL_SUBJECT_KEYS", "none", "folder of the keys by which people can be erased"),
    _words("KAIZEN_OTEL_SUBJECT_MASTER_KEY", "none",
           "path of the key that wraps those, or the key itself"),
    _value("KAIZEN_OTEL_EXPORTER", "native",
           "`native` or `stock`: the official exporters behind the SDK's door", "other"),
    _value("KAIZEN_OTEL_SPAN_STYLE", "single",
           "`single`: one span for an operation; `seed`: one for each hook event, as Kaizen's own",
           "double"),
    _words("KAIZEN_OTEL_PRICES", "off",
           "what calls to models cost: path of a table, or `genai-prices` for that package's"),
    _words("XDG_STATE_HOME", "`~/.local/state`", "where the spool is by default"),
)  # fmt: skip

TOOLS: Final[Mapping[str, str]] = {
    "KAIZEN_OTEL_AUDIT_ACCESS_RECORDS": "`true`: commands that read the trail leave a record of it",
    "KAIZEN_OTEL_AUDIT_PORT": "port of the Collector's audit receiver",
    "KAIZEN_OTEL_AUDIT_VOLUME": "volume or folder of the trail of `collector/compose`",
    "KAIZEN_OTEL_BIND": "address that the Collector listens on, 127.0.0.1",
    "KAIZEN_OTEL_COLLECTOR": "a Collector binary, instead of one that is obtained",
    "KAIZEN_OTEL_COLLECTOR_CONFIG": "a whole config; set by `kaizen_otel.testing`",
    "KAIZEN_OTEL_CPUS": "processors for the large containers of `collector/compose`, 2",
    "KAIZEN_OTEL_DATA_DIR": "folder in which the Collector's `dev` config writes",
    "KAIZEN_OTEL_DEAD_LETTER_DIR": "folder in which the Collector keeps what a backend refused",
    "KAIZEN_OTEL_ELASTICSEARCH_PORT": "port of Elasticsearch in `collector/compose`",
    "KAIZEN_OTEL_GRAFANA_PORT": "port of Grafana in `collector/compose`",
    "KAIZEN_OTEL_GRPC_PORT": "port of the Collector's OTLP/gRPC receiver",
    "KAIZEN_OTEL_HEALTH_PORT": "port of the Collector's health check",
    "KAIZEN_OTEL_HTTP_PORT": "port of the Collector's OTLP/HTTP receiver",
    "KAIZEN_OTEL_JAEGER": "a Jaeger binary, instead of one that is obtained",
    "KAIZEN_OTEL_JAEGER_CONFIG": "a whole config; set by `kaizen_otel.testing`",
    "KAIZEN_OTEL_JAEGER_PORT": "port of Jaeger's page in `collector/compose`",
    "KAIZEN_OTEL_KIBANA_PORT": "port of Kibana in `collector/compose`",
    "KAIZEN_OTEL_METRICS_PORT": "port of the Collector's own metrics",
    "KAIZEN_OTEL_OPENSEARCH": "a folder with OpenSearch, instead of one that is obtained",
    "KAIZEN_OTEL_PROMETHEUS": "a Prometheus binary, instead of one that is obtained",
    "KAIZEN_OTEL_PROMETHEUS_PORT": "port of Prometheus in `collector/compose`",
    "KAIZEN_OTEL_QUEUE_DIR": "folder of the Collector's queues on the disk",
    "KAIZEN_OTEL_SECRETS": "folder of secrets for `compose.security.yaml`",
    "KAIZEN_OTEL_TEST_IMAGES": "`official` or another set of images for `kaizen_otel.testing`",
    "KAIZEN_OTEL_USER": "`user:group` that containers of `collector/compose` run as",
}
"""Of the tools and of the Collector's configs, not of an agent."""

ELSEWHERE: Final[Mapping[str, str]] = {
    "HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY": "proxies; this machine itself is never reached "
    "through one",
    "OTEL_PROPAGATORS": "read by the OpenTelemetry API: how `kaizen_otel.integrations.mcp` and "
    "other instrumentations carry a trace to another process",
    "GRPC_ENABLE_FORK_SUPPORT": "read by `grpcio`: must be `true` where a process forks",
}
"""What other packages read, with effect on us."""

NOT_READ: Final[Mapping[str, str]] = {
    "OTEL_BLRP_EXPORT_TIMEOUT": "`OTEL_EXPORTER_OTLP_TIMEOUT`",
    "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "`OTEL_BSP_MAX_EXPORT_BATCH_SIZE` holds for all signals",
    "OTEL_BLRP_MAX_QUEUE_SIZE": "the buffer is bounded by bytes: 64 MiB for all signals",
    "OTEL_BLRP_SCHEDULE_DELAY": "`OTEL_BSP_SCHEDULE_DELAY` holds for all signals",
    "OTEL_BSP_EXPORT_TIMEOUT": "`OTEL_EXPORTER_OTLP_TIMEOUT`",
    "OTEL_BSP_MAX_QUEUE_SIZE": "the buffer is bounded by bytes: 64 MiB for all signals",
    "OTEL_CONFIG_FILE": "use variables",
    "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT": "events have the attributes that they are given",
    "OTEL_EXPERIMENTAL_RESOURCE_DETECTORS": "`OTEL_RESOURCE_ATTRIBUTES`, or the Collector's "
    "processor `resourcedetection`",
    "OTEL_EXPORTER_PROMETHEUS_HOST": "the Collector writes to Prometheus",
    "OTEL_EXPORTER_PROMETHEUS_PORT": "the Collector writes to Prometheus",
    "OTEL_EXPORTER_ZIPKIN_ENDPOINT": "only OTLP is sent",
    "OTEL_EXPORTER_ZIPKIN_TIMEOUT": "only OTLP is sent",
    "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "links have the attributes that they are given",
    "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "log records have the attributes that they are given",
    "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT": "one record may have 4 MiB",
    "OTEL_LOG_LEVEL": "`logging.getLogger('kaizen_otel').setLevel(...)`",
    "OTEL_METRIC_EXPORT_TIMEOUT": "`OTEL_EXPORTER_OTLP_TIMEOUT`",
    "OTEL_PYTHON_CONTEXT": "read by the OpenTelemetry API, without effect on us",
    "OTEL_PYTHON_EXPORTER_OTLP_*": "read by the official exporters",
    "OTEL_PYTHON_ID_GENERATOR": "ids are random",
    "OTEL_PYTHON_LOGGER_CONFIGURATOR": "read by the stock SDK for its own providers",
    "OTEL_PYTHON_LOGGER_PROVIDER": "read by the OpenTelemetry API, without effect on us",
    "OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "read by the stock SDK's configurator",
    "OTEL_PYTHON_METER_CONFIGURATOR": "read by the stock SDK for its own providers",
    "OTEL_PYTHON_METER_PROVIDER": "read by the OpenTelemetry API, without effect on us",
    "OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED": "ours are sent with the metrics, see "
    "[](../names.md); it switches those of the stock SDK's own parts",
    "OTEL_PYTHON_TRACER_CONFIGURATOR": "read by the stock SDK for its own providers",
    "OTEL_PYTHON_TRACER_PROVIDER": "read by the OpenTelemetry API, without effect on us",
}
"""Variables of the specification and of the stock SDK, and what to do instead."""

_SIGNALS: Final = ("", "TRACES_", "METRICS_", "LOGS_")
_PREFIXES: Final = ("KAIZEN_OTEL_", "OTEL_EXPORTER_OTLP_")
_BY_OTHERS: Final = ("read by", "ours are sent")


def read() -> Iterator[Variable]:
    """Every variable that the configuration reads."""
    yield from TELEMETRY
    for one in OTLP:
        for signal in _SIGNALS:
            yield Variable(
                name=f"OTEL_EXPORTER_OTLP_{signal}{one.name}",
                default=one.default,
                meaning=one.meaning,
                is_literal=one.is_literal and not signal,
                bad=one.bad,
            )
    yield from CREDENTIALS
    yield from OURS


def without_effect(environ: Mapping[str, str]) -> Iterator[str]:
    """What to say about variables that are set and that nothing of ours reads."""
    known = {one.name for one in read()} | set(TOOLS)
    for name in sorted(name for name, value in environ.items() if value.strip()):
        if name in NOT_READ and not NOT_READ[name].startswith(_BY_OTHERS):
            yield f"{name} is not read: {NOT_READ[name].replace('`', '')}"
        elif name.startswith(_PREFIXES) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{name} is not known" + (f": did you mean {near[0]}?" if near else "")
