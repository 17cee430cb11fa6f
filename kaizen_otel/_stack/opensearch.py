"""One OpenSearch node as a local process: the Elasticsearch-compatible store of the logs."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._collector.resources import collector_directory
from kaizen_otel._stack.build import (
    ToolMissingError,
    apt_install,
    build_once,
    digest_of,
    may_use_apt,
    run_long,
    say,
)
from kaizen_otel._stack.ports import LOOPBACK
from kaizen_otel._stack.processes import Launch
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._stack.ports import StackPorts

FOLDER_VARIABLE = "KAIZEN_OTEL_OPENSEARCH"
JAVA_MIN = 17
JAVA_FLAGS = (
    "-Xms256m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    # A node for proofs lives for minutes: quick compilation, not the best.
    "-XX:TieredStopAtLevel=1",
    "-Djava.awt.headless=true",
)
_DEBIAN = ("openjdk-17-jdk-headless", "maven")


def obtain(*, cache: Path | None = None, progress: Callable[[str], None] = say) -> Path:
    """The folder with ``lib`` and ``classes``: KAIZEN_OTEL_OPENSEARCH, else made once by Maven.

    Raises SetupError saying what to install.
    """
    named = os.environ.get(FOLDER_VARIABLE, "")
    if named:
        if not (Path(named) / "classes" / "Launcher.class").is_file():
            raise SetupError(
                f"{FOLDER_VARIABLE}={named} holds no classes/Launcher.class: name a folder that "
                f"this program made, or unset {FOLDER_VARIABLE}"
            )
        return Path(named).resolve()
    sources = collector_directory() / "compose" / "backends" / "opensearch"
    files = [sources / "pom.xml", sources / "Launcher.java"]

    def make(folder: Path) -> None:
        tools = _build_tools(folder / "apt.log", progress)
        for file in files:
            shutil.copyfile(file, folder / file.name)
        run_long(
            [tools["mvn"], "-B", "dependency:copy-dependencies", "-DoutputDirectory=lib"],
            what="fetching OpenSearch (once; 49 MB)",
            log_path=folder / "mvn.log",
            working_directory=folder,
            progress=progress,
        )
        run_long(
            [
                *(tools["javac"], "--release", str(JAVA_MIN), "-cp", "lib/*"),
                *("-d", "classes", "Launcher.java"),
            ],
            what="compiling the launcher of OpenSearch",
            log_path=folder / "javac.log",
            working_directory=folder,
            progress=progress,
        )

    return build_once("opensearch", digest_of(files), make, cache=cache, progress=progress)


def find_java(tool: str = "java") -> Path | None:
    """A program of the JDK: below JAVA_HOME, else on PATH."""
    home = os.environ.get("JAVA_HOME", "")
    if home and (Path(home) / "bin" / tool).is_file():
        return Path(home) / "bin" / tool
    found = shutil.which(tool)
    return Path(found) if found else None


def _build_tools(log_path: Path, progress: Callable[[str], None]) -> dict[str, str]:
    missing = _missing_tools()
    if missing and may_use_apt():
        apt_install(_DEBIAN, log_path=log_path, progress=progress)
        missing = _missing_tools()
    if missing:
        raise ToolMissingError(
            f"OpenSearch cannot be obtained: no {', '.join(missing)}. Install a JDK of Java "
            f"{JAVA_MIN} or later and Maven (on Debian: apt-get install {' '.join(_DEBIAN)}), or "
            f"set {FOLDER_VARIABLE} to a folder made on another machine"
        )
    javac, maven = find_java("javac"), shutil.which("mvn")
    assert javac is not None
    assert maven is not None
    return {"mvn": maven, "javac": str(javac)}


def _missing_tools() -> list[str]:
    missing = [] if shutil.which("mvn") else ["mvn"]
    return [*missing, *(() if find_java("javac") else ("javac",))]


def java_objection(java: Path) -> str:
    """Why a Java cannot be used; empty if it can."""
    answer = subprocess.run(
        [str(java), "-version"], capture_output=True, text=True, timeout=60, check=False
    )
    match = re.search(r'version "(\d+)', answer.stderr + answer.stdout)
    if match is None:
        return f"{java} does not say its version"
    if int(match[1]) < JAVA_MIN:
        return f"{java} is Java {match[1]}, {JAVA_MIN} or later is needed"
    return ""


def launch(program: Path, *, ports: StackPorts, directory: Path) -> Launch:
    """How to start the node of the folder ``program``, its files in ``directory``.

    Raises SetupError without a fitting Java.
    """
    java = find_java()
    objection = "there is no `java`" if java is None else java_objection(java)
    if java is None or objection:
        raise ToolMissingError(
            f"OpenSearch cannot be started: {objection}. Install Java {JAVA_MIN} or later, or set "
            "JAVA_HOME to it"
        )
    base = f"http://{LOOPBACK}:{ports.elasticsearch}"
    return Launch(
        component="elasticsearch",
        command=(
            *(str(java), *JAVA_FLAGS, "-cp", f"{program}/classes:{program}/lib/*", "Launcher"),
            str(directory / "home"),
            f"http.port={ports.elasticsearch}",
            f"transport.port={ports.elasticsearch_transport}",
        ),
        environment={},
        working_directory=directory,
        ports={
            "elasticsearch": ports.elasticsearch,
            "elasticsearch_transport": ports.elasticsearch_transport,
        },
        ready_url=f"{base}/_cluster/health?wait_for_status=yellow&timeout=1s",
        url=base,
        note="OpenSearch; search API",
    )
