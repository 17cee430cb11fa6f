"""Containers or processes: what was asked for, what runs already, else what can be had here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol

from kaizen_otel._stack.build import say
from kaizen_otel._stack.compose import ComposeStack
from kaizen_otel._stack.compose_program import find_compose
from kaizen_otel._stack.native import NativeStack
from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kaizen_otel._stack.native import ComponentStatus
    from kaizen_otel._stack.ports import StackPorts

Engine = Literal["auto", "compose", "native"]


class Stack(Protocol):
    """What both kinds of a stack can do."""

    @property
    def title(self) -> str:
        """What it runs as, for people."""
        ...

    @property
    def components(self) -> tuple[str, ...]:
        """All of its parts."""
        ...

    @property
    def urls(self) -> dict[str, str]:
        """Where what runs is reached, by purpose."""
        ...

    @property
    def audit_directory(self) -> Path:
        """Where its Collector writes the trail."""
        ...

    def up(
        self, components: Sequence[str], *, deadline_s: float | None = None, any_size: bool = False
    ) -> None:
        """Start components and return when they answer."""
        ...

    def down(self, *, with_volumes: bool = False) -> list[str]:
        """End everything; the names of what ran."""
        ...

    def status(self) -> list[ComponentStatus]:
        """What each component does now."""
        ...

    def log(self, component: str, lines: int = 40) -> str:
        """The last lines that a component printed."""
        ...


def choose(
    engine: Engine,
    *,
    ports: StackPorts,
    secrets: Path | None = None,
    files: Sequence[Path] = (),
    progress: Callable[[str], None] = say,
) -> Stack:
    """The stack to start.  Raises ConfigError for settings that only the other kind has."""
    native = NativeStack(ports=ports, progress=progress)
    compose = ComposeStack(ports=ports, secrets=secrets, files=files, progress=progress)
    needs_compose = secrets is not None or bool(files)
    if engine == "native" and needs_compose:
        raise ConfigError("--secrets and --file are for containers: leave them out, or --native")
    if engine == "compose" or needs_compose or (engine == "auto" and compose.is_known):
        return compose
    if engine == "auto" and not native.is_known:
        try:
            find_compose()
        except SetupError as error:
            why = str(error).partition(": ")[0]
            progress(f"stack: processes of this machine, because containers cannot be had: {why}")
        else:
            return compose
    return native


def find_running(engine: Engine, *, progress: Callable[[str], None] = say) -> list[Stack]:
    """The stacks that were started and not ended; without any the one that would have been."""
    compose, native = ComposeStack(progress=progress), NativeStack(progress=progress)
    if engine != "auto":
        return [compose if engine == "compose" else native]
    found: list[Stack] = []
    if compose.is_known:
        found.append(compose)
    if native.is_known or not found:
        found.append(native)
    return found
