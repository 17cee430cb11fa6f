"""What the viewer finds in files that grow, are rotated, torn, foreign or very large."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

import pytest

from kaizen_otel._view import answers, follow
from kaizen_otel._view.follow import Follower
from kaizen_otel._view.index import Index
from kaizen_otel._view.series import POINTS_MAX
from tests.unit._view.kit import START_NS, append, histogram, line, record, span

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    found = Index(tmp_path)
    yield found
    found.close()


def settle(index: Index) -> Index:
    while index.step():
        pass
    return index


def roots(index: Index, **asked: str) -> list[str]:
    return [row["root"] for row in answers.list_traces(index, asked)["traces"]]


def test_a_trace_is_one_tree_however_its_spans_arrived(index: Index, tmp_path: Path) -> None:
    """Children come first, in other requests, and one comes twice."""
    child = span(1, 2, parent=1, name="execute_tool x", attributes={"gen_ai.tool.name": "x"})
    append(tmp_path / "traces.jsonl", line("Spans", [child]), line("Spans", [child]))
    append(tmp_path / "traces.jsonl", line("Spans", [span(1, 1, name="invoke_agent A")]))
    found = answers.trace(settle(index), f"{1:032x}")
    assert found is not None
    assert found["root"] == "invoke_agent A"
    assert found["complete"]
    assert [each["name"] for each in found["spans"]] == ["invoke_agent A", "execute_tool x"]
    assert found["spans"][1]["parent"] == found["spans"][0]["id"]
    assert found["tools"] == ["x"]


def test_what_is_appended_is_seen_at_the_next_step(index: Index, tmp_path: Path) -> None:
    assert not index.step()
    before = index.version
    append(tmp_path / "traces.jsonl", line("Spans", [span(1, 1, name="one")]))
    settle(index)
    append(tmp_path / "traces.jsonl", line("Spans", [span(2, 1, name="two")]))
    assert roots(settle(index)) == ["two", "one"]
    assert index.version > before


def test_a_half_written_line_is_shown_once_it_is_whole(index: Index, tmp_path: Path) -> None:
    whole = line("Spans", [span(1, 1, name="late")])
    append(tmp_path / "traces.jsonl", whole[:50])
    assert roots(settle(index)) == []
    assert answers.overview(index)["half_written"] == [{"file": "traces.jsonl", "bytes": 50}]
    assert index.is_complete, "nothing that could be read is left"
    append(tmp_path / "traces.jsonl", whole[50:])
    assert roots(settle(index)) == ["late"]
    assert answers.overview(index)["half_written"] == []


def test_rotation_loses_nothing_and_shows_nothing_twice(index: Index, tmp_path: Path) -> None:
    active = tmp_path / "traces.jsonl"
    append(active, line("Spans", [span(1, 1, name="old")]))
    settle(index)
    append(active, line("Spans", [span(2, 1, name="last of the old file")]))
    active.rename(tmp_path / "traces-2026-11-24T16-00-00.000.jsonl")
    append(active, line("Spans", [span(3, 1, name="new")]))
    assert roots(settle(index)) == ["new", "last of the old file", "old"]
    assert index.counts["traces"] == 3


def test_a_file_that_was_emptied_is_read_anew(index: Index, tmp_path: Path) -> None:
    append(tmp_path / "logs.jsonl", line("Logs", [record(0, n, body="x" * 99) for n in range(9)]))
    settle(index)
    (tmp_path / "logs.jsonl").write_bytes(line("Logs", [record(0, 1, body="anew")]))
    settle(index)
    bodies = [row["body"] for row in answers.records(index, "logs", {})["records"]]
    assert bodies == ["anew"]


@pytest.mark.parametrize(
    ("foreign", "kind"),
    [
        (b"hello\n", "torn"),
        (b'{"a": 1}\n', "foreign"),
        (b"\xff\xfe\x00binary\x00\n", "not_text"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"no": "id"}]}]}]}\n', "foreign"),
        (b'{"resourceSpans": [7]}\n', "foreign"),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "1"', "torn"),
    ],
)
def test_what_is_no_telemetry_is_told_and_hides_nothing(
    index: Index, tmp_path: Path, foreign: bytes, kind: str
) -> None:
    """The last one is a torn line that the next request follows, as after a kill."""
    good = [line("Spans", [span(n, 1, name=f"good {n}")]) for n in (1, 2)]
    append(tmp_path / "traces.jsonl", good[0], foreign, good[1])
    assert roots(settle(index)) == ["good 2", "good 1"]
    found = answers.overview(index)
    assert found["problem_count"] == 1
    assert [problem["kind"] for problem in found["problems"]] == [kind]


def test_the_newest_traces_are_there_after_one_step_of_a_large_file(
    index: Index, tmp_path: Path
) -> None:
    """The first look must not cost more the larger the file is."""
    lines = [line("Spans", [span(n, 1, name=f"t{n}", note="x" * 400)]) for n in range(1, 2001)]
    append(tmp_path / "traces.jsonl", *lines)
    index.step()
    assert roots(index)[0] == "t2000"
    assert not index.is_complete
    assert 0 < index.counts["traces"] < 2000
    settle(index)
    assert index.counts["traces"] == 2000
    assert answers.list_traces(index, {})["total"] == 2000


def test_every_line_is_read_once_whatever_the_sizes(tmp_path: Path) -> None:
    """Lines around the size of a block, much longer and empty ones; read back from their places."""
    chance = random.Random(7)
    sizes = [0, 1, follow.BLOCK_BYTES - 1, follow.BLOCK_BYTES, follow.BLOCK_BYTES * 3]
    expected = [
        bytes([97 + n % 26]) * (chance.choice(sizes) if n % 9 == 0 else chance.randrange(3000))
        for n in range(700)
    ]
    (tmp_path / "logs.jsonl").write_bytes(b"".join(each + b"\n" for each in expected[:600]))
    follower = Follower(tmp_path, "logs")
    follower.look()
    newest = list(follower.newest())
    older: list[Any] = []
    while block := list(follower.older()):
        older += block
    append(tmp_path / "logs.jsonl", *(each + b"\n" for each in expected[600:]))
    follower.look()
    added: list[Any] = []
    while block := list(follower.newest()):
        added += block
        follower.look()
    read = [text for _, text in [*reversed(older), *newest, *added]]
    assert [len(text) for text in read] == [len(text) for text in expected]
    assert read == expected
    refs = list(follower.refs())
    assert [follower.read(ref).rstrip(b"\n") for ref in reversed(refs)] == expected
    half = list(follower.refs(before=refs[300]))
    assert half == refs[301:]
    follower.close()


def test_search_finds_id_agent_tool_and_text(index: Index, tmp_path: Path) -> None:
    append(
        tmp_path / "traces.jsonl",
        line("Spans", [span(1, 1, name="a", attributes={"gen_ai.agent.name": "Mira"})]),
        line("Spans", [span(2, 1, name="b", attributes={"gen_ai.tool.name": "drill"})]),
        line("Spans", [span(3, 1, name="c", attributes={"note": "Größe < 5 & “quoted”"})]),
        line("Spans", [span(4, 1, name="d", failed=True)]),
    )
    settle(index)
    assert roots(index, q="MIRA") == ["a"]
    assert roots(index, q="drill") == ["b"]
    assert roots(index, q="größe < 5 & “quoted”") == ["c"]
    assert roots(index, q=f"{4:032x}") == ["d"]
    assert roots(index, agent="Mira") == ["a"]
    assert roots(index, tool="drill") == ["b"]
    assert roots(index, status="error") == ["d"]
    assert roots(index, q="nowhere") == []


def test_logs_and_audit_records_come_with_their_trace(index: Index, tmp_path: Path) -> None:
    append(tmp_path / "traces.jsonl", line("Spans", [span(1, 1)]), line("Spans", [span(2, 1)]))
    append(tmp_path / "logs.jsonl", line("Logs", [record(1, 1, body="mine"), record(2, 1)]))
    append(tmp_path / "audit/audit.jsonl", line("Logs", [record(1, 2, event="kaizen.tool")]))
    found = answers.trace(settle(index), f"{1:032x}")
    assert found is not None
    assert [row["body"] for row in found["logs"]] == ["mine"]
    assert [row["event"] for row in found["audit"]] == ["kaizen.tool"]


def test_pages_of_records_go_back_to_the_first_one(index: Index, tmp_path: Path) -> None:
    for n in range(1000):
        append(tmp_path / "logs.jsonl", line("Logs", [record(0, n, body=str(n))]))
    settle(index)
    bodies = [int(row["body"]) for row in answers.iter_pages(index, "logs", 5000)]
    assert bodies == list(reversed(range(1000)))


def test_conversations_join_runs_and_name_who_acted(index: Index, tmp_path: Path) -> None:
    for n in (1, 2):
        run = span(
            n, 1, name="invoke_agent A",
            attributes={"gen_ai.agent.name": "A", "gen_ai.conversation.id": "c/1",
                        "gen_ai.operation.name": "invoke_agent",
                        "gen_ai.usage.input_tokens": 100},
        )  # fmt: skip
        call = span(
            n, 2, parent=1, name="chat m",
            attributes={"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 5,
                        "gen_ai.input.messages": '[{"role": "user", "parts": []}]'},
        )  # fmt: skip
        append(tmp_path / "traces.jsonl", line("Spans", [run, call]))
    append(tmp_path / "traces.jsonl", line("Spans", [span(3, 1)]))
    settle(index)
    rows = answers.conversations(index)["conversations"]
    assert [(row["id"], row["traces"]) for row in rows] == [(f"{3:032x}", 1), ("c/1", 2)]
    # The run's own figure is the sum of its calls: it does not count again.
    assert rows[1]["input_tokens"] == 10
    found = answers.conversation(index, "c/1")
    assert found is not None
    assert [step["agent"] for step in found["steps"]] == ["A"] * 4
    assert [step["depth"] for step in found["steps"]] == [0, 1, 0, 1]
    assert found["steps"][1]["said"] == {"gen_ai.input.messages": '[{"role": "user", "parts": []}]'}


def test_spans_that_are_each_others_parents_end(index: Index, tmp_path: Path) -> None:
    ring = [span(1, 1, parent=2), span(1, 2, parent=1)]
    append(tmp_path / "traces.jsonl", line("Spans", ring))
    found = answers.conversation(settle(index), f"{1:032x}")
    assert found is not None
    assert len(found["steps"]) == 2


def test_metric_points_are_by_time_each_once_and_bounded(index: Index, tmp_path: Path) -> None:
    order = list(range(3 * POINTS_MAX))
    random.Random(3).shuffle(order)
    for at_s in [*order, *order[:50]]:
        append(
            tmp_path / "metrics.jsonl",
            line("Metrics", [histogram("d", at_s, total=1.5, count=3, tool="x")]),
        )
    settle(index)
    found = answers.metric(index, "d")
    assert found is not None
    points = found["series"][0]["points"]
    times = [time for time, _, _ in points]
    assert times == sorted(set(times))
    assert len(times) <= POINTS_MAX
    assert times[-1] == START_NS / 1e6 + (3 * POINTS_MAX - 1) * 1000
    assert answers.list_metrics(index)["metrics"][0]["last"] == {"value": 1.5, "count": 3}


def test_answers_are_json_whatever_is_in_the_files(index: Index, tmp_path: Path) -> None:
    """Numbers that JSON has not, and lone surrogates, must not end the page."""
    odd = {"key": "x", "value": {"doubleValue": "NaN"}}
    lone = {"key": "y", "value": {"stringValue": "\ud800"}}
    more = {"attributes": [odd, lone], "name": "z"}
    endless = {"dataPoints": [{"asDouble": "Infinity", "timeUnixNano": "1"}]}
    append(tmp_path / "traces.jsonl", line("Spans", [{**span(1, 1), **more}]))
    append(tmp_path / "logs.jsonl", line("Logs", [{**record(1, 1), **more}]))
    append(tmp_path / "audit/audit.jsonl", line("Logs", [{**record(1, 1), **more}]))
    append(tmp_path / "metrics.jsonl", line("Metrics", [{**more, "sum": endless}]))
    settle(index)
    assert answers.overview(index)["problem_count"] == 0
    for found in (
        answers.overview(index),
        answers.list_traces(index, {"q": "z"}),
        answers.trace(index, f"{1:032x}"),
        answers.list_metrics(index),
        answers.metric(index, "z"),
        answers.records(index, "audit", {}),
        answers.conversations(index),
    ):
        text = answers.encode_json(found)
        assert json.loads(text.encode("ascii"), parse_constant=pytest.fail)
