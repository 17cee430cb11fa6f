"""What the emitter stores and sends, judged by rfc8785 and cryptography alone.

The manager, its threads and the directory are real, only the receiver is in memory.  Hashes, links
and signatures are computed here from the decoded bytes by nothing of the package.
"""

from __future__ import annotations

import hashlib
import threading
from base64 import b64decode
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from kaizen_otel._edges import OsFilesystem
from kaizen_otel._export import Delivered, Outcome, Signal
from kaizen_otel._otlp.common import encode_resource
from kaizen_otel._signing import Ed25519Signer
from kaizen_otel._spool.files import segment_paths, stream_ids
from kaizen_otel._spool.segment import scan
from kaizen_otel.audit_trail import AuditTrailManager
from kaizen_otel.config import AuditConfig, EndpointConfig

_VALUE = "audit.integrity.value"
_STRANGE = ("", "plain", 'quote " and \\', "tab\tnewline\n\x01", "é 日本 \U0001f600 \u2028", "</x>")


class _Receiver:
    """Keeps every request."""

    description = "memory"

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def send(self, signal: Signal, body: bytes, *, deadline_ns: int) -> Outcome:
        del signal, deadline_ns
        self.bodies.append(body)
        return Delivered()

    def close(self) -> None:
        """Nothing to close."""


def _value(any_value: AnyValue) -> dict[str, Any]:
    kind = any_value.WhichOneof("value")
    if kind == "string_value":
        return {"stringValue": any_value.string_value}
    if kind == "int_value":
        return {"intValue": str(any_value.int_value)}
    assert kind == "array_value"
    return {"arrayValue": {"values": [_value(item) for item in any_value.array_value.values]}}


class _Seen:
    """One stored or delivered record."""

    def __init__(self, data: bytes) -> None:
        record = LogRecord.FromString(data)
        keys = [attribute.key for attribute in record.attributes]
        assert keys[-1:] == [_VALUE] or _VALUE not in keys
        assert keys == sorted(set(keys) - {_VALUE}) + [_VALUE] * (_VALUE in keys)
        pairs = {attribute.key: _value(attribute.value) for attribute in record.attributes}
        self.values = {key: next(iter(value.values())) for key, value in pairs.items()}
        form: dict[str, Any] = {
            "attributes": [
                {"key": key, "value": pairs[key]} for key in sorted(pairs) if key != _VALUE
            ],
            "eventName": record.event_name,
            "observedTimeUnixNano": str(record.observed_time_unix_nano),
            "spanId": record.span_id.hex(),
            "timeUnixNano": str(record.time_unix_nano),
            "traceId": record.trace_id.hex(),
        }
        self.event = record.event_name
        self.digest = hashlib.sha256(rfc8785.dumps(form)).digest()
        self.number = int(self.values["audit.sequence.number"])
        self.stream = str(self.values["audit.sequence.stream_id"])

    def verify(self, keys: dict[str, bytes]) -> bool:
        """Whether it is signed; raises if it is, and wrongly."""
        key_id = self.values.get("audit.integrity.certificate")
        if key_id is None:
            assert _VALUE not in self.values
            return False
        key = Ed25519PublicKey.from_public_bytes(keys[key_id])
        key.verify(b64decode(self.values[_VALUE], validate=True), self.digest)
        return True


def _stored(root: Path) -> list[list[bytes]]:
    """The records of the spool, by group commit."""
    filesystem = OsFilesystem()
    commits: list[list[bytes]] = []
    for stream_id in stream_ids(filesystem, str(root)):
        for path in segment_paths(filesystem, str(root / stream_id)):
            for entry in scan(Path(path).read_bytes()).entries:
                if entry.begins_commit:
                    commits.append([])
                if not entry.is_resource:
                    commits[-1].append(entry.payload)
    return commits


def _delivered(bodies: list[bytes]) -> list[bytes]:
    return [
        record.SerializeToString()
        for body in bodies
        for resource in ExportLogsServiceRequest.FromString(body).resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]


def _check(records: list[bytes], keys: dict[str, bytes]) -> int:
    """Check hash, link and signature of every record; return how many are signed."""
    streams: dict[str, list[_Seen]] = defaultdict(list)
    for data in records:
        seen = _Seen(data)
        streams[seen.stream].append(seen)
    signed = 0
    for stream in streams.values():
        stream.sort(key=lambda seen: seen.number)
        assert [seen.number for seen in stream] == list(range(1, len(stream) + 1))
        assert stream[0].event == "kaizen.audit.started"
        assert stream[-1].event == "kaizen.audit.stopped"
        previous = None
        for seen in stream:
            assert seen.values.get("audit.sequence.previous_hash") == previous
            previous = seen.digest.hex()
            signed += seen.verify(keys)
        ends = [seen.number for seen in stream if "audit.sequence.end" in seen.values]
        assert ends == [len(stream)]
    return signed


def _manager(
    root: Path, receiver: _Receiver, signer: Ed25519Signer | None = None
) -> AuditTrailManager:
    return AuditTrailManager(
        config=AuditConfig(directory=root, endpoint=EndpointConfig(signal="logs")),
        transport=receiver,
        resource=encode_resource({"service.name": "emitted", "process.pid": 7, "share": 0.5}),
        warn=lambda _: None,
        signer=signer,
    )


