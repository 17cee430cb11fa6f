"""The ports of the local stack: defaults, free ones for tests, and who has them already."""

from __future__ import annotations

import random
import socket
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Self

from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LOOPBACK = "127.0.0.1"
_PORT_MAX = 65535
# Below the ports that Linux (32768) and macOS (49152) give to outgoing connections: a port found
# free here is not taken by a connection of some program before we listen on it.
_FREE_FROM, _FREE_TO = 15_000, 32_000
_LOOKS = 21
_LOOK_INTERVAL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class StackPorts:
    """Where each part listens, on 127.0.0.1 only."""

    jaeger_query: int = 16686
    jaeger_grpc: int = 16685
    jaeger_otlp_grpc: int = 14317
    jaeger_otlp_http: int = 14318
    jaeger_health: int = 13134
    prometheus: int = 9090
    elasticsearch: int = 9200
    elasticsearch_transport: int = 9300
    otlp_grpc: int = 4317
    otlp_http: int = 4318
    audit: int = 4319
    collector_health: int = 13133
    collector_metrics: int = 8888
    grafana: int = 3000
    kibana: int = 5601

    @classmethod
    def free(cls) -> Self:
        """Ports that nothing listens on now, for stacks beside others (tests)."""
        chooser = random.SystemRandom()
        found: list[socket.socket] = []
        try:
            while len(found) < len(fields(cls)):
                candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
                found.append(candidate)
                try:
                    candidate.bind((LOOPBACK, chooser.randrange(_FREE_FROM, _FREE_TO)))
                except OSError:
                    found.pop().close()
            numbers = [each.getsockname()[1] for each in found]
        finally:
            for each in found:
                each.close()
        return cls(
            **{field.name: number for field, number in zip(fields(cls), numbers, strict=True)}
        )

    def changed(self, settings: Iterable[str]) -> Self:
        """These ports with some replaced, each given as ``name=number``.

        Raises ConfigError for an unknown name or a number that is no port.
        """
        known = asdict(self)
        changes: dict[str, int] = {}
        for setting in settings:
            name, _, text = setting.partition("=")
            name = name.strip().replace("-", "_")
            if name not in known:
                raise ConfigError(f"no port is called {name!r}: use one of {', '.join(known)}")
            if not (text.isascii() and text.isdigit() and 0 < int(text) <= _PORT_MAX):
                raise ConfigError(f"port {setting!r}: give a number from 1 to {_PORT_MAX}")
            changes[name] = int(text)
        return replace(self, **changes)


def refuse_taken(component: str, ports: Mapping[str, int]) -> None:
    """Raise SetupError if a port cannot be listened on, naming it and the setting to change.

    A port that is taken is looked at again for two seconds: a killed program is gone for its
    parent a moment before its last thread has closed its sockets.
    """
    for name, number in ports.items():
        for attempt in range(_LOOKS):
            error = _objection(number)
            if error is None:
                break
            if attempt == _LOOKS - 1:
                raise SetupError(
                    f"{component} was not started: port {number} ({name}) of {LOOPBACK} cannot be "
                    f"used ({error.strerror}); end the program that listens there, or choose "
                    f"another port with --port {name}=NUMBER"
                ) from error
            time.sleep(_LOOK_INTERVAL_S)


def _objection(number: int) -> OSError | None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Connections of an earlier run that still linger do not count; listeners do.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, number))
        except OSError as error:
            return error
    return None
