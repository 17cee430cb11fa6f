"""A Docker engine for the tests of this folder, and the images they run."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kaizen_otel._stack import ToolMissingError
from kaizen_otel._stack.engine import PRIVATE_HOST, docker_engine
from kaizen_otel._stack.images import ensure_image

if TYPE_CHECKING:
    from collections.abc import Iterator

# testcontainers reads these once, when it is imported.  Every container here is ended by its
# context manager, so no helper container (which no registry-less machine has) need watch them.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")
os.environ.setdefault("TESTCONTAINERS_CONNECTION_MODE", "docker_host")


def forwarding() -> str:
    """What the kernel says about forwarding between this machine's networks."""
    path = Path("/proc/sys/net/ipv4/ip_forward")
    return path.read_text(encoding="ascii") if path.exists() else ""


@pytest.fixture(scope="session")
def forwarding_before() -> str:
    """The same, before an engine was started."""
    return forwarding()


@pytest.fixture(scope="session")
def engine(forwarding_before: str) -> Iterator[str]:
    """The address of a Docker engine.

    With our private engine the images are made from our own programs, unless
    KAIZEN_OTEL_TEST_IMAGES says otherwise; with the machine's own engine the library's default
    (official images) holds.
    """
    with pytest.MonkeyPatch.context() as environment:
        try:
            context = docker_engine()
            host = context.__enter__()
        except ToolMissingError as error:
            pytest.skip(str(error))
        try:
            environment.setenv("DOCKER_HOST", host)
            if host == PRIVATE_HOST and "KAIZEN_OTEL_TEST_IMAGES" not in os.environ:
                environment.setenv("KAIZEN_OTEL_TEST_IMAGES", "local")
            _make_images(host)
            yield host
        finally:
            context.__exit__(None, None, None)


@pytest.fixture(scope="session")
def official_images(engine: str) -> str:
    """The address of an engine that has, or can fetch, the images of the Compose files."""
    from tests.containers import official

    try:
        compose_program()
        official.make_images_if_private(engine)
    except ToolMissingError as error:
        pytest.skip(str(error))
    return engine


@functools.cache
def compose_program() -> Path:
    """A `docker-compose` of a known version.  Raises ToolMissingError."""
    script = Path(__file__).parents[2] / ".ci" / "compose.py"
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=200
    )
    if done.returncode == 0:
        return Path(done.stdout.strip())
    found = shutil.which("docker-compose")
    if found is None:
        raise ToolMissingError(f"no Docker Compose for these tests: {done.stderr.strip()[-300:]}")
    return Path(found)


def _make_images(host: str) -> None:
    """Make local images here, so that a missing tool skips and no test's time is spent on it."""
    if os.environ.get("KAIZEN_OTEL_TEST_IMAGES") != "local":
        return
    try:
        for name in ("collector", "jaeger", "prometheus", "elasticsearch"):
            ensure_image(name, host=host)
    except ToolMissingError as error:
        pytest.skip(str(error))
