"""Realistic trails, as the emitter makes them and as the Collector's file exporter writes them.

``make_trail(seed)`` lets several producers work side by side, through the real ``Chain``: group
commits of 1 to 64, checkpoints, intents and outcomes, denials, burned numbers and quarantined
records with their gap records, a key rotation, a forked child, a crash, a pruned stream, several
Resources in a stream, and texts with every kind of character.  What comes out is a ``Trail``:
files of lines of records (``trail_model.py``), which ``mutations.py`` changes, and what else a
verifier is given.
For millions of records see ``big_trail.py``.
"""

from __future__ import annotations

import base64
import random
from itertools import groupby
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.decode import decode_log_record
from kaizen_otel._signing import Ed25519Signer
from kaizen_otel.audit import AuditRecord
from kaizen_otel.audit import record as names
from kaizen_otel.audit.canonical import resource_hash
from kaizen_otel.audit.chain import Chain, Draft, Signing, draft_of
from kaizen_otel.audit.rotation import rotation_attributes
from tests.trail.trail_model import Entry, Line, Trail, as_collector

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kaizen_otel._otlp.decode import Json

START_NS: Final = 1_795_536_000_000_000_000
SECOND_NS: Final = 10**9
CHECKPOINT_RECORDS: Final = 64

#: Texts that a careless encoder, or a careless attacker, gets wrong.
TEXTS: Final = (
    "plain", "", "Jörg", "日本語", "\U0001f600 \U0001f9d1‍\U0001f680", 'quote " and \\ back',
    "tab\tline\nreturn\r", "\b\f\x00\x1f\x7f", "</script>&amp;", "\u2028 and \u2029", "\ufeffmark",
    "e\u0301 is not \u00e9", '{"key":"audit.sequence.number","value":{"intValue":"1"}}',
    '"}},{"key":"x","value":{"stringValue":"', "slash / slash", "\uffff\ufffd",
)  # fmt: skip


def make_resource(index: int, agent: str) -> Json:
    """A Resource with every kind of value, as the Collector writes it."""
    values: dict[str, Json] = {
        "service.name": {"stringValue": agent},
        "service.instance.id": {"stringValue": f"instance-{index}"},
        "process.pid": {"intValue": str(1000 + index)},
        "kaizen.demo": {"boolValue": True},
        "kaizen.share": {"doubleValue": 0.25},
        "process.command_args": {
            "arrayValue": {"values": [{"stringValue": "run"}, {"stringValue": "Jörg"}]}
        },
    }
    return {"attributes": [{"key": name, "value": value} for name, value in values.items()]}


