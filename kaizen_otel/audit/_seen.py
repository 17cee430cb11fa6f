"""One record as a verifier sees it: its place, its hash, what it links to and who signed it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._otlp.decode import plain_attributes
from kaizen_otel.audit import record as names
from kaizen_otel.audit._finding import Finding
from kaizen_otel.audit.canonical import (
    HASH_HEX,
    ForeignFieldError,
    NotCanonicalError,
    attribute_values,
    canonical_record,
    record_hash,
)
from kaizen_otel.audit.signatures import SIGNATURE_BYTES, decode_base64

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel._otlp.decode import Json
    from kaizen_otel.audit._finding import Severity
    from kaizen_otel.audit.canonical import Value

SPECIAL_EVENTS: Final = frozenset(
    {names.EVENT_STARTED, names.EVENT_KEY_ROTATED, names.EVENT_PRUNED, names.EVENT_GAP}
)
"""Events of the trail's own whose attributes a verifier needs."""

SEQUENCE_MAX: Final = 2**63 - 1
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_HEX: Final = re.compile(rf"[0-9a-f]{{{HASH_HEX}}}")
_PLACE: Final = (names.RECORD_ID, names.STREAM_ID, names.SEQUENCE, names.SCHEMA)
_SHOWN_MAX: Final = 120
_FOREIGN: Final = "a log record that is no audit record"


class Seen(NamedTuple):
    """A record that has a place and a hash.

    ``previous`` is the hash that it links to, empty in the first one; ``intent`` the record's id if
    it is an intent, ``outcome_of`` the intent's id if it is an outcome; ``attributes`` are there
    for ``SPECIAL_EVENTS`` only.
    """

    stream_id: str
    sequence: int
    digest: bytes
    previous: bytes
    time_ns: int
    event_name: str
    certificate: str = ""
    signature: bytes = b""
    is_end: bool = False
    intent: str = ""
    outcome_of: str = ""
    attributes: Mapping[str, Value] | None = None
    path: str = ""
    offset: int = -1


class _UnplacedError(Exception):
    """Why a record cannot be placed: kind and text of the finding."""

    def __init__(self, kind: str, text: str, severity: Severity = "tampering") -> None:
        super().__init__(text)
        self.kind = kind
        self.severity: Severity = severity


def read_record(
    record: Json, *, resource: str | None, path: str = "", offset: int = -1
) -> tuple[Seen | None, list[Finding]]:
    """Read a decoded log record strictly; what is wrong with it becomes findings.

    ``resource`` is the hash of the Resource it came with, empty if that has none, None if it is
    not to be compared.  Never raises for what a record can hold.
    """
    findings: list[Finding] = []
    try:
        values = attribute_values(record.get("attributes", []))
        seen = _place(record, values, path, offset)
    except ForeignFieldError as error:
        return None, [_finding(record, "foreign_field", str(error), path, offset)]
    except NotCanonicalError as error:
        if not any(name in _plain(record) for name in _PLACE):
            return None, [_finding(record, "foreign_line", _FOREIGN, path, offset, "incomplete")]
        return None, [_finding(record, "not_canonical", str(error), path, offset)]
    except _UnplacedError as error:
        found = _finding(record, error.kind, str(error), path, offset, error.severity)
        return None, [found]
    if resource is not None and values.get(names.RESOURCE_HASH, resource) != resource:
        text = "the Resource is not the one that the producer sent with the record"
        findings.append(_finding(record, "resource_changed", text, path, offset))
    problem = _signature_problem(values)
    if problem is not None:
        findings.append(_finding(record, *problem, path, offset))
    return seen, findings


