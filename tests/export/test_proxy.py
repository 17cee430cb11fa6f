"""Telemetry through an HTTP proxy: real sockets, a proxy that answers by a script."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Delivered, Retryable
from kaizen_otel._export.http import HttpTransport
from kaizen_otel.config import EndpointConfig
from kaizen_otel.errors import ConfigError
from tests.export.servers import RawServer, answer, answering, certificates, server_tls

if TYPE_CHECKING:
    import socket
    import ssl
    from pathlib import Path

    from kaizen_otel._export import Outcome

CLOCK = SystemClock()
HOST = "collector.example"
BASIC = base64.b64encode(b"me:s3cr:t")


@pytest.fixture(autouse=True)
def _no_other_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def send(scheme: str, *, host: str = HOST, certificate: str | None = None) -> Outcome:
    endpoint = EndpointConfig(
        signal="traces", endpoint=f"{scheme}://{host}:4318/v1/traces?a=b", certificate=certificate
    )
    to = HttpTransport(endpoint, clock=CLOCK)
    try:
        return to.send("traces", b"body", deadline_ns=CLOCK.monotonic_ns() + 20 * 10**9)
    finally:
        to.close()


def test_plain_http_goes_to_the_proxy_with_the_whole_url_and_the_credentials(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with RawServer(answering(answer())) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://me:s3cr%3At@127.0.0.1:{proxy.port}")
        assert send("http") == Delivered()
        head, body = proxy.requests[0]
        first, *headers = head.split(b"\r\n")
        assert first == b"POST http://collector.example:4318/v1/traces?a=b HTTP/1.1"
        assert b"host: collector.example:4318" in headers
        assert b"proxy-authorization: Basic " + BASIC in headers
        assert body == b"body"


def _tunnel(tls: ssl.SSLContext, heads: list[bytes]) -> object:
    def handle(connection: socket.socket, number: int, server: RawServer) -> None:
        del number
        heads.append(read_head(connection))
        connection.sendall(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n")
        with tls.wrap_socket(connection, server_side=True) as inner:
            if server.read(inner):
                inner.sendall(answer())

    return handle


def read_head(connection: socket.socket) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    return head


def test_https_goes_through_a_tunnel_that_sees_neither_request_nor_headers(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    paths = certificates(tmp_path, host=HOST)
    heads: list[bytes] = []
    with RawServer(_tunnel(server_tls(paths), heads)) as proxy:  # type: ignore[arg-type]
        monkeypatch.setenv("https_proxy", f"http://me:s3cr%3At@127.0.0.1:{proxy.port}")
        assert send("https", certificate=paths["authority"]) == Delivered()
        assert heads[0].startswith(b"CONNECT collector.example:4318 HTTP/1.1\r\n")
        assert b"Proxy-Authorization: Basic " + BASIC in heads[0]
        head, body = proxy.requests[0]
        assert head.startswith(b"POST /v1/traces?a=b HTTP/1.1")
        assert b"proxy-authorization" not in head.lower()
        assert body == b"body"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]"])
def test_this_machine_is_never_reached_through_a_proxy(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with RawServer(answering(answer())) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
        endpoint = EndpointConfig(signal="traces", endpoint=f"http://{host}:1/v1/traces")
        to = HttpTransport(endpoint, clock=CLOCK)
        outcome = to.send("traces", b"", deadline_ns=CLOCK.monotonic_ns() + 10**9)
        assert isinstance(outcome, Retryable)
        assert proxy.connections == 0


def test_a_host_of_no_proxy_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    with RawServer(answering(answer())) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        assert send("http") == Delivered()
        monkeypatch.setenv("NO_PROXY", "127.0.0.2,.invalid")
        assert isinstance(send("http", host="nowhere.invalid"), Retryable)
        assert proxy.connections == 1


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (b"HTTP/1.1 407 no\r\n\r\n", "wants other credentials"),
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", "refuses a connection to collector.example:4318"),
        (b"SSH-2.0-x\r\n\r\n", "refuses a connection"),
        (b"", "gave no answer in HTTP"),
        (b"x" * 20_000, "gave no answer in HTTP"),
    ],
)
def test_a_proxy_that_refuses_is_named_with_its_setting_and_without_its_credentials(
    said: bytes, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(connection: socket.socket, number: int, server: RawServer) -> None:
        del number, server
        read_head(connection)
        connection.sendall(said)

    with RawServer(refuse) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://me:s3cr%3At@127.0.0.1:{proxy.port}")
        outcome = send("https")
    assert isinstance(outcome, Retryable)
    assert text in outcome.message
    assert "HTTPS_PROXY" in outcome.message
    assert "s3cr" not in outcome.message


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "127.0.0.1:1")
    outcome = send("http")
    assert isinstance(outcome, Retryable)
    assert "the proxy 127.0.0.1:1 (HTTP_PROXY) cannot be reached" in outcome.message


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1", "https://proxy", "http://", "http://[x"])
def test_a_proxy_that_cannot_be_used_is_refused_by_name(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", url)
    with pytest.raises(ConfigError, match="HTTP_PROXY"):
        send("http")
