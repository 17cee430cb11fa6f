"""The OTLP/HTTP transport against real sockets whose other end misbehaves."""

from __future__ import annotations

import contextlib
import socket
import struct
import zlib
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._edges import SystemClock
from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._export.http import BODY_BYTES_MAX, HttpTransport
from kaizen_otel._export.transports import open_transport
from kaizen_otel._otlp.wire import delimited
from kaizen_otel.config import EndpointConfig
from kaizen_otel.errors import ConfigError
from tests.export.servers import RawServer, answer, answering, certificates, server_tls

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kaizen_otel._export import Outcome

CLOCK = SystemClock()
# The machine may be busy: what is promised is the deadline, what is checked is that it is no hang.
SLACK_MS = 3_000
PROTOBUF = "application/x-protobuf"
PARTIAL = delimited(b"\x0a", b"\x08\x02\x12\x03old")


def transport(
    port: int, *, scheme: str = "http", host: str = "127.0.0.1", **options: object
) -> HttpTransport:
    endpoint = EndpointConfig(
        signal="traces",
        endpoint=f"{scheme}://{host}:{port}/v1/traces",
        **options,  # type: ignore[arg-type]
    )
    found = open_transport(endpoint, clock=CLOCK)
    assert isinstance(found, HttpTransport)
    return found


def send(
    to: HttpTransport, body: bytes = b"body", *, timeout_ms: int = 20_000, is_closed: bool = True
) -> Outcome:
    start_ns = CLOCK.monotonic_ns()
    try:
        outcome = to.send("traces", body, deadline_ns=start_ns + timeout_ms * 1_000_000)
    finally:
        if is_closed:
            to.close()
    assert (CLOCK.monotonic_ns() - start_ns) / 1e6 < timeout_ms + SLACK_MS, "the deadline is kept"
    return outcome


def test_a_request_is_what_the_specification_asks_for() -> None:
    with RawServer(answering(answer())) as server:
        to = transport(server.port, headers=(("X-Api-Key", "k"), ("user-agent", "mine")))
        assert send(to) == Delivered()
        head, body = server.requests[0]
        lines = head.decode().lower().split("\r\n")
        assert lines[0] == "post /v1/traces http/1.1"
        assert set(lines[1:]) == {
            f"host: 127.0.0.1:{server.port}",
            "user-agent: mine",
            "x-api-key: k",
            "content-type: application/x-protobuf",
            "content-length: 4",
        }
        assert body == b"body"


def test_one_connection_serves_many_requests() -> None:
    with RawServer(answering(answer(body=b"\x0a\x00", content_type=PROTOBUF))) as server:
        to = transport(server.port)
        for _ in range(5):
            assert send(to, is_closed=False) == Delivered()
        to.close()
        to.close()
        assert (server.connections, len(server.requests)) == (1, 5)
        assert send(to) == Delivered(), "it can be used again after close"


def test_gzip_is_applied_when_asked_for() -> None:
    with RawServer(answering(answer())) as server:
        assert send(transport(server.port, compression="gzip"), b"x" * 1000) == Delivered()
        head, body = server.requests[0]
        assert b"content-encoding: gzip" in head
        assert zlib.decompress(body, 31) == b"x" * 1000


def test_ipv6_works() -> None:
    try:
        server = RawServer(answering(answer()), host="::1")
    except OSError:
        pytest.skip("this machine has no IPv6 on loopback")
    with server:
        to = transport(server.port, host="[::1]")
        assert send(to) == Delivered()
        assert b"host: [::1]:" in server.requests[0][0].lower()


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (answer(body=PARTIAL, content_type=PROTOBUF), Delivered(rejected_count=2, message="old")),
        (answer(202), Delivered()),
        (answer(204), Delivered()),
        (answer(body=b"{}", content_type="application/json"), Delivered()),
        (answer(body=b"", content_type="application/json; charset=utf-8"), Delivered()),
        (
            answer(
                body=b'{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "bad"}}',
                content_type="application/json",
            ),
            Delivered(rejected_count=3, message="bad"),
        ),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + f"{len(PARTIAL):x}\r\n".encode() + PARTIAL + b"\r\n0\r\n\r\n",
            Delivered(rejected_count=2, message="old"),
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\n" + answer(body=PARTIAL),
            Delivered(rejected_count=2, message="old"),
        ),
    ],
)  # fmt: skip
def test_success_is_read(raw: bytes, expected: Outcome) -> None:
    with RawServer(answering(raw)) as server:
        assert send(transport(server.port)) == expected