def _place(record: Json, values: Mapping[str, Value], path: str, offset: int) -> Seen:
    if not any(name in values for name in _PLACE):
        raise _UnplacedError("foreign_line", _FOREIGN, "incomplete")
    digest = record_hash(canonical_record(record, values))
    if not isinstance(values.get(names.RECORD_ID), str):
        raise NotCanonicalError(f"the record has no {names.RECORD_ID}")
    stream_id, sequence = values.get(names.STREAM_ID), values.get(names.SEQUENCE)
    if not isinstance(stream_id, str) or not isinstance(sequence, int):
        raise _UnplacedError("unchained", "the record has no place in a stream")
    if not _UUID.fullmatch(stream_id):
        raise NotCanonicalError(f"the stream id {stream_id[:_SHOWN_MAX]!r} is no UUID")
    if not 1 <= sequence <= SEQUENCE_MAX:
        raise NotCanonicalError(f"the sequence number is {sequence}")
    event_name = str(record.get("eventName", ""))
    phase, intent_id = values.get(names.PHASE), values.get(names.INTENT_ID)
    return Seen(
        stream_id=stream_id,
        sequence=sequence,
        digest=digest,
        previous=_previous(values.get(names.PREVIOUS_HASH), sequence),
        time_ns=int(str(record.get("timeUnixNano", "0"))),
        event_name=event_name,
        certificate=_text(values.get(names.INTEGRITY_CERTIFICATE)),
        signature=_signature(values) or b"",
        is_end=values.get(names.END) == "true",
        intent=_text(intent_id or values.get(names.RECORD_ID)) if phase == "intent" else "",
        outcome_of=_text(intent_id) if phase == "outcome" else "",
        attributes=values if event_name in SPECIAL_EVENTS else None,
        path=path,
        offset=offset,
    )


def _previous(value: Value | None, sequence: int) -> bytes:
    if value is None:
        if sequence > 1:
            raise _UnplacedError("unchained", "the record has no link to the one before it")
        return b""
    if not isinstance(value, str) or not _HEX.fullmatch(value):
        raise NotCanonicalError(f"{names.PREVIOUS_HASH} is no hash")
    return bytes.fromhex(value)


def _signature(values: Mapping[str, Value]) -> bytes | None:
    if not _text(values.get(names.INTEGRITY_CERTIFICATE)):
        return None
    value = values.get(names.INTEGRITY_VALUE)
    return decode_base64(value, SIGNATURE_BYTES)


def _signature_problem(values: Mapping[str, Value]) -> tuple[str, str] | None:
    has_value = names.INTEGRITY_VALUE in values
    if not _text(values.get(names.INTEGRITY_CERTIFICATE)):
        if not has_value and names.INTEGRITY_CERTIFICATE not in values:
            return None
        return "bad_signature", "the record has a signature and does not say by which key"
    if not has_value:
        return "missing_signature", "the record says that it is signed and is not"
    if _signature(values) is None:
        return "bad_signature", "the signature is not 64 bytes in base64"
    return None


def _text(value: Value | None) -> str:
    return value if isinstance(value, str) else ""


def _finding(
    record: Json,
    kind: str,
    text: str,
    path: str,
    offset: int,
    severity: Severity = "tampering",
) -> Finding:
    stream_id, sequence = place_of(record)
    return Finding(
        kind=kind,
        severity=severity,
        text=text[: _SHOWN_MAX * 2],
        stream_id=stream_id,
        sequence=sequence,
        path=path,
        offset=offset,
        time_ns=time_of(record),
    )


def place_of(record: Json) -> tuple[str, int]:
    """Return stream and number as far as a record says them, also one that is not canonical."""
    values = _plain(record)
    stream_id, sequence = values.get(names.STREAM_ID), values.get(names.SEQUENCE)
    is_id = isinstance(stream_id, str) and _UUID.fullmatch(stream_id)
    number = sequence if isinstance(sequence, int) and 0 < sequence <= SEQUENCE_MAX else 0
    return str(stream_id) if is_id else "", number


def time_of(record: Json) -> int:
    """Return a record's time in nanoseconds, 0 if it has none."""
    try:
        return int(str(record.get("timeUnixNano", "0"))[:20])
    except ValueError:
        return 0


def _plain(record: Json) -> dict[str, object]:
    """Return what can be understood of the attributes."""
    try:
        return plain_attributes(record.get("attributes"))
    except (ValueError, TypeError, AttributeError, RecursionError):
        return {}
