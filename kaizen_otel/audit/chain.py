"""Encode records, give them their place, link them by hash, sign every group commit.

A record is encoded when it is emitted, by any thread, as a ``Draft``: everything but its place in
the stream.  The spool's one writer adds number, previous hash and signature with ``Chain.seal``,
which costs one hash per record and one signature per commit.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel._otlp.common import AttributeField, extend_attributes, safe_text
from kaizen_otel._otlp.logs import encode_log_record
from kaizen_otel._otlp.wire import utf8
from kaizen_otel.audit import record as names
from kaizen_otel.audit.canonical import attribute_text, record_hash, tail_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kaizen_otel.audit.canonical import Value
    from kaizen_otel.audit.record import AuditRecord

_FIELD: Final = AttributeField(6)  # logs.proto, LogRecord.attributes
_MEMO_ENTRIES_MAX: Final = 4096
_MEMO_TEXT_MAX: Final = 64
_INT64: Final = range(-(2**63), 2**63)


class Signing(NamedTuple):
    """A key to sign with: its id and the function that signs 32 bytes, which may raise."""

    key_id: str
    sign: Callable[[bytes], bytes]


class Draft:
    """An encoded record without its place.

    ``fields`` are the LogRecord's fields that are no attributes; ``encoded`` and ``texts`` are the
    attributes in the order of their names, as protobuf and in canonical form, in three parts: up
    to the certificate, up to the place in the stream, and the rest.
    """

    __slots__ = ("encoded", "event_name", "fields", "signing_next", "size", "tail", "texts")

    def __init__(
        self,
        *,
        event_name: str,
        fields: bytes,
        encoded: tuple[bytes, bytes, bytes],
        texts: tuple[str, str, str],
        tail: str,
        signing_next: Signing | None = None,
    ) -> None:
        """Use ``draft_of``.  ``signing_next`` signs what follows this record, which is signed."""
        self.event_name = event_name
        self.fields = fields
        self.encoded = encoded
        self.texts = texts
        self.tail = tail
        self.signing_next = signing_next
        self.size = len(fields) + sum(map(len, encoded))

    def __len__(self) -> int:
        """Bytes of the record without its place."""
        return self.size

    def __bytes__(self) -> bytes:
        """The LogRecord without its place."""
        return self.fields + b"".join(self.encoded)


def draft_of(record: AuditRecord, *, signing_next: Signing | None = None) -> Draft:
    """Encode a record as far as it is known when it is emitted.

    Values that a record cannot hold (``audit.canonical``) become their text.
    """
    attributes = names.attributes_of(record)
    if record.event_name == names.EVENT_STOPPED:
        attributes[names.END] = "true"
    ordered = sorted(attributes)
    first = _count_below(ordered, names.INTEGRITY_CERTIFICATE)
    second = _count_below(ordered, names.SEQUENCE)
    event_name = utf8(record.event_name).decode()
    observed_ns = record.observed_ns or record.time_ns
    pairs = [_attribute(name, attributes[name]) for name in ordered]
    parts = (pairs[:first], pairs[first:second], pairs[second:])
    return Draft(
        event_name=event_name,
        fields=encode_log_record(
            time_ns=record.time_ns,
            observed_ns=observed_ns,
            trace_id=record.trace_id,
            span_id=record.span_id,
            event_name=event_name,
        ),
        encoded=(_join(parts[0]), _join(parts[1]), _join(parts[2])),
        texts=(
            "".join([text + "," for _, text in parts[0]]),
            "".join([text + "," for _, text in parts[1]]),
            "".join(["," + text for _, text in parts[2]]),
        ),
        tail=tail_text(
            event_name=event_name,
            observed_ns=str(observed_ns),
            span_id=record.span_id.hex(),
            time_ns=str(record.time_ns),
            trace_id=record.trace_id.hex(),
        ),
        signing_next=signing_next,
    )


class Chain:
    """The hash chain of one stream.  Used by one thread."""

    def __init__(self, signing: Signing | None) -> None:
        """Sign with ``signing``; without it records are linked and not signed."""
        self.signing = signing
        self.sign_failures = 0
        self.failure = ""
        # Of the last commit: number -> hash.  Its numbers are given again if they were not used.
        self._hashes: dict[int, str] = {0: ""}

    def seal(self, drafts: Sequence[Draft], *, stream_id: str, first_sequence: int) -> list[bytes]:
        """Return the LogRecords of one group commit, of which the last one is signed.

        If signing fails it is not, ``sign_failures`` counts it and ``failure`` says why: an
        unsigned record is better than none.  A number may be given again as long as no later one
        was asked for.
        """
        previous = self._hashes[first_sequence - 1]
        hashes = {first_sequence - 1: previous}
        sealed: list[bytes] = []
        last = first_sequence + len(drafts) - 1
        for sequence, draft in enumerate(drafts, first_sequence):
            place: list[tuple[str, Value]] = [(names.SEQUENCE, sequence)]
            if previous:
                place.append((names.PREVIOUS_HASH, previous))
            place.append((names.STREAM_ID, stream_id))
            is_signed = sequence == last or draft.signing_next is not None
            failures = self.sign_failures
            data, previous = self._seal(draft, place, is_signed=is_signed)
            sealed.append(data)
            # A change of key that the old key has not signed is none.
            if draft.signing_next is not None and self.sign_failures == failures:
                self.signing = draft.signing_next
        hashes[last] = previous
        self._hashes = hashes
        return sealed

    def _seal(
        self, draft: Draft, place: list[tuple[str, Value]], *, is_signed: bool
    ) -> tuple[bytes, str]:
        pairs = [_attribute(name, value) for name, value in place]
        signing = self.signing if is_signed else None
        if signing is not None:
            certificate = _attribute(names.INTEGRITY_CERTIFICATE, signing.key_id)
            digest = _hash(draft, certificate[1] + ",", pairs)
            try:
                signature = signing.sign(digest)
            except Exception as error:  # noqa: BLE001 - the user's key store may raise anything
                self.sign_failures += 1
                self.failure = f"{type(error).__name__}: {error}"
            else:
                value = base64.b64encode(signature).decode()
                data = _assemble(draft, certificate[0], pairs)
                return data + _attribute(names.INTEGRITY_VALUE, value)[0], digest.hex()
        return _assemble(draft, b"", pairs), _hash(draft, "", pairs).hex()


def _hash(draft: Draft, certificate: str, place: list[tuple[bytes, str]]) -> bytes:
    before, between, after = draft.texts
    middle = ",".join([text for _, text in place])
    text = f'{{"attributes":[{before}{certificate}{between}{middle}{after}{draft.tail}'
    return record_hash(text.encode())


def _assemble(draft: Draft, certificate: bytes, place: list[tuple[bytes, str]]) -> bytes:
    before, between, after = draft.encoded
    return b"".join([draft.fields, before, certificate, between, _join(place), after])


def _join(pairs: list[tuple[bytes, str]]) -> bytes:
    return b"".join([data for data, _ in pairs])


def _count_below(ordered: list[str], name: str) -> int:
    return sum(one < name for one in ordered)


_memo: Final[dict[tuple[str, str], tuple[bytes, str]]] = {}


def _attribute(name: str, value: object) -> tuple[bytes, str]:
    """Return an attribute as protobuf and in canonical form."""
    if type(value) is str:
        known = _memo.get((name, value))
        if known is not None:
            return known
    clean = _clean(value)
    parts: list[bytes] = []
    extend_attributes(parts, _FIELD, {name: clean})
    pair = parts[0], attribute_text(name, clean)
    if type(value) is str and len(value) <= _MEMO_TEXT_MAX:
        if len(_memo) >= _MEMO_ENTRIES_MAX:
            _memo.clear()
        _memo[name, value] = pair
    return pair


def _clean(value: object) -> Value:
    """Return a value that has a canonical form and the same meaning."""
    if isinstance(value, str):
        return utf8(value).decode()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and value in _INT64:
        return int(value)
    if isinstance(value, (list, tuple)):
        return [utf8(safe_text(item)).decode() for item in cast("Sequence[object]", value)]
    return utf8(safe_text(value)).decode()
