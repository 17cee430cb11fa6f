"""Every fault of a real Collector on every way through the shipped configs, and the saboteurs.

    python -m tests.campaigns.collector [--scale small|full] [--other BINARY] [--table]

Progress on stderr, the results as JSON (or as the table of docs/guarantees) on stdout; exit code 1
if more was lost than is allowed, or if a part without its safety went unnoticed.  ``--other`` is a
Collector of another version, for upgrades.  Partitions need root: they run in a network namespace.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._collector.components import required_components
from kaizen_otel._collector.obtain import inspect_binary, obtain
from kaizen_otel._collector.resources import config_path
from tests.campaigns.blocked import small_disk
from tests.campaigns.kit import ROOT, Unavailable, say, scale_arguments
from tests.collector import faults
from tests.collector.destination import Destination
from tests.collector.faults import (
    BOUNDED,
    CONSUMERS,
    IN_MEMORY,
    MERGING,
    OFFICIAL,
    ROUTES,
    Outcome,
    Rig,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Run = Callable[[int], tuple[Outcome, int]]
    """One run by its number: what became of the items, and how many may be lost."""

_PATIENCE_S: Final = 90
#: What is lost may take this long to be sure of.
_IMPATIENCE_S: Final = 8
#: Longer than the five seconds that an exporter waits for an answer.
_PARTITION_S: Final = 6
_MEMORY_ONLY: Final = "remote write"
_INSIDE: Final = "KAIZEN_OTEL_CAMPAIGN_NAMESPACE"


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
    allowed: int = 0
    """How much may be lost."""
    note: str = ""

    def add(self, found: Outcome, allowed: int) -> None:
        """One run more."""
        self.runs += 1
        self.acknowledged += found.acknowledged
        self.refused += found.refused
        self.lost += found.lost
        self.duplicated += found.duplicated
        self.allowed += found.acknowledged if self.route == _MEMORY_ONLY else allowed


def run(
    binary: Path,
    route: str,
    fault: Callable[[Rig], None],
    *sabotage: str,
    disk: Path | None = None,
    patience_s: float = _PATIENCE_S,
) -> Outcome:
    """One run with folders of its own."""
    if route == _MEMORY_ONLY:
        patience_s = _IMPATIENCE_S
    with tempfile.TemporaryDirectory() as folder, Destination() as destination:
        rig = Rig(ROUTES[route], binary, Path(folder), destination, sabotage=sabotage, disk=disk)
        try:
            fault(rig)
            return rig.settle(patience_s=patience_s)
        finally:
            if rig.process is not None:
                rig.process.kill()


def on_small_disk(binary: Path, route: str, *sabotage: str, size: str = "6m") -> Outcome:
    """A disk three times as large as the queue, which fills."""
    patience_s = _PATIENCE_S if size == "6m" else _IMPATIENCE_S
    with small_disk(size) as disk:
        return run(binary, route, faults.disk_full, *sabotage, disk=disk, patience_s=patience_s)


def partitions(rig: Rig, *, times: int = 2, count: int = 20) -> None:
    """Packets to and from the destination are dropped; senders get through all the time."""
    rig.start()
    for _ in range(times):
        rig.offer(count)
        for port in (rig.destination.grpc_port, rig.destination.server_port):
            _iptables("-I", port)
        rig.offer(count)
        time.sleep(_PARTITION_S)
        for port in (rig.destination.grpc_port, rig.destination.server_port):
            _iptables("-D", port)
    rig.offer(count)


def _iptables(change: str, port: int) -> None:
    for chain, side in (("INPUT", "--dport"), ("OUTPUT", "--sport")):
        command = ["iptables", change, chain, "-p", "tcp", side, str(port), "-j", "DROP"]
        subprocess.run(command, check=True, capture_output=True)


def partitioned(arguments: list[str]) -> list[Row]:
    """Run the partitions of this command line in a network namespace of their own."""
    needed = ("unshare", "ip", "iptables")
    if os.geteuid() != 0 or not all(map(shutil.which, needed)):
        return [Row("all", "partition", note=f"platform: needs root, {', '.join(needed)}")]
    inside = [sys.executable, "-m", "tests.campaigns.collector", *arguments]
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *inside],
        cwd=ROOT,
        env={**os.environ, _INSIDE: "1"},
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        return [Row(**row) for row in json.loads(done.stdout)]
    except (ValueError, TypeError):
        return [Row("all", "partition", note=f"ended with {done.returncode}")]


def cells(binary: Path, other: Path | None, *, is_full: bool) -> list[tuple[Row, Run]]:
    """Every fault on every way: its row, and one run of it by the run's number."""
    found: list[tuple[Row, Run]] = []
    for route in ROUTES:
        found += cells_of(route, binary, other, is_full=is_full)
    return found


