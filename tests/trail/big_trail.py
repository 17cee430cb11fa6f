"""Trails of millions of records, fast: for measurements of speed and memory.

``python -m tests.trail.big_trail FOLDER RECORDS [--streams 4] [--per-line 64] [--file-mb 100]``
writes ``FOLDER/trail/audit*.jsonl``, ``FOLDER/trust.json`` and ``FOLDER/anchors.jsonl``, or call
``write_big_trail``.  Texts are put together from a pattern, not by the emitter: about 100,000
records a second and 1 KiB each.  The trail is clean; that its records are those that the emitter
would make is what ``test_big_trail.py`` shows, by both verifiers.  Realistic variety and faults are
in ``trail_kit.py``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import random
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

if TYPE_CHECKING:
    from collections.abc import Sequence

START_NS = 1_795_536_000_000_000_000
STEP_NS = 250_000
CHECKPOINT_EVERY = 64

_RECORD_ID = '{"key":"audit.record.id","value":{"stringValue":"%s"}}'
_PLACE = (
    '{"key":"audit.schema.version","value":{"stringValue":"1.1.0"}},'
    '{"key":"audit.sequence.number","value":{"intValue":"%d"}},'
)
_PREVIOUS = '{"key":"audit.sequence.previous_hash","value":{"stringValue":"%s"}},'
_SCOPES = '"scopeLogs":[{"scope":{},"logRecords":['
_TOOLS = ("bash", "search", "fetch", "write_file", "read_file", "sql", "mail", "deploy")


def _text(name: str, value: str) -> str:
    return f'{{"key":"{name}","value":{{"stringValue":"{value}"}}}}'


@dataclass
class BigStream:
    """One producer: its texts that never change, and where its chain stands."""

    index: int
    key: Ed25519PrivateKey
    number: int = 0
    previous: str = ""
    since: int = 0
    closed: bool = False
    stream_id: str = ""
    key_id: str = ""
    resource: str = ""
    rest: str = ""
    anchors: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        raw = self.key.public_key().public_bytes_raw()
        self.stream_id = f"019999a0-0000-7000-8000-{self.index:012x}"
        self.key_id = hashlib.sha256(raw).hexdigest()[:32]
        attributes = (
            f"{_text('host.name', f'host-{self.index}')},{_text('service.name', 'Researcher')}"
        )
        self.resource = f'{{"resource":{{"attributes":[{attributes}]}},{_SCOPES}'
        bound = hashlib.sha256(f'{{"attributes":[{attributes}]}}'.encode()).hexdigest()
        self.rest = _text("kaizen.audit.resource_hash", bound)
        self.published = ",".join(
            [
                _text("kaizen.audit.key_id", self.key_id),
                _text("kaizen.audit.public_key", base64.b64encode(raw).decode()),
            ]
        )

    def record(self, event: str, action: str, extra: str, *, time_ns: int, signed: bool) -> str:
        """Return the next record as it stands in a line."""
        self.number += 1
        number = self.number
        # Numbers of other streams must not have the same id: 16 bits of it name the stream.
        unique = f"{time_ns // 1_000_000:012x}{0x7000 | number & 0xFFF:04x}"
        unique += f"{0x8000 | self.index & 0x3FFF:04x}{number:012x}"
        record_id = f"{unique[:8]}-{unique[8:12]}-{unique[12:16]}-{unique[16:20]}-{unique[20:]}"
        certificate = (
            "," + _text("audit.integrity.certificate", self.key_id) + "," if signed else ","
        )
        place = _PLACE % number + (_PREVIOUS % self.previous if self.previous else "")
        end = ""
        if event == "kaizen.audit.stopped":
            end = ',{"key":"audit.sequence.end","value":{"stringValue":"true"}}'
            # It sorts before the number.
            place = place.replace(
                '{"key":"audit.sequence.number"', end[1:] + ',{"key":"audit.sequence.number"'
            )
        attributes = (
            _text("audit.action", action)
            + ',{"key":"audit.actor.id","value":{"stringValue":"Researcher"}},'
            '{"key":"audit.actor.type","value":{"stringValue":"service"}}'
            + certificate
            + '{"key":"audit.outcome","value":{"stringValue":"success"}},'
            + _RECORD_ID % record_id
            + ","
            + place
            + _text("audit.sequence.stream_id", self.stream_id)
            + extra
            + ","
            + self.rest
        )
        tail = f'"spanId":"","timeUnixNano":"{time_ns}","traceId":""}}'  # the hashed form's order
        canonical = (
            f'{{"attributes":[{attributes}],"eventName":"{event}",'
            f'"observedTimeUnixNano":"{time_ns}",{tail}'
        )
        digest = hashlib.sha256(canonical.encode()).digest()
        self.previous = digest.hex()
        if signed:
            value = base64.b64encode(self.key.sign(digest)).decode()
            attributes += "," + _text("audit.integrity.value", value)
        return (
            f'{{"timeUnixNano":"{time_ns}","observedTimeUnixNano":"{time_ns}","body":{{}},'
            f'"attributes":[{attributes}],"eventName":"{event}"}}'
        )

    def request(self, records: Sequence[str]) -> str:
        """Return one line without its end."""
        return f'{{"resourceLogs":[{self.resource}{",".join(records)}]}}]}}]}}\n'


@dataclass(frozen=True, slots=True, kw_only=True)
class BigTrail:
    """What was written; sizes in bytes."""

    trail: Path
    trust: Path
    anchors: Path
    records: int
    size: int
    seconds: float


def write_big_trail(
    folder: Path,
    records: int,
    *,
    streams: int = 4,
    per_line: int = 64,
    file_bytes: int = 100_000_000,
    seed: int = 0,
) -> BigTrail:
    """Write at least ``records`` records in commits of ``per_line``; every stream is closed."""
    started = time.perf_counter()
    rnd = random.Random(seed)
    trail = folder / "trail"
    trail.mkdir(parents=True, exist_ok=True)
    producers = [
        BigStream(i, Ed25519PrivateKey.from_private_bytes(rnd.randbytes(32)))
        for i in range(1, streams + 1)
    ]
    active = trail / "audit.jsonl"
    total, written, size, now, rotated = 0, 0, 0, START_NS, 0
    out = active.open("w", encoding="utf-8")
    left = streams
    while left:
        producer = producers[rnd.randrange(streams)]
        if producer.closed:
            continue
        is_last = written >= records
        commit, now = _commit(producer, per_line, now, is_last=is_last)
        left -= is_last
        line = producer.request(commit)
        size += out.write(line)
        written += len(commit)
        if size >= file_bytes and left:
            out.close()
            stamp = time.strftime("%Y-%m-%dT%H-%M-%S", time.gmtime(now // 10**9))
            active.rename(trail / f"audit-{stamp}.{rotated % 1000:03d}.jsonl")
            rotated += 1
            out = active.open("w", encoding="utf-8")
            total, size = total + size, 0
    out.close()
    trust, anchors = folder / "trust.json", folder / "anchors.jsonl"
    trust.write_text(json.dumps({"version": 1, "keys": [_trusted(p) for p in producers]}))
    anchors.write_text("".join(line for p in producers for line in p.anchors))
    seconds = time.perf_counter() - started
    return BigTrail(
        trail=trail,
        trust=trust,
        anchors=anchors,
        records=written,
        size=total + size,
        seconds=seconds,
    )


def _commit(producer: BigStream, count: int, now: int, *, is_last: bool) -> tuple[list[str], int]:
    records: list[str] = []
    if not producer.number:
        now += STEP_NS
        extra = "," + producer.published
        records.append(
            producer.record("kaizen.audit.started", "START", extra, time_ns=now, signed=True)
        )
    is_closing = is_last or producer.since + count >= CHECKPOINT_EVERY
    tools = max(count - len(records) - is_closing, 0)
    for place in range(1, tools + 1):
        now += STEP_NS
        tool = _TOOLS[now // STEP_NS % len(_TOOLS)]
        extra = (
            f',{{"key":"audit.target.id","value":{{"stringValue":"{tool}"}}}},'
            '{"key":"audit.target.type","value":{"stringValue":"gen_ai.tool"}},'
            f'{{"key":"gen_ai.tool.name","value":{{"stringValue":"{tool}"}}}}'
        )
        is_signed = place == tools and not is_closing
        records.append(
            producer.record("kaizen.tool.execute", "EXECUTE", extra, time_ns=now, signed=is_signed)
        )
    producer.since += count
    if is_closing:
        now += STEP_NS
        event = "stopped" if is_last else "checkpoint"
        extra = "" if is_last else "," + _text("kaizen.audit.checkpoint.reason", "count")
        records.append(
            producer.record(f"kaizen.audit.{event}", "WRITE", extra, time_ns=now, signed=True)
        )
        producer.anchors.append(producer.request(records[-1:]))
        producer.since, producer.closed = 0, is_last
    return records, now


def _trusted(producer: BigStream) -> dict[str, str]:
    raw = producer.key.public_key().public_bytes_raw()
    return {
        "key_id": producer.key_id,
        "public_key": base64.b64encode(raw).decode(),
        "name": f"producer {producer.index}",
        "added": "2026-11-01T00:00:00Z",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="write a large clean trail")
    parser.add_argument("folder", type=Path)
    parser.add_argument("records", type=int)
    parser.add_argument("--streams", type=int, default=4)
    parser.add_argument("--per-line", type=int, default=64)
    parser.add_argument("--file-mb", type=int, default=100)
    given = parser.parse_args()
    made = write_big_trail(
        given.folder,
        given.records,
        streams=given.streams,
        per_line=given.per_line,
        file_bytes=given.file_mb * 1_000_000,
    )
    print(made)  # noqa: T201 - a program's answer


if __name__ == "__main__":
    main()
