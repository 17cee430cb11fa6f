"""Every attack on a trail a thousand times, by two verifiers that share nothing.

    python -m tests.campaigns.tampering [--scale small|full] [--seed N] [--seeds N] [--jobs N]

An attack counts as noticed if there is a finding of a fitting kind in the right stream at the
right numbers, and no other stream is accused.  What is no attack must raise no alarm.  Both
verifiers must agree on every trail, and on one of 100,000 records.  Progress on stderr, JSON on
stdout; exit code 1 if anything was missed or wrongly accused, or if the verifiers disagreed.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._trail import verify_signatures
from kaizen_otel._trail.verify import Settings, Sources, verify
from kaizen_otel.audit import signatures
from kaizen_otel.audit.trust import parse_trust
from tests.campaigns.kit import Tally, finish, say, scale_arguments
from tests.trail import independent_verifier
from tests.trail.all_attacks import ATTACKS
from tests.trail.attack import NotApplicableError
from tests.trail.benign import BENIGN
from tests.trail.big_trail import write_big_trail
from tests.trail.judges import Judgement, faults, independent, judgement, ours
from tests.trail.trail_kit import make_trail

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.trail.trail_model import Trail

SEEDS = {"small": 3, "full": 1000}
LARGE = {"small": 5_000, "full": 100_000}
_LARGER = 4
_LONG_EVERY = 5
_STRICT_EVERY = 10


class Outcome(NamedTuple):
    """What became of one operator on one trail; ``problem`` is empty if all was right."""

    name: str
    what: str
    problem: str


def _memory(function: Callable[..., Any], key: Callable[..., Any]) -> Callable[..., Any]:
    """Remember the results of a pure function: the trails of one seed differ in few records."""
    known: dict[Any, Any] = {}

    def remembered(*values: Any) -> Any:  # noqa: ANN401 - whatever the function takes
        at = key(*values)
        if at not in known:
            if len(known) > 100_000:
                known.clear()
            known[at] = function(*values)
        return known[at]

    return remembered


@cache
def _remember() -> None:
    """Both verifiers' costly pure functions, once for each different argument."""
    check = _memory(signatures.verify_signature, lambda *values: values)
    vars(verify_signatures)["verify_signature"] = check
    independent_verifier.sha = _memory(
        independent_verifier.sha, lambda value: json.dumps(value, sort_keys=True)
    )
    independent_verifier.holds = _memory(independent_verifier.holds, lambda *values: values)


def judge_seed(seed: int) -> list[Outcome]:
    """Run every operator on the trail of one seed; a larger one where that has nothing for it."""
    _remember()
    trails = {1: make_trail(seed, work=1, commit_max=64 if seed % _LONG_EVERY == 0 else 4)}
    before: dict[tuple[int, str], Judgement] = {}
    results = [_clean(trails[1])]

    def known(size: int) -> tuple[Trail, dict[str, Judgement]]:
        if size not in trails:
            trails[size] = make_trail(seed, work=size, commit_max=8)
        trail = trails[size]
        for name, ask in (("ours", ours), ("independent", independent)):
            if (size, name) not in before:
                before[size, name] = ask(trail)
        return trail, {name: before[size, name] for name in ("ours", "independent")}

    is_strict = seed % _STRICT_EVERY == 0
    for name in ATTACKS:
        for size in (1, _LARGER):
            try:
                results.append(_attack(name, seed, *known(size), is_strict=is_strict))
            except NotApplicableError:
                continue
            break
        else:
            results.append(Outcome(name, "not applicable", ""))
    results += [_benign(name, seed, *known(1), is_strict=is_strict) for name in BENIGN]
    return results


def _clean(trail: Trail) -> Outcome:
    mine, theirs = ours(trail), independent(trail)
    strange = {finding.kind for finding in mine.findings} - {"gap_declared"}
    is_right = mine.agrees(theirs) and not strange
    return Outcome("(no change)", "judged", "" if is_right else f"{mine} against {theirs}")


def _attack(
    name: str, seed: int, trail: Trail, before: dict[str, Judgement], *, is_strict: bool
) -> Outcome:
    found = ATTACKS[name].run(trail, random.Random(f"{seed} {name}"))
    after = {"ours": ours(found.trail), "independent": independent(found.trail)}
    problems = [
        f"{judge}: {fault}"
        for judge, judged in after.items()
        for fault in faults(found, trail, before[judge], judged)
    ]
    if not after["ours"].agrees(after["independent"]):
        problems.append(f"the verifiers disagree: {after}")
    if is_strict and not ours(found.trail, is_fast=False).agrees(after["ours"]):
        problems.append("our fast and our strict reader disagree")
    return Outcome(name, "noticed", "; ".join(problems))


