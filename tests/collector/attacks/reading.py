"""Who tries to read: pages, debug endpoints, files, other services, other machines."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from tests.collector.attacks.ask import exchange, http, rpc
from tests.collector.attacks.attack import Attack, at
from tests.collector.attacks.target import OTLP_HTTP, Door

if TYPE_CHECKING:
    from tests.collector.attacks.target import Target

HTTP_DOORS: Final[tuple[Door, ...]] = ("HTTP", "audit", "health", "metrics")
# What health and metrics tell to everybody who reaches them.
STATE: Final = "the state"
FIGURES: Final = "the figures"


def read(target: Target, door: Door, *paths: str, method: str = "GET") -> str:
    """What a request without credentials gets, for each path; one word if they agree."""
    answers = {_read(target, door, path, method) for path in paths}
    return " or ".join(sorted(answers))


def _read(target: Target, door: Door, path: str, method: str) -> str:
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = exchange(target.number(door), head.encode(), target.tls(door))
    if answer.status != "200":
        return answer.status
    if answer.text.startswith(b'{"status":"Server available"') or (
        method == "HEAD" and door == "health"
    ):
        return STATE
    return FIGURES if b"otelcol_process_uptime" in answer.text else f"200: {answer.text[:60]!r}"


def reader(*paths: str, method: str = "GET") -> partial[str]:
    def run(target: Target, door: Door, paths: tuple[str, ...]) -> str:
        return read(target, door, *paths, method=method)

    return partial(run, paths=paths)


def preflight(target: Target, door: Door) -> str:
    """What a web page of another origin is allowed to do here."""
    head = (
        "OPTIONS /v1/logs HTTP/1.1\r\nHost: localhost\r\nOrigin: https://elsewhere.example\r\n"
        "Access-Control-Request-Method: POST\r\n"
        "Access-Control-Request-Headers: authorization\r\nConnection: close\r\n\r\n"
    )
    return exchange(target.number(door), head.encode(), target.tls(door)).status


def write_where_nothing_is_read(target: Target, door: Door) -> str:
    answer = http(target, door, credentials="")
    return STATE if (door, answer) == ("health", "200") else answer


def method_of(name: str) -> partial[str]:
    def run(target: Target, door: Door, name: str) -> str:
        assert door == "gRPC"
        return rpc(target, headers={}, body=b"", method=name)

    return partial(run, name=name)


def unknown(name: str, title: str) -> Attack:
    return Attack(title, {"gRPC": "UNIMPLEMENTED"}, method_of(name))


def closed_and(health: str, metrics: str) -> dict[Door, str]:
    return {**at(OTLP_HTTP, "401"), "health": health, "metrics": metrics}


def with_credentials(method: str) -> partial[str]:
    def run(target: Target, door: Door, method: str) -> str:
        return http(target, door, method=method, body=b"")

    return partial(run, method=method)


def telemetry_at_audit(target: Target, door: Door) -> str:
    answers = {http(target, door, path=path, body=b"") for path in ("/v1/traces", "/v1/metrics")}
    return " or ".join(sorted(answers))


def grpc_at_http(target: Target, door: Door) -> str:
    return http(target, door, content_type="application/grpc")


def http_at_grpc(target: Target, door: Door) -> str:
    return http(target, door, credentials=target.headers_of("HTTP"))


READING: Final = (
    Attack("the front page", closed_and(STATE, "404"), reader("/", "/index.html")),
    Attack("the Collector's own metrics", closed_and(STATE, FIGURES), reader("/metrics")),
    Attack(
        "memory and goroutines (`/debug/pprof`)",
        closed_and(STATE, "404"),
        reader("/debug/pprof/", "/debug/pprof/heap", "/debug/pprof/goroutine?debug=2"),
    ),
    Attack(
        "debug pages (`/debug/tracez`, `/debug/servicez`, `/debug/vars`, `/debug/expvarz`)",
        closed_and(STATE, "404"),
        reader("/debug/tracez", "/debug/servicez", "/debug/vars", "/debug/expvarz"),
    ),
    Attack(
        "the configuration (`/config`, `/api/v1/status/config`, `/effective-config`)",
        closed_and(STATE, "404"),
        reader("/config", "/api/v1/status/config", "/effective-config"),
    ),
    Attack(
        "files by a path with `..`",
        {**at(OTLP_HTTP, "401"), "health": STATE, "metrics": "404"},
        reader("/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/v1/logs/..%2f..%2faudit.jsonl"),
    ),
    Attack(
        "what was sent (GET, HEAD of `/v1/logs`)",
        {**at(OTLP_HTTP, "401")},
        lambda target, door: " or ".join(
            sorted({read(target, door, "/v1/logs", method=each) for each in ("GET", "HEAD")})
        ),
    ),
    Attack("what was sent, with right credentials", at(OTLP_HTTP, "405"), with_credentials("GET")),
    Attack("PUT with right credentials", at(OTLP_HTTP, "405"), with_credentials("PUT")),
    Attack("DELETE with right credentials", at(OTLP_HTTP, "405"), with_credentials("DELETE")),
    Attack(
        "TRACE (answers the request's own headers)",
        closed_and(STATE, "404"),
        reader("/v1/logs", method="TRACE"),
    ),
    Attack(
        "the proxy to another machine (`GET http://...`)",
        closed_and(STATE, "404"),
        reader("http://127.0.0.1:1/secret"),
    ),
    Attack(
        "the proxy to another machine (CONNECT)",
        closed_and("404", "404"),
        reader("127.0.0.1:1", method="CONNECT"),
    ),
    Attack("a web page of another origin (CORS preflight)", at(OTLP_HTTP, "401"), preflight),
    Attack(
        "a record for the health check or the metrics page",
        {"health": STATE, "metrics": "404"},
        write_where_nothing_is_read,
    ),
    unknown("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "gRPC reflection"),
    unknown(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "gRPC reflection, old"
    ),
    unknown("/grpc.channelz.v1.Channelz/GetServers", "gRPC channelz"),
    unknown("/grpc.health.v1.Health/Check", "gRPC health"),
    Attack("spans and metrics at the audit port", {"audit": "404"}, telemetry_at_audit),
    Attack("gRPC to the HTTP port", at(OTLP_HTTP, "415"), grpc_at_http),
    Attack("HTTP to the gRPC port", {"gRPC": "closed"}, http_at_grpc),
)
