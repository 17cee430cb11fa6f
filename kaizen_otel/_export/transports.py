"""From an endpoint's settings to its transport."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kaizen_otel._edges import Clock
    from kaizen_otel._export import Transport
    from kaizen_otel.config import EndpointConfig


def open_transport(
    endpoint: EndpointConfig, *, clock: Clock, setting: str = "OTEL_EXPORTER_OTLP_ENDPOINT"
) -> Transport:
    """Make the transport that the endpoint's protocol asks for.  Nothing is connected yet.

    ``setting`` is the variable that messages name.  Raises ``ConfigError`` for settings that
    cannot be used and ``NotEnabledError`` if gRPC is asked for without ``grpcio``.
    """
    if endpoint.protocol == "grpc":
        from kaizen_otel._export.grpc import GrpcTransport

        return GrpcTransport(endpoint, clock=clock, setting=setting)
    from kaizen_otel._export.http import HttpTransport

    return HttpTransport(endpoint, clock=clock, setting=setting)