def _emit(manager: AuditTrailManager, count: int, *, who: str) -> None:
    receipts = [
        manager.emit(
            "kaizen.tool.execute",
            {
                "gen_ai.agent.name": who,
                "gen_ai.tool.name": "bash",
                "gen_ai.usage.input_tokens": number - 2**40,
                "gen_ai.response.finish_reasons": ["stop", "length"],
                f"kaizen.word.{number % 7}": _STRANGE[number % len(_STRANGE)],
                "kaizen.flag": True,
                "kaizen.share": number / 3,
            },
            trace_id=number.to_bytes(16, "big") if number % 3 else b"",
            span_id=number.to_bytes(8, "big") if number % 3 else b"",
        )
        for number in range(1, count + 1)
    ]
    assert all(receipt.wait(20) for receipt in receipts)


@pytest.fixture
def keys() -> tuple[Ed25519Signer, Ed25519Signer]:
    return Ed25519Signer.generate(), Ed25519Signer.generate()


def test_every_hash_link_and_signature_holds_in_the_spool_and_on_the_wire(
    tmp_path: Path, keys: tuple[Ed25519Signer, Ed25519Signer]
) -> None:
    """Several threads, hundreds of records, a change of key, two processes' lives."""
    old, new = keys
    receiver, root = _Receiver(), tmp_path / "spool"
    for life in range(2):
        manager = _manager(root, receiver, signer=old)
        threads = [
            threading.Thread(target=_emit, args=(manager, 60), kwargs={"who": f"agent {n}"})
            for n in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert manager.rotate_key(new).wait(20)
        _emit(manager, 5, who=f"life {life}")
        assert manager.shutdown(20_000)
        status = manager.status()
        assert (status.emitted, status.durable, status.undelivered) == (245, 245, 0)
    public = {signer.key_id: signer.public_key for signer in keys}
    commits = _stored(root)
    stored = [data for commit in commits for data in commit]
    assert _check(stored, public) >= len(commits)
    assert all(_Seen(commit[-1]).verify(public) for commit in commits), "each commit is signed"
    assert _check(_delivered(receiver.bodies), public) >= len(commits)
    delivered = [_Seen(data).digest for data in _delivered(receiver.bodies)]
    assert sorted(delivered) == sorted(_Seen(data).digest for data in stored)
    # What is in no commit's last place is signed only if it says something about the stream.
    inner = [_Seen(data) for commit in commits for data in commit[:-1]]
    assert {seen.event for seen in inner if seen.verify(public)} <= {
        "kaizen.audit.started",
        "kaizen.audit.key_rotated",
    }


def test_one_producer_gets_a_signature_for_every_record(
    tmp_path: Path, keys: tuple[Ed25519Signer, Ed25519Signer]
) -> None:
    signer, _ = keys
    receiver = _Receiver()
    manager = _manager(tmp_path / "spool", receiver, signer=signer)
    for _ in range(20):
        _emit(manager, 1, who="one")
    assert manager.shutdown(20_000)
    records = _delivered(receiver.bodies)
    assert _check(records, {signer.key_id: signer.public_key}) == len(records) == 22


def test_the_key_that_the_root_made_is_the_one_that_the_stream_publishes(tmp_path: Path) -> None:
    receiver = _Receiver()
    manager = _manager(tmp_path / "spool", receiver)
    _emit(manager, 3, who="one")
    assert manager.shutdown(20_000)
    records = _delivered(receiver.bodies)
    [start] = [seen for seen in map(_Seen, records) if seen.event == "kaizen.audit.started"]
    raw = b64decode(start.values["kaizen.audit.public_key"])
    key_id = hashlib.sha256(raw).hexdigest()[:32]
    assert start.values["kaizen.audit.key_id"] == key_id
    assert _check(records, {key_id: raw}) >= 3
    resource: dict[str, Any] = {
        "attributes": [
            {"key": "process.pid", "value": {"intValue": "7"}},
            {"key": "service.name", "value": {"stringValue": "emitted"}},
            {"key": "share", "value": {"doubleValue": "0.5"}},
        ]
    }
    told = {seen.values["kaizen.audit.resource_hash"] for seen in map(_Seen, records)}
    assert told == {hashlib.sha256(rfc8785.dumps(resource)).hexdigest()}


def test_a_change_of_one_bit_is_seen_by_this_check(
    tmp_path: Path, keys: tuple[Ed25519Signer, Ed25519Signer]
) -> None:
    """The saboteur: a check that finds nothing would pass everything above."""
    signer, _ = keys
    receiver = _Receiver()
    manager = _manager(tmp_path / "spool", receiver, signer=signer)
    _emit(manager, 3, who="one")
    assert manager.shutdown(20_000)
    records = _delivered(receiver.bodies)
    changed = [data.replace(b"bash", b"dash") for data in records]
    assert changed != records
    with pytest.raises((AssertionError, InvalidSignature)):
        _check(changed, {signer.key_id: signer.public_key})
