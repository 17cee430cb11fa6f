# ruff: noqa: ANN401, C901, T201 - a program that is to be read at one go
"""Verify an audit trail by what docs/reference/audit-format.md says, and by nothing of ours.

``python independent_verifier.py TRAIL... [--trust FILE] [--anchors FILE]`` prints one finding per
line, ``kind stream sequence``; exit code 0 clean, 1 tampering, 2 incomplete, 3 nothing to verify.
"""

import argparse
import hashlib
import json
import re
from base64 import b64decode
from collections import defaultdict
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from typing import Any as Json

import rfc8785
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey as Key

INCOMPLETE = {"missing", "declared", "unsigned_tail", "torn_line", "empty_trail"}
OWN, PLACE, SIGNED = "kaizen.audit.", "audit.sequence.", "audit.integrity."
HASHED = ("attributes", "eventName", "observedTimeUnixNano", "spanId", "timeUnixNano", "traceId")
WRONG = (ValueError, LookupError, TypeError, AttributeError, InvalidSignature)


def sha(value: Json) -> bytes:
    return hashlib.sha256(rfc8785.dumps(value)).digest()


def key_id(key: str) -> str:  # section 5
    with suppress(*WRONG):
        return hashlib.sha256(b64decode(key)).hexdigest()[:32]
    return ""


def holds(key: str, told: str, digest: bytes) -> bool:
    with suppress(*WRONG):
        return not Key.from_public_bytes(b64decode(key)).verify(b64decode(told, None, True), digest)
    return False


def members(pairs: list[tuple[str, Json]]) -> Json:  # sections 2 and 4: values as they are hashed
    made = dict(pairs) if len(dict(pairs)) == len(pairs) else {**dict(pairs), "(twice)": "yes"}
    made |= {name: repr(float(value)) for name, value in made.items() if name == "doubleValue"}
    made |= {name: str(value).lower() for name, value in made.items() if name == "boolValue"}
    return {"arrayValue": {"values": []}} if made == {"arrayValue": {}} else made


def has_more(thing: Json, *known: str) -> bool:
    return any(value not in ({}, "", 0, None) for name, value in thing.items() if name not in known)


class Record:  # section 3
    def __init__(self, log: Json, resource: str, *, is_odd: bool) -> None:
        form = {name: log.get(name, "0" if "Nano" in name else "") for name in HASHED}
        pairs = sorted(form["attributes"], key=itemgetter("key"))
        texts = {item["key"]: [*map(str, item["value"].values()), ""][0] for item in pairs}
        values = self.values = defaultdict(str, texts)
        form["attributes"] = [item for item in pairs if item["key"] != SIGNED + "value"]
        self.digest, self.event = sha(form), form["eventName"]
        self.stream, self.number = values[PLACE + "stream_id"], int(values[PLACE + "number"] or 0)
        is_odd |= has_more(log, *HASHED) or len(self.stream) != 36
        self.wrong = ["foreign_field"] * is_odd
        self.wrong += ["resource_changed"] * (values[OWN + "resource_hash"] != resource)

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
        values, of = self.values, self.values[OWN + "gap.stream_id"]
        if self.event == OWN + "pruned":
            return [(values[OWN + "pruned.stream_id"], 1, int(values[OWN + "pruned.number"]), "")]
        text = values[OWN + "gap.sequences"] if of and self.event == OWN + "gap" else ""
        kind = "declared" * (values[OWN + "gap.reason"] != "write_failed")
        return [(of, int(a), int(b), kind) for a, b in re.findall("([0-9]+)-([0-9]+)", text)]


def read(data: bytes, found: Json) -> Json:  # section 2
    for line in data.split(b"\n"):
        text = line.decode(errors="replace").strip()
        while text:
            end = text.find('{"resourceLogs"', 1) % (len(text) + 1)
            try:
                request, end = json.JSONDecoder(object_pairs_hook=members).raw_decode(text)
                for group in request["resourceLogs"]:
                    resource = group.get("resource", {})
                    pairs = sorted(resource.get("attributes", []), key=itemgetter("key"))
                    told = sha({"attributes": pairs}).hex()
                    around = ((request, "resourceLogs"), (group, "resource", "scopeLogs"))
                    for scope in group["scopeLogs"]:
                        parts = (*around, (resource, "attributes"), (scope, "logRecords"))
                        is_odd = any(has_more(*part) for part in parts)
                        yield from (Record(log, told, is_odd=is_odd) for log in scope["logRecords"])
            except WRONG:
                found.add(("torn_line", "-", 0))
            text = text[end:].lstrip()


def verify(trail: bytes, trust: Json = None, anchors: bytes = b"") -> set[tuple[str, str, int]]:
    found, told = set[tuple[str, str, int]](), defaultdict[str, Json](lambda: defaultdict(set))
    present, covered, absent = (defaultdict[str, Json](kind) for kind in (set, set, list))
    every = list(read(trail, found))
    starts = [record.values[OWN + "public_key"] for record in every if record.number == 1]
    keys = {key_id(key): key for key in starts} if trust is None else dict(trust)
    rotations = [record for record in every if record.event == OWN + "key_rotated"]
    for record in rotations * len(rotations):
        keys |= {} if record.problem(keys) else record.rotation()
    ends = {record.stream: record.number for record in every if record.values[PLACE + "end"]}
    for record in every:
        stream, number, link = record.stream, record.number, record.values[PLACE + "previous_hash"]
        problem, late = record.problem(keys), "after_end" * (number > ends.get(stream, number))
        found |= {(kind, stream, number) for kind in (*record.wrong, problem, late) if kind}
        present[stream].add(number)
        if record.values[SIGNED + "certificate"] and not problem:
            covered[stream].add(number)
        told[stream][number].add(record.digest.hex())
        told[stream][number - (number == 1 or bool(link))].add(link)  # without: its own fault
        told[record.values[OWN + "previous_stream_id"] or stream][1] |= set()
    for stream, numbers in present.items():
        for number in sorted(numbers, reverse=True):
            if number + 1 in covered[stream] and len(told[stream][number]) == 1:
                covered[stream].add(number)
        bare = numbers - covered[stream]
        kind = "unsigned_tail" if covered[stream] or trust is None else "missing_signature"
        found |= {(kind, stream, number) for number in bare if number - 1 not in bare}
        covered[stream] -= {n for n, different in told[stream].items() if len(different) > 1}
    for record in read(anchors, set()):
        if trust is not None and record.problem(keys):
            found.add(("bad_checkpoint", record.stream, record.number))
        else:
            told[record.stream][record.number].add(record.digest.hex())
    for record in [record for record in every if record.number in covered[record.stream]]:
        for of, first, last, kind in record.absent():
            absent[of].append((first, last, kind))
            told[of][last] |= {record.values[OWN + "pruned.hash"]} - {""}
    for stream, hashes in told.items():
        hashes[0].add("")
        found |= {("conflict", stream, n) for n, different in hashes.items() if len(different) > 1}
        expected = 1
        for number in sorted({*present[stream], max(hashes) + 1}):
            for first, last, kind in sorted(absent[stream]):
                if first <= expected <= last and expected < number:
                    found |= {(kind, stream, expected)} if kind else set()
                    expected = last + 1
            found |= {("missing", stream, expected)} if expected < number else set()
            expected = max(expected, number + 1)
    return found if every else found | {("empty_trail", "-", 0)}


def exit_code(found: Json) -> int:
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
