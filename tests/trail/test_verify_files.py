"""Verify files as they are found on disks: whole, torn, glued, foreign, huge, empty, unreadable."""

from __future__ import annotations

import json
import os
import random
import socket
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaizen_otel._cli import cli
from kaizen_otel._edges import OsFilesystem, shared_ids
from kaizen_otel._trail import verify_file, verify_signatures
from kaizen_otel._trail.verify import Settings, Sources, verify
from kaizen_otel._trail.verify_emit import emit
from kaizen_otel._trail.verify_fast import Cut, FastReader, NotOurShapeError
from kaizen_otel._trail.verify_signatures import PooledSignatures
from kaizen_otel.audit import verify as audit_verify
from kaizen_otel.audit._stream import Where
from kaizen_otel.audit.signatures import key_id_of
from kaizen_otel.audit.trust import parse_trust
from kaizen_otel.audit.verify import SignatureTask
from kaizen_otel.config import Config
from kaizen_otel.testing import FakeTransport, FixedClock
from tests.trail.big_trail import write_big_trail
from tests.trail.trail_kit import make_trail

if TYPE_CHECKING:
    from pathlib import Path

    from kaizen_otel.audit.verify import Verdict


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean trail of some hundred records, in lines of one and of many."""
    folder = tmp_path_factory.mktemp("big")
    write_big_trail(folder, 400, streams=2, per_line=16)
    return folder


def _verify(
    *trails: Path, trust: Path | None = None, anchors: tuple[Path, ...] = (), **more: object
) -> Verdict:
    found = None if trust is None else parse_trust(trust.read_bytes(), source=str(trust))
    return verify(
        Sources(trails=tuple(map(str, trails)), anchors=tuple(map(str, anchors))),
        settings=Settings(trust=found, **more),  # type: ignore[arg-type]
        filesystem=OsFilesystem(),
    )


def _wrong(verdict: Verdict) -> set[str]:
    return {finding.kind for finding in verdict.findings if finding.severity != "note"}


def _lines(big: Path) -> list[bytes]:
    return (big / "trail" / "audit.jsonl").read_bytes().splitlines(keepends=True)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean trail of some dozen records."""
    folder = tmp_path_factory.mktemp("small")
    write_big_trail(folder, 30, streams=2, per_line=5)
    return folder


# The two ways of reading.


def test_a_clean_trail_is_clean_both_ways_and_the_fast_way_reads_nearly_all_of_it(
    big: Path,
) -> None:
    trust = big / "trust.json"
    verdict = _verify(big / "trail", trust=trust, anchors=(big / "anchors.jsonl",))
    assert (verdict.exit_code, verdict.findings) == (0, ())
    assert verdict.anchors > 0
    assert all(stream.anchored_to == stream.last for stream in verdict.streams)
    strict = _verify(big / "trail", trust=trust, anchors=(big / "anchors.jsonl",), is_fast=False)
    assert strict == verdict
    reader = FastReader()
    found = [one for line in _lines(big) for one in reader.scan(line[:-1])]
    # The first and the last record of each stream are of the trail's own events.
    assert sum(isinstance(one, Cut) for one in found) == 2 * len(verdict.streams)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_fast_and_the_strict_way_say_the_same_of_what_was_changed(
    small: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Bytes of the file are replaced, removed, repeated, moved: also such as end a string."""
    content = bytearray((small / "trail" / "audit.jsonl").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        size = data.draw(st.sampled_from((1, 1, 1, 2, 20, 700, 3000)))
        piece = data.draw(
            st.sampled_from(
                (b"", b"x", b'"', b"\\", b"]", b"},{", b"\n", b"\xff", b'"}', b',"eventName":"')
            )
        )
        way = data.draw(st.integers(0, 2))
        if way == 0:
            content[at : at + size] = piece
        elif way == 1:
            content[at:at] = content[at - size : at]
        else:
            content[at] ^= 1 << data.draw(st.integers(0, 7))
    path = tmp_path_factory.mktemp("changed") / "audit.jsonl"
    path.write_bytes(content)
    trust = small / "trust.json"
    assert _verify(path, trust=trust) == _verify(path, trust=trust, is_fast=False)


@pytest.mark.parametrize("seed", range(6))
def test_the_fast_and_the_strict_way_say_the_same_of_realistic_trails(
    seed: int, tmp_path: Path
) -> None:
    """Escapes, several Resources, rotations, gaps, prunings; then the same shuffled."""
    trail = make_trail(seed)
    trail.write(tmp_path)
    trust, anchors = tmp_path / "trust.json", (tmp_path / "anchors.jsonl",)
    fast = _verify(tmp_path / "trail", trust=trust, anchors=anchors)
    strict = _verify(tmp_path / "trail", trust=trust, anchors=anchors, is_fast=False)
    assert fast.exit_code != 1
    assert fast == strict
    lines = trail.data().splitlines(keepends=True)
    random.Random(seed).shuffle(lines)
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_bytes(b"".join(lines))
    assert _wrong(_verify(mixed, trust=trust, anchors=anchors)) == _wrong(fast)
    again = _verify(mixed, tmp_path / "trail", trust=trust, anchors=anchors)
    assert (again.exit_code, again.records) == (fast.exit_code, fast.records)
    assert again.duplicates >= fast.records


def test_every_cut_of_a_line_is_left_to_the_strict_way_or_is_whole(big: Path) -> None:
    line = _lines(big)[3]
    reader = FastReader()
    whole = len(reader.scan(line[:-1]))
    for end in range(0, len(line) - 1, 7):
        for one in (reader, FastReader()):
            with pytest.raises(NotOurShapeError):
                one.scan(line[:end])
    assert whole == 16


@pytest.mark.parametrize("chunk", [1, 7, 1000, 65536])
def test_lines_are_the_same_however_the_file_is_read(
    big: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = _verify(big / "trail", trust=big / "trust.json", mode="none")
    monkeypatch.setattr(verify_file, "_CHUNK_BYTES", max(chunk, 50))
    assert _verify(big / "trail", trust=big / "trust.json", mode="none") == expected


def test_signatures_wait_for_a_key_that_comes_very_late(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More signatures than are kept until then: all is read again, with the key."""
    monkeypatch.setattr(audit_verify, "_WAITING_MAX", 2)
    lines = _lines(small)
    at = lines[-1].rfind(b"audit.integrity.value")
    bad = lines[-1][: at + 60] + b"AAAA" + lines[-1][at + 64 :]
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join([bad, *lines[-2::-1]]))
    assert "bad_signature" in _wrong(_verify(path))
    path.write_bytes(b"".join(lines[::-1]))
    assert _wrong(_verify(path)) == set()


