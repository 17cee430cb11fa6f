"""Small streams made by the real chain, for tests of the verifier."""

from __future__ import annotations

import base64
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from kaizen_otel._otlp.decode import Json, decode_log_record
from kaizen_otel._signing import Ed25519Signer
from kaizen_otel.audit import AuditRecord
from kaizen_otel.audit import record as names
from kaizen_otel.audit.canonical import canonical_record, record_hash, resource_hash
from kaizen_otel.audit.chain import Chain, Signing, draft_of
from kaizen_otel.audit.rotation import rotation_attributes
from kaizen_otel.audit.trust import Trust, parse_trust
from kaizen_otel.audit.verify import Verifier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kaizen_otel.audit.anchors import Anchor
    from kaizen_otel.audit.chain import Draft
    from kaizen_otel.audit.verify import Verdict

START_NS = 1_795_536_000_000_000_000
RESOURCE: Json = {"attributes": [{"key": "service.name", "value": {"stringValue": "a"}}]}


@dataclass
class Epoch:
    """One process: its stream, its key, the records that it delivered."""

    index: int = 1
    signer: Ed25519Signer = field(default_factory=Ed25519Signer.generate)
    is_signing: bool = True
    records: list[Json] = field(default_factory=list)
    number: int = 0

    def __post_init__(self) -> None:
        self.stream_id = f"01999999-0000-7000-8000-{self.index:012x}"
        self.chain = Chain(self._signing(self.signer) if self.is_signing else None)

    @staticmethod
    def _signing(signer: Ed25519Signer) -> Signing:
        return Signing(key_id=signer.key_id, sign=signer.sign)

    def start(self, **more: str) -> Epoch:
        published = {
            names.PUBLIC_KEY: base64.b64encode(self.signer.public_key).decode(),
            names.KEY_ID: self.signer.key_id,
        }
        return self.commit((names.EVENT_STARTED, {**published, **more}))

    def commit(
        self, *items: tuple[str, dict[str, object]], then: Ed25519Signer | None = None
    ) -> Epoch:
        """One group commit of (event name, attributes)."""
        drafts: list[Draft] = []
        for event_name, attributes in items:
            at = self.number + len(drafts) + 1
            record = AuditRecord(
                record_id=str(uuid.UUID(int=self.index << 64 | at)),
                time_ns=START_NS + at * 10**6,
                event_name=event_name,
                attributes=attributes,
                resource_hash=resource_hash(RESOURCE["attributes"]),
            )
            following = self._signing(then) if then is not None else None
            drafts.append(draft_of(record, signing_next=following))
        sealed = self.chain.seal(drafts, stream_id=self.stream_id, first_sequence=self.number + 1)
        self.number += len(drafts)
        self.records += [decode_log_record(data) for data in sealed]
        return self

    def work(self, count: int = 1) -> Epoch:
        """One group commit of ``count`` plain records."""
        first = self.number
        items: list[tuple[str, dict[str, object]]] = [
            ("kaizen.tool.execute", {"n": first + i}) for i in range(count)
        ]
        return self.commit(*items)

    def stop(self) -> Epoch:
        return self.commit((names.EVENT_STOPPED, {}))

    def rotate(self, signer: Ed25519Signer) -> Epoch:
        attributes = rotation_attributes(
            public_key=signer.public_key,
            sign=signer.sign,
            old_key_id=self.signer.key_id,
            stream_id=self.stream_id,
        )
        self.commit((names.EVENT_KEY_ROTATED, dict(attributes)), then=signer)
        self.signer = signer
        return self

    def gap(self, reason: str, *ranges: str, about: str = "", count: int = 0) -> Epoch:
        values: dict[str, object] = {
            names.GAP_REASON: reason,
            names.GAP_COUNT: count,
            names.GAP_STREAM_ID: about or self.stream_id,
        }
        if ranges:
            values[names.GAP_RANGES] = list(ranges)
        return self.commit((names.EVENT_GAP, values))

    def hash_of(self, number: int) -> bytes:
        return record_hash(canonical_record(self.records[number - 1]))


def changed(record: Json, name: str, value: object | None) -> Json:
    """Return a record with another text for an attribute, or without it."""
    pairs = cast("list[dict[str, Any]]", record["attributes"])
    if value is None:
        return {**record, "attributes": [pair for pair in pairs if pair["key"] != name]}
    kind = "intValue" if isinstance(value, int) else "stringValue"
    new = {"key": name, "value": {kind: str(value)}}
    rest = [new if pair["key"] == name else pair for pair in pairs]
    if new not in rest:
        rest.append(new)
    return {**record, "attributes": rest}


def trust_of(*signers: Ed25519Signer, **more: str) -> Trust:
    """Return a trust file's content with these keys."""
    import json

    keys = [
        {
            "key_id": signer.key_id,
            "public_key": base64.b64encode(signer.public_key).decode(),
            "name": "test",
            "added": "2026-01-01T00:00:00Z",
            **more,
        }
        for signer in signers
    ]
    return parse_trust(json.dumps({"version": 1, "keys": keys}).encode(), source="test")


def verify(
    records: Iterable[Json],
    *,
    trust: Trust | None = None,
    anchors: Iterable[Anchor] = (),
    resource: Json | None = None,
    **settings: object,
) -> Verdict:
    """Judge records that came with one Resource."""
    verifier = Verifier(trust=trust, **settings)  # type: ignore[arg-type]
    for place, record in enumerate(records):
        verifier.add_log_record(record, resource or RESOURCE, path="audit.jsonl", offset=place)
    return verifier.finish(anchors)


def wrong(verdict: Verdict) -> list[tuple[str, int]]:
    """Return kind and sequence of every finding that is more than a note."""
    return [(f.kind, f.sequence) for f in verdict.findings if f.severity != "note"]
