"""Official releases of Jaeger and Prometheus, verified against their own checksum files.

They hold the backends' pages, which a build of the Go modules does not.
"""

from __future__ import annotations

import os
import platform
import sys
from typing import TYPE_CHECKING

from kaizen_otel._collector.release import Release, download
from kaizen_otel._collector.resources import cache_directory
from kaizen_otel._edges import SystemClock
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

JAEGER_VERSION = "2.13.0"
# This release of v2 was published under the tag of the v1 that it shares its sources with.
JAEGER_TAG = "v1.76.0"
PROMETHEUS_VERSION = "3.16.0"
HOST_URL = "https://github.com"
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def jaeger_release(*, host_url: str = HOST_URL) -> Release:
    """Jaeger's archive for this system and processor, if it has one."""
    base = f"{host_url}/jaegertracing/jaeger/releases/download/{JAEGER_TAG}"
    archive = f"jaeger-{JAEGER_VERSION}-{sys.platform}-{_machine()}.tar.gz"
    return Release(
        program="jaeger",
        archive_name=archive,
        archive_url=f"{base}/{archive}",
        checksums_url=f"{base}/jaeger-{JAEGER_VERSION}.sha256sum.txt",
    )


def prometheus_release(*, host_url: str = HOST_URL) -> Release:
    """Prometheus's archive for this system and processor, if it has one."""
    version = PROMETHEUS_VERSION
    base = f"{host_url}/prometheus/prometheus/releases/download/v{version}"
    archive = f"prometheus-{version}.{sys.platform}-{_machine()}.tar.gz"
    return Release(
        program="prometheus",
        archive_name=archive,
        archive_url=f"{base}/{archive}",
        checksums_url=f"{base}/sha256sums.txt",
    )


def cached_release(release: Release, *, cache: Path | None = None) -> Path | None:
    """The release's program if it was downloaded before."""
    path = _target(release, cache)
    return path if path.is_file() else None


def fetch_release(
    release: Release, *, cache: Path | None = None, progress: Callable[[str], None]
) -> Path | None:
    """Download the release's program, all of it or nothing; None, and why is said, if it fails."""
    target = _target(release, cache)
    progress(f"{release.program}: looking for the official release {release.archive_name}")
    try:
        download(release, target, clock=SystemClock(), progress=progress)
    except SetupError as error:
        progress(f"{release.program}: no official release: {error}")
        return None
    return target


def _machine() -> str:
    return _MACHINES.get(platform.machine().lower(), platform.machine())


def _target(release: Release, cache: Path | None) -> Path:
    folder = cache or cache_directory(os.environ)
    return folder / release.archive_name.removesuffix(".tar.gz") / release.program
