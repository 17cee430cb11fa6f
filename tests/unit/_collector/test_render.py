"""``collector render``: overlays go together or are refused, and the text says what was merged."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from kaizen_otel._cli.collector import collector
from kaizen_otel._collector.overlays import Overlay, check_selection, ordered, parse_overlay
from kaizen_otel._collector.read_config import parse
from kaizen_otel._collector.render import dump, overlays, render
from kaizen_otel._collector.resources import SHIPPED_CONFIGS
from kaizen_otel.errors import ConfigError

TLS = Overlay(name="tls", bases=("gateway", "agent"))
BEARER = Overlay(name="bearer", bases=("gateway",), requires=("tls",), excludes=("basic",))
BASIC = Overlay(name="basic", bases=("gateway",), requires=("tls",), excludes=("bearer",))
KNOWN = {each.name: each for each in (TLS, BEARER, BASIC)}


def run(*arguments: str) -> Result:
    return CliRunner().invoke(collector, ["render", *arguments])


def test_an_overlay_says_in_its_first_comment_what_it_goes_with() -> None:
    text = "# kaizen-overlay: for=gateway,agent requires=tls environment=A,B\n# One.  Two.\na: 1\n"
    assert parse_overlay(text, "x") == Overlay(
        name="x",
        bases=("gateway", "agent"),
        requires=("tls",),
        environment=("A", "B"),
        summary="One.",
    )
    assert parse_overlay("a: 1\n", "x") is None
    with pytest.raises(ConfigError, match="takes for, requires"):
        parse_overlay("# kaizen-overlay: form=gateway\n", "x")


@pytest.mark.parametrize(
    ("base", "names", "reason"),
    [
        ("gateway", ["bearer"], "bearer needs tls"),
        ("gateway", ["tls", "bearer", "basic"], "bearer excludes basic"),
        ("agent", ["tls", "bearer"], "bearer is for gateway, not agent"),
        ("gateway", ["nothing"], "no overlay nothing"),
        ("gateway", ["tls", "tls"], "tls is given twice"),
    ],
)
def test_what_does_not_go_together_is_refused(base: str, names: list[str], reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        check_selection(base, names, KNOWN)


def test_an_overlay_comes_after_what_it_needs() -> None:
    assert ordered(["bearer", "tls"], KNOWN) == ["tls", "bearer"]


def test_every_shipped_combination_of_overlays_is_clean() -> None:
    known = overlays()
    count = 0
    for base in SHIPPED_CONFIGS:
        names = [name for name, overlay in known.items() if base in overlay.bases]
        for size in range(len(names) + 1):
            for chosen in combinations(names, size):
                try:
                    rendered = render(base, chosen)
                except ConfigError:
                    continue
                count += 1
                assert rendered.report.findings == (), (base, chosen)
    assert count > 90


def test_a_scalar_stays_what_it_was() -> None:
    text = 'a: "0700"\nb: 0700\nc: "yes"\nd: ${env:P:-1}\ne: null\nf: {}\ng: "a: #b"\nh: "\\\\s"\n'
    again = dump(parse(f"service:\n  {text.replace(chr(10), chr(10) + '  ')}", "x"))
    for line in ('a: "0700"', "b: 0700", 'c: "yes"', "d: ${env:P:-1}", "e: null", "f: {}"):
        assert line in again
    assert yaml.safe_load(again)["service"]["g"] == "a: #b"
    assert yaml.safe_load(again)["service"]["h"] == "\\s"


def test_the_command_prints_writes_lists_and_refuses(tmp_path: Path) -> None:
    printed = run("gateway", "--overlay", "tls")
    assert printed.exit_code == 0
    assert printed.stdout.startswith("# gateway + tls, merged by")
    file = tmp_path / "out.yaml"
    assert run("gateway", "--overlay", "tls", "--output", str(file)).stdout == ""
    assert file.read_text(encoding="utf-8") == printed.stdout
    assert {each["name"] for each in json.loads(run("--list", "--json").stdout)} == set(overlays())
    assert "tls: for" in run("agent", "--list").stdout
    answer = json.loads(run("gateway", "--overlay", "tls", "--json").stdout)
    assert answer["files"] == ["gateway.yaml", "tls.yaml"]
    assert isinstance(run("gateway", "--overlay", "bearer").exception, ConfigError)
    assert isinstance(run("nothing").exception, ConfigError)
    assert run().exit_code == 2
