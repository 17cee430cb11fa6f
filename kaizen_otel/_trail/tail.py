"""Follow a trail while the Collector writes and rotates it."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Final

from kaizen_otel._otlp.json import iter_log_records, read_lines
from kaizen_otel.audit._stored import TRAIL_NAME, TRAIL_SUFFIX, Report, trail_files
from kaizen_otel.audit.query import stored_record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kaizen_otel._edges import Filesystem
    from kaizen_otel._otlp.json import Problem
    from kaizen_otel.audit.query import StoredRecord

_CHUNK_BYTES: Final = 1024 * 1024


class Tail:
    """Returns what came since the last call, over rotations, each line once."""

    def __init__(self, filesystem: Filesystem, directory: str, *, from_start: bool = False) -> None:
        """Begin at the end of the trail, or at its start; a folder that is not there is empty."""
        self.report = Report()
        self._filesystem = filesystem
        self._directory = directory
        self._active = posixpath.join(directory, TRAIL_NAME + TRAIL_SUFFIX)
        self._rotated: set[str] = set()
        self._offset = 0
        if not from_start:
            files = self._files()
            self._rotated = {path for path in files if path != self._active}
            if self._active in files:
                self._offset = self._last_line_end(filesystem.size(self._active))

    def poll(self) -> Iterator[StoredRecord]:
        """Read on; raises ``OSError`` if a file cannot be read."""
        files = self._files()
        # A new rotated file is the one that was active; what follows it in it was not read yet.
        for path in files:
            if path != self._active and path not in self._rotated:
                self._rotated.add(path)
                yield from self._read(path, self._filesystem.size(path))
                self._offset = 0
        if self._active in files:
            end = self._last_line_end(self._filesystem.size(self._active))
            yield from self._read(self._active, end)

    def _files(self) -> list[str]:
        try:
            return trail_files(self._filesystem, self._directory)
        except FileNotFoundError:
            return []

    def _read(self, path: str, end: int) -> Iterator[StoredRecord]:
        def note(problem: Problem) -> None:
            self.report.add(path, f"{problem.kind} at byte {start + problem.offset}")

        start, self._offset = self._offset, max(end, self._offset)
        for request in read_lines(self._chunks(path, start, end), on_problem=note):
            for log_record, resource in iter_log_records(request):
                record = stored_record(log_record, resource)
                if record is not None:
                    yield record

    def _chunks(self, path: str, offset: int, end: int) -> Iterator[bytes]:
        while offset < end:
            chunk = self._filesystem.read(path, offset, min(_CHUNK_BYTES, end - offset))
            if not chunk:
                return
            yield chunk
            offset += len(chunk)

    def _last_line_end(self, size: int) -> int:
        """Return the end of the last whole line: the Collector writes a line in two calls."""
        end = size
        while end > self._offset:
            start = max(self._offset, end - _CHUNK_BYTES)
            place = self._filesystem.read(self._active, start, end - start).rfind(b"\n")
            if place >= 0:
                return start + place + 1
            end = start
        return self._offset
