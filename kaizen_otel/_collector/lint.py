"""Judge a Collector config: every rule over the merged tree, minus what comments allow; pure.

The rules are in ``rules_audit``, ``rules_loss``, ``rules_open``, ``rules_secret`` and
``rules_shape``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel._collector import (
    rules_audit,
    rules_loss,
    rules_open,
    rules_secret,
    rules_shape,
)
from kaizen_otel._collector.config_model import Config
from kaizen_otel._collector.config_tree import places_along
from kaizen_otel._collector.rules import Rule

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from kaizen_otel._collector.config_tree import Allowance, Path, Place, Source
    from kaizen_otel._collector.rules import ComponentFacts, Hit, Severity

_COMMENTS: Final = Rule(
    id="R43",
    topic="shape",
    title="A comment that allows something says what and why",
    severity="warning",
    why="A comment without a reason cannot be judged by whoever reads it next, and one that allows "
    "nothing any more hides the next finding in its place.",
    fix="Write # kaizen-lint: allow R04 because <reason>, or remove the comment.",
    check=lambda _config, _facts: iter(()),
)

RULES: Final = tuple(
    sorted(
        (
            *rules_audit.RULES,
            *rules_loss.RULES,
            *rules_open.RULES,
            *rules_secret.RULES,
            *rules_shape.RULES,
            _COMMENTS,
        ),
        key=lambda rule: rule.id,
    )
)

# The sections themselves; a comment there would cover half of a config.
_SECTIONS_DEPTH: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One objection, with its place."""

    rule: str
    severity: Severity
    place: Place
    path: Path
    message: str
    why: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was found, what comments allow of it."""

    files: tuple[str, ...]
    findings: tuple[Finding, ...]
    allowed: tuple[Finding, ...]

    def count(self, severity: Severity) -> int:
        """How many findings have a severity."""
        return sum(1 for finding in self.findings if finding.severity == severity)


def lint(source: Source, facts: ComponentFacts, *, ignored: Collection[str] = ()) -> Report:
    """All findings in the order of the files, without the ``ignored`` rules."""
    config = Config(source.root, source.shared)
    findings: list[Finding] = []
    allowed: list[Finding] = []
    spent: set[tuple[Allowance, str]] = set()
    allowances = _by_line(source.allowances)
    for rule in RULES:
        for hit in rule.check(config, facts):
            places = places_along(source.root, hit.path)
            finding = _finding(rule, hit, places[-1] if places else source.root.place)
            covering = [
                each
                for place in places[_SECTIONS_DEPTH:]
                for each in allowances.get((place.file, place.line, rule.id), ())
            ]
            spent |= {(each, rule.id) for each in covering}
            (allowed if covering else findings).append(finding)
    findings += _comment_findings(source, spent, ignored)
    order = {name: number for number, name in enumerate(source.names)}

    def key(finding: Finding) -> tuple[int, int, int, str]:
        place = finding.place
        return order.get(place.file, 0), place.line, place.column, finding.rule

    return Report(
        files=source.names,
        findings=tuple(sorted((each for each in findings if each.rule not in ignored), key=key)),
        allowed=tuple(sorted((each for each in allowed if each.rule not in ignored), key=key)),
    )


def _finding(rule: Rule, hit: Hit, place: Place) -> Finding:
    return Finding(
        rule=rule.id,
        severity=hit.severity or rule.severity,
        place=place,
        path=hit.path,
        message=hit.text,
        why=rule.why,
        fix=rule.fix,
    )


def _by_line(allowances: Collection[Allowance]) -> dict[tuple[str, int, str], list[Allowance]]:
    found: dict[tuple[str, int, str], list[Allowance]] = {}
    for each in allowances:
        for rule in each.rules:
            found.setdefault((each.place.file, each.covers_line, rule), []).append(each)
    return found


def _comment_findings(
    source: Source, spent: Collection[tuple[Allowance, str]], ignored: Collection[str]
) -> Iterator[Finding]:
    known = {rule.id for rule in RULES}
    for each in source.allowances:
        texts = [f"{rule} is no rule" for rule in each.rules if rule not in known]
        if not each.rules:
            texts = ["this comment names no rule or no reason, so it allows nothing"]
        # What a comment in a base allows may be what an overlay has mended.
        elif len(source.names) == 1:
            texts += [
                f"{rule} finds nothing here, so the comment allows nothing"
                for rule in each.rules
                if rule in known and (each, rule) not in spent and rule not in ignored
            ]
        for text in texts:
            yield Finding(
                rule=_COMMENTS.id,
                severity=_COMMENTS.severity,
                place=each.place,
                path=(),
                message=text,
                why=_COMMENTS.why,
                fix=_COMMENTS.fix,
            )
