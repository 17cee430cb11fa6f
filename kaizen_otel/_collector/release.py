"""Download an official Collector release, verified against the release's own checksum file."""

from __future__ import annotations

import hashlib
import platform
import re
import shutil
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._collector.resources import executable_name
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock

RELEASE_VERSION = "0.161.0"  # the one that our own distributions are built from
RELEASES_URL = (
    "https://github.com/open-telemetry/opentelemetry-collector-releases/releases/download"
)
CONNECT_TIMEOUT_S = 8.0
DOWNLOAD_NS_MAX = 15 * 60 * 1_000_000_000
CHECKSUMS_BYTES_MAX = 1 << 20
ARCHIVE_BYTES_MAX = 1 << 30
PROGRESS_NS = 5_000_000_000
_CHUNK_BYTES = 1 << 18
_SHA256_LINE = re.compile(r"^([0-9a-f]{64})\s+\*?(\S+)$", re.MULTILINE)
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_SYSTEMS = {"linux": "linux", "darwin": "darwin", "win32": "windows"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """One archive of a release: its address, checksum file and the program inside."""

    program: str
    archive_name: str
    archive_url: str
    checksums_url: str


def release_for(program: str, *, releases_url: str = RELEASES_URL) -> Release:
    """The archive of ``otelcol`` or ``otelcol-contrib`` for this machine.

    Raises SetupError when the project publishes none for it.
    """
    system = _SYSTEMS.get(sys.platform)
    machine = _MACHINES.get(platform.machine().lower())
    if system is None or machine is None:
        raise SetupError(f"no official release for {sys.platform} on {platform.machine()}")
    base = f"{releases_url}/v{RELEASE_VERSION}"
    archive = f"{program}_{RELEASE_VERSION}_{system}_{machine}.tar.gz"
    return Release(
        program=executable_name(program),
        archive_name=archive,
        archive_url=f"{base}/{archive}",
        checksums_url=f"{base}/opentelemetry-collector-releases_{program}_checksums.txt",
    )


def download(
    release: Release,
    target: Path,
    *,
    clock: Clock,
    progress: Callable[[str], None],
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> None:
    """Put the release's program at ``target``, all of it or nothing.

    Raises SetupError when the network, the checksum or the archive is not as it must be.
    """
    expected = _expected_checksum(release, timeout_s)
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        # A folder of its own: another process may be downloading the same release.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="download-") as scratch:
            archive = Path(scratch) / release.archive_name
            actual = _fetch(release, archive, clock=clock, progress=progress, timeout_s=timeout_s)
            if actual != expected:
                raise SetupError(
                    f"{release.archive_url} has SHA-256 {actual}, its release's checksum file "
                    f"says {expected}: the download was thrown away"
                )
            program = Path(scratch) / release.program
            _unpack(archive, release.program, program)
            program.replace(target)
    except OSError as error:
        raise SetupError(f"{release.archive_url}: {error}") from error


def _expected_checksum(release: Release, timeout_s: float) -> str:
    try:
        with urllib.request.urlopen(release.checksums_url, timeout=timeout_s) as answer:  # noqa: S310 - https, or a test's own server
            text = answer.read(CHECKSUMS_BYTES_MAX).decode("utf-8", "replace")
    except (urllib.error.URLError, OSError) as error:
        host = release.checksums_url.split("/")[2]
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(error, urllib.error.HTTPError):
            raise SetupError(f"{release.checksums_url}: {error}") from error
        raise SetupError(f"{host} cannot be reached from here ({reason})") from error
    for digest, name in _SHA256_LINE.findall(text):
        if name == release.archive_name:
            return str(digest)
    raise SetupError(f"{release.checksums_url} names no {release.archive_name}")


def _fetch(
    release: Release,
    archive: Path,
    *,
    clock: Clock,
    progress: Callable[[str], None],
    timeout_s: float,
) -> str:
    started_ns = clock.monotonic_ns()
    deadline_ns = started_ns + DOWNLOAD_NS_MAX
    shown_ns = started_ns
    digest = hashlib.sha256()
    size = 0
    with (
        urllib.request.urlopen(release.archive_url, timeout=timeout_s) as answer,  # noqa: S310 - see above
        archive.open("wb") as file,
    ):
        while chunk := answer.read(_CHUNK_BYTES):
            size += len(chunk)
            now_ns = clock.monotonic_ns()
            if size > ARCHIVE_BYTES_MAX or now_ns > deadline_ns:
                raise SetupError(
                    f"{release.archive_url}: given up after {size} bytes and "
                    f"{(now_ns - started_ns) // 1_000_000_000} s"
                )
            digest.update(chunk)
            file.write(chunk)
            if now_ns - shown_ns >= PROGRESS_NS:
                shown_ns = now_ns
                progress(f"downloading {release.archive_name}: {size >> 20} MiB")
    return digest.hexdigest()


def _unpack(archive: Path, program: str, target: Path) -> None:
    try:
        with tarfile.open(archive, "r:gz") as tar:
            # Only this one regular file; whatever else is inside is never written.
            member = next((each for each in tar if each.name.rpartition("/")[2] == program), None)
            source = tar.extractfile(member) if member is not None and member.isreg() else None
            if source is None:
                raise SetupError(f"{archive.name} holds no program {program}")
            with source, target.open("wb") as file:
                shutil.copyfileobj(source, file, _CHUNK_BYTES)
    except tarfile.TarError as error:
        raise SetupError(f"{archive.name} is no readable archive: {error}") from error
    target.chmod(0o755)
