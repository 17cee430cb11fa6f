# ruff: noqa: INP001 - run with `python -m benchmarks.collector`
"""What a shipped Collector carries per core, beside the components' defaults, in one run.

    python -m benchmarks.collector [--quick] [--rounds N] [--json FILE] [--write-docs]

Every case has a fresh Collector, the cases take turns, and the figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.collector_bench import report
from benchmarks.collector_bench.cases import audit_cases, telemetry_cases
from benchmarks.collector_bench.measure import Bench, can_sync, quick, running_backends
from kaizen_otel._collector.obtain import inspect_binary, obtain
from kaizen_otel._collector.resources import config_path

if TYPE_CHECKING:
    from benchmarks.collector_bench.cases import Case
    from benchmarks.collector_bench.measure import Row

ROOT: Final = Path(__file__).resolve().parent.parent
DOCS: Final = ROOT / "docs" / "benchmarks"
_QUICK_SCALE: Final = 0.1
_MEASURED: Final = (
    "collector/config", "collector/builder", "collector/exporter",
    "benchmarks/collector.py", "benchmarks/collector_bench",
)  # fmt: skip


def say(text: str) -> None:
    """Tell what is being done."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def measured(asked: argparse.Namespace) -> report.Document:
    """Run every case that was asked for; the document of it."""
    binary = obtain([config_path("gateway")], progress=say, own=True).path
    rounds = asked.rounds or (1 if asked.quick else 5)
    commit, load, begun_s = _commit(), os.getloadavg()[0], time.monotonic()
    asked.directory.mkdir(parents=True, exist_ok=True)
    syncs = can_sync(asked.directory)
    cases = [
        quick(case, _QUICK_SCALE) if asked.quick else case
        for case in [*telemetry_cases(), *audit_cases(can_sync=syncs)]
        if asked.only in f"{case.name} {case.signal} {case.items}"
    ]
    results: dict[Case, list[Row]] = {case: [] for case in cases}
    with (
        tempfile.TemporaryDirectory(dir=asked.directory) as folder,
        running_backends() as backends,
    ):
        bench = Bench(binary, backends, Path(folder))
        for turn in range(rounds):
            for case in cases:
                results[case].append(bench.run(case))
                per_core = results[case][-1]["items"] / results[case][-1]["cpu_s"]
                text = f"{case.name}, {case.signal}, {case.items} in a request"
                say(f"round {turn + 1} of {rounds}: {text}: {per_core:,.0f} per second and core")
    about: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": commit,
        "version": inspect_binary(binary).version_text.rpartition(" ")[2],
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "load": load,
        "load_end": os.getloadavg()[0],
        "rounds": rounds,
        "minutes": round((time.monotonic() - begun_s) / 60),
        "can_sync": syncs,
    }
    return report.document(results, about)


def _commit() -> str:
    """The last commit of what is measured, and whether it was changed since."""
    commit = _git("log", "-1", "--format=%h", "--", *_MEASURED) or "unknown"
    return commit + ("-dirty" if _git("status", "--porcelain", "--", *_MEASURED) else "")


def _git(*arguments: str) -> str:
    command = ["git", *arguments]  # any git will do
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip()


def main(arguments: list[str]) -> int:
    """Measure and print; 1 if a span or a log record is not where it belongs."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.collector",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="a tenth, one round")
    parser.add_argument("--rounds", type=int, help="default 5, with --quick 1")
    parser.add_argument("--only", default="", help='only cases with this in "who signal items"')
    parser.add_argument("--directory", type=Path, default=ROOT / "build", help="on which disk")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to FILE")
    parser.add_argument("--write-docs", action="store_true", help=f"write {DOCS.name}/collector.*")
    parser.add_argument("--from", dest="source", type=Path, metavar="FILE",
                        help="measure nothing: take what --json wrote")  # fmt: skip
    asked = parser.parse_args(arguments)
    found = json.loads(asked.source.read_text("utf-8")) if asked.source else measured(asked)
    text = json.dumps(found, indent=1) + "\n"
    if asked.json:
        asked.json.write_text(text, encoding="utf-8")
    if asked.write_docs:
        (DOCS / "collector.json").write_text(text, encoding="utf-8")
        (DOCS / "collector.md").write_text(report.page(found), encoding="utf-8")
    for row in found["rows"]:
        sys.stdout.write(
            f"{row['name']:26}{row['signal']:9}{row['items_per_request']:5}"
            f"{'  syncing' if row['syncs'] else '':9}{row['per_core'][0]:>10,.0f} /core s"
            f"{row['requests_per_s']:>9,.0f} requests/s{row['memory_mib']:>7,.0f} MiB"
            f"{row['p50_ms']:>9.2f}{row['p95_ms']:>9.2f}{row['p99_ms']:>9.2f} ms\n"
        )
    return int(any(row["undelivered"] for row in found["rows"]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
