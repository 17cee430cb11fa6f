"""Rules against holes: who can get in, and how much one request may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kaizen_otel._collector.config_model import is_loopback, split_address
from kaizen_otel._collector.rules import Hit, Rule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._collector.config_model import Config, Server
    from kaizen_otel._collector.config_tree import Node
    from kaizen_otel._collector.rules import ComponentFacts

_PRIVATE: Final = 0o077
_OLD_TLS: Final = frozenset({"1.0", "1.1"})
_MEBIBYTES_MAX: Final = 64
_MEBIBYTE: Final = 1024 * 1024
_HEALTH: Final = frozenset({"health_check", "healthcheckv2"})
_DEBUG_PAGES: Final = frozenset({"pprof", "zpages"})


def _open_receiver(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    audit = {name for pipeline in config.audit_pipelines for name in pipeline.receivers}
    listening = {each.path for each in config.used_exporters}
    for server in config.servers:
        receives = server.component[0] == "receivers"
        if not server.everywhere or not (receives or server.component in listening):
            continue
        lacks = [
            what
            for what, there in (("TLS", _has_tls(server)), ("authentication", _is_closed(server)))
            if not there
        ]
        if lacks:
            yield Hit(
                path=server.path,
                text=f"{server.component[1]} listens on all interfaces without "
                + " and ".join(lacks),
                severity="error" if server.component[1] in audit else None,
            )


def _has_tls(server: Server) -> bool:
    return server.tls is not None and bool(server.tls.entries)


def _is_closed(server: Server) -> bool:
    authenticator = server.auth is not None and server.auth.get("authenticator") is not None
    return authenticator or (
        server.tls is not None
        and any(server.tls.get(key) is not None for key in ("client_ca_file", "client_ca_pem"))
    )


def _open_health(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    yield from _exposed(config, _HEALTH, "answers on all interfaces")


def _open_pages(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    yield from _exposed(config, _DEBUG_PAGES, "is open on all interfaces")


def _exposed(config: Config, types: frozenset[str], text: str) -> Iterator[Hit]:
    for server in config.servers:
        kind, name = server.component[:2]
        if kind == "extensions" and name.partition("/")[0] in types and server.everywhere:
            yield Hit(path=server.path, text=f"{name} {text}")


def _open_metrics(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for server in config.servers:
        if server.component[0] == "service" and server.everywhere:
            yield Hit(
                path=server.path, text="the Collector's own metrics are open on all interfaces"
            )


def _old_tls(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for path, node in config.root.walk():
        if path and path[-1] == "min_version" and node.text.known in _OLD_TLS:
            yield Hit(path=path, text=f"{path[1]} takes TLS {node.text.shown}")


def _large_message(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    limits = (("max_recv_msg_size_mib", 1), ("max_request_body_size", _MEBIBYTE))
    for receiver in config.used_receivers:
        for path, node in receiver.node.walk():
            for key, unit in limits:
                if not path or path[-1] != key:
                    continue
                size = node.text.number
                if size is not None and size / unit > _MEBIBYTES_MAX:
                    yield Hit(
                        path=(*receiver.path, *path),
                        text=f"{receiver.id} takes messages of {size / unit:.0f} MiB",
                    )


def _slow_sender(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for receiver in config.used_receivers:
        endpoint = receiver.get("protocols", "http", "endpoint")
        if receiver.type != "otlp" or endpoint is None:
            continue
        host, _port = split_address(endpoint.raw)
        # What a variable may open is open.
        if "${" not in endpoint.raw and host is not None and is_loopback(host):
            continue
        if receiver.get("protocols", "http", "read_header_timeout") is None:
            yield Hit(
                path=(*receiver.path, "protocols", "http"),
                text=f"{receiver.id} waits without end for a sender's headers",
            )


def _unlimited_series(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for connector in config.components("connectors"):
        if connector.type != "span_metrics":
            continue
        limit = connector.get("aggregation_cardinality_limit")
        if limit is None or limit.text.number == 0:
            yield Hit(
                path=(*connector.path, "aggregation_cardinality_limit"),
                text=f"{connector.id} makes any number of series",
            )


def _open_folder(config: Config, _: ComponentFacts) -> Iterator[Hit]:
    for exporter in config.used_exporters:
        creates = exporter.get("create_directory")
        if exporter.type != "file" or creates is None or not creates.text.boolean:
            continue
        mode = exporter.get("directory_permissions")
        if mode is None:
            yield Hit(path=exporter.path, text=f"{exporter.id} makes its folder with mode 0755")
        elif (bits := _octal(mode)) is not None and bits & _PRIVATE:
            yield Hit(
                path=(*exporter.path, "directory_permissions"),
                text=f"mode {mode.text.shown} lets others into the folder of {exporter.id}",
            )


def _octal(mode: Node) -> int | None:
    try:
        return int(mode.text.parts, 8)
    except ValueError:
        return None


RULES: Final = (
    Rule(
        id="R01",
        topic="security",
        title="A receiver is open to this machine only, or closed by TLS and authentication",
        severity="warning",
        why="An OTLP port takes anything from anybody who reaches it; since 0.110 the Collector's "
        "own default is localhost for that reason.",
        fix="Bind 127.0.0.1 or the pod's address (${env:MY_POD_IP}), or give the receiver tls and "
        "an auth.authenticator (or tls.client_ca_file).",
        check=_open_receiver,
    ),
    Rule(
        id="R15",
        topic="security",
        title="Files are in a closed folder",
        severity="warning",
        why="The exporter makes its folder with mode 0755 and its files readable to others (0644, "
        "or 0640 with rotation).",
        fix='Write directory_permissions: "0700" beside create_directory.',
        check=_open_folder,
    ),
    Rule(
        id="R23",
        topic="security",
        title="The health check is not open to everybody",
        severity="warning",
        why="It tells whoever asks that a Collector is here and when it starts; the Collector's "
        "own default is localhost.",
        fix="Bind 127.0.0.1 or the pod's address (${env:MY_POD_IP}).",
        check=_open_health,
    ),
    Rule(
        id="R24",
        topic="security",
        title="Debug pages are on loopback",
        severity="warning",
        why="pprof hands out memory profiles and zpages shows spans and settings, to whoever asks.",
        fix="Take the extension out, or bind it to 127.0.0.1.",
        check=_open_pages,
    ),
    Rule(
        id="R25",
        topic="security",
        title="The Collector's own metrics are not open to everybody",
        severity="warning",
        why="They name every component, destination and rate; the Collector's own default is "
        "127.0.0.1:8888.",
        fix="Write host: 127.0.0.1 or the pod's address (${env:MY_POD_IP}).",
        check=_open_metrics,
    ),
    Rule(
        id="R28",
        topic="security",
        title="TLS 1.2 or newer",
        severity="error",
        why="TLS 1.0 and 1.1 are withdrawn (RFC 8996); the Collector's default is 1.2.",
        fix='Remove min_version or write "1.2" or "1.3".',
        check=_old_tls,
    ),
    Rule(
        id="R30",
        topic="security",
        title="Messages are bounded",
        severity="warning",
        why="The defaults (4 MiB by gRPC, 20 MiB by HTTP) bound what one request can take after "
        "decompression; a limit beyond 64 MiB lets few requests fill the memory, and one message "
        "of 14 MB of nested values ended a Collector that allowed it.",
        fix="Write max_recv_msg_size_mib: 8 or leave the default; let clients send smaller "
        "batches.",
        check=_large_message,
    ),
    Rule(
        id="R31",
        topic="security",
        title="Series made of spans are bounded",
        severity="warning",
        why="Without aggregation_cardinality_limit every new span name or attribute value is a new "
        "series in memory and in Prometheus; a client that numbers its spans fills both.",
        fix="Write aggregation_cardinality_limit: 2000.",
        check=_unlimited_series,
    ),
    Rule(
        id="R46",
        topic="security",
        title="A slow sender is cut off",
        severity="warning",
        why="OTLP/HTTP has no time limit by default: connections that send a byte now and then are "
        "kept for ever, until there are no more descriptors.",
        fix="Write read_header_timeout: 10s and read_timeout: 2m beside the endpoint.",
        check=_slow_sender,
    ),
)
