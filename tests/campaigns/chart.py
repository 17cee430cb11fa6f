"""The chart against thousands of generated value sets and every mutant of its templates.

    python -m tests.campaigns.chart [--values 10000] [--mutants 0] [--seed 0] [--json FILE]
                                    [--results FOLDER]

``--mutants 0`` means all of them.  The work is cut into chunks, and with ``--results`` the result
of each is kept: what was interrupted goes on where it was, as long as the chart is the same.  Exit
code 1 if a value set that the schema takes breaks a render, if fewer than 60 % are accepted, or if
fewer than 95 % of the mutants are noticed.  Progress on stderr.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.campaigns.kit import ROOT, say
from tests.chart.kit import fuzz
from tests.chart.kit.mutants import Judge, Mutant, mutants
from tests.chart.kit.rendering import Renderer, chart_files
from tests.chart.kit.variants import Charts

ACCEPTED_SHARE_MIN: Final = 0.6
NOTICED_SHARE_MIN: Final = 0.95
WORKERS: Final = 2
VALUES_PER_CHUNK: Final = 500
MUTANTS_PER_CHUNK: Final = 50


@dataclass
class Result:
    """What became of value sets and of mutants: of one chunk, or of all."""

    seed: int
    outcomes: dict[str, int] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    accepted_share: float = 0.0
    mutants: int = 0
    noticed_by: dict[str, int] = field(default_factory=dict)
    missed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def noticed_share(self) -> float:
        return 1 - len(self.missed) / max(1, self.mutants)

    @property
    def is_good(self) -> bool:
        good_values = not self.outcomes or (
            not self.faults and self.accepted_share >= ACCEPTED_SHARE_MIN
        )
        return good_values and self.noticed_share >= NOTICED_SHARE_MIN


def merged(results: Sequence[Result], seed: int) -> Result:
    """All chunks as one; the seconds are those of all workers."""
    whole = Result(seed)
    for one in results:
        whole.outcomes = dict(Counter(whole.outcomes) + Counter(one.outcomes))
        whole.noticed_by = dict(Counter(whole.noticed_by) + Counter(one.noticed_by))
        whole.faults += one.faults
        whole.missed += one.missed
        whole.mutants += one.mutants
        whole.seconds += one.seconds
    whole.accepted_share = whole.outcomes.get("accepted", 0) / max(1, sum(whole.outcomes.values()))
    whole.missed.sort()
    return whole


class Worker:
    """A renderer of its own, for chunks one after the other."""

    def __init__(self, python: str) -> None:
        self._charts = Charts(Renderer(python))
        self._charts.load()
        self._judge: Judge | None = None

    def judged_values(self, count: int, seed: int) -> Result:
        began_s = time.monotonic()
        tally = fuzz.run(self._charts, count, number=seed, progress=lambda _: None)
        found = Result(seed, outcomes=dict(tally.outcomes), faults=list(tally.faults.values()))
        found.seconds = time.monotonic() - began_s
        return found

    def judged_mutants(self, some: Sequence[Mutant], seed: int) -> Result:
        began_s = time.monotonic()
        self._judge = self._judge or Judge(self._charts)
        judged = [(str(one), self._judge.noticed_by(one)) for one in some]
        by = Counter(name.partition(" ")[0] or "nothing" for _, name in judged)
        found = Result(seed, mutants=len(judged), noticed_by=dict(by))
        found.missed = [one for one, name in judged if not name]
        found.seconds = time.monotonic() - began_s
        return found

    def close(self) -> None:
        self._charts.renderer.close()


Chunk = tuple[str, int, "int | list[Mutant]"]


def chunks(values: int, count: int, seed: int) -> list[Chunk]:
    """(name, seed, how many value sets or which mutants)."""
    found: list[Chunk] = []
    chart = hashlib.sha256(json.dumps(chart_files()).encode()).hexdigest()[:8]
    for number, start in enumerate(range(0, values, VALUES_PER_CHUNK)):
        size = min(VALUES_PER_CHUNK, values - start)
        found.append((f"{chart}-values-{size}-{seed}-{number}", seed * 1_000_000 + number, size))
    shuffled = mutants()
    Random(seed).shuffle(shuffled)
    shuffled = shuffled[: count or None]
    for number, start in enumerate(range(0, len(shuffled), MUTANTS_PER_CHUNK)):
        some = shuffled[start : start + MUTANTS_PER_CHUNK]
        found.append((f"{chart}-mutants-{len(some)}-{seed}-{number}", seed, some))
    return found


def run(python: str, todo: Sequence[Chunk], folder: Path, seed: int) -> Result:
    """All chunks whose results are not in the folder yet; all results as one."""
    missing = [one for one in todo if not (folder / f"{one[0]}.json").is_file()]
    say(f"{len(todo)} chunks, of which {len(todo) - len(missing)} are there")

    def work(part: Sequence[Chunk]) -> None:
        worker = Worker(python)
        for name, number, what in part:
            if isinstance(what, int):
                found = worker.judged_values(what, number)
            else:
                found = worker.judged_mutants(what, number)
            keep(found, folder / f"{name}.json")
            say(f"{name}: {found.outcomes or found.noticed_by} in {found.seconds:.0f} s")
        worker.close()

    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        list(pool.map(work, [missing[number::WORKERS] for number in range(WORKERS)]))
    return merged([read(folder / f"{name}.json") for name, _, _ in todo], seed)


def keep(result: Result, path: Path) -> None:
    """Write a result so that it is there whole or not at all."""
    partial = path.with_suffix(".part")
    text = json.dumps(asdict(result), indent=1, ensure_ascii=True)
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(path)


def read(path: Path) -> Result:
    """A result that was kept."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return Result(**content)


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--values", type=int, default=10_000)
    parser.add_argument("--mutants", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--results", type=Path, help="keep each chunk's result in this folder")
    arguments = parser.parse_args()
    tools = [sys.executable, str(ROOT / ".ci" / "chart_tools.py")]
    python = subprocess.run(tools, capture_output=True, text=True, check=True).stdout.strip()
    todo = chunks(arguments.values, arguments.mutants, arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder: Path = arguments.results or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        result = run(python, todo, folder, arguments.seed)
    for fault in result.faults:
        sys.stdout.write(f"FAULT {fault}\n")
    for missed in result.missed:
        sys.stdout.write(f"missed {missed}\n")
    sys.stdout.write(
        f"value sets: {result.outcomes}, {result.accepted_share:.1%} accepted\n"
        f"mutants: {result.mutants}, {result.noticed_share:.1%} noticed: {result.noticed_by}\n"
    )
    if arguments.json:
        keep(result, arguments.json)
    return int(not result.is_good)


if __name__ == "__main__":
    sys.exit(main())
