"""Ask stored records: filters over an iterable of records, in our shape and in Kaizen's.

Knows nothing of files: where records come from is the caller's business.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from kaizen_otel import semconv
from kaizen_otel._otlp.decode import plain_attributes_or_none
from kaizen_otel.audit import record as names
from kaizen_otel.audit._duplicates import Duplicates

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
_DIGITS_MAX: Final = 20  # of an unsigned 64-bit integer


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
            and (self.agent is None or any(attributes.get(n) == self.agent for n in _AGENT_NAMES))
            and (self.action is None or self._is_action(record))
        )

    def _is_action(self, record: StoredRecord) -> bool:
        # A tuple, since the attribute can be anything, a list too.
        return self.action in (
            record.action,
            record.event_name,
            record.attributes.get(names.ACTION),
        )


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


def stored_record(
    record: Json, resource: Json, *, owner: Mapping[str, object] | None = None
) -> StoredRecord | None:
    """Read a decoded OTLP log record; None if it is no audit record.

    ``owner`` are the Resource's plain attributes where the caller has them already.
    """
    attributes = plain_attributes_or_none(record.get("attributes"))
    if attributes is None:
        return None
    if owner is None:
        owner = plain_attributes_or_none(resource.get("attributes")) or {}
    record_id = attributes.get(names.RECORD_ID)
    if not isinstance(record_id, str):
        return None
    return StoredRecord(
        record_id=record_id,
        time_ns=_integer(record.get("timeUnixNano")),
        event_name=_text(record.get("eventName")),
        attributes=attributes,
        trace_id=_text(record.get("traceId")),
        span_id=_text(record.get("spanId")),
        resource=owner,
    )


def distinct(records: Iterable[StoredRecord]) -> Iterator[StoredRecord]:
    """Pass each record once: delivery is at least once, so trails hold duplicates."""
    duplicates = Duplicates()
    return (
        record
        for record in records
        if duplicates.is_new(
            record.record_id,
            record.attributes.get(names.STREAM_ID),
            record.attributes.get(names.SEQUENCE),
        )
    )


def select(records: Iterable[StoredRecord], asked: Filter) -> list[StoredRecord]:
    """Return the records that are asked for, each once, in the order of their times."""
    found: dict[str, StoredRecord] = {}
    for record in records:
        if asked.matches(record):
            found.setdefault(record.record_id, record)
    return sorted(found.values(), key=lambda record: (record.time_ns, record.record_id))


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


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: object) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else 0
