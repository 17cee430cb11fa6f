"""Disks that refuse: every k-th call, in memory and for real; a file system that fills.

    python -m tests.campaigns.disk [--scale full]

A4: whatever fails, and whether or not it had happened all the same, 0 acknowledged records are
lost, and what was refused is declared by gap records once there is room.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel.audit._stored import read_spool
from kaizen_otel.audit.record import EVENT_GAP
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from kaizen_otel.testing.memory_filesystem import Fault, MemoryFilesystem, fail_call
from tests.campaigns.blocked import NOBODY, small_disk
from tests.campaigns.kit import (
    Collecting,
    Tally,
    Unavailable,
    Zygote,
    finish,
    ids_in_request,
    ids_in_spool,
    judge,
    new_directory,
    scale_arguments,
)
from tests.unit._spool.spool_kit import TurnedClock, make_shipper, run_until_idle

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel._export import Outcome, Signal

ERRORS: Final = ("EIO", "ENOSPC", "EROFS")
# No tampering; but numbers may be burned, a key refused by the disk, a batch written in part.
_DECLARED: Final = ("gap", "gap_declared", "unsigned_tail", "missing_signature")
_SPOOL: Final = "/state/spool"
_RECORDS: Final = 60
_SEGMENT_BYTES: Final = 4_000


class Moody(Collecting):
    """Takes every third request and has an excuse for the others."""

    def __init__(self) -> None:
        super().__init__()
        self._answers: list[Outcome] = [
            Retryable(reason="unavailable", message="503"),
            Delivered(rejected_count=1, message="no room"),
            Delivered(),
            Rejected(reason="unauthenticated", message="401"),
            Delivered(),
        ]

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        del signal, deadline_ns
        outcome = self._answers.pop(0) if self._answers else Delivered()
        if isinstance(outcome, Delivered) and not outcome.rejected_count:
            self.ids += ids_in_request(body)
        return outcome


def fail_each_call(
    *, calls: range, seed: int = 5, filesystem: type[MemoryFilesystem] = MemoryFilesystem
) -> Tally:
    """The whole manager on a disk in memory of which one call fails; then the process or the power.

    Each call with each error, refused (nothing happened), reported wrongly (it happened) and cut
    short; afterwards the process is killed, or the power lost with or without the rest.
    """
    tally = Tally("each call of the disk fails once")
    chance = random.Random(seed)
    plans = [
        (number, error, effect)
        for number in calls
        for error in ERRORS
        for effect in ("none", "full", "short")
    ]
    for done, (number, error, effect) in enumerate(plans, 1):
        fault = Fault(error=getattr(errno, error), effect=effect)  # type: ignore[arg-type]
        disk = filesystem(fault=fail_call(number, fault))
        receiver = Moody()
        acknowledged, refused = _live(disk, receiver)
        tally.count("calls failed", len(disk.calls) >= number)
        tally.count("acknowledged", len(acknowledged))
        tally.count("refused", refused)
        disk.fault = None
        endings = {
            "killed": disk.kill_process(),
            "power lost": disk.lose_power(),
            "power lost in part": disk.lose_power(chance),
        }
        for how, after in endings.items():
            shipped = {*receiver.ids, *_ship(after)}
            tally.lose(len(acknowledged - shipped), f"call {number} {error} {effect}, {how}")
        tally.progress(done, len(plans))
    return tally


def _live(disk: MemoryFilesystem, receiver: Moody) -> tuple[set[str], int]:
    """One short life of a manager; the ids that were acknowledged and how many were refused."""
    config = Config.from_environment({"KAIZEN_OTEL_SPOOL_DIR": _SPOOL})
    manager = AuditTrailManager(
        config=config, filesystem=disk, transport=receiver, warn=lambda _: None
    )
    store = manager._intake.open()
    assert store is not None
    store.spool._writer._segment_bytes_max = _SEGMENT_BYTES
    acknowledged: set[str] = set()
    for _ in range(_RECORDS):
        receipt = manager.record("qa", "tool_execute", {"tool_name": "t"}, "success")
        if receipt.wait(30):
            acknowledged.add(receipt.record_id)
    manager.shutdown(50)
    return acknowledged, _RECORDS - len(acknowledged)


def _ship(disk: MemoryFilesystem) -> list[str]:
    """What a next process delivers from that disk."""
    following = Collecting()
    try:
        disk.names(_SPOOL)
    except FileNotFoundError:
        return []
    run_until_idle(make_shipper(disk, None, following, TurnedClock()))
    return following.ids


def fail_real_calls(*, runs: int, seed: int = 5) -> Tally:
    """Agents on a real disk of which some calls fail, killed in the middle of it."""
    tally = Tally("calls of a real disk fail")
    chance = random.Random(seed)
    with Zygote() as zygote:
        for number in range(1, runs + 1):
            spool = new_directory()
            fail = {
                "first": chance.choice([chance.randint(1, 30), chance.randint(30, 300)]),
                "every": chance.choice([1, 2, 7]),
                "count": chance.choice([1, 1, 5, 50]),
                "error": chance.choice(ERRORS),
                "effect": chance.choice(["none", "full"]),
            }
            said = zygote.run(
                {
                    "environment": _environment(spool),
                    "threads": 2,
                    "tasks": 8,
                    "segment_bytes": 20_000,
                    "fail": fail,
                },
                kill_after_s=chance.uniform(0.1, 0.4),
                from_word="",
            )
            tally.count("runs")
            tally.count("acknowledged", len(said))
            tally.lose(len(set(said) - ids_in_spool(spool)), str(fail))
            judge(tally, spool=spool, where=str(fail), allowed=_DECLARED)
            shutil.rmtree(spool)
            tally.progress(number, runs)
    return tally


def fail_system_calls(*, runs: int) -> Tally:
    """``fdatasync`` itself answers EIO, injected by strace: nothing of ours is replaced."""
    tally = Tally("fdatasync fails by strace")
    if shutil.which("strace") is None:
        raise Unavailable("platform: strace is not installed")
    for number in range(1, runs + 1):
        inject = f"inject=fdatasync:error={ERRORS[number % 3]}:when={number}+{number % 5 + 1}"
        command = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync", "-e", inject)
        spool = new_directory()
        try:
            with Zygote(command) as zygote:
                said = zygote.run(
                    {"environment": _environment(spool), "threads": 2, "tasks": 8},
                    kill_after_s=0.3,
                    from_word="",
                )
        except AssertionError as error:
            if "ptrace" in str(error):
                raise Unavailable(f"platform: strace may not trace: {error}") from error
            raise
        tally.count("runs")
        tally.count("acknowledged", len(said))
        tally.lose(len(set(said) - ids_in_spool(spool)), inject)
        shutil.rmtree(spool)
        tally.progress(number, runs)
    return tally


def fill(*, rounds: int) -> Tally:
    """A tmpfs of 256 KiB to 1 MiB fills, gets room again, and the agent is killed."""
    tally = Tally("a file system that fills")
    with Zygote() as zygote:
        for number in range(1, rounds + 1):
            size = 256 + 768 * (number - 1) // max(1, rounds - 1)
            with small_disk(f"{size}k") as root:
                spool = root / "spool"
                has_grown = False

                def grow(passed_s: float, root: Path = root) -> None:
                    nonlocal has_grown
                    left = os.statvfs(root)
                    is_full = left.f_bavail * left.f_frsize < 8 * 1024
                    if is_full and passed_s > 0.8 and not has_grown:
                        has_grown = True
                        subprocess.run(["mount", "-o", "remount,size=64m", str(root)], check=True)

                said = zygote.run(
                    {"environment": _environment(spool), "threads": 2, "tasks": 8},
                    kill_after_s=3,
                    while_running=grow,
                )
                tally.count("acknowledged", len(said))
                tally.lose(len(set(said) - ids_in_spool(spool)), f"{size} KiB")
                judge(tally, spool=spool, where=f"{size} KiB", allowed=_DECLARED)
                records = list(read_spool(OsFilesystem(), str(spool)))
                gaps = sum(record.event_name == EVENT_GAP for record in records)
                tally.count("gap records", gaps)
                tally.count("not full in time", not has_grown)
                tally.lose(has_grown and not gaps, f"{size} KiB: what was refused is not declared")
            tally.progress(number, rounds)
    return tally


def _environment(spool: Path) -> dict[str, str]:
    return {"KAIZEN_OTEL_SPOOL_DIR": str(spool), "KAIZEN_OTEL_AUDIT_ENDPOINT": NOBODY}


def campaigns(scale: str, seed: int) -> list[Tally]:
    """All of them; what this machine refuses is left out with a note."""
    is_full = scale == "full"
    tallies = [
        fail_each_call(calls=range(1, 201) if is_full else range(1, 80, 8), seed=seed),
        fail_real_calls(runs=200 if is_full else 10, seed=seed),
    ]
    for name, run in {
        "strace": partial(fail_system_calls, runs=40 if is_full else 3),
        "tmpfs": partial(fill, rounds=10 if is_full else 2),
    }.items():
        try:
            tallies.append(run())
        except Unavailable as reason:
            tallies.append(Tally(name, notes=[str(reason)]))
    return tallies


if __name__ == "__main__":
    asked = scale_arguments(__doc__).parse_args()
    sys.exit(finish(campaigns(asked.scale, asked.seed)))
