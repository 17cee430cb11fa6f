"""Where a backend's program comes from, against a release server of our own."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._stack import ToolMissingError, jaeger, prometheus
from kaizen_otel._stack.releases import jaeger_release, prometheus_release

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from kaizen_otel._collector.release import Release

PROGRAM = b"#!/bin/sh\necho a release\n"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A release server for the files of ``tmp_path / "served"``."""
    (tmp_path / "served").mkdir()
    handler = partial(_Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as http_server:
        thread = threading.Thread(target=http_server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http_server.server_address[1]}"
        http_server.shutdown()
        thread.join()


def _publish(release: Release, server: str, served: Path, *, digest: str | None = None) -> None:
    """Put an archive and its checksum file where the release says they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        entry = tarfile.TarInfo(f"folder/{release.program}")
        entry.size = len(PROGRAM)
        archive.addfile(entry, io.BytesIO(PROGRAM))
    data = buffer.getvalue()
    path = served / release.archive_url.removeprefix(server).lstrip("/")
    path.parent.mkdir(parents=True)
    path.write_bytes(data)
    text = f"{digest or hashlib.sha256(data).hexdigest()} *{release.archive_name}\n"
    checksums = served / release.checksums_url.removeprefix(server).lstrip("/")
    checksums.write_text(text, encoding="utf-8")


@pytest.fixture
def bare_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without Go, apt-get, Java and the backends' own programs."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("KAIZEN_OTEL_JAEGER", raising=False)
    monkeypatch.delenv("KAIZEN_OTEL_PROMETHEUS", raising=False)


CASES: list[tuple[Callable[..., Release], Callable[..., Path]]] = [
    (jaeger_release, jaeger.obtain),
    (prometheus_release, prometheus.obtain),
]


@pytest.mark.parametrize(("release_for", "obtain"), CASES)
def test_a_release_that_fits_its_checksum_is_used_and_kept(
    release_for: Callable[..., Release],
    obtain: Callable[..., Path],
    server: str,
    tmp_path: Path,
    bare_path: None,
) -> None:
    release = release_for(host_url=server)
    _publish(release, server, tmp_path / "served")
    said: list[str] = []
    program = obtain(cache=tmp_path / "cache", progress=said.append, release=release)
    assert program.read_bytes() == PROGRAM
    assert os.access(program, os.X_OK)
    said.clear()
    assert obtain(cache=tmp_path / "cache", progress=said.append, release=release) == program
    assert said == []


@pytest.mark.parametrize(("release_for", "obtain"), CASES)
def test_a_release_with_another_checksum_is_thrown_away(
    release_for: Callable[..., Release],
    obtain: Callable[..., Path],
    server: str,
    tmp_path: Path,
    bare_path: None,
) -> None:
    """The next source is a build, for which this machine has no Go."""
    release = release_for(host_url=server)
    _publish(release, server, tmp_path / "served", digest="0" * 64)
    said: list[str] = []
    with pytest.raises(ToolMissingError, match=r"Install Go 1\.26 or later, or set KAIZEN_OTEL_"):
        obtain(cache=tmp_path / "cache", progress=said.append, release=release)
    assert any("the download was thrown away" in line for line in said)
    assert not list((tmp_path / "cache").rglob(release.program))


def test_the_program_that_a_variable_names_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = tmp_path / "mine"
    program.write_bytes(PROGRAM)
    program.chmod(0o755)
    monkeypatch.setenv("KAIZEN_OTEL_JAEGER", str(program))
    assert jaeger.obtain(cache=tmp_path / "cache") == program


def test_a_prometheus_on_path_that_is_too_old_is_not_used_and_said_why(
    server: str, tmp_path: Path, bare_path: None
) -> None:
    old = tmp_path / "bin" / "prometheus"
    old.write_bytes(b"#!/bin/sh\necho 'prometheus, version 2.31.2'\n")
    old.chmod(0o755)
    release = prometheus_release(host_url=server)
    _publish(release, server, tmp_path / "served")
    said: list[str] = []
    program = prometheus.obtain(cache=tmp_path / "cache", progress=said.append, release=release)
    assert program != old
    assert "version 2.31 is older than 2.40" in said[0]
