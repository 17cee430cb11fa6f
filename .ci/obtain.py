"""Fetch or build one of the real programs, into the user's cache: ``python .ci/obtain.py NAME``.

Run with the virtual environment's Python.  What the cache has costs nothing.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

from common import BUILD, ROOT

from kaizen_otel._collector.obtain import obtain as obtain_collector
from kaizen_otel._collector.resources import config_path
from kaizen_otel._stack import gateway, jaeger, opensearch, prometheus
from kaizen_otel._stack.build import apt_install, may_use_apt
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable


def _say(text: str) -> None:
    print(text, flush=True)


def _dev() -> object:
    return obtain_collector([config_path("dev")], environment=os.environ, progress=_say).path


def _browser() -> object:
    """Chromium and its driver, of which only the viewer's tests know."""
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if not may_use_apt():
            message = "the viewer's tests need chromium and chromedriver: install them"
            raise SetupError(message)
        log = BUILD / "apt.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        apt_install(
            ["chromium-driver", "chromium", "fonts-dejavu-core"], log_path=log, progress=_say
        )
    return shutil.which("chromium")


def _cluster() -> object:
    """What the chart's cluster is made of, of which only its tests know."""
    sys.path.insert(0, str(ROOT))
    from tests.cluster.kit import programs

    return programs.objection() or programs.obtain().kube


def _identity() -> object:
    """An LDAP server, an OpenID provider and oauth2-proxy, of which only the tests know."""
    sys.path.insert(0, str(ROOT))
    from tests.collector.identity import programs

    return programs.obtain().oauth2_proxy


PROGRAMS: dict[str, Callable[[], object]] = {
    "dev": _dev,
    "identity": _identity,
    "gateway": lambda: gateway.obtain(progress=_say),
    "jaeger": lambda: jaeger.obtain(progress=_say),
    "prometheus": lambda: prometheus.obtain(progress=_say),
    "opensearch": lambda: opensearch.obtain(progress=_say),
    "browser": _browser,
    "cluster": _cluster,
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
