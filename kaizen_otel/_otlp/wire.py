"""The protobuf wire format: varints, fixed numbers, length-delimited fields; both directions.

Source: Protocol Buffers documentation, "Encoding".
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

VARINT: Final = 0
FIXED64: Final = 1
LENGTH: Final = 2
FIXED32: Final = 5

MASK64: Final = 0xFFFFFFFFFFFFFFFF
INT64_MIN: Final = -(1 << 63)
INT64_MAX: Final = (1 << 63) - 1

_VARINT_BYTES_MAX: Final = 10
_FIELD_MAX: Final = (1 << 29) - 1
_TABLE_SIZE: Final = 1024

pack_double = struct.Struct("<d").pack
_pack_fixed64 = struct.Struct("<Q").pack
_pack_fixed32 = struct.Struct("<I").pack

VARINTS: Final[tuple[bytes, ...]] = (
    *(bytes((n,)) for n in range(128)),
    *(bytes((n & 127 | 128, n >> 7)) for n in range(128, _TABLE_SIZE)),
)
"""The varints of the numbers below 1024: nearly every length and many values."""


def varint(number: int) -> bytes:
    """Encode ``number``, which must be in [0, 2**64)."""
    if 0 <= number < _TABLE_SIZE:
        return VARINTS[number]
    assert 0 <= number <= MASK64, number
    if number < 0x4000:
        return bytes((number & 0x7F | 0x80, number >> 7))
    if number < 0x200000:
        return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def fixed64(number: int) -> bytes:
    """Eight bytes; a number outside [0, 2**64) becomes the nearest one inside."""
    try:
        return _pack_fixed64(number)
    except struct.error:
        return _pack_fixed64(min(max(number, 0), MASK64))


def fixed32(number: int) -> bytes:
    """Four bytes; only the low 32 bits count."""
    return _pack_fixed32(number & 0xFFFFFFFF)


def utf8(text: str) -> bytes:
    """Encode text as valid UTF-8; a lone surrogate becomes ``?``.

    A protobuf string must be valid UTF-8, or the server rejects the whole request.
    """
    try:
        return str.encode(text)
    except UnicodeEncodeError:
        return str.encode(text, "utf-8", "replace")


def tag(field: int, wire_type: int) -> bytes:
    """Encode the tag that stands before a value."""
    return varint(field << 3 | wire_type)


def delimited(prefix: bytes, data: bytes) -> bytes:
    """``prefix`` (a tag), the length of ``data``, ``data``."""
    return prefix + varint(len(data)) + data


def signed(number: int) -> int:
    """Read a varint's 64 bits as the two's complement number that int32, int64 and enum mean."""
    return number - (1 << 64) if number > INT64_MAX else number


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Return the number that starts at ``position`` and the position after it.

    Raises ``ValueError`` if it is cut off or longer than ten bytes.
    """
    number = 0
    for index in range(_VARINT_BYTES_MAX):
        if position + index >= len(data):
            raise ValueError("varint is cut off")
        byte = data[position + index]
        number |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return number & MASK64, position + index + 1
    raise ValueError("varint is longer than ten bytes")


def iter_fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """Yield ``(field number, wire type, value)`` for every field of one message, in order.

    The value is an unsigned int for varints and fixed numbers, bytes for length-delimited
    fields.  Raises ``ValueError`` for bytes that are not a message (groups included: proto3 has
    none).
    """
    position, end = 0, len(data)
    while position < end:
        key, position = read_varint(data, position)
        field, wire_type = key >> 3, key & 7
        if not 0 < field <= _FIELD_MAX:
            raise ValueError(f"{field} is not a field number")
        if wire_type == VARINT:
            number, position = read_varint(data, position)
            yield field, wire_type, number
            continue
        if wire_type == LENGTH:
            size, position = read_varint(data, position)
        elif wire_type in {FIXED64, FIXED32}:
            size = 8 if wire_type == FIXED64 else 4
        else:
            raise ValueError(f"field {field} has the unknown wire type {wire_type}")
        if size > end - position:
            raise ValueError(f"field {field} is cut off: {size} bytes, {end - position} there")
        value = data[position : position + size]
        position += size
        yield field, wire_type, value if wire_type == LENGTH else int.from_bytes(value, "little")
