"""What whoever owns the records adds to them when they are stored; the spool knows only bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol, cast

if TYPE_CHECKING:
    from collections.abc import Sequence, Sized

    from kaizen_otel.errors import SpoolError

FINISH_BYTES_MAX: Final = 1024


class OnAnswer(Protocol):
    """Hears what became of some records."""

    def __call__(self, error: SpoolError | None, count: int, /) -> object:
        """Hear that so many were stored, or why not."""
        ...


class Finish(Protocol):
    """Completes the bytes of a group commit when its place in the stream is known."""

    def __call__(
        self, items: Sequence[Sized], *, stream_id: str, first_sequence: int
    ) -> Sequence[bytes]:
        """Return the bytes to store, each at most ``FINISH_BYTES_MAX`` more than its item's size.

        Called by one thread, in the order of the numbers; again with the same number if it was
        not used.
        """
        ...


class Framing(Protocol):
    """The items that a stream has of its own, around those that are appended.

    Everything is called by the writer's thread, nothing before the first append.
    """

    def before(self) -> Sequence[Sized]:
        """Return the stream's first items; asked again until they are stored."""
        ...

    def after(self, count: int, *, is_end: bool, has_room: bool) -> Sequence[Sized]:
        """Return what follows ``count`` items, which are 0 when nothing came for a while.

        ``is_end`` asks for the stream's last items, ``has_room`` says that the spool is not full.
        """
        ...

    def pause_s(self) -> float | None:
        """Return after how much silence to ask; None for never."""
        ...

    def committed(self, own_count: int, error: SpoolError | None) -> None:
        """Hear what became of a commit, of which ``own_count`` items are the stream's own."""
        ...


def as_they_are(items: Sequence[Sized], *, stream_id: str, first_sequence: int) -> Sequence[bytes]:
    """Return the items themselves, which are bytes already."""
    del stream_id, first_sequence
    assert all(isinstance(item, bytes) for item in items), "what is no bytes needs finishing"
    return cast("Sequence[bytes]", items)
