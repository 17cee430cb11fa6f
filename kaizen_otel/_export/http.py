"""The OTLP/HTTP transport: protobuf by POST over one kept-alive connection.

Nothing is retried here, with one exception: a kept-alive connection that turns out to be closed
before any byte of an answer came is opened anew, once.  Redirects are not followed.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import zlib
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._export.answers import Answer, Place, classify
from kaizen_otel._export.credentials import (
    BearerToken,
    Renewable,
    credentials_advice,
    setting_of,
    tls_context,
    tls_files,
)
from kaizen_otel._export.proxy import ProxyError, open_tunnel, proxy_for
from kaizen_otel._export.stream import DeadlineStream, connect, timeout_s
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from kaizen_otel._edges import Clock
    from kaizen_otel._export import Outcome, Signal
    from kaizen_otel.config import EndpointConfig

BODY_BYTES_MAX: Final = 64 * 1024
_GZIP_LEVEL: Final = 3
_GZIP_WINDOW: Final = 31
_PATH_SAFE: Final = "/%:@!$&'()*+,;=~-._?"
# Reasons of an answer that was read whole: the connection can go on.
_ANSWERED: Final = frozenset({"unavailable", "throttled", "unauthenticated"})
# What we say ourselves about the body; a user's header of that name would contradict it.
_OWN_HEADERS: Final = frozenset(
    {"content-type", "content-length", "content-encoding", "transfer-encoding", "connection"}
)


class HttpTransport:
    """Sends to one URL.  Used by one thread at a time; opens its own connection after a fork.

    ``setting`` is the variable that messages name.  Raises ``ConfigError`` for a URL,
    certificate or header that cannot be used.  ``send`` keeps its deadline and the endpoint's
    time-out, except for the look-up of the host name.  Certificates whose files were renewed
    count at the next connection, a token at the next request.
    """

    def __init__(
        self,
        endpoint: EndpointConfig,
        *,
        clock: Clock,
        setting: str = "OTEL_EXPORTER_OTLP_ENDPOINT",
    ) -> None:
        self._clock = clock
        try:
            parts = urlsplit(endpoint.endpoint)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise ConfigError(f"{setting}={endpoint.endpoint!r} is not a URL: {error}") from error
        if parts.scheme not in {"http", "https"} or not host:
            raise ConfigError(
                f"{setting}={endpoint.endpoint!r} is not a URL: set it to for example "
                "http://localhost:4318"
            )
        self._host = host
        self._port = port or (443 if parts.scheme == "https" else 80)
        self._proxy = proxy_for(parts.scheme, host)
        self._path = quote(parts.path or "/", safe=_PATH_SAFE) + (
            f"?{quote(parts.query, safe=_PATH_SAFE)}" if parts.query else ""
        )
        netloc = parts.netloc.rpartition("@")[2]
        origin = f"{parts.scheme}://{netloc}"
        self._place = Place(
            url=f"{origin}{parts.path}",
            origin=origin,
            setting=setting,
            credentials=credentials_advice(endpoint),
            certificate=setting_of(endpoint, "certificate"),
            client=f"{setting_of(endpoint, 'client_certificate')} and "
            f"{setting_of(endpoint, 'client_key')}",
        )
        self._timeout_ns = endpoint.timeout_ms * 1_000_000
        self._is_gzip = endpoint.compression == "gzip"
        self._tls = (
            Renewable(tls_files(endpoint), lambda: tls_context(endpoint))
            if parts.scheme == "https"
            else None
        )
        self._token = BearerToken(endpoint)
        self._headers = _headers(endpoint, netloc)
        if self._proxy is not None and self._tls is None:
            self._path = origin + self._path
            if self._proxy.authorization:
                self._headers.append(("proxy-authorization", self._proxy.authorization))
        self._connection: http.client.HTTPConnection | None = None
        self._stream: DeadlineStream | None = None
        self._process_id = os.getpid()
        self._is_reconnected = False

    @property
    def description(self) -> str:
        """The URL, without credentials."""
        return self._place.url

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        """Post one request and return what became of it."""
        del signal  # the URL says it
        deadline_ns = min(deadline_ns, self._clock.monotonic_ns() + self._timeout_ns)
        if self._process_id != os.getpid():
            # The socket is the parent's as well: not a byte of ours may go into it.
            self.close()
            self._process_id = os.getpid()
        if self._is_gzip:
            compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
            body = compressor.compress(body) + compressor.flush()
        try:
            outcome = self._token.send(lambda: self._post(body, deadline_ns))
        except BaseException:
            self.close()
            raise
        if isinstance(outcome, Retryable) and outcome.reason not in _ANSWERED:
            self.close()
        if isinstance(outcome, Delivered) and self._is_reconnected:
            # Not before: the new server may first have said that it is not ready.
            self._is_reconnected = False
            outcome = outcome._replace(is_reconnected=True)
        return outcome

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._stream = None

    def _post(self, body: bytes, deadline_ns: int) -> Outcome:
        """Make one request, a second one if the kept-alive connection turned out to be closed."""
        is_kept_alive = self._connection is not None and self._connection.sock is not None
        outcome = self._attempt(body, deadline_ns, is_kept_alive=is_kept_alive)
        if outcome is None:
            self.close()
            self._is_reconnected = True
            outcome = self._attempt(body, deadline_ns, is_kept_alive=False)
        assert outcome is not None
        return outcome

    def _attempt(self, body: bytes, deadline_ns: int, *, is_kept_alive: bool) -> Outcome | None:
        """Make one request; None if a kept-alive connection turned out to be closed."""
        try:
            connection, stream = self._open(deadline_ns)
        except OSError as error:
            return _connect_failure(self._place, error)
        stream.deadline_ns, stream.is_answered, stream.is_cut = deadline_ns, False, False
        try:
            answer = self._exchange(connection, body)
        except TimeoutError:
            return Retryable(
                reason="timeout",
                message=f"{self._place.url} did not answer in time: raise "
                "OTEL_EXPORTER_OTLP_TIMEOUT (milliseconds) or look why it is slow",
            )
        except http.client.RemoteDisconnected as error:
            return None if is_kept_alive else _lost(self._place, error)
        except http.client.IncompleteRead as error:
            return _lost(self._place, error)
        except http.client.HTTPException as error:
            self.close()
            return _not_http(self._place, error)
        except OSError as error:
            if is_kept_alive and not stream.is_answered:
                return None
            return _lost(self._place, error)
        if stream.is_cut:
            return _lost(self._place, http.client.IncompleteRead(answer.body))
        return classify(self._place, answer, time_ns=self._clock.time_ns())

    def _open(self, deadline_ns: int) -> tuple[http.client.HTTPConnection, DeadlineStream]:
        connection, stream = self._connection, self._stream
        if connection is not None and connection.sock is not None and stream is not None:
            return connection, stream
        if self._tls is not None:
            self._tls.renew()
        raw = self._connect(deadline_ns)
        if self._tls is not None:
            try:
                raw = self._tls.value.wrap_socket(
                    raw, server_hostname=self._host, do_handshake_on_connect=False
                )
                raw.settimeout(timeout_s(self._clock, deadline_ns))
                raw.do_handshake()
            except OSError:
                raw.close()
                raise
        stream = DeadlineStream(raw, clock=self._clock)
        connection = http.client.HTTPConnection(self._host, self._port)
        connection.auto_open = 0
        connection.sock = stream
        self._connection, self._stream = connection, stream
        return connection, stream

    def _connect(self, deadline_ns: int) -> socket.socket:
        """Connect to the server, or to the proxy and, for TLS, through it."""
        proxy, clock = self._proxy, self._clock
        if proxy is None:
            return connect(self._host, self._port, clock=clock, deadline_ns=deadline_ns)
        try:
            raw = connect(proxy.host, proxy.port, clock=clock, deadline_ns=deadline_ns)
        except OSError as error:
            raise ProxyError(f"{proxy.place} cannot be reached ({error})") from error
        if self._tls is None:
            return raw
        stream = DeadlineStream(raw, clock=clock)
        stream.deadline_ns = deadline_ns
        host = f"[{self._host}]" if ":" in self._host else self._host
        try:
            open_tunnel(stream, proxy, f"{host}:{self._port}")
        except BaseException:
            raw.close()
            raise
        return raw

    def _exchange(self, connection: http.client.HTTPConnection, body: bytes) -> Answer:
        connection.putrequest("POST", self._path, skip_host=True, skip_accept_encoding=True)
        for name, value in (*self._headers, *self._token.header):
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(body)))
        try:
            connection.endheaders(body)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses early answers and closes while we still write: read why.
            try:
                response = connection.getresponse()
            except http.client.BadStatusLine as error:
                raise ConnectionResetError(str(error)) from error
        else:
            response = connection.getresponse()
        is_whole = response.chunked or response.length is not None
        data = response.read(BODY_BYTES_MAX)
        if not response.isclosed():
            # Cut off, longer than we want to know, or ended by closing: not usable any more.
            if response.length and len(data) < BODY_BYTES_MAX:
                raise http.client.IncompleteRead(data, response.length)
            response.close()
            connection.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(status=response.status, headers=headers, body=data, is_whole=is_whole)


def _headers(endpoint: EndpointConfig, netloc: str) -> list[tuple[str, str]]:
    headers = {"host": netloc, "user-agent": "kaizen-otel"}
    headers.update((name.lower(), value) for name, value in endpoint.headers)
    for name, value in headers.items():
        # The value may be a secret, so the message holds the name only.
        if name in _OWN_HEADERS:
            raise ConfigError(
                f"header {name!r} is set by the transport itself: leave it out of "
                f"{setting_of(endpoint, 'headers')}"
            )
        is_token = name.isascii() and not any(
            c.isspace() or c in '()<>@,;:\\"/[]?={}' for c in name
        )
        if not name or not is_token or not value.isascii() or not value.isprintable():
            raise ConfigError(
                f"header {name!r} cannot be sent: correct it in {setting_of(endpoint, 'headers')}"
            )
    headers["content-type"] = "application/x-protobuf"
    if endpoint.compression == "gzip":
        headers["content-encoding"] = "gzip"
    return list(headers.items())


def _connect_failure(place: Place, error: OSError) -> Outcome:
    """Say why there is no connection.  Not a byte of the request was sent."""
    if isinstance(error, ProxyError):
        return Retryable(reason="unreachable", message=str(error))
    if isinstance(error, ssl.SSLCertVerificationError):
        return Retryable(
            reason="tls",
            message=f"the certificate of {place.origin} is not trusted "
            f"({error.verify_message}): set {place.certificate} to its authority's file",
        )
    if isinstance(error, ssl.SSLError):
        return Retryable(
            reason="tls",
            message=f"no TLS with {place.origin} ({error.reason}): if it speaks plain HTTP, use "
            f"http:// in {place.setting}; if it wants a client certificate, set "
            f"{place.client}",
        )
    if isinstance(error, socket.gaierror):
        text = f"the host of {place.origin} is not found ({error.strerror}): correct"
    elif isinstance(error, ConnectionRefusedError):
        text = f"nothing listens at {place.origin} (connection refused): start the Collector or set"
    elif isinstance(error, TimeoutError):
        text = f"{place.origin} does not accept the connection in time: start the Collector or set"
    else:
        text = f"{place.origin} cannot be reached ({error}): correct"
    return Retryable(reason="unreachable", message=f"{text} {place.setting}")


def _lost(place: Place, error: Exception) -> Outcome:
    """The connection broke after the request was sent: nobody knows whether it arrived."""
    if isinstance(error, ssl.SSLError):
        return _connect_failure(place, error)
    return Retryable(
        reason="timeout",
        message=f"{place.origin} closed the connection before its answer was complete "
        f"({type(error).__name__}): if that is always so, {place.setting} or "
        "OTEL_EXPORTER_OTLP_PROTOCOL is wrong (OTLP/HTTP is port 4318, gRPC 4317)",
    )


def _not_http(place: Place, error: Exception) -> Outcome:
    return Rejected(
        reason="wrong_protocol",
        message=f"{place.origin} did not answer in HTTP/1.1 ({type(error).__name__}): OTLP/HTTP "
        f"is port 4318; for gRPC (port 4317) set OTEL_EXPORTER_OTLP_PROTOCOL=grpc, else correct "
        f"{place.setting}",
    )
