"""Exports: safe for what reads them, whole or not there, and evidence that shows each change."""

from __future__ import annotations

import csv
import errno
import gzip
import io
import json
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kaizen_otel._cli.audit import audit
from kaizen_otel._edges import OsFilesystem
from kaizen_otel._signing import Ed25519Signer
from kaizen_otel._trail.evidence import (
    MANIFEST,
    SIGNATURE,
    check_bundle,
    read_bundle_member,
    write_bundle,
)
from kaizen_otel._trail.formats import COLUMNS, encode_records, iso_time, safe_cell
from kaizen_otel._trail.output import whole_file
from kaizen_otel._trail.range import read_range
from kaizen_otel.audit._stored import Report
from kaizen_otel.audit.query import Filter, StoredRecord, stored_record
from kaizen_otel.testing.memory_filesystem import Fault, MemoryFilesystem, fail_operation
from tests.trail.query_kit import ACTIVE, FOLDER, START_NS, Disk, line, record, signed_stream, write

SIGNER = Ed25519Signer.generate()


def stored(**more: str) -> StoredRecord:
    found = stored_record(record(7, START_NS, **more), {"attributes": []})
    assert found is not None
    return found


# ------------------------------------------------------------------------------------- formats


def test_flat_lines_hold_every_attribute_by_its_name() -> None:
    [text] = encode_records([stored()], "jsonl")
    found = json.loads(text)
    assert found["time"] == "2026-11-18T11:06:40.000000000Z"
    assert (found["attributes.audit.sequence.number"], found["agent"]) == (7, "qa")
    assert not any(isinstance(value, dict) for value in found.values())


@pytest.mark.parametrize("beginning", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_spreadsheet_takes_no_cell_for_a_formula(beginning: str) -> None:
    agent = f"{beginning}cmd|'/c calc'!A0"
    rows = list(csv.DictReader(io.StringIO("".join(encode_records([stored(agent=agent)], "csv")))))
    assert rows[0]["agent"] == f"'{agent}"
    assert all(
        not value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) for value in rows[0].values()
    )


def test_csv_has_one_row_for_each_record_and_one_heading() -> None:
    rows = list(csv.reader(io.StringIO("".join(encode_records([stored(), stored()], "csv")))))
    assert rows[0] == list(COLUMNS)
    assert len(rows) == 3
    assert json.loads(rows[1][-1])["audit.action"] == "EXECUTE"
    assert safe_cell("plain") == "plain"


def test_ecs_keeps_our_agent_out_of_agent_which_means_the_shipper() -> None:
    [text] = encode_records(
        [stored(**{"kaizen.decision": "deny", "audit.outcome": "failure"})], "ecs"
    )
    found = json.loads(text)
    assert "agent" not in found
    assert found["event"]["outcome"] == "failure"
    assert found["event"]["type"] == ["denied"]
    assert found["event"]["sequence"] == 7


def test_ocsf_has_its_class_and_keeps_the_nanoseconds() -> None:
    [text] = encode_records([stored()], "ocsf")
    found = json.loads(text)
    assert found["type_uid"] == found["class_uid"] * 100 + found["activity_id"]
    assert found["time"] == START_NS // 10**6
    assert found["unmapped"]["time_unix_nano"] == str(START_NS)


@pytest.mark.parametrize("form", ["jsonl", "csv", "ecs", "ocsf"])
def test_any_text_can_be_exported(form: str) -> None:
    odd = stored(**{"kaizen.odd": "\ud800 \x00 \u2028", "audit.action": "\x1b[2J"})
    "".join(encode_records([odd], form)).encode()  # type: ignore[arg-type]


def test_a_time_that_no_clock_has_is_no_crash() -> None:
    assert iso_time(2**64 * 10**9).startswith("1970")


# ------------------------------------------------------------------------------- whole or not there


def test_a_file_is_replaced_when_it_is_complete_and_durable() -> None:
    disk = MemoryFilesystem()
    write(disk, "/out", b"old")
    with whole_file(disk, "/out") as output:
        output.write(b"new" * 200_000)
        assert disk.read("/out", 0, 10) == b"old"
    assert disk.size("/out") == 600_000
    operations = [call.operation for call in disk.calls]
    assert (
        operations.index("sync") < operations.index("rename") < operations.index("sync_directory")
    )


@pytest.mark.parametrize("operation", ["write", "sync", "rename"])
def test_a_file_that_cannot_be_completed_leaves_the_old_one(operation: str) -> None:
    disk = MemoryFilesystem()
    write(disk, "/out", b"old")
    disk.fault = fail_operation(operation, Fault(error=errno.ENOSPC))
    with pytest.raises(OSError, match="No space"), whole_file(disk, "/out") as output:
        output.write(b"new")
    assert disk.read("/out", 0, 10) == b"old"


