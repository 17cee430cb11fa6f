"""Small faults in the templates, as an editor's hand makes them, and whether anything notices.

``python -m tests.chart.kit.mutants`` lists them.  A mutant is one changed line.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import yaml

from tests.chart.kit import golden, refusals
from tests.chart.kit.rendering import RefusedError, Values, chart_files, merged, parse
from tests.chart.kit.variants import Charts, Variant, variants

#: One word for another that is as well-formed and wrong.
_WORDS: Final = (
    ("Retain", "Delete"),
    ("ReadWriteOnce", "ReadWriteMany"),
    ("TCP", "UDP"),
    ("UDP", "TCP"),
    ("ClientIP", "None"),
    ("RuntimeDefault", "Unconfined"),
    ("OnRootMismatch", "Always"),
    ("Parallel", "OrderedReady"),
    ("drop: [ALL]", "drop: []"),
    ("drop: [ALL]", "add: [ALL]"),
    ("[Ingress, Egress]", "[Ingress]"),
    ("[Ingress, Egress]", "[Egress]"),
    ("operator: In,", "operator: NotIn,"),
    ("Local", "Cluster"),
    ("otlp-grpc", "otlp-http"),
    ("otlp-http", "otlp-grpc"),
    ("port: health", "port: metrics"),
    ("port: metrics", "port: health"),
    ("clusterIP: None", 'clusterIP: ""'),
    ("path: /ready", "path: /"),
    ("httpGet", "tcpSocket"),
    ("secretKeyRef", "configMapKeyRef"),
    ("Forbid", "Allow"),
    ("Replace", "Allow"),
    ("restartPolicy: Never", "restartPolicy: Always"),
    ("restartPolicy: OnFailure", "restartPolicy: Never"),
    ("restartPolicy: Always", "restartPolicy: OnFailure"),
    ("pre-install", "post-install"),
    ("pre-upgrade", "post-upgrade"),
    ("hook-succeeded", "hook-failed"),
    ("before-hook-creation", "hook-failed"),
    ("Fail", "Ignore"),
    ("Deny", "Audit"),
    ("[server auth, client auth]", "[client auth]"),
    ("https", "http"),
    ("ClusterIssuer", "Issuer"),
    ('"gateway"', '"audit"'),
    ('"audit"', '"gateway"'),
    ('"agent"', '"gateway"'),
    ("nameOverride", "fullnameOverride"),
    ("digest", "tag"),
    ("requests", "limits"),
    ("telemetryFrom", "auditFrom"),
    ("auditFrom", "telemetryFrom"),
    ("metricsFrom", "telemetryFrom"),
    ("minReplicas", "maxReplicas"),
    ("maxReplicas", "minReplicas"),
    ("whenScaled", "whenDeleted"),
    ("tls.crt", "tls.key"),
    ("tls.key", "tls.crt"),
    ("hasPrefix", "hasSuffix"),
    ("trimPrefix", "trimSuffix"),
)
_OPERATORS: Final = (
    *(("and", "or"), ("or", "and"), ("eq", "ne")),
    *(("ne", "eq"), ("gt", "lt"), ("lt", "gt")),
)
_FIELD: Final = re.compile(r"^\s*[\w./\"-]+: *\S")
_ITEM: Final = re.compile(r"^\s*- (?!name: )[\w{\"/-]")
#: Not the width of an indentation: one more is the same YAML.
_NUMBER: Final = re.compile(r"(?<!indent )(?<![\w.\-\"/%$])\d+(?![\w.%])")
#: Not where only its presence counts: a text that is not empty, a key of a set.
_FLAG: Final = re.compile(r"(?<!\}\})(?<!name )\b(true|false)\b")
_CONDITION: Final = re.compile(r"\{\{-? (else if|if) (.*?) -?\}\}")
_INCLUDE: Final = re.compile(r"^\s*(?:- )?\{\{-? (?:include|toYaml) [^{}]*\}\}\s*$")
_TERNARY: Final = re.compile(
    r"\bternary ((?:\"[^\"]*\"|\([^()]*\)|\S+)) ((?:\"[^\"]*\"|\([^()]*\)|\S+))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One changed line of one file."""

    path: str
    line: int
    kind: str
    before: str
    after: str

    def __str__(self) -> str:
        return (
            f"{self.path}:{self.line}: {self.kind}: {self.before.strip()} -> {self.after.strip()}"
        )

    def applied(self, files: Mapping[str, str]) -> dict[str, str]:
        """Only the changed file."""
        lines = files[self.path].split("\n")
        assert lines[self.line - 1] == self.before
        lines[self.line - 1] = self.after
        return {self.path: "\n".join(lines)}


