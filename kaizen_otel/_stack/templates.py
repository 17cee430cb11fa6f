"""Put the shipped index template and the data stream into the store, as an operator would."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, cast

from kaizen_otel._collector.resources import collector_directory
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

NAME = "kaizen-otel-logs"
DATA_STREAM = "logs-kaizen.otel-default"
_TIMEOUT_S = 60
_EXISTS = "resource_already_exists_exception"


def put_all(base_url: str, *, directory: Path | None = None) -> None:
    """Make the store at ``base_url`` ready for the Collector's log records.  Idempotent.

    OpenSearch gets its template (``collector/elasticsearch``); Elasticsearch gets its own, after
    the retention policy that it names.  Raises SetupError when the store refuses.
    """
    folder = directory or collector_directory() / "elasticsearch"
    facts = cast("dict[str, Any]", _call("GET", base_url))
    if facts.get("version", {}).get("distribution") != "opensearch":
        folder = folder / "elasticsearch"
        policy = _read(folder / "retention-policy.json")
        _call("PUT", f"{base_url}/_ilm/policy/{NAME}", policy)
    template = _read(folder / "index-template.json")
    _call("PUT", f"{base_url}/_index_template/{NAME}", template)
    _call("PUT", f"{base_url}/_data_stream/{DATA_STREAM}")


def _read(file: Path) -> object:
    return cast("object", json.loads(file.read_text(encoding="utf-8")))


def _call(method: str, url: str, content: object = None) -> object:
    request = urllib.request.Request(  # noqa: S310 - the URL is our own, on loopback
        url,
        data=None if content is None else json.dumps(content).encode(),
        method=method,
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return cast("object", json.load(answer))
    except urllib.error.HTTPError as error:
        reason = error.read(4000).decode("utf-8", "replace")
        if _EXISTS in reason:
            return None
        raise SetupError(f"the store refused {method} {url}: {error.code} {reason}") from error
    except (OSError, ValueError) as error:
        raise SetupError(f"the store at {url} did not answer: {error}") from error
