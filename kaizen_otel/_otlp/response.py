"""What servers answer: partial success, and the error details of ``google.rpc.Status``.

Source: ``opentelemetry/proto/collector/*/v1/*_service.proto`` (the three responses share their
field numbers), ``google/rpc/status.proto`` and ``google/rpc/error_details.proto``.
"""

from __future__ import annotations

from typing import Final

from kaizen_otel._otlp.wire import INT64_MAX, LENGTH, VARINT, iter_fields, signed

MESSAGE_LENGTH_MAX: Final = 1024
RETRY_AFTER_MS_MAX: Final = 24 * 3600 * 1000

_RETRY_INFO: Final = b"google.rpc.RetryInfo"


def parse_partial_success(body: bytes) -> tuple[int, str]:
    """Read an ``Export*ServiceResponse``: how many items were rejected, and why.

    ``(0, "")`` is full success; ``(0, text)`` a warning of the server.  Raises ``ValueError`` if
    the body is not such a message or the count is negative.
    """
    rejected_count, message = 0, ""
    for field, wire_type, value in iter_fields(body):
        if field == 1 and wire_type == LENGTH and isinstance(value, bytes):
            rejected_count, message = _partial_success(value)
    return rejected_count, message


def _partial_success(data: bytes) -> tuple[int, str]:
    rejected_count, message = 0, ""
    for field, wire_type, value in iter_fields(data):
        if field == 1 and wire_type == VARINT and isinstance(value, int):
            rejected_count = value
        elif field == 2 and isinstance(value, bytes):
            message = _text(value)
    if rejected_count > INT64_MAX:
        raise ValueError(f"the server says that {signed(rejected_count)} items were rejected")
    return rejected_count, message


def parse_status_message(body: bytes) -> str:
    """Return the developer-facing text of a ``google.rpc.Status``; empty if there is none.

    Raises ``ValueError`` if the body is not a message.
    """
    message = ""
    for field, _, value in iter_fields(body):
        if field == 2 and isinstance(value, bytes):
            message = _text(value)
    return message


def parse_status_code(body: bytes) -> int:
    """Return the ``google.rpc.Code`` of a ``google.rpc.Status``; 0 (OK) if there is none.

    Raises ``ValueError`` if the body is not a message.
    """
    code = 0
    for field, wire_type, value in iter_fields(body):
        if field == 1 and wire_type == VARINT and isinstance(value, int):
            code = value
    return code


def parse_retry_info_ms(status: bytes) -> int | None:
    """Return the delay of the RetryInfo in a ``google.rpc.Status``, None if it holds none.

    Never less than 0 and never more than a day.  Raises ``ValueError`` for malformed bytes.
    """
    delay_ms = None
    for field, _, detail in iter_fields(status):
        if field == 3 and isinstance(detail, bytes):
            found = _retry_info_ms(detail)
            delay_ms = delay_ms if found is None else found
    return delay_ms


def _retry_info_ms(detail: bytes) -> int | None:
    fields = {field: value for field, _, value in iter_fields(detail)}
    url, data = fields.get(1), fields.get(2, b"")
    if not (isinstance(url, bytes) and isinstance(data, bytes)):
        return None
    if url.rpartition(b"/")[2] != _RETRY_INFO:
        return None
    seconds = nanoseconds = 0
    for field, _, duration in iter_fields(data):
        if field == 1 and isinstance(duration, bytes):
            for number, _, value in iter_fields(duration):
                if number == 1 and isinstance(value, int):
                    seconds = signed(value)
                elif number == 2 and isinstance(value, int):
                    nanoseconds = signed(value)
    return min(max(seconds * 1000 + nanoseconds // 1_000_000, 0), RETRY_AFTER_MS_MAX)


def _text(data: bytes) -> str:
    return data[: 4 * MESSAGE_LENGTH_MAX].decode("utf-8", "replace")[:MESSAGE_LENGTH_MAX]