def _code_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without comments."""
    inside = False
    for number, line in enumerate(text.split("\n"), 1):
        if re.match(r"^\s*\{\{-? ?/\*", line):
            inside = "*/" not in line
            continue
        if inside:
            inside = "*/" not in line
            continue
        if line.strip() and not line.lstrip().startswith("#"):
            yield number, line


def _of_line(line: str) -> Iterator[tuple[str, str]]:
    """The kinds of mutants of a line, and the line afterwards."""
    if "fail " in line:
        # Its text is judged by the refusals; without the check the values go through.
        yield "drop the refusal", re.sub(r"\{\{-? fail .*\}\}", "", line)
        return
    if _FIELD.match(line) and not line.lstrip().startswith("{{"):
        yield "drop the field", ""
    if _ITEM.match(line):
        yield "drop the item", ""
    if _INCLUDE.match(line):
        yield "drop what is included", ""
    for one, other in _WORDS:
        if one in line:
            yield "other word", line.replace(one, other, 1)
    yield from _inside(line)


def _inside(line: str) -> Iterator[tuple[str, str]]:
    """Changes of a value or of an expression."""
    for found in _FLAG.finditer(line):
        other = "false" if found[0] == "true" else "true"
        yield "flip", line[: found.start()] + other + line[found.end() :]
    for found in _NUMBER.finditer(line):
        yield "add one", line[: found.start()] + str(int(found[0]) + 1) + line[found.end() :]
    for found in _CONDITION.finditer(line):
        start, end = found.span(2)
        yield "negate", f"{line[:start]}not ({found[2]}){line[end:]}"
    for one, other in _OPERATORS:
        for found in re.finditer(rf"(?<=[( ]){one}(?= )", line if "{{" in line else ""):
            yield "other operator", line[: found.start()] + other + line[found.end() :]
    for found in _TERNARY.finditer(line):
        swapped = f"ternary {found[2]} {found[1]}"
        yield "swap the branches", line[: found.start()] + swapped + line[found.end() :]


def mutants(files: Mapping[str, str] | None = None) -> list[Mutant]:
    """All of them, in the order of the files."""
    found: dict[tuple[str, int, str], Mutant] = {}
    for path, text in (files or chart_files()).items():
        if not path.startswith("templates/"):
            continue
        for number, line in _code_lines(text):
            for kind, after in _of_line(line):
                if after != line:
                    one = Mutant(path=path, line=number, kind=kind, before=line, after=after)
                    found.setdefault((path, number, after), one)
    return list(found.values())


class Judge:
    """What notices a mutant: the committed renders, and the refusals."""

    def __init__(self, charts: Charts, cases: Sequence[refusals.Case] | None = None) -> None:
        self._charts = charts
        self._files = chart_files()
        # What another test holds equal to the committed renders.
        self._texts = {one.name: charts.manifests(one) for one in variants()}
        #: What noticed last comes first: neighbours are noticed by the same.
        self._order = list(variants())
        self._cases = list(refusals.cases() if cases is None else cases)
        self._changed: dict[str, str] = {}
        self._loaded: set[str] = set()

    def noticed_by(self, mutant: Mutant) -> str:
        """The name of what notices; empty if nothing does."""
        self._changed = mutant.applied(self._files)
        self._loaded.clear()
        if "valid" in mutant.path or mutant.kind == "drop the refusal":
            return self._by_refusals() or self._by_renders()
        return self._by_renders() or self._by_refusals()

    def _text(self, one: Variant, changed: Values | None = None) -> dict[str, str]:
        """A render by the mutant."""
        renderer, key = self._charts.renderer, f"mutant {one.chart}"
        if key not in self._loaded:
            renderer.load(key, one.adapted(self._changed), base=one.chart)
            self._loaded.add(key)
        return renderer.manifests(merged(one.values, changed or {}), chart=key)

    def _by_renders(self) -> str:
        for one in list(self._order):
            if self._differs(one):
                self._order.remove(one)
                self._order.insert(0, one)
                return f"render {one.name}"
        return ""

    def _differs(self, one: Variant) -> bool:
        """As the comparison with the committed render sees it."""
        there = self._texts[one.name]
        try:
            text = self._text(one)
            changed = [path for path in there if text.get(path) != there[path]]
            found = golden.normal(parse({path: text.get(path, "") for path in changed}))
        except (RefusedError, yaml.YAMLError, KeyError, TypeError, AttributeError):
            return True
        wanted = golden.normal(parse({path: there[path] for path in changed}))
        return bool(golden.differences(found, wanted))

    def _by_refusals(self) -> str:
        for case in list(self._cases):
            if not refusals.fault_of(case, self._text):
                continue
            # A case that fails anyway notices nothing.
            if not refusals.fault_of(case, self._charts.text):
                self._cases.remove(case)
                self._cases.insert(0, case)
                return f"case {case.name}"
        return ""


if __name__ == "__main__":
    for each in mutants():
        sys.stdout.write(f"{each}\n")
