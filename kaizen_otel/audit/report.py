"""What a trail shows for the requirements of a framework, requirement by requirement.  Pure.

A report says ``met``, ``not met`` or ``not shown`` about the trail alone, with the counts that say
so.  It is material for whoever judges, and never claims that anything complies: most duties of
these texts are about people and procedures, which no trail shows.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from kaizen_otel import semconv
from kaizen_otel.audit import record as names
from kaizen_otel.audit._finding import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kaizen_otel.audit._facts import Facts
    from kaizen_otel.audit._finding import Verdict

Framework = Literal["soc2", "gdpr", "hipaa", "pci", "ai-act"]
Status = Literal["met", "not met", "not shown"]

DISCLAIMER: Final = (
    "This says what the trail shows and is no statement of compliance: whether a requirement "
    "applies and is fulfilled is for a qualified person to judge."
)

_DAY_NS: Final = 24 * 3600 * 10**9
_MONTHS_12_DAYS: Final = 365
_MONTHS_6_DAYS: Final = 183
_YEARS_6_DAYS: Final = 6 * 365


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the trail shows about one requirement, and from what."""

    status: Status
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One requirement of a framework: its number there, what it asks in short, the answer."""

    requirement: str
    text: str
    status: Status
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplianceReport:
    """All requirements of a framework that are looked at, and what they were looked at with."""

    framework: Framework
    title: str
    entries: tuple[Entry, ...]
    verdict_exit_code: int
    notes: tuple[str, ...] = field(default=(DISCLAIMER,))

    def count(self, status: Status) -> int:
        """How many requirements have that answer."""
        return sum(entry.status == status for entry in self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """A trail as a report sees it: what its records say, and what ``verify`` says of it."""

    facts: Facts
    verdict: Verdict

    def findings(self, *kinds: str) -> int:
        """How many findings of these kinds there are."""
        return sum(n for (kind, _), n in self.verdict.counts.items() if kind in kinds)


def report(framework: Framework, facts: Facts, verdict: Verdict) -> ComplianceReport:
    """Return the report of one framework."""
    title, requirements, notes = _FRAMEWORKS[framework]
    trail = Trail(facts=facts, verdict=verdict)
    entries: list[Entry] = []
    for number, text, look in requirements:
        answer = look(trail)
        entries.append(
            Entry(requirement=number, text=text, status=answer.status, evidence=answer.evidence)
        )
    return ComplianceReport(
        framework=framework,
        title=title,
        entries=tuple(entries),
        verdict_exit_code=verdict.exit_code,
        notes=(DISCLAIMER, *notes),
    )


# ------------------------------------------------------------------------------- what is looked at


def _not_in_a_trail(why: str) -> Callable[[Trail], Answer]:
    def look(trail: Trail) -> Answer:
        del trail
        return Answer(status="not shown", evidence=(why,))

    return look


def _events(what: str, *events: str) -> Callable[[Trail], Answer]:
    """Met if there are records of these events; their absence shows nothing."""

    def look(trail: Trail) -> Answer:
        count = trail.facts.count(*events)
        text = f"{count} records of {what} ({', '.join(events)})"
        return Answer(status="met" if count else "not shown", evidence=(text,))

    return look


def _who_did_what(trail: Trail) -> Answer:
    facts = trail.facts
    evidence = (
        f"{facts.records} records of {len(facts.actors)} actors and {len(facts.agents)} agents",
        f"from {_moment(facts.first_ns)} to {_moment(facts.last_ns)}",
    )
    return Answer(
        status="met" if facts.records and facts.actors else "not shown", evidence=evidence
    )


def _refusals(trail: Trail) -> Answer:
    count = trail.facts.denials
    text = f"{count} denials ({trail.facts.count(semconv.EVENT_TOOL_DENIED)} of tools)"
    return Answer(status="met" if count else "not shown", evidence=(text,))


def _start_and_stop(trail: Trail) -> Answer:
    facts = trail.facts
    without = len(facts.streams - facts.streams_started)
    evidence = (
        counted(len(facts.streams), "stream"),
        f"{facts.count(names.EVENT_STARTED)} starts, {facts.count(names.EVENT_STOPPED)} stops",
        f"{without} streams without a start in this range, {trail.findings('open_stream')} open",
    )
    if not facts.streams:
        return Answer(status="not shown", evidence=evidence)
    return Answer(status="not met" if without else "met", evidence=evidence)


def _six_elements(trail: Trail) -> Answer:
    facts = trail.facts
    if not facts.records:
        return Answer(status="not shown", evidence=("no records",))
    lacking = [f"{count} records without {name}" for name, count in facts.missing.most_common()]
    evidence = (f"{facts.records} records", *(lacking or ["all six elements in each"]))
    return Answer(status="not met" if lacking else "met", evidence=evidence)


def _integrity(trail: Trail) -> Answer:
    verdict = trail.verdict
    tampering = verdict.count("tampering")
    unsigned = trail.findings("unsigned_tail", "missing_signature")
    evidence = (
        f"{verdict.records} chained records",
        f"{tampering} findings of tampering, {verdict.count('incomplete')} of incompleteness",
        f"{unsigned} unsigned tails; signatures checked: {verdict.signatures}",
        "keys pinned by a trust file"
        if verdict.is_pinned
        else "keys published by the trail itself",
        f"{verdict.anchors} anchors compared",
    )
    if tampering:
        return Answer(status="not met", evidence=evidence)
    is_shown = verdict.records and verdict.is_pinned and not unsigned
    return Answer(status="met" if is_shown else "not shown", evidence=evidence)


def _nothing_lost(trail: Trail) -> Answer:
    """Whether a failure of logging leaves a mark, and whether one was left without."""
    lost = trail.findings("gap", "truncation", "stream_missing")
    told = trail.facts.count(names.EVENT_GAP)
    evidence = (
        f"{lost} gaps, cut ends or missing streams",
        f"{told} gap records, by which an agent said what could not be stored",
        f"{trail.findings('intent_without_outcome')} intents without an outcome",
    )
    if lost:
        return Answer(status="not met", evidence=evidence)
    if not trail.verdict.anchors:
        why = "no anchors were given, without which a cut end cannot be seen"
        return Answer(status="not shown", evidence=(*evidence, why))
    return Answer(status="met", evidence=evidence)


def _kept(days: int) -> Callable[[Trail], Answer]:
    def look(trail: Trail) -> Answer:
        facts = trail.facts
        span = facts.span_ns // _DAY_NS
        pruned = facts.count(names.EVENT_PRUNED)
        evidence = (f"records over {span} days of {days}", f"{pruned} records of pruning")
        if span >= days:
            return Answer(status="met", evidence=evidence)
        # A young trail shows nothing; one that was pruned shows that it was not kept.
        return Answer(status="not met" if pruned else "not shown", evidence=evidence)

    return look


def _clocks(trail: Trail) -> Answer:
    steps = trail.findings("clock_step")
    evidence = (f"{steps} steps of a clock",)
    return Answer(status="not met" if steps else "not shown", evidence=evidence)


def _examined(trail: Trail) -> Answer:
    count = trail.facts.count(names.EVENT_ACCESSED)
    text = f"{count} records of somebody reading the trail (--record-access)"
    return Answer(status="met" if count else "not shown", evidence=(text,))


def _minimised(trail: Trail) -> Answer:
    facts = trail.facts
    if not facts.records:
        return Answer(status="not shown", evidence=("no records",))
    text = f"{facts.named_users} of {facts.records} records name a user in plain text"
    return Answer(status="not met" if facts.named_users else "met", evidence=(text,))


def _erasure(trail: Trail) -> Answer:
    count = trail.facts.count(names.EVENT_ERASED)
    text = f"{count} records of a subject's key erased"
    return Answer(status="met" if count else "not shown", evidence=(text,))


def _limited(trail: Trail) -> Answer:
    count = trail.facts.count(names.EVENT_PRUNED)
    days = trail.facts.span_ns // _DAY_NS
    evidence = (f"{count} records of pruning", f"records over {days} days")
    return Answer(status="met" if count else "not shown", evidence=evidence)


def _oversight(trail: Trail) -> Answer:
    facts = trail.facts
    evidence = (
        f"{facts.count(semconv.EVENT_APPROVAL_REQUESTED)} approvals asked for",
        f"{facts.decided} decided, {facts.decided_by_people} of them by people",
        f"{facts.denials} denials, {facts.count(semconv.EVENT_INTERRUPT)} interrupts",
    )
    is_shown = facts.decided_by_people or facts.count(semconv.EVENT_INTERRUPT)
    return Answer(status="met" if is_shown else "not shown", evidence=evidence)


def _lifetime(trail: Trail) -> Answer:
    facts = trail.facts
    evidence = (
        f"{facts.count(semconv.EVENT_AGENT_START)} starts of agents",
        f"{facts.count(semconv.EVENT_AGENT_END)} ends of agents",
        f"{facts.count(semconv.EVENT_MODEL_CALL)} records of model calls",
        f"{facts.count(semconv.EVENT_TOOL_EXECUTE)} records of tools",
        f"{facts.count(semconv.EVENT_MEMORY_READ, semconv.EVENT_MEMORY_WRITE)} records of memory",
    )
    work = facts.count(semconv.EVENT_MODEL_CALL, semconv.EVENT_TOOL_EXECUTE)
    is_shown = facts.count(semconv.EVENT_AGENT_START) and work
    return Answer(status="met" if is_shown else "not shown", evidence=evidence)


def _moment(time_ns: int) -> str:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=time_ns // 10**9)
    return moment.isoformat()


_Requirement = tuple[str, str, "Callable[[Trail], Answer]"]
_PROCEDURE: Final = _not_in_a_trail("a procedure of people, which no trail shows")

_PCI: Final[Sequence[_Requirement]] = (
    ("10.2.1", "audit logs are enabled and active", _who_did_what),
    ("10.2.1.3", "access to audit logs is recorded", _examined),
    ("10.2.1.4", "refused access attempts are recorded", _refusals),
    ("10.2.1.5", "changes of credentials are recorded",
     _events("keys changed", names.EVENT_KEY_ROTATED)),
    ("10.2.1.6", "start, stop and pause of logging are recorded", _start_and_stop),
    ("10.2.1.1, .2, .7", "access to cardholder data, administrators' actions, system objects",
     _not_in_a_trail("which data and which actors these are is not known to a trail of agents")),
    ("10.2.2", "each record has the six elements", _six_elements),
    ("10.3.1", "who may read the logs is restricted",
     _not_in_a_trail("permissions of files and stores are not in the trail")),
    ("10.3.2, 10.3.4", "logs are protected from change, and changes are detected", _integrity),
    ("10.3.3", "logs are backed up promptly to a central server",
     _not_in_a_trail("copies are not in the trail; anchors show that checkpoints left it")),
    ("10.4.1.1", "logs are reviewed by automated means", _examined),
    ("10.5.1", "12 months of history", _kept(_MONTHS_12_DAYS)),
    ("10.6", "clocks are synchronised", _clocks),
    ("10.7.2", "failures of logging are detected", _nothing_lost),
)  # fmt: skip
_HIPAA: Final[Sequence[_Requirement]] = (
    ("164.312(b)", "activity is recorded", _who_did_what),
    ("164.312(b)", "activity is examined", _examined),
    ("164.312(c)(1), (2)", "integrity is protected and corroborated", _integrity),
    ("164.308(a)(1)(ii)(D)", "records of activity are reviewed regularly", _PROCEDURE),
    ("164.316(b)(2)(i)", "documentation is kept for 6 years, commonly applied to logs",
     _kept(_YEARS_6_DAYS)),
)  # fmt: skip
_SOC2: Final[Sequence[_Requirement]] = (
    ("CC7.2", "components are monitored for anomalies: activity is recorded", _who_did_what),
    ("CC7.2", "components are monitored for anomalies: refusals are recorded", _refusals),
    ("CC7.2", "failures of the record itself are detected", _nothing_lost),
    ("CC7.2", "the record is protected from change", _integrity),
    ("CC7.3", "events are evaluated", _examined),
    ("CC7.3", "incidents are acted upon", _PROCEDURE),
)
_GDPR: Final[Sequence[_Requirement]] = (
    ("Art. 5(1)(c)", "data are minimised: people by pseudonym", _minimised),
    ("Art. 5(1)(e)", "storage is limited", _limited),
    ("Art. 17", "erasure", _erasure),
    ("Art. 25", "protection by design: people by pseudonym unless told otherwise", _minimised),
    ("Art. 30", "records of processing activities",
     _not_in_a_trail("a trail is not the register that this article asks for")),
    ("Art. 32", "integrity of processing", _integrity),
)  # fmt: skip
_AI_ACT: Final[Sequence[_Requirement]] = (
    ("Art. 12", "events are recorded automatically over the lifetime", _lifetime),
    ("Art. 12", "nothing recorded was lost unnoticed", _nothing_lost),
    ("Art. 14", "human oversight", _oversight),
    ("Art. 19, 26(6)", "logs are kept for at least 6 months", _kept(_MONTHS_6_DAYS)),
    ("Art. 19, 26(6)", "logs are what was recorded", _integrity),
)
_AI_ACT_DATES: Final = (
    "The duties for high-risk systems apply from 2 December 2027 (Annex III) and 2 August 2028 "
    "(Annex I), by Regulation (EU) 2026/1744."
)
_PSEUDONYMS: Final = "A keyed pseudonym (HMAC) is still personal data of whoever it stands for."

_FRAMEWORKS: Final[Mapping[Framework, tuple[str, Sequence[_Requirement], tuple[str, ...]]]] = {
    "ai-act": ("EU AI Act", _AI_ACT, (_AI_ACT_DATES,)),
    "gdpr": ("GDPR", _GDPR, (_PSEUDONYMS,)),
    "hipaa": ("HIPAA Security Rule", _HIPAA, ()),
    "pci": ("PCI DSS v4.0.1, requirement 10", _PCI, ()),
    "soc2": ("SOC 2, common criteria", _SOC2, ()),
}
FRAMEWORKS: Final = tuple(_FRAMEWORKS)
