"""Encode records, give them their place, link them by hash, sign every group commit.

A record is encoded when it is emitted, by any thread, as a ``Draft``: everything but its place in
the stream.  The spool's one writer adds number, previous hash and signature with ``Chain.seal``,
which costs one hash per record and one signature per commit.
"""

from __future__ import annotations

import struct
from binascii import b2a_base64, hexlify
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._otlp.common import TextCache
from kaizen_otel._otlp.logs import encode_log_record
from kaizen_otel._otlp.traces import SPAN_ID_SIZE, TRACE_ID_SIZE
from kaizen_otel._otlp.wire import MASK64, utf8
from kaizen_otel.audit import record as names
from kaizen_otel.audit._attributes import encoded, encoded_number, encoded_text, remembered
from kaizen_otel.audit.canonical import HASH_HEX, record_hash, tail_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kaizen_otel.audit._attributes import Pair
    from kaizen_otel.audit.record import AuditRecord

TEXT_HEAD: Final = b'{"attributes":['
"""How the canonical form of every record begins."""

_EVENT_NAMES: Final = TextCache(12)
# Tag and value of time, trace id, span id and observed time.
_pack_fields = struct.Struct("<BQBB16sBB8sBQ").pack


class Signing(NamedTuple):
    """A key to sign with: its id and the function that signs 32 bytes, which may raise."""

    key_id: str
    sign: Callable[[bytes], bytes]


class Draft:
    """An encoded record without its place, as pieces that the place is put between.

    ``data`` are the LogRecord's: the fields that are no attributes, the attributes in the order of
    their names, and at the end room for the signature.  ``texts`` are those of the canonical form,
    index by index.  ``certificate_at`` and ``place_at`` are where these two belong in both lists.
    """

    __slots__ = (
        "certificate_at", "data", "event_name", "place_at", "signing_next", "size", "texts",
    )  # fmt: skip

    def __init__(
        self,
        event_name: str,
        data: list[bytes],
        texts: list[bytes],
        certificate_at: int,
        place_at: int,
        signing_next: Signing | None = None,
    ) -> None:
        """Use ``draft_of``.  ``signing_next`` signs what follows this record, which is signed."""
        self.event_name = event_name
        self.data = data
        self.texts = texts
        self.certificate_at = certificate_at
        self.place_at = place_at
        self.signing_next = signing_next
        self.size = sum(map(len, data))

    def __len__(self) -> int:
        """Bytes of the record without its place."""
        return self.size

    def __bytes__(self) -> bytes:
        """The LogRecord without its place."""
        self.put(self.place_at, NOTHING)
        self.put(self.certificate_at, NOTHING)
        self.data[-1] = b""
        return b"".join(self.data)

    def is_same(self, other: Draft) -> bool:
        """Whether both are the same record, wherever their pieces begin."""
        return bytes(self) == bytes(other) and b"".join(self.texts) == b"".join(other.texts)

    def put(self, index: int, pair: Pair) -> None:
        """Put an attribute into its place in both forms."""
        self.data[index], self.texts[index] = pair


NOTHING: Final = (b"", b"")


