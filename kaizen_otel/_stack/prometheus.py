"""Prometheus as a local process that takes remote writes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kaizen_otel._collector.resources import cache_directory, collector_directory
from kaizen_otel._stack.build import (
    apt_update,
    build_go,
    build_once,
    digest_of,
    find_go_build,
    lacks_page,
    may_use_apt,
    named_program,
    run_long,
    say,
)
from kaizen_otel._stack.ports import LOOPBACK
from kaizen_otel._stack.processes import Launch
from kaizen_otel._stack.releases import cached_release, fetch_release, prometheus_release
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._collector.release import Release
    from kaizen_otel._stack.ports import StackPorts

BINARY_VARIABLE = "KAIZEN_OTEL_PROMETHEUS"
# Native histograms and out-of-order samples; Debian 12 has 2.42.
VERSION_MIN = (2, 40)
_DEBIAN_NAME = "prometheus-debian"
_DEBIAN_PROGRAM = Path("root/usr/bin/prometheus")
RULES = "kaizen-otel.rules.yaml"
_PACKAGE = "github.com/prometheus/prometheus/cmd/prometheus"


def obtain(
    *,
    cache: Path | None = None,
    progress: Callable[[str], None] = say,
    release: Release | None = None,
) -> Path:
    """The program: KAIZEN_OTEL_PROMETHEUS, PATH, the cache, a release, Debian's package, a build.

    The package is unpacked into the cache and not installed: nobody needs to be root, and no
    service of it starts, now or at the next boot.  Raises SetupError saying what to install.
    """
    named = named_program(BINARY_VARIABLE)
    if named is not None:
        return named
    found = shutil.which("prometheus")
    if found is not None:
        objection = version_objection(Path(found))
        if not objection:
            return Path(found)
        progress(f"prometheus: {found} is not used: {objection}")
    release = release or prometheus_release()
    return (
        cached_release(release, cache=cache)
        or _cached_debian(cache)
        or find_go_build("prometheus", _PACKAGE, cache=cache)
        or fetch_release(release, cache=cache, progress=progress)
        or _from_debian(cache, progress)
        or build_go("prometheus", _PACKAGE, cache=cache, progress=progress)
    )


def version_objection(program: Path) -> str:
    """Why a program cannot be used; empty if it can."""
    try:
        answer = subprocess.run(
            [str(program), "--version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"it does not run ({error})"
    match = re.search(r"version (\d+)\.(\d+)", answer.stdout + answer.stderr)
    if match is None:
        return "it does not say its version"
    if (int(match[1]), int(match[2])) < VERSION_MIN:
        return f"version {match[1]}.{match[2]} is older than {VERSION_MIN[0]}.{VERSION_MIN[1]}"
    return ""


def _debian_digest() -> str:
    release = Path("/etc/os-release")
    return digest_of([release] if release.is_file() else [], "unpacked")


def _cached_debian(cache: Path | None) -> Path | None:
    folder = cache or cache_directory(os.environ)
    path = folder / f"{_DEBIAN_NAME}-{_debian_digest()}" / _DEBIAN_PROGRAM
    return path if path.is_file() else None


def _from_debian(cache: Path | None, progress: Callable[[str], None]) -> Path | None:
    """Debian's package, unpacked into the cache; None, and why is said, if that fails."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        return None

    def make(folder: Path) -> None:
        _download_debian(folder, progress)
        (archive,) = folder.glob("prometheus_*.deb")
        run_long(
            ["dpkg-deb", "-x", str(archive), str(folder / "root")],
            what="unpacking it",
            log_path=folder / "apt.log",
            progress=progress,
        )
        archive.unlink()
        objection = version_objection(folder / _DEBIAN_PROGRAM)
        if objection:
            raise SetupError(objection)

    try:
        folder = build_once(_DEBIAN_NAME, _debian_digest(), make, cache=cache, progress=progress)
    except SetupError as error:
        progress(f"prometheus: not from Debian's package: {error}")
        return None
    return folder / _DEBIAN_PROGRAM


def _download_debian(folder: Path, progress: Callable[[str], None]) -> None:
    def download() -> None:
        run_long(
            ["apt-get", "download", "-q", "prometheus"],
            what="fetching Debian's prometheus package",
            log_path=folder / "apt.log",
            working_directory=folder,
            progress=progress,
        )

    try:
        download()
    except SetupError:  # no package lists yet, or old ones
        if not may_use_apt():
            raise
        apt_update(log_path=folder / "apt.log", progress=progress)
        download()


def launch(program: Path, *, ports: StackPorts, directory: Path) -> Launch:
    """How to start Prometheus with its files in ``directory``."""
    directory.mkdir(parents=True, exist_ok=True)
    config = directory / "prometheus.yaml"
    native = {
        **configuration(),
        # Alerts and recorded series; the Collector tells about itself to whoever asks.
        "rule_files": [str(collector_directory() / "alerts" / RULES)],
        "scrape_configs": [
            {
                "job_name": "kaizen-otel-collector",
                "static_configs": [{"targets": [f"{LOOPBACK}:{ports.collector_metrics}"]}],
            }
        ],
    }
    config.write_text(yaml.safe_dump(native, sort_keys=False), encoding="utf-8")
    base = f"http://{LOOPBACK}:{ports.prometheus}"
    return Launch(
        component="prometheus",
        command=(
            str(program),
            *arguments(
                config=str(config), data=str(directory / "data"), host=LOOPBACK, ports=ports
            ),
        ),
        environment={},
        working_directory=directory,
        ports={"prometheus": ports.prometheus},
        ready_url=f"{base}/-/ready",
        url=base,
        note="query API; without a release no page" if lacks_page(program) else "",
    )


def arguments(*, config: str, data: str, host: str, ports: StackPorts) -> tuple[str, ...]:
    """The command line after the program's name."""
    return (
        f"--config.file={config}",
        f"--storage.tsdb.path={data}",
        "--storage.tsdb.retention.time=7d",
        "--storage.tsdb.retention.size=1GB",
        f"--web.listen-address={host}:{ports.prometheus}",
        "--web.enable-remote-write-receiver",
        "--enable-feature=native-histograms,exemplar-storage",
    )


def configuration() -> dict[str, Any]:
    """What is the same wherever it runs: agents are not scraped, their metrics are written."""
    return {
        "global": {"scrape_interval": "15s", "evaluation_interval": "15s"},
        # The Collector sends again what was not taken, after what came later.
        "storage": {"tsdb": {"out_of_order_time_window": "30m"}},
    }
