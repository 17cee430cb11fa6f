"""What a config means: its components, pipelines and listening ports; pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from kaizen_otel._collector.config_tree import Node, Place, expand

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._collector.config_tree import Path

KINDS: Final = ("receivers", "processors", "exporters", "connectors", "extensions")

# Old names that the pinned version still takes, and two that only newer or older ones know.
ALIASES: Final = {
    ("exporters", "otlp"): "otlp_grpc",
    ("exporters", "otlphttp"): "otlp_http",
    ("exporters", "prometheusremotewrite"): "prometheus_remote_write",
    ("processors", "deltatocumulative"): "delta_to_cumulative",
    ("processors", "queuebatch"): "queue_batch",
    ("connectors", "spanmetrics"): "span_metrics",
    ("connectors", "servicegraph"): "service_graph",
    ("receivers", "filelog"): "file_log",
}

# Exporters whose sending queue is on unless it is switched off.
QUEUE_BY_DEFAULT: Final = frozenset({"otlp_grpc", "otlp_http", "elasticsearch"})

_WORDS: Final = re.compile(r"[a-z0-9]+")
_ADDRESS: Final = re.compile(
    r"(?:[a-z][a-z0-9+.-]*://)?(?:[^@/]*@)?(?P<host>\[[^\]]*\]|[^:/\[\]]*)(?::(?P<port>[^/:]*))?(?:/.*)?"
)
_UNKNOWN: Final = "\0"
_NULL: Final = Node(place=Place(file="", line=1, column=1), value=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One configured component."""

    kind: str
    id: str
    node: Node

    @property
    def path(self) -> Path:
        """Where it is in the config."""
        return (self.kind, self.id)

    @property
    def written_type(self) -> str:
        """The type as the config spells it."""
        return self.id.partition("/")[0].strip()

    @property
    def type(self) -> str:
        """The type by its present name."""
        return ALIASES.get((self.kind, self.written_type), self.written_type)

    def get(self, *path: str) -> Node | None:
        """A setting of it, or None."""
        return self.node.get(*path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """One pipeline, with its ids in the order of the config."""

    id: str
    receivers: tuple[str, ...]
    processors: tuple[str, ...]
    exporters: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where it is in the config."""
        return ("service", "pipelines", self.id)

    @property
    def signal(self) -> str:
        """Traces, metrics, logs, or what else the id begins with."""
        return self.id.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """An address that some component listens on."""

    component: Path
    path: Path
    """Of the setting with the address; of the component or protocol when it is the default."""
    host: str | None
    """Empty for all interfaces; None when only the environment knows."""
    port: str | None
    tls: Node | None = None
    auth: Node | None = None

    @property
    def everywhere(self) -> bool:
        """Whether it listens on all interfaces."""
        return self.host is not None and self.host in {"", "0.0.0.0", "::", "*"}  # noqa: S104


@dataclass(frozen=True)
class Config:
    """A config as the rules see it; what many of them ask is worked out once."""

    root: Node
    shared: frozenset[str] = frozenset()
    """Overlay files that are made for several configs."""

    def components(self, kind: str) -> Iterator[Component]:
        """The components of a kind, also those that no pipeline uses."""
        section = self.root.get(kind) or _NULL
        for name, node in section.entries.items():
            yield Component(kind=kind, id=name, node=node)

    def component(self, kind: str, name: str) -> Component | None:
        """A component by its id."""
        node = (self.root.get(kind) or _NULL).entries.get(name)
        return None if node is None else Component(kind=kind, id=name, node=node)

    @cached_property
    def pipelines(self) -> list[Pipeline]:
        """All pipelines."""
        section = self.root.get("service", "pipelines") or _NULL
        return [
            Pipeline(
                id=name,
                receivers=_names(node.get("receivers")),
                processors=_names(node.get("processors")),
                exporters=_names(node.get("exporters")),
            )
            for name, node in section.entries.items()
        ]

    @cached_property
    def list_files(self) -> frozenset[str]:
        """The files that say which exporters pipelines have."""
        lists = [self.root.get(*pipeline.path, "exporters") for pipeline in self.pipelines]
        return frozenset(node.place.file for node in lists if node is not None)

    @cached_property
    def audit_pipelines(self) -> list[Pipeline]:
        """Pipelines that carry audit records, known by name (see ``is_audit``)."""
        return [pipeline for pipeline in self.pipelines if self._is_audit(pipeline)]

    @cached_property
    def audit_ids(self) -> frozenset[str]:
        """The ids of the audit pipelines."""
        return frozenset(pipeline.id for pipeline in self.audit_pipelines)

    def _is_audit(self, pipeline: Pipeline) -> bool:
        return is_audit(pipeline.id) or any(
            is_audit(name) and name.partition("/")[0] == "file" for name in pipeline.exporters
        )

    @cached_property
    def extensions(self) -> tuple[str, ...]:
        """The ids of the extensions that are started."""
        return _names(self.root.get("service", "extensions"))

    @cached_property
    def used_exporters(self) -> list[Component]:
        """Exporters that some pipeline uses, in the order of the config."""
        return self._used("exporters", {name for each in self.pipelines for name in each.exporters})

    @cached_property
    def used_receivers(self) -> list[Component]:
        """Receivers that some pipeline uses."""
        return self._used("receivers", {name for each in self.pipelines for name in each.receivers})

    @cached_property
    def used_extensions(self) -> list[Component]:
        """Extensions that are started."""
        return self._used("extensions", set(self.extensions))

    def _used(self, kind: str, names: set[str]) -> list[Component]:
        return [component for component in self.components(kind) if component.id in names]

    @cached_property
    def receiver_servers(self) -> list[Server]:
        """What the used receivers listen on."""
        return [server for each in self.used_receivers for server in _receiver_servers(each)]

    @cached_property
    def servers(self) -> list[Server]:
        """Everything that listens once the Collector runs."""
        found = list(self.receiver_servers)
        for component in (*self.used_extensions, *self.used_exporters):
            server = _plain_server(component)
            if server is not None:
                found.append(server)
        return found + _telemetry_servers(self.root)


def is_audit(name: str) -> bool:
    """Whether an id such as ``logs/audit`` or ``file/audit-eu`` says that it is for audit records.

    A copy of the trail (``logs/audit_copy``) is telemetry: the trail stays what counts.
    """
    words = set(_WORDS.findall(name.lower().partition("/")[2]))
    return "audit" in words and "copy" not in words


def split_address(raw: str) -> tuple[str | None, str | None]:
    """Host and port of an address or URL after expansion; None for what is unknown."""
    match = _ADDRESS.fullmatch(expand(raw).parts.strip().lower())
    if match is None:
        return None, None
    host, port = match["host"].strip("[]"), match["port"]
    return (
        None if _UNKNOWN in host else host,
        None if port is None or _UNKNOWN in port else port,
    )


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine only."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def has_queue(exporter: Component) -> bool:
    """Whether an exporter answers success before it has sent: its queue is on."""
    queue = exporter.get("sending_queue")
    if queue is None:
        return exporter.type in QUEUE_BY_DEFAULT
    enabled = queue.get("enabled")
    return enabled is None or enabled.text.boolean is not False


def is_persistent(exporter: Component) -> bool:
    """Whether its queue is kept on disk."""
    storage = exporter.get("sending_queue", "storage")
    return has_queue(exporter) and storage is not None and bool(storage.raw)


def _names(node: Node | None) -> tuple[str, ...]:
    return tuple(item.raw for item in (node or _NULL).items)


# What listens where when its config names no address (components of the pinned version).
_OTLP_DEFAULTS: Final = {"grpc": ("localhost", "4317"), "http": ("localhost", "4318")}
_EXTENSION_DEFAULTS: Final = {
    "health_check": ("localhost", "13133"),
    "healthcheckv2": ("localhost", "13133"),
    "zpages": ("localhost", "55679"),
    "pprof": ("localhost", "1777"),
}
_LISTENING_EXPORTERS: Final = frozenset({"prometheus"})
# Receivers whose `endpoint` is a place they fetch from, so that nothing listens.
_UDP: Final = frozenset({"thrift_compact", "thrift_binary", "udp"})
_UDP_RECEIVERS: Final = frozenset({"statsd", "udplog", "udp_log", "netflow", "carbon", "collectd"})


def _receiver_servers(receiver: Component) -> Iterator[Server]:
    if receiver.type in _UDP_RECEIVERS:
        return
    protocols = receiver.get("protocols")
    if protocols is None:
        if receiver.get("endpoint") is not None and not _is_socket_file(receiver.node):
            yield _server(receiver, (), receiver.node)
        return
    for name, node in protocols.entries.items():
        if name in _UDP or _is_socket_file(node):
            continue
        path = ("protocols", name)
        if node.get("endpoint") is not None:
            yield _server(receiver, path, node)
        elif receiver.type == "otlp" and name in _OTLP_DEFAULTS:
            host, port = _OTLP_DEFAULTS[name]
            yield Server(
                component=receiver.path,
                path=(*receiver.path, *path),
                host=host,
                port=port,
                tls=node.get("tls"),
                auth=node.get("auth"),
            )


def _is_socket_file(node: Node) -> bool:
    endpoint, transport = node.get("endpoint"), node.get("transport")
    return (endpoint is not None and endpoint.text.parts.startswith(("unix:", "/"))) or (
        transport is not None and transport.raw.startswith(("unix", "npipe"))
    )


def _server(component: Component, below: Path, node: Node) -> Server:
    endpoint = node.get("endpoint")
    assert endpoint is not None, "the caller has looked"
    host, port = split_address(endpoint.raw)
    return Server(
        component=component.path,
        path=(*component.path, *below, "endpoint"),
        host=host,
        port=port,
        tls=node.get("tls"),
        auth=node.get("auth"),
    )


def _plain_server(component: Component) -> Server | None:
    if component.kind == "exporters" and component.type not in _LISTENING_EXPORTERS:
        return None
    if component.kind == "extensions" and component.type not in _EXTENSION_DEFAULTS:
        return None
    if component.get("endpoint") is not None:
        return _server(component, (), component.node)
    if component.type in _EXTENSION_DEFAULTS:
        host, port = _EXTENSION_DEFAULTS[component.type]
        return Server(component=component.path, path=component.path, host=host, port=port)
    return None


def _telemetry_servers(root: Node) -> list[Server]:
    path = ("service", "telemetry", "metrics", "readers")
    found: list[Server] = []
    for number, reader in enumerate((root.get(*path) or _NULL).items):
        below = ("pull", "exporter", "prometheus")
        prometheus = reader.get(*below)
        if prometheus is None:
            continue
        host, port = prometheus.get("host"), prometheus.get("port")
        found.append(
            Server(
                component=path[:3],
                path=(*path, str(number), *below, *(("host",) if host is not None else ())),
                host="localhost" if host is None else host.text.known,
                port=None if port is None else port.text.known,
            )
        )
    return found
