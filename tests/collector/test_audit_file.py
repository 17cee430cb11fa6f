"""The audit file when its disk, its name or its config is not as it should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from kaizen_otel._collector.resources import config_path
from kaizen_otel._edges import OsFilesystem
from kaizen_otel.audit._stored import Report, read_trail
from tests.campaigns.blocked import small_disk
from tests.campaigns.kit import Unavailable
from tests.collector.otlp_json import Sender, bodies_in, logs
from tests.collector.processes import collector
from tests.collector.test_files import bodies_of_whole_lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kaizen_otel._collector.run import CollectorProcess

OK = 200
UNAVAILABLE = 503
TEXT = "x" * 1_500
#: The folder's disk holds fewer.
RECORDS_MAX = 3_000


@pytest.fixture
def disk() -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    try:
        with small_disk("2m") as folder:
            yield folder
    except Unavailable as reason:
        pytest.skip(str(reason))


def audit(
    binary: Path, folder: Path, *overlays: str, config: str | Path = "audit", **environment: str
) -> CollectorProcess:
    paths: list[str | Path] = [config]
    for number, text in enumerate(overlays):
        paths.append(folder / f"overlay{number}.yaml")
        (folder / f"overlay{number}.yaml").write_text(text, encoding="utf-8")
    return collector(binary, folder, paths, **environment)


def offered_until_the_disk_was_full(process: CollectorProcess, disk: Path) -> tuple[set[str], bool]:
    """What was acknowledged before, while and after; and whether it goes on when there is room."""
    acknowledged: set[str] = set()
    statuses: set[int] = set()
    sender = Sender(process.audit_port)
    reserve = disk / "reserve"
    reserve.write_bytes(b"x" * 500_000)
    for number in range(RECORDS_MAX):
        text = f"{number} {TEXT}"
        status = sender.status("logs", logs(text))
        statuses.add(status)
        if status == OK:
            acknowledged.add(text)
        elif len(statuses) > 1 and number % 10 == 0:
            break
    assert statuses <= {OK, UNAVAILABLE}
    reserve.unlink()
    goes_on = sender.record("after")
    return acknowledged | ({"after"} if goes_on else set()), goes_on


def test_a_full_disk_refuses_audit_records_and_loses_none_and_it_goes_on_when_there_is_room(
    gateway_binary: Path, tmp_path: Path, disk: Path
) -> None:
    with audit(gateway_binary, tmp_path, KAIZEN_OTEL_AUDIT_DIR=str(disk / "audit")) as process:
        acknowledged, goes_on = offered_until_the_disk_was_full(process, disk)
        assert goes_on, "without a restart"
        assert 0 < len(acknowledged) < RECORDS_MAX
        assert acknowledged <= set(bodies_of_whole_lines(disk / "audit" / "audit.jsonl"))


def test_without_rotation_a_disk_that_was_full_once_ends_it(
    gateway_binary: Path, tmp_path: Path, disk: Path
) -> None:
    """The saboteur (rule R04): after one error the buffered file takes nothing any more."""
    config = yaml.safe_load(config_path("audit").read_text(encoding="utf-8"))
    del config["exporters"]["file/audit"]["rotation"]
    changed = tmp_path / "changed.yaml"
    changed.write_text(yaml.safe_dump(config), encoding="utf-8")
    process = audit(
        gateway_binary, tmp_path, config=changed, KAIZEN_OTEL_AUDIT_DIR=str(disk / "audit")
    )
    with process:
        _, goes_on = offered_until_the_disk_was_full(process, disk)
        assert not goes_on


def test_a_request_larger_than_a_file_is_refused_and_others_are_not(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """As shipped a message is 8 MiB at most and a file 512; here a file is 1."""
    small = "exporters: {file/audit: {rotation: {max_megabytes: 1}}}\n"
    with audit(gateway_binary, tmp_path, small) as process:
        sender = Sender(process.audit_port)
        assert sender.record("before")
        assert not sender.record("x" * 2_000_000)
        assert sender.record("after")
    texts = [body for path in trail(tmp_path) for body in bodies_in(path)]
    assert sorted(texts) == ["after", "before"]


def trail(folder: Path) -> list[Path]:
    return sorted((folder / "audit").glob("*.jsonl"))


def test_a_torn_end_costs_the_next_record_its_line_and_readers_find_it(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """What a kill leaves in the middle of a write was not acknowledged."""
    path = tmp_path / "audit" / "audit.jsonl"
    path.parent.mkdir()
    path.write_text('{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"bod', encoding="utf-8")
    with audit(gateway_binary, tmp_path) as process:
        assert Sender(process.audit_port).record("next")
    assert path.read_text(encoding="utf-8").count("\n") == 1
    assert bodies_of_whole_lines(path) == ["next"]
    report = Report()
    assert list(read_trail(OsFilesystem(), str(path.parent), report=report)) == []
    problems = [problem for _, problem in report.problems]
    assert any("torn" in problem for problem in problems)
    assert "a log record that is no audit record" in problems, "it was read"


def test_with_a_second_exporter_a_refused_record_is_in_the_file_already_and_comes_twice(
    gateway_binary: Path, tmp_path: Path
) -> None:
    """Why rule R06 refuses it: one failure is the whole request's."""
    copy = (
        "exporters:\n"
        "  otlp_http/copy:\n"
        '    endpoint: "http://127.0.0.1:1"\n'
        "    sending_queue: {enabled: false}\n"
        "    retry_on_failure: {enabled: false}\n"
        "service: {pipelines: {logs/audit: {exporters: [file/audit, otlp_http/copy]}}}\n"
    )
    with audit(gateway_binary, tmp_path, copy) as process:
        sender = Sender(process.audit_port)
        assert not sender.record("once")
        assert not sender.record("once")
    assert bodies_in(tmp_path / "audit" / "audit.jsonl") == ["once", "once"]


@pytest.mark.parametrize("is_moved", [True, False], ids=["moved", "removed"])
def test_a_file_that_is_taken_from_a_running_collector_is_written_on(
    gateway_binary: Path, tmp_path: Path, is_moved: bool
) -> None:
    """Not promised: it answers that all is well until its next start; `audit reconcile` tells."""
    path, elsewhere = tmp_path / "audit" / "audit.jsonl", tmp_path / "elsewhere.jsonl"
    with audit(gateway_binary, tmp_path) as process:
        sender = Sender(process.audit_port)
        assert sender.record("before")
        if is_moved:
            path.rename(elsewhere)
        else:
            path.unlink()
        assert sender.record("meanwhile")
        assert not path.exists()
        process.stop()
        process.start()
        assert Sender(process.audit_port).record("after")
    assert bodies_in(path) == ["after"]
    assert not is_moved or bodies_in(elsewhere) == ["before", "meanwhile"]
