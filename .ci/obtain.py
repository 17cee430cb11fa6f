"""Fetch or build one of the real programs, into the user's cache: ``python .ci/obtain.py NAME``.

Run with the virtual environment's Python.  What the cache has costs nothing.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from kaizen_otel._collector.obtain import obtain as obtain_collector
from kaizen_otel._collector.resources import config_path
from kaizen_otel._stack import gateway, jaeger, opensearch, prometheus
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable


def _say(text: str) -> None:
    print(text, flush=True)


def _dev() -> object:
    return obtain_collector([config_path("dev")], environment=os.environ, progress=_say).path


PROGRAMS: dict[str, Callable[[], object]] = {
    "dev": _dev,
    "gateway": lambda: gateway.obtain(progress=_say),
    "jaeger": lambda: jaeger.obtain(progress=_say),
    "prometheus": lambda: prometheus.obtain(progress=_say),
    "opensearch": lambda: opensearch.obtain(progress=_say),
}


def main(name: str) -> int:
    """Obtain one program and print where it is; 4 with the reason if that cannot be done."""
    try:
        print(PROGRAMS[name]())
    except SetupError as error:
        print(f"error: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
