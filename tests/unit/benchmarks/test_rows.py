"""Ratios, bars and what is printed of them."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import pytest

from benchmarks.telemetry_bench import plot, report, shapes
from benchmarks.telemetry_bench.harness import Results, case
from benchmarks.telemetry_bench.main import all_rows, chosen_rows
from benchmarks.telemetry_bench.profile import hottest, threads
from benchmarks.telemetry_bench.rows import Line, bounded, compared
from benchmarks.telemetry_bench.rows_process import highest_rate
from benchmarks.telemetry_bench.work_process import quantile

ABOUT: dict[str, Any] = {
    "date": "2026-01-01", "commit": "abc", "cores": 2, "python": "3.11", "system": "Linux",
    "rounds": 5, "minutes": 18, "load": 0.1, "load_end": 1.0, "faults": [],
    "versions": {"ours": {"kaizen-otel": "0.1.0"}},
}  # fmt: skip
OURS, HTTP, GRPC = (case(name, "loop") for name in ("ours", "stock.http", "stock.grpc"))


def results(**values: list[float]) -> Results:
    found = Results(missing={"stock": "it did not install"})
    for one, name in ((OURS, "ours"), (HTTP, "http"), (GRPC, "grpc")):
        for value in values.get(name, ()):
            found.add(one, {"cpu_us": value})
    return found


def line(found: Results, share: float | None = 1 / 8) -> Line:
    peers = [("stock", [HTTP, GRPC], share)]
    return next(compared(found, "row", "figure", "cpu_us", OURS, peers))


def test_a_ratio_is_that_of_the_medians_against_the_cheapest_of_a_peers_cases() -> None:
    one = line(results(ours=[5, 100, 4], http=[50, 40, 60], grpc=[45, 44, 900]))
    assert (one.ours, one.theirs, one.peer) == (5, 45, "stock (grpc)")
    assert one.ratio == pytest.approx(1 / 9)
    assert one.holds is True
    assert one.spread == (4, 100)


def test_a_bar_that_is_missed_is_told_with_the_way_to_a_profile() -> None:
    one = line(results(ours=[10], http=[50]))
    assert one.holds is False
    assert report.verdict(one) == "MISSED"
    (hint,) = report.hints([one], {"row"})
    assert hint.endswith("--profile row")
    (plain,) = report.hints([one], set())
    assert "--profile" not in plain


def test_a_peer_that_is_not_there_gives_no_ratio_and_no_verdict() -> None:
    one = line(results(ours=[10]))
    assert (one.theirs, one.ratio, one.holds) == (None, None, None)
    assert one.note == "it did not install"
    assert report.verdict(one) == "not measured"


def test_what_fails_is_not_measured_and_says_why() -> None:
    found = results(http=[50])
    found.add(OURS, {"error": "exit code 1: no"})
    one = bounded(found, "row", "figure", "cpu_us", OURS, 5, unit="us")
    assert (one.ours, one.holds, one.note) == (None, None, "exit code 1: no")


@pytest.mark.parametrize(
    ("value", "at_least", "holds"),
    [(5, False, True), (5.1, False, False), (5, True, True), (4.9, True, False)],
)
def test_a_bound_includes_its_edge(*, value: float, at_least: bool, holds: bool) -> None:
    found = results(ours=[value])
    one = bounded(found, "row", "figure", "cpu_us", OURS, 5, unit="us", at_least=at_least)
    assert one.holds is holds


def test_the_highest_rate_is_that_of_which_no_round_lost_anything() -> None:
    found = Results()
    slow, fast = (case("ours", "rate", rate=offered) for offered in (100, 200))
    for missing in (0, 0):
        found.add(slow, {"rate": 93.5, "missing": missing, "count": 1000})
    for missing in (0, 1):
        found.add(fast, {"rate": 200, "missing": missing, "count": 1000})
    best, note = highest_rate(found, [slow, fast])
    assert best == 100
    assert "of 200/s lost up to 0.1%" in note


def test_a_rate_that_was_not_reached_counts_as_far_as_it_was() -> None:
    found = Results()
    one = case("ours", "rate", rate=100)
    found.add(one, {"rate": 80, "missing": 0, "count": 1000})
    assert highest_rate(found, [one]) == (80, "of 100/s made 80/s")
    assert highest_rate(Results(), [one])[0] is None


def test_a_loss_where_nothing_may_be_lost_is_a_fault() -> None:
    found = Results()
    found.add(OURS, {"wrong": 0, "duplicates": 0, "missing": 3, "count": 10, "examples": []})
    assert found.faults() == [f"{OURS.label}: 3 of 10 missing"]


def test_a_ledger_that_says_something_else_than_the_sink_is_a_fault() -> None:
    found, one = Results(), case("ours", "rate", what="spans", rate=1)
    found.add(one, {"missing": 3, "said_dropped": 2, "count": 10})
    found.add(case("ours", "loop"), {"reconciles": False})
    assert len(found.faults()) == 2


def test_quantiles_are_values_that_occurred() -> None:
    assert quantile([1.0], 0.99) == 1
    assert quantile([float(n) for n in range(100)], 0.99) == 99
    assert quantile([float(n) for n in range(1000)], 0.5) == 500


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [(None, "us", "-"), (0, "spans", "0"), (1234.5, "us", "1,234 us"), (0.001, "s", "0.0010 s"),
     (150_000, "spans/s", "150,000/s"), (4.567, "us", "4.57 us"), (1.05, "x", "1.05x")],
)  # fmt: skip
def test_numbers_have_three_digits_and_their_unit(
    value: float | None, unit: str, text: str
) -> None:
    assert report.number(value, unit) == text


def test_the_page_and_the_picture_say_of_each_bar_whether_it_holds() -> None:
    lines = [line(results(ours=[5], http=[50])), line(results(ours=[10], http=[50])),
             line(results(ours=[10]))]  # fmt: skip
    text = report.page(ABOUT, lines)
    assert "Of 3 bars 1 hold, 1 are missed, 1 were not measured." in text
    assert "**missed**" in text
    svg = ET.fromstring(plot.drawn(lines))
    shown = [one.text for one in svg.iter() if one.tag.endswith("text")]
    assert "10x" in shown
    assert "5x" in shown
    assert "NaN" not in plot.drawn([])


def test_rows_are_chosen_by_name_and_each_has_a_name_of_its_own() -> None:
    rows = all_rows(1.0)
    names = [row.name for row in rows]
    assert len(set(names)) == len(names)
    assert [row.name for row in chosen_rows(rows, ["lag", "log"])] == ["lag", "log"]
    with pytest.raises(SystemExit, match="no row is called nothing"):
        chosen_rows(rows, ["nothing"])


def test_a_peers_case_runs_in_the_peers_environment() -> None:
    named = {name: case(name, "loop").environment for name in
             ("ours", "ours.sdk", "none", "stock.grpc", "stock.fastotel", "vendors.logfire",
              "kaizen.noop")}  # fmt: skip
    assert list(named.values()) == [
        "ours", "ours", "ours", "stock", "fastotel", "logfire", "kaizen",
    ]  # fmt: skip


def test_no_shape_is_special() -> None:
    """Two hundred shapes that differ, of six attributes each, and a child for every parent."""
    keys = {tuple(shapes.attributes_of(shape, 0)) for shape in shapes.SHAPES}
    assert len(keys) == shapes.COUNT
    assert {len(one) for one in keys} == {6}
    assert not shapes.SHAPES[-1].is_parent
    for shape, following in zip(shapes.SHAPES, shapes.SHAPES[1:], strict=False):
        assert not (shape.is_parent and following.is_parent)


def test_a_profile_tells_what_is_hot_itself_and_what_with_all_it_calls() -> None:
    lines = list(hottest(["a;b 3", "a;c 1", "no stack"]))
    assert lines == [(0.75, 0.75, "b"), (0.25, 0.25, "c")]
    assert list(hottest(["a;b 3", "a 1"])) == [(0.75, 0.75, "b"), (0.25, 1.0, "a")]


def test_a_profile_tells_the_share_of_each_thread_of_ours_and_of_the_programs() -> None:
    stacks = ["thread (0x1);a 6", "thread (0x2): kaizen-otel-spool;b 3", "thread (0x3): mine;c 1"]
    assert threads(stacks) == [(0.7, "agent"), (0.3, "kaizen-otel-spool")]


def test_the_page_says_where_the_time_goes_in_rows_that_were_profiled() -> None:
    profiled = {
        "row": "log", "case": "ours loop", "samples": 1_234,
        "threads": [(0.75, "agent"), (0.25, "kaizen-otel-exporter")],
        "functions": [(0.5, 0.625, "encode (kaizen_otel/_otlp/logs.py:1)")],
    }  # fmt: skip
    page = report.page({**ABOUT, "profiles": [profiled]}, [line(results(ours=[10], http=[50]))])
    assert "1,234 samples. Threads: `agent` 75%, `kaizen-otel-exporter` 25%." in page
    assert "| 50.0% | 62.5% | `encode (kaizen_otel/_otlp/logs.py:1)` |" in page
    assert "Where our time goes" not in report.page(ABOUT, [])
