"""Questions to a trail: fast by leaving out what cannot matter, and never a record too few."""

from __future__ import annotations

import errno
import json
import random
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen_otel._trail.blocks import iter_blocks, plain_times
from kaizen_otel._trail.range import _pieces_with, read_range
from kaizen_otel._trail.times import Known, TimeIndex
from kaizen_otel.audit._duplicates import Duplicates
from kaizen_otel.audit._stored import Report, read_trail
from kaizen_otel.audit.query import Filter, StoredRecord, distinct
from kaizen_otel.testing.memory_filesystem import Fault, fail_operation
from tests.trail.query_kit import (
    ACTIVE,
    CACHE,
    FOLDER,
    SECOND_NS,
    START_NS,
    STREAM,
    Disk,
    append,
    line,
    record,
    request,
    write,
)

BLOCK_BYTES = 2048
SEALED = "audit-2026-11-24T16-00-00.000.jsonl"


def index_of(disk: Disk) -> TimeIndex:
    return TimeIndex(CACHE, filesystem=disk, clock=disk.clock, stamp_of=disk.stamp_of)


def ask(
    disk: Disk, asked: Filter, *, index: TimeIndex | None = None, report: Report | None = None
) -> list[StoredRecord]:
    found = read_range(
        disk,
        FOLDER,
        asked,
        report=report or Report(),
        index=index,
        block_bytes=BLOCK_BYTES,
    )
    return [one.record for one in found]


def scan(disk: Disk, asked: Filter) -> list[StoredRecord]:
    return [one for one in read_trail(disk, FOLDER) if asked.matches(one)]


def at(seconds: float) -> int:
    return START_NS + int(seconds * SECOND_NS)


# ------------------------------------------------------------------------- any trail, any question

TIMES = st.one_of(
    st.integers(0, 5000).map(at), st.none(), st.just(0), st.just(5), st.integers(0, 2**64 - 1)
)
AGENTS = st.sampled_from(["qa", "q", "writer", "ü", 'a"b', "a/b", "12", "true", "tool", "\u2028"])
TOOLS = st.sampled_from(["search", "rm", "qa"])
EVENTS = st.sampled_from(["kaizen.tool.execute", "kaizen.approval.decided", "kaizen.audit.record"])


@st.composite
def records(draw: st.DrawFn) -> dict[str, object]:
    more: dict[str, str] = {}
    if draw(st.booleans()):
        more["kaizen.action"] = draw(st.sampled_from(["tool_execute", "permission_deny", "own"]))
    if draw(st.booleans()):
        more["audit.outcome"] = draw(st.sampled_from(["failure", "unknown"]))
    if draw(st.booleans()):
        more["kaizen.decision"] = "deny"
    return record(
        draw(st.integers(0, 500)),
        draw(TIMES),
        agent=draw(AGENTS),
        tool=draw(TOOLS),
        event=draw(EVENTS),
        **more,
    )


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """A line as the Collector writes it, or one in any of the forms that are read as well."""
    some = draw(st.lists(records(), min_size=1, max_size=4))
    form = draw(st.sampled_from([*([_plain] * 4), *FORMS]))
    return form(draw, some)


