"""The local stack as native processes: start, wait for health, say what runs, end."""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol, Self

from kaizen_otel._collector.resources import state_directory
from kaizen_otel._collector.run import log_tail
from kaizen_otel._edges import SystemClock
from kaizen_otel._stack import gateway, jaeger, opensearch, prometheus, room, state, templates
from kaizen_otel._stack.build import locked, say
from kaizen_otel._stack.ports import LOOPBACK, StackPorts, refuse_taken
from kaizen_otel._stack.processes import alive, answers, leave, start, stop, wait_until_ready
from kaizen_otel._stack.state import Running
from kaizen_otel.errors import ConfigError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path
    from types import TracebackType

    from kaizen_otel._edges import Clock
    from kaizen_otel._stack.processes import Launch

COMPONENTS = ("jaeger", "prometheus", "elasticsearch", "collector")
START_DEADLINE_S = 180.0
STOP_DEADLINE_S = 15.0
#: What `down` removes if asked to: everything but the trail.
STORED = (*COMPONENTS[:-1], "collector/queue", "collector/dead-letter")


class _Obtain(Protocol):
    def __call__(self, *, cache: Path | None, progress: Callable[[str], None]) -> Path: ...


class _Prepare(Protocol):
    def __call__(self, program: Path, *, ports: StackPorts, directory: Path) -> Launch: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """How one component is obtained, and how it is started."""

    obtain: _Obtain
    launch: _Prepare


