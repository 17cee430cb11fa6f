"""Find a Collector binary that fits a config, or get one.

The order: ``KAIZEN_OTEL_COLLECTOR``, PATH, the cache, the official release, a build from our own
sources.  What is found is used only if its version is in the supported range and it has every
component that the config names; otherwise it is said what is missing, and the next is tried.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._collector.build import build, cached_binary
from kaizen_otel._collector.components import (
    DISTRIBUTIONS,
    BinaryFacts,
    describe,
    has_own_exporter,
    objections,
    parse_components,
    parse_version,
    required_components,
    smallest_distribution,
)
from kaizen_otel._collector.release import (
    RELEASE_VERSION,
    RELEASES_URL,
    download,
    release_for,
)
from kaizen_otel._collector.resources import (
    cache_directory,
    collector_directory,
    executable_name,
)
from kaizen_otel._edges import SystemClock
from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from kaizen_otel._collector.components import Components
    from kaizen_otel._edges import Clock

PATH_NAMES = ("otelcol-contrib", "otelcol", "kaizen-otelcol")
ASK_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Obtained:
    """A Collector binary that fits, and where it came from."""

    path: Path
    source: str
    """``environment``, ``path``, ``cache``, ``release`` or ``build``."""
    version: str
    own: bool
    """Whether its ``elasticsearch`` exporter is ours (or it has none)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Search:
    """One search: what is wanted, what is allowed, what was found unfit and why."""

    required: Components
    own: bool
    may_download: bool
    may_build: bool
    environment: Mapping[str, str]
    releases_url: str
    clock: Clock
    progress: Callable[[str], None]
    refusals: list[str] = field(default_factory=list[str])

    def refuse(self, text: str) -> None:
        """Say why a source is not used, and go on."""
        self.refusals.append(text)
        self.progress(text)


def obtain(
    configs: Sequence[Path],
    *,
    environment: Mapping[str, str] | None = None,
    progress: Callable[[str], None],
    own: bool = False,
    may_download: bool = True,
    may_build: bool = True,
    releases_url: str = RELEASES_URL,
    clock: Clock | None = None,
) -> Obtained:
    """A binary that has every component of ``configs`` (one config and its overlays).

    ``own`` accepts no foreign ``elasticsearch`` exporter (the official one rejects OpenSearch in
    its default mode and gives up after some retries).  Raises ConfigError for a config that is no
    YAML mapping, SetupError with every reason when no source has a fitting binary.
    """
    search = _Search(
        required=required_components(path.read_text(encoding="utf-8") for path in configs),
        own=own,
        may_download=may_download,
        may_build=may_build,
        environment=os.environ if environment is None else environment,
        releases_url=releases_url,
        clock=clock or SystemClock(),
        progress=progress,
    )
    for source, candidate in _candidates(search):
        obtained = _accept(search, source, candidate)
        if obtained is not None:
            return obtained
    raise SetupError(
        f"no Collector with {describe(search.required)} was found or built:\n  "
        + "\n  ".join(search.refusals or ["no source was allowed"])
        + "\nInstall Go (https://go.dev/dl) so that it can be built, or set KAIZEN_OTEL_COLLECTOR "
        "to a binary that fits"
    )


def inspect_binary(path: Path) -> BinaryFacts:
    """Ask a binary for its version and components.

    Raises SetupError when it cannot be run or does not answer as a Collector.
    """
    version_text = _ask(path, "--version")
    version = parse_version(version_text)
    if version is None:
        raise SetupError(f"{path} is no Collector: it answers {version_text[:200]!r} to --version")
    answer = _ask(path, "components")
    try:
        return BinaryFacts(
            version=version,
            components=parse_components(answer),
            own=has_own_exporter(answer),
        )
    except ConfigError as error:
        raise SetupError(
            f"{path} is no Collector: its `components` answer is unreadable"
        ) from error


def _candidates(search: _Search) -> Iterator[tuple[str, Path]]:
    named = search.environment.get("KAIZEN_OTEL_COLLECTOR")
    if named:
        yield "environment", Path(named)
    path = search.environment.get("PATH")
    for name in PATH_NAMES:
        found = shutil.which(name, path=path)
        if found is not None:
            yield "path", Path(found)
    yield from (("cache", path) for path in _cached(search) if path.is_file())
    yield from _released(search)
    yield from _built(search)


def _cached(search: _Search) -> Iterator[Path]:
    cache = cache_directory(search.environment)
    for distribution, components in DISTRIBUTIONS.items():
        if search.required <= components:
            yield cached_binary(cache, collector_directory(), distribution)
    yield _release_target(search)


def _release_program(search: _Search) -> str:
    # The core release has the parts of our dev distribution and is a quarter of contrib's size.
    return "otelcol" if search.required <= DISTRIBUTIONS["dev"] else "otelcol-contrib"


def _release_target(search: _Search) -> Path:
    program = _release_program(search)
    cache = cache_directory(search.environment)
    folder = cache / "collector" / f"{program}-{RELEASE_VERSION}"
    return folder / executable_name(program)


def _released(search: _Search) -> Iterator[tuple[str, Path]]:
    program = _release_program(search)
    if not search.may_download:
        search.refuse("official release: not asked for")
        return
    if search.own and ("exporters", "elasticsearch") in search.required:
        search.refuse("official release: its exporter elasticsearch is not ours")
        return
    target = _release_target(search)
    try:
        search.progress(f"official release: looking for {program} {RELEASE_VERSION}")
        download(
            release_for(program, releases_url=search.releases_url),
            target,
            clock=search.clock,
            progress=search.progress,
        )
    except SetupError as error:
        search.refuse(f"official release: {error}")
        return
    yield "release", target


def _built(search: _Search) -> Iterator[tuple[str, Path]]:
    distribution = smallest_distribution(search.required)
    if not search.may_build:
        search.refuse("build: not asked for")
        return
    if distribution is None:
        beyond = search.required - DISTRIBUTIONS["gateway"]
        search.refuse(f"build: none of our distributions has {describe(beyond)}")
        return
    collector = collector_directory()
    target = cached_binary(cache_directory(search.environment), collector, distribution)
    try:
        build(
            distribution,
            collector=collector,
            target=target,
            environment=search.environment,
            clock=search.clock,
            progress=search.progress,
        )
    except SetupError as error:
        search.refuse(f"build: {error}")
        return
    yield "build", target


def _accept(search: _Search, source: str, path: Path) -> Obtained | None:
    try:
        facts = inspect_binary(path)
    except SetupError as error:
        search.refuse(f"{source}: {error}")
        return None
    reasons = objections(facts, search.required, own=search.own)
    if reasons:
        search.refuse(f"{source}: {path} is not used: {'; '.join(reasons)}")
        return None
    return Obtained(path=path, source=source, version=facts.version_text, own=facts.own)


def _ask(path: Path, argument: str) -> str:
    try:
        answer = subprocess.run(
            [str(path), argument],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=ASK_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SetupError(f"{path} cannot be run: {error}") from error
    if answer.returncode != 0:
        raise SetupError(
            f"{path} {argument} ended with code {answer.returncode}: "
            f"{answer.stderr.decode('utf-8', 'replace')[-200:].strip()}"
        )
    return answer.stdout.decode("utf-8", "replace")
