"""The command: choose rows, run everything in turn, judge, print and write."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.telemetry_bench import environments, plot, profile, report
from benchmarks.telemetry_bench.harness import (
    ROOT,
    Results,
    on_interrupt,
    run_case,
    running_sink,
)
from benchmarks.telemetry_bench.revision import described
from benchmarks.telemetry_bench.rows import span_rows
from benchmarks.telemetry_bench.rows_hooks import hook_rows
from benchmarks.telemetry_bench.rows_process import process_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.telemetry_bench.environments import Environment
    from benchmarks.telemetry_bench.harness import Sink
    from benchmarks.telemetry_bench.rows import Line, Row

DOCS: Final = ROOT / "docs" / "benchmarks"
_QUICK_SCALE: Final = 0.02


def all_rows(scale: float) -> list[Row]:
    """Every row, in the order of the table."""
    return [*span_rows(scale), *hook_rows(scale), *process_rows(scale)]


def parser() -> argparse.ArgumentParser:
    """The options."""
    made = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    made.add_argument("--only", nargs="+", metavar="ROW", help="only these rows")
    made.add_argument("--rounds", type=int, help="default 5, with --quick 1")
    made.add_argument("--quick", action="store_true", help="a fiftieth, to try the harness")
    made.add_argument("--json", type=Path, metavar="FILE", help="write all results to FILE")
    made.add_argument("--judge", action="store_true", help="exit with 1 unless every bar holds")
    made.add_argument("--write-docs", action="store_true", help="write docs/benchmarks")
    made.add_argument("--from", dest="source", type=Path, metavar="FILE",
                      help="measure nothing: take what --json wrote")  # fmt: skip
    made.add_argument("--plot", type=Path, metavar="FILE", help="write the picture to FILE")
    made.add_argument("--no-install", action="store_true", help="only peers that are here already")
    made.add_argument("--profile", metavar="ROW", help="where our time goes in one row")
    made.add_argument("--list", action="store_true", help="the names of the rows")
    return made


def chosen_rows(rows: Sequence[Row], names: Sequence[str] | None) -> list[Row]:
    """The rows of these names, else all; raises ``SystemExit`` for a name that is none."""
    known = {row.name: row for row in rows}
    if unknown := [name for name in names or () if name not in known]:
        raise SystemExit(f"no row is called {unknown[0]}: choose of {', '.join(known)}")
    return [known[name] for name in names] if names else list(rows)


class Runner:
    """Runs the cases of the chosen rows in turn."""

    def __init__(self, rows: Sequence[Row], *, install: bool) -> None:
        # A case that several rows need is run once a round.
        self.cases = list(dict.fromkeys(one for row in rows for one in row.cases))
        self.results = Results()
        self.environments: dict[str, Environment] = {environments.OURS: environments.own()}
        for name in dict.fromkeys(one.environment for one in self.cases):
            if name != environments.OURS:
                found = environments.obtain(name, install=install, say=say)
                self.environments[name] = found
                if found.missing:
                    say(f"{name} is left out: {found.missing}")
                    self.results.missing[name] = found.missing

    def run(self, rounds: int, sink: Sink) -> None:
        """Every case once a round."""
        able = [one for one in self.cases if one.environment not in self.results.missing]
        steps = [(turn, one) for turn in range(rounds) for one in able if not (turn and one.once)]
        for step, (turn, one) in enumerate(steps, 1):
            started = time.monotonic()
            result = run_case(one, self.environments[one.environment], sink)
            self.results.add(one, result)
            took_s = time.monotonic() - started
            text = f"[{step}/{len(steps)}] round {turn + 1}: {one.label}: {took_s:.1f} s"
            say(text + (f": FAILED: {result['error'][-300:]}" if "error" in result else ""))

    def versions(self) -> dict[str, dict[str, str]]:
        """The versions of everything that was measured."""
        return {name: dict(found.versions) for name, found in self.environments.items()}


def say(text: str) -> None:
    """Tell what is being done."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def about(rounds: int, load: float, minutes: float, runner: Runner) -> dict[str, Any]:
    """When, where and of what the figures are."""
    return {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": described(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "rounds": rounds,
        "minutes": round(minutes),
        "load": load,
        "load_end": os.getloadavg()[0],
        "versions": runner.versions(),
        "faults": runner.results.faults(),
    }