def _plain(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    return line(*some)


def _spaces(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    return json.dumps(request(some)).encode() + b"\n"


def _torn(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    whole = line(*some)
    rest = b"\n" if draw(st.booleans()) else line(draw(records()))
    return whole[: draw(st.integers(1, len(whole) - 2))] + rest


def _glued(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    return line(*some)[:-1] + line(draw(records()))


def _escaped(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    """Any character may be written as an escape."""
    whole = line(*some)
    place = draw(st.integers(1, len(whole) - 2))
    return whole[:place] + b"\\u%04x" % whole[place] + whole[place + 1 :]


def _numbers(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    times = [{"timeUnixNano": int(str(one.get("timeUnixNano", 0)))} for one in some]
    return line(*({**one, **time} for one, time in zip(some, times, strict=True)))


def _foreign(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    return draw(st.sampled_from([b"\n", b"garbage\n", b"{}\n", b"\xff\xfe\n", b"[1]\n"]))


def _long(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    return line(*some, record(1, at(1), **{"kaizen.long": "x" * 3 * BLOCK_BYTES}))


def _twice(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    """Of a name that is there twice the last one counts."""
    return line(*some).replace(b'{"timeUnixNano":', b'{"timeUnixNano":"7","timeUnixNano":')


def _resources(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    both = [*_groups(request(some, "a")), *_groups(request([draw(records())], "b"))]
    return json.dumps({"resourceLogs": both}, separators=(",", ":")).encode() + b"\n"


def _decoy(draw: st.DrawFn, some: list[dict[str, object]]) -> bytes:
    """What looks like the beginning of a record stands inside one."""
    decoy = {"timeUnixNano": str(at(9)), "gen_ai.tool.name": "rm", "x": "qa"}
    attributes = cast("list[object]", some[0]["attributes"])
    place = draw(st.integers(0, len(attributes)))
    attributes.insert(place, {"key": "k", "value": {"kvlistValue": {"values": [decoy]}}})
    return line(*some)


FORMS = [
    _spaces, _torn, _glued, _escaped, _numbers, _foreign, _long, _twice, _resources, _decoy,
]  # fmt: skip


def _groups(one: dict[str, object]) -> list[object]:
    return cast("list[object]", one["resourceLogs"])


@st.composite
def questions(draw: st.DrawFn) -> Filter:
    maybe = st.none
    return Filter(
        since_ns=draw(maybe() | st.integers(0, 5000).map(at)),
        until_ns=draw(maybe() | st.integers(0, 5000).map(at)),
        agent=draw(maybe() | AGENTS),
        tool=draw(maybe() | TOOLS),
        trace_id=draw(maybe() | st.integers(0, 20).map(lambda n: f"{n:032x}")),
        action=draw(
            maybe()
            | EVENTS
            | st.sampled_from(["tool_execute", "permission_deny", "EXECUTE", "own", "True"])
        ),
        result=draw(maybe() | st.sampled_from(["failure", "denied", "unknown", "success"])),
    )


@st.composite
def trails(draw: st.DrawFn) -> list[tuple[str, bytes]]:
    contents = draw(st.lists(st.lists(lines(), max_size=8).map(b"".join), min_size=1, max_size=3))
    names = [f"audit-2026-11-24T1{n}-00-00.000.jsonl" for n in range(len(contents) - 1)]
    files = list(zip([*names, ACTIVE], contents, strict=True))
    if draw(st.booleans()):  # a last line without an end
        files[-1] = (ACTIVE, files[-1][1] + line(draw(records()))[:-1])
    return files


@given(trails(), questions(), questions())
def test_every_question_has_the_answer_of_reading_everything(
    files: list[tuple[str, bytes]], first: Filter, second: Filter
) -> None:
    disk = Disk(files)
    disk.clock.advance(10_000)
    index = index_of(disk)
    for asked in (first, second, first):
        assert ask(disk, asked) == scan(disk, asked)
        assert ask(disk, asked, index=index) == scan(disk, asked)


@settings(max_examples=30)
@given(trails())
def test_without_a_filter_the_same_faults_are_reported_as_by_reading_everything(
    files: list[tuple[str, bytes]],
) -> None:
    disk = Disk(files)
    expected, found = Report(), Report()
    list(read_trail(disk, FOLDER, report=expected))
    ask(disk, Filter(), report=found)
    assert found.problems == expected.problems


@settings(max_examples=30)
@given(trails(), questions())
def test_a_line_that_is_not_plain_is_reported_whatever_is_asked(
    files: list[tuple[str, bytes]], asked: Filter
) -> None:
    torn = [(name, b"garbage\n" + data) for name, data in files]
    disk = Disk(torn)
    disk.clock.advance(10_000)
    index = index_of(disk)
    for _ in range(2):
        report = Report()
        ask(disk, asked, index=index, report=report)
        assert sum("line 1 (byte 0): torn" in what for _, what in report.problems) == len(files)


# --------------------------------------------------------------------------- order says nothing


def backlog() -> tuple[Disk, Filter]:
    """A process that was cut off for an hour delivers at last, among what others deliver now."""
    now = [record(n, at(3600 + n)) for n in range(200)]
    late = [record(1000 + n, at(n), agent="late") for n in range(50)]
    some = [line(one) for one in now[:150]]
    some[100:100] = [line(one) for one in late]
    disk = Disk([(SEALED, b"".join(some)), (ACTIVE, b"".join(map(line, now[150:])))])
    disk.clock.advance(10_000)
    return disk, Filter(since_ns=at(0), until_ns=at(49))


def test_a_backlog_that_was_delivered_an_hour_late_is_found() -> None:
    disk, asked = backlog()
    index = index_of(disk)
    assert len(ask(disk, asked, index=index)) == 50
    assert len(ask(disk, asked, index=index)) == 50, "the second time from the index"


class _Sorted(TimeIndex):
    """The saboteur: it believes that no block holds a record older than the block before it."""

    def known(self, path: str, *, is_sealed: bool) -> Known:
        found = super().known(path, is_sealed=is_sealed)
        for place, (before, one) in enumerate(pairwise(found.blocks), 1):
            found.blocks[place] = one._replace(first_ns=max(before.first_ns, one.first_ns))
        return found


def test_the_saboteur_that_trusts_the_order_loses_the_backlog() -> None:
    disk, asked = backlog()
    index = _Sorted(CACHE, filesystem=disk, clock=disk.clock, stamp_of=disk.stamp_of)
    assert len(ask(disk, asked, index=index)) == 50, "nothing is known yet"
    assert len(ask(disk, asked, index=index)) < 50


@pytest.mark.parametrize("seed", range(5))
def test_a_shuffled_trail_loses_nothing(seed: int) -> None:
    some = [line(record(n, at(n))) for n in range(500)]
    random.Random(seed).shuffle(some)
    disk = Disk([(SEALED, b"".join(some)), (ACTIVE, b"")])
    disk.clock.advance(10_000)
    index = index_of(disk)
    for since in (0, 100, 250, 499):
        asked = Filter(since_ns=at(since), until_ns=at(since + 10))
        expected = scan(disk, asked)
        assert expected
        assert ask(disk, asked, index=index) == expected


# -------------------------------------------------------------------------------------- the cost


def long_trail(count: int = 4000) -> Disk:
    some = [line(record(n, at(n))) for n in range(count)]
    half = len(some) // 2
    disk = Disk([(SEALED, b"".join(some[:half])), (ACTIVE, b"".join(some[half:]))])
    disk.clock.advance(10_000)
    return disk


def cost(disk: Disk, asked: Filter, index: TimeIndex) -> float:
    disk.bytes_read = 0
    ask(disk, asked, index=index)
    total = sum(disk.size(f"{FOLDER}/{name}") for name in disk.names(FOLDER))
    return disk.bytes_read / total


def test_a_short_range_reads_a_small_part_of_the_sealed_files() -> None:
    disk = long_trail()
    disk.rename(f"{FOLDER}/{ACTIVE}", f"{FOLDER}/audit-2026-11-24T17-00-00.000.jsonl")
    index = index_of(disk)
    asked = Filter(since_ns=at(1000), until_ns=at(1040))
    assert cost(disk, asked, index) >= 1, "the first question reads everything"
    assert cost(disk, asked, index) < 0.05
    assert len(ask(disk, asked, index=index)) == 41


def test_the_active_file_is_indexed_as_far_as_it_was_read() -> None:
    disk = long_trail()
    index = TimeIndex(
        CACHE, filesystem=disk, clock=disk.clock, stamp_of=disk.stamp_of, grown_bytes=1
    )
    asked = Filter(since_ns=at(3000), until_ns=at(3010))
    cost(disk, asked, index)
    assert cost(disk, asked, index) < 0.05
    append(disk, f"{FOLDER}/{ACTIVE}", line(record(9000, at(3005), agent="new")))
    disk.version += 1
    assert [one.agent for one in ask(disk, asked, index=index)].count("new") == 1


def test_only_records_with_the_word_are_parsed() -> None:
    batch = [record(k, at(k)) for k in range(64)]
    batch[10] = record(10, at(10), agent="needle", tool="awl")
    whole = line(*batch)
    pieces = _pieces_with(whole[:-1], (b'"needle"',))
    assert pieces == [(batch[10], {"service.name": "tests"})]
    disk = Disk([(ACTIVE, whole)])
    [found] = ask(disk, Filter(agent="needle", tool="awl", since_ns=at(1)))
    assert (found.agent, found.resource) == ("needle", {"service.name": "tests"})


# ------------------------------------------------------------------------------ rotation, caches


class _Rotating(Disk):
    """The Collector rotates the active file while the rotated ones are read."""

    is_due = True

    def read(self, path: str, offset: int, size: int) -> bytes:
        data = super().read(path, offset, size)
        if self.is_due and path.endswith(SEALED):
            self.is_due = False
            self.rename(f"{FOLDER}/{ACTIVE}", f"{FOLDER}/audit-2026-11-24T17-00-00.000.jsonl")
            write(self, f"{FOLDER}/{ACTIVE}", line(record(3, at(3))))
        return data


def test_a_file_that_is_rotated_away_meanwhile_is_read_under_its_new_name() -> None:
    disk = _Rotating([(SEALED, line(record(1, at(1)))), (ACTIVE, line(record(2, at(2))))])
    found = distinct(ask(disk, Filter()))
    assert {one.attributes["audit.sequence.number"] for one in found} == {1, 2, 3}


def test_a_sealed_file_that_was_changed_is_read_anew() -> None:
    disk = Disk([(SEALED, line(record(1, at(1)))), (ACTIVE, b"")])
    disk.clock.advance(10_000)
    index = index_of(disk)
    asked = Filter(since_ns=at(100))
    assert ask(disk, asked, index=index) == []
    disk.remove(f"{FOLDER}/{SEALED}")
    write(disk, f"{FOLDER}/{SEALED}", line(record(1, at(200))))
    disk.version += 1
    assert len(ask(disk, asked, index=index)) == 1


def test_a_file_that_changed_a_moment_ago_is_not_indexed() -> None:
    """Within one tick of the disk's clock a second change would not be seen."""
    disk = Disk([(SEALED, line(record(1, at(1)))), (ACTIVE, b"")])
    disk.version = disk.clock.time_ns()
    ask(disk, Filter(since_ns=at(100)), index=index_of(disk))
    with pytest.raises(FileNotFoundError):
        disk.names(CACHE)


@pytest.mark.parametrize("damage", [b"", b"{}", b"x" * 200])
def test_a_damaged_index_is_made_anew(damage: bytes) -> None:
    disk = long_trail(400)
    asked = Filter(since_ns=at(100), until_ns=at(110))
    index = index_of(disk)
    ask(disk, asked, index=index)
    [name] = disk.names(CACHE)
    disk.remove(f"{CACHE}/{name}")
    write(disk, f"{CACHE}/{name}", damage)
    assert len(ask(disk, asked, index=index)) == 11
    assert disk.read(f"{CACHE}/{name}", 0, 1000) != damage


def test_an_index_that_cannot_be_kept_is_done_without() -> None:
    disk = long_trail(400)
    disk.fault = fail_operation("create", Fault(error=errno.EROFS))
    assert len(ask(disk, Filter(since_ns=at(100), until_ns=at(110)), index=index_of(disk))) == 11


# -------------------------------------------------------------------------------------- the parts


def test_blocks_cover_a_file_without_a_gap_and_count_its_lines() -> None:
    data = b"".join(
        [line(record(1, at(1))), b"\n", b"x" * 5000 + b"\n", line(record(2, at(2))), b"no end"]
    )
    disk = Disk([(ACTIVE, data)])
    blocks = [b for b, _, _ in iter_blocks(disk, f"{FOLDER}/{ACTIVE}", block_bytes=1024)]
    assert blocks[0].start == 0
    assert blocks[-1].end == len(data)
    assert all(a.end == b.start for a, b in pairwise(blocks))
    assert all(a.line + a.lines == b.line for a, b in pairwise(blocks))
    assert [data[b.start : b.end].count(b"\n") or 1 for b in blocks] == [b.lines for b in blocks]


def test_times_of_plain_lines() -> None:
    data = line(record(1, at(7)), record(2, at(3))) + line(record(3, at(5)))
    assert plain_times(data)[1] == (at(3), at(7))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"garbage\n",
        line(record(1, at(1)))[:-1],
        line(record(1, at(1)))[:-3] + b"\n",
        line(record(1, at(1))) + b"\n",
        line(record(1, at(1)))[:-1] + line(record(1, at(1))),
        line(record(1, at(1))).replace(b'"timeUnixNano"', b'"timeUnixNan\\u006f"'),
        line(record(1, at(1))).replace(b'"1795', b'"\\u0031795'),
        line(record(1, at(1))).replace(b'"timeUnixNano":', b'"timeUnixNano": '),
        line(record(1, 12)),
        line(record(1, None)),
        line(record(1, at(1))).replace(b"1795", b"179\xd9\xa1"),
    ],
)
def test_whatever_is_not_plain_is_no_block_that_may_be_left_out(data: bytes) -> None:
    assert plain_times(data)[1] is None


def test_characters_that_go_escapes_are_still_plain() -> None:
    data = line(record(1, at(1), tool="a")).replace(b'"a"', b'"\\u003cb\\u003e \\u0026 \\n"')
    assert plain_times(data)[1] == (at(1), at(1))


def test_a_duplicate_is_told_from_another_record_in_its_place() -> None:
    known = Duplicates()
    first, other = "01930000-0000-7000-8000-000000000001", "01930000-0000-7000-8000-000000000002"
    zeros = "01930000-0000-7000-0000-000000000000"
    assert [known.is_new(one, STREAM, 7) for one in (first, first, other, other, first)] == [
        True, False, True, False, False,
    ]  # fmt: skip
    assert [known.is_new(zeros, STREAM, 8) for _ in range(2)] == [True, False]
    assert [known.is_new("no uuid", STREAM, 9) for _ in range(2)] == [True, False]
    assert [known.is_new("01930000-0000-7000-8000-000000000009", None, 1) for _ in "ab"] == [
        True, False,
    ]  # fmt: skip


def test_a_record_of_a_stream_costs_little_memory() -> None:
    known = Duplicates()
    for number in range(1, 6401):
        assert known.is_new(f"01930000-0000-7000-8000-{number:012d}", STREAM, number)
    assert sum(map(len, known._pages.values())) == 101 * 64 * 8
    assert not known._others


@pytest.mark.parametrize(
    "broken",
    [
        {"attributes": ["x"]},
        {"attributes": [{"key": "audit.record.id", "value": []}]},
        {"attributes": [{"key": "a", "value": {"intValue": "x"}}]},
        {"attributes": [{"key": "a", "value": {"intValue": "9" * 5000}}]},
        {"attributes": [{"key": "a", "value": {"arrayValue": [1]}}]},
    ],
)
def test_json_that_no_exporter_writes_is_a_problem_and_no_crash(broken: dict[str, object]) -> None:
    disk = Disk([(ACTIVE, line(broken))])
    report = Report()
    assert ask(disk, Filter(), report=report) == []
    assert report.count == 1


def test_an_agent_that_is_a_list_is_no_crash() -> None:
    one = record(1, at(1))
    attributes = one["attributes"]
    assert isinstance(attributes, list)
    attributes.append(
        {"key": "gen_ai.agent.name", "value": {"arrayValue": {"values": [{"stringValue": "x"}]}}}
    )
    attributes.append({"key": "audit.action", "value": {"arrayValue": {"values": []}}})
    disk = Disk([(ACTIVE, line(one))])
    assert ask(disk, Filter(agent="qa", action="nothing")) == []
