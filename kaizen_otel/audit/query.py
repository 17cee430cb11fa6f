"""Ask stored records: filters over an iterable of records, in our shape and in Kaizen's.

Knows nothing of files: where records come from is the caller's business.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kaizen_otel import semconv
from kaizen_otel._otlp.decode import plain_attributes
from kaizen_otel.audit import record as names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from kaizen_otel._otlp.decode import Json

_AGENT_NAMES: Final = (
    semconv.GEN_AI_AGENT_ID,
    semconv.KAIZEN_AGENT_ID,
    semconv.GEN_AI_AGENT_NAME,
)
_DETAIL_PARTS: Final = ("kaizen.{}.", "kaizen.hmac.{}.")
_NANOSECONDS: Final = 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """One audit record as it was found in a spool or a trail.  Ids in hexadecimal, time in ns."""

    record_id: str
    time_ns: int
    event_name: str
    attributes: Mapping[str, object]
    trace_id: str = ""
    span_id: str = ""
    resource: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def agent(self) -> str:
        """The agent's id, or its name where it has none; empty if the record names no agent."""
        return next((str(v) for n in _AGENT_NAMES if (v := self.attributes.get(n))), "")

    @property
    def action(self) -> str:
        """The caller's word for the action, else Kaizen's word for the event."""
        word = self.attributes.get(names.CALLER_ACTION)
        return str(word) if word else names.action_of_event(self.event_name)

    @property
    def result(self) -> str:
        """``success``, ``failure``, ``denied`` or ``unknown``."""
        if self.attributes.get(semconv.KAIZEN_DECISION) == "deny":
            return "denied"
        return str(self.attributes.get(names.OUTCOME, "unknown"))

    @property
    def user(self) -> str:
        """The pseudonym of the user who acted; empty if none did."""
        is_user = self.attributes.get(names.ACTOR_TYPE) == "user"
        return str(self.attributes.get(names.ACTOR_ID, "")) if is_user else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a record must be like; what is None is not asked.  Times are ns, both inclusive.

    ``user`` is a pseudonym.  ``action`` matches the caller's word, the draft's action or the
    event's name.
    """

    agent: str | None = None
    action: str | None = None
    user: str | None = None
    result: str | None = None
    since_ns: int | None = None
    until_ns: int | None = None
    tool: str | None = None
    trace_id: str | None = None

    def matches(self, record: StoredRecord) -> bool:
        """Whether a record is asked for."""
        attributes = record.attributes
        return (
            (self.since_ns is None or record.time_ns >= self.since_ns)
            and (self.until_ns is None or record.time_ns <= self.until_ns)
            and (self.trace_id is None or record.trace_id == self.trace_id)
            and (self.result is None or record.result == self.result)
            and (self.user is None or record.user == self.user)
            and (self.tool is None or attributes.get(semconv.GEN_AI_TOOL_NAME) == self.tool)
            and (self.agent is None or self.agent in {attributes.get(n) for n in _AGENT_NAMES})
            and (self.action is None or self._is_action(record))
        )

    def _is_action(self, record: StoredRecord) -> bool:
        return self.action in {
            record.action,
            record.event_name,
            record.attributes.get(names.ACTION),
        }


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """Kaizen's shape of an audit record, as its queries return it.

    ``details`` and ``metadata`` hold public values as they are and for all others the pseudonym
    (``hmac-sha256:...``), which ``AuditTrailManager.pseudonym`` makes of a value to compare.
    """

    timestamp: dt.datetime
    agent_id: str
    action: str
    details: dict[str, object]
    result: str
    user_id: str | None = None
    metadata: dict[str, object] = field(default_factory=dict[str, object])


def stored_record(record: Json, resource: Json) -> StoredRecord | None:
    """Read a decoded OTLP log record; None if it is no audit record."""
    attributes = plain_attributes(record.get("attributes"))
    record_id = attributes.get(names.RECORD_ID)
    if not isinstance(record_id, str):
        return None
    return StoredRecord(
        record_id=record_id,
        time_ns=_integer(record.get("timeUnixNano")),
        event_name=str(record.get("eventName", "")),
        attributes=attributes,
        trace_id=str(record.get("traceId", "")),
        span_id=str(record.get("spanId", "")),
        resource=plain_attributes(resource.get("attributes")),
    )


def distinct(records: Iterable[StoredRecord]) -> Iterator[StoredRecord]:
    """Pass each record once: delivery is at least once, so trails hold duplicates."""
    seen: set[bytes | str] = set()
    for record in records:
        key = _short(record.record_id)
        if key not in seen:
            seen.add(key)
            yield record


def select(records: Iterable[StoredRecord], asked: Filter) -> list[StoredRecord]:
    """Return the records that are asked for, each once, in the order of their times."""
    found = distinct(record for record in records if asked.matches(record))
    return sorted(found, key=lambda record: (record.time_ns, record.record_id))


def audit_entry(record: StoredRecord, user_id: str | None = None) -> AuditEntry:
    """Turn a record into Kaizen's shape; ``user_id`` is the name of its user, where known."""
    seconds, rest = divmod(record.time_ns, _NANOSECONDS)
    moment = dt.datetime.fromtimestamp(seconds, tz=dt.UTC)
    return AuditEntry(
        timestamp=moment.replace(microsecond=rest // 1000),
        agent_id=record.agent,
        action=record.action,
        details=_details(record, "details"),
        result=record.result,
        user_id=user_id or record.user or None,
        metadata=_details(record, "metadata"),
    )


def _details(record: StoredRecord, part: str) -> dict[str, object]:
    prefixes = [pattern.format(part) for pattern in _DETAIL_PARTS]
    return {
        name.removeprefix(prefix): value
        for name, value in record.attributes.items()
        for prefix in prefixes
        if name.startswith(prefix)
    }


def _short(record_id: str) -> bytes | str:
    """Return 16 bytes for a UUID: a set of millions of them must fit into memory."""
    try:
        return uuid.UUID(record_id).bytes
    except ValueError:
        return record_id


def _integer(value: object) -> int:
    try:
        return int(str(value))
    except ValueError:
        return 0
