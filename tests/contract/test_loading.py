"""What is not asked for is not loaded: each claim in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

REPORT = """
import sys, threading
print(" ".join(sorted(sys.modules)))
print(threading.active_count())
"""


def loaded(code: str, folder: Path) -> tuple[set[str], int]:
    """The modules in a new process after ``code``, and its number of threads."""
    environment = {
        **os.environ,
        "XDG_STATE_HOME": str(folder),
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "KAIZEN_OTEL_AUDIT_ENDPOINT": "http://127.0.0.1:9",
    }
    for name in ("OTEL_EXPORTER_OTLP_PROTOCOL",):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    *_, modules, threads = done.stdout.splitlines()
    return set(modules.split()), int(threads)


def test_importing_the_package_loads_nothing_else_of_ours_and_starts_no_thread(
    tmp_path: Path,
) -> None:
    modules, threads = loaded("import kaizen_otel", tmp_path)
    ours = {name for name in modules if name.startswith("kaizen_otel")}
    assert ours == {"kaizen_otel", "kaizen_otel._version"}
    assert not [name for name in modules if name.startswith("opentelemetry")]
    assert threads == 1


OBSERVED = """
import kaizen_otel

@kaizen_otel.traced_tool
def look_up(key: str) -> str:
    return key

observability = kaizen_otel.observe("loading-test")
look_up("x")
observability.metrics.counter("demo.calls", 1)
observability.get_logger("demo").info("called")
"""


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The modules of a process that observed a call."""
    return loaded(OBSERVED, tmp_path_factory.mktemp("observed"))[0]


@pytest.mark.parametrize(
    "unwanted",
    ["opentelemetry.sdk", "opentelemetry.proto", "google.protobuf", "grpc", "click", "yaml"],
)
def test_an_observed_agent_on_the_fast_door_does_not_load(
    unwanted: str, observed: set[str]
) -> None:
    assert "opentelemetry.trace" in observed
    assert unwanted not in observed


def test_the_emitter_loads_none_of_the_tools_around_it(observed: set[str]) -> None:
    tools = ("_cli", "_view", "_stack", "_collector", "_trail", "_doctor", "_demo", "testing")
    found = {name.split(".")[1] for name in observed if name.startswith("kaizen_otel.")}
    assert not [name for name in found if name.startswith(tools)]


def test_a_kaizen_agent_that_never_opts_in_loads_nothing_of_ours(tmp_path: Path) -> None:
    modules, _ = loaded("from kaizen.core.base_agent import BaseAgent", tmp_path)
    assert "kaizen.core.base_agent" in modules
    assert not [name for name in modules if name.startswith("kaizen_otel")]
