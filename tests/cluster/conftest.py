"""One cluster for all tests of this folder, and a namespace for each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaizen_otel._stack.build import ToolMissingError
from tests.cluster.kit import programs
from tests.cluster.kit.client import Api
from tests.cluster.kit.images import SPECS, load, reference
from tests.cluster.kit.lifecycle import FOLDERS, cluster, ended
from tests.cluster.kit.programs import Programs
from tests.cluster.room import ROOT, Room


@pytest.fixture(scope="session")
def built() -> Programs:
    objection = programs.objection()
    if objection is not None:
        pytest.skip(objection)
    try:
        return programs.obtain()
    except ToolMissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def helm_paths() -> dict[str, str]:
    """Helm of each major."""
    answer = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "helm.py")], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        pytest.skip(f"needs Helm: {answer.stderr.strip()}")
    return dict(line.split(" ", 1) for line in answer.stdout.splitlines())


@pytest.fixture(scope="session")
def api(built: Programs) -> Iterator[Api]:
    """The cluster, with our images in it.

    KAIZEN_OTEL_TEST_CLUSTER=running takes the one of ``python -m tests.cluster.kit up``, with the
    images of its ``load``, and leaves it running.
    """
    if os.environ.get("KAIZEN_OTEL_TEST_CLUSTER") == "running":
        yield Api(FOLDERS.pki)
        return
    with cluster(built) as started:
        for name in ("kaizen-otel-collector", "kaizen-otel-tools"):
            load(SPECS[name](), FOLDERS.socket, name=reference(name))
        yield started
        assert ended() == ""


@pytest.fixture
def room(api: Api, built: Programs, helm_paths: dict[str, str]) -> Iterator[Room]:
    """A namespace of the test's own."""
    made = Room(api=api, helm=helm_paths["4"], kube=built.kube)
    made.open()
    yield made
    made.close()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for the cluster too."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))