def cells_of(
    route: str, binary: Path, other: Path | None, *, is_full: bool
) -> Iterator[tuple[Row, Run]]:
    """The faults of one way."""
    kills, starts = (6, 10) if is_full else (3, 3)
    is_audit = route == "audit"

    def plain(name: str, fault: Callable[[Rig], None]) -> tuple[Row, Run]:
        return Row(route, name), lambda _: (run(binary, route, fault), 0)

    def killed(number: int) -> tuple[Outcome, int]:
        return run(binary, route, partial(faults.kills, times=kills, seed=number)), 0

    def killed_at_start(number: int) -> tuple[Outcome, int]:
        fault = partial(faults.kills_while_starting, times=starts, seed=number)
        found = run(binary, route, fault, patience_s=_IMPATIENCE_S)
        return found, starts * (CONSUMERS + 1)

    if not is_audit:
        yield plain("destination away", faults.outage)
        yield Row(route, "SIGKILL while the queue starts"), killed_at_start
    yield Row(route, "SIGKILL under load"), killed
    yield plain("SIGTERM, destination away", faults.stops)
    yield plain("reload (SIGHUP)", faults.reloads)
    if route in {"traces", "logs", "audit"}:
        bound = () if is_audit else (BOUNDED,)
        yield Row(route, "disk full"), lambda _: (on_small_disk(binary, route, *bound), 0)
    if other is not None and _runs(other, route):
        for name, old, new in (("upgrade", other, binary), ("downgrade", binary, other)):
            yield (
                Row(route, f"{name}, queue full"),
                lambda _, old=old, new=new: (  # type: ignore[misc]
                    run(old, route, partial(faults.upgrade, newer=new)),
                    0,
                ),
            )


def _runs(binary: Path, route: str) -> bool:
    """Whether another build has every component of a way."""
    texts = [config_path(name).read_text(encoding="utf-8") for name in ROUTES[route].configs]
    return required_components(texts) <= inspect_binary(binary).components


def saboteurs(binary: Path) -> dict[tuple[str, str], Callable[[], Outcome]]:
    """(The safety that is taken out, the test that must notice it)."""
    starting = partial(faults.kills_while_starting, times=3)
    impatient = partial(run, patience_s=_IMPATIENCE_S)
    return {
        ("endless retries", "destination away"): lambda: impatient(
            binary, "traces", faults.outage, OFFICIAL
        ),
        ("queue on disk", "SIGKILL under load"): lambda: impatient(
            binary, "traces", faults.kills, IN_MEMORY
        ),
        ("queue on disk", "SIGTERM, destination away"): lambda: impatient(
            binary, "logs", faults.stops, IN_MEMORY
        ),
        ("no merging", "SIGKILL while the queue starts"): lambda: beyond(
            3 * (CONSUMERS + 1), impatient(binary, "logs", starting, MERGING)
        ),
        ("bound in bytes", "disk full"): lambda: on_small_disk(binary, "logs", size="2m"),
    }


def beyond(allowed: int, found: Outcome) -> Outcome:
    """What is lost over what may be."""
    found.lost = max(0, found.lost - allowed)
    return found


def table(rows: list[Row]) -> str:
    """The rows as the page has them: acknowledged, lost, duplicated."""
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
                line += f"| {row.acknowledged:,} / {row.lost:,} / {row.duplicated:,} "
        lines.append(f"{line}|")
    return "\n".join(lines) + "\n"


def all_rows(binary: Path, other: Path | None, *, is_full: bool, seed: int) -> list[Row]:
    """Run everything that this process is for."""
    rows: list[Row] = []
    runs = 5 if is_full else 1
    if _INSIDE in os.environ:
        chosen: list[tuple[Row, Run]] = [
            (Row(route, "partition"), lambda _, route=route: (run(binary, route, partitions), 0))  # type: ignore[misc]
            for route in ROUTES
            if route != "audit"
        ]
    else:
        chosen = cells(binary, other, is_full=is_full)
    for row, one in chosen:
        for number in range(runs):
            try:
                row.add(*one(seed + number))
            except Unavailable as reason:
                row.note = str(reason)
        say(
            f"{row.route}, {row.fault}: {row.runs} runs, {row.acknowledged} acknowledged, "
            f"{row.lost} lost, {row.duplicated} duplicated"
        )
        rows.append(row)
    return rows


def main(arguments: list[str]) -> int:
    parser = scale_arguments(__doc__)
    parser.add_argument("--other", type=Path, help="a Collector of another version")
    parser.add_argument("--table", action="store_true", help="print the table of the page")
    asked = parser.parse_args(arguments)
    binary = obtain([config_path("gateway")], progress=say, own=True).path
    rows = all_rows(binary, asked.other, is_full=asked.scale == "full", seed=asked.seed)
    if _INSIDE in os.environ:
        sys.stdout.write(json.dumps([asdict(row) for row in rows]))
        return 0
    rows += partitioned([one for one in arguments if one != "--table"])
    unnoticed: list[str] = []
    for (safety, test), sabotaged in saboteurs(binary).items():
        lost = sabotaged().lost
        say(f"without its safety ({safety}), {test}: {lost} lost")
        unnoticed += [] if lost else [f"{safety}: {test}"]
    failed = [row for row in rows if row.lost > row.allowed]
    if asked.table:
        sys.stdout.write(table(rows))
    else:
        result = {"rows": [asdict(row) for row in rows], "unnoticed": unnoticed}
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return int(bool(failed or unnoticed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
