"""The chart against thousands of generated value sets and every mutant of its templates.

    python -m tests.campaigns.chart [--values 10000] [--mutants 0] [--seed 0] [--json FILE]

``--mutants 0`` means all of them.  Exit code 1 if a value set that the schema takes breaks a
render, if fewer than 60 % are accepted, or if fewer than 95 % of the mutants are noticed.  Progress
on stderr.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Final

from tests.campaigns.kit import ROOT, say
from tests.chart.kit import fuzz
from tests.chart.kit.mutants import Judge, Mutant, mutants
from tests.chart.kit.rendering import Renderer
from tests.chart.kit.variants import Charts

ACCEPTED_SHARE_MIN: Final = 0.6
NOTICED_SHARE_MIN: Final = 0.95
WORKERS: Final = 2


@dataclass
class Result:
    """What became of the value sets and of the mutants."""

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


def started(python: str) -> Charts:
    """A worker with the chart."""
    charts = Charts(Renderer(python))
    charts.load()
    return charts


def notice(
    python: str, found: Sequence[Mutant], progress: Callable[[], None]
) -> list[tuple[Mutant, str]]:
    """What notices each mutant, in a worker of its own."""
    charts = started(python)
    judge = Judge(charts)
    noticed = []
    for one in found:
        noticed.append((one, judge.noticed_by(one)))
        progress()
    charts.renderer.close()
    return noticed


def every(total: int, what: str) -> Callable[[], None]:
    """Says how far it is, twenty times."""
    done = 0

    def progress() -> None:
        nonlocal done
        done += 1
        if done % max(1, total // 20) == 0:
            say(f"{done:,} of {total:,} {what}")

    return progress


def run(python: str, *, values: int, count: int, seed: int) -> Result:
    """The whole campaign; nothing is drawn where ``values`` is 0."""
    result = Result(seed)
    began_s = time.monotonic()
    if values:
        charts = started(python)
        step = every(values, "value sets")
        tally = fuzz.run(charts, values, number=seed, progress=lambda _: step())
        charts.renderer.close()
        result.outcomes = dict(tally.outcomes)
        result.faults = list(tally.faults.values())
        result.accepted_share = tally.accepted_share
    found = mutants()
    Random(seed).shuffle(found)
    found = found[: count or None]
    step = every(len(found), "mutants")
    parts = [found[number::WORKERS] for number in range(WORKERS)]
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        judged = [
            pair for part in pool.map(lambda one: notice(python, one, step), parts) for pair in part
        ]
    result.mutants = len(judged)
    result.noticed_by = dict(Counter(name.partition(" ")[0] or "nothing" for _, name in judged))
    result.missed = sorted(str(one) for one, name in judged if not name)
    result.seconds = time.monotonic() - began_s
    return result


def main() -> int:
    """Run the campaign from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--values", type=int, default=10_000)
    parser.add_argument("--mutants", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", help="also write the result to this file")
    arguments = parser.parse_args()
    tools = [sys.executable, str(ROOT / ".ci" / "chart_tools.py")]
    python = subprocess.run(tools, capture_output=True, text=True, check=True).stdout.strip()
    result = run(python, values=arguments.values, count=arguments.mutants, seed=arguments.seed)
    for fault in result.faults:
        sys.stdout.write(f"FAULT {fault}\n")
    for missed in result.missed:
        sys.stdout.write(f"missed {missed}\n")
    sys.stdout.write(
        f"value sets: {result.outcomes}, {result.accepted_share:.1%} accepted\n"
        f"mutants: {result.mutants}, {result.noticed_share:.1%} noticed: {result.noticed_by}\n"
    )
    if arguments.json:
        text = json.dumps(asdict(result), indent=1, ensure_ascii=True)
        Path(arguments.json).write_text(text + "\n", encoding="utf-8")
    return int(not result.is_good)


if __name__ == "__main__":
    sys.exit(main())
