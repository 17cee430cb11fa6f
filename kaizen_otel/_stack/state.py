"""What runs: one JSON file that survives the program that started it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from kaizen_otel._stack.processes import ProcessIdentity
from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """One started component."""

    component: str
    identity: ProcessIdentity
    ports: Mapping[str, int]
    ready_url: str
    url: str
    note: str
    log: str


def read(path: Path) -> dict[str, Running]:
    """The components by name; empty if there is no file.  Raises SetupError if it is not ours."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    try:
        parsed = cast("dict[str, Any]", json.loads(text))
        if parsed["version"] != VERSION:
            raise SetupError(
                f"{path} was written by another version of kaizen-otel: use that one to end its "
                "stack, or end the processes that it lists and remove the file"
            )
        return {
            name: Running(
                component=name,
                identity=ProcessIdentity(pid=item["pid"], started=item["started"]),
                ports=item["ports"],
                ready_url=item["ready_url"],
                url=item["url"],
                note=item["note"],
                log=item["log"],
            )
            for name, item in parsed["components"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise SetupError(
            f"{path} cannot be read ({error!r}), so what runs is not known: end the stack's "
            "processes by hand and remove the file"
        ) from error


def write(path: Path, components: Mapping[str, Running]) -> None:
    """Replace the file in one step; without components it is removed."""
    if not components:
        path.unlink(missing_ok=True)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "version": VERSION,
        "components": {
            name: {
                "pid": item.identity.pid,
                "started": item.identity.started,
                "ports": dict(item.ports),
                "ready_url": item.ready_url,
                "url": item.url,
                "note": item.note,
                "log": item.log,
            }
            for name, item in components.items()
        },
    }
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(path)
