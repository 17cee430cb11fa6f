"""A thousand secrets that are easy to find again, and a search for them in every disguise.

Each kind of secret has a mark of at least nine bytes in its middle, so one search for a few marks
finds any of the thousand, whole or cut.  The marks are searched in plain text of either case, in
hexadecimal, base64 (both alphabets, all three alignments), percent- and JSON-escapes, and inside
gzip and zlib streams.
"""

from __future__ import annotations

import base64
import json
import random
import string
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable

COUNT: Final = 1_000
_STREAM_BYTES_MAX: Final = 1 << 24
_HEADS: Final = (b"\x1f\x8b\x08", b"\x78\x9c", b"\x78\x01", b"\x78\xda", b"\x78\x5e")


@dataclass(frozen=True, slots=True, kw_only=True)
class Canary:
    """One secret: as text, and as the bytes of it."""

    kind: str
    text: str

    @property
    def data(self) -> bytes:
        return self.text.encode()


_KINDS: Final = {
    # kind: (before the mark, mark, after it)
    "api_key": ("sk-live-{}", "Kq7canaryKEY", "{}"),
    "password": ("{}!", "Zx8canaryPWD", "$ {}"),
    "mail": ("{}.", "qm5canarymail", ".{}@example.org"),
    "card": ("42{0}", "4299001734", "{0}"),
    "latin": ("{} ", "Zébulonçanary", " {}"),
    "cyrillic": ("{} ", "Канарейкина", " {}"),
    "chinese": ("{}", "金丝雀记号郭靖", "{}"),
    "arabic": ("{} ", "كناريسري", " {}"),
    "json": ('{{"n":"{}","ssn":"', "078051120canary", '","m":["{}"]}}'),
    "nul": ("{}\x00", "Qb3canaryNUL", "\x7f{}"),
}
MARKS: Final = {kind: mark for kind, (_, mark, _) in _KINDS.items()}


def canaries(seed: int, count: int = COUNT) -> list[Canary]:
    """Return that many secrets, all different, of all kinds in turn."""
    chance = random.Random(seed)

    def some(kind: str) -> str:
        letters = string.digits if kind == "card" else string.ascii_letters + string.digits
        return "".join(chance.choices(letters, k=4 if kind == "card" else 12))

    found: list[Canary] = []
    for number in range(count):
        kind = list(_KINDS)[number % len(_KINDS)]
        before, mark, after = _KINDS[kind]
        text = before.format(some(kind)) + mark + after.format(some(kind))
        found.append(Canary(kind=kind, text=text))
    assert len({canary.text for canary in found}) == count
    return found


def _base64_forms(data: bytes) -> Iterable[bytes]:
    """Return what is sure to stand in the base64 of any text that holds ``data``."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + data)
        # The characters that also depend on what comes before or after are cut off.
        first, last = (0, 2, 3)[shift], (len(data) + shift) * 8 // 6
        yield encoded[first:last]
        yield encoded[first:last].replace(b"+", b"-").replace(b"/", b"_")


def _needles() -> tuple[dict[bytes, str], dict[bytes, str]]:
    exact: dict[bytes, str] = {}
    lower: dict[bytes, str] = {}
    for kind, mark in MARKS.items():
        data = mark.encode()
        lower[data.lower()] = f"{kind} plain"
        lower[mark.lower().encode()] = f"{kind} lower"
        lower[data.hex().encode()] = f"{kind} hex"
        lower[quote(mark).lower().encode()] = f"{kind} percent"
        lower[json.dumps(mark)[1:-1].lower().encode()] = f"{kind} escaped"
        lower[ascii(data)[2:-1].lower().encode()] = f"{kind} repr"
        for form in _base64_forms(data):
            exact[form] = f"{kind} base64"
    return exact, lower


_EXACT, _LOWER = _needles()


def search(data: bytes, *, depth: int = 2) -> set[str]:
    """Return what was found: kind and disguise of each."""
    lowered = data.lower()
    found = {what for needle, what in _EXACT.items() if needle in data}
    found |= {what for needle, what in _LOWER.items() if needle in lowered}
    if depth:
        for head in _HEADS:
            start = data.find(head)
            while start >= 0:
                inner = _inflated(data[start:])
                if inner:
                    found |= {f"{what} in a stream" for what in search(inner, depth=depth - 1)}
                start = data.find(head, start + 1)
    return found


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj(wbits=47).decompress(data, _STREAM_BYTES_MAX)
    except zlib.error:
        return b""
