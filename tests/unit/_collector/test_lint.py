"""Findings have places, overlays are merged, comments allow with a reason; what a user sees."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from kaizen_otel._cli.collector import collector
from kaizen_otel._collector.component_facts import load_facts
from kaizen_otel._collector.lint import Report, lint
from kaizen_otel._collector.read_config import read_configs
from kaizen_otel._collector.resources import collector_directory
from kaizen_otel.errors import ConfigError

REJECTED = collector_directory() / "testdata" / "rejected"
BASE = """\
receivers:
  otlp: {protocols: {http: {endpoint: "localhost:4318"}}}
processors:
  memory_limiter: {check_interval: 1s, limit_mib: 400}
exporters:
  file:
    path: /var/log/traces.jsonl
service:
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter]
      exporters: [file]
"""


def judge(folder: Path, *texts: str) -> Report:
    paths = [folder / f"{number}.yaml" for number in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return lint(read_configs(paths), load_facts())


def seen(report: Report) -> list[tuple[str, str, int]]:
    return [(each.rule, Path(each.place.file).name, each.place.line) for each in report.findings]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(collector, list(arguments))


def test_a_finding_points_to_the_line_of_what_is_or_of_what_lacks_it(tmp_path: Path) -> None:
    assert seen(judge(tmp_path, BASE)) == [("R04", "0.yaml", 6)]
    report = judge(tmp_path, BASE.replace("localhost:4318", "0.0.0.0:4318"))
    assert sorted(seen(report)) == [
        ("R01", "0.yaml", 2),
        ("R04", "0.yaml", 6),
        ("R46", "0.yaml", 2),
    ]
    (opened,) = [finding for finding in report.findings if finding.rule == "R01"]
    assert opened.path == ("receivers", "otlp", "protocols", "http", "endpoint")


def test_files_are_merged_as_the_collector_merges_them_and_keep_their_places(
    tmp_path: Path,
) -> None:
    rotation = "exporters: {file: {rotation: {max_megabytes: 10}}}\n"
    assert seen(judge(tmp_path, BASE, rotation)) == []
    lists = "service:\n  pipelines:\n    traces:\n      processors: []\n"
    assert seen(judge(tmp_path, BASE, rotation, lists)) == [
        ("R37", "0.yaml", 4),
        ("R03", "2.yaml", 4),
    ]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  file:\n", "  file:  # kaizen-lint: allow R04 because a pipe cannot be rotated\n"),
        ("  file:\n", "  # kaizen-lint: allow R04 because it is a pipe\n\n  # more\n  file:\n"),
        ("  file:\n", "  file: # kaizen-lint: allow R04,R20 because so\n"),
    ],
)
def test_a_comment_with_a_reason_allows_a_finding(tmp_path: Path, old: str, new: str) -> None:
    report = judge(tmp_path, BASE.replace(old, new, 1))
    assert [each.rule for each in report.allowed] == ["R04"]
    # The second rule of the last one finds nothing there.
    assert [each.rule for each in report.findings] == (["R43"] if "R20" in new else [])


@pytest.mark.parametrize(
    "comment",
    [
        "allow R04",
        "allow R04 because",
        "allow everything because I say so",
        "",
        "allow R4 because x",
    ],
)
def test_a_comment_without_rule_or_reason_allows_nothing(tmp_path: Path, comment: str) -> None:
    text = BASE.replace("  file:\n", f"  file:  # kaizen-lint: {comment}\n", 1)
    assert {rule for rule, _, _ in seen(judge(tmp_path, text))} == {"R04", "R43"}


def test_a_comment_allows_in_its_place_only(tmp_path: Path) -> None:
    text = BASE.replace("  otlp:", "  # kaizen-lint: allow R04 because elsewhere\n  otlp:", 1)
    assert {rule for rule, _, _ in seen(judge(tmp_path, text))} == {"R04", "R43"}


def test_what_looks_like_a_comment_inside_of_a_text_is_none(tmp_path: Path) -> None:
    text = BASE.replace("/var/log/traces.jsonl", '"/var/log # kaizen-lint: allow R04 because x"', 1)
    assert [rule for rule, _, _ in seen(judge(tmp_path, text))] == ["R04"]


def test_exit_codes_say_clean_findings_or_unusable(tmp_path: Path) -> None:
    bad = str(REJECTED / "R04_file_without_rotation.yaml")
    assert run("lint", "gateway").exit_code == 0
    assert run("lint").exit_code == 0
    assert run("lint", bad).exit_code == 1
    assert run("lint", bad, "--level", "error").exit_code == 0
    assert run("lint", bad, "--ignore", "R04").exit_code == 0
    unusable = run("lint", str(tmp_path / "none.yaml"))
    assert isinstance(unusable.exception, ConfigError)
    assert unusable.exception.exit_code == 2
    assert isinstance(run("lint", bad, "--ignore", "R99").exception, ConfigError)


def test_json_has_a_stable_form() -> None:
    path = str(REJECTED / "R27_secret_in_clear.yaml")
    answer: dict[str, Any] = json.loads(run("lint", path, "--json").stdout)
    assert set(answer) == {"schema", "errors", "warnings", "configs"}
    assert (answer["schema"], answer["errors"], answer["warnings"]) == (1, 1, 0)
    (config,) = answer["configs"]
    assert set(config) == {"files", "findings", "allowed"}
    (finding,) = config["findings"]
    assert set(finding) == {
        *("rule", "severity", "file", "line", "column", "path", "message", "why", "fix"),
    }
    assert finding["path"] == ["exporters", "otlp_grpc/backend", "headers", "authorization"]


def test_github_annotations_escape_what_would_end_them() -> None:
    path = str(REJECTED / "R27_secret_in_clear.yaml")
    (line,) = run("lint", path, "--format", "github").stdout.splitlines()
    assert line.startswith(f"::error file={path},line=21,col=7,title=R27::")
    assert "eyJ" not in line  # what is found is not repeated


def test_no_form_of_a_finding_repeats_the_secret() -> None:
    path = str(REJECTED / "R27_secret_in_clear.yaml")
    for form in ("text", "json", "github"):
        assert "eyJ" not in run("lint", path, "--format", form).stdout


def test_the_rules_can_be_listed() -> None:
    assert run("lint", "--list").stdout.startswith("R01 ")
    rules = json.loads(run("lint", "--list", "--json").stdout)["rules"]
    assert set(rules[0]) == {"id", "severity", "topic", "title", "why", "fix"}
    assert run("lint", "--rules").stdout.startswith("# Rules of the Collector linter")


def test_without_an_argument_each_shipped_config_has_a_line_of_its_own() -> None:
    lines = run("lint").output.splitlines()
    assert [line.rpartition("/")[2] for line in lines] == [
        "dev.yaml: clean",
        "gateway.yaml: clean",
        "agent.yaml: clean",
        "audit.yaml: clean",
    ]
