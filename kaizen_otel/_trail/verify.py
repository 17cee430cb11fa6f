"""Verify trails and spools: read every file, once fast, and what is in doubt once more strictly.

Takes no lock and writes nothing.  A file that cannot be read or understood becomes a finding; while
the Collector rotates files they are read until no new one appears.
"""

from __future__ import annotations

import posixpath
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.decode import decode_log_record, decode_resource
from kaizen_otel._spool.files import QUARANTINE_NAME, segment_paths, stream_ids
from kaizen_otel._trail.verify_file import FileReader, read_anchor_file, unreadable
from kaizen_otel._trail.verify_signatures import PooledSignatures
from kaizen_otel._trail.verify_strict import StrictReader, judge_torn
from kaizen_otel.audit._stored import Report, read_segment, trail_files
from kaizen_otel.audit.verify import Finding, Verifier, hash_of_resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel._edges import Filesystem
    from kaizen_otel.audit.anchors import Anchor
    from kaizen_otel.audit.trust import Trust
    from kaizen_otel.audit.verify import SignatureMode, Verdict

_ROUNDS_MAX: Final = 5


def _ignore(size: int) -> None:
    del size


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What to verify: trail folders or files, spool roots, files of anchors."""

    trails: tuple[str, ...] = ()
    spools: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Settings:
    """How to verify.  ``jobs`` are processes for signatures; 1 checks them in this one.

    ``on_read`` is told how many bytes were read; ``is_fast`` False reads everything strictly.
    """

    trust: Trust | None = None
    mode: SignatureMode = "all"
    jobs: int = 1
    since_ns: int | None = None
    until_ns: int | None = None
    is_fast: bool = True
    on_read: Callable[[int], None] = _ignore


def verify(sources: Sources, *, settings: Settings, filesystem: Filesystem) -> Verdict:
    """Read everything and judge it.  What cannot be read is a finding; raises nothing for it."""
    signatures = PooledSignatures(settings.jobs)
    try:
        return _Run(sources, settings, filesystem, signatures).verdict()
    finally:
        signatures.close()


class _Run:
    """One verification."""

    def __init__(
        self,
        sources: Sources,
        settings: Settings,
        filesystem: Filesystem,
        signatures: PooledSignatures,
    ) -> None:
        self._sources = sources
        self._settings = settings
        self._filesystem = filesystem
        self._signatures = signatures
        self._is_fast = settings.is_fast

    def verdict(self) -> Verdict:
        verifier = self._verifier()
        strict = StrictReader(verifier)
        is_sure = self._read_all(verifier, strict, None)
        if verifier.unchecked:
            # Keys that were published after very many records that they signed: now they are known.
            known = verifier.keys
            verifier = self._verifier()
            verifier.keys.update(known)
            strict = StrictReader(verifier)
            is_sure = self._read_all(verifier, strict, None)
        if self._is_fast and (not is_sure or not self._read_again(verifier, strict)):
            verifier = self._verifier()
            strict = StrictReader(verifier)
            self._is_fast = False
            self._read_all(verifier, strict, None)
        for finding in judge_torn(strict.torn, verifier.has):
            verifier.report(finding)
        return verifier.finish(self._anchors(verifier))

    def _read_again(self, verifier: Verifier, strict: StrictReader) -> bool:
        """Read strictly what a fast reader left in doubt; False if the doubt only grows."""
        suspects = frozenset(verifier.suspects())
        if not suspects:
            return True
        for _ in range(_ROUNDS_MAX):
            other = self._verifier()
            other.keys.update(verifier.keys)
            again = StrictReader(other, only=suspects)
            self._read_all(other, again, suspects)
            # A fast reader may have taken a torn line for a whole one, also for other streams.
            more = {stream_id for piece in again.torn for stream_id, _ in piece.named} - suspects
            if not more:
                verifier.adopt(other, suspects)
                known = set(strict.torn)
                strict.torn += [piece for piece in again.torn if piece not in known]
                return True
            suspects |= more
        return False

    def _verifier(self) -> Verifier:
        # What was submitted for a verifier that is given up must not be held against anybody.
        for _ in self._signatures.bad():
            pass
        settings = self._settings
        return Verifier(
            trust=settings.trust,
            signatures=self._signatures,
            mode=settings.mode,
            since_ns=settings.since_ns,
            until_ns=settings.until_ns,
        )

    def _read_all(
        self, verifier: Verifier, strict: StrictReader, only: frozenset[str] | None
    ) -> bool:
        """Read all sources; False if a fast reader took in what it should not have."""
        reader = FileReader(
            verifier,
            strict,
            only=only,
            is_fast=self._is_fast and only is None,
            on_read=self._settings.on_read,
        )
        roots = list(self._sources.spools)
        for trail in self._sources.trails:
            roots += self._read_trail(trail, verifier, reader, only)
        for root in roots:
            self._read_spool(root, verifier, strict, only)
        return reader.is_sure

    def _read_trail(
        self, trail: str, verifier: Verifier, reader: FileReader, only: frozenset[str] | None
    ) -> list[str]:
        """Read a folder or a file; return it if it is a spool instead."""
        filesystem = self._filesystem
        done: set[tuple[int, int]] = set()
        for _ in range(_ROUNDS_MAX):
            try:
                if stat.S_ISDIR(filesystem.mode(trail)):
                    paths = trail_files(filesystem, trail)
                    if not paths and stream_ids(filesystem, trail):
                        return [trail]
                else:
                    paths = [trail]
            except OSError as error:
                unreadable(verifier, trail, error, only)
                return []
            if not paths and only is None:
                text = "the folder has no audit.jsonl and none that was rotated"
                verifier.report(
                    Finding(kind="empty_trail", severity="incomplete", text=text, path=trail)
                )
            # A file that is renamed meanwhile keeps its number: nothing is read twice for that.
            if not [path for path in paths if reader.read(path, done)]:
                break
        return []

    def _read_spool(
        self, root: str, verifier: Verifier, strict: StrictReader, only: frozenset[str] | None
    ) -> None:
        filesystem = self._filesystem
        try:
            paths = [
                path
                for stream_id in stream_ids(filesystem, root)
                for path in segment_paths(filesystem, posixpath.join(root, stream_id))
            ]
            paths += segment_paths(filesystem, posixpath.join(root, QUARANTINE_NAME))
        except OSError as error:
            unreadable(verifier, root, error, only)
            return
        for path in paths:
            try:
                self._read_segment(path, verifier, strict, only)
            except OSError as error:
                unreadable(verifier, path, error, only)

    def _read_segment(
        self, path: str, verifier: Verifier, strict: StrictReader, only: frozenset[str] | None
    ) -> None:
        report = Report()
        found = read_segment(self._filesystem, path, report=report)
        problems = [what for _, what in report.problems]
        resources = {0: b"" if found is None or found.header is None else found.header.resource}
        for entry in () if found is None else found.entries:
            if entry.is_resource:
                resources[entry.resource_index] = entry.payload
                continue
            try:
                resource = decode_resource(resources.get(entry.resource_index, resources[0]))
                record = decode_log_record(entry.payload)
            except ValueError as error:
                problems.append(f"entry {entry.sequence} is no log record: {error}")
                continue
            strict.add(record, hash_of_resource(resource), path, entry.offset)
        if only is None:
            for what in problems:
                verifier.report(
                    Finding(kind="torn_line", severity="incomplete", text=what, path=path)
                )

    def _anchors(self, verifier: Verifier) -> Iterator[Anchor]:
        for path in self._sources.anchors:
            count = 0
            try:
                for anchor in read_anchor_file(path, on_read=self._settings.on_read):
                    count += 1
                    yield anchor
            except OSError as error:
                unreadable(verifier, path, error, None)
                continue
            if not count:
                text = "the file holds no anchor"
                verifier.report(
                    Finding(kind="bad_checkpoint", severity="incomplete", text=text, path=path)
                )