# What is on disks.


def test_a_torn_line_whose_records_came_again_is_a_note(big: Path, tmp_path: Path) -> None:
    lines = _lines(big)
    for size in (1, 30, 500, 2000, len(lines[4]) - 2):
        path = tmp_path / f"{size}.jsonl"
        path.write_bytes(b"".join([*lines[:4], lines[4][:size], *lines[4:]]))
        verdict = _verify(path, trust=big / "trust.json")
        assert (verdict.exit_code, verdict.records) == (0, 400 + 16 * 2), size
        assert [f.kind for f in verdict.findings] == ["torn_line"]
        assert verdict.findings[0].offset == sum(map(len, lines[:4]))


@pytest.mark.parametrize("separator", [b"", b"\n"])
def test_a_torn_line_that_ends_within_a_character_is_torn_and_no_other_bytes(
    separator: bytes, tmp_path: Path
) -> None:
    """The campaign of attacks found an honest trail that was said to hold no text (seed 258)."""
    name = "\N{GREEK SMALL LETTER ALPHA}".encode()
    piece = b'{"resourceLogs":[{"resource":{"attributes":[{"key":"' + name[:1]
    path = tmp_path / "audit.jsonl"
    path.write_bytes(piece + separator + b'{"resourceLogs":[]}\n')
    kinds = {finding.kind for finding in _verify(path).findings}
    assert "not_text" not in kinds
    assert "torn_line" in kinds


def test_a_torn_line_whose_records_are_nowhere_else_is_incomplete(
    big: Path, tmp_path: Path
) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(_lines(big))[:-300])
    verdict = _verify(path, trust=big / "trust.json")
    assert verdict.exit_code == 2
    assert "torn_line" in _wrong(verdict)


JUNK: dict[str, bytes] = {
    "foreign_line": b'{"level":"info","message":"hello"}\n',
    "foreign_line: a number": b"5\n",
    "foreign_line: of another signal": b'{"resourceSpans":[{"scopeSpans":[]}]}\n',
    "foreign_line: a log of somebody": (
        b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}\n'
    ),
    "foreign_line: no objects": b'{"resourceLogs":[5,{"scopeLogs":[[],{"logRecords":["x"]}]}]}\n',
    "torn_line": b"Traceback (most recent call last):\n",
    "torn_line: a deep one": b"[" * 100_000 + b"\n",
    "torn_line: of a long number": b"9" * 100_000 + b"\n",
    "not_text": bytes(range(128, 255)) + b"\n",
    "not_text: in text": b'{"resourceLogs":[],"x":"\xff"}\n',
}


