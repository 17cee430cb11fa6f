"""What an HTTP answer means: status, headers and body in, an outcome out.  No IO.

Source: OTLP specification, "OTLP/HTTP Response": 2xx is success, 429, 502, 503 and 504 may be
retried, every other 4xx and 5xx must not be.
"""

from __future__ import annotations

import json
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from kaizen_otel._export import Delivered, Rejected, Retryable
from kaizen_otel._otlp.response import (
    MESSAGE_LENGTH_MAX,
    RETRY_AFTER_MS_MAX,
    parse_partial_success,
    parse_status_code,
    parse_status_message,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kaizen_otel._export import Outcome

_TEXT_LENGTH_MAX: Final = 200
_INTERNAL: Final = 13  # google.rpc.Code
_RETRYABLE: Final = {429: "throttled", 502: "unavailable", 503: "unavailable", 504: "unavailable"}
_REJECTED: Final = {
    401: ("unauthenticated", "it wants other credentials: {credentials}"),
    403: ("forbidden", "these credentials may not send: {credentials}"),
    404: ("not_found", "correct the path in {setting}, for example http://localhost:4318"),
    405: ("not_found", "correct the path in {setting}, for example http://localhost:4318"),
    413: ("too_large", "lower OTEL_BSP_MAX_EXPORT_BATCH_SIZE or raise the server's limit"),
    415: (
        "unsupported",
        "it takes no protobuf or no gzip; set OTEL_EXPORTER_OTLP_COMPRESSION=none or {setting}",
    ),
    426: ("wrong_protocol", "that port speaks another protocol; set OTEL_EXPORTER_OTLP_PROTOCOL"),
    505: ("wrong_protocol", "that port speaks another protocol; set OTEL_EXPORTER_OTLP_PROTOCOL"),
}


class Place(NamedTuple):
    """Where requests go, for messages: the whole URL, its origin, and the setting it is from.

    ``credentials`` says what to do when the server does not know us; ``certificate`` is the setting
    of its authority, ``client`` those of our own certificate.
    """

    url: str
    origin: str
    setting: str
    credentials: str
    certificate: str
    client: str


class Answer(NamedTuple):
    """One HTTP answer; header names are in lower case.

    ``is_whole`` is False if only the end of the connection marked the end of the body, so that a
    part of it may be missing.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True


def classify(place: Place, answer: Answer, *, time_ns: int) -> Outcome:
    """Return what the answer means.  ``time_ns`` is now, for a Retry-After that is a date."""
    status = answer.status
    said = _text(answer)
    match status // 100:
        case 2:
            return _success(place, answer)
        case _ if status in _RETRYABLE:
            wish_ms = retry_after_ms(answer.headers.get("retry-after", ""), time_ns=time_ns)
            return Retryable(
                reason=_RETRYABLE[status],
                message=f"{place.url} answered {status}{said}",
                retry_after_ms=wish_ms,
            )
        case 3:
            target = answer.headers.get("location", "nowhere")[:_TEXT_LENGTH_MAX]
            said = f" and points to {target}"
            reason, advice = "redirect", "redirects are not followed, set {setting} to the receiver"
        case _ if "HTTPS server" in said:
            reason, advice = "wrong_protocol", "use https:// in {setting}"
        case _ if status == HTTPStatus.BAD_REQUEST and "too large" in said:
            reason, advice = _REJECTED[413]
        case _ if status in _REJECTED:
            reason, advice = _REJECTED[status]
        case 4 if status == HTTPStatus.BAD_REQUEST:
            reason, advice = "bad_request", "is {setting} an OTLP receiver?"
        case 4:
            reason, advice = "refused", "is {setting} an OTLP receiver?"
        case 5 if _says_internal(answer):
            reason, advice = "internal", "look into the server's own log"
        case _:
            reason, advice = "server_error", "look into the server's own log"
    advice = advice.format(setting=place.setting, credentials=place.credentials)
    return Rejected(reason=reason, message=f"{place.url} answered {status}{said}: {advice}")


def _success(place: Place, answer: Answer) -> Outcome:
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind.startswith("text/") and kind != "text/html" and answer.body:
        return Delivered(is_otlp=False, message=f"the body of the answer is not OTLP ({kind})")
    if kind == "text/html":
        return Rejected(
            reason="wrong_protocol",
            message=f"{place.url} answered {answer.status} with a web page, so it is no OTLP "
            f"receiver: correct {place.setting}",
        )
    try:
        if kind == "application/json":
            rejected_count, message = _json_partial_success(answer.body)
        else:
            rejected_count, message = parse_partial_success(answer.body)
    except ValueError as error:
        return Delivered(is_otlp=False, message=f"the body of the answer is not OTLP ({error})")
    return Delivered(rejected_count=rejected_count, message=message, is_otlp=answer.is_whole)


def _json_partial_success(body: bytes) -> tuple[int, str]:
    """Read an ``Export*ServiceResponse`` in JSON, which some backends send in any case."""
    response: object = json.loads(body or b"{}")
    partial: object = {}
    if isinstance(response, dict):
        partial = cast("dict[str, object]", response).get("partialSuccess", {})
    if not isinstance(partial, dict):
        raise ValueError("partialSuccess is not an object")  # noqa: TRY004 - it is data
    fields = cast("dict[str, object]", partial)
    counts = [value for key, value in fields.items() if key.startswith("rejected")]
    count = int(str(counts[0])) if counts else 0
    if count < 0:
        raise ValueError(f"the server says that {count} items were rejected")
    return count, str(fields.get("errorMessage", ""))[:MESSAGE_LENGTH_MAX]


def retry_after_ms(value: str, *, time_ns: int) -> int | None:
    """Read ``Retry-After``: seconds or a date (RFC 9110, section 10.2.3).

    None if it is missing or unreadable; never more than a day.
    """
    value = value.strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return min(int(value[:10]) * 1000, RETRY_AFTER_MS_MAX)
    try:
        moment = parsedate_to_datetime(value)
        delay_ms = round(moment.timestamp() * 1000) - time_ns // 1_000_000
    except (ValueError, OverflowError):
        return None
    return min(max(delay_ms, 0), RETRY_AFTER_MS_MAX)


def _says_internal(answer: Answer) -> bool:
    """Whether the body is a ``google.rpc.Status`` that says INTERNAL.

    The Collector answers so if a part of its pipeline calls the request's fault permanent; what
    may pass is 503.
    """
    if "protobuf" not in answer.headers.get("content-type", ""):
        return False
    try:
        return parse_status_code(answer.body) == _INTERNAL
    except ValueError:
        return False


def _text(answer: Answer) -> str:
    """Return what the server says about its refusal, as " (...)", or nothing."""
    text = ""
    if "protobuf" in answer.headers.get("content-type", ""):
        try:
            text = parse_status_message(answer.body)
        except ValueError:
            text = ""
    else:
        text = answer.body[: 4 * _TEXT_LENGTH_MAX].decode("utf-8", "replace")
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return f" ({text[:_TEXT_LENGTH_MAX]})" if text else ""
