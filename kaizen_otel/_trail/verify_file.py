"""Read one file of a trail, or of anchors, for a verifier: line by line, in bounded memory."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.json import LINE_BYTES_MAX, Line
from kaizen_otel._trail.verify_fast import Cut, FastReader, NotOurShapeError
from kaizen_otel.audit._seen import Seen
from kaizen_otel.audit._slots import HASH, PRESENT, SIGNED, compact
from kaizen_otel.audit._stream import Where
from kaizen_otel.audit.anchors import parse_document, read_anchors
from kaizen_otel.audit.verify import Finding, SignatureTask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from kaizen_otel._trail.verify_fast import Plain
    from kaizen_otel._trail.verify_strict import StrictReader
    from kaizen_otel.audit._stream import Stream
    from kaizen_otel.audit.anchors import Anchor
    from kaizen_otel.audit.verify import Verifier

_CHUNK_BYTES: Final = 1024 * 1024
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
        base = skipped = 0
        rest = b""
        for chunk in chunks:
            self._on_read(len(chunk))
            data = rest + chunk if rest else chunk
            start = 0
            while (end := data.find(b"\n", start)) >= 0:
                if skipped:
                    self._read_cut(skipped + end - start, path, base - skipped + start)
                    skipped = 0
                elif end > start:
                    self._read_line(data, start, end, path, base + start)
                self._number += 1
                start = end + 1
            rest = data[start:]
            base += start
            if skipped or len(rest) > LINE_BYTES_MAX:
                skipped += len(rest)
                base += len(rest)
                rest = b""
        if skipped:
            self._read_cut(skipped, path, base - skipped)
        elif rest:
            self._read_line(rest, 0, len(rest), path, base)

    def _read_cut(self, size: int, path: str, offset: int) -> None:
        line = Line(b"", size, is_cut=True)
        self._strict.read(line, number=self._number + 1, path=path, offset=offset)

    def _read_line(self, data: bytes, start: int, end: int, path: str, offset: int) -> None:
        if self._fast is not None:
            try:
                records = self._fast.scan(data, start, end)
            except NotOurShapeError:
                pass  # the strict way decides
            else:
                if self._take(data, records, path, offset):
                    return
        elif self._may_skip(data, start, end):
            return
        line = Line(data[start:end], end - start)
        self._strict.read(line, number=self._number + 1, path=path, offset=offset)

    def _may_skip(self, data: bytes, start: int, end: int) -> bool:
        """Whether a line has no record of the streams that count.

        A stream's id stands in a line as it is, unless the line has escapes.
        """
        if not self._asked or len(self._asked) > _FILTERED_MAX:
            return False
        return all(data.find(one, start, end) < 0 for one in (*self._asked, _BACKSLASH))

    def _take(self, data: bytes, records: list[Plain | Cut], path: str, offset: int) -> bool:
        """Take in the records of a line; False, and none, if one that is not usual is wrong."""
        cut: dict[int, Seen] = {}
        for index, record in enumerate(records):
            if type(record) is Cut:
                text = data[record.start : record.end]
                seen = self._strict.see(text, record.resource, path=path, offset=offset)
                if seen is None:
                    return False
                cut[index] = seen
        streams = self._streams
        for index, record in enumerate(records):
            if type(record) is Cut:
                self._verifier.add(cut[index])
                continue
            assert type(record) is tuple
            stream = streams.get(record[0]) or self._find(record[0])
            if (
                stream is not None
                and record[5] is None
                and stream.follow(record[1], record[2], record[3], record[4])
            ):
                continue
            if stream is not None and self._follow(stream, record, path, offset):
                continue
            start, end, resource = record[7:]
            seen = self._strict.see(data[start:end], resource, path=path, offset=offset)
            if seen is None:
                self.is_sure = False
            else:
                self._verifier.add(seen)
        return True

    def _find(self, stream_id: bytes) -> Stream | None:
        stream = self._verifier.streams.get(stream_id.decode("latin-1"))
        if stream is not None:
            self._streams[stream_id] = stream
        return stream

    def _follow(self, stream: Stream, record: Plain, path: str, offset: int) -> bool:
        """Take in a record whose turn it is, or that was seen before; False for any other."""
        _, number, digest, previous, time_ns, more, event, *_ = record
        if more is None:
            slot = stream.slots.get(number)
            if slot & PRESENT and slot & HASH == compact(digest):
                stream.duplicates += 1
                return True
            return False
        if number != stream.last_number + 1 or previous != stream.last_digest:
            return False
        key_id = more.key_id.decode("latin-1")
        if (
            not more.is_end
            and not more.intent
            and not more.outcome_of
            and stream.follow(number, digest, previous, time_ns, PRESENT | SIGNED)
        ):
            where = Where(path, offset, time_ns)
            stream.sign(key_id, number, where)
            task = SignatureTask(b"", more.signature, digest, stream.stream_id, number, where)
            self._verifier.check(key_id, task)
            return True
        self._verifier.add(
            Seen(
                stream_id=stream.stream_id,
                sequence=number,
                digest=digest,
                previous=previous,
                time_ns=time_ns,
                event_name=event.decode(),
                certificate=key_id,
                signature=more.signature,
                is_end=more.is_end,
                intent=more.intent.decode("latin-1"),
                outcome_of=more.outcome_of.decode("latin-1"),
                path=path,
                offset=offset,
            )
        )
        return True


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
