"""Reading what is stored: whatever is in a file, the records around it are found."""

from __future__ import annotations

from kaizen_otel._spool.segment import Header, encode_entry, encode_header
from kaizen_otel.audit import AuditRecord
from kaizen_otel.audit._stored import Report, read_segment, read_spool, read_stored, read_trail
from kaizen_otel.audit.chain import draft_of
from kaizen_otel.testing.memory_filesystem import MemoryFilesystem
from tests.unit._spool.spool_kit import RESOURCE, ROOT, payload

STREAM = "01999999-0000-7000-8000-000000000001"


def _disk(*payloads: bytes, version: int = 1) -> MemoryFilesystem:
    filesystem = MemoryFilesystem()
    for path in ("/state", ROOT, f"{ROOT}/{STREAM}"):
        filesystem.make_directory(path)
    header = Header(
        stream_id=bytes(16), segment_number=1, first_sequence=1, created_ns=1, resource=RESOURCE
    )
    data = bytearray(encode_header(header))
    data[8] = version
    for number, one in enumerate(payloads, 1):
        data += encode_entry(one, sequence=number, begins_commit=True)
    handle = filesystem.create(f"{ROOT}/{STREAM}/00000001.segment")
    filesystem.write(handle, bytes(data))
    filesystem.sync(handle)
    return filesystem


def _record(record_id: str) -> bytes:
    return bytes(draft_of(AuditRecord(record_id=record_id, time_ns=1, event_name="e")))


def _ids(filesystem: MemoryFilesystem, report: Report) -> list[str]:
    return [record.record_id for record in read_spool(filesystem, ROOT, report=report)]


def test_what_is_no_record_is_reported_and_the_others_are_read() -> None:
    report = Report()
    filesystem = _disk(_record("a"), b"\xff\xff\xff", payload("no audit record"), _record("b"))
    assert _ids(filesystem, report) == ["a", "b"]
    problems = [what for _, what in report.problems]
    assert "entry 2 is no log record" in problems[0]
    assert "entry 3 is no audit record" in problems[1]


def test_a_newer_format_is_reported_and_left_alone() -> None:
    report = Report()
    assert _ids(_disk(_record("a"), version=9), report) == []
    assert "upgrade kaizen-otel" in report.problems[0][1]


def test_a_file_without_a_header_gives_its_records_without_a_resource() -> None:
    filesystem = _disk(_record("a"), _record("b"))
    filesystem.flip_bit(f"{ROOT}/{STREAM}/00000001.segment", 20)
    report = Report()
    found = list(read_spool(filesystem, ROOT, report=report))
    assert [(record.record_id, dict(record.resource)) for record in found] == [("a", {}), ("b", {})]
    assert "damaged" in report.problems[0][1]


def test_what_goes_away_while_it_is_read_was_delivered() -> None:
    filesystem = _disk()
    report = Report()
    assert read_segment(filesystem, f"{ROOT}/{STREAM}/none.segment", report=report) is None
    assert list(read_spool(filesystem, "/none")) == []
    assert list(read_stored(filesystem, "/none", "/none")) == []
    assert report.count == 0


def test_only_so_many_problems_are_kept() -> None:
    report = Report(problems_max=2)
    for number in range(5):
        report.add("p", str(number))
    assert (len(report.problems), report.count) == (2, 5)


def test_a_trail_is_read_file_by_file() -> None:
    filesystem = MemoryFilesystem()
    filesystem.make_directory("/trail")
    for name in ("audit.jsonl", "audit-1.jsonl"):
        filesystem.write(filesystem.create(f"/trail/{name}"), b"garbage\n{}\n")
    report = Report()
    assert list(read_trail(filesystem, "/trail", report=report)) == []
    assert [path for path, _ in report.problems] == ["/trail/audit-1.jsonl"] * 2 + [
        "/trail/audit.jsonl"
    ] * 2
