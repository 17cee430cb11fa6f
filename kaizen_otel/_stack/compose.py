"""The local stack as containers: ``collector/compose/compose.yaml`` by Docker Compose."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from kaizen_otel._collector.resources import (
    collector_directory,
    inherited_environment,
    state_directory,
)
from kaizen_otel._collector.run import log_tail
from kaizen_otel._edges import SystemClock
from kaizen_otel._stack import compose_images, compose_state, room
from kaizen_otel._stack import compose_layout as layout
from kaizen_otel._stack.build import locked, run_long, say
from kaizen_otel._stack.compose_layout import (
    COMPONENTS,
    MEMORY_MIN,
    PORT_VARIABLES,
    PORTS_OF,
    SERVICES,
)
from kaizen_otel._stack.compose_program import find_compose
from kaizen_otel._stack.compose_state import RunningProject
from kaizen_otel._stack.native import ComponentStatus
from kaizen_otel._stack.ports import StackPorts, refuse_taken
from kaizen_otel._stack.secrets import CONTAINER_USER, owner_of
from kaizen_otel.errors import ConfigError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kaizen_otel._stack.compose_program import ComposeProgram

PROJECT = "kaizen-otel"
# Somebody's patience: Kibana takes more than a minute on a small machine.
START_DEADLINE_S = 300.0
STOP_DEADLINE_S = 120.0
PROCESSORS_MAX = 2
PULL_DEADLINE_S = 3600.0
_LOG_LINES = 15


class ComposeStack:
    """The stack of ``compose.yaml`` on the engine of this machine, all of it on loopback.

    What was started is noted in ``directory`` (default ``$XDG_STATE_HOME/kaizen-otel/stack``),
    where the trail is kept as well.  ``secrets`` is a folder of `make_secrets` and puts TLS
    and a password before everything; ``files`` are Compose files of one's own, merged last.
    """

    def __init__(
        self,
        *,
        directory: Path | None = None,
        ports: StackPorts | None = None,
        secrets: Path | None = None,
        files: Sequence[Path] = (),
        progress: Callable[[str], None] = say,
    ) -> None:
        """Prepare; nothing is asked or started."""
        self.directory = directory or state_directory(os.environ) / "stack"
        self._ports = ports or StackPorts()
        self._secrets = None if secrets is None else secrets.absolute()
        self._own_files = tuple(file.absolute() for file in files)
        self._progress = progress
        self._state_path = self.directory / "compose.json"

    @property
    def title(self) -> str:
        """What it runs as, for people."""
        return "containers, by Docker Compose"

    @property
    def components(self) -> tuple[str, ...]:
        """All of its parts."""
        return COMPONENTS

    @property
    def is_known(self) -> bool:
        """Whether a stack was started here and not ended."""
        return self._state_path.exists()

    @property
    def audit_directory(self) -> Path:
        """Where the Collector of this stack writes the trail: a folder of this machine."""
        return self.directory / "collector" / "audit"

    def up(
        self,
        components: Sequence[str] = COMPONENTS,
        *,
        deadline_s: float | None = None,
        any_size: bool = False,
    ) -> None:
        """Fetch the images that are missing, start the parts, return when all are healthy.

        Raises ConfigError for another stack than the one that runs; SetupError, saying what to
        do, when something is missing, taken, too small or does not get healthy.  Then, and on an
        interrupt, everything of this stack is ended again, unless it ran before.
        """
        program = find_compose()
        self._refuse_foreign_engine(program)
        with locked(self.directory / "compose-lock", what="stack", progress=self._progress):
            before = compose_state.read(self._state_path)
            project = self._project(program)
            if before is not None and before.settings != project.settings:
                raise ConfigError(
                    "the stack runs already, with other settings: end it with "
                    "`kaizen-otel stack down` first, or ask for the same ones"
                )
            known = before.components if before else ()
            wanted = layout.with_required(components)
            project = replace(project, components=layout.with_required((*known, *wanted)))
            services = [name for each in wanted for name in SERVICES[each]]
            services += ["proxy"] if self._secrets else []
            missing = compose_images.missing(
                self._answer(project, "config", "--images", *services).split(), host=program.host
            )
            new = [name for name in wanted if name not in known]
            self._refuse_taken(new)
            if new and not any_size:
                self._refuse_too_small(program, new, will_fetch=bool(missing))
            if missing:
                self._pull(project, services, missing)
            self._prepare_folders()
            compose_state.write(self._state_path, project)
            try:
                self._start(project, services, deadline_s or START_DEADLINE_S)
            except BaseException as error:
                if isinstance(error, SetupError):
                    error = self._explained(project, error)
                if before is None:
                    self._progress("stack: ending what was started")
                    self._end(project)
                raise error from None

    def down(self, *, with_volumes: bool = False) -> list[str]:
        """End everything; its components' names.  What it stored is kept unless ``with_volumes``.

        The trail is a folder of this machine and is never removed.  Idempotent.
        """
        with locked(self.directory / "compose-lock", what="stack", progress=self._progress):
            project = compose_state.read(self._state_path)
            if project is None and not with_volumes:
                return []
            project = project or self._project(find_compose())
            ended = [each.component for each in self._status(project) if each.state != "stopped"]
            self._end(project, *(["--volumes"] if with_volumes else []))
        return ended

    def status(self) -> list[ComponentStatus]:
        """What each component does now.  Raises SetupError if the engine does not answer."""
        project = compose_state.read(self._state_path)
        if project is None:
            return [ComponentStatus(component=name, state="stopped") for name in COMPONENTS]
        return self._status(project)

    @property
    def urls(self) -> dict[str, str]:
        """Where what was started is reached; ``grpc`` addresses are host:port."""
        project = compose_state.read(self._state_path)
        return {} if project is None else layout.urls(project)

    def log(self, component: str, lines: int = 40) -> str:
        """The last lines that a component printed; empty if it did not run."""
        project = compose_state.read(self._state_path)
        if project is None or component not in SERVICES:
            return ""
        return self._log(project, SERVICES[component][0], lines)

    # ------------------------------------------------------------------------------ checks

    def _refuse_foreign_engine(self, program: ComposeProgram) -> None:
        host = program.host.removeprefix("tcp://").rpartition(":")[0]
        if not program.host.startswith("unix://") and host not in {"127.0.0.1", "localhost"}:
            raise SetupError(
                f"the Docker engine at {program.host} is on another machine, and the stack mounts "
                "files of this one: unset DOCKER_HOST, or use --engine native"
            )

    def _refuse_taken(self, components: Sequence[str]) -> None:
        numbers = {name: getattr(self._ports, name) for name in PORT_VARIABLES}
        for component in components:
            wanted = {name: numbers[name] for name in PORTS_OF[component]}
            refuse_taken(component, wanted)

    def _refuse_too_small(
        self, program: ComposeProgram, components: Sequence[str], *, will_fetch: bool
    ) -> None:
        storage = compose_images.engine_facts(program.host).storage_directory
        found = room.find_room(storage if storage.exists() else self.directory)
        room.refuse_too_small(
            found,
            memory_min=sum(MEMORY_MIN.get(name, room.COMPONENT_MEMORY_MIN) for name in components),
            disk_min=room.DISK_MIN + (room.IMAGES_DISK_MIN if will_fetch else 0),
        )

    # ----------------------------------------------------------------------------- compose

    def _project(self, program: ComposeProgram) -> RunningProject:
        folder = collector_directory() / "compose"
        files = [folder / "compose.yaml"]
        files += [folder / "compose.security.yaml"] if self._secrets else []
        variables = {
            variable: str(getattr(self._ports, name)) for name, variable in PORT_VARIABLES.items()
        }
        # An engine refuses to promise more processors than it has.
        processors = compose_images.engine_facts(program.host).processors
        variables["KAIZEN_OTEL_CPUS"] = str(min(PROCESSORS_MAX, processors))
        variables["KAIZEN_OTEL_AUDIT_VOLUME"] = str(self.audit_directory)
        variables["KAIZEN_OTEL_USER"] = _container_user(self._secrets)
        if self._secrets:
            variables["KAIZEN_OTEL_SECRETS"] = str(self._secrets)
        return RunningProject(
            command=program.command,
            host=program.host,
            name=os.environ.get("COMPOSE_PROJECT_NAME") or PROJECT,
            files=tuple(map(str, (*files, *self._own_files))),
            variables=variables,
        )

    def _prepare_folders(self) -> None:
        self.audit_directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _pull(
        self, project: RunningProject, services: Sequence[str], missing: Sequence[str]
    ) -> None:
        try:
            run_long(
                project.arguments(
                    "--progress",
                    "plain",
                    "pull",
                    "--include-deps",
                    "--policy",
                    "missing",
                    *services,
                ),
                what=f"fetching {len(missing)} images",
                log_path=self.directory / "logs" / "pull.log",
                environment=_environment(project),
                deadline_s=PULL_DEADLINE_S,
                progress=self._progress,
            )
        except SetupError:
            why = log_tail(self.directory / "logs" / "pull.log", 1)
            raise SetupError(
                f"images are not on this machine and could not be fetched ({why}): "
                f"{', '.join(missing)}. Connect this machine, load them with `docker load`, or use "
                "processes of this machine with --engine native"
            ) from None

    def _start(self, project: RunningProject, services: Sequence[str], deadline_s: float) -> None:
        clock = SystemClock()
        started_ns = clock.monotonic_ns()
        run_long(
            project.arguments(
                *("--progress", "plain", "up", "--detach", "--pull", "never", "--wait"),
                *("--wait-timeout", f"{deadline_s:.0f}", *services),
            ),
            what="starting the stack",
            log_path=self.directory / "logs" / "up.log",
            environment=_environment(project),
            deadline_s=deadline_s + STOP_DEADLINE_S,
            progress=self._progress,
        )
        elapsed_s = (clock.monotonic_ns() - started_ns) / 1e9
        self._progress(f"stack: healthy after {elapsed_s:.0f} s")

    def _end(self, project: RunningProject, *more: str) -> None:
        run_long(
            project.arguments("--progress", "plain", "down", "--remove-orphans", *more),
            what="ending the stack",
            log_path=self.directory / "logs" / "down.log",
            environment=_environment(project),
            deadline_s=STOP_DEADLINE_S,
            progress=self._progress,
        )
        compose_state.remove(self._state_path)

    def _explained(self, project: RunningProject, error: SetupError) -> SetupError:
        """The same error with the output of the service that failed, if one did."""
        containers = self._containers(project)
        ended = [
            item
            for item in containers
            if item["State"] == "restarting"
            or (item["State"] in {"exited", "dead"} and item["ExitCode"] != 0)
        ]
        unhealthy = [item for item in containers if item["Health"] not in {"", "healthy"}]
        for item in (*ended, *unhealthy):
            name = item["Service"]
            what = "ended by itself" if item in ended else "is not healthy"
            return SetupError(
                f"{name} was started and {what}; the end of its output:\n"
                f"{self._log(project, name, _LOG_LINES)}"
            )
        return error

    def _status(self, project: RunningProject) -> list[ComponentStatus]:
        found = {item["Service"]: item for item in self._containers(project)}
        urls = layout.urls(project)
        return [
            ComponentStatus(
                component=name,
                state=layout.word([found[each] for each in services if each in found]),
                url=urls.get("otlp_http" if name == "collector" else name, ""),
                note=layout.note(name, project),
            )
            for name, services in SERVICES.items()
        ]

    def _containers(self, project: RunningProject) -> list[dict[str, Any]]:
        text = self._answer(project, "ps", "--all", "--format", "json")
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def _log(self, project: RunningProject, service: str, lines: int) -> str:
        arguments = ("logs", "--no-color", "--no-log-prefix", "--tail", str(lines), service)
        return self._answer(project, *arguments).strip()

    def _answer(self, project: RunningProject, *arguments: str) -> str:
        """What Compose prints.  Raises SetupError with what it says when it fails."""
        try:
            done = subprocess.run(
                project.arguments(*arguments),
                env={**inherited_environment(os.environ), **_environment(project)},
                capture_output=True,
                text=True,
                timeout=STOP_DEADLINE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SetupError(f"Docker Compose did not answer: {error}") from error
        if done.returncode != 0:
            raise SetupError(f"Docker Compose failed: {done.stderr.strip()[-500:]}")
        return done.stdout


def _container_user(secrets: Path | None) -> str:
    """Who reads the secrets and writes the trail: their owner, this user, and never root."""
    if secrets is not None:
        return owner_of(secrets)
    user = os.geteuid() if hasattr(os, "geteuid") else CONTAINER_USER
    if user == 0:
        return f"{CONTAINER_USER}:{CONTAINER_USER}"
    return f"{user}:{os.getegid()}"


def _environment(project: RunningProject) -> dict[str, str]:
    """What Compose is told; an agent's OTLP endpoint would make it send traces of itself there."""
    return {
        **project.variables,
        "DOCKER_HOST": project.host,
        "DOCKER_CONTEXT": "",
        "OTEL_EXPORTER_OTLP_ENDPOINT": "",
    }