def measured(rows: Sequence[Row], asked: argparse.Namespace) -> dict[str, Any]:
    """Run everything; the document of it."""
    rounds = asked.rounds or (1 if asked.quick else 5)
    load, started = os.getloadavg()[0], time.monotonic()
    runner = Runner(rows, install=not asked.no_install)
    with running_sink() as sink:
        runner.run(rounds, sink)
    lines = [line for row in rows for line in row.lines(runner.results)]
    minutes = (time.monotonic() - started) / 60
    raw = [{"case": one.label, "results": got} for one, got in runner.results.rows.items()]
    return {**report.document(lines, about(rounds, load, minutes, runner)), "raw": raw}


def write_documents(found: Mapping[str, Any], lines: Sequence[Line], folder: Path) -> None:
    """Write the page, the picture and the figures that they are made from."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.md").write_text(report.page(found, lines), encoding="utf-8")
    (folder / "figures.svg").write_text(plot.drawn(lines), encoding="utf-8")
    kept = {name: value for name, value in found.items() if name != "raw"}
    (folder / "figures.json").write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Measure and print; 1 if something arrived otherwise than offered, or as ``--judge`` says."""
    asked = parser().parse_args(arguments)
    scale = _QUICK_SCALE if asked.quick else 1.0
    rows = all_rows(scale)
    if asked.list:
        sys.stdout.write("".join(f"{row.name}\n" for row in rows))
        return 0
    if asked.profile:
        row = chosen_rows(rows, [asked.profile])[0]
        return profile.main(row, say, install=not asked.no_install)
    if asked.source:
        found = json.loads(asked.source.read_text(encoding="utf-8"))
    else:
        before = signal.signal(signal.SIGINT, on_interrupt)
        try:
            found = measured(chosen_rows(rows, asked.only), asked)
        except KeyboardInterrupt:
            say("stopped")
            return 130
        finally:
            signal.signal(signal.SIGINT, before)
    lines = report.lines_of(found)
    if asked.write_docs and not asked.source:
        found["profiles"] = profiles(rows, lines, install=not asked.no_install)
    _print(lines, found, {row.name for row in rows if row.profile})
    if asked.json:
        asked.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if asked.plot:
        asked.plot.write_text(plot.drawn(lines), encoding="utf-8")
    if asked.write_docs:
        write_documents(found, lines, DOCS)
    missed = any(line.bar and not line.holds for line in lines)
    return int(bool(found["faults"]) or (asked.judge and missed))


def profiles(rows: Sequence[Row], lines: Sequence[Line], *, install: bool) -> list[dict[str, Any]]:
    """Where our time goes in each row that misses a bar and has something to profile."""
    missed = {line.row for line in lines if line.holds is False}
    asked = [row for row in rows if row.name in missed and row.profile is not None]
    found = [profile.summary(row, say, install=install) for row in asked]
    return [one for one in found if one is not None]


def _print(lines: Sequence[Line], found: Mapping[str, Any], profiled: set[str]) -> None:
    write = sys.stdout.write
    write(
        f"{found['date']}, commit {found['commit']}, {found['system']}, {found['cores']} cores, "
        f"Python {found['python']}, load {found['load']:.1f} to {found['load_end']:.1f}; "
        f"medians of {found['rounds']} rounds, {found['minutes']} minutes\n"
    )
    for name, packages in found["versions"].items():
        listed = ", ".join(f"{package} {version}" for package, version in packages.items())
        write(f"{name}: {listed or 'left out'}\n")
    if found["load_end"] > (found["cores"] or 1) + 1:
        write(
            "CAUTION: other programs were busy; trust ratios of processor time, no other figure\n"
        )
    write("\n")
    for text in report.terminal(lines):
        write(f"{text}\n")
    write("\n")
    for text in report.hints(lines, profiled):
        write(f"{text}\n")
    for fault in found["faults"]:
        write(f"NOT AS OFFERED {fault}\n")
