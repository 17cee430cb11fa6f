"""What waits in the queues of a running Collector, by its own metrics."""

from __future__ import annotations

import http.client
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Final

from kaizen_otel.errors import ConfigError, SetupError

TIMEOUT_S: Final = 10.0
_BYTES_MAX: Final = 16 * 1024 * 1024
_SAMPLE: Final = re.compile(r"^otelcol_exporter_queue_size\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """What an exporter has not delivered yet, in the measure of its queue.

    The metric does not say which: bytes in the configs of kaizen-otel, else what ``sizer`` says.
    """

    exporter: str
    signal: str
    size: int


def waiting(url: str) -> tuple[Waiting, ...]:
    """Ask the Collector whose metrics are at ``url`` for the size of each queue.

    What is on its way counts as waiting, and so does what a queue on disk holds from before a
    restart.  Raises ConfigError for what is no URL, SetupError when nobody answers, or with no
    word about queues.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"{url} is no URL: give one such as http://127.0.0.1:8888/metrics")
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:  # noqa: S310 - checked
            text = answer.read(_BYTES_MAX).decode("utf-8", "replace")
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise SetupError(
            f"{url} does not answer ({reason}): is it the address of a Collector's own metrics, "
            "for example http://127.0.0.1:8888/metrics?"
        ) from error
    found = queues(text)
    if not found:
        raise SetupError(f"{url} says nothing of queues: is it a Collector with a sending_queue?")
    return found


def queues(text: str) -> tuple[Waiting, ...]:
    """The queues in a Collector's metrics, in Prometheus' text format."""
    found: list[Waiting] = []
    for labels, value in _SAMPLE.findall(text):
        names = dict(_LABEL.findall(labels))
        found.append(
            Waiting(
                exporter=names.get("exporter", "?"),
                signal=names.get("data_type", "?"),
                size=round(float(value)),
            )
        )
    return tuple(found)
