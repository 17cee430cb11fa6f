"""Which stack of containers was started: one JSON file, for whoever ends it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from kaizen_otel.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProject:
    """One Compose project: who runs it, where, from which files, with which variables."""

    command: tuple[str, ...]
    host: str
    name: str
    files: tuple[str, ...]
    variables: Mapping[str, str]
    components: tuple[str, ...] = ()
    """What was started of it."""

    @property
    def settings(self) -> tuple[object, ...]:
        """What must be the same for it to be the same stack; more of its parts may be started."""
        return (self.host, self.name, self.files, dict(self.variables))

    def arguments(self, *more: str) -> list[str]:
        """A command line of Compose for this project."""
        files = [word for file in self.files for word in ("--file", file)]
        return [*self.command, "--project-name", self.name, *files, *more]


def read(path: Path) -> RunningProject | None:
    """What was noted; None if nothing was.  Raises SetupError if the file is not ours."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        parsed = cast("dict[str, Any]", json.loads(text))
        if parsed["version"] != VERSION:
            raise SetupError(
                f"{path} was written by another version of kaizen-otel: use that one to end its "
                "stack, or end it with `docker compose down` and remove the file"
            )
        return RunningProject(
            command=tuple(parsed["command"]),
            host=parsed["host"],
            name=parsed["name"],
            files=tuple(parsed["files"]),
            variables=parsed["variables"],
            components=tuple(parsed["components"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(
            f"{path} cannot be read ({error!r}), so what runs is not known: end the stack with "
            "`docker compose down` and remove the file"
        ) from error


def write(path: Path, project: RunningProject) -> None:
    """Replace the file in one step."""
    content = {
        "version": VERSION,
        "command": project.command,
        "host": project.host,
        "name": project.name,
        "files": project.files,
        "variables": dict(project.variables),
        "components": project.components,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(path)


def remove(path: Path) -> None:
    """Forget it."""
    path.unlink(missing_ok=True)
