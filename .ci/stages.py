"""The stages of ``make test``: two lanes side by side, every stage runs, one table at the end.

The first lane is what needs processor time only.  The second obtains the real programs (which
takes minutes when nothing is cached) and then runs the tests against them.
"""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree as ET

from common import BUILD, CI, ROOT, run_prefixed, say, tool

OUTPUT = BUILD / "test"

#: Stage -> folder, in the order in which they run.
TEST_FOLDERS = {
    "unit": "tests/unit",
    "property": "tests/property",
    "export": "tests/export",
    "complaints": "tests/complaints",
    "kaizen": "tests/kaizen",
    "crash": "tests/crash",
    "trail": "tests/trail",
    "contract": "tests/contract",
    "chart": "tests/chart",
    "collector": "tests/collector",
    "backends": "tests/backends",
    "containers": "tests/containers",
    "audit": "tests/audit",
    "e2e": "tests/e2e",
    "view": "tests/view",
    "cluster": "tests/cluster",
}
LANE_PROCESSOR = (
    *("unit", "property", "export", "complaints", "kaizen"),
    *("crash", "trail", "contract", "chart"),
)
LANE_PROGRAMS = ("collector", "backends", "containers", "audit", "e2e", "view")
#: After the second lane: its programs take many minutes to build, in the background until then.
LANE_LAST = ("cluster",)
OBTAINED = ("dev", "gateway", "identity", "jaeger", "prometheus", "opensearch", "browser")

#: What the tests of the chart in a cluster run, the longest to build first.
OBTAINED_FOR_CLUSTER = ("cluster", "gateway", "jaeger", "opensearch", "prometheus")

#: What `make coverage` runs, and the packages for which it has a bar.
COVERED_BY = ("unit", "property", "export", "crash", "trail")
COVERED = ("_otlp", "audit", "_spool", "_export")

#: Tests that wait most of the time: several at once, of two cores.
WORKERS = {"cluster": 3}

#: A skip whose reason starts with this word is right even on a machine that has everything.
SKIP_ALLOWED = "platform:"

DOCS = [tool("sphinx-build"), "-nW", "--keep-going", "-q", "docs", str(BUILD / "docs")]

PYTEST_EXIT_NO_TESTS = 5


def check_commands() -> dict[str, list[str]]:
    """The static checks, by name."""
    python = tool("python")
    return {
        "format": [tool("ruff"), "format", "--check", "."],
        "lint": [tool("ruff"), "check", "."],
        "imports": [tool("lint-imports"), "--no-logo"],
        "limits": [python, str(CI / "limits.py")],
        "spelling": [tool("codespell")],
        "yaml": [tool("yamllint"), "--strict", "-c", str(CI / "yamllint.yaml"), "."],
        "pyright": [tool("pyright"), "--pythonpath", python],
        "mypy": [tool("mypy")],
    }


@dataclass(slots=True, kw_only=True)
class Result:
    """What became of one stage."""

    name: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    note: str = ""
    reasons: list[str] = field(default_factory=list)


def pytest_command(name: str) -> list[str]:
    """How a stage's tests are run."""
    command = [tool("python"), "-m", "pytest", TEST_FOLDERS[name]]
    if name in WORKERS:
        command += ["--numprocesses", str(WORKERS[name]), "--dist", "worksteal"]
    return command


def read_report(report: Path, result: Result) -> None:
    """Add the counts and the skip reasons of a JUnit file."""
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - our own file
        if case.find("failure") is not None or case.find("error") is not None:
            result.failed += 1
        elif (skip := case.find("skipped")) is not None:
            result.skipped += 1
            result.reasons.append(f"{case.get('name')}: {skip.get('message')}")
        else:
            result.passed += 1


