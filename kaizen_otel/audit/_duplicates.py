"""Know which records have come already: delivery is at least once, so trails hold duplicates."""

from __future__ import annotations

from typing import Final

_PAGE_RECORDS: Final = 64
_MARK_BYTES: Final = 8
_UUID_CHARACTERS: Final = 36
_UUID_BYTES: Final = 16


class Duplicates:
    """Takes note of records, in about ten bytes for each.

    Records of a stream are found by their number: a page holds eight bytes of the ids of 64
    neighbours.  A record without a place, or with another id in the same place, is kept whole.
    """

    __slots__ = ("_others", "_pages")

    def __init__(self) -> None:
        self._pages: dict[tuple[object, int], bytearray] = {}
        self._others: set[bytes | str] = set()

    def is_new(self, record_id: str, stream_id: object, number: object) -> bool:
        """Note a record; False if it was there already."""
        key = _short(record_id)
        if isinstance(key, bytes) and isinstance(number, int) and isinstance(stream_id, str):
            page_key = stream_id, number // _PAGE_RECORDS
            page = self._pages.get(page_key)
            if page is None:
                page = self._pages[page_key] = bytearray(_PAGE_RECORDS * _MARK_BYTES)
            start = number % _PAGE_RECORDS * _MARK_BYTES
            there, mark = bytes(page[start : start + _MARK_BYTES]), key[-_MARK_BYTES:]
            if any(mark):
                if there == mark:
                    return False
                if not any(there):
                    page[start : start + _MARK_BYTES] = mark
                    return True
        if key in self._others:
            return False
        self._others.add(key)
        return True


def _short(record_id: str) -> bytes | str:
    """Return 16 bytes for a UUID: a set of millions of them must fit into memory."""
    try:
        key = bytes.fromhex(record_id.replace("-", ""))
    except ValueError:
        return record_id
    return key if len(record_id) == _UUID_CHARACTERS and len(key) == _UUID_BYTES else record_id
