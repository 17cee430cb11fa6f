"""What a verification returns: findings and the verdict over all of them.  Pure values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Severity = Literal["tampering", "incomplete", "note"]

EXIT_CLEAN: Final = 0
EXIT_TAMPERING: Final = 1
EXIT_INCOMPLETE: Final = 2
EXIT_UNREADABLE: Final = 3

SEVERITIES: Final[tuple[Severity, ...]] = ("tampering", "incomplete", "note")

#: Kind -> what to do about it.
HINTS: Final[Mapping[str, str]] = {
    "torn_line": "a Collector that was stopped leaves this; reconcile the agent's spool",
    "foreign_line": "only the Collector's audit pipeline should write here; move the line away",
    "too_long_line": "find out who wrote it; no request of ours is so long",
    "not_text": "name the trail's JSONL files, decompressed",
    "unreadable": "run as a user who may read it, or name another path",
    "empty_trail": "name the folder or the files that hold audit.jsonl",
    "not_canonical": "restore the file from a copy and find out who edited it",
    "foreign_field": "restore the file from a copy; no processor may add to audit records",
    "unchained": "no record without place and link is evidence; find out who wrote it",
    "bad_link": "restore the file from a copy and find out who edited it",
    "gap": "give all files of the trail; reconcile the agent's spool; else they were removed",
    "gap_declared": "the agent said that these are missing; look into its spool's quarantine",
    "fork": "compare both records with the agent's spool or a copy of the trail",
    "bad_signature": "restore the file from a copy; everything since the last good one is open",
    "missing_signature": "restore the file from a copy and find out who edited it",
    "unsigned_tail": "verify again when the agent wrote its next checkpoint; give anchors",
    "untrusted_key": "if the key is yours: kaizen-otel audit trust add; else the records are not",
    "self_published_key": "pin the key: kaizen-otel audit trust add, then KAIZEN_OTEL_TRUST_FILE",
    "resource_changed": "restore the file; no processor may change an audit record's Resource",
    "truncation": "give all files of the trail; reconcile the agent's spool; else it was cut",
    "stream_missing": "give all files of the trail; reconcile the agent's spool; else it was cut",
    "anchor_mismatch": "trail and anchor cannot both be right: compare with the agent's spool",
    "after_end": "nothing follows the end of a stream; find out who wrote it",
    "bad_start": "every stream of ours begins with kaizen.audit.started; find out who wrote it",
    "open_stream": "the process runs, or ended without a word; give anchors to see a cut",
    "intent_without_outcome": "the action runs, or nobody knows how it ended",
    "bad_checkpoint": "get the anchors again from where they are kept",
    "clock_step": "look after the clock of the agent's machine",
    "pruned": "",
}

_UNREADABLE_KINDS: Final = frozenset({"unreadable", "empty_trail"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that is wrong with a trail, or worth a note.

    ``sequence`` is where it shows (0: no place in a stream); what caused it lies between
    ``sequence_first`` and ``sequence_last``, both included.  ``offset`` is the byte in ``path`` at
    which the line begins, -1 if not known.  ``time_ns`` is that of the record, 0 if not known.
    """

    kind: str
    severity: Severity
    text: str
    stream_id: str = ""
    sequence: int = 0
    sequence_first: int = 0
    sequence_last: int = 0
    path: str = ""
    offset: int = -1
    time_ns: int = 0

    def __post_init__(self) -> None:
        """A place that is not told is the one where it shows."""
        object.__setattr__(self, "sequence_first", self.sequence_first or self.sequence)
        object.__setattr__(self, "sequence_last", self.sequence_last or self.sequence)

    @property
    def hint(self) -> str:
        """What to do about it."""
        return HINTS.get(self.kind, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamSummary:
    """One stream of a trail.

    ``first`` and ``last`` are the lowest and highest number seen, ``pruned_to`` the number up to
    which it was pruned, ``signed_to`` the highest number that a good signature of an authorised
    key covers and ``anchored_to`` the highest one that an anchor confirms; 0 if there is none.
    """

    stream_id: str
    first: int
    last: int
    records: int
    signed_to: int
    anchored_to: int
    pruned_to: int
    is_closed: bool
    key_ids: tuple[str, ...]
    time_last_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of a verification.

    ``records`` counts each record once, ``duplicates`` what came again.  ``counts`` are all
    findings by kind and severity, of which ``findings`` keeps the first ones.  ``key_ids`` are the
    keys whose good signatures were found; ``is_pinned`` whether a trust file says which to believe.
    ``signatures`` says which ones were checked: ``all``, ``last`` of each stream, or ``none``.
    """

    records: int
    duplicates: int
    streams: tuple[StreamSummary, ...]
    findings: tuple[Finding, ...]
    counts: Mapping[tuple[str, Severity], int] = field(
        default_factory=dict[tuple[str, "Severity"], int]
    )
    anchors: int = 0
    key_ids: tuple[str, ...] = ()
    is_pinned: bool = False
    signatures: str = "all"

    def count(self, severity: Severity) -> int:
        """How many findings are of that severity, also those that were not kept."""
        return sum(number for (_, one), number in self.counts.items() if one == severity)

    @property
    def is_clean(self) -> bool:
        """There are records, and nothing but notes was found."""
        return self.exit_code == EXIT_CLEAN

    @property
    def exit_code(self) -> int:
        """0 clean, 1 tampering, 2 incomplete, 3 unreadable or nothing there at all."""
        if self.count("tampering"):
            return EXIT_TAMPERING
        kinds = {kind for (kind, one), number in self.counts.items() if number and one != "note"}
        if kinds - _UNREADABLE_KINDS:
            return EXIT_INCOMPLETE
        return EXIT_UNREADABLE if kinds or not self.records else EXIT_CLEAN


def counted(number: int, noun: str) -> str:
    """Return a number of things in words: ``1 stream``, ``2,000 streams``."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
