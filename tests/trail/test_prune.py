"""Pruning: only what is proved to be whole goes, and verifiers know afterwards what went."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaizen_otel._cli.audit import audit
from kaizen_otel._edges import OsFilesystem, SystemClock
from kaizen_otel._signing import Ed25519Signer
from kaizen_otel._trail.heads import heads_of
from kaizen_otel._trail.judged import judge_trail
from kaizen_otel._trail.prune import prune
from kaizen_otel._trail.prune_plan import PRUNED_PREFIX, End, OldFile, Plan, plan_prune
from kaizen_otel.audit._finding import Verdict
from kaizen_otel.audit.signatures import encode_base64
from kaizen_otel.errors import ConfigError
from kaizen_otel.testing import FixedClock
from kaizen_otel.testing.memory_filesystem import Fault, MemoryFilesystem, fail_operation
from tests.trail.query_kit import ACTIVE, SECOND_NS, line, signed_stream, write

AGENT, PRUNER = Ed25519Signer.generate(), Ed25519Signer.generate()
DAY_NS = 24 * 3600 * SECOND_NS
OLD = "0f0c3f0e-6c1b-4f0e-9d2e-8a7f7b7a1c01"
LONG = "1f0c3f0e-6c1b-4f0e-9d2e-8a7f7b7a1c02"
NEW = "2f0c3f0e-6c1b-4f0e-9d2e-8a7f7b7a1c03"


class House:
    """A trail of three files: a stream that ended long ago, one that runs through, a new one."""

    def __init__(self, root: Path) -> None:
        self.root, self.trail = root, root / "trail"
        self.trail.mkdir()
        self.now_ns = SystemClock().time_ns()
        old = signed_stream(AGENT, count=30, stream_id=OLD, start_ns=self.now_ns - 400 * DAY_NS)
        long = signed_stream(
            AGENT,
            count=38,
            stream_id=LONG,
            start_ns=self.now_ns - 399 * DAY_NS,
            step_ns=10 * DAY_NS,
            is_closed=False,
        )
        new = signed_stream(AGENT, count=14, stream_id=NEW, start_ns=self.now_ns - DAY_NS)
        self.files = {
            "audit-2025-10-01T00-00-00.000.jsonl": [*old, *long[:3]],
            "audit-2025-11-01T00-00-00.000.jsonl": long[3:11],
            ACTIVE: [*long[11:], *new],
        }
        for name, records in self.files.items():
            (self.trail / name).write_bytes(b"".join(line(one) for one in records))
        self.anchors = root / "anchors.jsonl"
        signed = [one for one in [*old, *long, *new] if "audit.integrity.value" in json.dumps(one)]
        self.anchors.write_bytes(b"".join(line(one) for one in signed))
        self.key = root / "prune.key"
        self.key.touch(mode=0o600)
        self.key.write_bytes(PRUNER.to_pem())
        self.trust = root / "trust.json"
        for name, signer in (("agent", AGENT), ("pruner", PRUNER)):
            self.run("trust", "add", encode_base64(signer.public_key), "--name", name)

    def run(self, *arguments: str, **environment: str) -> Result:
        env = {
            "KAIZEN_OTEL_SPOOL_DIR": str(self.root / "spool"),
            "KAIZEN_OTEL_AUDIT_DIR": str(self.trail),
            "KAIZEN_OTEL_TRUST_FILE": str(self.trust),
            **environment,
        }
        return CliRunner().invoke(audit, arguments, env=env, standalone_mode=False)

    def prune(self, *arguments: str, keep: str = "13mo") -> tuple[object, dict[str, object]]:
        result = self.run(
            "prune", "--keep", keep, "--key", str(self.key), "--anchors", str(self.anchors),
            "--json", *arguments,
        )  # fmt: skip
        assert result.exception is None, result.exception
        return result.return_value, json.loads(result.stdout)

    def verdict(self) -> Verdict:
        return judge_trail(
            OsFilesystem(),
            str(self.trail),
            trust_path=str(self.trust),
            anchor_paths=(str(self.anchors),),
            warn=lambda _: None,
        )

    def names(self) -> list[str]:
        return sorted(path.name for path in self.trail.iterdir())


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def serious(verdict: Verdict) -> list[str]:
    return [f"{one.kind} {one.text}" for one in verdict.findings if one.severity != "note"]


FIRST, SECOND = "audit-2025-10-01T00-00-00.000.jsonl", "audit-2025-11-01T00-00-00.000.jsonl"


def test_without_yes_only_the_plan_is_told(house: House) -> None:
    before = house.names()
    code, found = house.prune(keep="360d")
    assert code == 0
    assert found["done"] is False
    files = found["files"]
    assert isinstance(files, list)
    assert [os.path.basename(path) for path in files] == [FIRST]  # noqa: PTH119
    assert found["too_young"] == 1
    assert house.names() == before


def test_afterwards_the_trail_verifies_and_says_what_went(house: House) -> None:
    assert serious(house.verdict()) == []
    code, found = house.prune("--yes", keep="360d")
    assert (code, found["done"]) == (0, True)
    assert FIRST not in house.names()
    assert SECOND in house.names()
    verdict = house.verdict()
    assert serious(verdict) == []
    assert found["streams"] == {OLD: 32, LONG: 3}
    assert {one.stream_id: one.pruned_to for one in verdict.streams}[LONG] == 3
    assert ("pruned", "note") in verdict.counts


def test_a_second_pruning_goes_on_where_the_first_one_ended(house: House) -> None:
    house.prune("--yes", keep="360d")
    _, found = house.prune("--yes", keep="200d")
    assert found["streams"] == {LONG: 11}
    assert [name.startswith(PRUNED_PREFIX) for name in house.names()].count(True) == 2
    assert ACTIVE in house.names()
    assert serious(house.verdict()) == []
    _, found = house.prune("--yes", keep="1d")
    assert (found["files"], found["done"]) == ([], False), "records of prunings stay"


def test_a_stream_that_was_pruned_and_then_cut_is_still_found(house: House) -> None:
    house.prune("--yes", keep="360d")
    path = house.trail / SECOND
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[1:]))
    assert serious(house.verdict())


def test_the_record_of_a_pruning_that_is_taken_away_leaves_a_gap(house: House) -> None:
    house.prune("--yes", keep="360d")
    [name] = [name for name in house.names() if name.startswith(PRUNED_PREFIX)]
    (house.trail / name).unlink()
    assert serious(house.verdict())


def test_heads_after_a_pruning_go_on_from_there(house: House) -> None:
    house.prune("--yes", keep="360d")
    found = {
        head.stream_id: head.number
        for head in heads_of(OsFilesystem(), str(house.trail), house.verdict())
    }
    assert found[LONG] == 39


# ------------------------------------------------------------------------------- what may not go


def change(house: House, name: str, old: bytes, new: bytes) -> None:
    path = house.trail / name
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def test_an_altered_record_keeps_its_file_and_all_after_it(house: House) -> None:
    change(house, FIRST, b'"success"', b'"failure"')
    code, found = house.prune("--yes", keep="30d")
    assert (code, found["done"], found["files"]) == (2, False, [])
    assert str(found["refused"]).endswith(FIRST)
    assert house.names() == sorted(house.files)


def test_a_missing_record_keeps_its_file(house: House) -> None:
    path = house.trail / FIRST
    kept = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(kept[:4] + kept[5:]))
    code, found = house.prune("--yes", keep="30d")
    assert (code, found["done"]) == (2, False)
    assert "gap" in json.dumps(found["reasons"])


def test_what_no_anchor_confirms_stays(house: House) -> None:
    kept = [one for one in house.anchors.read_bytes().splitlines() if OLD.encode() not in one]
    house.anchors.write_bytes(b"\n".join(kept) + b"\n")
    code, found = house.prune("--yes", keep="30d")
    assert (code, found["done"]) == (2, False)
    assert f"stream {OLD} is anchored up to 0 of 32" in json.dumps(found["reasons"])


def test_the_first_file_that_may_not_go_ends_it(house: House) -> None:
    change(house, SECOND, b'"success"', b'"failure"')
    code, found = house.prune("--yes", keep="30d")
    assert (code, found["done"]) == (2, True)
    assert FIRST not in house.names()
    assert SECOND in house.names()
    assert [text for text in serious(house.verdict()) if text.startswith("gap")] == []


@pytest.mark.parametrize("junk", [b"garbage\n", b'{"resourceLogs":[]}{"re', b"\xff\xfe\n"])
def test_a_file_with_anything_else_in_it_stays(house: House, junk: bytes) -> None:
    with (house.trail / FIRST).open("ab") as file:
        file.write(junk)
    code, found = house.prune("--yes", keep="30d")
    assert (code, found["done"]) == (2, False)


def test_a_record_that_came_late_keeps_its_file(house: House) -> None:
    """The file is old, one record in it is not."""
    with (house.trail / FIRST).open("ab") as file:
        file.write(line(house.files[ACTIVE][-1]))
    code, found = house.prune("--yes", keep="30d")
    assert (code, found["files"], found["too_young"]) == (0, [], 2)


def test_without_trust_or_with_a_key_nobody_trusts_nothing_goes(house: House) -> None:
    arguments = ["prune", "--keep", "30d", "--anchors", str(house.anchors), "--yes"]
    result = house.run(*arguments, "--key", str(house.key), KAIZEN_OTEL_TRUST_FILE="")
    assert "KAIZEN_OTEL_TRUST_FILE" in str(result.exception)
    other = house.root / "other.key"
    other.touch(mode=0o600)
    other.write_bytes(Ed25519Signer.generate().to_pem())
    result = house.run(*arguments, "--key", str(other))
    assert "audit trust add" in str(result.exception)
    assert house.names() == sorted(house.files)


@pytest.mark.parametrize("keep", ["", "13", "0d", "-1d", "13 mo", "1h"])
def test_a_wrong_span_says_how_to_write_one(house: House, keep: str) -> None:
    result = house.run("prune", "--keep", keep, "--anchors", "x")
    assert "use for example 13mo" in str(result.exception)


# ---------------------------------------------------------------------------- when the disk fails


class Ids:
    """Counts."""

    number = 0

    def uuid7(self) -> str:
        self.number += 1
        return f"01930000-0000-7000-8000-{self.number:012d}"

    def trace_id(self) -> bytes:
        return b"t" * 16

    def span_id(self) -> bytes:
        return b"s" * 8

    def fraction(self) -> float:
        return 0.5


def small(disk: MemoryFilesystem) -> Plan:
    disk.make_directory("/trail")
    write(disk, f"/trail/{FIRST}", b"old")
    end = {OLD: End(7, b"h" * 32)}
    file = OldFile(path=f"/trail/{FIRST}", size=3, records=1, newest_ns=1, ends=end)
    return Plan(files=[file], ends=end)


def carry_out(disk: MemoryFilesystem, plan: Plan, signer: Ed25519Signer = PRUNER) -> str:
    return prune(plan, "/trail", signer=signer, filesystem=disk, clock=FixedClock(), ids=Ids())


def test_the_record_is_durable_before_a_file_goes() -> None:
    disk = MemoryFilesystem()
    path = carry_out(disk, small(disk))
    operations = [call.operation for call in disk.calls]
    removed = operations.index("remove")
    assert "sync" in operations[:removed]
    assert "sync_directory" in operations[operations.index("rename") : removed]
    assert b'"kaizen.audit.pruned.number","value":{"intValue":"7"}' in disk.read(path, 0, 10_000)


@pytest.mark.parametrize("operation", ["create", "write", "sync", "rename"])
def test_if_the_record_cannot_be_stored_no_file_goes(operation: str) -> None:
    disk = MemoryFilesystem()
    plan = small(disk)
    disk.fault = fail_operation(operation, Fault(error=errno.EIO))
    with pytest.raises(OSError, match="error"):
        carry_out(disk, plan)
    assert FIRST in disk.names("/trail")


def test_a_key_that_does_not_sign_removes_nothing() -> None:
    class Broken(Ed25519Signer):
        def sign(self, data: bytes) -> bytes:
            raise RuntimeError("the key store is down")

    disk = MemoryFilesystem()
    plan = small(disk)
    with pytest.raises(ConfigError, match="NOTHING was removed"):
        carry_out(disk, plan, Broken.from_pem(PRUNER.to_pem()))
    assert disk.names("/trail") == [FIRST]


def test_stopped_after_the_record_the_trail_verifies_and_the_next_run_does_the_rest(
    house: House,
) -> None:
    before = {name: (house.trail / name).read_bytes() for name in house.files}
    house.prune("--yes", keep="360d")
    (house.trail / FIRST).write_bytes(before[FIRST])
    assert serious(house.verdict()) == []
    house.prune("--yes", keep="360d")
    assert FIRST not in house.names()
    assert serious(house.verdict()) == []


def test_two_prunings_in_one_moment_have_files_of_their_own() -> None:
    disk = MemoryFilesystem()
    plan = small(disk)
    first = carry_out(disk, plan)
    write(disk, f"/trail/{FIRST}", b"old")
    assert carry_out(disk, plan) != first


def test_the_plan_is_made_from_the_records_and_not_from_the_names(house: House) -> None:
    """A file's name says when it was rotated, by the Collector's clock."""
    os.rename(house.trail / FIRST, house.trail / "audit-2099-01-01T00-00-00.000.jsonl")  # noqa: PTH104
    moment = datetime.now(UTC).timestamp()
    plan = plan_prune(
        OsFilesystem(),
        str(house.trail),
        before_ns=int(moment) * SECOND_NS - 200 * DAY_NS,
        verdict=house.verdict(),
    )
    assert len(plan.files) == 2
