"""Every target of the Makefile: ``python .ci/tasks.py TARGET``.  Standard library only."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import setup
import stages
from common import BUILD, ROOT, environment, say, tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HELP = """\
make demo        one real agent run through a real Collector, printed from what arrived
                 (STACK=full: Jaeger, Prometheus, OpenSearch; MODEL=openai: a real model)
make test        set up everything, then every check and test; a summary at the end
make check       format, lint, types, import contracts, limits: seconds
make unit | property | export | complaints | kaizen | crash | trail | contract | chart   no other
                 program
make collector | backends | containers | audit | e2e | view          real programs
make chart-cluster   the chart in a real Kubernetes cluster of one node (root on Linux; the first
                 time builds it, many minutes)
make coverage    branch coverage; at least 95 % where bytes can be lost
make bench       what telemetry costs, beside its peers; ARGS="--help" tells more
make bench-audit what one audit record costs, here and elsewhere; nothing is asserted
make bench-collector  what a Collector carries per core, beside the components' defaults
make campaign-audit   hours of faults, kills and forgeries; results as JSON in build/campaign
make campaign-encoder  100,000 inputs for every encoder, against opentelemetry-proto
make sbom        bills of materials (CycloneDX) of the wheel and the Collectors, into build/sbom
make vulnerabilities  known ones of both; says so where no advisory database is reached (code 4)
make campaign-chart    10,000 value sets and every mutant of the templates against the Helm chart
make campaign-collector  an hour of faults against real Collectors; each run is kept in
                 build/campaign/collector.jsonl, and what is stopped goes on from there
make docs        the documentation, into build/docs
make changelog   what the next release's entry will say
make setup       only the virtual environment
make clean       remove .venv and build; the user's cache folder stays

CACHE=dir        keep all that is downloaded or built in dir (an empty one proves the cold path)
ARGS="..."       more arguments for pytest\
"""


def _call(command: Sequence[str]) -> int:
    return subprocess.run(command, cwd=ROOT, env=environment(), check=False).returncode


def _demo() -> int:
    if code := setup.setup("demo"):
        return code
    command = [tool("kaizen-otel"), "demo"]
    for option in ("stack", "model"):
        if value := os.environ.get(option.upper(), "").strip():
            command += [f"--{option}", value]
    return _call(command)


def _check() -> int:
    if code := setup.setup("test"):
        return code
    results = stages.run_checks()
    stages.print_table(results)
    return int(any(result.failed for result in results))


def _tests(name: str) -> int:
    if code := setup.setup("test"):
        return code
    command = [*stages.pytest_command(name), *shlex.split(os.environ.get("ARGS", ""))]
    return _call(command)


def _chart_cluster() -> int:
    if code := setup.setup("test"):
        return code
    # Two at a time: one waits for the network while the other compiles.
    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(stages.run_obtain, stages.OBTAINED_FOR_CLUSTER))
    return _tests("cluster")


def _test() -> int:
    return setup.setup("test") or stages.run_all()


def _coverage() -> int:
    if code := setup.setup("test"):
        return code
    folders = [stages.TEST_FOLDERS[name] for name in stages.COVERED_BY]
    measure = [tool("python"), "-m", "pytest", "-q", *folders, "--cov", "--cov-report="]
    report = [tool("coverage"), "report", "--fail-under=95"]
    covered = ",".join(f"kaizen_otel/{name}/*" for name in stages.COVERED)
    # The whole for information, then the parts in which bytes can be lost, with a bar.
    return _call(measure) or _call(report[:2]) or _call([*report, f"--include={covered}"])


def _bench() -> int:
    command = [tool("python"), "-m", "benchmarks", *shlex.split(os.environ.get("ARGS", ""))]
    return setup.setup("test") or _call(command)


def _bench_audit() -> int:
    command = [tool("python"), "-m", "benchmarks.audit", *shlex.split(os.environ.get("ARGS", ""))]
    return setup.setup("test") or _call(command)


def _bench_collector() -> int:
    arguments = shlex.split(os.environ.get("ARGS", ""))
    command = [tool("python"), "-m", "benchmarks.collector", *arguments]
    return setup.setup("test") or _call(command)


def _campaign_audit() -> int:
    arguments = shlex.split(os.environ.get("ARGS", "--scale full"))
    command = [tool("python"), "-m", "tests.campaigns.audit", *arguments]
    return setup.setup("test") or _call(command)


def _campaign_encoder() -> int:
    arguments = shlex.split(os.environ.get("ARGS", ""))
    command = [tool("python"), "-m", "tests.campaigns.encoder", *arguments]
    return setup.setup("test") or _call(command)


def _campaign_chart() -> int:
    arguments = shlex.split(os.environ.get("ARGS", ""))
    command = [tool("python"), "-m", "tests.campaigns.chart", *arguments]
    return setup.setup("test") or _call(command)


def _campaign_collector() -> int:
    kept = str(ROOT / "build" / "campaign" / "collector.jsonl")
    arguments = shlex.split(
        os.environ.get("ARGS", f"--scale full --results {shlex.quote(kept)} --resume")
    )
    command = [tool("python"), "-m", "tests.campaigns.collector", *arguments]
    return setup.setup("test") or _call(command)


def _supply_chain(name: str) -> int:
    return setup.setup("test") or _call([tool("python"), str(ROOT / ".ci" / f"{name}.py")])


def _docs() -> int:
    return setup.setup("test") or _call(stages.DOCS)


def _changelog() -> int:
    return setup.setup("test") or _call([tool("towncrier"), "build", "--draft"])


def _clean() -> int:
    for folder in (ROOT / ".venv", BUILD, ROOT / "dist"):
        shutil.rmtree(folder, ignore_errors=True)
    for name in (".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis"):
        shutil.rmtree(ROOT / name, ignore_errors=True)
    say("removed .venv, build, dist and the tools' caches")
    return 0


def _help() -> int:
    say(HELP)
    return 0


TARGETS: dict[str, Callable[[], int]] = {
    "setup": lambda: setup.setup("test"),
    "demo": _demo,
    "test": _test,
    "bench": _bench,
    "bench-audit": _bench_audit,
    "bench-collector": _bench_collector,
    "campaign-audit": _campaign_audit,
    "campaign-encoder": _campaign_encoder,
    "campaign-chart": _campaign_chart,
    "campaign-collector": _campaign_collector,
    "sbom": partial(_supply_chain, "sbom"),
    "vulnerabilities": partial(_supply_chain, "vulnerabilities"),
    "check": _check,
    "coverage": _coverage,
    "docs": _docs,
    "changelog": _changelog,
    "clean": _clean,
    "help": _help,
    "chart-cluster": _chart_cluster,
    **{name: partial(_tests, name) for name in stages.TEST_FOLDERS},
}


def main(arguments: Sequence[str]) -> int:
    """Run one target; its exit code."""
    if len(arguments) != 1 or arguments[0] not in TARGETS:
        say(HELP)
        return 2
    try:
        return TARGETS[arguments[0]]()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
