"""``on_failure=block_action``: no side effect without a durable intent, whatever fails.

    python -m tests.campaigns.blocked [--scale full]

Functions under ``@traced_tool`` and tools of a real Kaizen agent add their names to a file;
afterwards each of these names must be that of an intent which a next process finds.  A5.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kaizen_otel import semconv
from kaizen_otel._edges import OsFilesystem
from kaizen_otel.audit._stored import read_spool
from kaizen_otel.audit.record import PHASE
from tests.campaigns.kit import Tally, Unavailable, Zygote, finish, new_directory, scale_arguments
from tests.campaigns.power import Disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_ENDLESS: Final = 10**9
NOBODY: Final = "http://127.0.0.1:9"

#: What the disk does from the n-th call on: see ``disks.Plan``.
DISK_FAULTS: Final[dict[str, dict[str, Any]]] = {
    "every third sync fails": {"every": 3, "operation": "sync"},
    "every third sync fails, the bytes stay": {"every": 3, "operation": "sync", "effect": "full"},
    "every second write fails": {"every": 2, "operation": "write"},
    "no space": {"error": "ENOSPC", "operation": "write"},
    "no space, half of the time": {"error": "ENOSPC", "operation": "write", "every": 2},
    "read-only": {"error": "EROFS"},
    "no new files": {"error": "EROFS", "operation": "create"},
    "no names kept": {"operation": "sync_directory"},
}  # fmt: skip


def intents(spool: Path) -> set[str]:
    """Names of the tools for which an intent is found."""
    if not spool.is_dir():
        return set()
    return {
        str(record.attributes.get(semconv.GEN_AI_TOOL_NAME))
        for record in read_spool(OsFilesystem(), str(spool))
        if record.attributes.get(PHASE) == "intent"
    }


class Run:
    """One victim with tools: where its spool is, what it is told."""

    def __init__(self, root: Path, **order: Any) -> None:  # noqa: ANN401 - parts of an order
        self.spool = root / "spool"
        self.effects = new_directory() / "effects"
        environment = {
            "KAIZEN_OTEL_SPOOL_DIR": str(self.spool),
            "KAIZEN_OTEL_AUDIT_ENDPOINT": NOBODY,
            "KAIZEN_OTEL_ON_FAILURE": "block_action",
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            **order.pop("environment", {}),
        }
        self.order = {
            "mode": "tools", "environment": environment, "effects": str(self.effects), **order,
        }  # fmt: skip

    def compare(self, tally: Tally, where: str, said: list[str]) -> None:
        """Count side effects that no intent allows."""
        names = self.effects.read_text().split() if self.effects.exists() else []
        found = intents(self.spool)
        tally.count("side effects", len(names))
        tally.count("intents", len(found))
        tally.count("refused", sum(int(s.split()[1]) for s in said if s.startswith("refused ")))
        tally.lose(len(set(names) - found), where)
        shutil.rmtree(self.effects.parent)


def block_when_killed(
    *, kills: int, agent: bool = False, seed: int = 5, sabotage: str = ""
) -> Tally:
    """SIGKILL at random moments."""
    who = "an agent's tools" if agent else "traced tools"
    tally = Tally(f"SIGKILL with {who}{sabotage and ', ' + sabotage}")
    chance = random.Random(seed)
    with Zygote() as zygote:
        for number in range(1, kills + 1):
            root = new_directory()
            run = Run(root, agent=agent, sabotage=sabotage)
            # An agent's framework takes seconds to load.
            kill_after_s = chance.uniform(0.8, 2.0) if agent else chance.uniform(0.1, 0.6)
            said = zygote.run(run.order, kill_after_s=kill_after_s, from_word="ready")
            tally.count("kills")
            run.compare(tally, f"kill {number}", said)
            shutil.rmtree(root)
            tally.progress(number, kills)
            if sabotage and tally.lost:
                break
    return tally


def block_when_the_disk_fails(
    *, rounds: int, seconds: float, agent: bool = False, on_failure: str = "block_action"
) -> Tally:
    """Each way in which calls of the disk fail, from an early and from a later call on."""
    tally = Tally(f"a disk that fails, {'an agents tools' if agent else 'traced tools'}")
    plans = [(name, first) for name in DISK_FAULTS for first in range(6, 6 + 60 * rounds, 60)]
    with Zygote() as zygote:
        for number, (name, first) in enumerate(plans, 1):
            root = new_directory()
            run = Run(
                root,
                agent=agent,
                environment={"KAIZEN_OTEL_ON_FAILURE": on_failure},
                fail={"first": first, "count": _ENDLESS, **DISK_FAULTS[name]},
                seconds=seconds,
            )
            said = zygote.run(run.order)
            run.compare(tally, f"{name} from call {first}", said)
            shutil.rmtree(root)
            tally.progress(number, len(plans))
            if on_failure != "block_action" and tally.lost:
                break
    if on_failure == "block_action":
        tally.lose(not tally.counts["refused"], "no refusal: the faults did not reach the disk")
    return tally


def block_when_the_disk_is_full(*, rounds: int, seconds: float) -> Tally:
    """A small tmpfs that fills, a spool at its own limit, a spool that cannot be made."""
    tally = Tally("a full disk")
    with Zygote() as zygote:
        for number in range(1, rounds + 1):
            with small_disk(f"{256 + 64 * number}k") as root:
                run = Run(root, seconds=seconds)
                run.compare(tally, "tmpfs", zygote.run(run.order))
            root = new_directory()
            limit = {"KAIZEN_OTEL_SPOOL_BYTES_MAX": str(1 << 20)}
            run = Run(root, seconds=seconds, environment=limit)
            run.compare(tally, "spool limit", zygote.run(run.order))
            shutil.rmtree(root)
            root = new_directory()
            (root / "spool").write_text("a file is in the way")
            run = Run(root, seconds=seconds / 2)
            run.compare(tally, "no spool", zygote.run(run.order))
            shutil.rmtree(root)
            tally.progress(number, rounds)
    tally.lose(not tally.counts["refused"], "nothing was refused: the disk was not full")
    return tally


def block_when_power_is_cut(*, cuts: int, seed: int = 5, sabotage: str = "") -> Tally:
    """A power cut at a call of the disk; the side effects are on another one that keeps its."""
    tally = Tally(f"power cuts with traced tools{sabotage and ', ' + sabotage}")
    chance = random.Random(seed)
    disk = Disk("ext4")
    with Zygote() as zygote, disk as path:
        for number in range(1, cuts + 1):
            cut = {
                "directory": str(path),
                "call": chance.randint(10, 500),
                "is_after": chance.random() < 0.5,
            }
            run = Run(path, cut=cut, sabotage=sabotage)
            said = zygote.run(run.order, kill_after_s=2)
            disk.mount_again()
            tally.count("cuts", sum(line.startswith("cut ") for line in said))
            run.compare(tally, f"cut {number}", said)
            shutil.rmtree(run.spool, ignore_errors=True)
            tally.progress(number, cuts)
            if sabotage and tally.lost:
                break
    return tally


@contextmanager
def small_disk(size: str) -> Iterator[Path]:
    """A tmpfs of that size; raises ``Unavailable`` where it cannot be mounted."""
    root = new_directory()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(root)]
    if os.geteuid() != 0:
        raise Unavailable("platform: mounting a small disk needs root")
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        raise Unavailable("platform: a tmpfs cannot be mounted here")
    try:
        yield root
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)
        root.rmdir()


def campaigns(scale: str, seed: int) -> list[Tally]:
    """All faults, with decorated functions and with a Kaizen agent's tools."""
    is_full = scale == "full"
    seconds = 1.0 if is_full else 0.4
    tallies = [
        block_when_killed(kills=100 if is_full else 6, seed=seed),
        block_when_killed(kills=25 if is_full else 2, seed=seed, agent=True),
        block_when_the_disk_fails(rounds=5 if is_full else 1, seconds=seconds),
        block_when_the_disk_fails(rounds=1, seconds=6, agent=True) if is_full else None,
    ]
    found = [tally for tally in tallies if tally is not None]
    for run in (
        partial(block_when_the_disk_is_full, rounds=10 if is_full else 1, seconds=2 * seconds),
        partial(block_when_power_is_cut, cuts=100 if is_full else 4, seed=seed),
    ):
        try:
            found.append(run())
        except Unavailable as reason:
            found.append(Tally("blocked", notes=[str(reason)]))
    return found


if __name__ == "__main__":
    asked = scale_arguments(__doc__).parse_args()
    sys.exit(finish(campaigns(asked.scale, asked.seed)))
