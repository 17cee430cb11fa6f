"""The results of the campaign against Collectors: a line for each run, and what they sum up to."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Final

from tests.collector.faults import ROUTES

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(kw_only=True)
class Done:
    """One run, as the results file has it."""

    route: str
    fault: str
    number: int
    """Of the run; what is drawn at random is drawn from it."""
    acknowledged: int = 0
    refused: int = 0
    lost: int = 0
    duplicated: int = 0
    kills: int = 0
    allowed: int = 0
    """How much may be lost."""
    seconds: int = 0
    note: str = ""
    """Why it cannot be run here."""
    broke: str = ""
    """How the run itself ended badly; it counts for nothing, and is made again."""


@dataclass
class Row:
    """One fault on one way, summed over its runs."""

    route: str
    fault: str
    runs: int = 0
    acknowledged: int = 0
    refused: int = 0
    lost: int = 0
    duplicated: int = 0
    kills: int = 0
    allowed: int = 0
    seconds: int = 0
    note: str = ""
    broken: list[str] = field(default_factory=list[str])

    def add(self, one: Done) -> None:
        """One run more."""
        if one.broke:
            self.broken.append(one.broke)
            return
        self.note = self.note or one.note
        self.runs += not one.note
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(one, name))


_SUMMED: Final = (
    "acknowledged", "refused", "lost", "duplicated", "kills", "allowed", "seconds",
)  # fmt: skip


class Results:
    """The runs that are made, each in a line of a file, if there is one."""

    def __init__(self, path: Path | None, about: dict[str, object], *, resume: bool) -> None:
        self._path = path
        self.runs: list[Done] = []
        lines = path.read_text(encoding="utf-8").splitlines() if path and path.exists() else []
        if lines and not resume:
            raise SystemExit(f"{path} has results: say --resume, or name another file")
        if lines:
            if json.loads(lines[0]) != about:
                raise SystemExit(
                    f"{path} is of another campaign ({lines[0]}): remove it or name another file"
                )
            self.runs = [Done(**json.loads(line)) for line in lines[1:]]
        else:
            self._write(about)

    def has(self, row: Row, number: int) -> bool:
        """Whether this run was made."""
        key = (row.route, row.fault, number)
        return any((d.route, d.fault, d.number) == key and not d.broke for d in self.runs)

    def add(self, done: Done) -> None:
        """Keep one."""
        self.runs.append(done)
        self._write(asdict(done))

    def _write(self, value: dict[str, object]) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(value) + "\n")


def summed(runs: list[Done]) -> list[Row]:
    """A row for each fault on each way; a run that broke and was made again does not count."""
    made = {(one.route, one.fault, one.number): one for one in runs}
    rows: dict[tuple[str, str], Row] = {}
    for one in made.values():
        rows.setdefault((one.fault, one.route), Row(one.route, one.fault)).add(one)
    return list(rows.values())


def table(rows: list[Row]) -> str:
    """The rows as the page has them: offered, delivered, lost, duplicated."""
    cells = {(row.fault, row.route): row for row in rows}
    lines = [
        f"| fault | {' | '.join(ROUTES)} |",
        f"|---{'|---' * len(ROUTES)}|",
    ]
    for fault in dict.fromkeys(row.fault for row in rows):
        line = f"| {fault} "
        for route in ROUTES:
            row = cells.get((fault, route))
            if row is None:
                line += "| "
            elif row.note:
                line += f"| {row.note} "
            else:
                offered, delivered = row.acknowledged + row.refused, row.acknowledged - row.lost
                line += f"| {offered:,} / {delivered:,} / {row.lost:,} / {row.duplicated:,} "
        lines.append(f"{line}|")
    runs, kills, seconds = (sum(getattr(r, n) for r in rows) for n in ("runs", "kills", "seconds"))
    lines += ["", f"{runs} runs with {kills} kills, {round(seconds / 60)} minutes."]
    return "\n".join(lines) + "\n"