def draft_of(record: AuditRecord, *, signing_next: Signing | None = None) -> Draft:
    """Encode a record as far as it is known when it is emitted.

    Values that a record cannot hold (``audit.canonical``) become their text.
    """
    attributes = names.attributes_of(record)
    if record.event_name == names.EVENT_STOPPED:
        attributes[names.END] = "true"
    ordered, first, second = layout(tuple(attributes))
    pairs = [remembered(name, attributes[name]) for name in ordered]
    data = [pair[0] for pair in pairs]
    texts = [pair[1] for pair in pairs]
    # Every record has an action, so there is a first attribute, whose comma is left out.
    texts[0] = texts[0][1:]
    event_name = utf8(record.event_name).decode()
    observed_ns = record.observed_ns or record.time_ns
    fields, tail = fields_and_tail(
        event_name, record.time_ns, observed_ns, record.trace_id, record.span_id
    )
    join = b"".join
    return Draft(
        event_name,
        [fields, join(data[:first]), b"", join(data[first:second]), b"", join(data[second:]), b""],
        [
            TEXT_HEAD, join(texts[:first]), b"", join(texts[first:second]), b"",
            join(texts[second:]), tail,
        ],
        2,
        4,
        signing_next,
    )  # fmt: skip


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
        before = first_sequence - 1
        hashes = {before: self._hashes[before]}
        previous = hashes[before].encode()
        stream_data, stream_text = remembered(names.STREAM_ID, stream_id)
        hash_data, hash_text, hash_end = _PREVIOUS
        join, sealed = b"".join, list[bytes]()
        last = before + len(drafts)
        for sequence, draft in enumerate(drafts, first_sequence):
            data, texts, at = draft.data, draft.texts, draft.place_at
            number_data, number_text = encoded_number(names.SEQUENCE, sequence)
            if previous:
                data[at] = join((number_data, hash_data, previous, stream_data))
                texts[at] = join((number_text, hash_text, previous, hash_end, stream_text))
            else:
                data[at], texts[at] = number_data + stream_data, number_text + stream_text
            is_signed = sequence == last or draft.signing_next is not None
            # What it was given in a commit that failed does not stay in it.
            at = draft.certificate_at
            data[at] = texts[at] = data[-1] = b""
            previous = hexlify(self._sign(draft) if is_signed else record_hash(join(texts)))
            sealed.append(join(data))
        hashes[last] = previous.decode()
        self._hashes = hashes
        return sealed

    def _sign(self, draft: Draft) -> bytes:
        """Sign a record that has its place, and change the key if it says so; return its hash."""
        signing = self.signing
        if signing is None:
            self.signing = draft.signing_next
            return record_hash(b"".join(draft.texts))
        draft.put(draft.certificate_at, remembered(names.INTEGRITY_CERTIFICATE, signing.key_id))
        digest = record_hash(b"".join(draft.texts))
        try:
            signature = b2a_base64(signing.sign(digest), newline=False).decode()
        except Exception as error:  # noqa: BLE001 - the user's key store may raise anything
            self.sign_failures += 1
            self.failure = f"{type(error).__name__}: {error}"
            draft.put(draft.certificate_at, NOTHING)
            return record_hash(b"".join(draft.texts))
        draft.data[-1] = encoded_text(names.INTEGRITY_VALUE, signature)[0]
        # Only here: a change of key that the old key has not signed is none.
        self.signing = draft.signing_next or signing
        return digest


def fields_and_tail(
    event_name: str, time_ns: int, observed_ns: int, trace_id: bytes, span_id: bytes
) -> Pair:
    """Encode what is no attribute: LogRecord's fields, and how the canonical form ends.

    Nearly every record has the same fields.
    """
    text = b'%b%d","spanId":"%b","timeUnixNano":"%d","traceId":"%b"}' % (
        _tail_head(event_name), observed_ns, hexlify(span_id), time_ns, hexlify(trace_id)
    )  # fmt: skip
    has_ids = len(trace_id) == TRACE_ID_SIZE and len(span_id) == SPAN_ID_SIZE
    if has_ids and 0 < time_ns <= MASK64 and 0 < observed_ns <= MASK64:
        head = _pack_fields(9, time_ns, 0x4A, 16, trace_id, 0x52, 8, span_id, 0x59, observed_ns)
        return head + _EVENT_NAMES[event_name], text
    fields = encode_log_record(
        time_ns=time_ns,
        observed_ns=observed_ns,
        trace_id=trace_id,
        span_id=span_id,
        event_name=event_name,
    )
    return fields, text


@lru_cache(maxsize=512)
def layout(given: tuple[str, ...]) -> tuple[list[str], int, int]:
    """Return names in order, and where the certificate and the place in the stream belong."""
    ordered = sorted(given)
    first = sum(name < names.INTEGRITY_CERTIFICATE for name in ordered)
    second = sum(name < names.SEQUENCE for name in ordered)
    return ordered, first, second


@lru_cache(maxsize=512)
def _tail_head(event_name: str) -> bytes:
    """Return how the canonical form goes on after the attributes, up to the observed time."""
    text = tail_text(event_name=event_name, observed_ns="", span_id="", time_ns="", trace_id="")
    return text.encode().partition(b'","spanId"')[0]


def _previous() -> tuple[bytes, bytes, bytes]:
    """Return what stands around the previous hash, whose length is always the same."""
    data, text = encoded(names.PREVIOUS_HASH, "0" * HASH_HEX)
    head, _, end = text.partition(b"0" * HASH_HEX)
    return data[:-HASH_HEX], head, end


_PREVIOUS: Final = _previous()
