"""Judge a trail: records in any order, any number of times, become findings and a verdict.

Pure: whoever reads files calls ``Verifier.add_log_record`` for each record and ``finish`` once.
What is found, and by what:

- changed, added, removed, exchanged records: by the hash chain and the signatures over it
- a changed Resource: by the hash of it that every record carries
- records of another deployment, other keys: by the trust file
- a cut end, a stream that is gone: by anchors (``audit.anchors``), and by nothing else

Memory is eight bytes for each record (``_slots``); findings are kept up to a bound and counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Protocol

from kaizen_otel.audit import record as names
from kaizen_otel.audit._authority import Authority, published_key
from kaizen_otel.audit._declared import declarations
from kaizen_otel.audit._finding import (
    HINTS,
    SEVERITIES,
    Finding,
    Severity,
    StreamSummary,
    Verdict,
)
from kaizen_otel.audit._judge import Judge
from kaizen_otel.audit._seen import read_record
from kaizen_otel.audit._stream import BREAKS_MAX, Stream, Where
from kaizen_otel.audit.canonical import NotCanonicalError, resource_hash
from kaizen_otel.audit.signatures import verify_signature

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kaizen_otel._otlp.decode import Json
    from kaizen_otel.audit._seen import Seen
    from kaizen_otel.audit.anchors import Anchor
    from kaizen_otel.audit.trust import Trust

__all__ = [
    "HINTS",
    "SEVERITIES",
    "Finding",
    "Severity",
    "SignatureTask",
    "Signatures",
    "StreamSummary",
    "Verdict",
    "Verifier",
]

SignatureMode = Literal["all", "last", "none"]

FINDINGS_MAX: Final = 10_000
_WAITING_MAX: Final = 200_000


class SignatureTask(NamedTuple):
    """One signature to check, and the record that it belongs to."""

    public_key: bytes
    signature: bytes
    digest: bytes
    stream_id: str
    sequence: int
    where: Where


class Signatures(Protocol):
    """Checks signatures, at once or elsewhere meanwhile."""

    def submit(self, task: SignatureTask) -> None:
        """Have one checked."""
        ...

    def bad(self) -> Iterator[SignatureTask]:
        """Wait for all that were submitted and yield those that do not hold."""
        ...


class InlineSignatures:
    """Checks every signature at once, in this thread."""

    def __init__(self) -> None:
        self._bad: list[SignatureTask] = []

    def submit(self, task: SignatureTask) -> None:
        """Check one."""
        if not verify_signature(task.public_key, task.signature, task.digest):
            self._bad.append(task)

    def bad(self) -> Iterator[SignatureTask]:
        """Yield those that do not hold."""
        yield from self._bad
        self._bad = []


class Verifier:
    """Collects records and judges them.  Not for more than one thread.

    ``trust`` says which keys to believe; without it every stream's own key is.  ``signatures``
    checks them, by default at once; ``mode`` says which: ``all``, the ``last`` one of each stream
    (the chain covers what is before it), or ``none``.  ``since_ns`` and ``until_ns`` limit both
    signatures and findings to records of that time.
    """

    def __init__(
        self,
        *,
        trust: Trust | None = None,
        signatures: Signatures | None = None,
        mode: SignatureMode = "all",
        since_ns: int | None = None,
        until_ns: int | None = None,
        findings_max: int = FINDINGS_MAX,
    ) -> None:
        """Begin with nothing seen."""
        self.streams: dict[str, Stream] = {}
        self._trust = trust
        self._signatures = signatures or InlineSignatures()
        self._mode = mode
        self._since_ns, self._until_ns = since_ns, until_ns
        self._findings_max = findings_max
        self._findings: list[Finding] = []
        self._counts: Counter[tuple[str, Severity]] = Counter()
        self._kept: Counter[tuple[str, Severity]] = Counter()
        self.keys: dict[str, bytes] = {}
        if trust is not None:
            self.keys = {key.key_id: key.public_key for key in trust.keys}
        self._waiting: dict[str, list[SignatureTask]] = {}
        self._waiting_count = 0
        #: Records whose signature could not be kept until their key is known: see ``keys``.
        self.unchecked = 0
        self._last: dict[str, tuple[str, SignatureTask]] = {}
        self._is_finished = False

    def add_log_record(
        self, record: Json, resource: Json | str | None, *, path: str = "", offset: int = -1
    ) -> None:
        """Take in a decoded log record.

        ``resource`` is the decoded Resource it came with, or its hash (``""``: it has none), or
        None where it is not to be compared.
        """
        if isinstance(resource, Mapping):
            resource = hash_of_resource(resource)
        seen, findings = read_record(record, resource=resource, path=path, offset=offset)
        for finding in findings:
            self.report(finding)
        if seen is not None:
            self.add(seen)

    def add(self, seen: Seen) -> None:
        """Take in a record that was read already."""
        stream = self.streams.get(seen.stream_id)
        if stream is None:
            stream = self.streams[seen.stream_id] = Stream(seen.stream_id)
        stream.add(seen)
        if seen.attributes is not None:
            self._learn(seen)
        if seen.signature and self._mode != "none":
            where = Where(seen.path, seen.offset, seen.time_ns)
            task = SignatureTask(
                b"", seen.signature, seen.digest, seen.stream_id, seen.sequence, where
            )
            self.check(seen.certificate, task, is_needed=seen.attributes is not None)

    @property
    def checks(self) -> bool:
        """Whether any signatures are checked."""
        return self._mode != "none"

    def check(self, key_id: str, task: SignatureTask, *, is_needed: bool = False) -> None:
        """Have a record's signature checked, now or when its public key is known.

        The task's own public key is not used; ``is_needed`` is for records that explain others.
        """
        if self._mode == "last":
            known = self._last.get(task.stream_id)
            if known is None or known[1].sequence < task.sequence:
                self._last[task.stream_id] = key_id, task
            return
        if self._mode == "none" or not (is_needed or self._is_asked(task.where.time_ns)):
            return
        public_key = self.keys.get(key_id)
        if public_key is not None:
            self._signatures.submit(task._replace(public_key=public_key))
        elif self._waiting_count < _WAITING_MAX:
            self._waiting_count += 1
            self._waiting.setdefault(key_id, []).append(task)
        else:
            self.unchecked += 1

    def report(self, finding: Finding) -> None:
        """Take in what is wrong with a record, or with a file."""
        if not finding.stream_id:
            self._keep(finding)
            return
        stream = self.streams.get(finding.stream_id)
        if stream is None:
            stream = self.streams[finding.stream_id] = Stream(finding.stream_id)
        if len(stream.findings) < self._findings_max:
            stream.findings.append(finding)
            if finding.sequence:
                stream.damaged.add(finding.sequence)
        else:
            self._counts[finding.kind, finding.severity] += 1

    def has(self, stream_id: str, sequence: int) -> bool:
        """Whether a record was seen."""
        stream = self.streams.get(stream_id)
        return stream is not None and stream.slots.has(sequence)

    def suspects(self) -> set[str]:
        """Return the streams in which not every record is covered by a good signature, or more.

        What was seen of them by a fast reader must be read again by a strict one.
        """
        self._collect_signatures()
        return {
            stream.stream_id
            for stream in self.streams.values()
            if stream.findings
            or stream.breaks
            or stream.forks
            or stream.bad_signatures
            or 0 < stream.end < stream.slots.highest
            or not stream.is_covered()
        }

    def adopt(self, other: Verifier, stream_ids: frozenset[str]) -> None:
        """Replace what is known of some streams by what another verifier saw of them."""
        other._collect_signatures()
        for stream_id in stream_ids:
            self.streams.pop(stream_id, None)
        for stream_id, stream in other.streams.items():
            if stream_id in stream_ids or stream_id not in self.streams:
                self.streams[stream_id] = stream
        known = set(self._findings)
        for finding in other._findings:
            if finding not in known:
                self._keep(finding)
        self.keys |= other.keys

    def finish(self, anchors: Iterable[Anchor] = ()) -> Verdict:
        """Judge everything.  To be called once."""
        assert not self._is_finished, "a verdict is given once"
        self._is_finished = True
        self._collect_signatures()
        if not any(stream.slots.count for stream in self.streams.values()):
            text = "there is not one audit record that could be placed"
            self._keep(Finding(kind="empty_trail", severity="incomplete", text=text))
        authority = Authority(self.streams.values(), trust=self._trust, keys=self.keys)
        judge = Judge(
            self.streams,
            authority=authority,
            declared=declarations(self.streams, authority),
            keys=self.keys,
            is_pinned=self._trust is not None,
            mode=self._mode,
        )
        for finding in (*authority.findings, *judge.findings(anchors)):
            self._keep(finding)
        order = {severity: rank for rank, severity in enumerate(SEVERITIES)}
        self._findings.sort(key=lambda f: (order[f.severity], f.stream_id, f.sequence, f.kind))
        used = {key_id for stream in self.streams.values() for key_id in stream.key_uses}
        return Verdict(
            records=sum(stream.slots.count for stream in self.streams.values()),
            duplicates=sum(stream.duplicates for stream in self.streams.values()),
            streams=tuple(judge.summary(stream) for stream in self._ordered()),
            findings=tuple(self._findings),
            counts=dict(self._counts),
            anchors=judge.anchors.count,
            key_ids=tuple(sorted(used)),
            is_pinned=self._trust is not None,
            signatures=self._mode,
        )

    def _ordered(self) -> list[Stream]:
        found = [stream for stream in self.streams.values() if stream.slots.count]
        return sorted(found, key=lambda stream: stream.stream_id)

    def _keep(self, finding: Finding) -> None:
        if finding.time_ns and not self._is_asked(finding.time_ns):
            return
        key = finding.kind, finding.severity
        self._counts[key] += 1
        self._kept[key] += 1
        if self._kept[key] <= self._findings_max:
            self._findings.append(finding)

    def _is_asked(self, time_ns: int) -> bool:
        return (self._since_ns is None or time_ns >= self._since_ns) and (
            self._until_ns is None or time_ns <= self._until_ns
        )

    def _learn(self, seen: Seen) -> None:
        if seen.event_name not in {names.EVENT_STARTED, names.EVENT_KEY_ROTATED}:
            return
        published = published_key(seen)
        if published is None:
            return
        key_id, public_key = published
        if self.keys.setdefault(key_id, public_key) == public_key:
            for task in self._waiting.pop(key_id, ()):
                self._waiting_count -= 1
                self._signatures.submit(task._replace(public_key=public_key))

    def _collect_signatures(self) -> None:
        for key_id, task in self._last.values():
            public_key = self.keys.get(key_id)
            if public_key is not None:
                self._signatures.submit(task._replace(public_key=public_key))
        self._last = {}
        for task in self._signatures.bad():
            bad = self.streams[task.stream_id].bad_signatures
            if len(bad) < BREAKS_MAX:
                bad.setdefault(task.sequence, task.where)


def hash_of_resource(resource: Mapping[str, object]) -> str:
    """Return the hash of a decoded Resource; empty if it has none or says more than attributes."""
    for name, value in resource.items():
        if name != "attributes" and value not in ({}, [], None, "", 0):
            return ""
    try:
        return resource_hash(resource.get("attributes"))
    except (NotCanonicalError, RecursionError):
        return ""
