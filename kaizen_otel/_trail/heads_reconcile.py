"""Compare a spool with a signed list of heads: no trail is needed on the agent's machine."""

from __future__ import annotations

import json
import posixpath
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel._otlp.decode import decode_log_record
from kaizen_otel._spool.cursor import mark_reconciled
from kaizen_otel._spool.files import segment_paths, stream_ids
from kaizen_otel._trail.reconcile import Reconciliation, Spooled
from kaizen_otel._trail.streams import read_cursor
from kaizen_otel.audit import record as names
from kaizen_otel.audit._seen import read_record
from kaizen_otel.audit._stored import Report, read_segment
from kaizen_otel.audit.anchors import HEADS_KIND, heads_digest, read_anchors
from kaizen_otel.audit.canonical import NotCanonicalError
from kaizen_otel.audit.signatures import SIGNATURE_BYTES, decode_base64, verify_signature
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._otlp.decode import Json
    from kaizen_otel.audit._seen import Seen
    from kaizen_otel.audit.anchors import Anchor
    from kaizen_otel.audit.trust import Trust

HEADS_BYTES_MAX: Final = 64 * 1024 * 1024


class TrustedHeads(NamedTuple):
    """Heads by stream, of a list whose signature holds, and when it was made (ns)."""

    heads: dict[str, Anchor]
    time_ns: int
    key_id: str


def read_heads(data: bytes, *, trust: Trust, source: str) -> TrustedHeads:
    """Read what ``audit heads --json`` printed.

    Raises ``ConfigError`` if it is no list of heads, or not signed by a key of the trust file.
    """
    try:
        document = cast("object", json.loads(data))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{source} is no list of heads: {error}; nothing was compared") from None
    if not isinstance(document, dict) or cast("Json", document).get("kind") != HEADS_KIND:
        raise ConfigError(
            f"{source} is no list of heads, nothing was compared: give what "
            "`kaizen-otel audit heads --json` printed"
        )
    members = cast("Json", document)
    key_id, time_text = str(members.get("key_id", "")), str(members.get("time_unix_nano", ""))
    key = trust.find(key_id)
    time_ns = int(time_text) if time_text.isascii() and time_text.isdigit() else 0
    if key is None or not key.is_valid_at(time_ns):
        raise ConfigError(
            f"{source} is signed by key {key_id or '(none)'}, which is not trusted, nothing was "
            "compared: add it with `kaizen-otel audit trust add`"
        )
    anchors = list(read_anchors(members, path=source))
    if not _holds(members, key.public_key):
        raise ConfigError(f"the signature of {source} does not hold, nothing was compared")
    return TrustedHeads({one.stream_id: one for one in anchors}, time_ns, key_id)


def reconcile_heads(
    filesystem: Filesystem, root: str, trusted: TrustedHeads, *, is_marking: bool = False
) -> Reconciliation:
    """Look up the records of a spool root in a list of heads.

    A delivered record up to the head of its stream is in the trail if the spool's own record of
    that number has the head's hash, or the next one links to it: then all before it are the
    same.  What was delivered and is beyond the head, although delivery ended before the list was
    made, is missing; what may be newer than the list is ``unknown``.  With ``is_marking`` the
    stream is noted as reconciled that far.  Raises ``OSError`` if the spool cannot be read.
    """
    report = Report()
    result = _Result()
    for stream_id in stream_ids(filesystem, root):
        directory = posixpath.join(root, stream_id)
        records = list(_records(filesystem, directory, report))
        # The cursor last: what it covers had been delivered before.
        cursor = read_cursor(filesystem, directory)
        head = trusted.heads.get(stream_id)
        is_same = head is not None and _is_same(records, head)
        reach = head.sequence if head is not None and is_same else 0
        if (
            head is not None
            and not is_same
            and any(s.sequence <= head.sequence for s, _ in records)
        ):
            what = f"the spool's record {head.sequence} is not the one that the heads name"
            report.add(directory, what)
        is_over = 0 < cursor.delivered_at_ns < trusted.time_ns
        for seen, record_id in records:
            is_delivered = seen.sequence < cursor.sequence_next
            one = Spooled(
                record_id=record_id,
                stream_id=stream_id,
                sequence=seen.sequence,
                is_delivered=is_delivered,
            )
            result.add(one, is_in_trail=seen.sequence <= reach, is_over=is_over)
        if is_marking and reach:
            mark_reconciled(filesystem, directory, reach + 1)
    return result.reconciliation(report)


class _Result:
    def __init__(self) -> None:
        self.count = self.in_trail = self.unknown = 0
        self.missing: list[Spooled] = []
        self.waiting: list[Spooled] = []

    def add(self, one: Spooled, *, is_in_trail: bool, is_over: bool) -> None:
        self.count += 1
        if is_in_trail:
            self.in_trail += 1
        elif not one.is_delivered:
            self.waiting.append(one)
        elif is_over:
            self.missing.append(one)
        else:
            self.unknown += 1

    def reconciliation(self, report: Report) -> Reconciliation:
        return Reconciliation(
            spooled=self.count,
            in_trail=self.in_trail,
            duplicates=0,
            unknown=self.unknown,
            missing=self.missing,
            waiting=self.waiting,
            problems=report.problems,
        )


def _is_same(records: list[tuple[Seen, str]], head: Anchor) -> bool:
    return any(
        (seen.sequence == head.sequence and seen.digest == head.digest)
        or (seen.sequence == head.sequence + 1 and seen.previous == head.digest)
        for seen, _ in records
    )


def _holds(members: Json, public_key: bytes) -> bool:
    text = members.get("signature")
    signature = decode_base64(text, SIGNATURE_BYTES)
    try:
        digest = heads_digest(members)
    except NotCanonicalError:
        return False
    return signature is not None and verify_signature(public_key, signature, digest)


def _records(filesystem: Filesystem, directory: str, report: Report) -> Iterator[tuple[Seen, str]]:
    for path in segment_paths(filesystem, directory):
        found = read_segment(filesystem, path, report=report)
        for entry in () if found is None else found.entries:
            if entry.is_resource:
                continue
            try:
                record = decode_log_record(entry.payload)
            except ValueError as error:
                report.add(path, f"entry {entry.sequence} is no log record: {error}")
                continue
            seen, findings = read_record(record, resource=None)
            for finding in findings:
                report.add(path, f"entry {entry.sequence}: {finding.text}")
            if seen is not None:
                yield seen, _record_id(record)


def _record_id(record: Json) -> str:
    attributes = record.get("attributes")
    for item in cast("list[Json]", attributes) if isinstance(attributes, list) else []:
        if item.get("key") == names.RECORD_ID:
            return str(cast("Json", item.get("value", {})).get("stringValue", ""))
    return ""
