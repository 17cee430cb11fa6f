"""One cluster for all tests of this folder, in however many processes; a namespace for each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kaizen_otel._stack.build import ToolMissingError, locked
from tests.cluster.kit import programs, snapshot
from tests.cluster.kit.client import Api
from tests.cluster.kit.images import SPECS, load, loaded, reference
from tests.cluster.kit.lifecycle import FOLDERS, cluster, down, ended, turn
from tests.cluster.kit.programs import Programs
from tests.cluster.room import ROOT, Room
from tests.cluster.sharing import Facts, shared

#: The longest tests stand in these; each worker begins with one.
LONGEST = (
    "test_signals",
    "test_gateway",
    "test_install",
    "test_rolling",
    "test_network",
    "test_audit",
)
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


def killed_start() -> Facts:
    """What a start that was killed left of the machine, and what is left after the next one."""
    crash = "os.kill(os.getpid(), signal.SIGKILL)"
    program = f"import os, signal; from tests.cluster.kit.lifecycle import begin; begin(); {crash}"
    with turn():
        down()
        before = snapshot.machine()
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
        changed = snapshot.differences(before, snapshot.machine())
        down()
        return {"changed": changed, "left": snapshot.differences(before, snapshot.machine())}


@pytest.fixture(scope="session")
def folder_of_all(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all workers of pytest-xdist."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cluster"


@pytest.fixture(scope="session")
def facts(built: Programs, folder_of_all: Path) -> Iterator[Facts]:
    """Of the cluster that is there as long as this is."""

    @contextmanager
    def made() -> Generator[Facts]:
        found = killed_start()
        with cluster(built):
            yield found
            assert ended() == ""

    with shared(folder_of_all, made) as found:
        yield found


@pytest.fixture(scope="session")
def after_a_crash(request: pytest.FixtureRequest) -> Facts:
    if IS_RUNNING:
        pytest.skip("the cluster that runs is not to be ended")
    found: Facts = request.getfixturevalue("facts")
    return found


@pytest.fixture(scope="session")
def api(request: pytest.FixtureRequest) -> Api:
    """The cluster.

    KAIZEN_OTEL_TEST_CLUSTER=running takes the one of ``python -m tests.cluster.kit up``, with the
    images of its ``load``, and leaves it running.
    """
    if not IS_RUNNING:
        request.getfixturevalue("facts")
    return Api(FOLDERS.pki)


@pytest.fixture(scope="session")
def need_images(api: Api, folder_of_all: Path) -> Callable[..., None]:
    """Gives images to the cluster that it does not have yet."""

    def need(*names: str) -> None:
        for name in names:
            with locked(folder_of_all / name, what=f"the image {name}"):
                if not loaded(FOLDERS.socket, name=reference(name)):
                    load(SPECS[name](), FOLDERS.socket, name=reference(name))

    return need


@pytest.fixture
def room(
    api: Api,
    built: Programs,
    helm_paths: dict[str, str],
    need_images: Callable[..., None],
) -> Iterator[Room]:
    """A namespace of the test's own."""
    need_images("kaizen-otel-collector", "kaizen-otel-tools")
    made = Room(api=api, helm=helm_paths["4"], kube=built.kube)
    made.open()
    yield made
    made.close()


@pytest.hookimpl(trylast=True)  # after pytest-randomly
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, dealt to the workers in turn; any may be who waits for the cluster."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.timeout(600))
    if len(ours) == len(items):
        workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
        ours.sort(key=lambda item: [item.path.stem != one for one in LONGEST])
        items[:] = [item for number in range(workers) for item in ours[number::workers]]