class Producer:
    """One process epoch: a stream, a key, a chain and what it delivered."""

    def __init__(self, kit: Kit, signer: Ed25519Signer, *, previous_stream_id: str = "") -> None:
        kit.made += 1
        self.kit = kit
        self.signer = signer
        self.stream_id = kit.uuid()
        self.resources = [make_resource(kit.made, agent) for agent in ("Researcher", "Jörg's")]
        self.chain = Chain(Signing(key_id=signer.key_id, sign=signer.sign))
        self.number = 0
        self.since = 0
        self.open_intents: list[str] = []
        self.delivered: list[Entry] = []
        self.checkpoints: list[Entry] = []
        attributes = {
            names.PUBLIC_KEY: base64.b64encode(signer.public_key).decode(),
            names.KEY_ID: signer.key_id,
        }
        if previous_stream_id:
            attributes[names.PREVIOUS_STREAM_ID] = previous_stream_id
        self.commit([self.draft(names.EVENT_STARTED, attributes)])

    def draft(
        self, event: str, attributes: Mapping[str, object], *, then: Signing | None = None
    ) -> tuple[Draft, Json]:
        """Encode a record for one of the two Resources."""
        kit = self.kit
        resource = self.resources[kit.rnd.random() < 0.2]
        has_ids = kit.rnd.random() < 0.5
        kit.now_ns += kit.rnd.randint(1, 40_000_000)
        record = AuditRecord(
            record_id=kit.uuid(),
            time_ns=kit.now_ns,
            observed_ns=kit.now_ns + kit.rnd.randint(0, 1000),
            event_name=event,
            attributes=attributes,
            trace_id=kit.rnd.randbytes(16) if has_ids else b"",
            span_id=kit.rnd.randbytes(8) if has_ids else b"",
            resource_hash=resource_hash(resource["attributes"]),
        )
        return draft_of(record, signing_next=then), resource

    def commit(self, drafts: Sequence[tuple[Draft, Json]], *, burned: bool = False) -> list[Entry]:
        """Seal one group commit; what is ``burned`` has numbers and is never delivered."""
        sealed = self.chain.seal(
            [draft for draft, _ in drafts], stream_id=self.stream_id, first_sequence=self.number + 1
        )
        self.number += len(drafts)
        if burned:
            return []
        entries = [
            Entry(log=as_collector(decode_log_record(data)), resource=resource)
            for data, (_, resource) in zip(sealed, drafts, strict=True)
        ]
        self.delivered += entries
        self.since += len(entries)
        return entries

    def work(self, count: int) -> None:
        """Commit ``count`` records of an agent's work, and a checkpoint when one is due."""
        drafts = [self._next_draft() for _ in range(count)]
        self.commit(drafts)
        if self.since >= CHECKPOINT_RECORDS or self.kit.rnd.random() < 0.2:
            self.checkpoint("count" if self.since >= CHECKPOINT_RECORDS else "time")

    def _next_draft(self) -> tuple[Draft, Json]:
        rnd = self.kit.rnd
        text = rnd.choice(TEXTS)
        if self.open_intents and rnd.random() < 0.6:
            intent = self.open_intents.pop()
            attributes = {names.PHASE: "outcome", names.INTENT_ID: intent}
            return self.draft("kaizen.tool.execute", attributes | {names.OUTCOME: "success"})
        kind = rnd.randrange(4)
        if kind == 0:
            self.open_intents.append(self.kit.uuid())
            attributes = {names.PHASE: "intent", names.INTENT_ID: self.open_intents[-1]}
            return self.draft("kaizen.tool.execute", attributes | {"gen_ai.tool.name": "bash"})
        if kind == 1:
            return self.draft("kaizen.model.call", {"gen_ai.request.model": text, "kaizen.n": 7})
        if kind == 2:
            labels = [text, "second"] if rnd.random() < 0.7 else []
            return self.draft("kaizen.approval.decided", {"kaizen.labels": labels})
        return self.draft(
            "kaizen.memory.write", {"kaizen.note": text, "kaizen.hmac.value": rnd.randbytes(8)}
        )

    def checkpoint(self, reason: str) -> None:
        attributes = {names.CHECKPOINT_REASON: reason}
        self.checkpoints += self.commit([self.draft(names.EVENT_CHECKPOINT, attributes)])
        self.since = 0

    def close(self) -> None:
        while self.open_intents:
            self.work(1)
        self.checkpoints += self.commit([self.draft(names.EVENT_STOPPED, {})])

    def missing(self, reason: str, numbers: Sequence[int] = ()) -> None:
        """Write the gap record for numbers that nobody will see in the trail."""
        attributes: dict[str, object] = {names.GAP_REASON: reason, names.GAP_COUNT: len(numbers)}
        if numbers:
            attributes[names.GAP_STREAM_ID] = self.stream_id
            attributes[names.GAP_RANGES] = [f"{numbers[0]}-{numbers[-1]}"]
        self.commit([self.draft(names.EVENT_GAP, attributes)])

    def burn(self, count: int) -> None:
        """A write that failed twice: its numbers are used up, the chain goes on from them."""
        first = self.number + 1
        drafts = [self.draft("kaizen.model.call", {"kaizen.n": n}) for n in range(count)]
        self.commit(drafts, burned=True)
        self.missing("write_failed", range(first, first + count))

    def quarantine(self) -> None:
        """The receiver refused one record for good: it is set aside and its number is told."""
        self.delivered.remove(entry := self.commit([self._plain()])[0])
        self.missing("rejected", [entry.number])

    def _plain(self) -> tuple[Draft, Json]:
        return self.draft("kaizen.model.call", {"kaizen.note": "refused"})

    def rotate(self, signer: Ed25519Signer) -> None:
        """Change to another key."""
        attributes = rotation_attributes(
            public_key=signer.public_key,
            sign=signer.sign,
            old_key_id=self.signer.key_id,
            stream_id=self.stream_id,
        )
        then = Signing(key_id=signer.key_id, sign=signer.sign)
        before, after = self._plain(), self._plain()
        self.commit([before, self.draft(names.EVENT_KEY_ROTATED, attributes, then=then), after])
        self.signer = signer


class Kit:
    """What producers share: a seed, a clock, ids."""

    def __init__(self, seed: int, *, commit_max: int = 64) -> None:
        self.rnd = random.Random(seed)
        self.commit_max = commit_max
        self.now_ns = START_NS
        self.made = 0

    def uuid(self) -> str:
        """A UUIDv7 of the kit's clock."""
        head = f"{self.now_ns // 1_000_000:012x}"
        rest = f"{self.rnd.getrandbits(76):019x}"
        return f"{head[:8]}-{head[8:]}-7{rest[:3]}-a{rest[3:6]}-{rest[6:18]}"

    def commit_size(self) -> int:
        """Mostly one record, sometimes a full group commit."""
        sizes = (1, 1, 1, 2, 3, 8, self.rnd.randint(9, 64))
        return min(self.rnd.choice(sizes), self.commit_max)

    def signer(self) -> Ed25519Signer:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        return Ed25519Signer(Ed25519PrivateKey.from_private_bytes(self.rnd.randbytes(32)))


