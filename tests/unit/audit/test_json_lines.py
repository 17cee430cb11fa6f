"""The Collector's JSON lines, good and bad: read what can be read, report the rest, never raise."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen_otel._otlp.json import Problem, iter_log_records, read_lines


def _request(*names: str) -> bytes:
    records = [{"eventName": name} for name in names]
    request = {"resourceLogs": [{"resource": {}, "scopeLogs": [{"logRecords": records}]}]}
    return json.dumps(request, separators=(",", ":")).encode()


def _read(data: bytes, chunk: int = 1 << 20, **options: int) -> tuple[list[str], list[str]]:
    problems: list[Problem] = []
    chunks = [data[i : i + chunk] for i in range(0, len(data), chunk)]
    names = [
        str(record["eventName"])
        for request in read_lines(chunks, on_problem=problems.append, **options)
        for record, _ in iter_log_records(request)
    ]
    return names, [problem.kind for problem in problems]


A, B = _request("a"), _request("b1", "b2")


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("data", "names", "kinds"),
    [
        (b"", [], []),
        (b"\n\n \n", [], []),
        (A + b"\n" + B + b"\n", ["a", "b1", "b2"], []),
        (A + b"\r\n" + B, ["a", "b1", "b2"], []),
        (A + b"\n" + A + b"\n", ["a", "a"], []),
        (A + B + b"\n" + A + b"\n", ["a", "b1", "b2", "a"], []),
        (A + b"  " + B + b"\n", ["a", "b1", "b2"], []),
        (A[:40] + B + b"\n", ["b1", "b2"], ["torn"]),
        (A[:-1] + b"\n" + B + b"\n", ["b1", "b2"], ["torn"]),
        (A + b"\n" + B[:-9], ["a"], ["torn"]),
        (b"hello\n" + A, ["a"], ["torn"]),
        (b'{"level":"info"}\n' + A, ["a"], ["foreign"]),
        (b"[1,2]\n17\nnull\n" + A, ["a"], ["foreign"] * 3),
        (b'{"level":"info"}' + A + b"\n", ["a"], ["foreign"]),
        (b"\xff\xfe\x00\n" + A, ["a"], ["not_text"]),
        (A + b"\xff" + B + b"\n", ["a", "b1", "b2"], ["torn"]),
        (b"[" * 50_000 + b"\n" + A, ["a"], ["torn"]),
        (b'{"resourceLogs":' + b"[" * 50_000 + b"\n" + A, ["a"], ["torn"]),
        (b"1" * 5_000 + b"\n" + A, ["a"], ["torn"]),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_everything_readable_is_read_and_the_rest_is_reported(
    data: bytes, names: list[str], kinds: list[str], chunk: int
) -> None:
    assert _read(data, chunk) == (names, kinds)


def test_a_problem_says_where_it_is() -> None:
    problems: list[Problem] = []
    data = A + b"\n" + A + B[:30] + b"\n" + A
    assert len(list(read_lines([data], on_problem=problems.append))) == 3
    assert problems == [Problem(kind="torn", line=2, offset=len(A) + 1, size=30)]


def test_a_line_that_is_too_long_is_not_kept_in_memory_and_reading_goes_on() -> None:
    names, kinds = _read(b"x" * 5000 + b"\n" + A + b"\n" + b"y" * 5000, 64, line_bytes_max=1000)
    assert (names, kinds) == (["a"], ["too_long", "too_long"])


def test_without_a_listener_problems_are_passed_over() -> None:
    assert len(list(read_lines([b"nonsense\n" + A]))) == 1


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"resourceLogs": 1},
        {"resourceLogs": [1]},
        {"resourceLogs": [{"scopeLogs": {}}]},
        {"resourceLogs": [{"resource": 5, "scopeLogs": [{"logRecords": ["x", None]}]}]},
    ],
)
def test_what_has_not_the_shape_of_a_request_yields_no_record(request_: dict[str, object]) -> None:
    assert list(iter_log_records(request_)) == []


@settings(max_examples=40)
@given(st.lists(st.sampled_from([A, B, A[:20], b"\n", b"{}", b"\xff", b"  "]), max_size=12))
def test_any_mixture_of_pieces_is_read_the_same_in_any_chunks(pieces: list[bytes]) -> None:
    data = b"".join(pieces)
    assert _read(data, 3) == _read(data, 1 << 20)


@settings(max_examples=40)
@given(st.binary(max_size=500))
def test_no_bytes_make_it_raise(data: bytes) -> None:
    _read(data, 11)
