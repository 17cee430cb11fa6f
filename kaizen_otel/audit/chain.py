"""Encode records, give them their place, link them by hash, sign every group commit.

A record is encoded when it is emitted, by any thread, as a ``Draft``: everything but its place in
the stream.  The spool's one writer adds number, previous hash and signature with ``Chain.seal``,
which costs one hash per record and one signature per commit.
"""

from __future__ import annotations

import base64
import struct
from functools import lru_cache
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel import semconv
from kaizen_otel._otlp.common import AttributeField, TextCache, extend_attributes, safe_text
from kaizen_otel._otlp.logs import encode_log_record
from kaizen_otel._otlp.traces import SPAN_ID_SIZE, TRACE_ID_SIZE
from kaizen_otel._otlp.wire import MASK64, delimited, utf8, varint
from kaizen_otel.audit import record as names
from kaizen_otel.audit.canonical import HASH_HEX, attribute_text, record_hash, tail_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kaizen_otel.audit.canonical import Value
    from kaizen_otel.audit.record import AuditRecord

_FIELD: Final = AttributeField(6)  # logs.proto, LogRecord.attributes
_EVENT_NAMES: Final = TextCache(12)
# Tag and value of time, trace id, span id and observed time.
_pack_fields = struct.Struct("<BQBB16sBB8sBQ").pack
_MEMO_ENTRIES_MAX: Final = 4096
_MEMO_TEXT_MAX: Final = 64
_MEMO_NUMBER_MAX: Final = 1024
_INT64: Final = range(-(2**63), 2**63)
# Their values do not come again.
_UNIQUE: Final = frozenset({names.RECORD_ID, names.INTENT_ID, semconv.GEN_AI_TOOL_CALL_ID})

_Pair = tuple[bytes, str]
"""An attribute as protobuf and in canonical form, with a comma before it."""


class Signing(NamedTuple):
    """A key to sign with: its id and the function that signs 32 bytes, which may raise."""

    key_id: str
    sign: Callable[[bytes], bytes]


