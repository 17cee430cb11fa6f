"""Segment bytes: the format is on users' disks, so it is compared byte by byte."""

from __future__ import annotations

import subprocess
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaizen_otel._spool import segment
from kaizen_otel._spool.segment import (
    Damage,
    Entry,
    Header,
    NewerFormatError,
    SegmentFormatError,
    crc32c,
    decode_entry,
    decode_header,
    encode_entry,
    encode_header,
    find_entry,
    scan,
    table_crc32c,
)

HEADER = Header(
    stream_id=bytes(range(16)), segment_number=3, first_sequence=17, created_ns=5, resource=b"res"
)


def _file(*entries: bytes) -> bytes:
    return encode_header(HEADER) + b"".join(entries)


def _entries(count: int, *, commit_every: int = 1) -> list[bytes]:
    return [
        encode_entry(b"payload %d" % n, sequence=n, begins_commit=(n - 1) % commit_every == 0)
        for n in range(1, count + 1)
    ]


def test_header_bytes_are_these() -> None:
    data = encode_header(HEADER)
    assert (
        data.hex()
        == (
            "6b7a73706f6f6c0a"  # magic
            "0100"
            "0000"  # format version, flags
            "000102030405060708090a0b0c0d0e0f"  # stream id
            "0300000000000000"
            "1100000000000000"
            "0500000000000000"  # number, first, created
            "03000000"
            "726573"  # Resource
        )
        + crc32c(data[:-4]).to_bytes(4, "little").hex()
    )
    assert decode_header(data) == (HEADER, len(data))


def test_entry_bytes_are_these() -> None:
    data = encode_entry(b"abc", sequence=258, resource_index=2, begins_commit=True)
    head = "03000000"
    rest = "a54b010002000201000000000000"
    crc = crc32c(bytes.fromhex(head + rest) + b"abc").to_bytes(4, "little").hex()
    assert data.hex() == head + crc + rest + b"abc".hex()
    assert decode_entry(data, 0) == Entry(0, len(data), 258, 2, True, False, b"abc")


def test_crc_is_castagnoli_and_the_table_agrees_with_the_library() -> None:
    assert crc32c(b"123456789") == 0xE3069283  # RFC 3720, B.4
    assert crc32c(b"123456789") != zlib.crc32(b"123456789")


@settings(max_examples=40)
@given(st.binary(max_size=300), st.binary(max_size=300))
def test_both_implementations_of_crc_agree_also_in_two_pieces(first: bytes, second: bytes) -> None:
    assert table_crc32c(table_crc32c(0, first), second) == crc32c(first + second)
    assert crc32c(second, crc32c(first)) == crc32c(first + second)


def test_without_the_library_the_table_is_used() -> None:
    """A None in sys.modules is how Python says that a package is not there."""
    program = (
        "import sys; sys.modules['google_crc32c'] = None\n"
        "from kaizen_otel._spool import segment\n"
        "print(segment.crc32c(b'123456789') == 0xE3069283, segment._crc is segment.table_crc32c)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert answer.stdout.split() == ["True", "True"]


def test_scan_of_a_sound_file_reports_nothing() -> None:
    found = scan(_file(*_entries(5)))
    assert [entry.sequence for entry in found.entries] == [1, 2, 3, 4, 5]
    assert (found.header, found.damages, found.torn_at) == (HEADER, [], None)


def test_a_file_cut_anywhere_gives_all_whole_entries_and_no_damage() -> None:
    """What a crash leaves is a prefix; none of it may be mistaken for damage."""
    entries = _entries(4)
    data = _file(*entries)
    ends = [len(_file(*entries[:n])) for n in range(5)]
    for size in range(len(data) + 1):
        found = scan(data[:size])
        whole = sum(end <= size for end in ends[1:])
        assert [entry.sequence for entry in found.entries] == list(range(1, whole + 1))
        assert found.damages == []
        assert found.torn_at == (
            None if size in {0, *ends} else max(e for e in (0, *ends) if e <= size)
        )


def test_a_flipped_bit_in_what_was_durable_is_damage_and_the_rest_is_read() -> None:
    entries = _entries(4)
    data = bytearray(_file(*entries))
    start = len(_file(entries[0]))
    data[start + 25] ^= 1
    found = scan(bytes(data))
    assert [entry.sequence for entry in found.entries] == [1, 3, 4]
    assert found.damages == [Damage(offset=start, size=len(entries[1]))]
    assert found.torn_at is None


def test_a_hole_inside_the_last_group_commit_is_a_torn_tail() -> None:
    """A disk may keep the end of an unsynced write and lose its middle."""
    entries = _entries(6, commit_every=3)
    start = len(_file(*entries[:4]))
    data = bytearray(_file(*entries))
    data[start : start + len(entries[4])] = bytes(len(entries[4]))
    found = scan(bytes(data))
    assert [entry.sequence for entry in found.entries] == [1, 2, 3, 4, 6]
    assert (found.damages, found.torn_at) == ([], start)


def test_a_tail_of_zeros_is_torn() -> None:
    """File systems extend a file before its bytes arrive."""
    data = _file(*_entries(2))
    found = scan(data + bytes(5000))
    assert (len(found.entries), found.damages, found.torn_at) == (2, [], len(data))


def test_damage_in_the_header_leaves_the_entries_readable() -> None:
    data = bytearray(_file(*_entries(2)))
    data[10] ^= 1
    found = scan(bytes(data))
    assert found.header is None
    assert [entry.sequence for entry in found.entries] == [1, 2]
    assert found.damages[0].offset == 0


def test_a_newer_format_is_refused_and_not_guessed_at() -> None:
    data = bytearray(encode_header(HEADER))
    data[8] = 2
    with pytest.raises(NewerFormatError, match="upgrade kaizen-otel"):
        scan(bytes(data))


def test_a_torn_header_is_an_error_of_its_own() -> None:
    data = encode_header(HEADER)
    for size in range(len(data)):
        with pytest.raises(SegmentFormatError):
            decode_header(data[:size])


@settings(max_examples=40)
@given(st.binary(max_size=4000))
def test_scan_takes_any_bytes(data: bytes) -> None:
    found = scan(data)
    assert all(entry.end <= len(data) for entry in found.entries)


@settings(max_examples=40)
@given(st.lists(st.binary(min_size=1, max_size=200), max_size=8), st.data())
def test_one_changed_byte_never_yields_a_payload_that_was_not_written(
    payloads: list[bytes], draw: st.DataObject
) -> None:
    entries = [
        encode_entry(payload, sequence=n, begins_commit=True)
        for n, payload in enumerate(payloads, 1)
    ]
    data = bytearray(_file(*entries))
    place = draw.draw(st.integers(0, len(data) - 1))
    data[place] ^= draw.draw(st.integers(1, 255))
    try:
        found = scan(bytes(data))
    except NewerFormatError:
        return
    assert {entry.payload for entry in found.entries} <= set(payloads)
    assert len(found.entries) >= len(payloads) - 1


def test_the_marker_inside_a_payload_does_not_confuse_the_search() -> None:
    entry = encode_entry(segment.MARKER * 20, sequence=1)
    data = b"\x00" * 7 + segment.MARKER + entry
    found = find_entry(data, 0)
    assert found is not None
    assert found.payload == segment.MARKER * 20
