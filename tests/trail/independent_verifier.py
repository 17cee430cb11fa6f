# ruff: noqa: ANN401, C901, T201 - a program that is to be read at one go
"""Verify an audit trail by what docs/reference/audit-format.md says, and by nothing of ours.

``python independent_verifier.py TRAIL... [--trust FILE] [--anchors FILE]`` prints one finding per
line, ``kind stream sequence``; exit code 0 clean, 1 tampering, 2 incomplete, 3 nothing to verify.
"""

import argparse
import hashlib
import json
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any as Json

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

INCOMPLETE = {"missing", "declared", "unsigned_tail", "torn_line", "foreign_line", "empty_trail"}
OWN, PLACE, SIGNED = "kaizen.audit.", "audit.sequence.", "audit.integrity."
HASHED = ("attributes", "eventName", "observedTimeUnixNano", "spanId", "timeUnixNano", "traceId")
Finding = tuple[str, str, int]
WRONG = (ValueError, LookupError, TypeError, AttributeError, InvalidSignature)


def sha(value: Json) -> bytes:
    return hashlib.sha256(rfc8785.dumps(value)).digest()


def key_id(key: str) -> str:  # section 5
    return hashlib.sha256(b64decode(key)).hexdigest()[:32]


def holds(key: str, signature: str, digest: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(b64decode(key)).verify(b64decode(signature), digest)
    except WRONG:
        return False
    return True


def members(pairs: list[tuple[str, Json]]) -> Json:  # sections 2 and 4: values as they are hashed
    made = dict(pairs) if len(dict(pairs)) == len(pairs) else {**dict(pairs), "(twice)": "yes"}
    if made.keys() & {"doubleValue", "boolValue"}:
        return {
            n: repr(float(v)) if n == "doubleValue" else str(v).lower() for n, v in made.items()
        }
    return {"arrayValue": {"values": []}} if made == {"arrayValue": {}} else made


def has_more(thing: Json, *known: str) -> bool:
    return any(value not in ({}, "", 0, None) for name, value in thing.items() if name not in known)


class Record:  # section 3
    def __init__(self, log: Json, resource: str, *, is_odd: bool) -> None:
        form = {name: log.get(name, "0" if "Nano" in name else "") for name in HASHED}
        pairs = sorted(form["attributes"], key=itemgetter("key"))
        self.values: Json = defaultdict(str)
        self.values |= {item["key"]: [*item["value"].values(), ""][0] for item in pairs}
        form["attributes"] = [item for item in pairs if item["key"] != SIGNED + "value"]
        self.digest, self.event = sha(form), form["eventName"]
        self.stream = str(self.values[PLACE + "stream_id"])
        self.number = int(self.values[PLACE + "number"] or 0)
        self.wrong = ["foreign_field"] * (is_odd or has_more(log, *HASHED))
        self.wrong += ["unplaced"] * (len(self.stream) != 36)
        self.wrong += ["resource_changed"] * (self.values[OWN + "resource_hash"] != resource)

    def problem(self, keys: Json) -> str:  # section 6
        key, signature = self.values[SIGNED + "certificate"], self.values[SIGNED + "value"]
        if not key or not signature:
            return "bad_signature" if signature else "missing_signature" if key else ""
        good = holds(keys.get(key, ""), signature, self.digest)
        return "" if good else "bad_signature" if key in keys else "untrusted_key"

    def rotation(self) -> Json:  # section 7
        new, old = self.values[OWN + "public_key"], self.values[SIGNED + "certificate"]
        link = {"kind": "kaizen-otel key rotation v1", "old": old, "new": key_id(new)}
        digest = sha({**link, "streamId": self.stream})
        return {key_id(new): new} if holds(new, self.values[OWN + "key_proof"], digest) else {}

    def absent(self) -> list[tuple[str, int, int, str]]:  # section 8
        values, is_gap = (
            self.values,
            self.event == OWN + "gap" and self.values[OWN + "gap.stream_id"],
        )
        if self.event == OWN + "pruned":
            return [(values[OWN + "pruned.stream_id"], 1, int(values[OWN + "pruned.number"]), "")]
        kind = "declared" * (values[OWN + "gap.reason"] != "write_failed")
        texts = values[OWN + "gap.sequences"]["values"] if is_gap else []
        ranges = [item["stringValue"].split("-") for item in texts if "-" in item["stringValue"]]
        return [(values[OWN + "gap.stream_id"], int(a), int(b), kind) for a, b in ranges]


def read(data: bytes, found: set[Finding]) -> Iterator[Record]:  # section 2
    decoder = json.JSONDecoder(object_pairs_hook=members)
    for line in data.split(b"\n"):
        text = line.decode(errors="replace").strip()
        while text:
            end = text.find('{"resourceLogs"', 1) % (len(text) + 1)
            try:
                request, end = decoder.raw_decode(text)
                for group in request["resourceLogs"]:
                    resource = group.get("resource", {})
                    pairs = sorted(resource.get("attributes", []), key=itemgetter("key"))
                    told, odd = sha({"attributes": pairs}).hex(), has_more(request, "resourceLogs")
                    odd |= has_more(group, "resource", "scopeLogs") or has_more(
                        resource, "attributes"
                    )
                    for scope in group["scopeLogs"]:
                        odd |= has_more(scope, "logRecords")
                        yield from (Record(log, told, is_odd=odd) for log in scope["logRecords"])
            except json.JSONDecodeError:
                found.add(("torn_line" if text[0] == "{" else "foreign_line", "-", 0))
            except WRONG:
                found.add(("foreign_line", "-", 0))
            text = text[end:].lstrip()


def verify(trail: bytes, trust: Json = None, anchors: bytes = b"") -> set[Finding]:
    found: set[Finding] = set()
    streams: Json = defaultdict(lambda: defaultdict(list))  # stream -> number -> records
    told: Json = defaultdict(lambda: defaultdict(set))  # stream -> number -> hashes
    absent, covered = defaultdict[str, Json](list), defaultdict[str, set[int]](set)
    for record in read(trail, found):
        streams[record.stream][record.number].append(record)
    starts = [r.values[OWN + "public_key"] for s in streams.values() for r in s.get(1, [])]
    keys = {key_id(key): key for key in starts} if trust is None else dict(trust)
    for stream, numbers in streams.items():
        end = max(numbers)
        for record in [r for number in sorted(numbers) for r in numbers[number]]:
            number, problem = record.number, record.problem(keys)
            late = "after_end" * (number > end)
            found |= {(kind, stream, number) for kind in (*record.wrong, problem, late) if kind}
            told[stream][number].add(record.digest.hex())
            told[stream][number - 1].add(record.values[PLACE + "previous_hash"])
            told[record.values[OWN + "previous_stream_id"] or stream][1] |= set()
            end = min(end, number if record.values[PLACE + "end"] else end)
            if record.values[SIGNED + "certificate"] and not problem:
                covered[stream].add(number)
                keys |= record.rotation() if record.event == OWN + "key_rotated" else {}
        known = covered[stream]
        for number in sorted(numbers, reverse=True):
            known |= {number} if number + 1 in known and len(told[stream][number]) == 1 else set()
        first = {number for number in numbers if number - 1 in known or number - 1 not in numbers}
        found |= {("unsigned_tail", stream, number) for number in first - known}
    for record in read(anchors, set()):
        if trust is not None and record.problem(keys):
            found.add(("bad_checkpoint", record.stream, record.number))
        else:
            told[record.stream][record.number].add(record.digest.hex())
    for record in [r for numbers in streams.values() for same in numbers.values() for r in same]:
        if record.number in covered[record.stream]:
            for of, first, last, kind in record.absent():
                absent[of].append((first, last, kind))
                told[of][last] |= {record.values[OWN + "pruned.hash"]} - {""}
    for stream, hashes in told.items():
        hashes[0].add("")
        found |= {("conflict", stream, n) for n, different in hashes.items() if len(different) > 1}
        expected, seen = 1, set(streams.get(stream, ()))
        for number in sorted({*seen, max(hashes) + 1}):
            for first, last, kind in sorted(absent[stream]):
                if first <= expected <= last and expected < number:
                    found |= {(kind, stream, expected)} if kind else set()
                    expected = last + 1
            found |= {("missing", stream, expected)} if expected < number else set()
            expected = max(expected, number + 1)
    return found if streams else found | {("empty_trail", "-", 0)}


def exit_code(found: set[Finding]) -> int:
    kinds = {kind for kind, _, _ in found}
    return 1 if kinds - INCOMPLETE else 2 if kinds - {"empty_trail"} else 3 if kinds else 0


def main() -> int:
    parser = argparse.ArgumentParser()
    for name, count in (("trail", "+"), ("--trust", None), ("--anchors", None)):
        parser.add_argument(name, nargs=count, type=Path)
    given = parser.parse_args()
    files = [f for t in given.trail for f in (t.glob("audit*.jsonl") if t.is_dir() else [t])]
    listed = json.loads(given.trust.read_text())["keys"] if given.trust else []
    trust = {key["key_id"]: key["public_key"] for key in listed} if given.trust else None
    anchors = given.anchors.read_bytes() if given.anchors else b""
    found = verify(b"\n".join(file.read_bytes() for file in files), trust, anchors)
    print("\n".join(" ".join(map(str, finding)) for finding in sorted(found)))
    return exit_code(found)


if __name__ == "__main__":
    raise SystemExit(main())
