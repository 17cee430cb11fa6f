"""The wire format: what is written can be read, what is malformed raises ``ValueError``."""

from __future__ import annotations

import pytest

from kaizen_otel._otlp.decode import (
    decode_log_record,
    decode_metric,
    decode_resource,
    decode_scope,
    decode_traces_request,
    plain_attributes,
    plain_value,
)
from kaizen_otel._otlp.response import (
    MESSAGE_LENGTH_MAX,
    RETRY_AFTER_MS_MAX,
    parse_partial_success,
    parse_retry_info_ms,
    parse_status_message,
)
from kaizen_otel._otlp.wire import delimited, iter_fields, read_varint, signed, varint

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("number", "data"),
    [
        (0, b"\x00"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (4095, b"\xff\x1f"),
        (4096, b"\x80\x20"),
        ((1 << 64) - 1, b"\xff" * 9 + b"\x01"),
    ],
)
def test_varint_is_written_and_read(number: int, data: bytes) -> None:
    assert varint(number) == data
    assert read_varint(b"?" + data, 1) == (number, 1 + len(data))


def test_signed_reads_twos_complement() -> None:
    assert (signed(5), signed((1 << 64) - 1), signed(1 << 63)) == (5, -1, -(1 << 63))


def test_fields_come_in_order_with_their_wire_types() -> None:
    data = b"\x08\x05\x11" + bytes(7) + b"\x01\x1a\x02hi\x25\x01\x00\x00\x00"
    assert list(iter_fields(data)) == [(1, 0, 5), (2, 1, 1 << 56), (3, 2, b"hi"), (4, 5, 1)]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"\x08", "cut off"),
        (b"\x08" + b"\x80" * 10 + b"\x01", "longer than ten"),
        (b"\x00\x01", "not a field number"),
        (b"\x0b", "wire type 3"),
        (b"\x0a\x05abc", "cut off"),
        (b"\x09\x01", "cut off"),
        (b"\x0d\x01", "cut off"),
        (b"\x80", "cut off"),
    ],
)
def test_malformed_bytes_raise_value_error(data: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        list(iter_fields(data))


def test_unknown_fields_and_wrong_wire_types_are_skipped() -> None:
    assert decode_log_record(b"\xf8\x07\x01\x08\x05\x10\x09") == {"severityNumber": 9}
    assert decode_traces_request(b"\x08\x01") == {}


def test_numbers_may_be_packed_or_not() -> None:
    one, two = b"\x01" + bytes(7), b"\x02" + bytes(7)
    packed = b"\x32\x10" + one + two
    apart = b"\x31" + one + b"\x31" + two
    for point in (packed, apart):
        metric = decode_metric(delimited(b"\x4a", delimited(b"\x0a", point)))
        assert metric == {"histogram": {"dataPoints": [{"bucketCounts": ["1", "2"]}]}}
    with pytest.raises(ValueError, match="packed numbers are cut off"):
        decode_metric(delimited(b"\x4a", delimited(b"\x0a", b"\x32\x09" + one + b"\x01")))


def test_the_last_member_of_a_oneof_counts() -> None:
    body = b"\x0a\x01a\x18\x05"
    assert decode_log_record(delimited(b"\x2a", body)) == {"body": {"intValue": "5"}}


def test_resource_and_scope_are_read_alone() -> None:
    assert decode_resource(b"\x10\x03") == {"droppedAttributesCount": 3}
    assert decode_scope(b"\x0a\x01n") == {"name": "n"}


def test_nesting_without_end_raises_value_error() -> None:
    value = b""
    for _ in range(200):
        value = delimited(b"\x2a", delimited(b"\x0a", value))
    with pytest.raises(ValueError, match="inside each other"):
        decode_log_record(delimited(b"\x2a", value))


def test_text_that_is_not_utf8_raises_value_error() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        decode_scope(b"\x0a\x01\xff")


def test_plain_values_are_python_values() -> None:
    assert plain_value({}) is None
    assert plain_value({"doubleValue": "NaN"}) != plain_value({"doubleValue": "NaN"})
    assert plain_value({"arrayValue": {}}) == []
    assert plain_attributes(None) == {}
    assert plain_attributes([{}, {"key": "k", "value": {"boolValue": True}}]) == {
        "": None,
        "k": True,
    }


def test_partial_success_is_read() -> None:
    assert parse_partial_success(b"") == (0, "")
    assert parse_partial_success(b"\x0a\x00") == (0, "")
    assert parse_partial_success(b"\x0a\x06\x08\x05\x12\x02no") == (5, "no")
    assert parse_partial_success(b"\x10\x01\x0a\x02\x18\x01") == (0, "")


def test_partial_success_with_a_negative_count_is_malformed() -> None:
    with pytest.raises(ValueError, match="-1 items"):
        parse_partial_success(delimited(b"\x0a", b"\x08" + varint((1 << 64) - 1)))


def test_server_messages_are_bounded_and_always_text() -> None:
    _, message = parse_partial_success(delimited(b"\x0a", delimited(b"\x12", b"\xff" * 100_000)))
    assert message == "\ufffd" * MESSAGE_LENGTH_MAX
    assert parse_status_message(b"\x08\x05\x12\x03why") == "why"
    assert parse_status_message(b"") == ""


def retry_status(
    duration: bytes, url: bytes = b"type.googleapis.com/google.rpc.RetryInfo"
) -> bytes:
    info = delimited(b"\x0a", duration)
    return b"\x08\x0e" + delimited(b"\x1a", delimited(b"\x0a", url) + delimited(b"\x12", info))


@pytest.mark.parametrize(
    ("status", "delay_ms"),
    [
        (retry_status(b"\x08\x02" + b"\x10" + varint(500_000_000)), 2500),
        (retry_status(b""), 0),
        (retry_status(b"\x08" + varint((1 << 64) - 3)), 0),
        (retry_status(b"\x08" + varint(1 << 62)), RETRY_AFTER_MS_MAX),
        (retry_status(b"\x08\x02", b"type.googleapis.com/google.rpc.ErrorInfo"), None),
        (b"\x1a\x02\x08\x01", None),
        (retry_status(b"\x18\x07"), 0),
        (retry_status(b"").replace(b"\x12\x02\x0a\x00", b"\x12\x02\x08\x00"), 0),
        (b"", None),
    ],
)
def test_retry_info_is_found_and_bounded(status: bytes, delay_ms: int | None) -> None:
    assert parse_retry_info_ms(status) == delay_ms
