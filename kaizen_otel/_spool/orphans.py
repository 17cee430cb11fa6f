"""Streams that dead processes left in the spool root.

A stream whose lock is free belongs to nobody: the next process ships what is left in it and
removes it.
"""

from __future__ import annotations

import posixpath
import uuid
from typing import TYPE_CHECKING, Final

from kaizen_otel._spool.files import (
    LOCK_NAME,
    is_uuid,
    remove_directory_if_there,
    stream_ids,
)
from kaizen_otel._spool.segment import SegmentFormatError
from kaizen_otel._spool.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable

    from kaizen_otel._edges import Clock, Filesystem

_HIDDEN_AGE_MS: Final = 3_600_000
ADOPTED_MAX: Final = 64


class Orphans:
    """The streams of dead processes that this process has taken over."""

    def __init__(
        self, root: str, *, filesystem: Filesystem, clock: Clock, warn: Callable[[str], None]
    ) -> None:
        self.streams: list[Stream] = []
        self._root = root
        self._filesystem = filesystem
        self._clock = clock
        self._warn = warn
        self._unreadable: set[str] = set()
        self._released: set[str] = set()

    @property
    def bytes_used(self) -> int:
        """Bytes of all adopted segment files."""
        return sum(stream.bytes_used for stream in self.streams)

    def adopt(self, own_id: str | None) -> int:
        """Take over streams whose owner is gone; return how many came in now.

        At most ``ADOPTED_MAX`` are held at a time.  A stream that cannot be read is left as it
        is, with one warning.
        """
        try:
            self._remove_hidden()
            found = stream_ids(self._filesystem, self._root)
        except FileNotFoundError:  # no process was here, so none left anything
            return 0
        except OSError as error:
            self._warn(f"audit records of ended processes in {self._root} wait: {error}")
            return 0
        held = {stream.stream_id for stream in self.streams} | self._unreadable | {own_id}
        self._released &= set(found)
        before = len(self.streams)
        # Those that had their turn come last: they only wait for their age.
        for stream_id in sorted(found, key=self._released.__contains__):
            if stream_id not in held and self._has_room():
                self._adopt_one(stream_id)
        return len(self.streams) - before

    def _has_room(self) -> bool:
        """Whether one more stream can be held, if need be by giving up one that is delivered."""
        if len(self.streams) < ADOPTED_MAX:
            return True
        stream = next((stream for stream in self.streams if stream.exhausted), None)
        if stream is None:
            return False
        self.streams.remove(stream)
        self._released.add(stream.stream_id)
        self._save_and_close(stream)
        return True

    def retire(self, delivered_before_ns: int) -> None:
        """Remove delivered segments, and directories that are delivered to the end."""
        for stream in list(self.streams):
            try:
                stream.retire(delivered_before_ns)
                if stream.is_empty and stream.exhausted:
                    self.streams.remove(stream)
                    stream.remove()
            except OSError as error:
                self._warn(f"delivered audit records stay in {stream.path}: {error}")

    def close(self) -> None:
        """Give the streams to the next process."""
        for stream in self.streams:
            self._save_and_close(stream)
        self.streams.clear()

    def abandon(self) -> None:
        """Forget the streams in a forked child, where they still are the parent's."""
        for stream in self.streams:
            stream.abandon()
        self.streams.clear()

    def _save_and_close(self, stream: Stream) -> None:
        try:
            stream.save_cursor()
        except OSError as error:
            self._warn(f"records of {stream.path} may be delivered twice: {error}")
        stream.close()

    def _adopt_one(self, stream_id: str) -> None:
        try:
            stream = Stream.adopt(self._root, stream_id, filesystem=self._filesystem)
        except (OSError, SegmentFormatError) as error:
            self._unreadable.add(stream_id)
            self._warn(
                f"audit records in {posixpath.join(self._root, stream_id)} are NOT shipped: {error}"
            )
            return
        if stream is not None:
            self.streams.append(stream)

    def _remove_hidden(self) -> None:
        """Remove directories whose maker died before they were a stream."""
        now_ms = self._clock.time_ns() // 1_000_000
        for name in self._filesystem.names(self._root):
            if name.startswith(".") and is_uuid(name[1:]):
                age_ms = now_ms - (uuid.UUID(name[1:]).int >> 80)  # RFC 9562, section 5.7
                if age_ms > _HIDDEN_AGE_MS:
                    path = posixpath.join(self._root, name)
                    remove_directory_if_there(self._filesystem, path, (LOCK_NAME,))