def test_an_answer_that_ends_by_closing_is_read() -> None:
    def handle(connection: socket.socket, number: int, server: RawServer) -> None:
        del number
        server.read(connection)
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + PARTIAL)

    with RawServer(handle) as server:
        to = transport(server.port)
        # A part of it may be missing: good enough for telemetry, not for the audit trail.
        whole = Delivered(rejected_count=2, message="old", is_otlp=False)
        assert send(to, is_closed=False) == whole
        assert send(to) == whole
        assert server.connections == 2


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"\xff\xff\xff", PROTOBUF),
        (b"OK", "text/plain"),
        (b"[", "application/json"),
        (b'{"partialSuccess": 1}', "application/json"),
        (b'{"partialSuccess": {"rejectedSpans": -1}}', "application/json"),
    ],
)
def test_success_with_a_body_that_is_no_otlp_is_delivered_and_says_so(
    body: bytes, kind: str
) -> None:
    with RawServer(answering(answer(body=body, content_type=kind))) as server:
        outcome = send(transport(server.port))
    assert isinstance(outcome, Delivered)
    assert not outcome.is_otlp
    assert "not OTLP" in outcome.message


def test_a_web_page_is_no_success() -> None:
    page = answer(body=b"<html>log in</html>", content_type="text/html; charset=utf-8")
    with RawServer(answering(page)) as server:
        outcome = send(transport(server.port))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "wrong_protocol"
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in outcome.message


@pytest.mark.parametrize(
    ("status", "header", "reason", "low_ms", "high_ms"),
    [
        (503, "7", "unavailable", 7000, 7000),
        (429, "", "throttled", None, None),
        (502, "soon", "unavailable", None, None),
        (504, "99999999999999", "unavailable", 86_400_000, 86_400_000),
        (429, "Fri, 31 Dec 2199 23:59:59 GMT", "throttled", 86_400_000, 86_400_000),
        (429, "Fri, 31 Dec 1999 23:59:59 GMT", "throttled", 0, 0),
    ],
)
def test_answers_that_may_be_retried(
    status: int, header: str, reason: str, low_ms: int | None, high_ms: int | None
) -> None:
    headers = {"retry_after": header} if header else {}
    with RawServer(answering(answer(status, b"busy", **headers), answer())) as server:
        to = transport(server.port)
        outcome = send(to, is_closed=False)
        assert send(to) == Delivered(), "the same connection goes on"
        assert server.connections == 1
    assert isinstance(outcome, Retryable)
    assert outcome.reason == reason
    assert "busy" in outcome.message
    if low_ms is None or high_ms is None:
        assert outcome.retry_after_ms is None
    else:
        assert outcome.retry_after_ms is not None
        assert low_ms <= outcome.retry_after_ms <= high_ms


