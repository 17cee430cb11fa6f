"""The OTLP/gRPC transport: our bytes through ``grpcio``, which is imported only when one is made.

Nothing is retried here; ``grpcio``'s own retries are switched off.

Fork: a channel does not survive it, so a child opens its own.  ``grpcio`` must know of forks for
that: the environment variable ``GRPC_ENABLE_FORK_SUPPORT=true`` has to be set before the process
imports it, and no call may be under way at the moment of the fork.  OTLP/HTTP has no such
condition.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._export.credentials import (
    BearerToken,
    Renewable,
    credentials_advice,
    setting_of,
    tls_context,
    tls_files,
)
from kaizen_otel._otlp.response import (
    MESSAGE_LENGTH_MAX,
    parse_partial_success,
    parse_retry_info_ms,
)
from kaizen_otel.errors import ConfigError, NotEnabledError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._edges import Clock
    from kaizen_otel._export import Outcome, Signal
    from kaizen_otel.config import EndpointConfig

_METHODS: Final[Mapping[Signal, str]] = {
    "traces": "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "metrics": "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
    "logs": "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
}
_OPTIONS: Final = (
    ("grpc.enable_retries", 0),
    # When to try again is the exporter's decision: the channel must not add long pauses.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.max_receive_message_length", 64 * 1024),
    ("grpc.primary_user_agent", "kaizen-otel"),
)
_STATUS_DETAILS: Final = "grpc-status-details-bin"
# OTLP specification, "OTLP/gRPC Response": the codes that may be retried.
_RETRYABLE: Final = frozenset(
    {"CANCELLED", "DEADLINE_EXCEEDED", "ABORTED", "OUT_OF_RANGE", "UNAVAILABLE", "DATA_LOSS"}
)
# grpcio tells these apart in its texts only.
_NEVER_CONNECTED: Final = ("failed to connect", "resolution", "resolving", "connections to all")
_NOT_GRPC: Final = ("http1", "parsing http/2", "http2 header with status")
_SILENT: Final = ("socket closed", "settings frame")
_CERTIFICATE: Final = ("ssl", "tls", "certificate", "handshak")


class GrpcTransport:
    """Sends to one server.  Used by one thread at a time.

    ``setting`` is the variable that messages name.  Raises ``NotEnabledError`` if ``grpcio`` is
    not installed and ``ConfigError`` for a URL, certificate, token or header that cannot be used.
    Certificates and a token whose files were renewed count at the next call.
    """

    def __init__(
        self,
        endpoint: EndpointConfig,
        *,
        clock: Clock,
        setting: str = "OTEL_EXPORTER_OTLP_ENDPOINT",
    ) -> None:
        self._clock = clock
        self._grpc = _load_grpc()
        self._setting = setting
        parts = urlsplit(endpoint.endpoint)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError(
                f"{setting}={endpoint.endpoint!r} is not a URL: set it to for example "
                "http://localhost:4317"
            )
        self._target = parts.netloc.rpartition("@")[2]
        self._origin = f"{parts.scheme}://{self._target}"
        self._timeout_ns = endpoint.timeout_ms * 1_000_000
        self._metadata = tuple((name.lower(), value) for name, value in endpoint.headers)
        self._compression: Any = (
            self._grpc.Compression.Gzip if endpoint.compression == "gzip" else None
        )
        self._endpoint = endpoint
        self._token = BearerToken(endpoint)
        self._tls: Renewable[Any] | None = (
            Renewable(tls_files(endpoint), self._read_tls) if parts.scheme == "https" else None
        )
        self._channel: Any = None
        self._calls: dict[str, Callable[..., bytes]] = {}
        self._process_id = os.getpid()

    @property
    def description(self) -> str:
        """The server's address, without credentials."""
        return f"{self._origin} (gRPC)"

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        """Make one call and return what became of it."""
        deadline_ns = min(deadline_ns, self._clock.monotonic_ns() + self._timeout_ns)
        return self._token.send(lambda: self._attempt(signal, body, deadline_ns))

    def _attempt(self, signal: Signal, body: bytes, deadline_ns: int) -> Outcome:
        if self._process_id != os.getpid():
            # Closing the parent's channel in the child would wait for threads that are not here.
            self._channel, self._calls = None, {}
            self._process_id = os.getpid()
        if self._tls is not None and self._tls.renew():
            # A channel keeps the certificates that it was made with, also when it reconnects.
            # Nothing is under way on it: a transport has one user at a time.
            self.close()
        left_ns = deadline_ns - self._clock.monotonic_ns()
        if left_ns <= 0:
            return Retryable(reason="unreachable", message=f"{self.description}: no time left")
        try:
            response = self._call(signal)(
                body,
                timeout=left_ns / 1e9,
                metadata=(*self._metadata, *self._token.header),
                compression=self._compression,
            )
        except self._grpc.RpcError as error:
            return self._failure(signal, error)
        except (ValueError, TypeError):  # what grpcio refuses of the metadata before it sends
            return self._bad_header()
        try:
            rejected_count, message = parse_partial_success(response)
        except ValueError as error:
            return Delivered(is_otlp=False, message=f"the answer is not OTLP ({error})")
        return Delivered(rejected_count=rejected_count, message=message)

    def close(self) -> None:
        """Close the channel."""
        channel, self._channel, self._calls = self._channel, None, {}
        if channel is not None and self._process_id == os.getpid():
            channel.close()

    def _call(self, signal: Signal) -> Callable[..., bytes]:
        if self._channel is None:
            self._channel = (
                self._grpc.insecure_channel(self._target, _OPTIONS)
                if self._tls is None
                else self._grpc.secure_channel(self._target, self._tls.value, _OPTIONS)
            )
            # Without serializers bytes go in and come out.
            self._calls = {s: self._channel.unary_unary(m) for s, m in _METHODS.items()}
        return self._calls[signal]

    def _read_tls(self) -> Any:  # noqa: ANN401 - grpcio is untyped
        endpoint = self._endpoint
        read = [
            _read(path, setting_of(endpoint, name))
            for path, name in (
                (endpoint.certificate, "certificate"),
                (endpoint.client_key, "client_key"),
                (endpoint.client_certificate, "client_certificate"),
            )
        ]
        tls_context(endpoint)  # grpcio would notice that they are no pair when it connects
        return self._grpc.ssl_channel_credentials(*read)

    def _bad_header(self) -> Outcome:
        # The value may be a secret, so nothing of it is repeated.
        return Rejected(
            reason="bad_request",
            message=f"{self.description}: a header cannot be sent: correct "
            f"{setting_of(self._endpoint, 'headers')}",
        )

    def _failure(self, signal: Signal, error: Any) -> Outcome:  # noqa: ANN401 - grpcio is untyped
        code = str(error.code().name)
        details = " ".join(str(error.details() or "").split())[:MESSAGE_LENGTH_MAX]
        said = f"{self.description} answered {code}" + (f" ({details[:200]})" if details else "")
        low = details.lower()
        if any(word in low for word in _NOT_GRPC):
            return Rejected(
                reason="wrong_protocol",
                message=f"{self._origin} does not speak gRPC ({details[:200]}): gRPC is port 4317; "
                "for OTLP/HTTP (port 4318) set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, else "
                f"correct {self._setting}",
            )
        if "invalid metadata" in low:
            return self._bad_header()
        if code == "RESOURCE_EXHAUSTED":
            return self._exhausted(error, low, said)
        if code in _RETRYABLE:
            return self._retryable(code, low, details, said)
        reason, advice = _REJECTED.get(code, ("server_error", "look into the server's own log"))
        advice = advice.format(
            setting=self._setting,
            signal=signal,
            upper=signal.upper(),
            credentials=credentials_advice(self._endpoint),
        )
        return Rejected(reason=reason, message=f"{said}: {advice}")

    def _exhausted(self, error: Any, low: str, said: str) -> Outcome:  # noqa: ANN401
        retry_after_ms = _retry_info_ms(error)
        if retry_after_ms is not None:
            return Retryable(reason="throttled", message=said, retry_after_ms=retry_after_ms)
        if "larger than max" in low or "too large" in low:
            return Rejected(
                reason="too_large",
                message=f"{said}: lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE or raise the server's limit",
            )
        return Rejected(reason="exhausted", message=f"{said} and does not say when to come again")

    def _retryable(self, code: str, low: str, details: str, said: str) -> Outcome:
        if code == "DEADLINE_EXCEEDED":
            return Retryable(
                reason="timeout",
                message=f"{self.description} did not answer in time: raise "
                "OTEL_EXPORTER_OTLP_TIMEOUT (milliseconds), start the Collector or set "
                f"{self._setting}",
            )
        if any(word in low for word in _NEVER_CONNECTED):
            if self._tls is not None and any(word in low for word in _CERTIFICATE):
                return Retryable(
                    reason="tls",
                    message=f"no TLS with {self._origin} ({details[:200]}): set "
                    f"{setting_of(self._endpoint, 'certificate')} to its authority's file, or use "
                    f"http:// in {self._setting}",
                )
            hint = (
                "if that port speaks HTTP, set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf, else "
                if any(word in low for word in _SILENT)
                else ""
            )
            return Retryable(
                reason="unreachable",
                message=f"{self._origin} cannot be reached ({details[:200]}): {hint}start the "
                f"Collector or set {self._setting}",
            )
        if code == "UNAVAILABLE" and ("socket closed" in low or "connection reset" in low):
            return Retryable(reason="timeout", message=f"{said} before its answer was complete")
        return Retryable(reason="unavailable", message=said)


