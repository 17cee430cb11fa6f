"""SIGKILL: of agents at random moments, of the Collector while records come.

    python -m tests.campaigns.kills [--scale full] [--kills N] [--records N] [--sabotage NAME]

Every acknowledged id is written to a pipe before anything else happens; then what the spool (and
the trail) hold is compared with it.  A1: 0 of 1,000,000 lost over 500 kills.
"""

from __future__ import annotations

import random
import shutil
import sys
from typing import TYPE_CHECKING

from kaizen_otel._collector.obtain import obtain
from kaizen_otel._collector.resources import config_path
from kaizen_otel._collector.run import CollectorProcess, free_ports
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._spool.store import open_or_explain
from kaizen_otel._trail.flush import flush_spool
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import Config
from kaizen_otel.errors import SetupError
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
from tests.campaigns.saboteurs import FILESYSTEMS

if TYPE_CHECKING:
    from pathlib import Path

_VERIFIED_EACH = 10
_LONGEST_S = 8.0
NOBODY = "http://127.0.0.1:9"


def kill_agents(
    *, kills: int, records: int, seed: int = 5, sabotage: str = "", longest_s: float = 0.6
) -> Tally:
    """Kill agents (8 threads and 64 tasks) until both numbers are reached; spool only."""
    tally = Tally(f"SIGKILL of agents{sabotage and ', ' + sabotage}", counts={"acknowledged": 0})
    chance = random.Random(seed)
    with Zygote() as zygote:
        number = 0
        while number < kills or tally.counts["acknowledged"] < records:
            number += 1
            directory = new_directory()
            said = zygote.run(
                {
                    "environment": {
                        "KAIZEN_OTEL_SPOOL_DIR": str(directory),
                        "KAIZEN_OTEL_AUDIT_ENDPOINT": NOBODY,
                    },
                    "threads": 8,
                    "tasks": 64,
                    "padding": chance.choice([0, 0, 300]),
                    "segment_bytes": chance.choice([None, 100_000]),
                    "sabotage": sabotage,
                },
                # When there were kills enough, only records are wanted.
                kill_after_s=chance.uniform(0.05, longest_s if number <= kills else _LONGEST_S),
            )
            tally.count("kills")
            tally.count("acknowledged", len(said))
            missing = set(said) - ids_in_spool(directory)
            tally.lose(len(missing), f"kill {number}")
            if number % _VERIFIED_EACH == 1:
                judge(tally, spool=directory, where=f"kill {number}")
            shutil.rmtree(directory)
            tally.progress(number, max(number, kills))
            if sabotage and tally.lost:
                break
    return tally


class Place:
    """A Collector that writes a trail, and a spool root that all victims share."""

    def __init__(self, data: Path | None = None) -> None:
        """``data`` is where the Collector writes, if not beside the spool."""
        try:
            binary = obtain([config_path("dev")], progress=say).path
        except SetupError as error:
            raise Unavailable(f"no Collector: {error}") from error
        self.root = new_directory()
        self.spool = self.root / "spool"
        data = data or self.root / "data"
        self.trail = data / "audit"
        self.collector = CollectorProcess(
            config_path("dev"),
            binary=binary,
            environment={**free_ports(), "KAIZEN_OTEL_DATA_DIR": str(data)},
            log_path=self.root / "collector.log",
        )
        self.environment = {
            "KAIZEN_OTEL_SPOOL_DIR": str(self.spool),
            "KAIZEN_OTEL_AUDIT_ENDPOINT": f"http://127.0.0.1:{self.collector.audit_port}",
        }

    def flush(self) -> int:
        """Ship what killed processes left; how many records still wait."""
        endpoint = Config.from_environment(self.environment).audit.endpoint
        return flush_spool(
            str(self.spool),
            transport=open_or_explain(endpoint, clock=SystemClock()),
            filesystem=OsFilesystem(),
            clock=SystemClock(),
            random_fraction=lambda: 0.5,
            warn=say,
            timeout_ms=120_000,
        ).waiting


