"""Nothing altered goes unnoticed, and nobody is accused of what they did not do.

Every attack (``mutations*.py``) and everything that is none (``benign.py``) is judged by our
verifier and by one that shares nothing with it; ``python -m tests.campaigns.tampering`` does the
same a thousand times each.
"""

from __future__ import annotations

import ast
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.trail import independent_verifier
from tests.trail.all_attacks import ATTACKS
from tests.trail.attack import NotApplicableError, last_anchored
from tests.trail.benign import BENIGN
from tests.trail.judges import Judgement, faults, independent, ours
from tests.trail.trail_kit import CHECKPOINT_RECORDS, golden_producer, golden_requests, make_trail
from tests.trail.trail_model import Line, Trail, request_text

SEEDS = (0, 1)
JUDGES = {"ours": ours, "independent": independent}

_HERE = Path(__file__).parent


@cache
def _trail(seed: int) -> Trail:
    """A full commit in one of them, short ones in the others."""
    return make_trail(seed, work=1, commit_max=4 if seed else 64)


@cache
def _before(seed: int, judge: str) -> Judgement:
    return JUDGES[judge](_trail(seed))


def _random(seed: int, name: str) -> random.Random:
    return random.Random(f"{seed} {name}")


@pytest.mark.parametrize("seed", SEEDS)
def test_what_producers_deliver_is_clean_to_both_verifiers(seed: int) -> None:
    """Clean, or incomplete where a gap record says that a record was refused for good."""
    mine, theirs = _before(seed, "ours"), _before(seed, "independent")
    assert {finding.kind for finding in mine.findings} <= {"gap_declared"}
    assert mine.agrees(theirs)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_an_attack_is_noticed_by_both_verifiers_at_its_place(name: str) -> None:
    done = 0
    for seed in range(20):
        trail = _trail(seed)
        try:
            found = ATTACKS[name].run(trail, _random(seed, name))
        except NotApplicableError:
            continue
        judged = {judge: JUDGES[judge](found.trail) for judge in JUDGES}
        for judge, after in judged.items():
            assert faults(found, trail, _before(seed, judge), after) == [], (judge, seed)
        assert judged["ours"].agrees(judged["independent"]), (seed, judged)
        assert done or ours(found.trail, is_fast=False).agrees(judged["ours"]), seed
        done += 1
        if done == len(SEEDS):
            return
    assert done, "the operator could be applied to no trail"


@pytest.mark.parametrize("name", sorted(BENIGN))
def test_what_is_no_attack_raises_no_alarm(name: str) -> None:
    for seed in SEEDS:
        changed = BENIGN[name](_trail(seed), _random(seed, name))
        for judge, ask in JUDGES.items():
            before, after = _before(seed, judge), ask(changed)
            new = {(f.kind, f.stream, f.number) for f in after.findings - before.findings}
            old = {(f.kind, f.stream, f.number) for f in before.findings - after.findings}
            # A torn piece is reported, and is not tampering.
            assert {one for one in new if one[0] != "torn_line"} == set(), (judge, seed)
            assert old == set(), (judge, seed)
            assert after.exit_code in {before.exit_code, 2 if new else before.exit_code}


def test_a_torn_piece_before_its_retried_request_accuses_nobody_wherever_it_was_cut() -> None:
    """What a fast reader cuts out of both together is no record, whatever it looks like."""
    trail = make_trail(2, work=2)
    lines = [line for line in trail.lines() if isinstance(line, list)]
    whole = request_text(max(lines, key=len)).encode()
    before = ours(trail)
    rnd = random.Random(0)
    for cut in sorted(rnd.sample(range(1, len(whole)), 12)):
        others: list[Line] = [whole[:cut] + whole, *lines]
        after = ours(trail.with_files({"audit.jsonl": others}))
        assert after.findings == before.findings, cut