def run_tests(name: str) -> Result:
    """Run one stage's tests."""
    result = Result(name=name)
    if not any((ROOT / TEST_FOLDERS[name]).rglob("*_test.py")) and not any(
        (ROOT / TEST_FOLDERS[name]).rglob("test_*.py")
    ):
        result.note = "no tests yet"
        return result
    report = OUTPUT / f"{name}.xml"
    command = [*pytest_command(name), "-q", f"--junitxml={report}", "-o", "junit_family=xunit2"]
    started_s = time.monotonic()
    code = run_prefixed(name, command, log=OUTPUT / f"{name}.log")
    result.seconds = time.monotonic() - started_s
    if report.is_file():
        read_report(report, result)
    if code not in (0, PYTEST_EXIT_NO_TESTS) and not result.failed:
        result.failed += 1
        result.note = f"pytest ended with {code}"
    return result


def run_command(name: str, command: list[str]) -> Result:
    """Run a check: one passed or one failed."""
    started_s = time.monotonic()
    code = run_prefixed(name, command, log=OUTPUT / f"{name}.log")
    return Result(
        name=name, passed=code == 0, failed=code != 0, seconds=time.monotonic() - started_s
    )


def run_checks() -> list[Result]:
    """All static checks, two at a time."""
    commands = check_commands()
    with ThreadPoolExecutor(max_workers=2) as pool:
        return list(pool.map(run_command, commands, commands.values()))


def obtain_command(name: str) -> list[str]:
    """What fetches or builds a real program; a no-op when the cache has it."""
    return [tool("python"), str(CI / "obtain.py"), name]


def run_obtain(name: str) -> Result:
    """Fetch or build a real program.  What cannot be had is the tests' skip, not a failure."""
    result = run_command(f"obtain {name}", obtain_command(name))
    if result.failed:
        result.note = "could not be obtained: see the lines above"
    result.passed = result.failed = 0
    return result


def _lane_processor() -> list[Result]:
    results = run_checks()
    results += [run_tests(name) for name in LANE_PROCESSOR]
    results.append(run_command("docs", DOCS))
    return results


def _lane_programs() -> list[Result]:
    with ThreadPoolExecutor(max_workers=1) as pool:
        cluster = pool.submit(run_obtain, "cluster")
        results = [run_obtain(name) for name in OBTAINED]
        results += [run_tests(name) for name in LANE_PROGRAMS]
        return [*results, cluster.result(), *(run_tests(name) for name in LANE_LAST)]


def machine_is_complete() -> bool:
    """True where nothing excuses a skip: Go, Java, and root or a Docker engine."""
    engine = os.geteuid() == 0 or Path("/var/run/docker.sock").exists()
    return bool(shutil.which("go") and shutil.which("java") and engine)


def print_table(results: list[Result]) -> None:
    """The stages, their counts and how long each took."""
    say("")
    say(f"{'stage':<20}{'passed':>8}{'failed':>8}{'skipped':>9}{'seconds':>9}  note")
    for result in results:
        say(
            f"{result.name:<20}{result.passed:>8}{result.failed:>8}{result.skipped:>9}"
            f"{result.seconds:>9.1f}  {result.note}"
        )


def run_all() -> int:
    """Every stage; prints the table and, last, the totals alone on a line."""
    started_s = time.monotonic()
    shutil.rmtree(OUTPUT, ignore_errors=True)
    OUTPUT.mkdir(parents=True)
    with ThreadPoolExecutor(max_workers=2) as pool:
        lanes = [pool.submit(_lane_processor), pool.submit(_lane_programs)]
        results = [result for lane in lanes for result in lane.result()]
    print_table(results)
    reasons = [f"{result.name}: {reason}" for result in results for reason in result.reasons]
    for reason in reasons:
        say(f"skipped  {reason}")
    unexcused = [reason for reason in reasons if f": {SKIP_ALLOWED}" not in reason]
    failed = sum(result.failed for result in results)
    if unexcused and machine_is_complete():
        say(f"{len(unexcused)} skips count as failures: this machine has Go, Java and an engine")
        failed += len(unexcused)
    passed = sum(result.passed for result in results)
    say(f"\nAll stages took {time.monotonic() - started_s:.0f} s; output is in {OUTPUT}")
    say(f"{passed} passed, {failed} failed, {len(reasons)} skipped")
    return int(failed > 0)