def test_an_interrupted_export_leaves_nothing() -> None:
    disk = MemoryFilesystem()

    def export() -> None:
        with whole_file(disk, "/out") as output:
            output.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export()
    assert disk.names("/") == []


# ------------------------------------------------------------------------------------- evidence


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    records = signed_stream(SIGNER, count=20)
    disk = Disk([(ACTIVE, b"".join(line(*records[n : n + 4]) for n in range(0, 22, 4)))])
    found = read_range(disk, FOLDER, Filter(tool="tool1"), report=Report())
    path = tmp_path / "evidence.tar.gz"
    done = write_bundle(
        str(path),
        found,
        signer=SIGNER,
        filesystem=OsFilesystem(),
        clock=disk.clock,
        question={"tool": "tool1"},
        verdict=b'{"is_clean":true}\n',
        keys=b"{}\n",
        anchors={"1-anchors.jsonl": b"{}\n"},
    )
    assert (done.records, done.lines, done.key_id) == (7, 5, SIGNER.key_id)
    return path


def check(data: bytes) -> list[str]:
    return check_bundle(io.BytesIO(data)).problems


def test_a_bundle_holds_the_trails_own_lines_and_only_those(bundle: Path) -> None:
    data = bundle.read_bytes()
    lines = read_bundle_member(data, "trail.jsonl").splitlines()
    assert len(lines) == 5
    assert all(b'"tool1"' in one and json.loads(one)["resourceLogs"] for one in lines)
    assert len(read_bundle_member(data, "records.jsonl").splitlines()) == 7
    manifest = json.loads(read_bundle_member(data, MANIFEST))
    assert manifest["question"] == {"tool": "tool1"}
    assert {one["name"] for one in manifest["members"]} == {
        "trail.jsonl", "records.jsonl", "verdict.json", "keys.json", "anchors/1-anchors.jsonl",
    }  # fmt: skip


def test_a_bundle_is_for_its_owner_only_and_checks_clean(bundle: Path) -> None:
    assert bundle.stat().st_mode & 0o777 == 0o600
    checked = check_bundle(io.BytesIO(bundle.read_bytes()))
    assert checked.is_clean
    assert (checked.key_id, checked.members) == (SIGNER.key_id, 7)
    assert list(bundle.parent.iterdir()) == [bundle], "nothing is left beside it"


def rewritten(data: bytes, change: dict[str, bytes | None]) -> bytes:
    """The bundle with members replaced, removed (None) or added."""
    result = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as old,
        tarfile.open(fileobj=result, mode="w:gz") as new,
    ):
        names = old.getnames()
        for name in [*names, *(set(change) - set(names))]:
            file = old.extractfile(name) if name in names else None
            content = change.get(name, file.read() if file else b"")
            if content is not None:
                info = tarfile.TarInfo(name)
                info.size = len(content)
                new.addfile(info, io.BytesIO(content))
    return result.getvalue()


def test_every_change_of_a_bundle_is_found(bundle: Path) -> None:
    data = bundle.read_bytes()
    assert check(rewritten(data, {})) == []
    for name in ("trail.jsonl", "records.jsonl", "verdict.json", "keys.json"):
        assert check(rewritten(data, {name: b"other\n"})) == [f"{name!r} is missing or was changed"]
        assert check(rewritten(data, {name: None})) == [f"{name!r} is missing or was changed"]
    assert check(rewritten(data, {"more": b"x"})) == ["'more' is not in the manifest"]
    manifest = read_bundle_member(data, MANIFEST)
    forged = manifest.replace(b'"tool1"', b'"tool2"')
    assert check(rewritten(data, {MANIFEST: forged})) == [
        "the signature of the manifest does not hold"
    ]
    assert "does not hold" in check(rewritten(data, {SIGNATURE: b"AAAA"}))[0]
    assert "missing or of another kind" in check(rewritten(data, {MANIFEST: None}))[0]


def test_another_key_cannot_take_the_signers_place_unseen(bundle: Path) -> None:
    data = bundle.read_bytes()
    other = Ed25519Signer.generate()
    manifest = read_bundle_member(data, MANIFEST)
    forged = manifest.replace(SIGNER.key_id.encode(), other.key_id.encode())
    assert "the key id is not that of the public key" in check(rewritten(data, {MANIFEST: forged}))


@pytest.mark.parametrize("data", [b"", b"no archive", gzip.compress(b"no tar"), gzip.compress(b"")])
def test_what_is_no_bundle_is_said_so(data: bytes) -> None:
    assert check(data)


