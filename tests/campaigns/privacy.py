"""A thousand secrets by every way in, again and again with others; then erasures under load.

    python -m tests.campaigns.privacy [--scale small|full] [--seed N]

Progress on stderr, the results as JSON on stdout; exit code 1 if a secret was found anywhere, or if
anything of an erased subject could be found out.
"""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from tests.campaigns.kit import Tally, finish, new_directory, scale_arguments
from tests.trail import canary_ways as ways
from tests.trail.canaries import COUNT, canaries
from tests.trail.canary_house import House, Observed
from tests.trail.test_erase import House as ErasingHouse
from tests.trail.test_erase import fill, recoverable

if TYPE_CHECKING:
    from pathlib import Path

_USERS = 12


def send_secrets(*, rounds: int, seed: int, is_encrypting: bool) -> Tally:
    """Every secret by every way into the audit trail, 1,000 a round."""
    tally = Tally(f"canaries, {'encrypted' if is_encrypting else 'hmac'}")
    for number in range(rounds):
        directory = new_directory()
        settings = {"KAIZEN_OTEL_SUBJECT_KEYS": str(directory / "subjects")}
        settings["KAIZEN_OTEL_AUDIT_CONTENT"] = "encrypted"
        house = House(directory, **(settings if is_encrypting else {}))
        for place, secret in enumerate(canaries(seed + number)):
            ways.through_record(house.manager, secret, place, parts=1)
            ways.through_emit(house.manager, secret, place, parts=1)
            if place % 10 == 0:
                house.texts += ways.through_errors(house.manager, secret)
        house.manager.shutdown(120_000)
        tally.count("records", house.manager.status().delivered)
        _judge(tally, house, directory, number, rounds)
    return tally


def observe_secrets(*, rounds: int, seed: int) -> Tally:
    """Every secret through tools, agents and the seam of all integrations, 1,000 a round."""
    tally = Tally("canaries, four signals")
    for number in range(rounds):
        directory = new_directory()
        house = Observed(directory)
        for place, secret in enumerate(canaries(seed + number)):
            ways.through_operations(house.observability, secret, place)
            if place % 10 < 2:
                ways.through_decorators(house.observability, secret)
        _judge(tally, house, directory, number, rounds)
    return tally


def _judge(tally: Tally, house: House, directory: Path, number: int, rounds: int) -> None:
    leaks = house.leaks()
    house.close()
    shutil.rmtree(directory)
    tally.count("secrets", COUNT)
    tally.lose(len(leaks), f"round {number}: {leaks}")
    tally.progress(number + 1, rounds)


def erase_subjects(*, rounds: int) -> Tally:
    """A third of the subjects of an agent that runs on is erased; what is left of them is tried."""
    tally = Tally("erasures")
    for number in range(rounds):
        directory = new_directory()
        house = ErasingHouse(directory)
        users = tuple(f"user {number} {n} ключ" for n in range(_USERS))
        manager = house.manager()
        fill(manager, 1, users)
        erased = users[: _USERS // 3]
        for user in erased:
            done = house.run("erase", user, "--yes")
            tally.lose(int(done.returncode != 0), done.stderr)
        fill(manager, 1, users[-1:])
        manager.shutdown(30_000)
        found = recoverable(directory, erased)
        tally.lose(len(found), f"round {number}: {sorted(found)[:3]}")
        kept = [user for user in users if user not in erased]
        tally.lose(
            sum(not recoverable(directory, (user,)) for user in kept[:2]), "one kept is gone"
        )
        tally.count("erased", len(erased))
        shutil.rmtree(directory)
        tally.progress(number + 1, rounds)
    return tally


def campaigns(scale: str, seed: int) -> list[Tally]:
    """All of them."""
    is_full = scale == "full"
    return [
        send_secrets(rounds=20 if is_full else 1, seed=seed, is_encrypting=False),
        send_secrets(rounds=5 if is_full else 1, seed=seed + 1000, is_encrypting=True),
        observe_secrets(rounds=20 if is_full else 1, seed=seed + 2000),
        erase_subjects(rounds=20 if is_full else 1),
    ]


if __name__ == "__main__":
    asked = scale_arguments(__doc__).parse_args()
    sys.exit(finish(campaigns(asked.scale, asked.seed)))
