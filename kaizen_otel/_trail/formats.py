"""What records look like outside: flat JSON lines, CSV, ECS, OCSF.  Pure: records in, text out.

None of them is evidence: hashes and signatures are over the trail's own lines, which the evidence
bundle (``evidence``) carries unchanged.
"""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from kaizen_otel import semconv
from kaizen_otel.audit import record as names

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from kaizen_otel.audit.query import StoredRecord

Format = Literal["jsonl", "csv", "ecs", "ocsf"]
FORMATS: Final[tuple[Format, ...]] = ("jsonl", "csv", "ecs", "ocsf")

_NANOSECONDS: Final = 10**9
_MILLISECOND_NS: Final = 10**6
_NO_TIME: Final = "1970-01-01T00:00:00.000000000Z"
_encode: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode

#: Columns of the CSV form; everything else is in the last one, as JSON.
COLUMNS: Final = (
    "time", "record_id", "event_name", "agent", "action", "result", "decision", "actor_id",
    "actor_type", "target_id", "target_type", "phase", "intent_id", "trace_id", "span_id",
    "service", "stream_id", "sequence", "attributes",
)  # fmt: skip
# What a spreadsheet takes for the beginning of a formula, or skips before one (OWASP, "CSV
# Injection").
_FORMULA_BEGINNINGS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")

# Elastic Common Schema, whose `agent.*` is the program that ships events: no agent of ours.
_ECS_VERSION: Final = "8.11.0"
_OCSF_VERSION: Final = "1.3.0"
_API_ACTIVITY: Final = 6003
_APPLICATION_ACTIVITY: Final = 6
_INFORMATIONAL: Final = 1
_ACTIVITIES: Final = {"READ": 2, "WRITE": 3, "UPDATE": 3, "CREATE": 1, "DELETE": 4}
_OTHER_ACTIVITY: Final = 99
_STATUSES: Final = {"success": (1, "Success"), "failure": (2, "Failure")}
_UNKNOWN_STATUS: Final = (0, "Unknown")


def encode_records(records: Iterable[StoredRecord], form: Format) -> Iterator[str]:
    """Yield the text of an export, line by line with its end."""
    if form == "csv":
        yield from _csv(records)
        return
    encode: Callable[[StoredRecord], Mapping[str, object]]
    encode = {"jsonl": flat, "ecs": ecs, "ocsf": ocsf}[form]
    for record in records:
        yield _encode(encode(record)) + "\n"


def flat(record: StoredRecord) -> dict[str, object]:
    """Return a record as one flat object: what we know of it, then every attribute by its name."""
    return {
        "time": iso_time(record.time_ns),
        "time_unix_nano": str(record.time_ns),
        "record_id": record.record_id,
        "event_name": record.event_name,
        "agent": record.agent,
        "action": record.action,
        "result": record.result,
        "trace_id": record.trace_id,
        "span_id": record.span_id,
        **{f"attributes.{name}": value for name, value in record.attributes.items()},
        **{f"resource.{name}": value for name, value in record.resource.items()},
    }


def ecs(record: StoredRecord) -> dict[str, object]:
    """Return a record as an event of the Elastic Common Schema."""
    attributes = record.attributes
    actor = _text(attributes, names.ACTOR_ID)
    is_user = attributes.get(names.ACTOR_TYPE) == "user"
    kinds = ["denied"] if record.result == "denied" else ["access"]
    return {
        "@timestamp": iso_time(record.time_ns),
        "ecs": {"version": _ECS_VERSION},
        "event": {
            "id": record.record_id,
            "kind": "event",
            "category": ["api"],
            "type": kinds,
            "action": record.action,
            "outcome": _text(attributes, names.OUTCOME) or "unknown",
            "sequence": attributes.get(names.SEQUENCE, 0),
            "dataset": record.event_name,
        },
        **({"user": {"id": actor}} if is_user else {}),
        **({"trace": {"id": record.trace_id}} if record.trace_id else {}),
        **({"span": {"id": record.span_id}} if record.span_id else {}),
        "service": {"name": _text(record.resource, semconv.SERVICE_NAME)},
        "kaizen": {"agent": record.agent, "attributes": dict(attributes)},
    }


def ocsf(record: StoredRecord) -> dict[str, object]:
    """Return a record as an API Activity of OCSF, which counts time in milliseconds."""
    attributes = record.attributes
    activity = _ACTIVITIES.get(_text(attributes, names.ACTION).upper(), _OTHER_ACTIVITY)
    status_id, status = _STATUSES.get(_text(attributes, names.OUTCOME), _UNKNOWN_STATUS)
    service = _text(record.resource, semconv.SERVICE_NAME)
    instance = _text(record.resource, semconv.SERVICE_INSTANCE_ID)
    target = _text(attributes, names.TARGET_ID)
    kind = {"type": _text(attributes, names.TARGET_TYPE)}
    return {
        "class_uid": _API_ACTIVITY,
        "category_uid": _APPLICATION_ACTIVITY,
        "activity_id": activity,
        "activity_name": record.action,
        "type_uid": _API_ACTIVITY * 100 + activity,
        "severity_id": _INFORMATIONAL,
        "status_id": status_id,
        "status": status,
        "status_detail": record.result,
        "time": record.time_ns // _MILLISECOND_NS,
        "metadata": {
            "version": _OCSF_VERSION,
            "uid": record.record_id,
            "correlation_uid": record.trace_id,
            "product": {"name": "kaizen-otel", "vendor_name": "kaizen-otel"},
        },
        "actor": {
            "user": {"uid": _text(attributes, names.ACTOR_ID), "name": record.user},
            "app_name": record.agent,
        },
        "api": {"operation": record.action, "service": {"name": service}},
        "src_endpoint": {"name": instance or service, "svc_name": service},
        "resources": [{"uid": target, **kind}] if target else [],
        "unmapped": {"time_unix_nano": str(record.time_ns), **attributes},
    }


def iso_time(time_ns: int) -> str:
    """Return a time as ISO 8601 in UTC with nanoseconds."""
    seconds, rest = divmod(time_ns, _NANOSECONDS)
    try:
        moment = datetime.fromtimestamp(seconds, tz=UTC)
    except (ValueError, OverflowError, OSError):
        return _NO_TIME  # whoever wrote it, it was no clock
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def safe_cell(text: str) -> str:
    """Return a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_BEGINNINGS) else text


def _csv(records: Iterable[StoredRecord]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")  # RFC 4180
    writer.writerow(COLUMNS)
    for record in records:
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
        writer.writerow([safe_cell(cell) for cell in _cells(record)])
    yield buffer.getvalue()


def _cells(record: StoredRecord) -> list[str]:
    attributes = record.attributes
    named = (
        semconv.KAIZEN_DECISION, names.ACTOR_ID, names.ACTOR_TYPE, names.TARGET_ID,
        names.TARGET_TYPE, names.PHASE, names.INTENT_ID,
    )  # fmt: skip
    return [
        iso_time(record.time_ns),
        record.record_id,
        record.event_name,
        record.agent,
        record.action,
        record.result,
        *(_text(attributes, name) for name in named),
        record.trace_id,
        record.span_id,
        _text(record.resource, semconv.SERVICE_NAME),
        _text(attributes, names.STREAM_ID),
        _text(attributes, names.SEQUENCE),
        _encode(dict(attributes)),
    ]


def _text(values: Mapping[str, object], name: str) -> str:
    value = values.get(name)
    return "" if value is None else str(value)
