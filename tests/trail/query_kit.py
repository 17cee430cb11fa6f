"""Trails for the tests of the tools that read them: lines as the Collector writes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from kaizen_otel._otlp.decode import decode_log_record
from kaizen_otel._trail.times import Stamp
from kaizen_otel.audit.canonical import resource_hash
from kaizen_otel.audit.chain import Chain, Signing, draft_of
from kaizen_otel.audit.record import AuditRecord
from kaizen_otel.audit.signatures import encode_base64
from kaizen_otel.testing import FixedClock, MemoryFilesystem

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._signing import Signer

FOLDER = "/trail"
CACHE = "/cache/times"
START_NS = 1_795_000_000_000_000_000
SECOND_NS = 10**9
ACTIVE = "audit.jsonl"

RESOURCE = [{"key": "service.name", "value": {"stringValue": "tests"}}]
RESOURCE_HASH = resource_hash(RESOURCE)
STREAM = "3f0c3f0e-6c1b-4f0e-9d2e-8a7f7b7a1c11"


def record(
    number: int,
    time_ns: int | None,
    *,
    agent: str = "qa",
    tool: str = "search",
    event: str = "kaizen.tool.execute",
    stream_id: str = STREAM,
    **more: str,
) -> dict[str, object]:
    """A log record in OTLP/JSON's shape, with the members in the Collector's order."""
    values = {
        "audit.action": "EXECUTE",
        "audit.outcome": "success",
        "audit.record.id": f"01930000-0000-7000-8000-{hash((stream_id, number)) % 10**12:012d}",
        "gen_ai.agent.id": agent,
        "gen_ai.tool.name": tool,
        **more,
    }
    attributes: list[dict[str, object]] = [
        {"key": key, "value": {"stringValue": value}} for key, value in sorted(values.items())
    ]
    attributes += [
        {"key": "audit.sequence.number", "value": {"intValue": str(number)}},
        {"key": "audit.sequence.stream_id", "value": {"stringValue": stream_id}},
    ]
    times = (
        {}
        if time_ns is None
        else {"timeUnixNano": str(time_ns), "observedTimeUnixNano": str(time_ns + 5)}
    )
    ids = {"traceId": f"{number:032x}", "spanId": f"{number:016x}"}
    return {**times, "body": {}, "attributes": attributes, **ids, "eventName": event}


def request(records: Sequence[dict[str, object]], service: str = "tests") -> dict[str, object]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    scope_logs = [{"scope": {}, "logRecords": list(records)}]
    return {"resourceLogs": [{"resource": resource, "scopeLogs": scope_logs}]}


def line(*records: dict[str, object], service: str = "tests") -> bytes:
    """One line, as Go's encoder writes it."""
    text = json.dumps(request(records, service), separators=(",", ":"), ensure_ascii=False)
    return text.encode(errors="surrogatepass") + b"\n"


def write(filesystem: Filesystem, path: str, data: bytes) -> None:
    handle = filesystem.create(path)
    assert filesystem.write(handle, data) == len(data)
    filesystem.close(handle)


def append(filesystem: MemoryFilesystem, path: str, data: bytes) -> None:
    content = filesystem.read(path, 0, filesystem.size(path))
    filesystem.remove(path)
    write(filesystem, path, content + data)


class Disk(MemoryFilesystem):
    """A disk in memory that counts what is read of the trail, and knows inodes and times."""

    def __init__(self, files: Iterable[tuple[str, bytes]] = ()) -> None:
        super().__init__()
        self.bytes_read = 0
        self.version = 1
        self.clock = FixedClock(time_ns=START_NS)
        self.make_directory(FOLDER)
        for name, data in files:
            write(self, f"{FOLDER}/{name}", data)

    def read(self, path: str, offset: int, size: int) -> bytes:
        data = super().read(path, offset, size)
        if path.startswith(FOLDER):
            self.bytes_read += len(data)
        return data

    def stamp_of(self, path: str) -> Stamp:
        return Stamp(1, 1, self.size(path), self.version, self.version)


def signed_stream(
    signer: Signer,
    *,
    count: int = 10,
    stream_id: str = STREAM,
    start_ns: int = START_NS,
    step_ns: int = SECOND_NS,
    is_closed: bool = True,
    more: Sequence[AuditRecord] = (),
) -> list[dict[str, object]]:
    """The log records of one stream as the emitter makes it; ``count`` without start and stop.

    Every eighth record and the last one are signed.
    """
    ids = (f"0193{number:04x}-0000-7000-8000-{stream_id[-12:]}" for number in range(1, 2**16))

    def made(event: str, number: int, **attributes: object) -> AuditRecord:
        return AuditRecord(
            record_id=next(ids),
            time_ns=start_ns + number * step_ns,
            event_name=event,
            attributes=attributes,
            resource_hash=RESOURCE_HASH,
        )

    public = {
        "kaizen.audit.public_key": encode_base64(signer.public_key),
        "kaizen.audit.key_id": signer.key_id,
    }
    drafts = [made("kaizen.audit.started", 0, **public)]
    for number in range(1, count + 1):
        agent = {"gen_ai.agent.id": "qa", "gen_ai.tool.name": f"tool{number % 3}"}
        drafts.append(made("kaizen.tool.execute", number, **{"audit.outcome": "success", **agent}))
    drafts += more
    if is_closed:
        drafts.append(made("kaizen.audit.stopped", count + 1))
    chain = Chain(Signing(signer.key_id, signer.sign))
    sealed: list[bytes] = []
    for first in range(0, len(drafts), 8):
        batch = [draft_of(one) for one in drafts[first : first + 8]]
        sealed += chain.seal(batch, stream_id=stream_id, first_sequence=first + 1)
    return [decode_log_record(one) for one in sealed]
