"""Ask Jaeger, Prometheus and Elasticsearch what arrived there; for tests and scripts.

Plain HTTP by the standard library, each call bounded by a timeout.  Arrival takes a moment, so
pair the questions with `wait_until`.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, TypeVar, cast

from kaizen_otel._edges import SystemClock
from kaizen_otel.errors import KaizenOtelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kaizen_otel._edges import Clock

JAEGER_URL = "http://localhost:16686"
PROMETHEUS_URL = "http://localhost:9090"
ELASTICSEARCH_URL = "http://localhost:9200"
LOGS_INDEX = "logs-*"
TIMEOUT_S = 10.0
_POLL_NS = 100_000_000
_NOT_FOUND = 404
_BUSY = {502, 503, 504}

T = TypeVar("T")


class BackendError(KaizenOtelError):
    """A backend refused a question; the text holds its answer.  Correct the question."""


class BackendBusyError(BackendError, OSError):
    """A backend cannot answer now (HTTP 502, 503 or 504), as while it starts.  Ask again."""


def is_jaeger_available(url: str = JAEGER_URL, *, timeout_s: float = 2.0) -> bool:
    """Whether a Jaeger answers queries at ``url`` now.  Never raises for an absent one."""
    try:
        answer = _get(f"{url}/api/services", timeout_s=timeout_s)
    except (OSError, BackendError, ValueError):
        return False
    return isinstance(answer, dict) and "data" in answer


def query_jaeger_traces(
    service: str,
    *,
    url: str = JAEGER_URL,
    trace_id: str | None = None,
    limit: int = 20,
    timeout_s: float = TIMEOUT_S,
) -> list[dict[str, Any]]:
    """The newest traces in which ``service`` has a span, as Jaeger's API gives them.

    Each has ``traceID``, ``spans`` (``spanID``, ``operationName``, ``references``, ``startTime``
    and ``duration`` in microseconds, ``tags``, ``processID``) and ``processes``.  With ``trace_id``
    (hexadecimal) it is that one trace, if ``service`` takes part in it.  Empty when nothing is
    found.  Raises OSError when Jaeger cannot be reached, BackendError when it refuses.
    """
    if trace_id is not None:
        try:
            answer = _get(f"{url}/api/traces/{urllib.parse.quote(trace_id)}", timeout_s=timeout_s)
        except _NotFoundError:
            return []
        return [trace for trace in _data(answer) if service in _services(trace)]
    query = urllib.parse.urlencode({"service": service, "limit": limit})
    return _data(_get(f"{url}/api/traces?{query}", timeout_s=timeout_s))


def query_prometheus(
    promql: str,
    *,
    url: str = PROMETHEUS_URL,
    time_s: float | None = None,
    timeout_s: float = TIMEOUT_S,
) -> list[dict[str, Any]]:
    """The series of an instant query, each with ``metric`` (its labels) and ``value``.

    ``value`` is the pair of Unix time in seconds and the number as text; ``time_s`` is the instant
    that is asked about, if not now.  Raises OSError when Prometheus cannot be reached,
    BackendError for an expression that it rejects.
    """
    asked = {"query": promql} if time_s is None else {"query": promql, "time": f"{time_s:.3f}"}
    query = urllib.parse.urlencode(asked)
    answer = _get(f"{url}/api/v1/query?{query}", timeout_s=timeout_s)
    data = cast("dict[str, Any]", answer)["data"]
    if data["resultType"] == "scalar":
        return [{"metric": {}, "value": data["result"]}]
    return cast("list[dict[str, Any]]", data["result"])


def search_logs(
    query: str | None = None,
    *,
    trace_id: str | None = None,
    url: str = ELASTICSEARCH_URL,
    index: str = LOGS_INDEX,
    limit: int = 100,
    timeout_s: float = TIMEOUT_S,
) -> list[dict[str, Any]]:
    """The log documents that match, newest first, as they were stored.

    ``query`` is a query string (``severity_text:ERROR AND plans``); with ``trace_id``
    (hexadecimal) only records of that trace.  Empty when the index does not exist yet.  Raises
    OSError when the store cannot be reached, BackendError when it refuses.
    """
    clauses: list[dict[str, Any]] = []
    if query:
        clauses.append({"query_string": {"query": query}})
    if trace_id:
        # A text field keeps an identifier as one lower-case word, so this serves both mappings.
        clauses.append({"multi_match": {"query": trace_id, "fields": ["trace_id", "trace.id"]}})
    body: dict[str, Any] = {
        "size": limit,
        "query": {"bool": {"must": clauses}} if clauses else {"match_all": {}},
        "sort": [{"@timestamp": {"order": "desc", "unmapped_type": "date"}}],
    }
    try:
        answer = _get(
            f"{url}/{urllib.parse.quote(index, safe='*,-')}/_search?ignore_unavailable=true",
            body=json.dumps(body).encode(),
            timeout_s=timeout_s,
        )
    except _NotFoundError:
        return []
    hits = cast("dict[str, Any]", answer)["hits"]["hits"]
    return [hit["_source"] for hit in hits]


def wait_until(fn: Callable[[], T], deadline_s: float, *, clock: Clock | None = None) -> T:
    """Call ``fn`` until its value is true, and return that value.

    An OSError of ``fn`` counts as "not yet" (nobody listens there yet, or it still starts).
    Raises TimeoutError with the last value or error once ``deadline_s`` seconds are over; ``fn``
    is called at least once.
    """
    clock = clock or SystemClock()
    deadline_ns = clock.monotonic_ns() + int(deadline_s * 1e9)
    never = threading.Event()
    last: object
    while True:
        try:
            value = fn()
        except OSError as error:
            last = error
        else:
            if value:
                return value
            last = value
        if clock.monotonic_ns() >= deadline_ns:
            raise TimeoutError(f"not within {deadline_s:g} s; the last answer was {last!r:.500}")
        clock.wait(never, _POLL_NS)


class _NotFoundError(BackendError):
    """The backend has nothing under that name."""


def _data(answer: object) -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", cast("dict[str, Any]", answer)["data"] or [])


def _services(trace: Mapping[str, Any]) -> set[str]:
    return {str(process["serviceName"]) for process in trace["processes"].values()}


def _get(url: str, *, timeout_s: float, body: bytes | None = None) -> object:
    """GET (POST with a body) and parse the JSON answer.  A loopback address asks no proxy."""
    host = urllib.parse.urlsplit(url).hostname or ""
    local = host in {"localhost", "::1"} or host.startswith("127.")
    opener = (
        urllib.request.build_opener(urllib.request.ProxyHandler({}))
        if local
        else urllib.request.build_opener()
    )
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"{url!r}: give an http:// or https:// address")
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "application/json"})  # noqa: S310 - scheme checked above
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return cast("object", json.load(answer))
    except urllib.error.HTTPError as error:
        reason = error.read(2000).decode("utf-8", "replace")
        raise _error_class(error.code)(f"{url} answered {error.code}: {reason}") from error


def _error_class(code: int) -> type[BackendError]:
    if code == _NOT_FOUND:
        return _NotFoundError
    return BackendBusyError if code in _BUSY else BackendError
