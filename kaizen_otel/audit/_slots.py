"""What is known of every number of a stream, in eight bytes each.

A slot says whether the number's record was seen, whether it says that it is signed, and 62 bits of
its hash.  If the record was not seen, but the next one was, they are those of the hash that the
next one links to.  The 62 bits are made with Python's own keyed hash, whose key differs from
process to process: who writes a trail cannot know which two records would look alike.
"""

from __future__ import annotations

from array import array
from typing import Final

PRESENT: Final = 1 << 63
SIGNED: Final = 1 << 62
HASH: Final = SIGNED - 1

FAR_MAX: Final = 1 << 20

_NEAR_SPARE: Final = 1024
_NEAR_FACTOR: Final = 4


def compact(digest: bytes) -> int:
    """Return the 62 bits that stand for a record's hash; never 0."""
    return hash(digest) & HASH or 1


class Slots:
    """The numbers of one stream, from 1.

    Numbers near what is there already are in one array, others in a dictionary until the array
    has grown up to them: a single number far away takes no memory for those in between.
    """

    __slots__ = ("_far", "_moved_at", "_near", "count", "highest")

    def __init__(self) -> None:
        """Nothing is known."""
        self._near = array("Q", (0,))
        self._far: dict[int, int] = {}
        self._moved_at = 0
        self.count = 0
        self.highest = 0

    def get(self, number: int) -> int:
        """Return the slot of a number, 0 if nothing is known."""
        near = self._near
        if number < len(near):
            value = near[number]
            return value or self._far.get(number, 0) if self._far else value
        return self._far.get(number, 0)

    def has(self, number: int) -> bool:
        """Whether the record of that number was seen."""
        return bool(self.get(number) & PRESENT)

    def extend(self, number: int, value: int) -> bool:
        """Fill the slot after the last one; False if the number's is another, or known of."""
        if number != len(self._near) or self._far:
            return False
        self._near.append(value)
        self.count += 1
        self.highest = number
        return True

    def put(self, number: int, value: int) -> bool:
        """Fill a slot; False if there is no room because the numbers are too far apart."""
        near = self._near
        is_new = bool(value & PRESENT) and not self.get(number) & PRESENT
        if number == len(near):
            near.append(value)
        elif number < len(near):
            near[number] = value
        elif number <= self.count * _NEAR_FACTOR + _NEAR_SPARE:
            near.frombytes(bytes(8 * (number - len(near))))
            near.append(value)
        elif number in self._far or len(self._far) < FAR_MAX:
            self._far[number] = value
        else:
            return False
        if self._far and number < len(near):
            self._far.pop(number, None)
            if len(near) > 2 * self._moved_at:
                self._move()
        if is_new:
            self.count += 1
            self.highest = max(self.highest, number)
        return True

    def _move(self) -> None:
        """Take into the array what it has grown up to."""
        near = self._near
        self._moved_at = len(near)
        for number in [number for number in self._far if number < len(near)]:
            near[number] = self._far.pop(number)

    def missing(self, first: int) -> list[tuple[int, int]]:
        """Return the ranges between ``first`` and the highest number that were not seen."""
        if self.count == self.highest and first >= 1:
            return []
        ranges: list[tuple[int, int]] = []
        self._move()
        near = self._near
        start = 0
        for number in range(first, min(len(near) - 1, self.highest) + 1):
            if near[number] & PRESENT:
                if start:
                    ranges.append((start, number - 1))
                    start = 0
            elif not start:
                start = number
        start = start or max(first, min(len(near), self.highest + 1))
        for number in sorted(n for n, value in self._far.items() if value & PRESENT):
            if number < first:
                continue
            if number > start:
                ranges.append((start, number - 1))
            start = number + 1
        return ranges

    def lowest(self) -> int:
        """Return the lowest number that was seen, 0 if none was."""
        self._move()
        for number, value in enumerate(self._near):
            if value & PRESENT:
                return number
        return min((n for n, value in self._far.items() if value & PRESENT), default=0)
