"""What an engine has of the images that are asked for, and where it keeps them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._stack.images import call_engine

if TYPE_CHECKING:
    from collections.abc import Iterable

_HTTP_OK = 200


def missing(images: Iterable[str], *, host: str) -> list[str]:
    """Those that the engine at ``host`` does not have, each once.

    Raises SetupError if it does not answer.
    """
    return [
        image
        for image in dict.fromkeys(images)
        if call_engine(host, "GET", f"/images/{image}/json")[0] != _HTTP_OK
    ]


def storage_directory(host: str) -> Path:
    """Where the engine keeps images and volumes, as it sees its own disk."""
    status, answer = call_engine(host, "GET", "/info")
    return Path(json.loads(answer)["DockerRootDir"]) if status == _HTTP_OK else Path("/")
