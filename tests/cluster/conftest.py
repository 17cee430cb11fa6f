"""One cluster for all tests of this folder, and a namespace for each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaizen_otel._stack.build import ToolMissingError
from tests.cluster.kit import programs, snapshot
from tests.cluster.kit.client import Api
from tests.cluster.kit.images import SPECS, load, reference
from tests.cluster.kit.lifecycle import FOLDERS, cluster, down, ended, turn
from tests.cluster.kit.programs import Programs
from tests.cluster.room import ROOT, Room

IS_RUNNING = os.environ.get("KAIZEN_OTEL_TEST_CLUSTER") == "running"


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
def after_a_crash(built: Programs) -> tuple[dict[str, object], dict[str, object]]:
    """What a start that was killed left of the machine, and what is left after the next one."""
    if IS_RUNNING:
        pytest.skip("the cluster that runs is not to be ended")
    crash = "os.kill(os.getpid(), signal.SIGKILL)"
    program = f"import os, signal; from tests.cluster.kit.lifecycle import begin; begin(); {crash}"
    with turn():
        down()
        before = snapshot.machine()
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
        changed = snapshot.differences(before, snapshot.machine())
        down()
        return changed, snapshot.differences(before, snapshot.machine())


@pytest.fixture(scope="session")
def api(built: Programs, request: pytest.FixtureRequest) -> Iterator[Api]:
    """The cluster, with our images in it.

    KAIZEN_OTEL_TEST_CLUSTER=running takes the one of ``python -m tests.cluster.kit up``, with the
    images of its ``load``, and leaves it running.
    """
    if IS_RUNNING:
        yield Api(FOLDERS.pki)
        return
    request.getfixturevalue("after_a_crash")
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
