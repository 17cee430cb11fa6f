"""Golden bytes, written by hand from the .proto files, and the edges of the encoders."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from types import SimpleNamespace

import pytest

from kaizen_otel._otlp import common
from kaizen_otel._otlp.common import (
    encode_any_value,
    encode_attributes,
    encode_request,
    encode_resource,
    encode_scope,
    safe_text,
)
from kaizen_otel._otlp.decode import decode_log_record, decode_span, plain_attributes, plain_value
from kaizen_otel._otlp.logs import encode_log_record
from kaizen_otel._otlp.metrics import (
    encode_gauge,
    encode_histogram,
    encode_histogram_point,
    encode_number_point,
    encode_sum,
)
from kaizen_otel._otlp.traces import encode_span

pytestmark = pytest.mark.unit

TRACE_ID = bytes(range(16))
SPAN_ID = bytes(range(8))


def test_span_has_the_bytes_of_the_specification() -> None:
    encoded = encode_span(
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        parent_span_id=b"parent_1",
        name="run",
        kind=3,
        start_ns=1,
        end_ns=258,
        attributes={"k": "v", "n": 300},
        events=[(5, "e", {}, 0)],
        links=[(TRACE_ID, SPAN_ID, "", {"b": True}, 0, 0)],
        status_code=2,
        status_message="no",
        trace_state="a=b",
        dropped_events_count=1,
    )
    assert encoded == (
        b"\x0a\x10" + TRACE_ID + b"\x12\x08" + SPAN_ID + b"\x22\x08parent_1"
        b"\x2a\x03run\x30\x03"
        b"\x39\x01\x00\x00\x00\x00\x00\x00\x00\x41\x02\x01\x00\x00\x00\x00\x00\x00"
        b"\x4a\x08\x0a\x01k\x12\x03\x0a\x01v"
        b"\x4a\x08\x0a\x01n\x12\x03\x18\xac\x02"
        b"\x5a\x0c\x09\x05\x00\x00\x00\x00\x00\x00\x00\x12\x01e"
        b"\x6a\x25\x0a\x10"
        + TRACE_ID
        + b"\x12\x08"
        + SPAN_ID
        + b"\x22\x07\x0a\x01b\x12\x02\x10\x01"
        b"\x7a\x06\x12\x02no\x18\x02"
        b"\x1a\x03a=b\x60\x01\x85\x01\x01\x01\x00\x00"
    )


def test_log_record_has_the_bytes_of_the_specification() -> None:
    encoded = encode_log_record(
        time_ns=1,
        observed_ns=2,
        severity_number=9,
        severity_text="INFO",
        body="hi",
        attributes={"k": None},
        trace_id=TRACE_ID,
        span_id=SPAN_ID,
        flags=1,
        event_name="ev",
    )
    assert (
        encoded
        == (
            b"\x09\x01\x00\x00\x00\x00\x00\x00\x00\x10\x09\x1a\x04INFO\x2a\x04\x0a\x02hi"
            b"\x32\x05\x0a\x01k\x12\x00\x45\x01\x00\x00\x00\x4a\x10"
            + TRACE_ID
            + b"\x52\x08"
            + SPAN_ID
        )
        + b"\x59\x02\x00\x00\x00\x00\x00\x00\x00\x62\x02ev"
    )


def test_an_empty_log_record_has_no_bytes() -> None:
    assert encode_log_record(time_ns=0, observed_ns=0) == b""


def test_metrics_have_the_bytes_of_the_specification() -> None:
    point = encode_number_point(attributes={"k": "v"}, start_ns=1, time_ns=2, value=-1)
    assert point == (
        b"\x11\x01\x00\x00\x00\x00\x00\x00\x00\x19\x02\x00\x00\x00\x00\x00\x00\x00"
        b"\x31\xff\xff\xff\xff\xff\xff\xff\xff\x3a\x08\x0a\x01k\x12\x03\x0a\x01v"
    )
    assert encode_sum("c", unit="1", description="d", points=[b"P"], monotonic=True) == (
        b"\x0a\x01c\x12\x01d\x1a\x011\x3a\x07\x0a\x01P\x10\x02\x18\x01"
    )
    assert encode_gauge("g", points=[b"P"]) == b"\x0a\x01g\x2a\x03\x0a\x01P"
    assert encode_histogram("h", points=[b"P"], temporality=1) == (
        b"\x0a\x01h\x4a\x05\x0a\x01P\x10\x01"
    )
    histogram = encode_histogram_point(
        attributes={}, start_ns=0, time_ns=0, count=1, total=0.5, bucket_counts=[1, 0],
        bounds=[2.0], minimum=0.5, maximum=0.5,
    )  # fmt: skip
    half = b"\x00\x00\x00\x00\x00\x00\xe0\x3f"
    assert histogram == (
        b"\x21\x01\x00\x00\x00\x00\x00\x00\x00\x29" + half + b"\x32\x10\x01" + bytes(15)
        + b"\x3a\x08\x00\x00\x00\x00\x00\x00\x00\x40\x59" + half + b"\x61" + half
    )  # fmt: skip


def test_a_number_beyond_every_range_becomes_infinity() -> None:
    point = encode_number_point(attributes={}, start_ns=0, time_ns=0, value=-(10**400))
    assert point == b"\x21\x00\x00\x00\x00\x00\x00\xf0\xff"
    point = encode_number_point(attributes={}, start_ns=0, time_ns=0, value=10**400)
    assert point == b"\x21\x00\x00\x00\x00\x00\x00\xf0\x7f"


def test_times_outside_uint64_become_the_nearest_one() -> None:
    record = decode_log_record(encode_log_record(time_ns=-5, observed_ns=1 << 70))
    assert record == {"timeUnixNano": "0", "observedTimeUnixNano": str((1 << 64) - 1)}


def test_span_times_outside_uint64_become_the_nearest_one() -> None:
    span = decode_span(
        encode_span(trace_id=TRACE_ID, span_id=SPAN_ID, name="", start_ns=-1, end_ns=1 << 64)
    )
    assert span["startTimeUnixNano"] == "0"
    assert span["endTimeUnixNano"] == str((1 << 64) - 1)


def test_request_puts_scopes_of_one_resource_under_it_and_leaves_empty_groups_out() -> None:
    encoded = encode_request(
        [(b"R", b"S", "u", [b"1", b"22"]), (b"R", b"", "", [b"3"]), (b"Q", b"S", "", [])]
    )
    assert encoded == (
        b"\x0a\x17\x0a\x01R\x12\x0d\x0a\x01S\x12\x011\x12\x0222\x1a\x01u\x12\x03\x12\x013"
    )
    assert encode_request([]) == b""


def test_scope_without_anything_is_empty() -> None:
    assert encode_scope("") == b""
    assert (
        encode_scope("n", "1", {"k": 1}) == b"\x0a\x01n\x12\x011\x1a\x07\x0a\x01k\x12\x02\x18\x01"
    )
    assert encode_resource({"": ""}) == b"\x0a\x04\x12\x02\x0a\x00"


class Colour(StrEnum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class LyingText(str):
    __slots__ = ()

    def encode(self, *_: object) -> bytes:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


class HostileKey:
    def __str__(self) -> str:
        raise RuntimeError


class HostileClass:
    # isinstance() asks for it.
    @property  # type: ignore[misc]
    def __class__(self) -> type:
        raise RuntimeError

    def __str__(self) -> str:
        return "text"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Colour.RED, "red"),
        (Level.HIGH, 3),
        (True, True),
        (bytearray(b"ab"), "YWI="),
        (memoryview(b"ab"), "YWI="),
        (range(2), [0, 1]),
        ((None, True, 1.5), [None, True, 1.5]),
        ({1: "one", None: 2}, {"1": "one", "None": 2}),
        (SimpleNamespace(a=1), "namespace(a=1)"),
        (1 << 63, str(1 << 63)),
        (-(1 << 63), -(1 << 63)),
        (HostileKey(), "<HostileKey without text>"),
        ({HostileKey(): 1}, {"<HostileKey without text>": 1}),
        ([HostileKey(), 1], ["<HostileKey without text>", 1]),
        ("\ud800", "?"),
    ],
)
def test_value_becomes(value: object, expected: object) -> None:
    assert round_trip(value) == expected


def test_the_methods_of_a_str_subclass_are_not_called() -> None:
    assert round_trip(LyingText("x")) == "x"


def test_a_value_that_lies_about_its_class_becomes_its_text() -> None:
    assert round_trip(HostileClass()) == "text"


def round_trip(value: object) -> object:
    record = decode_log_record(encode_log_record(time_ns=0, observed_ns=0, body=value))
    body = record["body"]
    assert isinstance(body, dict)
    return plain_value(body)


def test_an_int_with_too_many_digits_for_str_becomes_hexadecimal() -> None:
    assert round_trip(1 << 40_000) == hex(1 << 40_000)


def test_keys_that_are_no_text_become_text() -> None:
    record = decode_log_record(
        encode_log_record(
            time_ns=0, observed_ns=0,
            attributes={7: 1, HostileKey(): 2, LyingText("k"): 3},  # type: ignore[dict-item]
        )
    )  # fmt: skip
    found = plain_attributes(record["attributes"])
    assert found == {"7": 1, "<HostileKey without text>": 2, "<LyingText without text>": 3}


def test_a_value_that_contains_itself_ends() -> None:
    loop: list[object] = []
    loop.append(loop)
    deep: object = round_trip(loop)
    levels = 0
    while isinstance(deep, list):
        deep, levels = deep[0], levels + 1
    assert (deep, levels) == (common.TOO_DEEP, common.DEPTH_MAX)
    mapping: dict[str, object] = {}
    mapping["self"] = mapping
    assert common.TOO_DEEP.encode() in encode_any_value(mapping)


def test_a_value_that_doubles_at_each_level_stays_bounded() -> None:
    bomb: object = "x"
    for _ in range(40):
        bomb = [bomb, bomb] if isinstance(bomb, str) or str(type(bomb)) else bomb
    encoded = encode_any_value(bomb)
    assert len(encoded) < 10 * common.NODES_MAX * 4
    wide = encode_any_value({str(n): n for n in range(common.NODES_MAX + 10)})
    assert common.TOO_MANY.encode() in wide
    endless = encode_any_value(range(10**12))
    assert common.TOO_MANY.encode() in endless


def test_caches_do_not_grow_beyond_their_bound() -> None:
    field = common.AttributeField(9)
    parts: list[bytes] = []
    for number in range(10_000):
        common.extend_attributes(parts, field, {f"k{number}": f"v{number}", "one": f"v{number}"})
        common.extend_attributes(parts, field, {f"k{number}": number, f"d{number}": 0.5})
        remembered = sum(map(len, field.values.values())) + len(field.values)
        assert remembered <= 4096
        assert max(len(field.integers), len(field.doubles)) <= 1024
    names = common.TextCache(5)
    for number in range(10_000):
        assert names[f"n{number}"].endswith(f"n{number}".encode())
    assert len(names) <= 4096
    long = "x" * 65
    assert names[long].endswith(long.encode())
    assert long not in names


def test_attributes_may_stand_under_a_two_byte_tag() -> None:
    assert encode_attributes(16, {"a": 1}) == b"\x82\x01\x07\x0a\x01a\x12\x02\x18\x01"


def test_safe_text_returns_an_exact_str() -> None:
    class Returns:
        def __str__(self) -> str:
            return LyingText("y")

    assert type(safe_text(Returns())) is str
