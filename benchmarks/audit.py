# ruff: noqa: INP001, E402, S603 - a script that starts itself
"""What one audit record costs and what it is worth, beside the stores one could use instead.

    python benchmarks/audit.py [--quick] [--json] [--rounds N] [--directory DIR] [--judge]
                               [--only TEXT] [--write-docs]

Every store gets the same facts, one measurement is one process, the stores take turns, and the
figures are medians over the rounds.  With one producer, blocks of records take turns with blocks
of the bare system calls on the same disk: *x disk* is the ratio of the two p95.  CPU is that of
the whole process until everything is delivered.  *loop lag* is how much the p99 of a heartbeat of
1 ms grows when the loop's tasks write records.  *killed* writes records, is killed with SIGKILL
and then looked at; *power cut* counts records that were acknowledged before any sync.

Nothing is asserted, except with ``--judge``: then the exit code says if the goals are met.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.audit_bench.contenders import Raw, StockSdk
from benchmarks.audit_bench.registry import CONTENDERS
from benchmarks.audit_bench.report import about_of, document, goals_of, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.audit_bench.contenders import Contender
    from benchmarks.audit_bench.report import Row

PAGE: Final = ROOT / "docs" / "benchmarks" / "audit.md"
_WORKER: Final = "benchmarks.audit_bench.worker"
_SINK: Final = "benchmarks.audit_bench.sink"
_TIMEOUT_S: Final = 300
_KILL_AFTER_S: Final = 0.7
_SETTLE_S: Final = 0.3


class Bench:
    """Runs workers against one sink."""

    def __init__(self, sink: str, directory: Path, scale: float) -> None:
        self._sink = sink
        self._directory = directory
        self._scale = scale
        self._size = 0
        self._size = self.run("", "sample")["size"]

    @property
    def size(self) -> int:
        """Bytes that one stored record of ours takes."""
        return self._size

    def run(self, name: str, mode: str) -> Row:
        """Run one measurement; ``delivered`` is what came to the sink of it."""
        with self._folder() as folder:
            before = self._count()
            done = subprocess.run(
                self._command(name, mode, folder),
                cwd=ROOT,
                stdout=subprocess.PIPE,
                check=True,
                timeout=_TIMEOUT_S,
            )
            row: Row = json.loads(done.stdout.splitlines()[-1])
            row["delivered"] = self._count() - before
        if "raw_p95" in row:
            row["ratio"] = row["p95"] / row["raw_p95"]
        if "lag_p99" in row:
            row["lag_ms"] = (row["lag_p99"] - row["quiet_p99"]) / 1000
        return row

    def kill(self, contender: type[Contender]) -> tuple[int, int]:
        """Kill a writing process; how many records it had acknowledged, how many are missing."""
        with self._folder() as folder:
            before = self._count()
            process = subprocess.Popen(
                self._command(contender.name, "kill", folder), cwd=ROOT, stdout=subprocess.PIPE
            )
            assert process.stdout is not None
            acknowledged = len(process.stdout.read(1))
            time.sleep(_KILL_AFTER_S)
            process.kill()
            acknowledged += len(process.stdout.read())
            process.wait()
            time.sleep(_SETTLE_S)
            is_sent = contender is StockSdk
            found = self._count() - before if is_sent else contender.stored(folder)
            if issubclass(contender, Raw):
                found //= self._size
        return acknowledged, max(0, acknowledged - found)

    def _command(self, name: str, mode: str, folder: Path) -> list[str]:
        place = [self._sink, str(folder), str(self._size), str(self._scale)]
        return [sys.executable, "-m", _WORKER, name, mode, *place]

    @contextlib.contextmanager
    def _folder(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._directory))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _count(self) -> int:
        with urllib.request.urlopen(self._sink, timeout=_TIMEOUT_S) as answer:  # noqa: S310
            return int(answer.read())


@contextlib.contextmanager
def running_sink() -> Iterator[str]:
    """Start the receiver; its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", _SINK], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.stdin.close()
        process.wait()


def median_row(rows: list[Row]) -> Row:
    """The medians of the figures, and the last of everything else."""
    result = dict(rows[-1])
    for name, value in rows[-1].items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            result[name] = statistics.median(row[name] for row in rows)
    return result


def measure(bench: Bench, rounds: int, only: str) -> list[Row]:
    """All contenders in all modes, taking turns."""
    chosen = [contender for contender in CONTENDERS if only.lower() in contender.name.lower()]
    cases = [(contender, mode) for contender in chosen for mode in contender.modes]
    found: dict[tuple[str, str], list[Row]] = {(c.name, mode): [] for c, mode in cases}
    kills: dict[str, tuple[int, int]] = {}
    for turn in range(rounds):
        for contender, mode in cases:
            _progress(f"round {turn + 1} of {rounds}: {contender.name}, {mode}")
            found[contender.name, mode].append(bench.run(contender.name, mode))
        for contender in chosen:
            _progress(f"round {turn + 1} of {rounds}: {contender.name}, killed")
            acknowledged, missing = kills.get(contender.name, (0, 0))
            more = bench.kill(contender)
            kills[contender.name] = acknowledged + more[0], missing + more[1]
    _progress("")
    table: list[Row] = []
    for contender, mode in cases:
        row: Row = {"name": contender.name, "mode": mode, "acknowledged": contender.acknowledged}
        row |= median_row(found[contender.name, mode])
        if mode == "one":
            row["killed_acknowledged"], row["killed_lost"] = kills[contender.name]
        row["undelivered"] = row["count"] - row["delivered"] if contender is StockSdk else 0
        table.append(row)
    return table


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer records and rounds")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--rounds", type=int, help="default 5, with --quick 2")
    parser.add_argument("--directory", type=Path, default=ROOT / "build", help="on which disk")
    parser.add_argument("--judge", action="store_true", help="exit with 1 if a goal is missed")
    parser.add_argument("--only", default="", help="only stores whose name contains this")
    parser.add_argument("--write-docs", action="store_true", help=f"write {PAGE.name}, too")
    asked = parser.parse_args()
    asked.directory.mkdir(exist_ok=True)
    rounds, load = asked.rounds or (2 if asked.quick else 5), os.getloadavg()[0]
    with running_sink() as sink:
        bench = Bench(sink, asked.directory, 0.25 if asked.quick else 1.0)
        table = measure(bench, rounds, asked.only)
    goals = goals_of(table)
    about = about_of(bench.size, rounds, load)
    write = sys.stdout.write
    if asked.json:
        names = ("goal", "figure", "bound", "met")
        goal_rows = [dict(zip(names, goal, strict=True)) for goal in goals]
        head = {"record_bytes": bench.size, "load": load, "rounds": rounds}
        write(json.dumps({**head, "table": table, "goals": goal_rows}) + "\n")
    else:
        write(f"{about}\n")
        if os.getloadavg()[0] > (os.cpu_count() or 1) + 1:
            write("CAUTION: other programs were busy; only what is compared side by side counts\n")
        for line in lines_of(table):
            write(f"{line}\n")
        for title, figure, bound, is_met in goals:
            write(f"goal {'met   ' if is_met else 'MISSED'} {title}: {figure:,.2f} ({bound:,g})\n")
    if asked.write_docs:
        PAGE.write_text(document(about, table, goals), encoding="utf-8")
    return int(asked.judge and not all(goal[3] for goal in goals))


if __name__ == "__main__":
    sys.exit(main())