@pytest.mark.parametrize(
    ("status", "body", "reason", "words"),
    [
        (400, b"\x12\x09bad bytes", "bad_request", "bad bytes"),
        (400, b"\xff", "bad_request", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        (401, b"", "unauthenticated", "OTEL_EXPORTER_OTLP_HEADERS"),
        (403, b"", "forbidden", "OTEL_EXPORTER_OTLP_HEADERS"),
        (404, b"", "not_found", "path in OTEL_EXPORTER_OTLP_ENDPOINT"),
        (405, b"", "not_found", "path in OTEL_EXPORTER_OTLP_ENDPOINT"),
        (408, b"", "refused", "408"),
        (422, b"", "refused", "422"),
        (413, b"", "too_large", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
        (415, b"", "unsupported", "OTEL_EXPORTER_OTLP_COMPRESSION"),
        (426, b"", "wrong_protocol", "OTEL_EXPORTER_OTLP_PROTOCOL"),
        (500, b"", "server_error", "log"),
        (501, b"", "server_error", "log"),
        (500, b"\x08\x0d\x12\x03bug", "internal", "bug"),
        (500, b"\x08\x02\x12\x03bug", "server_error", "bug"),
        (500, b"\xff", "server_error", "log"),
    ],
)
def test_answers_that_must_not_be_retried(
    status: int, body: bytes, reason: str, words: str
) -> None:
    with RawServer(answering(answer(status, body, content_type=PROTOBUF))) as server:
        outcome = send(transport(server.port))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == reason
    assert words in outcome.message


def test_what_the_server_says_is_one_short_printable_line() -> None:
    raw = answer(400, b"one\r\n\x1b[31mtwo\x00" + b"z" * 100_000, content_type="text/plain")
    with RawServer(answering(raw)) as server:
        outcome = send(transport(server.port))
    assert isinstance(outcome, Rejected)
    assert "one [31mtwo zzz" in outcome.message
    assert outcome.message.isprintable()
    assert len(outcome.message) < 500


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"http: request body too large", "too_large"),
        (b"Client sent an HTTP request to an HTTPS server.", "wrong_protocol"),
    ],
)
def test_the_collectors_own_words_for_400_are_understood(text: bytes, reason: str) -> None:
    with RawServer(answering(answer(400, text, content_type="text/plain"))) as server:
        outcome = send(transport(server.port))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == reason


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_are_not_followed_and_are_no_success(status: int) -> None:
    with RawServer(answering(answer())) as other:
        target = f"http://127.0.0.1:{other.port}/v1/traces"
        with RawServer(answering(answer(status, location=target))) as server:
            outcome = send(transport(server.port))
        assert isinstance(outcome, Rejected)
        assert outcome.reason == "redirect"
        assert target in outcome.message
        assert other.connections == 0


def closing_after_each(connection: socket.socket, number: int, server: RawServer) -> None:
    """Promise a kept-alive connection, and close it."""
    del number
    if server.read(connection):
        connection.sendall(answer())


def test_a_kept_alive_connection_that_was_closed_is_opened_anew_and_nothing_is_sent_twice() -> None:
    with RawServer(closing_after_each) as server:
        to = transport(server.port)
        outcomes = [send(to, is_closed=False) for _ in range(5)]
        to.close()
        assert len(server.requests) == 5
    # The audit trail delivers its last minute again: the server may be another one now.
    assert outcomes == [Delivered()] + [Delivered(is_reconnected=True)] * 4


def test_a_server_that_is_not_ready_yet_is_a_new_one_all_the_same() -> None:
    def handle(connection: socket.socket, number: int, server: RawServer) -> None:
        if server.read(connection) and number == 1:
            connection.sendall(answer())
            return
        connection.sendall(answer(503))
        while server.read(connection):
            connection.sendall(answer())

    with RawServer(handle) as server:
        to = transport(server.port)
        outcomes = [send(to, is_closed=False) for _ in range(4)]
        to.close()
    assert outcomes[0] == Delivered()
    assert isinstance(outcomes[1], Retryable)
    assert outcomes[2:] == [Delivered(is_reconnected=True), Delivered()]


def test_a_connection_is_opened_anew_once_only() -> None:
    def handle(connection: socket.socket, number: int, server: RawServer) -> None:
        if server.read(connection) and number == 1:
            connection.sendall(answer())

    with RawServer(handle) as server:
        to = transport(server.port)
        assert send(to, is_closed=False) == Delivered()
        outcome = send(to)
        assert isinstance(outcome, Retryable)
        assert outcome.reason == "timeout"
        assert server.connections == 2


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def reset_after_request(connection: socket.socket, number: int, server: RawServer) -> None:
    del number
    server.read(connection)
    reset(connection)