def test_an_attack_is_noticed_also_where_lines_are_shuffled_duplicated_or_glued() -> None:
    for name in sorted(ATTACKS)[::6]:
        for cover in ("shuffle_lines", "glue_lines", "duplicate_lines"):
            try:
                found = ATTACKS[name].run(_trail(0), _random(0, name))
            except NotApplicableError:
                continue
            if any(isinstance(line, bytes) for line in found.trail.lines()):
                continue
            covered = BENIGN[cover](found.trail, _random(0, name))
            for judge, ask in JUDGES.items():
                after = ask(covered)
                assert faults(found, _trail(0), _before(0, judge), after) == [], (
                    name,
                    cover,
                    judge,
                )


def test_a_cut_is_found_as_soon_as_it_takes_an_anchored_record_away() -> None:
    """The window in which a cut leaves no trace is what came after the last checkpoint."""
    trail = make_trail(1, work=1)
    known = ours(trail).findings
    for stream, chain in trail.streams().items():
        anchored, last = last_anchored(trail, stream), max(chain)
        assert last - anchored <= CHECKPOINT_RECORDS
        for end in sorted({anchored, anchored - 1, *list(chain)[:: len(chain) // 3 + 1]} - {0}):
            if end not in chain:
                continue
            gone = {entry: () for number, entry in chain.items() if number > end}
            after = ours(trail.replaced(gone))
            # An anchor by a key whose rotation was cut off as well is not believed, and told.
            found = {
                finding.kind
                for finding in after.findings - known
                if finding.stream == stream and finding.kind in {"truncation", "bad_checkpoint"}
            }
            assert bool(found) is (end < anchored), (stream, end)


def test_the_kit_writes_what_a_real_collector_wrote() -> None:
    """``collector_trail.jsonl`` is the Collector's own output for the same records."""
    requests = golden_requests(golden_producer())
    text = "".join(f"{request_text(entries)}\n" for entries in requests)
    assert text.encode() == (_HERE / "collector_trail.jsonl").read_bytes()


def test_both_verifiers_take_what_a_real_collector_wrote() -> None:
    data = (_HERE / "collector_trail.jsonl").read_bytes()
    assert independent_verifier.verify(data) == set()
    lines: list[Line] = [*data.split(b"\n")]
    trail = Trail({"audit.jsonl": lines}, [], [])
    assert ours(trail, with_trust=False, with_anchors=False).findings == frozenset()


def test_the_independent_verifier_is_short_and_imports_nothing_of_ours() -> None:
    """150 lines, blank ones and the docstring aside."""
    text = (_HERE / "independent_verifier.py").read_text(encoding="utf-8")
    module = ast.parse(text)
    start = module.body[0].end_lineno or 0
    lines = [line for line in text.splitlines()[start:] if line.strip()]
    assert len(lines) < 150
    imported = {
        name.split(".")[0]
        for node in ast.walk(module)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported - sys.stdlib_module_names == {"rfc8785", "cryptography"}


@pytest.mark.parametrize(
    ("change", "code", "kinds"),
    [
        ("nothing", 0, set[str]()),
        ("edit_field", 1, {"conflict"}),
        ("delete_record", 2, {"missing"}),
        ("drop_everything", 3, {"empty_trail"}),
    ],
)
def test_the_independent_verifier_is_a_program(
    change: str, code: int, kinds: set[str], tmp_path: Path
) -> None:
    trail = next(_trail(seed) for seed in range(20) if _before(seed, "ours").exit_code == 0)
    if change in ATTACKS:
        trail = ATTACKS[change].run(trail, random.Random(1)).trail
    trail.write(tmp_path)
    command = [sys.executable, str(_HERE / "independent_verifier.py"), str(tmp_path / "trail")]
    command += ["--trust", str(tmp_path / "trust.json")]
    if change != "drop_everything":
        command += ["--anchors", str(tmp_path / "anchors.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")
    assert {line.split()[0] for line in done.stdout.split("\n") if line} >= kinds