_REJECTED: Final = {
    "UNAUTHENTICATED": (
        "unauthenticated",
        "it wants other credentials: {credentials}",
    ),
    "PERMISSION_DENIED": (
        "forbidden",
        "these credentials may not send: {credentials}",
    ),
    "UNIMPLEMENTED": (
        "not_found",
        "it takes no {signal}; correct {setting} or set OTEL_{upper}_EXPORTER=none",
    ),
    "INVALID_ARGUMENT": ("bad_request", "is {setting} an OTLP receiver?"),
    "INTERNAL": ("internal", "look into the server's own log"),
}


def _load_grpc() -> Any:  # noqa: ANN401 - grpcio is untyped
    try:
        import grpc
    except ImportError as error:
        raise NotEnabledError(
            "OTEL_EXPORTER_OTLP_PROTOCOL=grpc needs grpcio, which is not installed: run "
            "pip install 'kaizen-otel[grpc]', or use http/protobuf. Nothing is sent"
        ) from error
    return grpc


def _read(path: str | None, setting: str) -> bytes | None:
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{setting}={path!r} cannot be read: {error}") from error


def _retry_info_ms(error: Any) -> int | None:  # noqa: ANN401 - grpcio is untyped
    for name, value in error.trailing_metadata() or ():
        if name == _STATUS_DETAILS and isinstance(value, bytes):
            try:
                return parse_retry_info_ms(value)
            except ValueError:
                return None
    return None
