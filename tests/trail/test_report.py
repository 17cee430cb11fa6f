"""Reports: what the trail shows and what it does not, and never more than that."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from kaizen_otel._cli.audit import audit
from kaizen_otel._signing import Ed25519Signer
from kaizen_otel.audit._facts import ACTORS_MAX, Facts
from kaizen_otel.audit._finding import Finding, Severity, Verdict
from kaizen_otel.audit.query import StoredRecord
from kaizen_otel.audit.report import DISCLAIMER, FRAMEWORKS, Framework, Status, report
from tests.trail.query_kit import ACTIVE, SECOND_NS, START_NS, STREAM, line, signed_stream

DAY_NS = 24 * 3600 * SECOND_NS


def stored(event: str, *, day: int = 1, **attributes: object) -> StoredRecord:
    given: dict[str, object] = {
        "audit.actor.id": "agent-1",
        "audit.actor.type": "service",
        "audit.action": "EXECUTE",
        "audit.outcome": "success",
        "audit.target.id": "search",
        "audit.sequence.stream_id": STREAM,
    }
    given |= {name.replace("__", "."): value for name, value in attributes.items()}
    return StoredRecord(
        record_id="r",
        time_ns=START_NS + day * DAY_NS,
        event_name=event,
        attributes={name: value for name, value in given.items() if value is not None},
        resource={"service.name": "tests"},
    )


def facts_of(*records: StoredRecord) -> Facts:
    facts = Facts()
    for one in records:
        facts.add(one)
    return facts


def verdict(
    *findings: tuple[str, Severity], is_pinned: bool = True, anchors: int = 3, records: int = 10
) -> Verdict:
    return Verdict(
        records=records,
        duplicates=0,
        streams=(),
        findings=tuple(Finding(kind=kind, severity=one, text="") for kind, one in findings),
        counts=dict.fromkeys(findings, 1),
        anchors=anchors,
        is_pinned=is_pinned,
    )


def status_of(
    framework: Framework, requirement: str, facts: Facts, judged: Verdict | None = None
) -> list[Status]:
    made = report(framework, facts, judged or verdict())
    found = [one.status for one in made.entries if one.requirement.startswith(requirement)]
    assert found, requirement
    return found


TOOL = "kaizen.tool.execute"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_empty_trail_shows_nothing_and_meets_nothing(framework: Framework) -> None:
    made = report(framework, Facts(), verdict(records=0, is_pinned=False, anchors=0))
    assert made.count("met") == 0
    assert made.count("not shown") == len(made.entries)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_no_report_claims_compliance_and_each_says_so(framework: Framework) -> None:
    made = report(framework, facts_of(stored(TOOL)), verdict())
    text = json.dumps([[one.text, one.evidence] for one in made.entries]).lower()
    assert not re.search(r"complian|complies|compliant|certif", text)
    assert made.notes[0] == DISCLAIMER
    assert "no statement of compliance" in DISCLAIMER


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_every_answer_names_its_evidence(framework: Framework) -> None:
    for one in report(framework, facts_of(stored(TOOL)), verdict()).entries:
        assert one.evidence, one.requirement


@pytest.mark.parametrize(
    ("framework", "requirement"),
    [
        ("pci", "10.3.2"), ("hipaa", "164.312(c)"), ("gdpr", "Art. 32"), ("soc2", "CC7.2"),
        ("ai-act", "Art. 19"),
    ],
)  # fmt: skip
def test_tampering_is_not_met_everywhere(framework: Framework, requirement: str) -> None:
    facts = facts_of(stored(TOOL))
    assert "met" in status_of(framework, requirement, facts) or framework == "ai-act"
    judged = verdict(("bad_link", "tampering"))
    assert "not met" in status_of(framework, requirement, facts, judged)


def test_a_key_that_the_trail_publishes_itself_shows_no_integrity() -> None:
    facts = facts_of(stored(TOOL))
    assert status_of("pci", "10.3.2", facts, verdict(is_pinned=False)) == ["not shown"]
    judged = verdict(("unsigned_tail", "incomplete"))
    assert status_of("pci", "10.3.2", facts, judged) == ["not shown"]


def test_without_anchors_nobody_can_say_that_nothing_was_lost() -> None:
    facts = facts_of(stored(TOOL))
    assert status_of("pci", "10.7.2", facts) == ["met"]
    assert status_of("pci", "10.7.2", facts, verdict(anchors=0)) == ["not shown"]
    assert status_of("pci", "10.7.2", facts, verdict(("gap", "incomplete"))) == ["not met"]


def test_the_six_elements_are_looked_for_in_each_record() -> None:
    assert status_of("pci", "10.2.2", facts_of(stored(TOOL))) == ["met"]
    for lacking in (
        {"audit__actor__id": "unknown"},
        {"audit__outcome": "unknown"},
        {"audit__target__id": None},
        {"audit__sequence__stream_id": None},
    ):
        facts = facts_of(stored(TOOL), stored(TOOL, **lacking))
        assert status_of("pci", "10.2.2", facts) == ["not met"], lacking
    intent = stored(TOOL, audit__outcome="unknown", kaizen__audit__phase="intent")
    assert status_of("pci", "10.2.2", facts_of(intent)) == ["met"], "it has no outcome yet"


def test_a_young_trail_shows_no_retention_and_a_pruned_one_shows_that_it_is_short() -> None:
    year = [stored(TOOL, day=0), stored(TOOL, day=365)]
    month = [stored(TOOL, day=0), stored(TOOL, day=30)]
    pruned = stored("kaizen.audit.pruned", day=30)
    assert status_of("pci", "10.5.1", facts_of(*year)) == ["met"]
    assert status_of("pci", "10.5.1", facts_of(*month)) == ["not shown"]
    assert status_of("pci", "10.5.1", facts_of(*month, pruned)) == ["not met"]
    assert status_of("hipaa", "164.316", facts_of(*year)) == ["not shown"]
    assert "met" in status_of("ai-act", "Art. 19", facts_of(*year))


def test_a_stream_without_its_start_is_told() -> None:
    started = stored("kaizen.audit.started")
    assert status_of("pci", "10.2.1.6", facts_of(started, stored(TOOL))) == ["met"]
    other = stored(TOOL, audit__sequence__stream_id="other")
    assert status_of("pci", "10.2.1.6", facts_of(started, other)) == ["not met"]


def test_people_by_name_are_not_minimised() -> None:
    hidden = stored(TOOL, audit__actor__type="user", audit__actor__id="hmac-sha256:k:aa")
    named = stored(TOOL, audit__actor__type="user", audit__actor__id="bob")
    assert status_of("gdpr", "Art. 5(1)(c)", facts_of(hidden)) == ["met"]
    assert status_of("gdpr", "Art. 5(1)(c)", facts_of(hidden, named)) == ["not met"]


def test_oversight_is_what_people_decided_and_not_what_a_policy_did() -> None:
    decided = "kaizen.approval.decided"
    policy = facts_of(stored(decided, kaizen__decision__by="policy"))
    human = facts_of(stored(decided, kaizen__decision__by="human"))
    assert status_of("ai-act", "Art. 14", policy) == ["not shown"]
    assert status_of("ai-act", "Art. 14", human) == ["met"]


def test_the_lifetime_of_an_agent_is_its_start_and_what_it_did() -> None:
    started = stored("kaizen.agent.start")
    assert status_of("ai-act", "Art. 12", facts_of(stored(TOOL)))[0] == "not shown"
    assert status_of("ai-act", "Art. 12", facts_of(started, stored(TOOL)))[0] == "met"


def test_denials_accesses_and_erasures_are_counted() -> None:
    facts = facts_of(
        stored("kaizen.tool.denied", audit__outcome="failure", kaizen__decision="deny"),
        stored("kaizen.audit.accessed"),
        stored("kaizen.audit.erased"),
    )
    assert status_of("pci", "10.2.1.4", facts) == ["met"]
    assert status_of("pci", "10.2.1.3", facts) == ["met"]
    assert status_of("gdpr", "Art. 17", facts) == ["met"]
    assert (facts.records, facts.denials) == (1, 1)


def test_the_dates_of_the_ai_act_are_those_of_the_changed_text() -> None:
    notes = " ".join(report("ai-act", Facts(), verdict()).notes)
    assert "2 December 2027" in notes
    assert "2026)" not in notes
    assert "August 2026" not in notes


def test_actors_are_counted_in_bounded_memory() -> None:
    facts = Facts()
    for number in range(ACTORS_MAX + 100):
        facts.add(stored(TOOL, audit__actor__id=f"a{number}"))
    assert len(facts.actors) == ACTORS_MAX + 1
    assert facts.actors["(others)"] == 100


def test_the_command_prints_each_requirement_and_its_evidence(tmp_path: Path) -> None:
    trail = tmp_path / "trail"
    trail.mkdir()
    records = signed_stream(Ed25519Signer.generate(), count=5)
    (trail / ACTIVE).write_bytes(b"".join(line(one) for one in records))
    env = {
        "KAIZEN_OTEL_AUDIT_DIR": str(trail),
        "KAIZEN_OTEL_SPOOL_DIR": str(tmp_path / "spool"),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    runner = CliRunner()
    result = runner.invoke(audit, ["report", "--framework", "pci"], env=env, standalone_mode=False)
    assert result.return_value == 0, result.output
    assert "MET        10.2.1.6" in result.stdout
    assert "           1 stream\n" in result.stdout
    assert DISCLAIMER in result.stdout
    arguments = ["report", "--framework", "gdpr", "--json", "--since", "2020-01-01"]
    result = runner.invoke(audit, arguments, env=env, standalone_mode=False)
    found = json.loads(result.stdout)
    assert (found["facts"]["records"], found["verdict_exit_code"]) == (5, 0)
    with (trail / ACTIVE).open("ab") as file:
        file.write(b"garbage\n")
    result = runner.invoke(audit, arguments, env=env, standalone_mode=False)
    assert result.return_value == 2
