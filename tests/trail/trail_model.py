"""A trail as data: files of lines of records, rendered as the Collector's file exporter does.

An attack makes changed copies (``Trail.mapped``, ``Entry.changed``); nothing is changed in place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, cast

from kaizen_otel.audit import record as names
from kaizen_otel.audit.canonical import canonical_record, record_hash

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from kaizen_otel._otlp.decode import Json

# The Collector (pdata's JSON) writes these two as numbers, JCS writes them as \b and \f.
_COLLECTOR_ESCAPES: Final = (("\\b", "\\u0008"), ("\\f", "\\u000c"))
_ORDER: Final = (
    "timeUnixNano", "observedTimeUnixNano", "body", "attributes", "traceId", "spanId", "eventName",
)  # fmt: skip


def collector_text(value: object) -> str:
    """Return JSON as the Collector's file exporter writes it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    if "\\b" not in text and "\\f" not in text:
        return text
    parts = text.split("\\\\")  # an escaped backslash is not the beginning of an escape
    for short, long in _COLLECTOR_ESCAPES:
        parts = [part.replace(short, long) for part in parts]
    return "\\\\".join(parts)


@dataclass(eq=False, slots=True)
class Entry:
    """One record of a trail with its Resource; never changed, copies are.

    ``raw`` is what stands in the file instead of ``log``, if an attack needs its own JSON text.
    """

    log: Json
    resource: Json
    raw: str = ""
    _text: str = ""

    @property
    def text(self) -> str:
        if not self._text:
            self._text = self.raw or collector_text(self.log)
        return self._text

    def value(self, name: str) -> str:
        """An attribute's text; empty if there is none."""
        for item in cast("list[Json]", self.log["attributes"]):
            if item["key"] == name:
                content = next(iter(cast("Json", item["value"]).values()))
                return content if isinstance(content, str) else str(content)
        return ""

    @property
    def stream(self) -> str:
        return self.value(names.STREAM_ID)

    @property
    def number(self) -> int:
        return int(self.value(names.SEQUENCE))

    @property
    def event(self) -> str:
        return str(self.log.get("eventName", ""))

    @property
    def is_signed(self) -> bool:
        return bool(self.value(names.INTEGRITY_VALUE))

    @property
    def digest(self) -> str:
        """The record's hash, in hexadecimal."""
        return record_hash(canonical_record(self.log)).hex()

    def changed(self, **members: object) -> Entry:
        """A copy with other members of the log record."""
        return Entry(log={**self.log, **members}, resource=self.resource)

    def with_attribute(self, name: str, value: object | None) -> Entry:
        """A copy with another value (an AnyValue) for an attribute, in its place; or without it."""
        pairs = [i for i in cast("list[Json]", self.log["attributes"]) if i["key"] != name]
        if value is not None:
            at = sum(str(item["key"]) < name for item in pairs)
            if name == names.INTEGRITY_VALUE:
                at = len(pairs)
            pairs.insert(at, {"key": name, "value": value})
        return self.changed(attributes=pairs)

    def with_text(self, name: str, text: str) -> Entry:
        return self.with_attribute(name, {"stringValue": text})

    def with_place(self, stream: str, number: int, previous: str) -> Entry:
        """A copy at another place in a stream, without a signature that could be right."""
        moved = self.with_text(names.STREAM_ID, stream)
        moved = moved.with_attribute(names.SEQUENCE, {"intValue": str(number)})
        link = {"stringValue": previous} if previous else None
        return moved.with_attribute(names.PREVIOUS_HASH, link)


Line = list[Entry] | bytes


def request_text(entries: Sequence[Entry]) -> str:
    """Return one OTLP/JSON request, records of one Resource in a row under it."""
    groups: list[tuple[Json, list[str]]] = []
    for entry in entries:
        if not groups or groups[-1][0] is not entry.resource:
            groups.append((entry.resource, []))
        groups[-1][1].append(entry.text)
    inner = ",".join(
        f'{{"resource":{collector_text(resource)},"scopeLogs":[{{"scope":{{}},"logRecords":['
        f"{','.join(texts)}]}}]}}"
        for resource, texts in groups
    )
    return f'{{"resourceLogs":[{inner}]}}'


@dataclass(slots=True)
class Trail:
    """Files of lines; anchors; the trust file's keys; and the facts about it that tests use."""

    files: dict[str, list[Line]]
    anchors: list[Entry]
    trusted: list[Json]

    def lines(self) -> Iterator[Line]:
        for lines in self.files.values():
            yield from lines

    def entries(self) -> list[Entry]:
        return [entry for line in self.lines() if isinstance(line, list) for entry in line]

    def streams(self) -> dict[str, dict[int, Entry]]:
        """Stream -> number -> record, in the order of the numbers."""
        found: dict[str, dict[int, Entry]] = {}
        for entry in sorted(self.entries(), key=lambda entry: entry.number):
            found.setdefault(entry.stream, {})[entry.number] = entry
        return found

    def mapped(self, change: Callable[[Entry], Iterable[Entry]]) -> Trail:
        """Return a copy with other records in the place of each."""
        files: dict[str, list[Line]] = {}
        for name, lines in self.files.items():
            files[name] = []
            for line in lines:
                if isinstance(line, bytes):
                    files[name].append(line)
                elif entries := [new for entry in line for new in change(entry)]:
                    files[name].append(entries)
        return self.with_files(files)

    def replaced(self, others: Mapping[Entry, Sequence[Entry]]) -> Trail:
        """Return a copy in which some records are replaced by others, or by none."""
        return self.mapped(lambda entry: others.get(entry, (entry,)))

    def with_files(self, files: dict[str, list[Line]]) -> Trail:
        return Trail(files, self.anchors, self.trusted)

    def with_line(self, line: Line, rnd: random.Random) -> Trail:
        """Return a copy with one line more, somewhere."""
        files = {name: list(lines) for name, lines in self.files.items()}
        lines = files[rnd.choice(list(files))]
        lines.insert(rnd.randint(0, len(lines)), line)
        return self.with_files(files)

    def file_bytes(self, name: str) -> bytes:
        return b"".join(
            (line if isinstance(line, bytes) else request_text(line).encode()) + b"\n"
            for line in self.files[name]
        )

    def data(self) -> bytes:
        """All files, one after the other."""
        return b"".join(self.file_bytes(name) for name in self.files)

    def anchor_bytes(self) -> bytes:
        return b"".join(request_text([entry]).encode() + b"\n" for entry in self.anchors)

    def trust_bytes(self) -> bytes:
        return json.dumps({"version": 1, "keys": self.trusted}).encode()

    def write(self, folder: Path) -> None:
        """Write ``trail/audit*.jsonl``, ``anchors.jsonl`` and ``trust.json``."""
        (folder / "trail").mkdir(parents=True, exist_ok=True)
        for name in self.files:
            (folder / "trail" / name).write_bytes(self.file_bytes(name))
        (folder / "anchors.jsonl").write_bytes(self.anchor_bytes())
        (folder / "trust.json").write_bytes(self.trust_bytes())


def as_collector(log: Json) -> Json:
    """Return a record with the members and the order of the Collector's lines."""
    complete: Json = {**log, "body": {}}
    return {name: complete[name] for name in _ORDER if name in complete}
