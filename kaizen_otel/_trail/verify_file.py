"""Read one file of a trail, or of anchors, for a verifier: line by line, in bounded memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.json import LINE_BYTES_MAX, Line
from kaizen_otel._trail.verify_fast import NOTHING, Cut, FastReader, NotOurShapeError, cut
from kaizen_otel.audit._slots import HASH, PRESENT, compact
from kaizen_otel.audit._stream import Where
from kaizen_otel.audit.anchors import parse_document, read_anchors
from kaizen_otel.audit.verify import Finding, SignatureTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel._trail.verify_fast import Plain
    from kaizen_otel._trail.verify_strict import StrictReader
    from kaizen_otel.audit._seen import Seen
    from kaizen_otel.audit._stream import Stream
    from kaizen_otel.audit.anchors import Anchor
    from kaizen_otel.audit.verify import Verifier

_CHUNK_BYTES: Final = 256 * 1024  # stays in the cache while it is cut
_FILTERED_MAX: Final = 8
_BACKSLASH: Final = b"\\"


def unreadable(
    verifier: Verifier, path: str, error: OSError | str, only: frozenset[str] | None
) -> None:
    """Report a file or folder that cannot be read, once."""
    if only is None:
        why = error if isinstance(error, str) else error.strerror or type(error).__name__
        text = f"cannot be read: {why}"
        verifier.report(Finding(kind="unreadable", severity="incomplete", text=text, path=path))


class FileReader:
    """Gives a verifier the records of files, fast where it can and strictly where it must.

    ``is_sure`` turns False if something is wrong in a line of which other records were taken in.
    """

    def __init__(
        self,
        verifier: Verifier,
        strict: StrictReader,
        *,
        only: frozenset[str] | None,
        is_fast: bool,
        on_read: Callable[[int], None],
    ) -> None:
        """Begin with no file read; ``only`` are the streams that count."""
        self.is_sure = True
        self._verifier = verifier
        self._strict = strict
        self._only = only
        self._asked = [stream_id.encode() for stream_id in only or ()]
        self._fast = FastReader() if is_fast else None
        self._is_checked = verifier.checks
        self._on_read = on_read
        self._streams: dict[bytes, Stream] = {}
        self._number = 0

    def read(self, path: str, done: set[tuple[int, int]]) -> bool:
        """Read a file unless it is one of ``done``, by device and number; False if it is."""
        try:
            if not stat.S_ISREG(Path(path).stat().st_mode):
                unreadable(self._verifier, path, "it is no file", self._only)
                return False
            with Path(path).open("rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                identity = status.st_dev, status.st_ino
                if identity in done:
                    return False
                done.add(identity)
                self._read_chunks(iter(lambda: file.read(_CHUNK_BYTES), b""), path)
        except OSError as error:
            unreadable(self._verifier, path, error, self._only)
            return False
        return True

    def _read_chunks(self, chunks: Iterator[bytes], path: str) -> None:
        """Cut chunks into lines; of a line that is too long only the size is kept."""
        self._number = 0
        offset = skipped = 0
        rest = b""
        for chunk in chunks:
            self._on_read(len(chunk))
            lines = (rest + chunk).split(b"\n")
            rest = lines.pop()
            for line in lines:
                size = len(line)
                if skipped:
                    size += skipped
                    self._read_cut(size, path, offset)
                    skipped = 0
                elif line:
                    self._read_line(line, path, offset)
                self._number += 1
                offset += size + 1
            if skipped or len(rest) > LINE_BYTES_MAX:
                skipped += len(rest)
                rest = b""
        if skipped:
            self._read_cut(skipped, path, offset)
        elif rest:
            self._read_line(rest, path, offset)

    def _read_cut(self, size: int, path: str, offset: int) -> None:
        line = Line(b"", size, is_cut=True)
        self._strict.read(line, number=self._number + 1, path=path, offset=offset)

    def _read_line(self, line: bytes, path: str, offset: int) -> None:
        if self._fast is not None:
            try:
                records = self._fast.scan(line)
            except NotOurShapeError:
                pass  # the strict way decides
            else:
                if self._take(records, path, offset):
                    return
        elif self._may_skip(line):
            return
        whole = Line(line, len(line))
        self._strict.read(whole, number=self._number + 1, path=path, offset=offset)

    def _may_skip(self, line: bytes) -> bool:
        """Whether a line has no record of the streams that count.

        A stream's id stands in a line as it is, unless the line has escapes.
        """
        if not self._asked or len(self._asked) > _FILTERED_MAX:
            return False
        return not any(one in line for one in (*self._asked, _BACKSLASH))

    def _take(self, records: list[Plain | Cut], path: str, offset: int) -> bool:
        """Take in the records of a line; False, and none, if one that is not usual is wrong."""
        odd: list[Seen] = []
        for record in records:
            if type(record) is Cut:
                seen = self._strict.see(*record, path=path, offset=offset)
                if seen is None:
                    return False
                odd.append(seen)
        streams = self._streams
        for record in records:
            if type(record) is Cut:
                self._verifier.add(odd.pop(0))
                continue
            assert not isinstance(record, Cut)
            stream_id, number, digest, previous, time, key_id, _, announced, _, _, _ = record
            stream = streams.get(stream_id) or self._find(stream_id)
            by = (key_id, path, offset) if key_id else None
            if stream is None or not stream.follow(number, digest, previous, time, by):
                self._take_strictly(record, path, offset)
                continue
            if key_id and self._is_checked:
                self._check(stream, record, path, offset)
            if announced is not NOTHING:
                _announce(stream, record, path, offset)
        return True

    def _take_strictly(self, record: Plain, path: str, offset: int) -> None:
        """Take in a record whose turn it is not."""
        number, key_id = record[1], record[5]
        stream = self._streams.get(record[0])
        if stream is not None and not key_id and number.isdigit():
            slot = stream.slots.get(int(number))
            if slot & PRESENT and slot & HASH == compact(record[2]):
                stream.duplicates += 1
                return
        seen = self._strict.see(*cut(*record[8:]), path=path, offset=offset)
        if seen is None:
            self.is_sure = False
        else:
            self._verifier.add(seen)

    def _find(self, stream_id: bytes) -> Stream | None:
        stream = self._verifier.streams.get(stream_id.decode("latin-1"))
        if stream is not None:
            self._streams[stream_id] = stream
        return stream

    def _check(self, stream: Stream, record: Plain, path: str, offset: int) -> None:
        """Have the signature of the record checked that the stream took in last."""
        where = Where(path, offset, int(record[4]))
        task = SignatureTask(b"", record[6], record[2], stream.stream_id, stream.last_number, where)
        self._verifier.check(record[5], task)


def _announce(stream: Stream, record: Plain, path: str, offset: int) -> None:
    """Note the intent or the outcome that the stream took in last."""
    where = Where(path, offset, int(record[4]))
    intent, outcome_of = record[7]
    stream.announce(
        intent.decode("latin-1"), outcome_of.decode("latin-1"), stream.last_number, where
    )


def read_anchor_file(path: str, *, on_read: Callable[[int], None]) -> Iterator[Anchor]:
    """Yield the anchors of a file: JSON lines, or one JSON document.  Raises ``OSError``."""
    if not stat.S_ISREG(Path(path).stat().st_mode):
        raise OSError(0, "it is no file")
    offset = 0
    found = False
    with Path(path).open("rb") as file:
        for line in iter(lambda: file.readline(LINE_BYTES_MAX), b""):
            on_read(len(line))
            for anchor in read_anchors(parse_document(line), path=path, offset=offset):
                found = True
                yield anchor
            offset += len(line)
        if not found and offset <= LINE_BYTES_MAX:
            file.seek(0)
            yield from read_anchors(parse_document(file.read()), path=path, offset=0)