def kill_collector(*, kills: int, seed: int = 5, sabotage: str = "") -> Tally:
    """Kill the Collector while an agent records, then the agent; in the end all are in the trail.

    The spool keeps delivered records for a while, so it is the trail alone that is looked at.
    """
    tally = Tally(f"SIGKILL of the Collector{sabotage and ', ' + sabotage}")
    chance = random.Random(seed)
    place = Place()
    acknowledged: set[str] = set()
    place.collector.start()
    try:
        with Zygote() as zygote:
            for number in range(1, kills + 1):
                at_s = chance.uniform(0.05, 0.5)

                def kill(passed_s: float, at_s: float = at_s) -> None:
                    if passed_s >= at_s and place.collector.running():
                        place.collector.kill()
                        tally.count("Collector kills")

                said = zygote.run(
                    {
                        "environment": place.environment,
                        "threads": 2,
                        "tasks": 6,
                        "sabotage": sabotage,
                    },
                    kill_after_s=at_s + chance.uniform(0.02, 0.3),
                    while_running=kill,
                )
                tally.count("agent kills")
                tally.count("acknowledged", len(said))
                acknowledged |= set(said)
                place.collector.kill()
                place.collector.start()
                tally.progress(number, kills)
        tally.lose(place.flush(), "records that still wait at the end")
        found = ids_in_trail(place.trail)
        tally.count("in trail", len(set(found)))
        tally.count("duplicates", len(found) - len(set(found)))
        tally.lose(len(acknowledged - set(found)), "acknowledged and not in the trail")
        judge(tally, trail=place.trail, where="the trail")
    finally:
        place.collector.kill()
        shutil.rmtree(place.root)
    return tally


def look_around(*, rounds: int, sabotage: str = "") -> Tally:
    """Another process starts while an agent records, ships what is nobody's and has little room.

    It must leave the living agent's stream alone, or what it removes is lost to the agent.
    """
    tally = Tally(f"another process looks around{sabotage and ', ' + sabotage}")
    with Zygote() as zygote:
        for number in range(1, rounds + 1):
            directory = new_directory()
            environment = {
                "KAIZEN_OTEL_SPOOL_DIR": str(directory),
                "KAIZEN_OTEL_AUDIT_ENDPOINT": NOBODY,
            }
            little_room = {**environment, "KAIZEN_OTEL_SPOOL_BYTES_MAX": str(1 << 20)}
            taken = Collecting()
            other = AuditTrailManager(
                config=Config.from_environment(little_room),
                filesystem=FILESYSTEMS[sabotage](),
                transport=taken,
                warn=lambda _: None,
            )

            def start(passed_s: float, other: AuditTrailManager = other) -> None:
                if passed_s > 0.6:
                    other.start()

            said = zygote.run(
                {
                    "environment": environment,
                    "threads": 2,
                    "tasks": 30,
                    "padding": 300,
                    "sabotage": sabotage,
                },
                kill_after_s=1.4,
                while_running=start,
            )
            other.shutdown(5_000)
            tally.count("acknowledged", len(said))
            tally.lose(len(set(said) - ids_in_spool(directory) - set(taken.ids)), f"{number}")
            shutil.rmtree(directory)
            tally.progress(number, rounds)
    return tally


def campaigns(scale: str, seed: int) -> list[Tally]:
    """All of them; the Collector's is left out, with a note, where there is none."""
    is_full = scale == "full"
    tallies = [
        kill_agents(
            kills=500 if is_full else 12, records=1_000_000 if is_full else 20_000, seed=seed
        ),
        look_around(rounds=20 if is_full else 2),
    ]
    try:
        tallies.append(kill_collector(kills=100 if is_full else 4, seed=seed))
    except Unavailable as reason:
        tallies[0].notes.append(str(reason))
    return tallies


def main() -> int:
    parser = scale_arguments(__doc__)
    parser.add_argument("--kills", type=int)
    parser.add_argument("--records", type=int, default=0)
    parser.add_argument("--sabotage", default="")
    asked = parser.parse_args()
    if asked.kills is None:
        return finish(campaigns(asked.scale, asked.seed))
    return finish(
        [
            kill_agents(
                kills=asked.kills, records=asked.records, seed=asked.seed, sabotage=asked.sabotage
            )
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