@pytest.mark.parametrize("name", JUNK)
def test_junk_between_records_is_named_and_hides_nothing(
    name: str, big: Path, tmp_path: Path
) -> None:
    lines = _lines(big)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join([*lines[:2], JUNK[name], *lines[2:]]))
    verdict = _verify(path, trust=big / "trust.json")
    assert (verdict.exit_code, verdict.records) == (2, 400 + 16 * 2)
    assert name.split(":", maxsplit=1)[0] in _wrong(verdict)
    assert {f.offset for f in verdict.findings} == {len(lines[0]) + len(lines[1])}
    assert _verify(path, trust=big / "trust.json", is_fast=False) == verdict


def test_a_line_of_fifty_megabytes_is_skipped_and_told(big: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    lines = _lines(big)
    with path.open("wb") as file:
        file.write(lines[0])
        for _ in range(50):
            file.write(b"x" * 1024 * 1024)
        file.write(b"\n")
        file.writelines(lines[1:])
    verdict = _verify(path, trust=big / "trust.json")
    assert (verdict.exit_code, verdict.records) == (2, 400 + 16 * 2)
    (found,) = verdict.findings
    assert (found.kind, found.offset) == ("too_long_line", len(lines[0]))
    path.write_bytes(b"x" * 50 * 1024 * 1024)
    assert _wrong(_verify(path)) == {"too_long_line", "empty_trail"}


@pytest.mark.parametrize("content", [b"", b"\n\n", b"   \n"])
def test_an_empty_file_is_never_clean(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(content)
    for where in (path, tmp_path):
        verdict = _verify(where)
        assert (verdict.exit_code, _wrong(verdict)) == (3, {"empty_trail"})


def test_a_binary_file_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl.gz"
    path.write_bytes(random.Random(5).randbytes(100_000))
    verdict = _verify(path)
    assert verdict.exit_code == 2
    assert {"not_text", "empty_trail"} <= _wrong(verdict)


def test_what_cannot_be_read_is_a_finding_beside_what_can(big: Path, tmp_path: Path) -> None:
    (tmp_path / "loop.jsonl").symlink_to("loop.jsonl")
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(tmp_path / "s"))
    missing = [tmp_path / name for name in ("nothing", "loop.jsonl", "pipe.jsonl", "s")]
    alone = _verify(*missing)
    assert (alone.exit_code, _wrong(alone)) == (3, {"unreadable", "empty_trail"})
    assert {f.path for f in alone.findings if f.kind == "unreadable"} == set(map(str, missing))
    beside = _verify(*missing, big / "trail", trust=big / "trust.json")
    assert (beside.exit_code, _wrong(beside)) == (3, {"unreadable"})
    nothing = _verify(tmp_path / "folder", big / "trail", trust=big / "trust.json")
    assert (nothing.exit_code, _wrong(nothing)) == (3, {"empty_trail"})


@pytest.mark.skipif(os.geteuid() == 0, reason="platform: root may read everything")
def test_a_file_without_permission_is_a_finding(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "unreadable" in _wrong(_verify(tmp_path))


def test_anchors_are_read_from_every_source(big: Path, tmp_path: Path) -> None:
    lines = (big / "anchors.jsonl").read_bytes().splitlines()
    trust = big / "trust.json"
    whole = _verify(big / "trail", trust=trust, anchors=(big / "anchors.jsonl",))
    record = json.loads(lines[-1])["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    values = {a["key"]: next(iter(a["value"].values())) for a in record["attributes"]}
    nested: dict[str, object] = {}
    for name, value in values.items():
        at = nested
        *parts, last = name.split(".")
        for part in parts:
            inner = at.setdefault(part, {})
            assert isinstance(inner, dict)
            at = inner
        at[last] = value
    for attributes in (values, nested):
        answer = {"hits": {"hits": [{"_id": "x", "_source": {"attributes": attributes}}]}}
        path = tmp_path / "answer.json"
        path.write_text(json.dumps(answer, indent=1))
        found = _verify(big / "trail", trust=trust, anchors=(path,))
        assert (found.exit_code, found.anchors) == (0, 1)
    assert whole.anchors == len(lines)


@pytest.mark.parametrize(
    "content", [b"", b"no json\n", b"{}\n", b"\xff\xfe", b'{"hits":{"hits":[5]}}']
)
def test_a_file_without_anchors_is_told(content: bytes, big: Path, tmp_path: Path) -> None:
    path = tmp_path / "anchors.jsonl"
    path.write_bytes(content)
    verdict = _verify(big / "trail", trust=big / "trust.json", anchors=(path,))
    assert (verdict.exit_code, _wrong(verdict)) == (2, {"bad_checkpoint"})
    gone = _verify(big / "trail", trust=big / "trust.json", anchors=(tmp_path / "nothing",))
    assert (gone.exit_code, _wrong(gone)) == (3, {"unreadable"})


def test_anchors_that_were_given_in_vain_are_not_asked_for_again(big: Path, tmp_path: Path) -> None:
    (tmp_path / "anchors").write_text("{}\n")
    arguments = ["audit", "verify", str(big / "trail")]
    done = CliRunner().invoke(cli, [*arguments, "--anchors", str(tmp_path / "anchors")])
    assert done.stdout.splitlines()[-1].startswith("No anchors were found in --anchors: ")
    done = CliRunner().invoke(cli, arguments)
    assert done.stdout.splitlines()[-1].startswith("No anchors were given: ")


def test_a_cut_end_is_found_by_the_anchor_file(big: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(_lines(big)[:-4]))
    verdict = _verify(path, trust=big / "trust.json", anchors=(big / "anchors.jsonl",))
    assert "truncation" in _wrong(verdict)
    assert verdict.exit_code == 2


# Signatures in other processes.


def test_signatures_are_checked_in_other_processes_as_in_this_one(
    big: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify_signatures, "BATCH", 8)
    text = b"".join(_lines(big))
    path = big / "one.jsonl"
    at = text.rfind(b"audit.integrity.value", 0, len(text) // 2)
    path.write_bytes(text[: at + 60] + b"AAAA" + text[at + 64 :])
    pooled = _verify(path, trust=big / "trust.json", jobs=2)
    assert pooled == _verify(path, trust=big / "trust.json", jobs=1)
    assert pooled.exit_code == 1


def test_signatures_are_checked_here_when_the_processes_are_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(verify_signatures, "BATCH", 1)
    checks = PooledSignatures(2)
    task = SignatureTask(bytes(32), bytes(64), bytes(32), "s", 1, Where("", -1, 0))
    checks.submit(task)
    assert checks._pool is not None
    checks._pool.shutdown()
    checks.submit(task)
    assert list(checks.bad()) == [task, task]
    checks.close()


# The command.


def _run(*arguments: str | Path, **environment: str) -> tuple[int, str]:
    runner = CliRunner()
    result = runner.invoke(
        cli, ["audit", "verify", *map(str, arguments)], env=environment, standalone_mode=False
    )
    assert result.exception is None or result.exit_code == 0, result.exception
    return int(result.return_value or 0), result.output


def test_the_command_says_what_it_found_and_what_it_cannot_prove(big: Path, tmp_path: Path) -> None:
    code, text = _run(big / "trail", "--jobs", "1")
    assert code == 0
    assert "Clean" in text
    assert "self-published" in text
    assert "No anchors" in text
    code, text = _run(
        big / "trail", "--trust", big / "trust.json", "--anchors", big / "anchors.jsonl"
    )
    assert (code, "self-published" in text, "No anchors" in text) == (0, False, False)
    path = tmp_path / "audit.jsonl"
    path.write_bytes(b"".join(_lines(big)).replace(b"success", b"failure", 1))
    code, text = _run(path, KAIZEN_OTEL_TRUST_FILE=str(big / "trust.json"))
    assert code == 1
    assert "TAMPERING" in text
    assert "tampering: bad_link" in text or "tampering: bad_signature" in text
    assert f"{path}:" in text


def test_the_command_prints_json_with_findings_streams_and_hints(big: Path) -> None:
    code, text = _run("--json", "--signatures", "last", KAIZEN_OTEL_AUDIT_DIR=str(big / "trail"))
    found = json.loads(text)
    assert (code, found["verdict"], found["exit_code"]) == (0, "clean", 0)
    assert found["records"] == 432
    assert len(found["streams"]) == 2
    assert {"kind", "severity", "hint", "path", "offset"} <= found["findings"][0].keys()


def test_the_verdict_goes_out_as_metrics(big: Path) -> None:
    verdict = _verify(big / "trail")
    transport = FakeTransport()
    config = Config.from_environment({})
    clock = FixedClock(time_ns=5 * 10**9)
    assert emit(verdict, config=config, clock=clock, ids=shared_ids(), transport=transport)
    sent = b"".join(body for _, body, _ in transport.requests)
    for name in (b"findings", b"records", b"streams", b"last_run.time", b"exit_code"):
        assert b"kaizen.audit.verify." + name in sent
    assert b"self_published_key" in sent
    assert key_id_of(b"").encode() not in sent
