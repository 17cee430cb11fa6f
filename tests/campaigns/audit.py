"""Every fault campaign of the audit trail, and the proof that each of them can find a loss.

    python -m tests.campaigns.audit [--scale small|full] [--only NAME,...]

Progress on stderr, the results as JSON on stdout; exit code 1 if anything acknowledged was lost,
or if a part without its safety went unnoticed.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from tests.campaigns import blocked, disk, kills, network, power, privacy, tampering
from tests.campaigns.kit import Tally, Unavailable, say, scale_arguments
from tests.crash.test_every_call import SABOTEURS as IN_MEMORY
from tests.crash.test_every_call import losses_when_stopped_anywhere

if TYPE_CHECKING:
    from collections.abc import Callable

CAMPAIGNS: dict[str, Callable[[str, int], list[Tally]]] = {
    "kills": kills.campaigns,
    "power": power.campaigns,
    "disk": disk.campaigns,
    "network": network.campaigns,
    "blocked": blocked.campaigns,
    "tampering": tampering.campaigns,
    "privacy": privacy.campaigns,
}


def _in_memory(name: str) -> Callable[[], Tally]:
    def run() -> Tally:
        tally = Tally(name)
        for loss in losses_when_stopped_anywhere(IN_MEMORY[name]):
            tally.lose(1, loss)
        return tally

    return run


#: (the safety that is taken out, the test that must notice it): the sound part loses nothing there.
SABOTEURS: dict[tuple[str, str], Callable[[], Tally]] = {
    ("acknowledged before write", "SIGKILL"): lambda: kills.kill_agents(
        kills=20, records=0, sabotage="acknowledged before write"
    ),
    ("acknowledged before write", "power cuts"): lambda: power.cut(
        "ext4", cuts=20, sabotage="acknowledged before write"
    ),
    ("acknowledged before write", "block_action, SIGKILL"): lambda: blocked.block_when_killed(
        kills=20, sabotage="acknowledged before write"
    ),
    ("no fdatasync", "power cuts"): lambda: power.cut("ext4", cuts=20, sabotage="no fdatasync"),
    ("no fdatasync", "block_action, power cuts"): lambda: blocked.block_when_power_is_cut(
        cuts=20, sabotage="no fdatasync"
    ),
    ("no flock", "another process"): lambda: kills.look_around(rounds=2, sabotage="no flock"),
    ("no replay", "power cut of the Collector"): lambda: power.cut_the_collector(
        cuts=1, replays=False
    ),
    ("cursor before answer", "SIGKILL of the Collector"): lambda: kills.kill_collector(
        kills=3, sabotage="cursor before answer"
    ),
    ("cursor before answer", "misbehaving receiver"): lambda: network.misbehave(
        rounds=0, records=60, sabotage="cursor before answer", only="503"
    ),
    ("partial success ignored", "misbehaving receiver"): lambda: network.misbehave(
        rounds=0, records=60, sabotage="partial success ignored", only="partial"
    ),
    ("no block_action", "failing disk"): lambda: blocked.block_when_the_disk_fails(
        rounds=1, seconds=0.3, on_failure="continue"
    ),
    **{(name, "every call, in memory"): _in_memory(name) for name in IN_MEMORY},
}


def sabotage() -> tuple[list[dict[str, object]], int]:
    """Run every saboteur: what each lost, and how many of them went unnoticed."""
    rows: list[dict[str, object]] = []
    unnoticed = 0
    for (safety, test), run in SABOTEURS.items():
        try:
            lost: int | str = run().lost
        except Unavailable as reason:
            lost = str(reason)
        unnoticed += lost == 0
        rows.append({"without": safety, "test": test, "lost": lost})
        say(f"without its safety ({safety}), {test}: {lost} lost")
    return rows, unnoticed


def main() -> int:
    parser = scale_arguments(__doc__)
    parser.add_argument("--only", default=",".join([*CAMPAIGNS, "saboteurs"]))
    asked = parser.parse_args()
    chosen = asked.only.split(",")
    tallies: list[Tally] = []
    for name, run in CAMPAIGNS.items():
        if name in chosen:
            tallies += run(asked.scale, asked.seed)
    rows, unnoticed = sabotage() if "saboteurs" in chosen else ([], 0)
    result = {
        "scale": asked.scale,
        "seed": asked.seed,
        "campaigns": [tally.as_json() for tally in tallies],
        "saboteurs": rows,
        "lost": sum(tally.lost for tally in tallies),
        "unnoticed": unnoticed,
    }
    sys.stdout.write(json.dumps(result, indent=2) + "\n")
    return int(bool(result["lost"] or unnoticed))


if __name__ == "__main__":
    sys.exit(main())
