"""Anchors: what was said about streams in places that whoever edits the trail cannot reach.

An anchor says that a stream has a record of a number with a hash.  Sources are the anchor file and
the ordinary logs of the Collector (whole signed records, as JSON lines), a signed list of heads
(``kaizen-otel audit heads``), and answers of Elasticsearch or OpenSearch, whose documents cannot be
checked and are believed because the operator says where they came from.  Pure: no disk.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel._otlp.json import iter_log_records
from kaizen_otel.audit import record as names
from kaizen_otel.audit._seen import read_record
from kaizen_otel.audit.canonical import NotCanonicalError, canonical_json
from kaizen_otel.audit.signatures import SIGNATURE_BYTES, decode_base64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kaizen_otel._otlp.decode import Json

HEADS_KIND: Final = "kaizen-otel heads v1"

_HEX: Final = re.compile(r"[0-9a-f]{64}")


class Anchor(NamedTuple):
    """Stream ``stream_id`` has a record ``sequence`` whose hash is ``digest``.

    ``signature`` is that of ``signed`` (32 bytes) under the key ``key_id``; without a key id the
    anchor is not signed.
    """

    stream_id: str
    sequence: int
    digest: bytes
    time_ns: int = 0
    key_id: str = ""
    signature: bytes = b""
    signed: bytes = b""
    is_end: bool = False
    path: str = ""
    offset: int = -1


def read_anchors(value: object, *, path: str = "", offset: int = -1) -> Iterator[Anchor]:
    """Yield the anchors in one decoded JSON value; what holds none yields nothing."""
    if not isinstance(value, dict):
        return
    document = cast("Json", value)
    if document.get("kind") == HEADS_KIND:
        yield from _heads(document, path, offset)
    elif "resourceLogs" in document:
        for record, _ in iter_log_records(document):
            yield from _of_record(record, path, offset)
    elif isinstance(document.get("hits"), dict):
        hits = cast("Json", document["hits"]).get("hits")
        for hit in cast("list[object]", hits) if isinstance(hits, list) else []:
            yield from read_anchors(hit, path=path, offset=offset)
    else:
        source = document.get("_source", document)
        if isinstance(source, dict):
            yield from _of_document(cast("Json", source), path, offset)


def _of_record(record: Json, path: str, offset: int) -> Iterator[Anchor]:
    """A whole record that is signed; one that was changed on its way still says its link."""
    seen, _ = read_record(record, resource=None)
    if seen is not None and seen.certificate:
        yield Anchor(
            stream_id=seen.stream_id,
            sequence=seen.sequence,
            digest=seen.digest,
            time_ns=seen.time_ns,
            key_id=seen.certificate,
            signature=seen.signature,
            signed=seen.digest,
            is_end=seen.is_end,
            path=path,
            offset=offset,
        )


def _of_document(source: Json, path: str, offset: int) -> Iterator[Anchor]:
    """A document of a store: its link says number and hash of the record before it."""
    attributes = _flat(source.get("attributes", source.get("Attributes", {})))
    stream_id = attributes.get(names.STREAM_ID)
    previous = attributes.get(names.PREVIOUS_HASH)
    try:
        sequence = int(str(attributes.get(names.SEQUENCE, "")))
    except ValueError:
        return
    if isinstance(stream_id, str) and isinstance(previous, str) and _HEX.fullmatch(previous):
        digest = bytes.fromhex(previous)
        yield Anchor(stream_id, sequence - 1, digest, path=path, offset=offset)


def _flat(value: object, prefix: str = "", depth: int = 8) -> dict[str, object]:
    """Return attributes by their full names, however the store has nested them."""
    flat: dict[str, object] = {}
    if isinstance(value, dict) and depth:
        for name, member in cast("Mapping[str, object]", value).items():
            if isinstance(member, dict):
                flat |= _flat(cast("object", member), f"{prefix}{name}.", depth - 1)
            else:
                flat[f"{prefix}{name}"] = member
    return flat


def heads_digest(document: Mapping[str, object]) -> bytes:
    """Return the 32 bytes that the signature of a list of heads is over.

    Raises ``NotCanonicalError`` if the document has no canonical form.
    """
    rest = {name: value for name, value in document.items() if name != "signature"}
    return hashlib.sha256(canonical_json(cast("str", rest))).digest()


def _heads(document: Json, path: str, offset: int) -> Iterator[Anchor]:
    key_id, text = document.get("key_id", ""), document.get("signature", "")
    signature = decode_base64(text, SIGNATURE_BYTES) if isinstance(text, str) else None
    try:
        signed = heads_digest(document)
    except NotCanonicalError:
        signed = b""
    streams = document.get("streams")
    for item in cast("list[object]", streams) if isinstance(streams, list) else []:
        head = cast("Json", item) if isinstance(item, dict) else {}
        stream_id, digest = head.get("stream_id"), head.get("hash")
        number = str(head.get("number", ""))
        if isinstance(stream_id, str) and isinstance(digest, str) and _HEX.fullmatch(digest):
            if not number.isdigit() or len(number) > len(str(2**63)):
                continue
            yield Anchor(
                stream_id=stream_id,
                sequence=int(number),
                digest=bytes.fromhex(digest),
                time_ns=int(str(document.get("time_unix_nano", "0")) or 0)
                if str(document.get("time_unix_nano", "0")).isdigit()
                else 0,
                key_id=key_id if isinstance(key_id, str) else "",
                signature=signature or b"",
                signed=signed,
                is_end=str(head.get("end", "")) == "true",
                path=path,
                offset=offset,
            )


def parse_document(data: bytes) -> object:
    """Read one JSON document, or None if it is none."""
    try:
        return cast("object", json.loads(data))
    except (ValueError, RecursionError):
        return None
