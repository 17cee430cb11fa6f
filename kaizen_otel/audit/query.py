"""Ask stored records: filters over an iterable of records, in our shape and in Kaizen's.

Knows nothing of files: where records come from is the caller's business.
"""

from __future__ import annotations

import datetime as dt
import re
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
_PAGE_RECORDS: Final = 64
_MARK_BYTES: Final = 8
_DIGITS_MAX: Final = 20  # of an unsigned 64-bit integer
# What JSON has only one form for, leaving out the escapes of printable ASCII.
_PLAIN: Final = re.compile(r"[A-Za-z0-9 _.:@+=,;!#$%()*?~^|{}\[\]-]+")
_TEXTS_OF_VALUES: Final = frozenset({"true", "false", "none", "nan", "inf", "infinity"})


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

    def words(self) -> list[tuple[bytes, ...]]:
        """Return what the JSON of every record that is asked for contains: of each tuple, one.

        Only what JSON writes in no other way than this, if it escapes no printable ASCII.
        """
        wanted = [
            _word_of(self.trace_id),
            _word_of(self.user) if self.user and self.user[0].isalpha() else (),
            _word_of(self.tool),
            _word_of(self.agent),
            _words_of_action(self.action),
            {"denied": (b'"deny"',), "failure": (b'"failure"',)}.get(self.result or "", ()),
        ]
        return [one_of for one_of in wanted if one_of]

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

    ``owner`` is ``resource_of(resource)`` where the caller has it already.
    """
    try:
        attributes = plain_attributes(record.get("attributes"))
    except (AttributeError, TypeError, ValueError, RecursionError):
        return None  # JSON, and nothing that any exporter writes
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
        resource=resource_of(resource) if owner is None else owner,
    )


def resource_of(resource: Json) -> Mapping[str, object]:
    """Return the attributes of a decoded Resource; none of what is no Resource."""
    try:
        return plain_attributes(resource.get("attributes"))
    except (AttributeError, TypeError, ValueError, RecursionError):
        return {}


class Seen:
    """Knows which records have come already, in about ten bytes for each.

    Records of a stream are found by their number: a page holds eight bytes of the ids of 64
    neighbours.  A record without a place, or with another id in the same place, is kept whole.
    """

    __slots__ = ("_others", "_pages")

    def __init__(self) -> None:
        self._pages: dict[tuple[object, int], bytearray] = {}
        self._others: set[bytes | str] = set()

    def add(self, record: StoredRecord) -> bool:
        """Note a record; False if it was there already."""
        key = _short(record.record_id)
        number = record.attributes.get(names.SEQUENCE)
        stream_id = record.attributes.get(names.STREAM_ID)
        if isinstance(key, bytes) and isinstance(number, int) and isinstance(stream_id, str):
            page_key = stream_id, number // _PAGE_RECORDS
            page = self._pages.get(page_key)
            if page is None:
                page = self._pages[page_key] = bytearray(_PAGE_RECORDS * _MARK_BYTES)
            start = number % _PAGE_RECORDS * _MARK_BYTES
            there, mark = bytes(page[start : start + _MARK_BYTES]), key[-_MARK_BYTES:]
            if any(mark):
                if there == mark:
                    return False
                if not any(there):
                    page[start : start + _MARK_BYTES] = mark
                    return True
        if key in self._others:
            return False
        self._others.add(key)
        return True


def distinct(records: Iterable[StoredRecord]) -> Iterator[StoredRecord]:
    """Pass each record once: delivery is at least once, so trails hold duplicates."""
    seen = Seen()
    return (record for record in records if seen.add(record))


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


def _short(record_id: str) -> bytes | str:
    """Return 16 bytes for a UUID: a set of millions of them must fit into memory."""
    try:
        return uuid.UUID(record_id).bytes
    except ValueError:
        return record_id


def _word_of(value: str | None) -> tuple[bytes, ...]:
    return (f'"{value}"'.encode(),) if value and _PLAIN.fullmatch(value) else ()


def _words_of_action(action: str | None) -> tuple[bytes, ...]:
    # The attribute's text is compared, and text is also made of numbers and the like.
    if not action or not action[0].isalpha() or action.lower() in _TEXTS_OF_VALUES:
        return ()
    event, _ = names.event_of_action(action)
    return (*_word_of(action), *_word_of(event)) if _word_of(action) else ()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _integer(value: object) -> int:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX else 0
