"""Put the shipped index template and data stream into the store, as an operator would."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from kaizen_otel._collector.resources import collector_directory
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

_TIMEOUT_S = 60


def put_all(base_url: str, *, directory: Path | None = None) -> list[str]:
    """Put every index template of ``collector/elasticsearch``; the names.  Raises SetupError."""
    folder = directory or collector_directory() / "elasticsearch"
    found: list[str] = []
    for file in sorted(folder.glob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        if "index_patterns" in content:
            _put(f"{base_url}/_index_template/{file.stem}", content, file)
            found.append(file.stem)
    return found


def _put(url: str, content: object, file: Path) -> None:
    request = urllib.request.Request(  # noqa: S310 - the URL is our own, on loopback
        url,
        data=json.dumps(content).encode(),
        method="PUT",
        headers={"Content-Type": "application/json"},
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        opener.open(request, timeout=_TIMEOUT_S).close()
    except urllib.error.HTTPError as error:
        reason = error.read(2000).decode("utf-8", "replace")
        raise SetupError(f"the store refused {file}: {error.code} {reason}") from error
    except OSError as error:
        raise SetupError(f"the store at {url} did not answer: {error}") from error