def _benign(
    name: str, seed: int, trail: Trail, before: dict[str, Judgement], *, is_strict: bool
) -> Outcome:
    changed = BENIGN[name](trail, random.Random(f"{seed} {name}"))
    asked = {"ours": ours(changed), "independent": independent(changed)}
    problems = [
        f"{judge}: {finding}"
        for judge, after in asked.items()
        for finding in _places(after) ^ _places(before[judge])
    ]
    if is_strict and ours(changed, is_fast=False).findings != asked["ours"].findings:
        problems.append("our fast and our strict reader disagree")
    return Outcome(f"benign: {name}", "no alarm", "; ".join(problems))


def _places(judged: Judgement) -> set[tuple[str, str, int]]:
    found = {(one.kind, one.stream, one.number) for one in judged.findings}
    return {one for one in found if one[0] != "torn_line"}


def agree_on_many(records: int) -> Tally:
    """Both verifiers on one large trail, clean and with one record of it altered."""
    tally = Tally("agreement on a large trail")
    with tempfile.TemporaryDirectory() as name:
        made = write_big_trail(Path(name), records)
        trust_bytes = made.trust.read_bytes()
        keys = {key["key_id"]: key["public_key"] for key in json.loads(trust_bytes)["keys"]}
        for what in ("clean", "altered"):
            if what == "altered":
                _alter(made.trail / "audit.jsonl")
            verdict = verify(
                Sources(trails=(str(made.trail),), anchors=(str(made.anchors),)),
                settings=Settings(trust=parse_trust(trust_bytes, source="campaign")),
                filesystem=OsFilesystem(),
            )
            data = b"".join(path.read_bytes() for path in sorted(made.trail.iterdir()))
            found = independent_verifier.verify(data, keys, made.anchors.read_bytes())
            mine = judgement(verdict)
            theirs = independent_verifier.exit_code(found)
            streams = {stream for _, stream, _ in found}
            is_same = mine.exit_code == theirs and mine.streams() == streams
            tally.lose(int(not is_same), f"{what}: {mine} against {sorted(found)[:5]}")
            tally.lose(int(mine.exit_code != (what == "altered")), f"{what}: {mine.exit_code}")
            tally.count(f"records, {what}", verdict.records)
    return tally


def _alter(path: Path) -> None:
    data = path.read_bytes()
    at = data.index(b'"stringValue":"success"', len(data) // 2)
    path.write_bytes(data[:at] + b'"stringValue":"unknown"' + data[at + 23 :])


def run(seeds: Iterable[int], *, jobs: int = 1) -> list[Tally]:
    """Judge every seed; one result for each operator."""
    wanted = list(seeds)
    tallies: dict[str, Tally] = {}
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(judge_seed, seed) for seed in wanted]
        for done, future in enumerate(as_completed(running), 1):
            seed = wanted[running.index(future)]
            for outcome in future.result():
                tally = tallies.setdefault(outcome.name, Tally(f"tampering: {outcome.name}"))
                tally.count("wrong" if outcome.problem else outcome.what)
                tally.lose(int(bool(outcome.problem)), f"seed {seed}: {outcome.problem[:500]}")
            if done == len(wanted) or done % max(1, len(wanted) // 20) == 0:
                wrong = sum(tally.lost for tally in tallies.values())
                say(f"tampering: {done} of {len(wanted)} seeds, {wrong} wrong")
    return list(tallies.values())


def campaigns(scale: str, seed: int) -> list[Tally]:
    """All of them, for ``tests.campaigns.audit``."""
    tallies = run(range(seed, seed + SEEDS[scale]), jobs=2)
    return [*tallies, agree_on_many(LARGE[scale])]


def main() -> int:
    parser = scale_arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=0, help="how many, instead of the scale's")
    parser.add_argument("--jobs", type=int, default=1)
    asked = parser.parse_args()
    count = asked.seeds or SEEDS[asked.scale]
    tallies = run(range(asked.seed, asked.seed + count), jobs=asked.jobs)
    return finish([*tallies, agree_on_many(LARGE[asked.scale])])


if __name__ == "__main__":
    sys.exit(main())
