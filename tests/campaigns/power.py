"""Simulated power cuts on real file systems: a loop-mounted ext4 or XFS that is shut down.

    python -m tests.campaigns.power [--scale full] [--cuts N] [--fs ext4,xfs] [--sabotage NAME]

The cut comes just before or just after a call of the filesystem, drawn by chance: while keys are
made, a stream or a segment begins, records are written and synced, the cursor is replaced.  A2:
0 of what was acknowledged is lost over 200 cuts on each file system.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._trail.flush import flush_spool
from tests.campaigns.disks import cut_power
from tests.campaigns.kills import Place
from tests.campaigns.kit import (
    Collecting,
    Tally,
    Unavailable,
    Zygote,
    finish,
    ids_in_spool,
    ids_in_trail,
    judge,
    new_directory,
    say,
    scale_arguments,
)
from tests.campaigns.network import Agent
from tests.campaigns.receiver import Receiver

if TYPE_CHECKING:
    from types import TracebackType

CUTS: Final = {"small": 10, "full": 200}
#: How each file system is made, and how large it has to be.
MAKERS: Final = {
    "ext4": (["mkfs.ext4", "-q", "-F"], "64M"),
    "xfs": (["mkfs.xfs", "-q", "-f"], "300M"),
}
_CUTS_PER_DISK: Final = 25
_LONGEST_S: Final = 2.0
_FLUSH_MS: Final = 30_000
_REPLAY_S: Final = 5


class Disk:
    """A file system in a file, mounted by a loop device; its power can be cut."""

    def __init__(self, kind: str) -> None:
        if os.geteuid() != 0:
            raise Unavailable("platform: cutting a disk's power needs root")
        self.kind = kind
        command, size = MAKERS[kind]
        if shutil.which(command[0]) is None:
            raise Unavailable(f"platform: {command[0]} is not installed")
        self._root = new_directory()
        self._image = self._root / "disk.img"
        self.path = self._root / "mounted"
        self.path.mkdir()
        _run("truncate", "-s", size, str(self._image))
        _run(*command, str(self._image))
        try:
            self.mount()
        except subprocess.CalledProcessError as error:
            shutil.rmtree(self._root)
            raise Unavailable(f"platform: a loop mount of {kind} is refused: {error}") from error
        self._refuse_if_it_cannot_be_cut()

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self.path))

    def mount_again(self) -> None:
        """What the next boot does: forget what is in memory, then replay the log."""
        for _ in range(100):
            self.unmount()
            self.mount()
            try:
                (self.path / "probe").touch()
                (self.path / "probe").unlink()
            except OSError:
                time.sleep(0.1)  # another mount namespace still holds the one without power
            else:
                return
        raise AssertionError(f"{self.path} has no power")

    def unmount(self) -> None:
        for _ in range(100):
            command = ["umount", str(self.path)]
            if subprocess.run(command, capture_output=True, check=False).returncode == 0:
                return
            time.sleep(0.05)  # a killed process is still closing its files
        raise AssertionError(f"{self.path} stays busy")

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unmount()
        shutil.rmtree(self._root)

    def _refuse_if_it_cannot_be_cut(self) -> None:
        """A disk that keeps what was never synced would prove nothing."""
        try:
            (self.path / "unsynced").write_bytes(b"x")
            cut_power(str(self.path))
        except OSError as error:
            self.unmount()
            raise Unavailable(f"platform: this file system cannot be shut down: {error}") from error
        self.mount_again()
        assert not (self.path / "unsynced").exists()


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def cut(kind: str, *, cuts: int, seed: int = 5, sabotage: str = "") -> Tally:
    """Cut the power so many times; each time compare, then let a next process ship the rest."""
    tally = Tally(f"power cuts on {kind}{sabotage and ', ' + sabotage}")
    chance = random.Random(seed)
    number = 0
    with Zygote() as zygote:
        while number < cuts and not (sabotage and tally.lost):
            disk = Disk(kind)
            with disk as path:
                for _ in range(min(_CUTS_PER_DISK, cuts - number)):
                    number += 1
                    _cut_once(zygote, disk, path / "spool", tally, chance, sabotage)
                    tally.progress(number, cuts)
                    if sabotage and tally.lost:
                        break
    return tally


def _cut_once(
    zygote: Zygote, disk: Disk, spool: Path, tally: Tally, chance: random.Random, sabotage: str
) -> None:
    first, last = chance.choice([(1, 30), (30, 400), (400, 3_000)])
    call = chance.randint(first, last)

    def cut_now(pid: int) -> None:
        try:
            cut_power(str(disk.path))
        except OSError:
            tally.count("cut by both")  # the victim was quicker
        os.kill(pid, signal.SIGKILL)

    with Receiver() as receiver:
        said = zygote.run(
            {
                "environment": {
                    "KAIZEN_OTEL_SPOOL_DIR": str(spool),
                    "KAIZEN_OTEL_AUDIT_ENDPOINT": receiver.url,
                },
                "threads": 2,
                "tasks": chance.choice([2, 30]),
                "segment_bytes": chance.choice([6_000, 40_000]),
                "sabotage": sabotage,
                "cut": {
                    "directory": str(disk.path),
                    "call": call,
                    "is_after": chance.random() < 0.5,
                },
            },
            kill_after_s=_LONGEST_S,
            at_end=cut_now,
        )
    moments = [line.removeprefix("cut ") for line in said if line.startswith("cut ")]
    before, late = _split(said)
    tally.count("cuts")
    tally.count("acknowledged", len(before))
    tally.count(f"at {moments[0] if moments else 'any moment'}")
    disk.mount_again()
    found = ids_in_spool(spool) if spool.exists() else set[str]()
    tally.lose(len(before - found), f"{moments or 'any moment'}, call {call}")
    # A sync that is under way when the file system is shut down may return success all the same: it
    # finds that nothing is left to wait for (seen on both).  Without power nobody would hear that.
    tally.count("acknowledged without power, not found", len(late - found))
    if spool.exists():
        judge(tally, spool=spool, where=f"call {call}")
    following = Collecting()
    if spool.exists():
        flush_spool(
            str(spool),
            transport=following,
            filesystem=OsFilesystem(),
            clock=SystemClock(),
            random_fraction=lambda: 0.5,
            warn=say,
            timeout_ms=30_000,
        )
        shutil.rmtree(spool)
    shipped = {*receiver.ids, *following.ids}
    tally.lose(len(before & found - shipped), f"found and not shipped, call {call}")


def _split(said: list[str]) -> tuple[set[str], set[str]]:
    """Return the ids that were acknowledged before the power went, and those after it."""
    place = said.index("cutting") if "cutting" in said else len(said)
    late = {line for line in said[place:] if not line.startswith("cut")}
    return set(said[:place]), late


def cut_the_collector(*, cuts: int, replays: bool = True) -> Tally:
    """The Collector's disk loses its power, and with it what was delivered and not yet written.

    The agent lives on.  Once the Collector is back, all that was acknowledged has to be in the
    trail.  Without ``replays`` the agent's shipper does not hear that the connection broke.
    """
    tally = Tally(f"power cuts of the Collector's disk{'' if replays else ', no replay'}")
    for number in range(1, cuts + 1):
        disk = Disk("ext4")
        with disk as path:
            place = Place(path / "data")
            try:
                _cut_the_collector_once(disk, place, tally, replays=replays)
                judge(tally, f"cut {number}", trail=place.trail)
            finally:
                place.collector.kill()
                shutil.rmtree(place.root)
        tally.count("cuts")
        tally.progress(number, cuts)
    return tally


def _cut_the_collector_once(disk: Disk, place: Place, tally: Tally, *, replays: bool) -> None:
    place.collector.start()
    agent = Agent(place.environment["KAIZEN_OTEL_AUDIT_ENDPOINT"], timeout_ms=2_000)
    if not replays:
        store = agent.manager._intake.open()
        assert store is not None
        store.shipper._outage.disconnect = lambda: None  # type: ignore[method-assign]
    agent.record(200)
    agent.manager.flush(_FLUSH_MS)
    cut_power(str(disk.path))
    place.collector.kill()
    disk.mount_again()
    survived = set(ids_in_trail(place.trail)) if place.trail.is_dir() else set[str]()
    tally.count("lost by the disk", len(set(agent.acknowledged) - survived))
    place.collector.start()
    agent.record(1)
    agent.manager.flush(_FLUSH_MS)
    deadline_s = time.monotonic() + _REPLAY_S
    while time.monotonic() < deadline_s and set(agent.acknowledged) - set(
        ids_in_trail(place.trail)
    ):
        time.sleep(0.05)
    agent.end(tally, ids_in_trail(place.trail), "not in the trail")


def campaigns(scale: str, seed: int) -> list[Tally]:
    """Both file systems; one that is not to be had is left out with a note."""
    tallies: list[Tally] = []
    for kind in MAKERS:
        try:
            tallies.append(cut(kind, cuts=CUTS[scale], seed=seed))
        except Unavailable as reason:
            tallies.append(Tally(f"power cuts on {kind}", notes=[str(reason)]))
    try:
        tallies.append(cut_the_collector(cuts=20 if scale == "full" else 1))
    except Unavailable as reason:
        tallies.append(Tally("power cuts of the Collector's disk", notes=[str(reason)]))
    return tallies


def main() -> int:
    parser = scale_arguments(__doc__)
    parser.add_argument("--cuts", type=int)
    parser.add_argument("--fs", metavar="ext4,xfs", help="these only, no Collector's disk")
    parser.add_argument("--sabotage", default="")
    asked = parser.parse_args()
    if asked.cuts is None and asked.fs is None:
        return finish(campaigns(asked.scale, asked.seed))
    cuts = asked.cuts or CUTS[asked.scale]
    kinds = asked.fs.split(",") if asked.fs else MAKERS
    return finish(
        [cut(kind, cuts=cuts, seed=asked.seed, sabotage=asked.sabotage) for kind in kinds]
    )


if __name__ == "__main__":
    sys.exit(main())
