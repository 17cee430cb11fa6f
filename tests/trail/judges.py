"""Two verifiers that share no code, asked in the same way."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._trail.verify import Settings, Sources, verify
from kaizen_otel.audit.trust import parse_trust
from tests.trail import independent_verifier

if TYPE_CHECKING:
    from kaizen_otel.audit._finding import Verdict
    from tests.trail.attack import Attack, Expected
    from tests.trail.trail_model import Trail

#: Our kinds of findings -> the independent verifier's.
THEIRS: Final = {
    "not_canonical": "conflict",
    "unchained": "conflict",
    "bad_link": "conflict",
    "fork": "conflict",
    "anchor_mismatch": "conflict",
    "bad_start": "conflict",
    "gap": "missing",
    "truncation": "missing",
    "stream_missing": "missing",
    "gap_declared": "declared",
}


# A disk in memory, where there is one: hundreds of small folders take long on others.
_MEMORY: Final = Path("/dev/shm")
_SOME_ID: Final = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Found:
    """A finding that is not a note; ``first`` to ``last`` is where its cause lies."""

    kind: str
    stream: str
    number: int
    first: int
    last: int
    is_tampering: bool


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a verifier says."""

    findings: frozenset[Found]
    exit_code: int

    def streams(self, *, tampered: bool = False) -> set[str]:
        """The streams that are found fault with, or those with signs of tampering."""
        found = {one.stream for one in self.findings if one.is_tampering or not tampered}
        return found - {""}

    def agrees(self, other: Judgement) -> bool:
        """Whether both say the same of the trail and of every stream.

        Where there is tampering they may differ in what they call incomplete: what is missing
        depends on which of the altered records is believed.
        """
        is_tampered = self.exit_code == 1
        return (
            self.exit_code == other.exit_code
            and self.streams(tampered=True) == other.streams(tampered=True)
            and (is_tampered or self.streams() == other.streams())
        )


def ours(
    trail: Trail, *, with_trust: bool = True, with_anchors: bool = True, is_fast: bool = True
) -> Judgement:
    """Ask the verifier of ``kaizen-otel audit verify``, about files on a disk."""
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None) as name:
        folder = Path(name)
        trail.write(folder)
        verdict = verify(
            Sources(
                trails=(str(folder / "trail"),),
                anchors=(str(folder / "anchors.jsonl"),) if with_anchors else (),
            ),
            settings=Settings(
                trust=parse_trust(trail.trust_bytes(), source="test") if with_trust else None,
                is_fast=is_fast,
            ),
            filesystem=OsFilesystem(),
        )
    return judgement(verdict)


def judgement(verdict: Verdict) -> Judgement:
    """Return our verdict in the words that both verifiers share."""
    found = frozenset(
        Found(
            finding.kind,
            _stream(finding.stream_id),
            finding.sequence,
            finding.sequence_first,
            finding.sequence_last,
            finding.severity == "tampering",
        )
        for finding in verdict.findings
        if finding.severity != "note"
    )
    return Judgement(found, verdict.exit_code)


def independent(trail: Trail, *, with_trust: bool = True, with_anchors: bool = True) -> Judgement:
    """Ask the verifier that shares nothing with ours."""
    trust = {str(key["key_id"]): str(key["public_key"]) for key in trail.trusted}
    found = independent_verifier.verify(
        trail.data(),
        trust if with_trust else None,
        trail.anchor_bytes() if with_anchors else b"",
    )
    there = {
        (record.stream, record.number) for record in independent_verifier.read(trail.data(), set())
    }
    findings = frozenset(
        Found(
            kind,
            _stream(stream),
            number,
            number,
            _end_of_gap(there, stream, number) if kind == "missing" else number,
            kind not in independent_verifier.INCOMPLETE,
        )
        for kind, stream, number in found
    )
    return Judgement(findings, independent_verifier.exit_code(found))


def _end_of_gap(there: set[tuple[str, int]], stream: str, number: int) -> int:
    """The last missing number of a gap, of which that verifier names the first one only."""
    later = [at for of, at in there if of == stream and at > number]
    return min(later, default=number + 1) - 1


def _stream(name: str) -> str:
    """A stream's id; nothing for what a record of the attacker's calls one."""
    return name if len(name) == len(_SOME_ID) else ""


def is_found(expected: Expected, judgement: Judgement) -> bool:
    """Whether there is a finding of a fitting kind, in that stream and at that place."""
    kinds = expected.kinds | {THEIRS.get(kind, kind) for kind in expected.kinds}
    return any(
        finding.kind in kinds
        and finding.stream == expected.stream
        and finding.first <= expected.last
        and finding.last >= expected.first
        for finding in judgement.findings
    )


def faults(attack: Attack, trail: Trail, before: Judgement, after: Judgement) -> list[str]:
    """What a verifier missed in an attacked trail, or accused wrongly; empty if it is right.

    ``trail`` and ``before`` are the trail and what was said of it before the attack.
    """
    missed = [f"missed: {one}" for one in attack.expected if not is_found(one, after)]
    accused = (after.streams() & set(trail.streams())) - before.streams() - attack.touched
    if after.exit_code not in {1, 2}:
        missed.append(f"exit code {after.exit_code}")
    return missed + [f"accused: stream {stream}" for stream in sorted(accused)]
