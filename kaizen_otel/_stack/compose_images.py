"""What an engine has of the images that are asked for, and what it says of itself."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kaizen_otel._stack.images import call_engine
from kaizen_otel.errors import SetupError

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


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineFacts:
    """What an engine says of itself."""

    storage_directory: Path
    """Where it keeps images and volumes, on its own disk."""
    processors: int


def engine_facts(host: str) -> EngineFacts:
    """What the engine at ``host`` says.  Raises SetupError if it does not answer as one."""
    status, answer = call_engine(host, "GET", "/info")
    if status != _HTTP_OK:
        raise SetupError(f"the Docker engine at {host} does not say what it is ({status})")
    found = json.loads(answer)
    return EngineFacts(
        storage_directory=Path(found["DockerRootDir"]), processors=int(found["NCPU"])
    )
