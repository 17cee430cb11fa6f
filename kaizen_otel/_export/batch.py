"""What waits and what is sent: items, the groups that they stand in, and batches of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from kaizen_otel._otlp.common import encode_request

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

# Tags and lengths that the request puts around an item and around a group.
_ITEM_ENVELOPE: Final = 6
_GROUP_ENVELOPE: Final = 24


class Item(NamedTuple):
    """One encoded span, log record or metric, and who produced it.

    ``count`` is 1, or the number of data points of a metric.
    """

    resource: bytes
    scope: bytes
    schema_url: str
    data: bytes
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody asks an item for


class Group:
    """Who produces: ``resource`` is asked when a request is made, so a fork may change it."""

    __slots__ = ("resource", "schema_url", "scope")

    def __init__(self, resource: Callable[[], bytes], scope: bytes, schema_url: str) -> None:
        self.resource = resource
        self.scope = scope
        self.schema_url = schema_url

    @property
    def key(self) -> tuple[bytes, bytes, str]:
        """What items must have in common to stand together in a request."""
        return self.resource(), self.scope, self.schema_url


class Chunk(NamedTuple):
    """Neighbours of one group.  ``count`` differs from their number for one metric only."""

    group: Group
    datas: list[bytes]
    count: int  # type: ignore[assignment]  # as in Item
    size_bytes: int

    def cut(self, length: int) -> tuple[Chunk, Chunk]:
        """Two of them, the first one with ``length`` items."""
        parts = self.datas[:length], self.datas[length:]
        first, second = (Chunk(self.group, d, len(d), sum(map(len, d))) for d in parts)
        return first, second


class Batch:
    """Items that go into one request.  Settled exactly once, by the buffer, under its lock."""

    __slots__ = ("chunks", "count", "is_sending", "is_settled", "is_uncertain", "length",
                 "size_bytes")  # fmt: skip

    def __init__(self, chunks: list[Chunk]) -> None:
        self.chunks = chunks
        self.length = sum(len(chunk.datas) for chunk in chunks)
        self.count = sum(chunk.count for chunk in chunks)
        self.size_bytes = sum(chunk.size_bytes for chunk in chunks)
        self.is_settled = False
        self.is_sending = False
        # A request with these items was sent and not answered: perhaps the server has them.
        self.is_uncertain = False

    @property
    def items(self) -> list[bytes]:
        """The encoded items."""
        return [data for chunk in self.chunks for data in chunk.datas]

    def encode(self) -> bytes:
        """Return the request's bytes."""
        groups: dict[tuple[bytes, bytes, str], list[bytes]] = {}
        for chunk in self.chunks:
            groups.setdefault(chunk.group.key, []).extend(chunk.datas)
        return encode_request((*key, datas) for key, datas in groups.items())

    def halves(self) -> list[Batch]:
        """Two batches with the first and the second half of the items."""
        left = self.length // 2
        assert left > 0, "a single item cannot be split"
        first: list[Chunk] = []
        second: list[Chunk] = []
        for chunk in self.chunks:
            length = len(chunk.datas)
            if 0 < left < length:
                head, tail = chunk.cut(left)
                first.append(head)
                second.append(tail)
            else:
                (first if left > 0 else second).append(chunk)
            left -= length
        return [Batch(first), Batch(second)]


def envelope_bytes(group: Group) -> int:
    """What a group adds to a request, at most."""
    resource, scope, schema_url = group.key
    return len(resource) + len(scope) + len(schema_url) + _GROUP_ENVELOPE


def take_chunks(waiting: deque[Chunk], count_max: int, bytes_max: int) -> list[Chunk]:
    """Take the oldest chunks, the last one perhaps in part; at least one item."""
    found: list[Chunk] = []
    seen: set[tuple[bytes, bytes, str]] = set()
    while waiting and count_max > 0:
        chunk = waiting[0]
        key = chunk.group.key
        if key not in seen:
            seen.add(key)
            bytes_max -= envelope_bytes(chunk.group)
        length = len(chunk.datas)
        size = chunk.size_bytes + _ITEM_ENVELOPE * length
        if length > count_max or size > bytes_max:
            fitting = _fitting(chunk.datas, count_max, bytes_max) or (0 if found else 1)
            if fitting == 0:
                break
            if fitting < length:
                chunk, waiting[0] = chunk.cut(fitting)
                found.append(chunk)
                break
        found.append(waiting.popleft())
        count_max -= length
        bytes_max -= size
    return found


def _fitting(datas: list[bytes], count_max: int, bytes_max: int) -> int:
    """How many of the first items go into so many bytes."""
    for index, data in enumerate(datas[:count_max]):
        bytes_max -= len(data) + _ITEM_ENVELOPE
        if bytes_max < 0:
            return index
    return min(len(datas), count_max)
