"""A verdict in words for people, and as JSON for programs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from kaizen_otel.audit._finding import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel.audit.verify import Finding, Verdict

_WORDS: Final = {0: "clean", 1: "tampering", 2: "incomplete", 3: "unreadable"}
_LEADS: Final = {
    0: "Clean: what is there was not altered, and nothing in between is missing.",
    1: "TAMPERING: something in this trail is not what its agents wrote.",
    2: "INCOMPLETE: nothing was altered, but something is missing or cannot be judged.",
    3: "NOTHING VERIFIED: there is no record, or something could not be read.",
}


def verdict_lines(verdict: Verdict, *, had_anchors: bool = False) -> Iterator[str]:
    """Yield the verdict, and what it does not say; ``had_anchors``: some were given."""
    streams = counted(len(verdict.streams), "stream")
    again = f", {verdict.duplicates:,} came more than once" if verdict.duplicates else ""
    yield _LEADS[verdict.exit_code]
    yield f"Read {counted(verdict.records, 'record')} in {streams}{again}; {_counts(verdict)}."
    if verdict.records:
        yield from unproved(verdict, had_anchors=had_anchors)


def unproved(verdict: Verdict, *, had_anchors: bool = False) -> Iterator[str]:
    """Yield what a verdict, also a clean one, cannot prove."""
    if not verdict.is_pinned:
        yield (
            "The keys are self-published: who wrote the trail chose them. Pin them with a trust "
            "file (--trust or KAIZEN_OTEL_TRUST_FILE) to know whose records these are."
        )
    if verdict.signatures == "none":
        yield "Signatures were not checked: a chain that was hashed anew would not be noticed."
    if not verdict.anchors:
        yield (
            f"No anchors were {'found in --anchors' if had_anchors else 'given'}: a stream that is "
            "gone, or the end of one that was cut off, would not be noticed. "
            f"{'Correct' if had_anchors else 'Give'} --anchors."
        )
        return
    exposed = [s for s in verdict.streams if not s.is_closed and s.anchored_to < s.last]
    if exposed:
        count = sum(stream.last - stream.anchored_to for stream in exposed)
        oldest = min(exposed, key=lambda stream: stream.time_last_ns)
        records = counted(count, "record")
        yield (
            f"After the last anchors a cut cannot be seen: {counted(len(exposed), 'open stream')} "
            f"with {records} there (for example {oldest.stream_id}, confirmed up to record "
            f"{oldest.anchored_to} of {oldest.last}, {_time(oldest.time_last_ns)})."
        )


def finding_lines(finding: Finding) -> Iterator[str]:
    """Yield a finding: what, where, and what to do."""
    place = f"stream {finding.stream_id}" if finding.stream_id else ""
    if finding.sequence:
        last = finding.sequence_last
        numbers = f"records {finding.sequence}-{last}" if last > finding.sequence else ""
        place += f" {numbers or f'record {finding.sequence}'}"
    file = f"{finding.path}:{finding.offset}" if finding.offset >= 0 else finding.path
    words = [f"{finding.severity}: {finding.kind}", place.strip(), finding.text, file]
    yield "  ".join(filter(None, words))
    if finding.hint and finding.severity != "note":
        yield f"    {finding.hint}"


def verdict_json(verdict: Verdict, *, had_anchors: bool = False) -> dict[str, object]:
    """Return a verdict as one JSON object."""
    return {
        "verdict": _WORDS[verdict.exit_code],
        "exit_code": verdict.exit_code,
        "records": verdict.records,
        "duplicates": verdict.duplicates,
        "anchors": verdict.anchors,
        "is_pinned": verdict.is_pinned,
        "signatures": verdict.signatures,
        "key_ids": list(verdict.key_ids),
        "counts": [
            {"kind": kind, "severity": severity, "count": count}
            for (kind, severity), count in sorted(verdict.counts.items())
        ],
        "findings": [{**asdict(finding), "hint": finding.hint} for finding in verdict.findings],
        "streams": [asdict(stream) for stream in verdict.streams],
        "unproved": list(unproved(verdict, had_anchors=had_anchors)) if verdict.records else [],
    }


def _counts(verdict: Verdict) -> str:
    return (
        f"findings: {verdict.count('tampering'):,} of tampering, "
        f"{verdict.count('incomplete'):,} of something missing, "
        f"{counted(verdict.count('note'), 'note')}"
    )


def _time(time_ns: int) -> str:
    moment = datetime.fromtimestamp(time_ns // 10**9, tz=UTC)
    return moment.isoformat().replace("+00:00", "Z")
