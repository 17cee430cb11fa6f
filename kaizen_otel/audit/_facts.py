"""What a trail shows, counted record by record: the ground that a report stands on.  Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kaizen_otel import semconv
from kaizen_otel.audit import record as names
from kaizen_otel.audit._content import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel.audit.query import StoredRecord

ACTORS_MAX: Final = 10_000
"""How many actors are told apart; whoever comes later is counted together."""

_OTHERS: Final = "(others)"
_APPROVER: Final = "kaizen.approval.actor.id"
_DECIDED_BY: Final = "kaizen.decision.by"
_OWN_PREFIX: Final = "kaizen.audit."
_ORIGINS: Final = (names.STREAM_ID, "audit.source.id", "server.address", "client.address")


@dataclass(slots=True, kw_only=True)
class Facts:
    """Counts over records, each taken in once with ``add``; times in nanoseconds, 0 if none.

    ``records`` are those that callers wrote; what the trail says about itself is in ``events``
    only.  ``missing`` counts the elements of PCI DSS 10.2.2 that records lack, by element.
    """

    records: int = 0
    first_ns: int = 0
    last_ns: int = 0
    events: Counter[str] = field(default_factory=Counter[str])
    actors: Counter[str] = field(default_factory=Counter[str])
    agents: Counter[str] = field(default_factory=Counter[str])
    results: Counter[str] = field(default_factory=Counter[str])
    phases: Counter[str] = field(default_factory=Counter[str])
    missing: Counter[str] = field(default_factory=Counter[str])
    streams_started: set[str] = field(default_factory=set[str])
    streams: set[str] = field(default_factory=set[str])
    named_users: int = 0
    decided: int = 0
    decided_by_people: int = 0

    def add(self, record: StoredRecord) -> None:
        """Take in one record."""
        attributes, event = record.attributes, record.event_name
        self.events[event] += 1
        if record.time_ns:
            self.first_ns = min(self.first_ns or record.time_ns, record.time_ns)
            self.last_ns = max(self.last_ns, record.time_ns)
        stream_id = str(attributes.get(names.STREAM_ID, ""))
        self.streams.add(stream_id)
        if event == names.EVENT_STARTED:
            self.streams_started.add(stream_id)
        if event.startswith(_OWN_PREFIX):
            return
        self.records += 1
        actor = str(attributes.get(names.ACTOR_ID, ""))
        _count(self.actors, actor)
        _count(self.agents, record.agent)
        self.results[record.result] += 1
        self.phases[str(attributes.get(names.PHASE, ""))] += 1
        self.missing.update(_missing(record))
        if attributes.get(names.ACTOR_TYPE) == "user" and not actor.startswith(PREFIX):
            self.named_users += 1
        if event == semconv.EVENT_APPROVAL_DECIDED:
            self.decided += 1
            by = attributes.get(_DECIDED_BY) == "human"
            self.decided_by_people += bool(by or attributes.get(_APPROVER))

    @property
    def denials(self) -> int:
        """How many actions were denied."""
        return self.results["denied"]

    @property
    def span_ns(self) -> int:
        """From the first record to the last one."""
        return self.last_ns - self.first_ns

    def count(self, *events: str) -> int:
        """How many records have one of these event names."""
        return sum(self.events[event] for event in events)

    def as_object(self) -> Mapping[str, object]:
        """Return the counts as JSON has them."""
        return {
            "records": self.records,
            "first_unix_nano": str(self.first_ns),
            "last_unix_nano": str(self.last_ns),
            "events": dict(self.events.most_common()),
            "actors": len(self.actors),
            "agents": dict(self.agents.most_common(100)),
            "results": dict(self.results),
            "streams": len(self.streams),
            "streams_without_start": len(self.streams - self.streams_started),
            "denials": self.denials,
            "approvals_decided": self.decided,
            "approvals_decided_by_people": self.decided_by_people,
            "users_by_name": self.named_users,
            "missing_elements": dict(self.missing),
        }


def _count(counter: Counter[str], value: str) -> None:
    if value:
        is_known = value in counter or len(counter) < ACTORS_MAX
        counter[value if is_known else _OTHERS] += 1


def _missing(record: StoredRecord) -> list[str]:
    """Return which of the six elements of PCI DSS 10.2.2 a record lacks."""
    attributes = record.attributes
    has = {
        "user": attributes.get(names.ACTOR_ID) not in {None, "", "unknown"},
        "type of event": bool(record.event_name),
        "date and time": record.time_ns > 0,
        "success or failure": attributes.get(names.OUTCOME) in {"success", "failure"}
        or attributes.get(names.PHASE) == "intent",
        "origin": any(attributes.get(name) for name in _ORIGINS) and bool(record.resource),
        "affected resource": bool(attributes.get(names.TARGET_ID)),
    }
    return [name for name, is_there in has.items() if not is_there]