_RECIPES: Mapping[str, _Recipe] = {
    "jaeger": _Recipe(obtain=jaeger.obtain, launch=jaeger.launch),
    "prometheus": _Recipe(obtain=prometheus.obtain, launch=prometheus.launch),
    "elasticsearch": _Recipe(obtain=opensearch.obtain, launch=opensearch.launch),
    "collector": _Recipe(obtain=gateway.obtain, launch=gateway.launch),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ComponentStatus:
    """What one component does now."""

    component: str
    state: str
    """``ready``, ``not answering``, ``ended`` (by itself) or ``stopped``."""
    pid: int | None = None
    url: str = ""
    note: str = ""
    log: str = ""


class NativeStack:
    """Jaeger, Prometheus, an OpenSearch node and the Collector on this machine's loopback.

    What runs is kept in ``directory`` (default ``$XDG_STATE_HOME/kaizen-otel/stack``), so that any
    later process can ask for its status or end it.  As a context manager it ends on exit whatever
    runs in its directory.
    """

    def __init__(
        self,
        *,
        directory: Path | None = None,
        ports: StackPorts | None = None,
        cache: Path | None = None,
        progress: Callable[[str], None] = say,
        clock: Clock | None = None,
    ) -> None:
        """Prepare; nothing is obtained or started."""
        self.directory = directory or state_directory(os.environ) / "stack"
        self.ports = ports or StackPorts()
        self._cache = cache
        self._progress = progress
        self._clock: Clock = clock or SystemClock()
        self._state_path = self.directory / "state.json"

    def obtain(self, components: Sequence[str] = COMPONENTS) -> dict[str, Path]:
        """The programs of components, built or fetched if they are not in the cache.

        Raises SetupError when one cannot be had, ToolMissingError saying what to install first.
        """
        return {
            name: _RECIPES[name].obtain(cache=self._cache, progress=self._progress)
            for name in components
        }

    def up(
        self,
        components: Sequence[str] = COMPONENTS,
        *,
        deadline_s: float | None = None,
        any_size: bool = False,
    ) -> None:
        """Obtain what is missing, start it and return when all of it answers.

        Components that run already are left alone.  Raises ConfigError for an unknown component,
        or one that runs on other ports; SetupError when something cannot be obtained or started,
        or when memory or disk are short, which is not looked at with ``any_size``.  Then, and on
        an interrupt, what this call started is ended.
        """
        unknown = set(components) - set(COMPONENTS)
        if unknown:
            raise ConfigError(
                f"no component is called {', '.join(sorted(unknown))}: use {', '.join(COMPONENTS)}"
            )
        missing = [name for name in COMPONENTS if name in components and name not in self._alive()]
        if missing and not any_size:
            room.refuse_too_small(
                room.find_room(self.directory),
                memory_min=len(missing) * room.COMPONENT_MEMORY_MIN,
                disk_min=room.DISK_MIN,
            )
        programs = self.obtain(missing)
        with self._locked():
            self._refuse_other_ports()
            launches = [
                _RECIPES[name].launch(
                    programs[name], ports=self.ports, directory=self.directory / name
                )
                for name in missing
                if name not in self._alive()
            ]
            self._start_all(launches, deadline_s or START_DEADLINE_S)

    def down(self, *, deadline_s: float = STOP_DEADLINE_S, with_volumes: bool = False) -> list[str]:
        """End all components; their names.  The Collector goes first, so that it can deliver.

        Each gets SIGTERM, and SIGKILL after ``deadline_s`` seconds.  What they stored is kept
        unless ``with_volumes``, the trail always.  Idempotent.
        """
        with self._locked():
            running = self._alive()
            self._stop(running, deadline_s)
            state.write(self._state_path, {})
            if with_volumes:
                for folder in (self.directory / name for name in STORED):
                    shutil.rmtree(folder, ignore_errors=True)
        return list(running)

    def status(self) -> list[ComponentStatus]:
        """What each component does now."""
        known = state.read(self._state_path)
        found: list[ComponentStatus] = []
        for name in COMPONENTS:
            item = known.get(name)
            if item is None:
                found.append(ComponentStatus(component=name, state="stopped"))
                continue
            lives = alive(item.identity)
            word = "ended" if not lives else "not answering"
            found.append(
                ComponentStatus(
                    component=name,
                    state="ready" if lives and answers(item.ready_url) else word,
                    pid=item.identity.pid if lives else None,
                    url=item.url,
                    note=item.note,
                    log=item.log,
                )
            )
        return found

    @property
    def title(self) -> str:
        """What it runs as, for people."""
        return "native processes of this machine"

    @property
    def components(self) -> tuple[str, ...]:
        """All of its parts."""
        return COMPONENTS

    @property
    def is_known(self) -> bool:
        """Whether components were started here and not ended."""
        return self._state_path.exists()

    @property
    def urls(self) -> dict[str, str]:
        """Where what runs is reached, by purpose; ``grpc`` addresses are host:port."""
        running = self._alive()
        found = {name: item.url for name, item in running.items() if name != "collector"}
        for item in running.values():
            for name, port in item.ports.items():
                if "otlp" in name or name == "audit":
                    scheme = "" if name.endswith("grpc") else "http://"
                    found[name] = f"{scheme}{LOOPBACK}:{port}"
        return found

    @property
    def audit_directory(self) -> Path:
        """Where the Collector of this stack writes the trail."""
        return gateway.audit_folder(self.directory / "collector")

    def log(self, component: str, lines: int = 40) -> str:
        """The last lines that a component printed; empty if it never ran."""
        return log_tail(self._log_path(component), lines)

    def __enter__(self) -> Self:
        """Nothing is started: call ``up``."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End all components."""
        self.down()

    def _log_path(self, component: str) -> Path:
        return self.directory / "logs" / f"{component}.log"

    def _locked(self) -> AbstractContextManager[None]:
        return locked(
            self.directory / "lock", what="stack", progress=self._progress, clock=self._clock
        )

    def _alive(self) -> dict[str, Running]:
        known = state.read(self._state_path)
        return {name: item for name, item in known.items() if alive(item.identity)}

    def _refuse_other_ports(self) -> None:
        asked = asdict(self.ports)
        for name, item in self._alive().items():
            if any(asked.get(key) != port for key, port in item.ports.items()):
                ports = ", ".join(f"{key}={port}" for key, port in item.ports.items())
                raise ConfigError(
                    f"{name} runs already, on other ports ({ports}): end it with "
                    "`kaizen-otel stack down` first, or ask for the same ports"
                )

    def _start_all(self, launches: Sequence[Launch], deadline_s: float) -> None:
        deadline_ns = self._clock.monotonic_ns() + int(deadline_s * 1e9)
        ours = {launch.component for launch in launches}
        processes: dict[str, subprocess.Popen[bytes]] = {}
        try:
            for group in (
                [each for each in launches if each.component != "collector"],
                [each for each in launches if each.component == "collector"],
            ):
                for launch in group:
                    processes[launch.component] = self._start(launch)
                for launch in group:
                    self._wait(launch, processes[launch.component], deadline_ns)
        except BaseException:
            self._progress("stack: ending what was started")
            running = self._alive()
            self._stop({name: running[name] for name in ours & set(running)}, STOP_DEADLINE_S)
            state.write(self._state_path, self._alive())
            raise
        finally:
            for process in processes.values():
                leave(process)

    def _start(self, launch: Launch) -> subprocess.Popen[bytes]:
        refuse_taken(launch.component, launch.ports)
        self._progress(f"{launch.component}: starting")
        log_path = self._log_path(launch.component)
        process, identity = start(launch, log_path=log_path)
        item = Running(
            component=launch.component,
            identity=identity,
            ports=launch.ports,
            ready_url=launch.ready_url,
            url=launch.url,
            note=launch.note,
            log=str(log_path),
        )
        # Known to `down` from here on, even if we are killed in the next moment.
        state.write(self._state_path, {**self._alive(), launch.component: item})
        return process

    def _wait(self, launch: Launch, process: subprocess.Popen[bytes], deadline_ns: int) -> None:
        wait_until_ready(
            launch,
            process,
            log_path=self._log_path(launch.component),
            deadline_ns=deadline_ns,
            clock=self._clock,
        )
        if launch.component == "elasticsearch":
            templates.put_all(launch.url)
        self._progress(f"{launch.component}: ready at {launch.url}")

    def _stop(self, running: Mapping[str, Running], deadline_s: float) -> None:
        for names in (("collector",), COMPONENTS[:-1]):
            stop(
                [running[name].identity for name in names if name in running],
                deadline_ns=self._clock.monotonic_ns() + int(deadline_s * 1e9),
                clock=self._clock,
            )