def test_half_a_bundle_is_no_bundle(bundle: Path) -> None:
    data = bundle.read_bytes()
    assert check(data[: len(data) // 2])


# ------------------------------------------------------------------------------------- the command


class House:
    """A trail folder and a key on disk, and the command."""

    def __init__(self, root: Path) -> None:
        self.trail, self.spool, self.root = root / "trail", root / "spool", root
        self.trail.mkdir()
        self.spool.mkdir()
        self.key = root / "export.key"
        self.key.touch(mode=0o600)
        self.key.write_bytes(SIGNER.to_pem())
        records = signed_stream(SIGNER, count=20)
        (self.trail / ACTIVE).write_bytes(b"".join(line(one) for one in records))

    def run(self, *arguments: str, **environment: str) -> Result:
        env = {
            "KAIZEN_OTEL_SPOOL_DIR": str(self.spool),
            "KAIZEN_OTEL_AUDIT_DIR": str(self.trail),
            "XDG_CACHE_HOME": str(self.root / "cache"),
            "KAIZEN_OTEL_AUDIT_ENDPOINT": "http://127.0.0.1:9",
            **environment,
        }
        return CliRunner().invoke(audit, arguments, env=env, standalone_mode=False)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_export_writes_to_the_terminal_or_to_a_file(house: House) -> None:
    result = house.run("export", "--tool", "tool1")
    assert (result.return_value, len(result.stdout.splitlines())) == (0, 7)
    out = house.root / "out.csv"
    result = house.run("export", "--format", "csv", "--out", str(out), "--json")
    assert json.loads(result.stdout) == {"path": str(out), "records": 22}
    assert len(out.read_bytes().splitlines()) == 23
    assert out.stat().st_mode & 0o777 == 0o600


def test_export_of_what_cannot_be_read_is_incomplete(house: House) -> None:
    with (house.trail / ACTIVE).open("ab") as file:
        file.write(b"garbage\n")
    result = house.run("export")
    assert (result.return_value, len(result.stdout.splitlines())) == (2, 22)
    assert house.run("export", "--trail", "/nowhere").return_value == 3


def test_a_bundle_is_made_and_checked_by_the_command(house: House) -> None:
    path = house.root / "evidence.tar.gz"
    result = house.run("export", "--bundle", str(path), "--key", str(house.key), "--json")
    assert result.return_value == 0, result.output
    assert json.loads(result.stdout)["verdict"] == 0
    verdict = json.loads(read_bundle_member(path.read_bytes(), "verdict.json"))
    assert (verdict["exit_code"], verdict["records"]) == (0, 22)
    keys = json.loads(read_bundle_member(path.read_bytes(), "keys.json"))
    assert [key["key_id"] for key in keys["keys"]] == [SIGNER.key_id]
    result = house.run("export", "--check", str(path))
    assert (result.return_value, SIGNER.key_id in result.stdout) == (0, True)
    path.write_bytes(rewritten(path.read_bytes(), {"trail.jsonl": b"x"}))
    result = house.run("export", "--check", str(path), "--json")
    assert result.return_value == 1
    assert json.loads(result.stdout)["problems"] == ["'trail.jsonl' is missing or was changed"]
    assert house.run("export", "--check", "/nowhere").return_value == 3


def test_a_bundle_of_an_altered_trail_says_so(house: House) -> None:
    path = house.trail / ACTIVE
    path.write_bytes(path.read_bytes().replace(b'"tool1"', b'"tool2"', 1))
    bundle = house.root / "evidence.tar.gz"
    house.run("export", "--bundle", str(bundle), "--key", str(house.key))
    verdict = json.loads(read_bundle_member(bundle.read_bytes(), "verdict.json"))
    assert verdict["exit_code"] == 1


def test_a_bundle_without_a_key_names_what_to_set(house: House) -> None:
    result = house.run("export", "--bundle", str(house.root / "e.tar.gz"))
    assert "KAIZEN_OTEL_SIGNING_KEY" in str(result.exception)
    assert not (house.root / "e.tar.gz").exists()


def test_who_reads_the_trail_is_recorded_first_if_that_is_asked(house: House) -> None:
    house.run("export", KAIZEN_OTEL_AUDIT_ACCESS_RECORDS="true")
    result = house.run("query", "--json", "--action", "kaizen.audit.accessed")
    [found] = [json.loads(text) for text in result.stdout.splitlines()]
    attributes = found["attributes"]
    assert attributes["audit.action"] == "EXPORT"
    assert attributes["audit.actor.id"].startswith("hmac-sha256:")
    assert attributes["audit.target.id"] == str(house.trail)


def test_if_the_access_cannot_be_recorded_nothing_is_shown(house: House) -> None:
    blocked = house.root / "file"
    blocked.touch()
    result = house.run("export", "--record-access", KAIZEN_OTEL_SPOOL_DIR=str(blocked))
    assert result.stdout == ""
    assert result.return_value == 3 or result.exception is not None
