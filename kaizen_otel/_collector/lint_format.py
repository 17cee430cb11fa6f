"""Findings as text, JSON and GitHub annotations, and the page of the rules; pure."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kaizen_otel._collector.lint import Finding, Report
    from kaizen_otel._collector.rules import Rule

#: Of the JSON answer; raised when a key changes its meaning or goes.
SCHEMA_VERSION: Final = 1

_TOPICS: Final = {
    "audit": ("Audit", "The sender's success must mean that the record is in the file."),
    "loss": ("Loss", "What is acknowledged must survive outages, kills and power cuts."),
    "security": ("Security", "Who can get in, what can be read, what is told to whom."),
    "shape": ("Shape", "What fails at the start or does nothing."),
}


def as_text(reports: Sequence[Report]) -> str:
    """One line per finding with its fix below, and a line that sums up each config."""
    lines: list[str] = []
    fixes_shown: set[str] = set()
    for report in reports:
        for finding in report.findings:
            place = finding.place
            lines.append(
                f"{place.file}:{place.line}:{place.column}: {finding.severity} {finding.rule}: "
                f"{finding.message}"
            )
            if finding.rule not in fixes_shown:
                fixes_shown.add(finding.rule)
                lines += [f"    why: {finding.why}", f"    fix: {finding.fix}"]
    return "\n".join([*lines, *map(_summary, reports)])


def _summary(report: Report) -> str:
    errors, warnings, allowed = report.count("error"), report.count("warning"), len(report.allowed)
    found = f"{errors} error(s), {warnings} warning(s)" if errors or warnings else "clean"
    names = " + ".join(report.files)
    return f"{names}: {found}" + (f", {allowed} allowed by comments" if allowed else "")


def as_json(reports: Sequence[Report]) -> str:
    """The answer of ``--json``: ``schema``, ``configs`` and the counts over all of them."""
    return json.dumps(
        {
            "schema": SCHEMA_VERSION,
            "errors": sum(report.count("error") for report in reports),
            "warnings": sum(report.count("warning") for report in reports),
            "configs": [
                {
                    "files": list(report.files),
                    "findings": [_finding(each) for each in report.findings],
                    "allowed": [_finding(each) for each in report.allowed],
                }
                for report in reports
            ],
        },
        ensure_ascii=False,
    )


def _finding(finding: Finding) -> dict[str, Any]:
    value = asdict(finding)
    place = value.pop("place")
    return {**value, "path": list(finding.path), **place}


def as_github(reports: Sequence[Report]) -> str:
    """Workflow commands that GitHub shows beside the lines of a change."""
    return "\n".join(_annotation(each) for report in reports for each in report.findings)


def _annotation(finding: Finding) -> str:
    place = finding.place
    message = f"{finding.message}. {finding.why} Fix: {finding.fix}"
    return (
        f"::{finding.severity} file={_property(place.file)},line={place.line},"
        f"col={place.column},title={_property(finding.rule)}::{_escaped(message)}"
    )


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def rules_as_text(rules: Sequence[Rule]) -> str:
    """One line per rule."""
    return "\n".join(
        f"{rule.id}  {rule.severity:<7}  {rule.topic:<8}  {rule.title}" for rule in rules
    )


def rules_as_json(rules: Sequence[Rule]) -> str:
    """All rules with why and fix."""
    keys = ("id", "severity", "topic", "title", "why", "fix")
    return json.dumps(
        {
            "schema": SCHEMA_VERSION,
            "rules": [{key: getattr(rule, key) for key in keys} for rule in rules],
        },
        ensure_ascii=False,
    )


_PAGE_HEAD: Final = """\
# Rules of the Collector linter

What `kaizen-otel collector lint` refuses, why, and what to write instead.  Ids stay: a rule that
goes leaves its number unused.  This page is made from the rules by `collector lint --rules`.
"""

_PAGE_FOOT: Final = """\
R01, R03, R04 and R38 are errors where they concern an audit pipeline.  A pipeline is one when its
id says so (`logs/audit`, `logs/audit-eu`; not `logs/audit_copy`) or when it writes to a file
exporter whose id does.
"""


def rules_as_page(rules: Sequence[Rule]) -> str:
    """The reference page, in Markdown."""
    lines = [_PAGE_HEAD]
    for topic, (title, meaning) in _TOPICS.items():
        lines += [f"## {title}", "", meaning, ""]
        lines += ["| rule | severity | what | why | fix |", "|---|---|---|---|---|"]
        lines += [
            f"| {rule.id} | {rule.severity} | {_cell(rule.title)} | {_cell(rule.why)} | "
            f"{_cell(rule.fix)} |"
            for rule in rules
            if rule.topic == topic
        ]
        lines.append("")
    return "\n".join([*lines, _PAGE_FOOT])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")
