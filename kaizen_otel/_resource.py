"""Who produces the telemetry: the Resource of a service in this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from kaizen_otel import semconv
from kaizen_otel._otlp.common import encode_scope
from kaizen_otel._version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SCOPE: Final = encode_scope("kaizen_otel", __version__)


def resource_attributes(
    service_name: str, instance_id: str, from_environment: Mapping[str, str]
) -> dict[str, object]:
    """Attributes of the Resource; what the user set in OTEL_RESOURCE_ATTRIBUTES wins."""
    return {
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "kaizen_otel",
        "telemetry.sdk.version": __version__,
        "process.pid": os.getpid(),
        semconv.SERVICE_INSTANCE_ID: instance_id,
        **from_environment,
        semconv.SERVICE_NAME: service_name,
    }


def once_per_process(make: Callable[[], bytes]) -> Callable[[], bytes]:
    """Return what gives the same Resource whenever it is asked; another one in a forked child.

    ``make`` may draw an instance id: what a record binds must be what it is sent with.
    """
    made: dict[int, bytes] = {}

    def resource() -> bytes:
        process_id = os.getpid()
        # Threads that come first at once all get what one of them has made.
        return made.get(process_id) or made.setdefault(process_id, make())

    return resource
