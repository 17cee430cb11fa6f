"""Every fault of a real Collector on every way through the shipped configs, and the saboteurs.

    python -m tests.campaigns.collector [--scale small|full] [--other BINARY] [--table]
                                        [--results FILE [--resume]] [--only FAULT]

Progress on stderr, the results as JSON (or as the table of docs/guarantees) on stdout; exit code 1
if more was lost than is allowed, if a part without its safety went unnoticed, or if a run broke.
``--other`` is a Collector of another version, for upgrades.  Partitions need root: they run in a
network namespace.

Full scale takes about an hour: five runs of each fault, those that kill with six to ten kills each;
``--rounds`` makes more.  Each run is a line of the results file as soon as it is made, and every
fault has its first run before any has its second: what is stopped has covered everything evenly.
With ``--resume`` the runs of the file are not made again, broken ones are; ``--table`` with
``--resume --rounds 0`` prints the table of what there is.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._collector.components import required_components
from kaizen_otel._collector.obtain import inspect_binary, obtain
from kaizen_otel._collector.resources import config_path
from kaizen_otel.errors import SetupError
from tests.campaigns.blocked import small_disk
from tests.campaigns.collector_results import Done, Results, Row, summed, table
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
_HITS_TRIES_MAX: Final = 10
_MEMORY_ONLY: Final = "remote write"
_PARTITION: Final = "partition"
_NEEDED: Final = ("unshare", "ip", "iptables")


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


def partition(route: str) -> Outcome:
    """One run of the partitions in a network namespace of its own."""
    if os.geteuid() != 0 or not all(map(shutil.which, _NEEDED)):
        raise Unavailable(f"platform: needs root, {', '.join(_NEEDED)}")
    inside = [sys.executable, "-m", "tests.campaigns.collector", "--partition", route]
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *inside],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
    )
    return Outcome(**json.loads(done.stdout))


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
        yield Row(route, _PARTITION), lambda _: (partition(route), 0)
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
        ("no merging", "SIGKILL while the queue starts"): lambda: merging(binary),
        ("bound in bytes", "disk full"): lambda: on_small_disk(binary, "logs", size="2m"),
    }


def merging(binary: Path) -> Outcome:
    """What is lost over what may be; a kill has to hit the moment, so again until one does."""
    found = Outcome()
    for seed in range(_HITS_TRIES_MAX):
        fault = partial(faults.kills_while_starting, times=3, seed=seed)
        found = run(binary, "logs", fault, MERGING, patience_s=_IMPATIENCE_S)
        found.lost = max(0, found.lost - 3 * (CONSUMERS + 1))
        if found.lost:
            break
    return found


def make(row: Row, one: Run, number: int, *, seed: int) -> Done:
    """One run; what goes wrong with it is part of the result."""
    began_s = time.monotonic()
    done = Done(route=row.route, fault=row.fault, number=number)
    try:
        found, allowed = one(seed + number)
    except Unavailable as reason:
        done.note = str(reason)
    except (AssertionError, OSError, SetupError, subprocess.SubprocessError) as error:
        done.broke = f"{type(error).__name__}: {error}"[:500]
    else:
        done = Done(route=row.route, fault=row.fault, number=number, **asdict(found))
        done.allowed = found.acknowledged if row.route == _MEMORY_ONLY else allowed
    done.seconds = round(time.monotonic() - began_s)
    return done


def make_all(chosen: list[tuple[Row, Run]], results: Results, *, rounds: int, seed: int) -> None:
    """Every fault once, then every fault again: what is stopped has covered all evenly."""
    for number in range(rounds):
        for row, one in chosen:
            if not results.has(row, number):
                done = make(row, one, number, seed=seed)
                results.add(done)
                say(
                    f"{number + 1}/{rounds} {row.route}, {row.fault}: {done.acknowledged} "
                    f"acknowledged, {done.lost} lost, {done.duplicated} duplicated, "
                    f"{done.seconds} s {done.note}{done.broke}"
                )


def without_safeties(binary: Path, results: Results, only: str) -> None:
    """Every saboteur once; what it loses is a run of a way of its own."""
    for (safety, test), sabotaged in saboteurs(binary).items():
        row = Row(f"without {safety}", test)
        if only in test and not results.has(row, 0):
            done = make(row, lambda _, run=sabotaged: (run(), 0), 0, seed=0)  # type: ignore[misc]
            results.add(done)
            say(f"{row.route}, {test}: {done.lost} lost {done.note}{done.broke}")


def main(arguments: list[str]) -> int:
    parser = scale_arguments(__doc__)
    parser.add_argument("--other", type=Path, help="a Collector of another version")
    parser.add_argument("--table", action="store_true", help="print the table of the page")
    parser.add_argument("--results", type=Path, help="file to which each run is added")
    parser.add_argument("--resume", action="store_true", help="go on with what is in that file")
    parser.add_argument("--only", default="", help="faults with this text in their name")
    parser.add_argument("--rounds", type=int, help="runs of each fault; 5 at full scale, else 1")
    parser.add_argument("--partition", choices=ROUTES, help=argparse.SUPPRESS)
    asked = parser.parse_args(arguments)
    binary = obtain([config_path("gateway")], progress=say, own=True).path
    if asked.partition is not None:
        sys.stdout.write(json.dumps(asdict(run(binary, asked.partition, partitions))))
        return 0
    is_full = asked.scale == "full"
    other = inspect_binary(asked.other).version_text if asked.other else ""
    about = {"scale": asked.scale, "seed": asked.seed, "other": other, "commit": _commit()}
    results = Results(asked.results, about, resume=asked.resume)
    rounds = (5 if is_full else 1) if asked.rounds is None else asked.rounds
    chosen = [
        (row, one)
        for row, one in cells(binary, asked.other, is_full=is_full)
        if asked.only in row.fault
    ]
    make_all(chosen, results, rounds=rounds, seed=asked.seed)
    if rounds:
        without_safeties(binary, results, asked.only)
    rows = summed(results.runs)
    sound = [row for row in rows if row.route in ROUTES]
    noticed = [row for row in rows if row.route not in ROUTES]
    unnoticed = [f"{row.route}: {row.fault}" for row in noticed if not row.lost and not row.note]
    failed = [row for row in sound if row.lost > row.allowed or row.broken]
    if asked.table:
        sys.stdout.write(table(sound))
    else:
        result = {"rows": [asdict(row) for row in rows], "unnoticed": unnoticed}
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return int(bool(failed or unnoticed))


def _commit() -> str:
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