class Draft:
    """An encoded record without its place.

    ``fields`` are the LogRecord's fields that are no attributes; ``encoded`` and ``texts`` are the
    attributes in the order of their names, as protobuf and in canonical form, in three parts: up
    to the certificate, up to the place in the stream, and the rest.  ``tail`` follows them.
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
    ordered, first, second = _layout(tuple(attributes))
    event_name = utf8(record.event_name).decode()
    observed_ns = record.observed_ns or record.time_ns
    pairs = [_attribute(name, attributes[name]) for name in ordered]
    data = [pair[0] for pair in pairs]
    texts = [pair[1] for pair in pairs]
    return Draft(
        event_name=event_name,
        fields=_fields(record, observed_ns, event_name),
        encoded=(b"".join(data[:first]), b"".join(data[first:second]), b"".join(data[second:])),
        texts=("".join(texts[:first]), "".join(texts[first:second]), "".join(texts[second:])),
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
        stream = _attribute(names.STREAM_ID, stream_id)
        sealed: list[bytes] = []
        last = first_sequence + len(drafts) - 1
        for sequence, draft in enumerate(drafts, first_sequence):
            failures = self.sign_failures
            place = _place(sequence, previous, stream)
            if sequence == last or draft.signing_next is not None:
                data, previous = self._sign(draft, place)
            else:
                previous = _hash(draft, "", place[1]).hex()
                data = _assemble(draft, b"", place[0])
            sealed.append(data)
            # A change of key that the old key has not signed is none.
            if draft.signing_next is not None and self.sign_failures == failures:
                self.signing = draft.signing_next
        hashes[last] = previous
        self._hashes = hashes
        return sealed

    def _sign(self, draft: Draft, place: _Pair) -> tuple[bytes, str]:
        signing = self.signing
        if signing is not None:
            certificate = _attribute(names.INTEGRITY_CERTIFICATE, signing.key_id)
            digest = _hash(draft, certificate[1], place[1])
            try:
                signature = signing.sign(digest)
            except Exception as error:  # noqa: BLE001 - the user's key store may raise anything
                self.sign_failures += 1
                self.failure = f"{type(error).__name__}: {error}"
            else:
                value = _encode(names.INTEGRITY_VALUE, base64.b64encode(signature).decode())
                return _assemble(draft, certificate[0], place[0]) + value[0], digest.hex()
        return _assemble(draft, b"", place[0]), _hash(draft, "", place[1]).hex()


def _hash(draft: Draft, certificate: str, place: str) -> bytes:
    before, between, after = draft.texts
    # Every record has an action, so there is a first attribute, whose comma is left out.
    text = f'{{"attributes":[{before[1:]}{certificate}{between}{place}{after}{draft.tail}'
    return record_hash(text.encode())


def _assemble(draft: Draft, certificate: bytes, place: bytes) -> bytes:
    before, between, after = draft.encoded
    return b"".join([draft.fields, before, certificate, between, place, after])


def _place(sequence: int, previous: str, stream: _Pair) -> _Pair:
    data, text = _encode(names.SEQUENCE, sequence)
    if not previous:
        return data + stream[0], text + stream[1]
    hash_data, (hash_text, hash_end) = _PREVIOUS
    return (
        b"".join([data, hash_data, previous.encode(), stream[0]]),
        f"{text}{hash_text}{previous}{hash_end}{stream[1]}",
    )


def _fields(record: AuditRecord, observed_ns: int, event_name: str) -> bytes:
    """Encode the fields that are no attributes; nearly every record has the same ones."""
    time_ns, trace_id, span_id = record.time_ns, record.trace_id, record.span_id
    has_ids = len(trace_id) == TRACE_ID_SIZE and len(span_id) == SPAN_ID_SIZE
    if has_ids and 0 < time_ns <= MASK64 and 0 < observed_ns <= MASK64:
        head = _pack_fields(9, time_ns, 0x4A, 16, trace_id, 0x52, 8, span_id, 0x59, observed_ns)
        return head + _EVENT_NAMES[event_name]
    return encode_log_record(
        time_ns=time_ns,
        observed_ns=observed_ns,
        trace_id=trace_id,
        span_id=span_id,
        event_name=event_name,
    )


@lru_cache(maxsize=512)
def _layout(given: tuple[str, ...]) -> tuple[list[str], int, int]:
    """Return names in order, and where the certificate and the place in the stream belong."""
    ordered = sorted(given)
    first = sum(name < names.INTEGRITY_CERTIFICATE for name in ordered)
    second = sum(name < names.SEQUENCE for name in ordered)
    return ordered, first, second


_memo: Final[dict[tuple[str, object], _Pair]] = {}


def _attribute(name: str, value: object) -> _Pair:
    """Encode an attribute, or remember how it was encoded."""
    # Only of these two: a boolean or a float may be equal to an integer and is something else.
    if type(value) is int:
        is_common = 0 <= value < _MEMO_NUMBER_MAX
    else:
        is_common = type(value) is str and len(value) <= _MEMO_TEXT_MAX and name not in _UNIQUE
    if not is_common:
        return _encode(name, value)
    known = _memo.get((name, value))
    if known is None:
        known = _encode(name, value)
        if len(_memo) >= _MEMO_ENTRIES_MAX:
            _memo.clear()
        _memo[name, value] = known
    return known


def _encode(name: str, value: object) -> _Pair:
    if type(value) is str and value.isascii():
        return _encode_text(name, value)
    clean = _clean(value)
    parts: list[bytes] = []
    extend_attributes(parts, _FIELD, {name: clean})
    return parts[0], "," + attribute_text(name, clean)


def _encode_text(name: str, value: str) -> _Pair:
    """The two encoders in one, for the many texts that are ASCII and come once."""
    key, head = _head(name)
    data = b"\x0a" + varint(len(value)) + value.encode()
    data = key + b"\x12" + varint(len(data)) + data
    return b"\x32" + varint(len(data)) + data, f"{head}{encode_basestring(value)}}}}}"


@lru_cache(maxsize=512)
def _head(name: str) -> tuple[bytes, str]:
    """Return what stands before an attribute's text: KeyValue.key, and the canonical form's."""
    text = attribute_text(name, "")
    return delimited(b"\x0a", utf8(name)), "," + text.removesuffix('""}}')


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


def _previous() -> tuple[bytes, tuple[str, str]]:
    """Return what stands around the previous hash, whose length is always the same."""
    data, text = _encode(names.PREVIOUS_HASH, "0" * HASH_HEX)
    head, _, end = text.partition("0" * HASH_HEX)
    return data[:-HASH_HEX], (head, end)


_PREVIOUS: Final = _previous()