def make_trail(seed: int, *, work: int = 8, commit_max: int = 64) -> Trail:
    """Return the trail of a few producers; ``work`` is how many commits each of them has.

    No commit holds more than ``commit_max`` records.

    Streams, in the order in which they start: one that is closed, one that crashes, a forked
    child of the first that still runs, one that rotates its key, and one whose beginning was
    pruned.
    """
    kit = Kit(seed, commit_max=commit_max)
    first_key, second_key, new_key = kit.signer(), kit.signer(), kit.signer()
    closed, crashed = Producer(kit, first_key), Producer(kit, second_key)
    child = Producer(kit, first_key, previous_stream_id=closed.stream_id)
    rotating, pruned = Producer(kit, second_key), Producer(kit, first_key)
    producers = [closed, crashed, child, rotating, pruned]
    for turn in range(work):
        for producer in kit.rnd.sample(producers, len(producers)):
            producer.work(kit.commit_size())
            if turn == work // 2:
                _incident(kit, producer, is_rotating=producer is rotating, new_key=new_key)
    for producer in (closed, rotating, pruned):
        producer.close()
    child.checkpoint("heartbeat")
    crashed.checkpoint("time")
    for producer in (child, crashed):
        producer.work(kit.rnd.randint(1, 4))
    tool = Producer(kit, first_key)
    _prune(kit, pruned, tool)
    producers.append(tool)
    keys = [*{p.key_id: p for p in (first_key, second_key)}.values()]
    return Trail(
        files=_files(kit, producers),
        anchors=[entry for producer in producers for entry in producer.checkpoints],
        trusted=[trusted_key(key, f"key {index}") for index, key in enumerate(keys)],
    )


def _incident(kit: Kit, producer: Producer, *, is_rotating: bool, new_key: Ed25519Signer) -> None:
    if is_rotating:
        producer.rotate(new_key)
        return
    kind = kit.rnd.randrange(4)
    if kind == 0:
        producer.burn(kit.rnd.randint(1, 3))
    elif kind == 1:
        producer.quarantine()
    elif kind == 2:
        producer.missing("spool_full")


def _prune(kit: Kit, pruned: Producer, tool: Producer) -> None:
    """Remove what is before a checkpoint of one stream, and say so in another."""
    last = kit.rnd.choice(pruned.checkpoints[:-1] or pruned.checkpoints)
    attributes = {
        names.PRUNED_STREAM_ID: pruned.stream_id,
        names.PRUNED_SEQUENCE: last.number,
        names.PRUNED_HASH: last.digest,
    }
    tool.commit([tool.draft(names.EVENT_PRUNED, attributes)])
    tool.close()
    pruned.delivered = [entry for entry in pruned.delivered if entry.number > last.number]


def _files(kit: Kit, producers: Sequence[Producer]) -> dict[str, list[Line]]:
    """Deliver in requests of 1 to 64, the streams side by side, and rotate twice or so."""
    waiting = [list(producer.delivered) for producer in producers if producer.delivered]
    lines: list[Line] = []
    while waiting:
        queue = kit.rnd.choice(waiting)
        size = kit.rnd.choice((1, 1, 1, 2, 5, 64))
        lines.append(queue[:size])
        del queue[:size]
        waiting = [one for one in waiting if one]
    count = kit.rnd.randint(1, 4)
    parts = {
        index: [line for _, line in group]
        for index, group in groupby(enumerate(lines), lambda pair: pair[0] * count // len(lines))
    }
    files: dict[str, list[Line]] = {}
    for index in range(count - 1):
        files[f"audit-2026-11-24T{16 + index:02}-00-00.000.jsonl"] = parts.get(index, [])
    files["audit.jsonl"] = parts.get(count - 1, [])
    return files


def trusted_key(signer: Ed25519Signer, name: str) -> Json:
    """Return a key as the trust file holds it."""
    return {
        "key_id": signer.key_id,
        "public_key": base64.b64encode(signer.public_key).decode(),
        "name": name,
        "added": "2026-11-01T00:00:00Z",
    }


def golden_producer() -> Producer:
    """Return a producer that did what a real Collector wrote to ``collector_trail.jsonl``."""
    kit = Kit(2027)
    producer = Producer(kit, kit.signer())
    for text in TEXTS:
        producer.commit([producer.draft("kaizen.model.call", {"kaizen.note": text})])
    producer.work(3)
    producer.close()
    return producer


def golden_requests(producer: Producer) -> list[list[Entry]]:
    """Return its records as the requests in which they were sent: one for each Resource in turn."""
    groups = groupby(producer.delivered, key=lambda entry: id(entry.resource))
    return [list(group) for _, group in groups]