def close_after_request(connection: socket.socket, number: int, server: RawServer) -> None:
    del number
    server.read(connection)


def cut_off(raw: bytes) -> Callable[[socket.socket, int, RawServer], None]:
    def handle(connection: socket.socket, number: int, server: RawServer) -> None:
        del number
        server.read(connection)
        connection.sendall(raw)

    return handle


@pytest.mark.parametrize(
    "handle",
    [
        reset_after_request,
        close_after_request,
        cut_off(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc"),
        cut_off(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nabc"),
        cut_off(b"HTTP/1.1 200 OK\r\nContent-Ty"),
        cut_off(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\n"),
    ],
    ids=["reset", "closed", "cut off", "cut off chunk", "cut off line", "cut off head"],
)
def test_an_answer_that_never_came_in_whole_is_retryable(
    handle: Callable[[socket.socket, int, RawServer], None],
) -> None:
    with RawServer(handle) as server:
        outcome = send(transport(server.port))
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "timeout"
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in outcome.message


def hang(connection: socket.socket, number: int, server: RawServer) -> None:
    del connection, number
    server.over.wait()


def hang_after_request(connection: socket.socket, number: int, server: RawServer) -> None:
    del number
    server.read(connection)
    server.over.wait()


def trickle(before: bytes) -> Callable[[socket.socket, int, RawServer], None]:
    """Send ``before``, then one byte every few milliseconds for ever."""

    def handle(connection: socket.socket, number: int, server: RawServer) -> None:
        del number
        server.read(connection)
        connection.sendall(before)
        while not server.over.wait(0.005):
            connection.sendall(b"x")

    return handle


def continue_for_ever(connection: socket.socket, number: int, server: RawServer) -> None:
    del number
    server.read(connection)
    while not server.over.wait(0.002):
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")


@pytest.mark.parametrize(
    "handle",
    [
        hang,
        hang_after_request,
        trickle(b""),
        trickle(b"HTTP/1.1 200 OK\r\nX: "),
        trickle(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n"),
        continue_for_ever,
    ],
    ids=["half-open", "silent", "slow status", "slow header", "slow body", "endless 100"],
)
def test_no_server_can_hold_us_beyond_the_deadline(
    handle: Callable[[socket.socket, int, RawServer], None],
) -> None:
    with RawServer(handle) as server:
        outcome = send(transport(server.port), timeout_ms=150)
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "timeout"
    assert "OTEL_EXPORTER_OTLP_TIMEOUT" in outcome.message


def test_the_endpoints_own_timeout_is_kept_too() -> None:
    with RawServer(hang) as server:
        start_ns = CLOCK.monotonic_ns()
        outcome = send(transport(server.port, timeout_ms=100), timeout_ms=60_000)
    assert isinstance(outcome, Retryable)
    assert (CLOCK.monotonic_ns() - start_ns) / 1e6 < 100 + SLACK_MS


def test_a_server_that_does_not_read_cannot_hold_us() -> None:
    with RawServer(hang) as server:
        outcome = send(transport(server.port), b"x" * 50_000_000, timeout_ms=150)
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "timeout"


def test_a_deadline_that_has_passed_sends_nothing() -> None:
    with RawServer(answering(answer())) as server:
        to = transport(server.port)
        assert isinstance(send(to, timeout_ms=0), Retryable)
        assert server.requests == []


def test_an_early_refusal_of_a_large_body_is_understood() -> None:
    def handle(connection: socket.socket, number: int, server: RawServer) -> None:
        del number, server
        connection.recv(100)
        connection.sendall(answer(413, b"too much", connection="close"))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):
            pass

    with RawServer(handle) as server:
        outcome = send(transport(server.port), b"x" * 5_000_000)
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "too_large"


def test_an_answer_is_read_up_to_a_bound_only() -> None:
    with RawServer(answering(answer(body=b"\xff" * 5_000_000))) as server:
        to = transport(server.port)
        for number in (1, 2):
            outcome = send(to, is_closed=False)
            assert isinstance(outcome, Delivered)
            assert "not OTLP" in outcome.message
            assert server.connections == number, "the rest of it is not waited for"
        to.close()
    assert BODY_BYTES_MAX == 64 * 1024


# RFC 9113, section 3.4: what an HTTP/2 server sends first is a SETTINGS frame.
SETTINGS = b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x05\x00\x00\x40\x00"


@pytest.mark.parametrize(
    "raw",
    [SETTINGS, SETTINGS + b"\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 abc\r\n\r\n",
     b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"],
    ids=["HTTP/2", "HTTP/2 with a newline", "SSH", "no status", "endless header"],
)  # fmt: skip
def test_a_port_that_speaks_something_else_names_the_protocol_setting(raw: bytes) -> None:
    with RawServer(cut_off(raw)) as server:
        outcome = send(transport(server.port))
    assert isinstance(outcome, Rejected)
    assert outcome.reason == "wrong_protocol"
    assert "OTEL_EXPORTER_OTLP_PROTOCOL" in outcome.message
    assert "4318" in outcome.message


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_a_port_where_nobody_listens_names_the_endpoint_setting() -> None:
    outcome = send(transport(unused_port()))
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "unreachable"
    assert "refused" in outcome.message
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in outcome.message


def test_a_host_that_does_not_exist_names_the_endpoint_setting() -> None:
    outcome = send(transport(4318, host="no-such-host.invalid"))
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "unreachable"
    assert "no-such-host.invalid" in outcome.message
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" in outcome.message


def test_a_server_that_does_not_accept_is_unreachable_at_the_deadline() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        # Fill the backlog, so that the kernel answers no further SYN.
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        outcome = send(transport(port), timeout_ms=200)
    assert isinstance(outcome, Retryable)
    assert outcome.reason in {"unreachable", "timeout"}


def test_the_setting_that_messages_name_can_be_given() -> None:
    endpoint = EndpointConfig(signal="logs", endpoint=f"http://127.0.0.1:{unused_port()}/v1/logs")
    to = HttpTransport(endpoint, clock=CLOCK, setting="KAIZEN_OTEL_AUDIT_ENDPOINT")
    outcome = send(to)
    assert isinstance(outcome, Retryable)
    assert "KAIZEN_OTEL_AUDIT_ENDPOINT" in outcome.message
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in outcome.message


def test_tls_with_our_own_authority_and_with_a_client_certificate(tmp_path: Path) -> None:
    paths = certificates(tmp_path)
    tls = server_tls(paths, wants_client=True)
    client = {
        "certificate": paths["authority"],
        "client_certificate": paths["client"],
        "client_key": paths["client_key"],
    }
    with RawServer(answering(answer(body=PARTIAL)), tls=tls) as server:
        to = transport(server.port, scheme="https", host="localhost", **client)
        for _ in range(3):
            assert send(to, is_closed=False) == Delivered(rejected_count=2, message="old")
        to.close()
        assert server.connections == 1


def test_tls_without_the_client_certificate_names_the_setting(tmp_path: Path) -> None:
    paths = certificates(tmp_path)
    tls = server_tls(paths, wants_client=True)
    with RawServer(answering(answer()), tls=tls) as server:
        to = transport(
            server.port, scheme="https", host="localhost", certificate=paths["authority"]
        )
        outcome = send(to)
    assert isinstance(outcome, Retryable)
    # TLS 1.3 tells the client only after its request; the reset may come first.
    assert outcome.reason in {"tls", "timeout"}
    if outcome.reason == "tls":
        assert "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE" in outcome.message


@pytest.mark.parametrize("host", ["localhost", "elsewhere"])
def test_a_certificate_is_verified(tmp_path: Path, host: str) -> None:
    """By default against the system's authorities; and the name has to be right."""
    paths = certificates(tmp_path, host=host)
    options = {} if host == "localhost" else {"certificate": paths["authority"]}
    with RawServer(answering(answer()), tls=server_tls(paths)) as server:
        outcome = send(transport(server.port, scheme="https", host="localhost", **options))
        assert server.requests == []
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "tls"
    assert "OTEL_EXPORTER_OTLP_CERTIFICATE" in outcome.message


def test_https_to_a_plain_port_names_the_scheme(tmp_path: Path) -> None:
    paths = certificates(tmp_path)

    def plain(connection: socket.socket, number: int, server: RawServer) -> None:
        del number, server
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with RawServer(plain) as server:
        outcome = send(transport(server.port, scheme="https", certificate=paths["authority"]))
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "tls"
    assert "http://" in outcome.message


def test_a_tls_handshake_that_hangs_ends_at_the_deadline() -> None:
    with RawServer(hang) as server:
        outcome = send(transport(server.port, scheme="https"), timeout_ms=150)
    assert isinstance(outcome, Retryable)
    assert outcome.reason == "unreachable"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"endpoint": "localhost:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"endpoint": "http://"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"endpoint": "http://x:99999/"}, "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ({"endpoint": "https://x", "certificate": "/nowhere"}, "OTEL_EXPORTER_OTLP_CERTIFICATE"),
        ({"endpoint": "https://x", "client_certificate": "/no"}, "CLIENT_CERTIFICATE"),
        ({"endpoint": "http://x", "headers": (("a b", "c"),)}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"endpoint": "http://x", "headers": (("a", "secret\n"),)}, "OTEL_EXPORTER_OTLP_HEADERS"),
        ({"endpoint": "http://x", "headers": (("Content-Type", "c"),)}, "content-type"),
        ({"endpoint": "http://x", "headers": (("", "c"),)}, "OTEL_EXPORTER_OTLP_HEADERS"),
    ],
)
def test_settings_that_cannot_be_used_are_named_at_once(
    options: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        HttpTransport(EndpointConfig(signal="traces", **options), clock=CLOCK)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_the_description_holds_no_credentials() -> None:
    endpoint = EndpointConfig(signal="traces", endpoint="http://user:pass@host:1/v1/traces?key=1")
    to = HttpTransport(endpoint, clock=CLOCK)
    assert to.description == "http://host:1/v1/traces"


def test_a_query_and_characters_that_need_quoting_reach_the_server() -> None:
    with RawServer(answering(answer())) as server:
        endpoint = EndpointConfig(
            signal="traces", endpoint=f"http://127.0.0.1:{server.port}/a b/ü?x=1&y=ß"
        )
        assert send(HttpTransport(endpoint, clock=CLOCK)) == Delivered()
        assert server.requests[0][0].startswith(b"POST /a%20b/%C3%BC?x=1&y=%C3%9F HTTP/1.1")


def test_a_connection_of_another_process_is_never_written_to() -> None:
    with RawServer(answering(answer())) as server:
        to = transport(server.port)
        assert send(to, is_closed=False) == Delivered()
        to._process_id = -1  # as if this were the child of the one that connected
        assert send(to, is_closed=False) == Delivered()
        assert send(to) == Delivered()
        assert server.connections == 2


def test_an_interrupt_leaves_no_connection_in_an_unknown_state() -> None:
    class Interrupted(SystemClock):
        def time_ns(self) -> int:
            raise KeyboardInterrupt

    with RawServer(answering(answer())) as server:
        endpoint = EndpointConfig(signal="logs", endpoint=f"http://127.0.0.1:{server.port}/")
        to = HttpTransport(endpoint, clock=Interrupted())
        with pytest.raises(KeyboardInterrupt):
            to.send("logs", b"", deadline_ns=CLOCK.monotonic_ns() + 10**10)
        assert to._connection is None
